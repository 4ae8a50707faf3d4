//! `kubectl apply --server-side`: the manifest is sent as it is, and the server does the rest; then what an earlier
//! client-side apply owned is handed over, so that dropping a field from the manifest removes it. Follows
//! `kubectl/pkg/cmd/apply/apply.go` and `client-go/util/csaupgrade`.

use machinery::json::Fields;
use machinery::managed_fields::Set;
use serde_json::{Value, json};

use super::{ANNOTATION, warn_if_deleting, write_query};
use crate::{
    cli::{
        context::{Call, Context},
        failure::{Failure, Outcome},
    },
    printers::{Format, done},
    resource_builder::Info,
};

/// The manager of a server-side apply, unless another is named.
const MANAGER: &str = "kubectl";
/// Keeps the annotation of client-side applies, which the manifest does not have.
const ANNOTATION_MANAGER: &str = "kubectl-last-applied";
/// Attempts at handing over that conflict.
const ATTEMPTS: usize = 5;

pub(super) async fn apply(context: &Context, format: &Format, info: &Info) -> Outcome {
    let subresource = context.flags.get("subresource").map(|name| format!("/{name}")).unwrap_or_default();
    let mut object = match send(context, info, &subresource).await {
        Ok(object) => object,
        Err(failure) if failure.is("Conflict") => return Err(advise(&failure)),
        Err(failure) => return Err(failure),
    };
    let retried = "This is non-fatal and will be retried next time you apply. Error:";
    match migrate(context, info, &mut object).await {
        Ok(false) => {}
        Ok(true) => match send(context, info, "").await {
            Ok(again) => object = again,
            Err(failure) => context.note(format_args!(
                "Warning: failed to re-apply configuration after performing Server-Side Apply migration. {retried} {}",
                failure.bare()
            )),
        },
        Err((Step::Annotation, failure)) => {
            context.note(format_args!(
                "Warning: failed to migrate {ANNOTATION} for Server-Side Apply. {retried} {}",
                failure.bare()
            ));
        }
        Err((Step::Fields, failure)) => context.note(format_args!(
            "Warning: server rejected managed fields migration to Server-Side Apply. {retried} {}",
            failure.bare()
        )),
    }
    warn_if_deleting(context, &object);
    done(context, format, info, &object, "serverside-applied")
}

async fn send(context: &Context, info: &Info, subresource: &str) -> Outcome<Value> {
    let path = format!("{}{subresource}", info.path());
    let force = if context.flags.is("force-conflicts") { "true" } else { "false" };
    let call = write_query(context, Call::patch(path, "application/apply-patch+yaml", &info.object), MANAGER)?;
    context.json(call.query("force", force)).await
}

fn advise(failure: &Failure) -> Failure {
    Failure::new(format!(
        "{}\nPlease review the fields above--they currently have other managers. Here\nare the ways you can resolve this warning:\n* If you intend to manage all of these fields, please re-run the apply\n  command with the `--force-conflicts` flag.\n* If you do not intend to manage all of the fields, please edit your\n  manifest to remove references to the fields that should keep their\n  current managers.\n* You may co-own fields by updating your manifest to match the existing\n  value; in this case, you'll become the manager if the other manager(s)\n  stop managing the field (remove it from their configuration).\nSee https://kubernetes.io/docs/reference/using-api/server-side-apply/#conflicts",
        failure.bare()
    ))
}

enum Step {
    Annotation,
    Fields,
}

/// Hands over; whether there was something to.
async fn migrate(context: &Context, info: &Info, object: &mut Value) -> Result<bool, (Step, Failure)> {
    let manager = context.flags.or("field-manager", MANAGER).to_owned();
    if manager == MANAGER && keeps_annotation(object) {
        *object = keep_annotation(context, info, object).await.map_err(|failure| (Step::Annotation, failure))?;
    }
    for _ in 0..ATTEMPTS {
        let Some(patch) = handover(object, &manager) else { return Ok(false) };
        let call = write_query(context, Call::patch(info.path(), "application/json-patch+json", &patch), MANAGER)
            .map_err(|failure| (Step::Fields, failure))?;
        match context.json(call).await {
            Ok(after) => {
                *object = after;
                return Ok(true);
            }
            Err(failure) if failure.is("Conflict") => {
                *object = info.read(context).await.map_err(|failure| (Step::Fields, failure))?;
            }
            Err(failure) => return Err((Step::Fields, failure)),
        }
    }
    Ok(false)
}

fn entries(object: &Value) -> &[Value] {
    object.sub("metadata").list("managedFields")
}

fn owns_annotation(entry: &Value) -> bool {
    let element = format!("f:{ANNOTATION}");
    Set::from_value(&entry["fieldsV1"]).is_ok_and(|set| set.contains(&["f:metadata", "f:annotations", &element]))
}

/// Whether the annotation is there and nobody applies it.
fn keeps_annotation(object: &Value) -> bool {
    machinery::meta::annotation(object, ANNOTATION).is_some()
        && !entries(object).iter().any(|entry| entry["operation"] == "Apply" && owns_annotation(entry))
}

async fn keep_annotation(context: &Context, info: &Info, object: &Value) -> Outcome<Value> {
    let mut metadata = json!({
        "name": object["metadata"]["name"],
        "annotations": { ANNOTATION: object["metadata"]["annotations"][ANNOTATION] },
    });
    if !object["metadata"]["namespace"].is_null() {
        metadata["namespace"] = object["metadata"]["namespace"].clone();
    }
    let kept = json!({"apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": metadata});
    let mut call =
        write_query(context, Call::patch(info.path(), "application/apply-patch+yaml", &kept), ANNOTATION_MANAGER)?;
    for (key, value) in &mut call.query {
        if key == "fieldManager" {
            ANNOTATION_MANAGER.clone_into(value);
        }
    }
    context.json(call).await
}

/// The patch that gives `manager`'s apply what the client-side appliers of the object own; None where there are none.
fn handover(object: &Value, manager: &str) -> Option<Value> {
    let is = |entry: &Value, name: &Value, operation: &str| {
        entry["manager"] == *name && entry["operation"] == operation && entry["subresource"].as_str().is_none()
    };
    let mut list = entries(object).to_vec();
    let appliers: Vec<Value> = list
        .iter()
        .filter(|entry| entry["operation"] == "Update" && owns_annotation(entry))
        .map(|entry| entry["manager"].clone())
        .collect();
    for applier in appliers {
        let own = list.iter().position(|entry| is(entry, &manager.into(), "Apply"));
        let Some(at) = own.or_else(|| list.iter().position(|entry| is(entry, &applier, "Update"))) else { continue };
        if own.is_none() {
            list[at]["operation"] = "Apply".into();
            list[at]["manager"] = manager.into();
        }
        let version = list[at]["apiVersion"].clone();
        let theirs = list.iter().find(|entry| is(entry, &applier, "Update") && entry["apiVersion"] == version);
        if let Some(theirs) = theirs {
            let mut set = Set::from_value(&list[at]["fieldsV1"]).ok()?;
            set.extend(Set::from_value(&theirs["fieldsV1"]).ok()?);
            list[at]["fieldsV1"] = set.into_value();
        }
        list.retain(|entry| !is(entry, &applier, "Update"));
    }
    (list != entries(object)).then(|| {
        json!([
            {"op": "replace", "path": "/metadata/managedFields", "value": list},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": object["metadata"]["resourceVersion"]},
        ])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(manager: &str, operation: &str, fields: Value) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields})
    }

    #[test]
    fn what_client_side_applies_own_becomes_the_servers() {
        let annotated = json!({
            "f:data": {"f:a": {}},
            "f:metadata": {"f:annotations": {format!("f:{ANNOTATION}"): {}}},
        });
        let object = |list: Value| {
            json!({
                "metadata": {"resourceVersion": "7", "annotations": {ANNOTATION: "{}"}, "managedFields": list},
            })
        };
        let client = entry("kubectl-client-side-apply", "Update", annotated.clone());
        let before = object(json!([entry("kubectl", "Apply", json!({"f:data": {"f:b": {}}})), client]));
        assert!(keeps_annotation(&before));
        let patch = handover(&before, "kubectl").expect("something to hand over");
        let mut all = annotated.clone();
        all["f:data"]["f:b"] = json!({});
        assert_eq!(patch[0]["value"], json!([entry("kubectl", "Apply", all)]));
        assert_eq!(patch[1]["value"], "7");

        let after = object(json!([entry("kubectl", "Apply", annotated)]));
        assert!(!keeps_annotation(&after));
        assert_eq!(handover(&after, "kubectl"), None);
        // Without an apply of the manager, the client-side one becomes it.
        let patch = handover(&object(json!([client])), "kubectl").expect("something to hand over");
        assert_eq!(
            (&patch[0]["value"][0]["manager"], &patch[0]["value"][0]["operation"]),
            (&json!("kubectl"), &json!("Apply"))
        );
    }
}
