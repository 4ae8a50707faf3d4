//! managedFields of a write: who owns which fields after it. The mechanism is `machinery::managed_fields`; this file
//! knows where a write's version, manager and resets are, and what a write that changes nothing else is worth.
//!
//! Fields are noted as the client's request gave them, before admission and allocation add theirs: nobody owns what the
//! server filled in.

use machinery::managed_fields::{Apply, Update, apply as merge, update};
use machinery::status::StatusError;
use serde_json::Value;

use super::options::{Ownership, Write};
use super::strategy::WriteContext;
use super::types::Types;

/// Notes who owns which fields after a write by any verb but apply, which has done so when it made the object.
pub fn on_write(cx: &WriteContext<'_>, old: Option<&Value>, obj: &mut Value, options: &Write) {
    let row = cx.resource;
    if options.ownership == Ownership::AsGiven {
        return;
    }
    let write = Update {
        manager: &options.field_manager,
        api_version: &row.api_version(),
        subresource: cx.subresource.unwrap_or_default(),
        now: cx.now,
        resets: row.resets(cx.subresource),
    };
    let old = old.unwrap_or(&Value::Null);
    match &row.types {
        Types::BuiltIn(_) => update(old, obj, &api::merge::Kind(&row.kind), &write),
        Types::Custom(custom) => update(old, obj, &custom.versions(), &write),
        Types::None => {}
    }
}

/// The object with a configuration applied to it, undefaulted, with its managedFields.
pub fn apply(cx: &WriteContext<'_>, live: &Value, config: &Value, options: &Write) -> Result<Value, StatusError> {
    let row = cx.resource;
    let write = Apply {
        manager: &options.field_manager,
        api_version: &row.api_version(),
        kind: &row.kind,
        subresource: cx.subresource.unwrap_or_default(),
        now: cx.now,
        resets: row.resets(cx.subresource),
        force: options.force,
    };
    match &row.types {
        Types::Custom(custom) => merge(live, config, &custom.versions(), &write),
        Types::BuiltIn(_) | Types::None => merge(live, config, &api::merge::Kind(&row.kind), &write),
    }
}

/// Where the two lists say the same but for times: whether they do, and are not the same.
pub fn differ_in_time_alone(obj: &Value, old: &Value) -> bool {
    let list = |v: &'_ Value| v.pointer("/metadata/managedFields").and_then(Value::as_array).cloned();
    let (Some(mut new), Some(mut old)) = (list(obj), list(old)) else { return false };
    if new.len() != old.len() || new == old {
        return false;
    }
    for entry in new.iter_mut().chain(&mut old).filter_map(Value::as_object_mut) {
        entry.remove("time");
    }
    new == old
}
