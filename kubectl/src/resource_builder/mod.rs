//! Which objects a command is about: kinds and names on the command line, or manifests in files.

pub mod files;
pub mod mapper;
pub mod select;

use std::sync::Arc;

use serde_json::Value;

use self::mapper::Resource;
use crate::cli::{
    context::{Call, Context},
    failure::Outcome,
};

/// One object.
#[derive(Clone, Debug)]
pub struct Info {
    /// Its kind's resource.
    pub resource: Arc<Resource>,
    /// Its namespace; empty for cluster-scoped ones.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The object as read; `null` when only named.
    pub object: Value,
    /// The file it came from; empty for none.
    pub source: String,
}

impl Info {
    /// `/api/v1/namespaces/x/pods/y`.
    pub fn path(&self) -> String {
        self.resource.path(&self.namespace, Some(&self.name))
    }

    /// `/api/v1/namespaces/x/pods`.
    pub fn collection(&self) -> String {
        self.resource.path(&self.namespace, None)
    }

    /// `deployment.apps/web`.
    pub fn display(&self) -> String {
        format!("{}/{}", self.resource.kind_group(), self.name)
    }

    /// Reads it from the server.
    pub async fn read(&self, context: &Context) -> Outcome<Value> {
        context.json(Call::get(self.path())).await
    }
}
