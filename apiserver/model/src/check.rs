//! The words of validation: noting what is wrong with an object's fields, which [`machinery::json::Fields`] reads: values of
//! JSON are what is stored.

use machinery::field::{Error, ErrorList, Path};
use serde_json::Value;

/// Noting faults.
pub trait Faults {
    /// A value is missing.
    fn required(&mut self, path: &Path, detail: &str);
    /// A value breaks a rule.
    fn invalid(&mut self, path: &Path, value: impl Into<Value>, detail: impl Into<String>);
    /// A value may not be given here.
    fn forbidden(&mut self, path: &Path, detail: impl Into<String>);
    /// A value is given twice.
    fn duplicate(&mut self, path: &Path, value: impl Into<Value>);
    /// Something named is not there.
    fn not_found(&mut self, path: &Path, value: impl Into<Value>);
    /// A value is none of the known ones.
    fn unsupported(&mut self, path: &Path, value: impl Into<Value>, known: &[&str]);
    /// Each of a rule's messages about a value.
    fn each(&mut self, path: &Path, value: &str, messages: Vec<String>);
    /// A number below zero.
    fn nonnegative(&mut self, path: &Path, value: i64);
    /// A number not above zero.
    fn positive(&mut self, path: &Path, value: i64);

    /// A value that must be one of the known ones; empty is `Required value`.
    fn one_of(&mut self, path: &Path, value: &str, known: &[&str]) {
        if value.is_empty() {
            self.required(path, "");
        } else if !known.contains(&value) {
            self.unsupported(path, value, known);
        }
    }
}

impl Faults for ErrorList {
    fn required(&mut self, path: &Path, detail: &str) {
        self.push(Error::required(path, detail));
    }

    fn invalid(&mut self, path: &Path, value: impl Into<Value>, detail: impl Into<String>) {
        self.push(Error::invalid(path, value, detail));
    }

    fn forbidden(&mut self, path: &Path, detail: impl Into<String>) {
        self.push(Error::forbidden(path, detail));
    }

    fn duplicate(&mut self, path: &Path, value: impl Into<Value>) {
        self.push(Error::duplicate(path, value));
    }

    fn not_found(&mut self, path: &Path, value: impl Into<Value>) {
        self.push(Error::not_found(path, value));
    }

    fn unsupported(&mut self, path: &Path, value: impl Into<Value>, known: &[&str]) {
        self.push(Error::not_supported(path, value, known));
    }

    fn each(&mut self, path: &Path, value: &str, messages: Vec<String>) {
        self.extend(messages.into_iter().map(|m| Error::invalid(path, value, m)));
    }

    fn nonnegative(&mut self, path: &Path, value: i64) {
        if value < 0 {
            self.invalid(path, value, "must be greater than or equal to 0");
        }
    }

    fn positive(&mut self, path: &Path, value: i64) {
        if value <= 0 {
            self.invalid(path, value, "must be greater than zero");
        }
    }
}

/// Whether two fields say the same; absent, null, empty lists and empty maps are one.
pub fn same(a: Option<&Value>, b: Option<&Value>) -> bool {
    fn empty(v: Option<&Value>) -> bool {
        match v {
            None | Some(Value::Null) => true,
            Some(Value::Array(items)) => items.is_empty(),
            Some(Value::Object(map)) => map.values().all(|v| empty(Some(v))),
            _ => false,
        }
    }
    match (a, b) {
        _ if empty(a) || empty(b) => empty(a) && empty(b),
        (Some(Value::Object(a)), Some(Value::Object(b))) => a.keys().chain(b.keys()).all(|k| same(a.get(k), b.get(k))),
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(Some(a), Some(b)))
        }
        (a, b) => a == b,
    }
}

/// Copies a field from one object to another; absent there, it goes here.
pub fn keep(obj: &mut Value, old: &Value, field: &str) {
    let Some(map) = obj.as_object_mut() else { return };
    match old.get(field) {
        Some(value) => map.insert(field.to_owned(), value.clone()),
        None => map.remove(field),
    };
}

/// The messages of faults, for tests.
pub fn said(errors: &[Error]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}
