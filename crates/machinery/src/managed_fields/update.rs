//! managedFields after a write that is no apply (`managedfields/internal`, `merge.Updater.Update`).

use super::{MergeSchema, Set, compare};
use crate::meta;
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::LazyLock;

// More managers than these that only update are folded into one.
const MAX_UPDATE_MANAGERS: usize = 10;
const ANCIENT: &str = "ancient-changes";

/// A write.
pub struct Update<'w> {
    /// The field manager; empty becomes `unknown`.
    pub manager: &'w str,
    /// The version in which the client wrote.
    pub api_version: &'w str,
    /// The subresource written to; empty for the object.
    pub subresource: &'w str,
    /// When.
    pub now: Timestamp,
    /// Fields that this write resets, with all below them: `["status"]` for the object, `["spec"]` for its status.
    pub resets: &'w [&'w [&'w str]],
}

struct Entry {
    manager: String,
    operation: String,
    api_version: String,
    subresource: String,
    time: String,
    fields: Set,
}

// What nobody owns.
static STRIPPED: LazyLock<Set> = LazyLock::new(|| {
    let mut out = Set::of(&["apiVersion"]);
    out.extend(Set::of(&["kind"]));
    out.extend(Set::of(&["metadata"]));
    for field in [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    ] {
        out.extend(Set::of(&["metadata", field]));
    }
    out
});

/// Sets `new`'s managedFields as upstream would after this write of it over `live` (null for a create).
pub fn update<'a, S: MergeSchema<'a>>(live: &Value, new: &mut Value, schema: S, write: &Update<'_>) {
    let given = new.get_mut("metadata").and_then(Value::as_object_mut).and_then(|m| m.remove("managedFields"));
    let of_live = || decode(live.pointer("/metadata/managedFields")).unwrap_or_default();
    let mut entries = if !write.subresource.is_empty() {
        of_live()
    } else if is_reset(given.as_ref()) {
        Vec::new()
    } else {
        match decode(given.as_ref()) {
            Some(entries) if !entries.is_empty() => entries,
            _ => of_live(),
        }
    };
    // An object that nobody tracks stays untracked, unless it is new.
    if entries.is_empty() && !meta::uid(live).is_empty() {
        return;
    }
    let empty = Value::Object(Map::new());
    let old = if live.is_null() { &empty } else { live };
    let mut found = compare(old, new, schema);
    for path in write.resets {
        found.exclude(&Set::of(path));
    }
    let mut own = found.added;
    own.extend(found.modified);
    for entry in &mut entries {
        entry.fields.subtract(&own);
        entry.fields.subtract(&found.removed);
    }
    own.subtract(&STRIPPED);
    if !own.is_empty() {
        let manager = if write.manager.is_empty() { "unknown" } else { write.manager };
        let time = write.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let previous = entries.iter_mut().find(|e| {
            e.operation == "Update"
                && e.manager == manager
                && e.api_version == write.api_version
                && e.subresource == write.subresource
        });
        match previous {
            Some(entry) => {
                entry.fields.extend(own);
                entry.time = time;
            }
            None => entries.push(Entry {
                manager: manager.to_owned(),
                operation: "Update".to_owned(),
                api_version: write.api_version.to_owned(),
                subresource: write.subresource.to_owned(),
                time,
                fields: own,
            }),
        }
    }
    entries.retain(|e| !e.fields.is_empty());
    cap(&mut entries);
    sort(&mut entries);
    if !entries.is_empty() {
        meta::set(new, "managedFields", entries.into_iter().map(encode).collect::<Vec<Value>>());
    }
}

// A client empties the list with `[]` or `[{}]`.
fn is_reset(given: Option<&Value>) -> bool {
    match given.and_then(Value::as_array).map(Vec::as_slice) {
        Some([]) => true,
        Some([only]) => only.as_object().is_some_and(Map::is_empty),
        _ => false,
    }
}

fn decode(list: Option<&Value>) -> Option<Vec<Entry>> {
    let mut out = Vec::new();
    for entry in list?.as_array()? {
        let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (operation, api_version) = (text("operation"), text("apiVersion"));
        let known = (operation == "Apply" || operation == "Update") && text("fieldsType") == "FieldsV1";
        if !known || api_version.is_empty() {
            return None;
        }
        let fields = entry.get("fieldsV1").map_or(Ok(Set::default()), Set::from_value).ok()?;
        out.push(Entry {
            manager: text("manager"),
            operation,
            api_version,
            subresource: text("subresource"),
            time: text("time"),
            fields,
        });
    }
    Some(out)
}

fn encode(entry: Entry) -> Value {
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| drop(out.insert(name.to_owned(), value));
    put("manager", entry.manager.into());
    put("operation", entry.operation.into());
    put("apiVersion", entry.api_version.into());
    put("fieldsType", "FieldsV1".into());
    put("fieldsV1", entry.fields.into_value());
    if !entry.time.is_empty() {
        put("time", entry.time.into());
    }
    if !entry.subresource.is_empty() {
        put("subresource", entry.subresource.into());
    }
    Value::Object(out)
}

// Times are RFC 3339 in UTC to the second: their texts sort as they do.
fn sort(entries: &mut [Entry]) {
    entries.sort_by(|a, b| {
        (&a.operation, &a.time, &a.manager, &a.api_version, &a.subresource).cmp(&(
            &b.operation,
            &b.time,
            &b.manager,
            &b.api_version,
            &b.subresource,
        ))
    });
}

fn cap(entries: &mut Vec<Entry>) {
    let updates = |entries: &[Entry]| entries.iter().filter(|e| e.operation == "Update").count();
    if updates(entries) <= MAX_UPDATE_MANAGERS {
        return;
    }
    sort(entries);
    let mut first_of_version: HashMap<String, Entry> = HashMap::new();
    let mut kept: Vec<Entry> = Vec::new();
    let mut left = updates(entries);
    for entry in std::mem::take(entries) {
        if entry.operation != "Update" || left <= MAX_UPDATE_MANAGERS {
            kept.push(entry);
            continue;
        }
        match first_of_version.get_mut(&entry.api_version) {
            None => {
                first_of_version.insert(entry.api_version.clone(), entry);
            }
            Some(bucket) => {
                bucket.manager = ANCIENT.to_owned();
                bucket.subresource = String::new();
                bucket.time = entry.time;
                bucket.fields.extend(entry.fields);
                left -= 1;
            }
        }
    }
    kept.extend(first_of_version.into_values());
    *entries = kept;
}
