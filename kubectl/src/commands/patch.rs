//! `kubectl patch`.

use machinery::{
    gvk::GroupVersionKind,
    patch::{merge, strategic},
};
use serde_json::Value;

use super::{Command, apply};
use crate::{
    cli::{
        context::{Call, Context},
        failure::{Failure, Outcome},
        flags::{Flag, optional, value},
    },
    printers::{self, DryRun, Format, done, dry_run},
    resource_builder::{files, select},
};

/// The table row.
pub const COMMAND: Command = Command {
    name: "patch",
    aliases: &[],
    flags: &[FLAGS, printers::FLAGS, files::FLAGS],
    sub: &[],
    run: super::action!(run),
};

const FLAGS: &[Flag] = &[
    value("patch").short('p'),
    value("patch-file"),
    value("type"),
    value("subresource"),
    value("field-manager"),
    optional("dry-run", "unchanged"),
];

/// The patch that makes one object of the other, and its media type: strategic for kinds whose schema is known, a merge
/// patch for others.
pub(super) fn between(original: &Value, modified: &Value) -> Outcome<(&'static str, Value)> {
    match apply::schema_of(&GroupVersionKind::of(original)) {
        Some(schema) => {
            let patch = strategic::two_way(original, modified, &schema);
            Ok(("application/strategic-merge-patch+json", patch.map_err(|error| Failure::new(error.to_string()))?))
        }
        None => Ok(("application/merge-patch+json", merge::diff(original, modified))),
    }
}

async fn run(context: Context) -> Outcome {
    let flags = &context.flags;
    let text = match (flags.get("patch"), flags.get("patch-file")) {
        (Some(_), Some(_)) => return Err(Failure::new("cannot specify --patch and --patch-file together")),
        (Some(text), None) => text.to_owned(),
        (None, Some(path)) => std::fs::read_to_string(path)
            .map_err(|error| Failure::new(format!("unable to read patch file: {error}")))?,
        (None, None) => {
            return Err(Failure::new("must specify --patch or --patch-file containing the contents of the patch"));
        }
    };
    let kind = match flags.or("type", "strategic").to_lowercase().as_str() {
        "strategic" => "application/strategic-merge-patch+json",
        "merge" => "application/merge-patch+json",
        "json" => "application/json-patch+json",
        other => {
            return Err(Failure::new(format!("--type must be one of [json merge strategic], not {other:?}")));
        }
    };
    // What begins as an object is the server's to read.
    let body = if text.trim_start().starts_with('{') {
        text
    } else {
        let read = machinery::yaml::from_either(text.as_bytes());
        let unread = |error| Failure::new(format!("unable to parse {text:?}: {error}"));
        read.map_err(unread)?.to_string()
    };
    let format = Format::of(&context)?;
    let dry = dry_run(&context)?;
    let (infos, mut failures) = select::infos(&context, &flags.args).await?;
    for mut info in infos {
        if info.object["metadata"]["uid"].is_null() {
            info.object = info.read(&context).await?;
        }
        let subresource = flags.get("subresource").map(|name| format!("/{name}")).unwrap_or_default();
        let mut call = Call::raw_patch(format!("{}{subresource}", info.path()), kind, body.clone().into_bytes())
            .query("fieldManager", flags.or("field-manager", "kubectl-patch"));
        // On paper: the server makes the patch, and does not keep it.
        if dry != DryRun::No {
            call = call.query("dryRun", "All");
        }
        match context.json(call).await {
            Ok(object) => {
                let changed = object["metadata"]["resourceVersion"] != info.object["metadata"]["resourceVersion"]
                    || (dry != DryRun::No && object != info.object);
                done(&context, &format, &info, &object, if changed { "patched" } else { "patched (no change)" })?;
            }
            Err(failure) => failures.push(failure),
        }
    }
    Failure::all(failures)
}
