//! Custom resources: the rows that their definitions make, which come and go.

use machinery::gvk::version_order;
use model::descriptions::Texts;
use serde_json::Value;
use writes::Changing;

use super::{Entry, Found, Group, GroupVersion, Input, Source, rows};
use crate::openapi;

/// Upstream's priority of their groups (`pkg/controlplane/controller/crdregistration`).
const PRIORITY: i32 = 1_000;

/// See the module.
pub struct Custom(Changing);

impl Custom {
    /// Those of these rows, whatever they are at the time.
    pub fn new(rows: Changing) -> Self {
        Self(rows)
    }
}

impl Source for Custom {
    fn find(&self, group: &str, version: &str, resource: &str) -> Found {
        rows::find(&self.0.load(), group, version, resource)
    }

    fn groups(&self) -> Vec<Group> {
        let mut groups = rows::groups(&self.0.load(), |_| PRIORITY);
        // The versions of a group come from several definitions.
        for group in &mut groups {
            group.versions.sort_by(|a, b| version_order(b).cmp(&version_order(a)).then(a.cmp(b)));
        }
        groups
    }

    fn resources(&self, group: &str, version: &str) -> Option<Vec<Entry>> {
        rows::resources(&self.0.load(), group, version)
    }

    fn documents(&self) -> Vec<String> {
        openapi::of_rows::names(&self.0.load())
    }

    fn document(&self, name: &str, texts: &Texts) -> Option<Value> {
        openapi::of_rows::document(&self.0.load(), name, texts)
    }

    fn reduced(&self, document: Value) -> Value {
        openapi::of_rows::reduced(&self.0.load(), document)
    }

    fn inputs(&self, of: Option<GroupVersion<'_>>) -> Vec<Input> {
        rows::inputs(&self.0.load(), of)
    }

    fn facts(&self, of: Option<GroupVersion<'_>>, tell: &mut dyn FnMut(&str)) {
        openapi::of_rows::facts(&self.0.load(), of, tell);
    }
}
