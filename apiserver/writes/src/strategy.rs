//! What one kind decides for itself: what a write resets, what it refuses, what it allocates.
//!
//! Everything else (the verbs, the order of steps, compare-and-swap, finalizers, dry run, managedFields) is the
//! registry's and is the same for all. A strategy can therefore not skip a step; it can only add to one. Follows
//! `registry/rest/{create,update,delete}.go` of upstream's apiserver in what is asked, not in shape.

use std::ops::Deref;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use machinery::field::ErrorList;
use machinery::status::StatusError;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use model::encoding::Encoding;
use model::options::Delete;
use model::record::Record;
use model::resource::Resource;
use model::user::UserInfo;

use crate::Registry;
use crate::allocation::Allocation;

/// A kind: the row that says what it is, and the strategy that says what its writes do. Reads as its row.
#[derive(Clone)]
pub struct Kind {
    /// What differs from other kinds by data.
    pub row: Arc<Resource>,
    /// What differs by code.
    pub strategy: Arc<dyn Strategy>,
}

impl Kind {
    /// A kind of those.
    pub fn new(row: Resource, strategy: impl Strategy) -> Self {
        Self { row: Arc::new(row), strategy: Arc::new(strategy) }
    }
}

impl Deref for Kind {
    type Target = Resource;

    fn deref(&self) -> &Resource {
        &self.row
    }
}

/// A row without rules of its own.
impl From<Resource> for Kind {
    fn from(row: Resource) -> Self {
        Self::new(row, Plain)
    }
}

/// Rows that get rules.
pub trait Rules {
    /// The kind of this row with rules of its own.
    fn rules(self, strategy: impl Strategy) -> Kind;
}

impl Rules for Resource {
    fn rules(self, strategy: impl Strategy) -> Kind {
        Kind::new(self, strategy)
    }
}

/// What a strategy may know of the write it takes part in.
pub struct WriteContext<'a> {
    /// The kind that is written to.
    pub resource: &'a Kind,
    /// The subresource of the request: `status`, `scale`, ..., or `None` for the object itself.
    pub subresource: Option<&'a str>,
    /// The namespace of the request; `None` for cluster-scoped kinds.
    pub namespace: Option<&'a str>,
    /// Who writes.
    pub user: &'a UserInfo,
    /// The time of the request, one for all of it.
    pub now: Timestamp,
    /// Whether nothing may be kept, allocations included.
    pub dry_run: bool,
    /// What the object is answered in.
    pub answer: Encoding,
    /// Whether whoever asked for the write has gone, before it has begun; never for what the server itself writes.
    pub abandoned: Option<&'a CancellationToken>,
    /// Where warnings and audit annotations go; nowhere for what the server itself writes.
    pub record: Option<&'a Record>,
    /// The other resources, to read from and (for allocations) to write to.
    pub registry: &'a Registry,
}

impl WriteContext<'_> {
    /// Warns the client.
    pub fn warn(&self, texts: impl IntoIterator<Item = String>) {
        if let Some(record) = self.record {
            record.warnings.extend(texts);
        }
    }

    /// Asked before a write takes or stores anything: nothing is begun for who has gone. What has begun ends.
    ///
    /// # Errors
    /// The client has hung up, or its time is over.
    pub fn may_begin(&self) -> Result<(), StatusError> {
        match self.abandoned {
            Some(gone) if gone.is_cancelled() => {
                Err(StatusError::timeout("request did not complete within the allotted timeout", 0))
            }
            _ => Ok(()),
        }
    }
}

/// How a delete request becomes a graceful one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grace {
    /// The kind has no graceful deletion: it goes at once (finalizers permitting).
    None,
    /// Keep the object with a deletionTimestamp for this many seconds; 0 deletes at once.
    Seconds(i64),
}

/// What becomes of the dependents of a deleted object where neither the request nor a finalizer says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dependents {
    /// They are deleted in the background.
    Delete,
    /// They stay.
    Orphan,
    /// The kind has none, and nothing that is said of them counts.
    None,
}

/// One kind's rules. The defaults fit a kind with metadata, spec and status and no rules of its own.
#[async_trait]
pub trait Strategy: Send + Sync + 'static {
    /// Before a create is validated: clear what clients may not set. Status is already cleared, and
    /// `metadata.generation` set to 1, for resources whose row says so.
    fn prepare_for_create(&self, _cx: &WriteContext<'_>, _obj: &mut Value) {}

    /// Whether a new object may come with a status (nodes register with theirs).
    fn keeps_status_on_create(&self) -> bool {
        false
    }

    /// Before an update is validated. The row's generic rules already ran: status kept (or spec kept, when the
    /// `status` subresource is written), generation raised when the spec changed.
    fn prepare_for_update(&self, _cx: &WriteContext<'_>, _obj: &mut Value, _old: &Value) {}

    /// Faults of a new object; metadata is validated generically before.
    fn validate(&self, _cx: &WriteContext<'_>, _obj: &Value) -> ErrorList {
        ErrorList::default()
    }

    /// Faults of an update (of the object or, by `cx.subresource`, of a part of it). Must include what `validate`
    /// says of `obj` where upstream does.
    fn validate_update(&self, cx: &WriteContext<'_>, obj: &Value, _old: &Value) -> ErrorList {
        self.validate(cx, obj)
    }

    /// Texts for `Warning` headers of a create or update that succeeds.
    fn warnings(&self, _cx: &WriteContext<'_>, _obj: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }

    /// What a delete request means for this object: `requested` is the client's gracePeriodSeconds.
    fn grace(&self, _obj: &Value, _requested: Option<i64>) -> Grace {
        Grace::None
    }

    /// See [`Dependents`].
    fn dependents(&self) -> Dependents {
        Dependents::Delete
    }

    /// Texts for `Warning` headers of a delete.
    fn warnings_on_delete(&self, _options: &Delete) -> Option<&'static str> {
        None
    }

    /// Whether the object must stay although no finalizer in its metadata holds it (namespaces: `spec.finalizers`).
    fn held(&self, _obj: &Value) -> bool {
        false
    }

    /// A last change to an object that a delete request marks as terminating (namespaces: `status.phase`; definitions: the
    /// finalizer that holds them until their objects are gone).
    fn mark_deleting(&self, _cx: &WriteContext<'_>, _obj: &mut Value) {}

    /// Allocations of a create (service IPs, node ports): runs after admission and before validation, may change `obj`.
    /// What it takes it notes in `allocation` at once; in a dry run it takes nothing.
    async fn begin_create(
        &self,
        _cx: &WriteContext<'_>,
        _obj: &mut Value,
        _allocation: &mut Allocation,
    ) -> Result<(), StatusError> {
        Ok(())
    }

    /// Allocations of an update.
    async fn begin_update(
        &self,
        _cx: &WriteContext<'_>,
        _obj: &mut Value,
        _old: &Value,
        _allocation: &mut Allocation,
    ) -> Result<(), StatusError> {
        Ok(())
    }

    /// After the object is gone: return its allocations.
    async fn after_delete(&self, _cx: &WriteContext<'_>, _obj: &Value) {}
}

/// For kinds without rules of their own.
pub struct Plain;
impl Strategy for Plain {}
