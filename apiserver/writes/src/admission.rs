//! Admission: what the cluster wants of an object beyond its kind's validity. The interface of plugins, what they get to know
//! and to do (`Request`), and the chain of those in force. All mutate first, then all validate. The plugins themselves are in
//! the crate `admission`.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use machinery::gvk::GroupVersionKind;
use machinery::status::StatusError;
use model::options::{Delete, Write};
use model::types::{Source, Types};
use model::user::UserInfo;
use parking_lot::Mutex;
use serde_json::Value;

use crate::Registry;
use crate::strategy::{Kind, WriteContext};

/// The operation that is asked to be admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

/// The options of a request. They are made into an object where a plugin asks for it.
#[derive(Clone, Copy)]
pub enum Options<'a> {
    /// Of a create, an update or a patch.
    Write(&'a Write),
    /// Of a delete.
    Delete(&'a Delete),
    /// It has none (connect).
    None,
}

/// What a plugin may know of the request, and what it can do beside changing the object.
pub struct Request<'a> {
    /// The operation.
    pub operation: Operation,
    /// The catalogue row.
    pub resource: &'a Kind,
    /// The kind of the object where that is not the row's: of what is posted to a subresource (`Binding`).
    pub kind: Option<&'a GroupVersionKind>,
    /// Subresource, or `None`.
    pub subresource: Option<&'a str>,
    /// Namespace, or `None` for cluster-scoped kinds.
    pub namespace: Option<&'a str>,
    /// Object name; empty while a create's name is still to be generated.
    pub name: &'a str,
    /// Who.
    pub user: &'a UserInfo,
    /// Dry run.
    pub dry_run: bool,
    /// The stored object, for update and delete.
    pub old: Option<&'a Value>,
    /// The options as they were sent.
    pub options: Options<'a>,
    /// The cluster's other objects. Reads are from memory.
    pub registry: &'a Registry,
    /// The write that is to be admitted.
    cx: &'a WriteContext<'a>,
    /// What one plugin has to tell the chain and itself.
    passes: Passes,
}

/// The passes of the mutating plugins over one object: there is a second one where a plugin asks for it.
#[derive(Default)]
struct Passes {
    asked: AtomicBool,
    second: AtomicBool,
    kept: Mutex<Vec<Box<dyn Any + Send>>>,
}

impl<'a> Request<'a> {
    /// What admission is asked for a write in that context.
    pub fn new(
        cx: &'a WriteContext<'a>,
        operation: Operation,
        name: &'a str,
        old: Option<&'a Value>,
        options: Options<'a>,
    ) -> Self {
        Self {
            operation,
            resource: cx.resource,
            kind: None,
            subresource: cx.subresource,
            namespace: cx.namespace,
            name,
            user: cx.user,
            dry_run: cx.dry_run,
            old,
            options,
            registry: cx.registry,
            cx,
            passes: Passes::default(),
        }
    }
}

impl Request<'_> {
    /// Whether the request is of that resource.
    pub fn is(&self, group: &str, resource: &str) -> bool {
        self.resource.resource == resource && self.resource.group == group
    }

    /// Whether it is of that resource itself and no part of it.
    pub fn is_whole(&self, group: &str, resource: &str) -> bool {
        self.subresource.is_none() && self.is(group, resource)
    }

    /// Whether it creates.
    pub fn creates(&self) -> bool {
        self.operation == Operation::Create
    }

    /// Whether it creates or updates.
    pub fn writes(&self) -> bool {
        matches!(self.operation, Operation::Create | Operation::Update)
    }

    /// The kind of the object.
    pub fn kind(&self) -> GroupVersionKind {
        self.kind.cloned().unwrap_or_else(|| self.resource.kind())
    }

    /// CreateOptions, UpdateOptions or DeleteOptions as they were sent; null where there are none.
    pub fn options(&self) -> Value {
        match self.options {
            Options::Write(options) if self.creates() => options.object("CreateOptions"),
            Options::Write(options) => options.object("UpdateOptions"),
            Options::Delete(options) => options.object(),
            Options::None => Value::Null,
        }
    }

    /// Warns the client, by a `Warning` header of the answer.
    pub fn warn(&self, text: impl Into<String>) {
        self.cx.warn([text.into()]);
    }

    /// Notes something for the audit log, under `<plugin's domain>/<key>`.
    pub fn annotate(&self, key: &str, value: &str) {
        if let Some(record) = self.cx.record {
            record.annotations.add(key, value);
        }
    }

    /// An object that a plugin made of text or of a patch, as one that a client sends: read by its kind's schema, without
    /// unknown fields, defaulted.
    ///
    /// # Errors
    /// 500, as upstream's, where it is no object of the kind.
    pub fn decode(&self, object: Value) -> Result<Value, StatusError> {
        let kind = self.kind();
        let of_part = self.kind.map(Types::of);
        let types = of_part.as_ref().unwrap_or(&self.resource.types);
        let decoded = types.decode(Source::Value(object)).map_err(|error| StatusError::internal(error.0))?;
        let mut object = decoded.value;
        types.default(&kind, &mut object);
        model::encoding::normalise(&mut object, &kind);
        Ok(object)
    }

    /// Asks that all mutating plugins see the object once more, after the last of them: for a plugin that changed what those
    /// before it have looked at. There is one such pass, however many ask (`apiserver/pkg/admission/reinvocation.go`).
    pub fn reinvoke(&self) {
        self.passes.asked.store(true, Ordering::Relaxed);
    }

    /// Whether this is the second pass.
    pub fn reinvoked(&self) -> bool {
        self.passes.second.load(Ordering::Relaxed)
    }

    /// What a plugin keeps from the first pass to the second; found by its type.
    pub fn kept<T: Any + Default + Send, R>(&self, with: impl FnOnce(&mut T) -> R) -> R {
        let mut kept = self.passes.kept.lock();
        if let Some(found) = kept.iter_mut().find_map(|kept| kept.downcast_mut()) {
            return with(found);
        }
        let mut new = T::default();
        let outcome = with(&mut new);
        kept.push(Box::new(new));
        outcome
    }
}

/// One plugin. Errors are what the client gets (most are `StatusError::forbidden`).
#[async_trait]
pub trait Plugin: Send + Sync {
    /// Whether the plugin looks at such requests at all; keeps the chain cheap.
    fn handles(&self, request: &Request<'_>) -> bool;

    /// May change the object. `Value::Null` for delete and connect.
    async fn admit(&self, _request: &Request<'_>, _obj: &mut Value) -> Result<(), StatusError> {
        Ok(())
    }

    /// May only refuse.
    async fn validate(&self, _request: &Request<'_>, _obj: &Value) -> Result<(), StatusError> {
        Ok(())
    }
}

/// The plugins in force, in order.
#[derive(Default)]
pub struct Chain {
    plugins: Vec<Box<dyn Plugin>>,
}

impl Chain {
    /// A chain of these plugins, asked in this order.
    pub fn new(plugins: Vec<Box<dyn Plugin>>) -> Self {
        Self { plugins }
    }

    /// All plugins' mutations, and once more where one of them asks for it.
    pub async fn admit(&self, request: &Request<'_>, obj: &mut Value) -> Result<(), StatusError> {
        self.pass(request, obj).await?;
        if request.passes.asked.load(Ordering::Relaxed) {
            request.passes.second.store(true, Ordering::Relaxed);
            self.pass(request, obj).await?;
        }
        Ok(())
    }

    async fn pass(&self, request: &Request<'_>, obj: &mut Value) -> Result<(), StatusError> {
        for plugin in self.plugins.iter().filter(|p| p.handles(request)) {
            plugin.admit(request, obj).await?;
        }
        Ok(())
    }

    /// All plugins' refusals.
    pub async fn validate(&self, request: &Request<'_>, obj: &Value) -> Result<(), StatusError> {
        for plugin in self.plugins.iter().filter(|p| p.handles(request)) {
            plugin.validate(request, obj).await?;
        }
        Ok(())
    }
}
