//! What the verbs share of storage: keys, compare-and-swap, and the store's errors as statuses. The only code that
//! writes objects.

use std::sync::Arc;

use api::protobuf::Resident;
use bytes::Bytes;
use cache::Entry;
use machinery::gvk::GroupResource;
use machinery::status::StatusError;
use model::encoding::Encoding;
use model::resource::{Resource, Sort};
use model::store::{key, unavailable, unreadable};
use serde_json::Value;
use storage::{Expect, KeyValue, Outcome};

use super::strategy::WriteContext;
use super::{Registry, convert};

/// Where one object is in the store.
pub struct Place<'a> {
    registry: &'a Registry,
    row: &'a Resource,
    /// `namespace/name` or `name`.
    pub key: String,
    full: String,
    with_protobuf: bool,
}

/// An object that is to be stored, encoded.
#[derive(Clone)]
pub struct Encoded {
    /// Canonical JSON.
    pub body: Bytes,
    /// Made while the object is there as a value, where the store or the answer will want it.
    protobuf: Option<Arc<Resident>>,
}

impl<'a> Place<'a> {
    /// The place of an object of a stored or cohabiting row.
    pub fn new(cx: &WriteContext<'a>, name: &str) -> Result<Self, StatusError> {
        let (registry, row) = (cx.registry, cx.resource);
        let Sort::Stored { prefix } = &registry.storing(row).sort else {
            return Err(StatusError::method_not_supported(&row.group_resource(), "get"));
        };
        let key = key(cx.namespace, name);
        let full = format!("/registry/{prefix}/{key}");
        let with_protobuf = cx.answer == Encoding::Protobuf || registry.values().are_shared();
        Ok(Self { registry, row, key, full, with_protobuf })
    }

    /// The object as the cache has it.
    pub fn cached(&self) -> Option<Arc<Entry>> {
        self.registry.cache(self.row)?.get(&self.key)
    }

    /// The object as the store has it.
    pub async fn stored(&self) -> Result<Option<Arc<Entry>>, StatusError> {
        let (found, _) = self.registry.storage().get(&self.full).await.map_err(unavailable)?;
        found.map(|kv| self.entry_of(&kv)).transpose()
    }

    /// Encodes an object in the storage version, for comparison and for [`put`](Self::put).
    ///
    /// # Errors
    /// Where a webhook was to convert it and could not.
    pub async fn encode(&self, obj: &Value) -> Result<Encoded, StatusError> {
        let storing = &self.registry.storing(self.row).storage_version;
        let converted = convert::object(self.registry, self.row, obj, &self.row.kind(), storing).await?;
        let object = converted.as_ref().unwrap_or(obj);
        let schema = api::schema::of(storing).filter(|_| self.with_protobuf);
        let protobuf = schema.and_then(|schema| Resident::new(object, schema)).map(Arc::new);
        Ok(Encoded { body: model::encoding::encode(object, storing), protobuf })
    }

    /// Writes, if the store still has what is expected: the new entry, or what is there instead.
    pub async fn put(
        &self,
        object: Encoded,
        expect: Option<&Entry>,
    ) -> Result<Result<Arc<Entry>, Option<Arc<Entry>>>, StatusError> {
        let expect = expect.map_or(Expect::Absent, |entry| Expect::ModRevision(entry.revision));
        let storing = self.registry.storing(self.row);
        let value = self.registry.values().write(storing, &object.body, object.protobuf.as_deref());
        match self.registry.storage().put(&self.full, value, expect, storing.ttl_seconds).await.map_err(unavailable)? {
            Outcome::Done { revision } => Ok(Ok(self.entry(revision, object)?)),
            Outcome::Conflict { current, .. } => Ok(Err(current.map(|kv| self.entry_of(&kv)).transpose()?)),
        }
    }

    /// Deletes that very object: the revision of the deletion, or what is there instead.
    pub async fn remove(&self, entry: &Entry) -> Result<Result<i64, Option<Arc<Entry>>>, StatusError> {
        match self.registry.storage().delete(&self.full, entry.revision).await.map_err(unavailable)? {
            Outcome::Done { revision } => Ok(Ok(revision)),
            Outcome::Conflict { current, .. } => Ok(Err(current.map(|kv| self.entry_of(&kv)).transpose()?)),
        }
    }

    /// What was written, or (in a dry run) would have been, as it will be read: of a custom resource with the defaults of
    /// parts that this write left out. Revision 0 is that of what was never stored.
    pub fn entry(&self, revision: i64, object: Encoded) -> Result<Arc<Entry>, StatusError> {
        let storing = self.registry.storing(self.row);
        match storing.types.custom() {
            Some(custom) if custom.schemas.values().any(|schema| schema.has_defaults()) => {
                let body = model::encoding::canonicalise(storing, &object.body).map_err(StatusError::internal)?;
                self.canonical(revision, Encoded { body, protobuf: None })
            }
            _ => self.canonical(revision, object),
        }
    }

    fn canonical(&self, revision: i64, object: Encoded) -> Result<Arc<Entry>, StatusError> {
        Entry::new(self.key.as_str().into(), revision, object.body)
            .map(|entry| Arc::new(entry.with_protobuf(object.protobuf)))
            .map_err(|error| StatusError::internal(error.to_string()))
    }

    fn entry_of(&self, kv: &KeyValue) -> Result<Arc<Entry>, StatusError> {
        let storing = self.registry.storing(self.row);
        let body = self.registry.values().read(storing, &kv.value).map_err(|why| unreadable(&self.key, &why))?;
        self.canonical(kv.mod_revision, Encoded { body, protobuf: None })
    }

    /// `GroupResource` of the request, for messages.
    pub fn resource(&self) -> GroupResource {
        self.row.group_resource()
    }
}
