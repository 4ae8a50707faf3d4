//! RFC 6902 as upstream's library (evanphx/json-patch v4) does it, with its liberties: negative indices count from the
//! end, `replace` of a missing key adds it, `test` of a missing key against null holds.

use super::text::Opened;
use crate::gvk::GroupResource;
use crate::json::Document;
use crate::status::StatusError;
use serde_json::Value;

/// Most operations in one patch.
pub const MAX_OPERATIONS: usize = 10_000;
/// Most bytes that `copy` operations of one patch may make.
pub const MAX_COPIED_BYTES: usize = 3 << 20;

/// A patch whose form was checked.
#[derive(Clone, Debug)]
pub struct Patch(Vec<Value>);

/// The patch cannot be applied to this document; the reason is for the log, clients get a fixed sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ApplyError(String);

impl From<ApplyError> for StatusError {
    fn from(error: ApplyError) -> Self {
        StatusError::generic_server_response(422, "", &GroupResource::default(), "", &error.0, 0)
    }
}

impl Patch {
    /// Checks that it is a list of objects, of no more than the allowed number.
    pub fn decode(patch: Value) -> Result<Self, StatusError> {
        let kind = crate::go::json_kind(&patch);
        let Value::Array(operations) = patch else {
            if patch.is_null() {
                return Ok(Patch(Vec::new()));
            }
            let message = format!("json: cannot unmarshal {kind} into Go value of type jsonpatch.Patch");
            return Err(StatusError::bad_request(message));
        };
        if let Some(bad) = operations.iter().find(|o| !o.is_object() && !o.is_null()) {
            let kind = crate::go::json_kind(bad);
            let message = format!("json: cannot unmarshal {kind} into Go value of type jsonpatch.Operation");
            return Err(StatusError::bad_request(message));
        }
        if operations.len() > MAX_OPERATIONS {
            return Err(StatusError::too_large(format!(
                "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
                operations.len()
            )));
        }
        Ok(Patch(operations))
    }

    /// What upstream's strict reading of a patch refuses: fields that no operation has, and keys given twice.
    ///
    /// # Errors
    /// Where it is no list of operations at all, in Go's words.
    pub fn strict(document: &Document) -> Result<Vec<String>, String> {
        let mismatch = |value: &Value, of: &str| {
            let kind = crate::go::json_kind(value);
            Err(format!("json: cannot unmarshal {kind} into Go {of}"))
        };
        let operations = match &document.value {
            Value::Null => return Ok(Vec::new()),
            Value::Array(operations) => operations,
            other => return mismatch(other, "value of type []handlers.jsonPatchOp"),
        };
        let mut refused: Vec<String> =
            document.duplicates.iter().map(|path| format!("json patch duplicate field {path:?}")).collect();
        for (at, operation) in operations.iter().enumerate() {
            let fields = match operation {
                Value::Null => continue,
                Value::Object(fields) => fields,
                other => return mismatch(other, "value of type handlers.jsonPatchOp"),
            };
            for (name, value) in fields {
                match name.as_str() {
                    "op" | "path" | "from" if !(value.is_string() || value.is_null()) => {
                        return mismatch(value, &format!("struct field jsonPatchOp.{name} of type string"));
                    }
                    "op" | "path" | "from" | "value" => {}
                    other => refused.push(format!("json patch unknown field \"[{at}].{other}\"")),
                }
            }
        }
        Ok(refused)
    }

    /// The containers that the operations have to do with.
    pub fn opened(&self) -> Opened {
        let mut opened = Opened::default();
        opened.add([]);
        for operation in &self.0 {
            let paths = ["path", "from"].into_iter().filter_map(|name| operation.get(name).and_then(Value::as_str));
            for (parent, _) in paths.filter_map(|path| path.rsplit_once('/')) {
                let parts: Vec<String> = parent.split('/').skip(1).map(unescape).collect();
                opened.add(parts.iter().map(String::as_str));
            }
        }
        opened
    }

    /// Applies all operations in order, or none.
    pub fn apply(&self, document: &Value) -> Result<Value, ApplyError> {
        let mut out = document.clone();
        let mut copied = 0;
        for operation in &self.0 {
            step(&mut out, operation, &mut copied).map_err(ApplyError)?;
        }
        Ok(out)
    }
}

fn step(document: &mut Value, operation: &Value, copied: &mut usize) -> Result<(), String> {
    let text = |name: &str| {
        operation.get(name).and_then(Value::as_str).ok_or_else(|| format!("operation failed to decode {name}"))
    };
    let value = || operation.get("value").cloned().unwrap_or(Value::Null);
    match text("op").unwrap_or("unknown") {
        "add" => {
            let (parent, key) = find(document, text("path")?)?;
            add(parent, &key, value())
        }
        "remove" => {
            let (parent, key) = find(document, text("path")?)?;
            remove(parent, &key).map(drop)
        }
        "replace" => {
            let path = text("path")?;
            if path.is_empty() {
                let value = value();
                if !value.is_object() && !value.is_array() {
                    return Err("replace operation value must be object or array".to_owned());
                }
                *document = value;
                return Ok(());
            }
            match find(document, path)? {
                (Value::Object(map), key) => {
                    map.insert(key, value());
                    Ok(())
                }
                (parent, key) => {
                    *element(parent, &key)? = value();
                    Ok(())
                }
            }
        }
        "move" => {
            let from = text("from")?;
            let (parent, key) = find(document, from)?;
            let moved = remove(parent, &key)?;
            let (parent, key) = find(document, text("path")?)?;
            add(parent, &key, moved)
        }
        "copy" => {
            let taken = get(document, text("from")?)?.unwrap_or(Value::Null);
            *copied += taken.to_string().len();
            if *copied > MAX_COPIED_BYTES {
                return Err(format!(
                    "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {MAX_COPIED_BYTES}"
                ));
            }
            let (parent, key) = find(document, text("path")?)?;
            add(parent, &key, taken)
        }
        "test" => {
            let path = text("path")?;
            let found = if path.is_empty() { Some(document.clone()) } else { get(document, path)? };
            if found.unwrap_or(Value::Null) == value() { Ok(()) } else { Err(format!("testing value {path} failed")) }
        }
        other => Err(format!("Unexpected kind: {other}")),
    }
}

fn unescape(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

// The container that a pointer's last part names a place in, and that part.
fn find<'a>(document: &'a mut Value, path: &str) -> Result<(&'a mut Value, String), String> {
    let missing = || format!("operation does not apply: doc is missing path: \"{path}\"");
    let mut parts: Vec<String> = path.split('/').skip(1).map(unescape).collect();
    let key = parts.pop().ok_or_else(missing)?;
    let mut at = document;
    for part in parts {
        at = match at {
            Value::Object(map) => map.get_mut(&part).ok_or_else(missing)?,
            list @ Value::Array(_) => element(list, &part).map_err(|_| missing())?,
            _ => return Err(missing()),
        };
    }
    if at.is_object() || at.is_array() { Ok((at, key)) } else { Err(missing()) }
}

fn get(document: &mut Value, path: &str) -> Result<Option<Value>, String> {
    match find(document, path)? {
        (Value::Object(map), key) => Ok(map.get(&key).cloned()),
        (list, key) => element(list, &key).map(|v| Some(v.clone())),
    }
}

fn index(key: &str, length: usize) -> Result<usize, String> {
    let given: i64 = key.parse().map_err(|_| format!("value was not a proper array index: '{key}'"))?;
    let from_end = i64::try_from(length).unwrap_or(i64::MAX);
    let at = if given < 0 { given + from_end } else { given };
    usize::try_from(at).ok().filter(|at| *at < length).ok_or_else(|| format!("Unable to access invalid index: {given}"))
}

fn element<'a>(list: &'a mut Value, key: &str) -> Result<&'a mut Value, String> {
    let items = list.as_array_mut().ok_or("not a list")?;
    let at = index(key, items.len())?;
    Ok(&mut items[at])
}

fn add(parent: &mut Value, key: &str, value: Value) -> Result<(), String> {
    match parent {
        Value::Object(map) => {
            map.insert(key.to_owned(), value);
        }
        Value::Array(items) if key == "-" => items.push(value),
        Value::Array(items) => {
            let at = index(key, items.len() + 1)?;
            items.insert(at, value);
        }
        _ => return Err("not a container".to_owned()),
    }
    Ok(())
}

fn remove(parent: &mut Value, key: &str) -> Result<Value, String> {
    match parent {
        Value::Object(map) => map.remove(key).ok_or_else(|| format!("Unable to remove nonexistent key: {key}")),
        Value::Array(items) => {
            let at = index(key, items.len())?;
            Ok(items.remove(at))
        }
        _ => Err("not a container".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn apply(document: Value, patch: Value) -> Result<Value, String> {
        Patch::decode(patch).map_err(|e| e.message)?.apply(&document).map_err(|e| e.to_string())
    }

    #[test]
    fn operations() {
        let doc = json!({"a": [1, 2], "b": {"c/d": 1, "e~f": 2}, "n": null});
        for (op, want) in [
            (json!({"op": "add", "path": "/a/-", "value": 3}), Ok(json!([1, 2, 3]))),
            (json!({"op": "add", "path": "/a/0", "value": 3}), Ok(json!([3, 1, 2]))),
            (json!({"op": "add", "path": "/a/2", "value": 3}), Ok(json!([1, 2, 3]))),
            (json!({"op": "add", "path": "/a/3", "value": 3}), Err("Unable to access invalid index: 3")),
            (json!({"op": "add", "path": "/a/-1", "value": 3}), Ok(json!([1, 2, 3]))),
            (json!({"op": "remove", "path": "/a/-1"}), Ok(json!([1]))),
            (json!({"op": "remove", "path": "/a/2"}), Err("Unable to access invalid index: 2")),
            (json!({"op": "remove", "path": "/x"}), Err("Unable to remove nonexistent key: x")),
            (
                json!({"op": "replace", "path": "/x/y", "value": 1}),
                Err("operation does not apply: doc is missing path: \"/x/y\""),
            ),
            (json!({"op": "replace", "path": "/new", "value": 1}), Ok(json!([1, 2]))),
            (json!({"op": "move", "from": "/a/0", "path": "/a/1"}), Ok(json!([2, 1]))),
            (json!({"op": "copy", "from": "/a/0", "path": "/a/-"}), Ok(json!([1, 2, 1]))),
            (json!({"op": "test", "path": "/b/c~1d", "value": 1}), Ok(json!([1, 2]))),
            (json!({"op": "test", "path": "/b/e~0f", "value": 1}), Err("testing value /b/e~0f failed")),
            (json!({"op": "test", "path": "/missing", "value": null}), Ok(json!([1, 2]))),
            (json!({"op": "jump", "path": "/a"}), Err("Unexpected kind: jump")),
        ] {
            let got = apply(doc.clone(), json!([op])).map(|d| d["a"].clone());
            assert_eq!(got, want.map_err(str::to_owned), "{op}");
        }
    }

    #[test]
    fn what_strict_reading_refuses() {
        let strict = |patch: &str| Patch::strict(&crate::json::from_slice(patch.as_bytes()).expect("JSON"));
        for (patch, expect) in [
            ("null", Ok(vec![])),
            (r#"[null,{"op":"test","path":"/a","value":1,"from":null}]"#, Ok(vec![])),
            (
                r#"[{"op":"add","x":1,"op":"add"}]"#,
                Ok(vec![r#"json patch duplicate field "[0].op""#, r#"json patch unknown field "[0].x""#]),
            ),
            ("{}", Err("json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp")),
            ("[7]", Err("json: cannot unmarshal number into Go value of type handlers.jsonPatchOp")),
            (r#"[{"op":7}]"#, Err("json: cannot unmarshal number into Go struct field jsonPatchOp.op of type string")),
        ] {
            let expect = expect.map(|told| told.into_iter().map(str::to_owned).collect()).map_err(str::to_owned);
            assert_eq!(strict(patch), expect, "{patch}");
        }
    }

    #[test]
    fn limits_and_form() {
        let many: Vec<Value> = (0..=MAX_OPERATIONS).map(|_| json!({"op": "test", "path": ""})).collect();
        let error = Patch::decode(many.into()).unwrap_err();
        assert_eq!(
            (error.code, &*error.message),
            (413, "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001")
        );
        let error = Patch::decode(json!({})).unwrap_err();
        assert_eq!(error.message, "json: cannot unmarshal object into Go value of type jsonpatch.Patch");
        let bomb: Vec<Value> =
            (0..40).map(|i| json!({"op": "copy", "from": "/a", "path": format!("/a/{i}")})).collect();
        assert!(apply(json!({"a": {"x": "y"}}), bomb.into()).unwrap_err().contains("exceeding the limit"));
        let status: StatusError = ApplyError("x".to_owned()).into();
        assert_eq!(
            (status.code, &*status.reason, &*status.message),
            (422, "Invalid", "the server rejected our request due to an error in our request")
        );
    }
}
