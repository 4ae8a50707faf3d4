//! The leases of API servers: for each a key that ends fifteen seconds after it was last written. Whose key is there serves.
//!
//! They are upstream's, key and value (`pkg/controlplane/reconcilers/lease.go`), so that its servers and these see each other. A
//! lease is no object of the API: it is written to the store itself.

use bytes::Bytes;
use machinery::json::Fields;
use machinery::status::StatusError;
use model::store::unavailable;
use serde_json::{Value, json};
use storage::{EventKind, Expect, Outcome, RangeOptions, WatchItem, WatchStream};
use writes::Registry;
use writes::strategy::Kind;

use super::ENDPOINTS;

const PREFIX: &str = "/registry/masterleases/";
/// How long a lease lasts without being written.
const SECONDS: u64 = 15;
/// Tries of a write that meets another one. Only a server of the same address writes the same key.
const TRIES: usize = 5;

/// The leases of a store.
pub(super) struct Leases<'a>(&'a Registry);

impl<'a> Leases<'a> {
    /// Those of the store below a registry.
    pub(super) fn of(registry: &'a Registry) -> Self {
        Self(registry)
    }

    /// The addresses of all servers that have one.
    pub(super) async fn list(&self) -> Result<Vec<String>, StatusError> {
        let found = self.0.storage().range(PREFIX, RangeOptions::default()).await.map_err(unavailable)?;
        let ip =
            |lease: Value| Some(lease["subsets"][0]["addresses"][0].text("ip").to_owned()).filter(|ip| !ip.is_empty());
        Ok(found.kvs.iter().filter_map(|kv| self.read(&kv.value)).filter_map(ip).collect())
    }

    /// Makes a server's lease last from now on.
    pub(super) async fn renew(&self, ip: &str) -> Result<(), StatusError> {
        let (storage, key) = (self.0.storage(), format!("{PREFIX}{ip}"));
        for _ in 0..TRIES {
            let (found, _) = storage.get(&key).await.map_err(unavailable)?;
            let mut lease = found.as_ref().and_then(|kv| self.read(&kv.value)).unwrap_or_else(new);
            // Upstream's store writes only what differs: it counts.
            lease["metadata"]["generation"] = (lease["metadata"].int("generation").unwrap_or(0) + 1).into();
            lease["subsets"] = json!([{ "addresses": [{ "ip": ip }] }]);
            let expect = found.map_or(Expect::Absent, |kv| Expect::ModRevision(kv.mod_revision));
            let value = self.write(&lease)?;
            if let Outcome::Done { .. } = storage.put(&key, value, expect, Some(SECONDS)).await.map_err(unavailable)? {
                return Ok(());
            }
        }
        Err(StatusError::internal(format!("the lease of {ip} is written by another server too")))
    }

    /// Ends a server's lease; whether there was one.
    pub(super) async fn remove(&self, ip: &str) -> Result<bool, StatusError> {
        let (storage, key) = (self.0.storage(), format!("{PREFIX}{ip}"));
        for _ in 0..TRIES {
            let (found, _) = storage.get(&key).await.map_err(unavailable)?;
            let Some(kv) = found else { return Ok(false) };
            if let Outcome::Done { .. } = storage.delete(&key, kv.mod_revision).await.map_err(unavailable)? {
                return Ok(true);
            }
        }
        Err(StatusError::internal(format!("the lease of {ip} is written by another server too")))
    }

    /// What happens to leases from now on.
    pub(super) async fn watch(&self) -> Result<WatchStream, StatusError> {
        let storage = self.0.storage();
        let now = storage.revision().await.map_err(unavailable)?;
        storage.watch(PREFIX, now + 1).await.map_err(unavailable)
    }

    fn row(&self) -> Result<Kind, StatusError> {
        self.0.rows().of(&ENDPOINTS).cloned().ok_or_else(|| StatusError::not_found(&ENDPOINTS, ""))
    }

    fn read(&self, value: &Bytes) -> Option<Value> {
        let body = self.0.values().read(&*self.row().ok()?, value);
        match body.map(|body| serde_json::from_slice(&body)) {
            Ok(Ok(lease)) => Some(lease),
            Ok(Err(error)) => unread(&error),
            Err(why) => unread(&why),
        }
    }

    fn write(&self, lease: &Value) -> Result<Bytes, StatusError> {
        let row = self.row()?;
        let body = model::encoding::encode(lease, &row.storage_version);
        Ok(self.0.values().write(&row, &body, None))
    }
}

fn unread(why: &dyn std::fmt::Display) -> Option<Value> {
    tracing::warn!(%why, "a server's lease cannot be read");
    None
}

fn new() -> Value {
    json!({ "apiVersion": "v1", "kind": "Endpoints", "metadata": {} })
}

/// Waits until a lease has ended. Never returns once the watch is over: it is then taken away.
pub(super) async fn ended(watch: &mut Option<WatchStream>) {
    use futures::StreamExt;
    while let Some(stream) = watch.as_mut() {
        match stream.next().await {
            Some(Ok(WatchItem::Events(events))) if events.iter().any(|event| event.kind == EventKind::Delete) => return,
            Some(Ok(_)) => {}
            Some(Err(_)) | None => *watch = None,
        }
    }
    std::future::pending().await
}
