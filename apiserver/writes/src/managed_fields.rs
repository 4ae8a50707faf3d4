//! managedFields of a write: who owns which fields after it. The mechanism is `machinery::managed_fields`; this file
//! knows where a write's version, manager and resets are, and what a write that changes nothing else is worth.
//!
//! Fields are noted as the client's request gave them, before admission and allocation add theirs: nobody owns what the
//! server filled in.

use machinery::json::Fields;
use machinery::managed_fields::{Apply, Resets, Update, apply as merge, update};
use machinery::status::StatusError;
use model::custom::conversion::Conversions;
use model::options::{Ownership, Write};
use model::types::Types;
use serde_json::Value;

use super::strategy::WriteContext;

/// Notes who owns which fields after a write by any verb but apply, which has done so when it made the object.
pub async fn on_write(cx: &WriteContext<'_>, old: Option<&Value>, obj: &mut Value, options: &Write) {
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
        Types::Custom(custom) => {
            let conversions = Conversions::default();
            // A conversion by name lacks nothing: it needs no second run.
            let given = (!custom.conversion.is_by_name()).then(|| obj.clone());
            update(old, obj, &custom.versions(&conversions), &write);
            while let Some(given) = &given
                && conversions.make(cx.registry, custom).await
            {
                obj.clone_from(given);
                update(old, obj, &custom.versions(&conversions), &write);
            }
        }
        Types::None => {}
    }
}

/// The object with a configuration applied to it, undefaulted, with its managedFields. What comes out does not count while
/// `conversions` lack one: make them, and ask again.
pub fn apply(
    cx: &WriteContext<'_>,
    live: &Value,
    config: &Value,
    options: &Write,
    conversions: &Conversions,
) -> Result<Value, StatusError> {
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
        Types::Custom(custom) => merge(live, config, &custom.versions(conversions), &write),
        Types::BuiltIn(_) | Types::None => merge(live, config, &api::merge::Kind(&row.kind), &write),
    }
}

/// The Scale as a write of it leaves it, with its managedFields: a change of it, or an apply of a configuration to it.
pub fn of_scale(
    cx: &WriteContext<'_>,
    old: &Value,
    write: ScaleWrite<'_>,
    options: &Write,
) -> Result<Value, StatusError> {
    let versions = api::merge::Kind("Scale");
    let (manager, api_version, subresource, resets) =
        (options.field_manager.as_str(), "autoscaling/v1", "scale", Resets(&[]));
    match write {
        ScaleWrite::Change(mut scale) => {
            let write = Update { manager, api_version, subresource, now: cx.now, resets };
            update(old, &mut scale, &versions, &write);
            Ok(scale)
        }
        ScaleWrite::Apply(config) => {
            let write =
                Apply { manager, api_version, kind: "Scale", subresource, now: cx.now, resets, force: options.force };
            merge(old, config, &versions, &write)
        }
    }
}

/// How a Scale is written.
pub enum ScaleWrite<'w> {
    /// To be that.
    Change(Value),
    /// By a configuration.
    Apply(&'w Value),
}

/// Where the two lists say the same but for times: whether they do, and are not the same.
pub fn differ_in_time_alone(obj: &Value, old: &Value) -> bool {
    let (new, old) = (list(obj), list(old));
    let but_for_time = |new: &Value, old: &Value| match (new.as_object(), old.as_object()) {
        (Some(new), Some(old)) => {
            let is_rest = |(key, _): &(&String, &Value)| *key != "time";
            new.iter().filter(is_rest).eq(old.iter().filter(is_rest))
        }
        _ => false,
    };
    new.len() == old.len() && new != old && new.iter().zip(old).all(|(new, old)| but_for_time(new, old))
}

fn list(object: &Value) -> &[Value] {
    object.sub("metadata").list("managedFields")
}
