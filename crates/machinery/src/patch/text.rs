//! The text of a patched document as upstream's patch library (evanphx/json-patch v4) writes it, which clients see where
//! the result is not an object of its kind: containers that the library opened have their keys in name order, all else
//! is the original's text.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::go;

/// The containers of a document that a patch reads or changes the members of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    open: bool,
    inner: BTreeMap<String, Opened>,
}

impl Opened {
    /// By a merge patch: the document, and whatever the patch has an object for.
    pub fn by_merge(patch: &Value) -> Self {
        let Some(members) = patch.as_object() else { return Self::default() };
        let inner = members.iter().filter(|(_, value)| value.is_object());
        Self { open: true, inner: inner.map(|(key, value)| (key.clone(), Self::by_merge(value))).collect() }
    }

    /// Another container, with those on the way to it.
    pub fn add<'p>(&mut self, path: impl IntoIterator<Item = &'p str>) {
        let mut at = self;
        at.open = true;
        for part in path {
            at = at.inner.entry(part.to_owned()).or_default();
            at.open = true;
        }
    }
}

/// The text of `patched`, which was made of the document whose text is `original`.
pub fn patched(original: &str, patched: &Value, opened: &Opened) -> String {
    let mut out = String::with_capacity(original.len());
    let original = serde_json::from_str::<&RawValue>(original).ok();
    write(patched, original, Some(opened), &mut out);
    out
}

fn write(value: &Value, original: Option<&RawValue>, opened: Option<&Opened>, out: &mut String) {
    let untouched = !opened.is_some_and(|opened| opened.open);
    if let Some(original) = original.filter(|_| untouched)
        && is(original, value)
    {
        out.push_str(original.get());
        return;
    }
    let inner = |key: &str| opened.and_then(|opened| opened.inner.get(key));
    match value {
        Value::Object(members) => {
            let before: BTreeMap<String, &RawValue> = read(original).unwrap_or_default();
            for (at, (key, member)) in members.iter().enumerate() {
                out.push(if at == 0 { '{' } else { ',' });
                out.push_str(&go::json(&key.as_str().into()));
                out.push(':');
                write(member, before.get(key).copied(), inner(key), out);
            }
            out.push_str(if members.is_empty() { "{}" } else { "}" });
        }
        Value::Array(items) => {
            let before: Vec<&RawValue> = read(original).unwrap_or_default();
            for (at, item) in items.iter().enumerate() {
                out.push(if at == 0 { '[' } else { ',' });
                // Items move where others come or go.
                let there = before.iter().find(|original| is(original, item)).or(before.get(at));
                write(item, there.copied(), inner(&at.to_string()), out);
            }
            out.push_str(if items.is_empty() { "[]" } else { "]" });
        }
        scalar => out.push_str(&go::json(scalar)),
    }
}

fn is(original: &RawValue, value: &Value) -> bool {
    serde_json::from_str::<Value>(original.get()).is_ok_and(|original| original == *value)
}

fn read<'r, T: serde::Deserialize<'r>>(original: Option<&'r RawValue>) -> Option<T> {
    serde_json::from_str(original?.get()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ORIGINAL: &str = r#"{"kind":"K","apiVersion":"v1","metadata":{"name":"n","labels":{"b":"1","a":"2"}},"z":[{"y":1,"x":2},{"q":1,"p":2}],"d":{"v":"\u0026","u":1}}"#;

    #[test]
    fn only_what_a_merge_patch_looks_into_is_in_name_order() {
        let check = |patch: Value, expect: &str| {
            let document = serde_json::from_str(ORIGINAL).expect("JSON");
            let merged = crate::patch::merge::apply(document, patch.clone()).expect("a patch");
            assert_eq!(patched(ORIGINAL, &merged, &Opened::by_merge(&patch)), expect, "{patch}");
        };
        check(
            json!({ "d": { "q": 7 } }),
            r#"{"apiVersion":"v1","d":{"q":7,"u":1,"v":"\u0026"},"kind":"K","metadata":{"name":"n","labels":{"b":"1","a":"2"}},"z":[{"y":1,"x":2},{"q":1,"p":2}]}"#,
        );
        check(
            json!({ "metadata": { "name": null }, "z": null, "d": "x" }),
            r#"{"apiVersion":"v1","d":"x","kind":"K","metadata":{"labels":{"b":"1","a":"2"}}}"#,
        );
    }

    #[test]
    fn a_json_patch_opens_the_containers_of_its_paths() {
        let mut opened = Opened::default();
        opened.add(["z"]);
        let patch = json!([{ "op": "remove", "path": "/z/0" }]);
        let document: Value = serde_json::from_str(ORIGINAL).expect("JSON");
        let result = crate::patch::json::Patch::decode(patch).expect("a patch").apply(&document).expect("applies");
        let expect = r#"{"apiVersion":"v1","d":{"v":"\u0026","u":1},"kind":"K","metadata":{"name":"n","labels":{"b":"1","a":"2"}},"z":[{"q":1,"p":2}]}"#;
        assert_eq!(patched(ORIGINAL, &result, &opened), expect);
    }
}
