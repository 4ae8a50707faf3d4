//! kubectl's way from client-side to server-side apply: the annotation that client-side apply keeps says what is
//! kubectl's already, and follows what it applies here (`lastappliedmanager.go`, `lastappliedupdater.go`).

use super::{Set, Versions, check, compare, fields};
use crate::{go, meta};
use serde_json::{Map, Value};

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
// Of all annotations together, as validation has it.
const LIMIT_BYTES: usize = 256 * 1024;

fn of(object: &Value) -> Option<&str> {
    meta::annotations(object)?.get(ANNOTATION)?.as_str().filter(|text| !text.is_empty())
}

/// The fields that kubectl applied on the client's side, and that are still as it applied them.
pub(super) fn allowed<'a, V: Versions<'a>>(live: &Value, versions: &V, api_version: &str) -> Option<Set> {
    let last: Value = serde_json::from_str(of(live)?).ok()?;
    if meta::api_version(&last) != api_version {
        return None;
    }
    let schema = versions.schema(api_version)?;
    check(&last, schema).ok()?;
    let mut out = fields(&last, schema);
    let found = compare(&last, live, schema);
    for changed in [&found.modified, &found.added, &found.removed] {
        out.subtract(changed);
    }
    Some(out)
}

/// Where the object has the annotation, makes it the configuration.
pub(super) fn renew(object: &mut Value, config: &Value) {
    if of(object).is_none() {
        return;
    }
    let mut config = config.clone();
    if let Some(annotations) = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(ANNOTATION);
    }
    let text = go::json(&config) + "\n";
    let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) else { return };
    annotations.insert(ANNOTATION.to_owned(), text.into());
    if size(annotations) > LIMIT_BYTES {
        annotations.remove(ANNOTATION);
    }
}

fn size(annotations: &Map<String, Value>) -> usize {
    annotations.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum()
}
