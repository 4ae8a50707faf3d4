//! The registry: every resource's store, and the one place where other parts of the server read objects.

use std::collections::HashMap;
use std::sync::Arc;

use machinery::gvk::GroupResource;
use machinery::status::StatusError;
use serde_json::Value;

pub mod catalogue;
pub mod strategy;

/// All resources of the server.
pub struct Registry {}

impl Registry {
    /// The object as the cache has it now, with resourceVersion; `None` where there is none. Never waits.
    pub fn get(&self, _resource: &GroupResource, _namespace: Option<&str>, _name: &str) -> Option<Arc<Value>> {
        None
    }

    /// The object after the cache has caught up with the store: for decisions that must not miss a write that was
    /// acknowledged before (a namespace just made).
    pub async fn get_consistent(
        &self,
        _resource: &GroupResource,
        _namespace: Option<&str>,
        _name: &str,
    ) -> Result<Option<Arc<Value>>, StatusError> {
        Ok(None)
    }

    /// All objects of a resource (in a namespace), decoded. For small resources (roles, priority classes, namespaces).
    pub fn list(&self, _resource: &GroupResource, _namespace: Option<&str>) -> Vec<Arc<Value>> {
        Vec::new()
    }

    /// A number that changes whenever any object of the resource changes: what an index built from `list` compares.
    pub fn generation(&self, _resource: &GroupResource) -> i64 {
        0
    }

    /// Creates an object inside the server (bootstrap, allocations): the same path as a request of a privileged caller
    /// from admission on. AlreadyExists and Invalid as a client would see them.
    pub async fn create(
        &self,
        _resource: &GroupResource,
        _namespace: Option<&str>,
        _obj: Value,
    ) -> Result<Value, StatusError> {
        Err(StatusError::internal("registry not wired"))
    }

    /// Changes an object inside the server, compare-and-swap with retries: `change` gets the stored object and returns
    /// the new one (unchanged: nothing is written).
    pub async fn update(
        &self,
        _resource: &GroupResource,
        _namespace: Option<&str>,
        _name: &str,
        _change: &mut (dyn for<'v> FnMut(&'v Value) -> Result<Value, StatusError> + Send),
    ) -> Result<Value, StatusError> {
        Err(StatusError::internal("registry not wired"))
    }

    /// Deletes an object inside the server at once; NotFound as a client would see it.
    pub async fn delete(
        &self,
        _resource: &GroupResource,
        _namespace: Option<&str>,
        _name: &str,
    ) -> Result<(), StatusError> {
        Err(StatusError::internal("registry not wired"))
    }
}

/// The rows by group and resource: what [`Registry`] is built from.
pub type Rows = HashMap<GroupResource, Vec<Arc<catalogue::Resource>>>;
