//! Reading the cluster's objects from memory, and telling whether they changed.
//!
//! Authentication, authorization, admission and webhooks see the registry through this narrow trait, so that each is
//! tested on a handful of objects, without storage.

use std::sync::Arc;

use async_trait::async_trait;
use machinery::gvk::GroupResource;
use serde_json::Value;

/// Reading objects.
#[async_trait]
pub trait Lookup: Send + Sync {
    /// The object as the cache has it. Never waits.
    fn get(&self, resource: &GroupResource, namespace: Option<&str>, name: &str) -> Option<Arc<Value>>;

    /// The object after the cache has everything that was acknowledged before; `None` also where that cannot be known.
    async fn get_fresh(&self, resource: &GroupResource, namespace: Option<&str>, name: &str) -> Option<Arc<Value>>;

    /// All objects (of a namespace).
    fn list(&self, resource: &GroupResource, namespace: Option<&str>) -> Vec<Arc<Value>>;

    /// Changes whenever an object of the resource does.
    fn generation(&self, resource: &GroupResource) -> i64;
}
