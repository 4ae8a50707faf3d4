//! A cluster of a few objects in a map.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use machinery::gvk::GroupResource;
use machinery::meta;
use model::lookup::Lookup;
use parking_lot::RwLock;
use serde_json::Value;

type Key = (String, String, String);

/// See the module.
#[derive(Default)]
pub struct Objects {
    objects: RwLock<BTreeMap<Key, Arc<Value>>>,
    generation: AtomicI64,
}

fn key(resource: &GroupResource, namespace: Option<&str>, name: &str) -> Key {
    (resource.to_string(), namespace.unwrap_or_default().to_owned(), name.to_owned())
}

impl Objects {
    /// Adds or replaces an object, by its metadata.
    pub fn put(&self, resource: &GroupResource, object: Value) -> &Self {
        let namespace = meta::namespace(&object).to_owned();
        let name = meta::name(&object).to_owned();
        self.objects.write().insert(key(resource, Some(&namespace), &name), Arc::new(object));
        self.generation.fetch_add(1, Ordering::Relaxed);
        self
    }
}

#[async_trait]
impl Lookup for Objects {
    fn get(&self, resource: &GroupResource, namespace: Option<&str>, name: &str) -> Option<Arc<Value>> {
        self.objects.read().get(&key(resource, namespace, name)).cloned()
    }

    async fn get_fresh(&self, resource: &GroupResource, namespace: Option<&str>, name: &str) -> Option<Arc<Value>> {
        self.get(resource, namespace, name)
    }

    fn list(&self, resource: &GroupResource, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let resource = resource.to_string();
        let objects = self.objects.read();
        let wanted = objects.iter().filter(|((r, n, _), _)| *r == resource && namespace.is_none_or(|ns| ns == n));
        wanted.map(|(_, object)| object.clone()).collect()
    }

    fn generation(&self, _: &GroupResource) -> i64 {
        self.generation.load(Ordering::Relaxed)
    }
}
