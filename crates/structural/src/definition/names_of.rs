//! The names of a kind of resources.

use machinery::field::{Error, ErrorList, Path};
use machinery::json::Fields;
use machinery::names::dns1035_label;
use serde_json::Value;

pub(super) fn validate(names: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for name in ["plural", "singular"] {
        let value = names.text(name);
        if !value.is_empty() {
            label(value, value, &path.child(name), "", &mut errors);
        }
    }
    for name in ["kind", "listKind"] {
        let value = names.text(name);
        let words = "may have mixed case, but should otherwise match: ";
        if !value.is_empty() {
            label(value, &value.to_lowercase(), &path.child(name), words, &mut errors);
        }
    }
    for (i, name) in names.texts("shortNames").enumerate() {
        label(name, name, &path.child("shortNames").index(i), "", &mut errors);
    }
    if !names.text("kind").is_empty() && names.text("kind") == names.text("listKind") {
        let detail = "kind and listKind may not be the same";
        errors.push(Error::invalid(&path.child("listKind"), names.text("listKind"), detail));
    }
    for (i, name) in names.texts("categories").enumerate() {
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
