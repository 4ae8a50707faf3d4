//! Selectors against cache entries: labels and fields were extracted when the entry was made, so nothing is decoded.

use machinery::selector::{FieldOperator, FieldSelector, LabelSelector};
use machinery::status::StatusError;

use super::catalogue::Resource;
use super::options::List;
use crate::cache::Entry;

/// A label and a field selector, resolved against a resource.
pub struct Selection {
    namespace: Option<Box<str>>,
    labels: LabelSelector,
    fields: Vec<(Slot, bool, Box<str>)>,
}

enum Slot {
    Name,
    Namespace,
    Field(usize),
}

impl Selection {
    /// 400 for fields the resource does not offer, with upstream's text.
    pub fn new(row: &Resource, options: &List) -> Result<Self, StatusError> {
        let fields = Self::resolve(row, &options.fields)?;
        Ok(Self { namespace: None, labels: options.labels.clone(), fields })
    }

    fn resolve(row: &Resource, selector: &FieldSelector) -> Result<Vec<(Slot, bool, Box<str>)>, StatusError> {
        selector
            .terms
            .iter()
            .map(|r| {
                let slot = match r.field.as_str() {
                    "metadata.name" => Slot::Name,
                    "metadata.namespace" if row.namespaced => Slot::Namespace,
                    field => {
                        let at = row
                            .selectable
                            .iter()
                            .position(|s| s.name == field && !row.withheld.contains(&s.name))
                            .ok_or_else(|| unsupported(row, field))?;
                        Slot::Field(at)
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
                Slot::Field(at) => &entry.fields[*at],
            };
            (actual == &**value) == *equals
        }) && self.labels.matches(&*entry.labels)
    }
}

fn unsupported(row: &Resource, field: &str) -> StatusError {
    let error = if row.namespaced || !row.selectable.is_empty() || row.types.custom().is_some() {
        format!("field label not supported: {field}")
    } else {
        format!("\"{field}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
    };
    StatusError::bad_request(format!(
        "Unable to find \"{}\" that match label selector \"\", field selector \"{field}\": {error}",
        row.group_version_resource()
    ))
}
