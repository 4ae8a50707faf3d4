//! Storage with its requests timed, as upstream times etcd's: by operation and by resource, which the key's prefix names.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use component::supervisor::Ended;
use model::resource::Sort;
use storage::{Expect, KeyValue, Outcome, RangeOptions, RangeResult, Revision, Storage, WatchStream};
use writes::strategy::Kind;

use super::Metrics;

/// See the module.
pub struct Measured {
    inner: Arc<dyn Storage>,
    metrics: Arc<Metrics>,
    /// Storage prefixes and whose they are.
    resources: HashMap<String, (String, String)>,
}

impl Measured {
    /// Times a store's requests for the objects of these rows.
    pub fn new(inner: Arc<dyn Storage>, metrics: Arc<Metrics>, rows: &[Kind]) -> Self {
        let mut resources = HashMap::new();
        for row in rows {
            if let Sort::Stored { prefix } = &row.sort {
                let resource = (row.group.to_string(), row.resource.to_string());
                resources.entry(prefix.to_string()).or_insert(resource);
            }
        }
        Self { inner, metrics, resources }
    }

    fn note<T>(&self, operation: &str, key: &str, started: Instant, outcome: &storage::Result<T>) {
        let (group, resource) = self.resource(key);
        let labels = [group, operation, resource];
        self.metrics.storage_seconds.with(&labels).observe(started.elapsed().as_secs_f64());
        self.metrics.storage_total.with(&labels).add(1);
        if outcome.is_err() {
            self.metrics.storage_errors.with(&labels).add(1);
        }
    }

    /// Group and resource of a key under `/registry/`; prefixes have one segment or two, custom resources' are both.
    fn resource<'k>(&'k self, key: &'k str) -> (&'k str, &'k str) {
        let rest = key.trim_start_matches("/registry/");
        let mut ends = rest.match_indices('/').map(|(at, _)| at);
        let first = ends.next().unwrap_or(rest.len());
        let second = ends.next().unwrap_or(rest.len());
        let known = [first, second].into_iter().find_map(|end| self.resources.get(&rest[..end]));
        match known {
            Some((group, resource)) => (group, resource),
            None => rest[..second].split_once('/').filter(|(group, _)| group.contains('.')).unwrap_or_default(),
        }
    }
}

#[async_trait]
impl Storage for Measured {
    async fn get(&self, key: &str) -> storage::Result<(Option<KeyValue>, Revision)> {
        let started = Instant::now();
        let outcome = self.inner.get(key).await;
        self.note("get", key, started, &outcome);
        outcome
    }

    async fn range(&self, prefix: &str, options: RangeOptions) -> storage::Result<RangeResult> {
        let started = Instant::now();
        let outcome = self.inner.range(prefix, options).await;
        self.note("list", prefix, started, &outcome);
        outcome
    }

    async fn put(&self, key: &str, value: Bytes, expect: Expect, ttl: Option<u64>) -> storage::Result<Outcome> {
        let started = Instant::now();
        let operation = if matches!(expect, Expect::Absent) { "create" } else { "update" };
        let outcome = self.inner.put(key, value, expect, ttl).await;
        self.note(operation, key, started, &outcome);
        outcome
    }

    async fn delete(&self, key: &str, mod_revision: Revision) -> storage::Result<Outcome> {
        let started = Instant::now();
        let outcome = self.inner.delete(key, mod_revision).await;
        self.note("delete", key, started, &outcome);
        outcome
    }

    async fn revision(&self) -> storage::Result<Revision> {
        self.inner.revision().await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> storage::Result<WatchStream> {
        self.inner.watch(prefix, from).await
    }

    fn request_progress(&self, prefix: &str) {
        self.inner.request_progress(prefix);
    }

    fn reports_progress(&self) -> bool {
        self.inner.reports_progress()
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    async fn failed(&self) -> Ended {
        self.inner.failed().await
    }

    async fn compact(&self, revision: Revision) -> storage::Result<()> {
        self.inner.compact(revision).await
    }
}
