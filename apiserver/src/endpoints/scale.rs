//! The `scale` subresource: an `autoscaling/v1` Scale read from, and written through, an object with `spec.replicas`.
//! Where a kind keeps its replicas and selector is the same for all built-in kinds; only the selector's form differs.

use std::sync::Arc;

use http::{Response, StatusCode};
use machinery::field::{Error, ErrorList, Path};
use machinery::gvk::{GroupKind, GroupVersionKind};
use machinery::status::StatusError;
use serde_json::{Value, json};

use super::{Call, patch::Patch, update};
use crate::negotiation::{self, Body};
use crate::registry::catalogue::Resource;
use crate::registry::options::{FieldValidation, Write};
use crate::registry::store;

fn kind() -> GroupVersionKind {
    GroupVersionKind::new("autoscaling", "v1", "Scale")
}

pub(super) async fn handle(mut call: Call, row: &Arc<Resource>) -> Result<Response<Body>, StatusError> {
    let accept = call.accept(&kind())?;
    let name = call.info.name.clone();
    let scale = match call.info.verb {
        "get" => {
            call.server.registry.feed().caught_up().await?;
            let cache = call.server.registry.cache(row).ok_or_else(super::no_such_path)?;
            let entry = cache.get(&store::key(call.namespace(), &name));
            of(&entry.ok_or_else(|| StatusError::not_found(&row.group_resource(), &name))?.decode())
        }
        verb => {
            let options = Write::parse(&call.info.query, &call.parts.headers, "UpdateOptions")?;
            let bytes = call.bytes().await?;
            let wanted: Wanted = if verb == "patch" {
                let patch = Patch::parse(&call, &bytes)?;
                Box::new(move |old| {
                    Ok(negotiation::value(patch.apply(old, &kind())?, &kind(), FieldValidation::Ignore)?.object)
                })
            } else {
                let decoded = negotiation::object(&call.parts.headers, &bytes, &kind(), options.field_validation)?;
                Box::new(move |_| Ok(decoded.object.clone()))
            };
            let mut cx = call.write_context(row, options.dry_run);
            // To the store it is an ordinary update of the object, with spec.replicas changed.
            cx.subresource = None;
            let change = &mut |old: &Value| write(row, &name, &wanted(&of(old))?, old);
            of(&update::update(&cx, &name, &options, change).await?.entry.decode())
        }
    };
    Ok(negotiation::value_response(StatusCode::OK, &scale, &kind(), &accept))
}

/// Makes the wanted Scale from the stored one.
type Wanted = Box<dyn Fn(&Value) -> Result<Value, StatusError> + Send + Sync>;

/// The Scale of an object.
pub fn of(obj: &Value) -> Value {
    let meta = &obj["metadata"];
    let mut metadata = json!({});
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = meta.get(key) {
            metadata[key] = value.clone();
        }
    }
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
    json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": { "replicas": replicas("spec") },
        "status": { "replicas": replicas("status"), "selector": selector },
    })
}

/// The object with the Scale's replicas; 422 where they are negative, 409 where it is another object's.
fn write(row: &Resource, name: &str, scale: &Value, old: &Value) -> Result<Value, StatusError> {
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or_default();
    if replicas < 0 {
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
    obj["spec"]["replicas"] = json!(replicas);
    let meta = &scale["metadata"];
    // Preconditions are the client's; without them the write is unconditional.
    obj["metadata"]["resourceVersion"] = meta.get("resourceVersion").cloned().unwrap_or_else(|| json!(""));
    if let Some(uid) = meta.get("uid").filter(|uid| uid.as_str().is_some_and(|u| !u.is_empty()))
        && *uid != old["metadata"]["uid"]
    {
        let (asked, there) = (text(uid), text(&old["metadata"]["uid"]));
        let why = format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {there}");
        return Err(StatusError::conflict(&row.group_resource(), name, &why));
    }
    Ok(obj)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
