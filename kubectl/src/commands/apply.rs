//! `kubectl apply`: brings objects to what manifests say.
//!
//! Client-side, the manifest as last applied is kept in an annotation; the patch is made of three: what was applied, what
//! is to be applied, and what is there. Server-side, the server does all of it.

use std::time::Duration;

use http::Method;
use machinery::json::Fields;
use serde_json::{Map, Value};

mod server_side;

use super::Command;
use crate::{
    cli::{
        context::{Call, Context},
        failure::{Failure, Outcome},
        flags::{Flag, optional, switch, value},
    },
    printers::{self, DryRun, Format, done, dry_run, to_compact_json},
    resource_builder::{Info, files},
};

/// The table row.
pub const COMMAND: Command = Command {
    name: "apply",
    aliases: &[],
    flags: &[FLAGS, printers::FLAGS, files::FLAGS],
    sub: &[VIEW],
    run: super::action!(run),
};

const VIEW: Command = Command {
    name: "view-last-applied",
    aliases: &[],
    flags: &[&[value("output").short('o'), value("selector").short('l')], files::FLAGS],
    sub: &[],
    run: super::action!(view),
};

const FLAGS: &[Flag] = &[
    value("selector").short('l'),
    switch("server-side"),
    switch("force-conflicts"),
    value("field-manager"),
    optional("dry-run", "unchanged"),
    optional("validate", "strict"),
    switch("overwrite"),
    switch("force"),
    value("grace-period"),
    value("timeout"),
    value("subresource"),
    switch("openapi-patch"),
    switch("all"),
];

/// Where the last applied manifest is kept.
pub const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Attempts at a patch that conflicts.
const ATTEMPTS: u32 = 5;

async fn run(context: Context) -> Outcome {
    if !files::given(&context) {
        return Err(Failure::new("must specify one of -f and -k"));
    }
    if !context.flags.args.is_empty() {
        return Err(context.flags.usage(&format!("Unexpected args: [{}]", context.flags.args.join(" "))));
    }
    if context.flags.is("force-conflicts") && !context.flags.is("server-side") {
        return Err(Failure::new("--force-conflicts only works with --server-side"));
    }
    let dry = dry_run(&context)?;
    if dry == DryRun::Client && context.flags.is("server-side") {
        let why = "--dry-run=client doesn't work with --server-side (did you mean --dry-run=server instead?)";
        return Err(Failure::new(why));
    }
    if context.flags.is("force") {
        if context.flags.is("server-side") {
            return Err(Failure::new("--force cannot be used with --server-side"));
        }
        if dry == DryRun::Server {
            return Err(Failure::new("--dry-run=server cannot be used with --force"));
        }
    }
    let format = Format::of(&context)?;
    let selector = machinery::selector::LabelSelector::parse(context.flags.or("selector", "")).map_err(Failure::new)?;
    let mut failures = Vec::new();
    for info in files::infos(&context).await? {
        let outcome = match info {
            Ok(info) if !selector.matches(&super::get::labels(&info.object, "labels")) => Ok(()),
            Ok(info) => one(&context, &format, info).await,
            Err(failure) => Err(failure),
        };
        failures.extend(outcome.err());
    }
    Failure::all(failures)
}

fn validation(context: &Context) -> &'static str {
    match context.flags.or("validate", "strict") {
        "warn" => "Warn",
        "ignore" | "false" => "Ignore",
        _ => "Strict",
    }
}

/// The query every write has: who writes, how strictly fields are checked, and whether it is kept.
pub fn write_query(context: &Context, call: Call, manager: &str) -> Outcome<Call> {
    let call = call
        .query("fieldManager", context.flags.or("field-manager", manager))
        .query("fieldValidation", validation(context));
    Ok(if dry_run(context)? == DryRun::Server { call.query("dryRun", "All") } else { call })
}

/// The manifest with itself in the annotation.
pub fn with_annotation(object: &Value) -> Value {
    let mut plain = object.clone();
    if let Some(annotations) = plain.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(ANNOTATION);
    }
    // As upstream's encoder writes it: the annotations are there even when there are none.
    if let Some(metadata) = plain.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.entry("annotations").or_insert_with(|| Value::Object(Map::new()));
    }
    let text = to_compact_json(&plain) + "\n";
    let mut annotated = plain;
    if let Some(annotations) = annotated.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.insert(ANNOTATION.to_owned(), Value::String(text));
    }
    annotated
}

async fn one(context: &Context, format: &Format, info: Info) -> Outcome {
    if info.name.is_empty() {
        let generated = info.object["metadata"].text("generateName");
        return Err(Failure::new(if generated.is_empty() {
            format!(
                "error when retrieving current configuration of:\nfrom server for: {:?}: resource name may not be empty",
                info.source
            )
        } else {
            format!("from {generated}: cannot use generate name with apply")
        }));
    }
    if context.flags.is("server-side") {
        return server_side::apply(context, format, &info).await;
    }
    let dry = dry_run(context)?;
    let modified = with_annotation(&info.object);
    let current = match info.read(context).await {
        Ok(current) => current,
        Err(failure) if failure.is_not_found() => {
            let mut object = modified;
            drop_nulls(&mut object);
            let made = if dry == DryRun::Client {
                object
            } else {
                let call = write_query(
                    context,
                    Call::send(Method::POST, info.collection(), &object),
                    "kubectl-client-side-apply",
                )?;
                context.json(call).await.map_err(|failure| failure.at_source("creating", &info.source))?
            };
            return done(context, format, &info, &made, "created");
        }
        Err(failure) => {
            return Err(failure.at_source(
                &format!("retrieving current configuration of:\n{}\nfrom server for:", describe(&info)),
                &info.source,
            ));
        }
    };
    if current["metadata"]["annotations"][ANNOTATION].is_null() {
        context.note(format_args!(
            "Warning: resource {} is missing the {ANNOTATION} annotation which is required by kubectl apply. kubectl apply should only be used on resources created declaratively by either kubectl create --save-config or kubectl apply. The missing annotation will be patched automatically.",
            info.plural_display()
        ));
    }
    let (changed, object) = patch(context, &info, &modified, current, dry).await?;
    warn_if_deleting(context, &object);
    done(context, format, &info, &object, if changed { "configured" } else { "unchanged" })
}

impl Info {
    /// `deployments/web`, as upstream's ObjectName.
    fn plural_display(&self) -> String {
        format!("{}/{}", self.resource.plural, self.name)
    }
}

fn describe(info: &Info) -> String {
    let resource = &info.resource;
    format!(
        "Resource: \"{}, Resource={}\", GroupVersionKind: \"{}, Kind={}\"\nName: {:?}, Namespace: {:?}",
        resource.api_version(),
        resource.plural,
        resource.api_version(),
        resource.kind,
        info.name,
        info.namespace
    )
}

fn warn_if_deleting(context: &Context, object: &Value) {
    if !object["metadata"]["deletionTimestamp"].is_null() {
        context.note(format_args!(
            "Warning: Detected changes to resource {} which is currently being deleted.",
            object["metadata"].text("name")
        ));
    }
}

/// The patch that applies, and its kind: strategic for kinds whose schema is known, a merge patch for others.
fn make_patch(info: &Info, modified: &Value, current: &Value) -> Outcome<(&'static str, Value)> {
    let original = current["metadata"]["annotations"][ANNOTATION].as_str().unwrap_or_default();
    let original: Value = if original.is_empty() {
        Value::Object(Map::new())
    } else {
        serde_json::from_str(original)
            .map_err(|error| Failure::new(format!("retrieving original configuration: {error}")))?
    };
    let gvk = machinery::gvk::GroupVersionKind::of(&info.object);
    if let Some(schema) = schema_of(&gvk) {
        let patch = machinery::patch::strategic::three_way(&original, modified, current, &schema).map_err(|error| {
            Failure::new(format!("creating patch: {error}")).at_source("applying patch to", &info.source)
        })?;
        return Ok(("application/strategic-merge-patch+json", patch));
    }
    Ok(("application/merge-patch+json", machinery::patch::merge::three_way(&original, modified, current)))
}

/// The schema that strategic patches of a kind follow; none for custom resources.
pub(super) fn schema_of(gvk: &machinery::gvk::GroupVersionKind) -> Option<api::patch::TypeSchema> {
    api::schema::of(gvk).map(api::patch::TypeSchema)
}

fn is_empty(patch: &Value) -> bool {
    patch.as_object().is_some_and(Map::is_empty)
}

/// Applies; whether something changed, and the object.
async fn patch(
    context: &Context,
    info: &Info,
    modified: &Value,
    mut current: Value,
    dry: DryRun,
) -> Outcome<(bool, Value)> {
    for attempt in 1.. {
        let (kind, patch) = make_patch(info, modified, &current)?;
        if is_empty(&patch) {
            return Ok((false, current));
        }
        if dry == DryRun::Client {
            return Ok((true, locally(info, kind, current, patch)));
        }
        let call = write_query(context, Call::patch(info.path(), kind, &patch), "kubectl-client-side-apply")?;
        match context.json(call).await {
            Ok(object) => return Ok((true, object)),
            Err(failure) if failure.is("Conflict") && attempt <= ATTEMPTS => {
                if attempt > 1 {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                current = info.read(context).await?;
            }
            Err(failure) if context.flags.is("force") && (failure.is("Conflict") || failure.is("Invalid")) => {
                return Ok((true, replace(context, info, modified).await?));
            }
            Err(failure) => {
                let what = format!("applying patch:\n{patch}\nto:\n{}\nfor:", describe(info));
                return Err(failure.at_source("patching", &info.source).at_source(&what, &info.source));
            }
        }
    }
    Ok((false, current))
}

fn locally(info: &Info, kind: &str, current: Value, patch: Value) -> Value {
    let unchanged = current.clone();
    if kind.starts_with("application/strategic") {
        let gvk = machinery::gvk::GroupVersionKind::of(&info.object);
        return schema_of(&gvk)
            .and_then(|schema| machinery::patch::strategic::apply(current, patch, &schema).ok())
            .unwrap_or(unchanged);
    }
    machinery::patch::merge::apply(current, patch).unwrap_or(unchanged)
}

/// `--force`: deletes, waits until it is gone, and creates.
async fn replace(context: &Context, info: &Info, modified: &Value) -> Outcome<Value> {
    let grace = context.flags.number("grace-period")?.filter(|seconds| *seconds >= 0);
    let mut options =
        serde_json::json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"});
    if let Some(seconds) = grace {
        options["gracePeriodSeconds"] = seconds.into();
    }
    context.json(Call::send(Method::DELETE, info.path(), &options)).await?;
    loop {
        match info.read(context).await {
            Err(failure) if failure.is_not_found() => break,
            Err(failure) => return Err(failure),
            Ok(_) => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
    let call =
        write_query(context, Call::send(Method::POST, info.collection(), modified), "kubectl-client-side-apply")?;
    context.json(call).await
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

async fn view(context: Context) -> Outcome {
    let (infos, failures) = crate::resource_builder::select::infos(&context, &context.flags.args).await?;
    Failure::all(failures)?;
    for info in infos {
        let object =
            if info.object["metadata"]["uid"].is_null() { info.read(&context).await? } else { info.object.clone() };
        let Some(text) = object["metadata"]["annotations"][ANNOTATION].as_str() else {
            return Err(Failure::new(format!(
                "no last-applied-configuration annotation found on resource: {}",
                info.name
            )));
        };
        let value: Value = serde_json::from_str(text).map_err(|error| Failure::new(error.to_string()))?;
        context.print(&if context.flags.or("output", "yaml") == "json" {
            printers::to_json_indented(&value, b"  ")
        } else {
            machinery::yaml::from_json(&value)
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_annotation_holds_the_manifest_without_itself() {
        let object = json!({"kind": "ConfigMap", "metadata": {"name": "a<b"}, "data": {"k": "v"}});
        let once = with_annotation(&object);
        let text = once["metadata"]["annotations"][ANNOTATION].as_str().unwrap();
        assert_eq!(
            text,
            "{\"data\":{\"k\":\"v\"},\"kind\":\"ConfigMap\",\"metadata\":{\"annotations\":{},\"name\":\"a\\u003cb\"}}\n"
        );
        assert_eq!(with_annotation(&once), once);
    }
}
