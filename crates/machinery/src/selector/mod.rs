//! Label and field selectors: upstream's grammar, error texts and printing (`apimachinery/pkg/labels`, `pkg/fields`).

mod field;
mod label;
mod lexer;
mod parser;

pub use field::{FieldOperator, FieldSelector, FieldTerm, escape_value};
pub use label::{LabelSelector, Operator, Requirement};

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Something with named strings that a selector can ask: labels, or selectable fields.
pub trait Labels {
    /// The value under that name.
    fn value_of(&self, name: &str) -> Option<&str>;
}

impl Labels for Map<String, Value> {
    fn value_of(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_str)
    }
}

impl Labels for Value {
    fn value_of(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_str)
    }
}

impl Labels for BTreeMap<String, String> {
    fn value_of(&self, name: &str) -> Option<&str> {
        self.get(name).map(String::as_str)
    }
}

impl<K: AsRef<str>, V: AsRef<str>> Labels for [(K, V)] {
    fn value_of(&self, name: &str) -> Option<&str> {
        self.iter().find(|(k, _)| k.as_ref() == name).map(|(_, v)| v.as_ref())
    }
}

impl<K: AsRef<str>, V: AsRef<str>> Labels for Vec<(K, V)> {
    fn value_of(&self, name: &str) -> Option<&str> {
        self.as_slice().value_of(name)
    }
}

impl<T: Labels + ?Sized> Labels for Option<&T> {
    fn value_of(&self, name: &str) -> Option<&str> {
        self.and_then(|labels| labels.value_of(name))
    }
}

impl<T: Labels + ?Sized> Labels for &T {
    fn value_of(&self, name: &str) -> Option<&str> {
        (**self).value_of(name)
    }
}

#[cfg(test)]
mod tests;
