//! RFC 7396, and the three-way diff that client-side apply of custom resources makes.

use crate::status::StatusError;
use serde_json::{Map, Value};

/// Applies a merge patch. A patch that is neither object nor list is refused; a list replaces the document.
pub fn apply(document: Value, patch: Value) -> Result<Value, StatusError> {
    match (document, patch) {
        (Value::Object(mut document), Value::Object(patch)) => {
            merge(&mut document, patch);
            Ok(Value::Object(document))
        }
        (_, mut patch @ (Value::Object(_) | Value::Array(_))) => {
            prune_nulls(&mut patch);
            Ok(patch)
        }
        _ => Err(StatusError::bad_request("Invalid JSON Patch")),
    }
}

fn merge(document: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (key, mut value) in patch {
        if value.is_null() {
            document.remove(&key);
            continue;
        }
        if let (Some(Value::Object(inner)), true) = (document.get_mut(&key), value.is_object()) {
            if let Value::Object(value) = value {
                merge(inner, value);
            }
            continue;
        }
        prune_nulls(&mut value);
        document.insert(key, value);
    }
}

// Nulls in objects; those in lists are values.
fn prune_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(prune_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(prune_nulls),
        _ => {}
    }
}

/// The merge patch that makes `modified` of `original`.
pub fn diff(original: &Value, modified: &Value) -> Value {
    let (Value::Object(original), Value::Object(modified)) = (original, modified) else { return modified.clone() };
    let mut out = Map::new();
    for (key, new) in modified {
        match original.get(key) {
            Some(old) if old == new => {}
            Some(old) if old.is_object() && new.is_object() => {
                let inner = diff(old, new);
                if inner.as_object().is_some_and(|m| !m.is_empty()) {
                    out.insert(key.clone(), inner);
                }
            }
            _ => {
                out.insert(key.clone(), new.clone());
            }
        }
    }
    for key in original.keys().filter(|k| !modified.contains_key(*k)) {
        out.insert(key.clone(), Value::Null);
    }
    Value::Object(out)
}

/// The merge patch that brings `current` to `modified` and removes what was in `original` and is no longer in `modified`
/// (`jsonmergepatch.CreateThreeWayJSONMergePatch`).
pub fn three_way(original: &Value, modified: &Value, current: &Value) -> Value {
    let additions = keep(diff(current, modified), &|v| !v.is_null());
    let deletions = keep(diff(original, modified), &Value::is_null);
    let (mut patch, deletions) = match (additions, deletions) {
        (Value::Object(a), Value::Object(d)) => (a, d),
        (other, _) => return other,
    };
    overlay(&mut patch, deletions);
    Value::Object(patch)
}

// Leaves that the test holds for, and what leads to them.
fn keep(value: Value, test: &dyn Fn(&Value) -> bool) -> Value {
    let Value::Object(map) = value else { return value };
    let kept = map.into_iter().filter_map(|(k, v)| match v {
        Value::Object(inner) if !inner.is_empty() => {
            let inner = keep(Value::Object(inner), test);
            inner.as_object().is_some_and(|m| !m.is_empty()).then_some((k, inner))
        }
        v => test(&v).then_some((k, v)),
    });
    Value::Object(kept.collect())
}

fn overlay(onto: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (onto.get_mut(&key), value) {
            (Some(Value::Object(inner)), Value::Object(value)) => overlay(inner, value),
            (_, value) => {
                onto.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rfc_7396_examples() {
        for (document, patch, want) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
            (json!({}), json!({"a": [null, {"b": null}]}), json!({"a": [null, {}]})),
        ] {
            assert_eq!(apply(document, patch).map_err(|e| e.message), Ok(want));
        }
        assert_eq!(apply(json!({}), json!(1)).unwrap_err().message, "Invalid JSON Patch");
    }

    #[test]
    fn three_way_keeps_what_others_set() {
        let original = json!({"a": 1, "gone": 1, "deep": {"x": 1, "gone": 2}});
        let modified = json!({"a": 2, "deep": {"x": 1}, "new": {"y": 1}});
        let current = json!({"a": 1, "gone": 1, "deep": {"x": 1, "gone": 2, "theirs": 3}, "theirs": 1});
        let patch = three_way(&original, &modified, &current);
        assert_eq!(patch, json!({"a": 2, "gone": null, "deep": {"gone": null}, "new": {"y": 1}}));
        let merged = apply(current, patch).expect("an object");
        assert_eq!(merged, json!({"a": 2, "deep": {"x": 1, "theirs": 3}, "theirs": 1, "new": {"y": 1}}));
    }
}
