//! What the devices of a claim must have in common, or apart. Once it is broken, more devices do not mend it.
//!
//! Upstream: `matchAttributeConstraint` and `distinctAttributeConstraint` of `structured/internal/incubating`.

use k8s_openapi::api::resource::v1::{DeviceAttribute, DeviceConstraint};

use crate::inventory::Device;

/// A constraint, and the attributes of the devices that were taken so far, in the order in which they were.
pub(crate) struct Constraint {
    /// None: all requests.
    requests: Vec<String>,
    attribute: String,
    distinct: bool,
    taken: Vec<DeviceAttribute>,
}

impl Constraint {
    /// None if it is of a sort that is not known.
    pub(crate) fn new(constraint: &DeviceConstraint) -> Option<Self> {
        let (attribute, distinct) = match constraint {
            DeviceConstraint { match_attribute: Some(name), .. } => (name, false),
            DeviceConstraint { distinct_attribute: Some(name), .. } => (name, true),
            _ => return None,
        };
        let requests = constraint.requests.clone().unwrap_or_default();
        Some(Self { requests, attribute: attribute.clone(), distinct, taken: vec![] })
    }

    /// Takes a device for a request, `request` or `request/alternative`, if that is allowed.
    pub(crate) fn add(&mut self, request: &str, device: &Device) -> bool {
        if !self.concerns(request) {
            return true;
        }
        let Some(attribute) = device.attribute(&self.attribute) else { return false };
        let allowed = match (self.distinct, self.taken.first()) {
            (_, None) => true,
            (false, Some(first)) => equal(attribute, first) == Some(true),
            (true, Some(_)) => self.taken.iter().all(|other| equal(attribute, other) == Some(false)),
        };
        if allowed {
            self.taken.push(attribute.clone());
        }
        allowed
    }

    /// Gives back the device that was taken last.
    pub(crate) fn remove(&mut self, request: &str) {
        if self.concerns(request) {
            self.taken.pop();
        }
    }

    fn concerns(&self, request: &str) -> bool {
        let base = request.split('/').next().unwrap_or_default();
        self.requests.is_empty() || self.requests.iter().any(|name| name == request || name == base)
    }
}

/// None if the first is of a type that is not known.
fn equal(a: &DeviceAttribute, b: &DeviceAttribute) -> Option<bool> {
    match a {
        DeviceAttribute { string: Some(_), .. } => Some(a.string == b.string),
        DeviceAttribute { int: Some(_), .. } => Some(a.int == b.int),
        DeviceAttribute { bool: Some(_), .. } => Some(a.bool == b.bool),
        // A version has one form only.
        DeviceAttribute { version: Some(_), .. } => Some(a.version == b.version),
        _ => None,
    }
}
