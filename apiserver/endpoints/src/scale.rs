//! The `scale` subresource: an `autoscaling/v1` Scale read from, and written through, an object with `spec.replicas`.
//! Where a kind keeps its replicas and selector is the same for all built-in kinds, and only the selector's form differs;
//! a custom resource's definition says where.

use bytes::Bytes;
use http::{Response, StatusCode};
use machinery::field::{Error, ErrorList, Path};
use machinery::gvk::{GroupKind, GroupVersionKind};
use machinery::json::Fields;
use machinery::managed_fields::{ReplicasPath, to_parent, to_scale};
use machinery::status::StatusError;
use model::custom::Scale;
use model::custom::scale::set;
use model::options::{Ownership, Write};
use model::resource::Resource;
use model::types::Types;
use negotiation::Body;
use serde_json::{Value, json};
use writes::managed_fields::{self, ScaleWrite};
use writes::strategy::{Kind, WriteContext};
use writes::{convert, update};

use super::Call;
use super::apply::Configuration;
use super::patch::{self, Patch};

fn kind() -> GroupVersionKind {
    GroupVersionKind::new("autoscaling", "v1", "Scale")
}

fn types() -> Types {
    Types::of(&kind())
}

pub(super) async fn handle(mut call: Call, row: &Kind) -> Result<Response<Body>, StatusError> {
    let accept = call.accept(&kind())?;
    let name = call.info.name.clone();
    let scale = match call.info.verb {
        "get" => {
            call.server.registry.feed().caught_up().await?;
            let cache = call.server.registry.cache(row).ok_or_else(crate::dispatch::no_such_path)?;
            let entry = cache.get(&model::store::key(call.namespace(), &name));
            let entry = entry.ok_or_else(|| StatusError::not_found(&row.group_resource(), &name))?;
            let obj = convert::entry(&call.server.registry, row, &entry).await?.decode();
            let scale = of(row, &obj)?;
            if let Some(paths) = paths(row).filter(|paths| !paths.sets_replicas(&obj)) {
                let path = machinery::go::quote(&paths.spec_replicas);
                return Err(StatusError::internal(format!("the spec replicas field {path} does not exist")));
            }
            scale
        }
        verb => {
            if verb == "patch" {
                patch::accepted(&call, row)?;
            }
            let (query, headers) = (&call.info.query, &call.parts.headers);
            let apply = verb == "patch" && patch::media_type(&call) == patch::APPLY;
            let options = match verb {
                "patch" => Write::parse_patch(query, headers, apply)?,
                _ => Write::parse(query, headers, "UpdateOptions")?,
            };
            let bytes = call.bytes().await?;
            let wanted = Wanted::parse(&call, verb, apply, bytes, &options)?;
            let mut cx = call.write_context(row, options.dry_run);
            // To the store it is an ordinary update of the object, with spec.replicas changed.
            cx.subresource = None;
            let stored = Write { ownership: Ownership::AsGiven, ..options.clone() };
            let change = &mut |old: &Value| write(&cx, &name, &wanted, old, &options);
            let entry = update::update(&cx, &name, &stored, change).await?.entry;
            of(row, &convert::entry(&call.server.registry, row, &entry).await?.decode())?
        }
    };
    Ok(negotiation::value_response(StatusCode::OK, &scale, &kind(), &accept))
}

/// What the client asks for.
enum Wanted {
    Scale(Value),
    Patch(Patch),
    Apply(Configuration),
}

impl Wanted {
    fn parse(call: &Call, verb: &str, apply: bool, bytes: Bytes, options: &Write) -> Result<Self, StatusError> {
        Ok(match verb {
            "patch" if apply => Self::Apply(Configuration::parse(&bytes)?),
            "patch" => Self::Patch(Patch::new(call, bytes)?),
            _ => {
                let decoded =
                    negotiation::object(&call.parts.headers, &bytes, &kind(), &types(), options.field_validation)?;
                Self::Scale(decoded.object)
            }
        })
    }

    /// The Scale as the client wants it, with its managedFields.
    fn of(&self, cx: &WriteContext<'_>, old: &Value, options: &Write) -> Result<Value, StatusError> {
        let change = |scale| managed_fields::of_scale(cx, old, ScaleWrite::Change(scale), options);
        match self {
            Self::Scale(scale) => change(scale.clone()),
            Self::Patch(patch) => change(patch.apply(old, &kind(), &types(), options.field_validation)?.object),
            Self::Apply(config) => {
                let applied = managed_fields::of_scale(cx, old, ScaleWrite::Apply(config.value()), options)?;
                let schema = types().built_in().ok_or_else(StatusError::no_such_resource)?;
                Ok(api::decode::unstructured(applied, schema).map_err(|error| StatusError::unknown(error.0))?.value)
            }
        }
    }
}

/// Where the versions of the row's objects keep their replicas.
fn replicas_path(row: &Resource) -> Box<ReplicasPath<'_>> {
    match row.types.custom() {
        Some(custom) => Box::new(|version| Some(custom.replicas.get(version)?.iter().map(String::as_str).collect())),
        None => Box::new(|version| {
            let known = matches!(version, "v1" | "apps/v1" | "apps/v1beta1" | "apps/v1beta2");
            known.then(|| vec!["spec", "replicas"])
        }),
    }
}

/// What stands for replicas that were never set, to whoever changes them.
const UNSET: i32 = i32::MIN;

/// Where a custom resource has its numbers.
fn paths(row: &Resource) -> Option<&Scale> {
    row.types.custom()?.scale.as_ref()
}

/// The Scale that an update or patch begins with.
fn before(row: &Resource, old: &Value) -> Result<Value, StatusError> {
    let mut scale = of(row, old)?;
    if paths(row).is_some_and(|paths| !paths.sets_replicas(old)) {
        scale["spec"]["replicas"] = UNSET.into();
    }
    Ok(scale)
}

/// The Scale of an object.
fn of(row: &Resource, obj: &Value) -> Result<Value, StatusError> {
    let (replicas, observed, selector) = match paths(row) {
        Some(paths) => paths.read(obj).map_err(StatusError::internal)?,
        None => built_in(obj),
    };
    let meta = &obj["metadata"];
    let mut metadata = json!({});
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = meta.get(key) {
            metadata[key] = value.clone();
        }
    }
    Ok(json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": { "replicas": replicas },
        "status": { "replicas": observed, "selector": selector },
    }))
}

/// Replicas wanted and observed, and the selector, of a built-in kind.
fn built_in(obj: &Value) -> (i64, i64, String) {
    let selector = match &obj["spec"]["selector"] {
        selector @ Value::Object(members)
            if members.contains_key("matchLabels") || members.contains_key("matchExpressions") =>
        {
            machinery::selector::LabelSelector::from_value(Some(selector)).map(|s| s.to_string()).unwrap_or_default()
        }
        Value::Object(labels) => {
            labels.iter().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect::<Vec<_>>().join(",")
        }
        _ => String::new(),
    };
    let replicas = |part: &str| obj[part]["replicas"].as_i64().unwrap_or_default();
    (replicas("spec"), replicas("status"), selector)
}

/// The object with the Scale's replicas; 422 where they are negative, 409 where it is another object's.
fn write(
    cx: &WriteContext<'_>,
    name: &str,
    wanted: &Wanted,
    old: &Value,
    options: &Write,
) -> Result<Value, StatusError> {
    let row = cx.resource;
    let owners = |list: Result<Option<Value>, String>| list.map_err(StatusError::unknown);
    let in_object = old.pointer("/metadata/managedFields");
    let mut old_scale = before(row, old)?;
    if let Some(list) = owners(to_scale(in_object, &*replicas_path(row)))? {
        machinery::meta::set(&mut old_scale, "managedFields", list);
    }
    let scale = &wanted.of(cx, &old_scale, options)?;
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or_default();
    let custom = paths(row);
    if let Some(paths) = custom.filter(|_| replicas == i64::from(UNSET)) {
        let path = machinery::go::quote(&paths.spec_replicas);
        return Err(StatusError::bad_request(format!("the spec replicas field {path} cannot be empty")));
    }
    // A custom resource's replicas are looked at with the rest of it.
    if replicas < 0 && custom.is_none() {
        let path = Path::new("spec").child("replicas");
        let errors = ErrorList::from_iter([Error::invalid(&path, replicas, "must be greater than or equal to 0")]);
        return Err(StatusError::invalid(&GroupKind::new("autoscaling", "Scale"), name, errors));
    }
    let given = machinery::meta::name(scale);
    if !given.is_empty() && given != name {
        return Err(StatusError::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        )));
    }
    let mut obj = old.clone();
    set(&mut obj, custom.map_or(".spec.replicas", |paths| &paths.spec_replicas), json!(replicas));
    let in_scale = scale.pointer("/metadata/managedFields");
    let list = owners(to_parent(in_object, in_scale, &row.api_version(), &*replicas_path(row)))?;
    machinery::meta::set(&mut obj, "managedFields", list.unwrap_or_default());
    let meta = &scale["metadata"];
    // Preconditions are the client's; without them the write is to the object as it is.
    if let Some(version) = meta.get("resourceVersion") {
        obj["metadata"]["resourceVersion"] = version.clone();
    }
    let (asked, there) = (meta.text("uid"), machinery::meta::uid(old));
    if !asked.is_empty() && asked != there {
        let why = format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {there}");
        return Err(StatusError::conflict(&row.group_resource(), name, &why));
    }
    Ok(obj)
}
