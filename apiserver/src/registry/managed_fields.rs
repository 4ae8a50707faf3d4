//! managedFields of a write: who owns which fields after it. The mechanism is `machinery::managed_fields`; this file
//! knows which parts a write to an object or a subresource resets, and so does not own.

use machinery::managed_fields::{Update, update};
use serde_json::Value;

use super::options::Write;
use super::strategy::WriteContext;

/// Notes who owns which fields after a write by any verb but apply.
pub fn on_write(cx: &WriteContext<'_>, old: Option<&Value>, obj: &mut Value, options: &Write) {
    let row = cx.resource;
    let Some(schema) = api::schema::of(&row.kind()) else { return };
    let resets: &[&[&str]] = match cx.subresource {
        Some("status") => &[&["spec"]],
        None if row.has_status() => &[&["status"]],
        _ => &[],
    };
    let write = Update {
        manager: &options.field_manager,
        api_version: &row.api_version(),
        subresource: cx.subresource.unwrap_or_default(),
        now: cx.now,
        resets,
    };
    update(old.unwrap_or(&Value::Null), obj, api::merge::root(schema), &write);
}
