//! Route sources: where the groups' versions that the server has come from. Dispatch, discovery and OpenAPI ask them, in
//! order, and know of none what it is: built-in kinds, custom resources, another server's API.
//!
//! A group's version belongs to the first source that has it: all its resources, its place in discovery, its document. A
//! group may have versions of several sources.

use std::any::Any;
use std::cmp::Reverse;
use std::sync::Arc;

use async_trait::async_trait;
use component::Supervisor;
use http::Response;
use machinery::gvk::{GroupResource, GroupVersionKind};
use machinery::status::StatusError;
use model::descriptions::Texts;
use model::resource::{Resource, Text};
use negotiation::Body;
use serde_json::Value;
use writes::strategy::Kind;

use crate::virtual_::Virtual;
use crate::{Call, Server};

mod built_in;
mod custom;
mod metrics;
mod rows;
#[cfg(test)]
pub(crate) mod tests;

pub use built_in::BuiltIn;
pub use custom::Custom;
pub use metrics::Metrics;

/// Where some groups' versions come from. What a source says may change while the server runs.
pub trait Source: Send + Sync + 'static {
    /// What serves a resource.
    fn find(&self, group: &str, version: &str, resource: &str) -> Found;

    /// The code behind a kind of its own that stores nothing, or behind such a subresource.
    fn handler(&self, _resource: &GroupResource, _subresource: &str) -> Option<&dyn Virtual> {
        None
    }

    /// Its groups, for discovery.
    fn groups(&self) -> Vec<Group>;

    /// What is in a group's version, by name; `None` where that is not this source's.
    fn resources(&self, group: &str, version: &str) -> Option<Vec<Entry>>;

    /// The names of its OpenAPI documents (v3), which are the paths that they describe: `apis/apps/v1`.
    fn documents(&self) -> Vec<String>;

    /// One of them; `None` where there is none.
    fn document(&self, name: &str, texts: &Texts) -> Option<Value>;

    /// A document of its own with no more than OpenAPI v2 can say.
    fn reduced(&self, document: Value) -> Value {
        document
    }

    /// What its document of a group's version is made from, or what all of its documents are: while these are the same ones,
    /// so are the documents.
    fn inputs(&self, of: Option<GroupVersion<'_>>) -> Vec<Input>;

    /// Starts what it does beside answering requests.
    fn run(&self, _server: &Arc<Server>, _tasks: &Supervisor) {}

    /// Tells the same by its content, in pieces: clients know a document by their hash, also of a server that was started anew.
    fn facts(&self, of: Option<GroupVersion<'_>>, tell: &mut dyn FnMut(&str));
}

/// A group and one of its versions.
pub type GroupVersion<'a> = (&'a str, &'a str);

/// A part of what a document is made from, the same as long as it is the same allocation.
pub type Input = Arc<dyn Any + Send + Sync>;

/// What a source has at a path.
pub enum Found {
    /// The group's version is not this source's.
    Elsewhere,
    /// The group's version is this source's, and has no such resource.
    Nothing,
    /// A kind, served by the verbs.
    Kind(Kind),
    /// Code that serves the whole request.
    Whole(Arc<dyn Endpoint>),
}

/// Code that serves the requests for a resource by itself.
#[async_trait]
pub trait Endpoint: Send + Sync {
    /// Answers a request that is authorized.
    async fn serve(&self, call: Call) -> Result<Response<Body>, StatusError>;
}

/// A group in discovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name; empty for the core group.
    pub name: Text,
    /// Groups of a higher one come first, those of the same by name: an APIService's `groupPriorityMinimum`.
    pub priority: i32,
    /// Its versions, the preferred one first.
    pub versions: Vec<Text>,
}

/// A resource in discovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Plural name.
    pub resource: Text,
    /// Singular name.
    pub singular: Text,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// The kind; without group and version where these are the resource's and not said.
    pub kind: GroupVersionKind,
    /// Verbs, in the order in which they are shown.
    pub verbs: Vec<Text>,
    /// Short names.
    pub short_names: Vec<Text>,
    /// Categories.
    pub categories: Vec<Text>,
    /// Changes when the resource is stored in another version; empty where nothing is stored.
    pub storage_version_hash: String,
    /// Subresources, in the order in which they are shown.
    pub parts: Vec<Part>,
}

/// A subresource in discovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// `status`, `scale`, ...
    pub name: Text,
    /// The kind of its bodies, as with an entry.
    pub kind: GroupVersionKind,
    /// Verbs.
    pub verbs: Vec<Text>,
}

/// All sources, in the order in which they are asked.
#[derive(Clone)]
pub struct Sources(Arc<[Arc<dyn Source>]>);

impl Sources {
    /// Those sources.
    pub fn new(sources: impl IntoIterator<Item = Arc<dyn Source>>) -> Self {
        Self(sources.into_iter().collect())
    }

    /// What serves a resource.
    pub fn find(&self, group: &str, version: &str, resource: &str) -> Found {
        let mut asked = self.0.iter().map(|source| source.find(group, version, resource));
        asked.find(|found| !matches!(found, Found::Elsewhere)).unwrap_or(Found::Elsewhere)
    }

    /// Whether a resource is served.
    pub fn serves(&self, group: &str, version: &str, resource: &str) -> bool {
        matches!(self.find(group, version, resource), Found::Kind(_) | Found::Whole(_))
    }

    /// The code behind a kind that stores nothing, or behind such a subresource.
    pub fn handler(&self, row: &Resource, subresource: &str) -> Option<&dyn Virtual> {
        self.owner((&row.group, &row.version))?.handler(&row.group_resource(), subresource)
    }

    /// All groups in the order in which clients see them.
    pub fn groups(&self) -> Vec<Group> {
        let mut all: Vec<Group> = Vec::new();
        for group in self.0.iter().flat_map(|source| source.groups()) {
            let Some(same) = all.iter_mut().find(|known| known.name == group.name) else {
                all.push(group);
                continue;
            };
            same.priority = same.priority.max(group.priority);
            for version in group.versions {
                if !same.versions.contains(&version) {
                    same.versions.push(version);
                }
            }
        }
        all.sort_by(|a, b| (Reverse(a.priority), &a.name).cmp(&(Reverse(b.priority), &b.name)));
        all
    }

    /// What is in a group's version; `None` where there is none.
    pub fn resources(&self, group: &str, version: &str) -> Option<Vec<Entry>> {
        self.owner((group, version))?.resources(group, version)
    }

    /// Starts what sources do beside answering requests.
    pub fn run(&self, server: &Arc<Server>, tasks: &Supervisor) {
        self.iter().for_each(|source| source.run(server, tasks));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &dyn Source> {
        self.0.iter().map(|source| &**source)
    }

    /// Whose a group's version is.
    pub(crate) fn owner(&self, (group, version): GroupVersion<'_>) -> Option<&dyn Source> {
        self.iter().find(|source| !matches!(source.find(group, version, ""), Found::Elsewhere))
    }
}
