//! The names of a kind of resources.

use machinery::field::{Error, ErrorList, Path};
use machinery::names::dns1035_label;
use serde_json::Value;

use super::spec::texts;

pub(super) fn validate(names: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let text = |name: &str| names.get(name).and_then(Value::as_str).unwrap_or_default();
    for name in ["plural", "singular"] {
        let value = text(name);
        if !value.is_empty() {
            label(value, value, &path.child(name), "", &mut errors);
        }
    }
    for name in ["kind", "listKind"] {
        let value = text(name);
        let words = "may have mixed case, but should otherwise match: ";
        if !value.is_empty() {
            label(value, &value.to_lowercase(), &path.child(name), words, &mut errors);
        }
    }
    for (i, name) in texts(&names["shortNames"]).enumerate() {
        label(name, name, &path.child("shortNames").index(i), "", &mut errors);
    }
    if !text("kind").is_empty() && text("kind") == text("listKind") {
        let detail = "kind and listKind may not be the same";
        errors.push(Error::invalid(&path.child("listKind"), text("listKind"), detail));
    }
    for (i, name) in texts(&names["categories"]).enumerate() {
        label(name, name, &path.child("categories").index(i), "", &mut errors);
    }
    errors
}

fn label(value: &str, checked: &str, path: &Path, words: &str, errors: &mut ErrorList) {
    let faults = dns1035_label(checked);
    if !faults.is_empty() {
        errors.push(Error::invalid(path, value, format!("{words}{}", faults.join(","))));
    }
}
