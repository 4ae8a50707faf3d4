//! Admission: what the cluster wants of an object beyond its kind's validity. the interface of plugins, and the
//! chain of those in force. All mutate first, then all validate. The plugins themselves are in the crate `admission`.

use async_trait::async_trait;
use machinery::status::StatusError;
use model::resource::Resource;
use model::user::UserInfo;
use serde_json::Value;

use crate::Registry;
use crate::strategy::WriteContext;

/// The operation that is asked to be admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

/// What a plugin may know of the request.
pub struct Request<'a> {
    /// The operation.
    pub operation: Operation,
    /// The catalogue row.
    pub resource: &'a Resource,
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
    /// CreateOptions, UpdateOptions, DeleteOptions or PodExecOptions...
    pub options: &'a Value,
    /// The cluster's other objects. Reads are from memory.
    pub registry: &'a Registry,
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

    /// All plugins' mutations.
    pub async fn admit(&self, request: &Request<'_>, obj: &mut Value) -> Result<(), StatusError> {
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

/// What admission is asked for a write in that context.
pub fn request<'a>(
    cx: &'a WriteContext<'a>,
    operation: Operation,
    name: &'a str,
    old: Option<&'a Value>,
) -> Request<'a> {
    static NO_OPTIONS: Value = Value::Null;
    Request {
        operation,
        resource: cx.resource,
        subresource: cx.subresource,
        namespace: cx.namespace,
        name,
        user: cx.user,
        dry_run: cx.dry_run,
        old,
        options: &NO_OPTIONS,
        registry: cx.registry,
    }
}
