//! Selectors against cache entries: labels and fields are extracted from an entry's bytes once, and nothing is decoded.
//!
//! Where a webhook converts a custom resource, they are those of the version that is asked for: what is in another one is
//! converted before it is looked at.

use std::sync::Arc;

use cache::Entry;
use machinery::selector::{FieldOperator, FieldSelector, LabelSelector};
use machinery::status::StatusError;
use model::options::List;
use model::resource::{Resource, SelectableField};

use super::{Registry, convert};

/// A label and a field selector, resolved against a resource.
pub struct Selection {
    namespace: Option<Box<str>>,
    labels: LabelSelector,
    fields: Vec<(Slot, bool, Box<str>)>,
    /// The resource's, which an entry is indexed by.
    selectable: Vec<SelectableField>,
    of_version: bool,
}

enum Slot {
    Name,
    Namespace,
    Field(usize),
}

impl Selection {
    /// 400 for fields the resource does not offer, with upstream's text.
    pub fn new(registry: &Registry, row: &Resource, options: &List) -> Result<Self, StatusError> {
        let storing = registry.storing(row);
        let fields = Self::resolve(storing, row, &options.fields)?;
        let (labels, selectable) = (options.labels.clone(), storing.selectable.clone());
        let inside = !labels.is_everything() || fields.iter().any(|(slot, ..)| matches!(slot, Slot::Field(_)));
        let of_version = inside && convert::may_change_selection(row);
        Ok(Self { namespace: None, labels, fields, selectable, of_version })
    }

    /// Fields by the names of the row that is asked, found where the row that stores has them.
    fn resolve(
        storing: &Resource,
        row: &Resource,
        selector: &FieldSelector,
    ) -> Result<Vec<(Slot, bool, Box<str>)>, StatusError> {
        selector
            .terms
            .iter()
            // As upstream, `=` says nothing.
            .filter(|r| !(r.field.is_empty() && r.value.is_empty()))
            .map(|r| {
                let slot = match r.field.as_str() {
                    "metadata.name" => Slot::Name,
                    "metadata.namespace" if row.namespaced || !names_its_fields(row) => Slot::Namespace,
                    field => {
                        let offered = |s: &&SelectableField| s.name == field && !row.withheld.contains(&s.name);
                        let named = row.selectable.iter().find(offered);
                        let at = named.and_then(|s| storing.selectable.iter().position(|t| t.path == s.path));
                        Slot::Field(at.ok_or_else(|| unsupported(row, field))?)
                    }
                };
                Ok((slot, r.operator == FieldOperator::Equals, r.value.as_str().into()))
            })
            .collect()
    }

    /// Only objects of that namespace, for watches (lists take a range of keys).
    pub fn within(&mut self, namespace: Option<&str>) {
        self.namespace = namespace.map(Box::from);
    }

    /// Whether everything matches.
    pub fn is_everything(&self) -> bool {
        self.fields.is_empty() && self.labels.is_everything()
    }

    /// Whether what matches is told by objects in the version that is asked for only.
    pub fn is_of_version(&self) -> bool {
        self.of_version
    }

    /// Those of the entries that may match, in the row's version.
    ///
    /// # Errors
    /// Where a webhook could not convert them.
    pub async fn in_version<'e>(
        &self,
        registry: &Registry,
        row: &Resource,
        entries: impl Iterator<Item = &'e Arc<Entry>>,
    ) -> Result<Vec<Arc<Entry>>, StatusError> {
        let by_key = entries.filter(|entry| self.matches_key(entry)).cloned().collect();
        convert::entries(registry, row, by_key).await
    }

    /// Whether an entry matches.
    pub fn matches(&self, entry: &Entry) -> bool {
        let field = |(slot, equals, value): &(Slot, bool, Box<str>)| match slot {
            Slot::Field(at) => (*entry.indexed(&self.selectable).fields[*at] == **value) == *equals,
            _ => true,
        };
        self.matches_key(entry)
            && self.fields.iter().all(field)
            && (self.labels.is_everything() || self.labels.matches(&*entry.indexed(&self.selectable).labels))
    }

    /// Whether an entry matches by its name and namespace.
    pub fn matches_key(&self, entry: &Entry) -> bool {
        let here = self.namespace.as_deref().is_none_or(|namespace| entry.namespace() == Some(namespace));
        here && self.fields.iter().all(|(slot, equals, value)| match slot {
            Slot::Name => (entry.name() == &**value) == *equals,
            Slot::Namespace => (entry.namespace().unwrap_or_default() == &**value) == *equals,
            Slot::Field(_) => true,
        })
    }
}

/// Whether a kind says itself which fields there are: one with fields of its own, and every custom one.
fn names_its_fields(row: &Resource) -> bool {
    !row.selectable.is_empty() || row.types.custom().is_some()
}

fn unsupported(row: &Resource, field: &str) -> StatusError {
    StatusError::bad_request(if names_its_fields(row) {
        format!("field label not supported: {field}")
    } else {
        let field = machinery::go::quote(field);
        format!("{field} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
    })
}
