//! Selectors against cache entries: labels and fields are extracted from an entry's bytes once, and nothing is decoded.

use machinery::selector::{FieldOperator, FieldSelector, LabelSelector};
use machinery::status::StatusError;

use super::Registry;
use super::catalogue::{Resource, SelectableField};
use super::options::List;
use crate::cache::Entry;

/// A label and a field selector, resolved against a resource.
pub struct Selection {
    namespace: Option<Box<str>>,
    labels: LabelSelector,
    fields: Vec<(Slot, bool, Box<str>)>,
    /// The resource's, which an entry is indexed by.
    selectable: Vec<SelectableField>,
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
        Ok(Self { namespace: None, labels: options.labels.clone(), fields, selectable: storing.selectable.clone() })
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

    /// Whether an entry matches.
    pub fn matches(&self, entry: &Entry) -> bool {
        let here = self.namespace.as_deref().is_none_or(|namespace| entry.namespace() == Some(namespace));
        here && self.fields.iter().all(|(slot, equals, value)| {
            let actual = match slot {
                Slot::Name => entry.name(),
                Slot::Namespace => entry.namespace().unwrap_or_default(),
                Slot::Field(at) => &entry.indexed(&self.selectable).fields[*at],
            };
            (actual == &**value) == *equals
        }) && (self.labels.is_everything() || self.labels.matches(&*entry.indexed(&self.selectable).labels))
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
