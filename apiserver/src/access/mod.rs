//! What access control reads of the cluster: objects from memory, and how old its own indexes are.
//!
//! Authentication, authorization and the bootstrap see the registry through this narrow trait, so that each is tested
//! on a handful of objects, without storage.

use std::sync::Arc;

use async_trait::async_trait;
use machinery::gvk::GroupResource;
use machinery::json::at;
use rand::RngExt;
use serde_json::Value;

use crate::registry::Registry;

pub mod pod_refs;
pub mod resources;
#[cfg(test)]
pub mod testing;

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

#[async_trait]
impl Lookup for Registry {
    fn get(&self, resource: &GroupResource, namespace: Option<&str>, name: &str) -> Option<Arc<Value>> {
        Registry::get(self, resource, namespace, name)
    }

    async fn get_fresh(&self, resource: &GroupResource, namespace: Option<&str>, name: &str) -> Option<Arc<Value>> {
        self.get_consistent(resource, namespace, name).await.ok().flatten()
    }

    fn list(&self, resource: &GroupResource, namespace: Option<&str>) -> Vec<Arc<Value>> {
        Registry::list(self, resource, namespace)
    }

    fn generation(&self, resource: &GroupResource) -> i64 {
        Registry::generation(self, resource)
    }
}

/// The string at a path ([`at`]), or empty.
pub fn text<'v>(value: &'v Value, path: &str) -> &'v str {
    at(value, path).and_then(Value::as_str).unwrap_or_default()
}

/// The array at a path, or empty.
pub fn items<'v>(value: &'v Value, path: &str) -> &'v [Value] {
    at(value, path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The strings of the array at a path.
pub fn texts(value: &Value, path: &str) -> Vec<String> {
    items(value, path).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Five characters that make no words, as upstream ends generated names.
pub fn random_suffix() -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut rng = rand::rng();
    (0..5).map(|_| ALPHABET[rng.random_range(0..ALPHABET.len())] as char).collect()
}

/// A new UUID, of the thread's own generator, which asks the kernel for a seed now and then and not for each.
pub fn random_uuid() -> String {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string()
}

pub use machinery::go::quote as quoted;

/// Go's `%q` of a list of strings: `["a" "b"]`.
pub fn quoted_list<T: AsRef<str>>(list: &[T]) -> String {
    let parts: Vec<String> = list.iter().map(|item| quoted(item.as_ref())).collect();
    format!("[{}]", parts.join(" "))
}
