//! Server-side apply: the object and its managedFields after a configuration is applied (`merge.Updater.Apply`, and the
//! managers around it in `managedfields/internal`).

use super::entry::{self, Entry, Operation};
use super::ownership::{self, Change, Conflict, STRIPPED};
use super::update::{Update, note};
use super::{Resets, Versions, check, fields, last_applied, merge, prune};
use crate::gvk::{GroupVersion, GroupVersionKind};
use crate::status::StatusError;
use crate::{json::Fields, meta};
use jiff::Timestamp;
use serde_json::{Map, Value};

// Owns what is there when an object is applied to that nobody tracks.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// An apply.
pub struct Apply<'w> {
    /// The field manager.
    pub manager: &'w str,
    /// The version of the request, the live object and the configuration.
    pub api_version: &'w str,
    /// The kind that the endpoint is for.
    pub kind: &'w str,
    /// The subresource applied to; empty for the object.
    pub subresource: &'w str,
    /// When.
    pub now: Timestamp,
    /// Fields that this write resets, whatever it says.
    pub resets: Resets,
    /// Take fields from other managers instead of failing.
    pub force: bool,
}

enum Refusal {
    Conflicts(Vec<Conflict>),
    Status(StatusError),
}

impl From<StatusError> for Refusal {
    fn from(error: StatusError) -> Self {
        Refusal::Status(error)
    }
}

/// The live object with the configuration applied, undefaulted, and its managedFields. `live` is an object of nothing but
/// kind and apiVersion where there is none yet.
pub fn apply<'a, V: Versions<'a>>(
    live: &Value,
    config: &Value,
    versions: &V,
    write: &Apply<'_>,
) -> Result<Value, StatusError> {
    // What has no version that can be read has no kind either.
    let version = GroupVersion::parse(meta::api_version(config));
    let given = version.map_or_else(|_| GroupVersionKind::default(), |version| version.with_kind(meta::kind(config)));
    if meta::api_version(config) != write.api_version || given.kind != write.kind {
        let message = format!("invalid object type: {}/{}, Kind={}", given.group, given.version, given.kind);
        return Err(StatusError::bad_request(message));
    }
    let entries = entry::decode(live.at("/metadata/managedFields"))
        .map_err(|why| StatusError::unknown(format!("failed to decode managed fields: {why}")))?;
    let attempt = |force| once(live, config, entries.clone(), versions, write, force);
    let mut outcome = attempt(write.force);
    if write.manager == "kubectl"
        && let Err(Refusal::Conflicts(conflicts)) = &mut outcome
        && let Some(allowed) = last_applied::allowed(live, versions, write.api_version)
    {
        // What kubectl applied before it applied here is its own.
        conflicts.iter_mut().for_each(|conflict| conflict.fields.subtract(&allowed));
        conflicts.retain(|conflict| !conflict.fields.is_empty());
        if conflicts.is_empty() {
            outcome = attempt(true);
        }
    }
    let (mut object, entries) = outcome.map_err(|refusal| match refusal {
        Refusal::Conflicts(conflicts) => ownership::refuse(conflicts),
        Refusal::Status(error) => error,
    })?;
    if write.manager == "kubectl" {
        last_applied::renew(&mut object, config);
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    if let Some(list) = entry::encode(entries) {
        meta::set(&mut object, "managedFields", list);
    }
    Ok(object)
}

/// An object as upstream's errors of an apply name it: `default/x; apps/v1, Kind=Deployment`.
pub fn about(object: &Value) -> String {
    format!("{}/{}; {}", meta::namespace(object), meta::name(object), meta::gvk(object))
}

fn once<'a, V: Versions<'a>>(
    live: &Value,
    config: &Value,
    mut entries: Vec<Entry>,
    versions: &V,
    write: &Apply<'_>,
    force: bool,
) -> Result<(Value, Vec<Entry>), Refusal> {
    let (api_version, resets) = (write.api_version, write.resets);
    if entries.is_empty() {
        let before =
            Update { manager: BEFORE_FIRST_APPLY, api_version, subresource: write.subresource, now: write.now, resets };
        note(&mut entries, &Value::Null, live, versions, &before);
    }
    if config.at("/metadata/managedFields").is_some_and(Value::is_array) {
        return Err(StatusError::bad_request("metadata.managedFields must be nil").into());
    }
    let schema = versions
        .schema(api_version)
        .ok_or_else(|| StatusError::unknown(format!("no corresponding type for {api_version}, {}", write.kind)))?;
    check(config, schema).map_err(|why| {
        StatusError::unknown(format!("failed to create typed patch object ({}): {why}", about(config)))
    })?;
    let merged =
        merge(live, config, schema).map_err(|why| StatusError::unknown(format!("failed to merge config: {why}")))?;

    let mut own = Entry {
        manager: write.manager.to_owned(),
        operation: Operation::Apply,
        api_version: api_version.to_owned(),
        subresource: write.subresource.to_owned(),
        time: String::new(),
        fields: fields(config, schema),
    };
    resets.filter(&mut own.fields);
    Change { versions, api_version, old: live, new: live, resets }.reconcile(&mut entries);
    let last = entries.iter().position(|e| e.is(&own)).map(|at| entries.swap_remove(at));
    if let Some(last) = &last {
        own.time.clone_from(&last.time);
    }
    let new = match &last {
        Some(last) => prune(merged, versions, last, &own, &entries),
        None => merged,
    };
    Change { versions, api_version, old: live, new: &new, resets }
        .take(&mut entries, force)
        .map_err(Refusal::Conflicts)?;
    own.fields.subtract(&STRIPPED);
    if *live != new {
        own.time = crate::time::rfc3339(write.now);
    }
    if !own.fields.is_empty() {
        entries.push(own);
    }
    Ok((new, entries))
}

/// An object of nothing but its kind, as `live` where there is none yet.
pub fn nothing(api_version: &str, kind: &str) -> Value {
    let mut out = Map::new();
    out.insert("apiVersion".to_owned(), api_version.into());
    out.insert("kind".to_owned(), kind.into());
    Value::Object(out)
}
