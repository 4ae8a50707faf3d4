//! The entries of managedFields: read, told apart, ordered, limited in number, written
//! (`managedfields/internal/managedfields.go`, `capmanagers.go`).

use super::Set;
use crate::go;
use crate::json::Fields;
use serde_json::{Map, Value};
use std::collections::HashMap;

// More managers than these that only update are folded into one.
const MAX_UPDATE_MANAGERS: usize = 10;
const ANCIENT: &str = "ancient-changes";

/// How a manager came to own its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

/// What one manager owns.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub manager: String,
    pub operation: Operation,
    pub api_version: String,
    pub subresource: String,
    /// RFC 3339 in UTC to the second, so that texts sort as times do; empty for none.
    pub time: String,
    pub fields: Set,
}

impl Entry {
    /// Whether both are one manager's. One that applies has one entry, whatever version it applied in.
    pub fn is(&self, other: &Entry) -> bool {
        self.operation == other.operation
            && self.manager == other.manager
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    /// As conflicts name it: `"kubectl" using apps/v1`. (Upstream would add the time, and has lost it by then.)
    pub fn show(&self) -> String {
        let mut out = go::quote(&self.manager);
        if !self.subresource.is_empty() {
            out.push_str(&format!(" with subresource {}", go::quote(&self.subresource)));
        }
        if self.operation == Operation::Update {
            out.push_str(&format!(" using {}", self.api_version));
        }
        out
    }
}

/// Whether a client empties the list: with `[]` or `[{}]`.
pub(super) fn is_reset(given: Option<&Value>) -> bool {
    match given.and_then(Value::as_array).map(Vec::as_slice) {
        Some([]) => true,
        Some([only]) => only.as_object().is_some_and(Map::is_empty),
        _ => false,
    }
}

/// The entries of an object's list; why they are none.
pub(super) fn decode(list: Option<&Value>) -> Result<Vec<Entry>, String> {
    let Some(list) = list.and_then(Value::as_array) else { return Ok(Vec::new()) };
    let mut out: Vec<Entry> = Vec::with_capacity(list.len() + 1);
    for (at, entry) in list.iter().enumerate() {
        let operation = match entry.text("operation") {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return Err("operation must be `Apply` or `Update`".to_owned()),
        };
        if entry.text("apiVersion").is_empty() {
            return Err("apiVersion must not be empty".to_owned());
        }
        match entry.text("fieldsType") {
            "FieldsV1" => {}
            "" => return Err(format!("missing fieldsType in managed fields entry {at}")),
            other => return Err(format!("invalid fieldsType {} in managed fields entry {at}", go::quote(other))),
        }
        let entry = Entry {
            manager: entry.text("manager").to_owned(),
            operation,
            api_version: entry.text("apiVersion").to_owned(),
            subresource: entry.text("subresource").to_owned(),
            time: entry.text("time").to_owned(),
            fields: entry.get("fieldsV1").map_or(Ok(Set::default()), Set::from_value)?,
        };
        match out.iter_mut().find(|there| there.is(&entry)) {
            Some(there) => *there = entry,
            None => out.push(entry),
        }
    }
    Ok(out)
}

/// The list as an object carries it, in upstream's order; None for none.
pub(super) fn encode(mut entries: Vec<Entry>) -> Option<Value> {
    if entries.is_empty() {
        return None;
    }
    sort(&mut entries);
    Some(Value::Array(entries.into_iter().map(encode_one).collect()))
}

fn encode_one(entry: Entry) -> Value {
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| drop(out.insert(name.to_owned(), value));
    let operation = match entry.operation {
        Operation::Apply => "Apply",
        Operation::Update => "Update",
    };
    put("manager", entry.manager.into());
    put("operation", operation.into());
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

fn sort(entries: &mut [Entry]) {
    let key =
        |e: &Entry| (e.operation, e.time.clone(), e.manager.clone(), e.api_version.clone(), e.subresource.clone());
    if entries.len() > 1 {
        entries.sort_by_cached_key(key);
    }
}

/// Folds the oldest updates into one entry a version, until there are few enough.
pub(super) fn cap(entries: &mut Vec<Entry>) {
    let updates = |entries: &[Entry]| entries.iter().filter(|e| e.operation == Operation::Update).count();
    let mut left = updates(entries);
    if left <= MAX_UPDATE_MANAGERS {
        return;
    }
    sort(entries);
    let mut first_of_version: HashMap<String, Entry> = HashMap::new();
    let mut kept: Vec<Entry> = Vec::new();
    for entry in std::mem::take(entries) {
        if entry.operation != Operation::Update || left <= MAX_UPDATE_MANAGERS {
            kept.push(entry);
            continue;
        }
        match first_of_version.get_mut(&entry.api_version) {
            None => drop(first_of_version.insert(entry.api_version.clone(), entry)),
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
