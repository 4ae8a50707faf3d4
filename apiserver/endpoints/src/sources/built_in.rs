//! The built-in kinds: the rows of the catalogue, stored and virtual.

use std::sync::Arc;

use kinds::catalogue::GROUPS;
use machinery::gvk::GroupResource;
use model::descriptions::Texts;
use serde_json::Value;
use writes::Rows;

use super::{Entry, Found, Group, GroupVersion, Input, Source, rows};
use crate::openapi;
use crate::virtual_::{self, Virtual};

/// See the module.
pub struct BuiltIn(Arc<Rows>);

impl BuiltIn {
    /// Those of these rows.
    pub fn new(rows: Arc<Rows>) -> Self {
        Self(rows)
    }
}

impl Source for BuiltIn {
    fn find(&self, group: &str, version: &str, resource: &str) -> Found {
        rows::find(&self.0, group, version, resource)
    }

    fn handler(&self, resource: &GroupResource, subresource: &str) -> Option<&dyn Virtual> {
        virtual_::handler(resource, subresource)
    }

    fn groups(&self) -> Vec<Group> {
        let priority =
            |name: &str| GROUPS.iter().find(|(group, _)| *group == name).map_or(0, |(_, priority)| *priority);
        rows::groups(&self.0, priority)
    }

    fn resources(&self, group: &str, version: &str) -> Option<Vec<Entry>> {
        rows::resources(&self.0, group, version)
    }

    /// Beside those of its groups' versions, one for each group, and those of what is no resource.
    fn documents(&self) -> Vec<String> {
        let mut names = openapi::groups::names(&self.0);
        names.extend(openapi::of_rows::names(&self.0));
        names
    }

    fn document(&self, name: &str, texts: &Texts) -> Option<Value> {
        let of_version = openapi::of_rows::document(&self.0, name, texts);
        of_version.or_else(|| openapi::groups::document(&self.0, name, texts))
    }

    fn inputs(&self, of: Option<GroupVersion<'_>>) -> Vec<Input> {
        rows::inputs(&self.0, of)
    }

    fn facts(&self, of: Option<GroupVersion<'_>>, tell: &mut dyn FnMut(&str)) {
        openapi::of_rows::facts(&self.0, of, tell);
    }
}
