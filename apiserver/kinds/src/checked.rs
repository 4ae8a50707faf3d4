//! The strategy of kinds whose only rules are checks: a function for a new object, one for what an update may not change.

use machinery::field::ErrorList;
use serde_json::Value;
use writes::strategy::{Strategy, WriteContext};

/// Checks alone. Subresources are not checked.
pub struct Checked {
    /// Faults of an object by itself.
    pub object: fn(&Value) -> ErrorList,
    /// Faults of an update beside those.
    pub update: fn(&Value, &Value) -> ErrorList,
}

impl Checked {
    /// Only checks of the object by itself.
    pub fn object(object: fn(&Value) -> ErrorList) -> Self {
        Checked { object, update: |_, _| ErrorList::new() }
    }
}

impl Strategy for Checked {
    fn validate(&self, _: &WriteContext<'_>, obj: &Value) -> ErrorList {
        (self.object)(obj)
    }

    fn validate_update(&self, cx: &WriteContext<'_>, obj: &Value, old: &Value) -> ErrorList {
        if cx.subresource.is_some() {
            return ErrorList::new();
        }
        let mut errors = (self.object)(obj);
        errors.extend((self.update)(obj, old));
        errors
    }
}
