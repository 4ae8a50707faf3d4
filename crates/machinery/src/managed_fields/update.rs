//! managedFields after a write that is no apply (`managedfields/internal`, `merge.Updater.Update`).

use super::entry::{self, Entry, Operation};
use super::ownership::{Change, STRIPPED};
use super::{Resets, Versions};
use crate::{json::Fields, meta};
use jiff::Timestamp;
use serde_json::{Map, Value};

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
    /// Fields that this write resets, whatever it says.
    pub resets: Resets,
}

/// Sets `new`'s managedFields as upstream would after this write of it over `live` (null for a create).
pub fn update<'a, V: Versions<'a>>(live: &Value, new: &mut Value, versions: &V, write: &Update<'_>) {
    let given = new.get_mut("metadata").and_then(Value::as_object_mut).and_then(|m| m.remove("managedFields"));
    let of_live = || entry::decode(live.at("/metadata/managedFields")).unwrap_or_default();
    let mut entries = if !write.subresource.is_empty() {
        of_live()
    } else if entry::is_reset(given.as_ref()) {
        Vec::new()
    } else {
        match entry::decode(given.as_ref()) {
            Ok(entries) if !entries.is_empty() => entries,
            _ => of_live(),
        }
    };
    // An object that nobody tracks stays untracked, unless it is new.
    if entries.is_empty() && !meta::uid(live).is_empty() {
        return;
    }
    // As upstream, one whose fields cannot be told loses the list.
    if ![live, &*new].iter().all(|object| versions.fits(object, write.api_version)) {
        return;
    }
    note(&mut entries, live, new, versions, write);
    if let Some(list) = entry::encode(entries) {
        meta::set(new, "managedFields", list);
    }
}

/// Brings the entries up to date with a change that a manager made.
pub(super) fn note<'a, V: Versions<'a>>(
    entries: &mut Vec<Entry>,
    live: &Value,
    new: &Value,
    versions: &V,
    write: &Update<'_>,
) {
    let empty = Value::Object(Map::new());
    let old = if live.is_null() { &empty } else { live };
    let change = Change { versions, api_version: write.api_version, old, new, resets: write.resets };
    change.reconcile(entries);
    // Nothing is refused: with force, `take` has no conflicts.
    let Some(found) = change.take(entries, true).unwrap_or_default() else { return };
    let mut own = found.added;
    own.extend(found.modified);
    own.subtract(&STRIPPED);
    if !own.is_empty() {
        let entry = Entry {
            manager: if write.manager.is_empty() { "unknown" } else { write.manager }.to_owned(),
            operation: Operation::Update,
            api_version: write.api_version.to_owned(),
            subresource: write.subresource.to_owned(),
            time: crate::time::rfc3339(write.now),
            fields: own,
        };
        match entries.iter_mut().find(|there| there.is(&entry)) {
            Some(there) => {
                there.fields.extend(entry.fields);
                there.time = entry.time;
            }
            None => entries.push(entry),
        }
    }
    entry::cap(entries);
}
