//! Delete: the options from body or query, the steps of a delete (`writes::delete`), and the object or a Status as the
//! answer. Follows `endpoints/handlers/delete.go`.

use http::{Response, StatusCode};
use machinery::json::Fields;
use machinery::meta;
use machinery::status::StatusError;
use model::options::Delete;
use negotiation::Body;
use serde_json::{Value, json};
use writes::delete::{Deleted, delete};
use writes::strategy::Kind;

use crate::{Call, respond};

pub(super) async fn handle(mut call: Call, row: &Kind) -> Result<Response<Body>, StatusError> {
    let accept = call.accept(&row.kind())?;
    let options = options(&mut call).await?;
    let name = call.info.name.clone();
    let deleted = {
        let cx = call.write_context(row, options.dry_run);
        delete(&cx, &name, &options).await?
    };
    match deleted {
        Deleted::Marked(entry) => respond::entry(&call, row, StatusCode::OK, &entry, &accept).await,
        Deleted::Gone(entry) if row.returns_deleted => {
            respond::entry(&call, row, StatusCode::OK, &entry, &accept).await
        }
        Deleted::Gone(entry) => {
            let uid = meta::uid(&entry.decode()).to_string();
            let mut details = json!({ "name": name, "kind": row.resource, "uid": uid });
            if !row.group.is_empty() {
                details["group"] = row.group.as_ref().into();
            }
            let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details });
            let kind = machinery::gvk::GroupVersionKind::new("", "v1", "Status");
            Ok(negotiation::value_response(StatusCode::OK, &status, &kind, &accept))
        }
    }
}

/// DeleteOptions of a request, from its body or its query.
pub(super) async fn options(call: &mut Call) -> Result<Delete, StatusError> {
    let bytes = call.bytes().await?;
    let body = if bytes.is_empty() {
        None
    } else {
        // Any group's DeleteOptions is taken: clients send the group of the object.
        let fault =
            |e: &dyn std::fmt::Display| StatusError::bad_request(format!("unable to decode DeleteOptions: {e}"));
        Some(if bytes.starts_with(api::protobuf::MAGIC) {
            protobuf(&bytes).map_err(|e| fault(&e))?
        } else {
            serde_json::from_slice(&bytes).or_else(|_| machinery::yaml::to_json(&bytes)).map_err(|e| fault(&e))?
        })
    };
    if let Some(body) = &body {
        known_kind(body)?;
    }
    Delete::parse(&call.info.query, body.as_ref())
}

/// That a body is an object of kind DeleteOptions, of whatever group, or says no kind.
fn known_kind(body: &Value) -> Result<(), StatusError> {
    let bad = |why: String| Err(StatusError::bad_request(why));
    if !body.is_object() {
        return bad(format!("couldn't get version/kind; json parse error: {}", negotiation::no_object(body)));
    }
    if !matches!(body.text("kind"), "" | "DeleteOptions") {
        return bad(format!(
            r#"no kind "{}" is registered for version "{}" in scheme "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27""#,
            body.text("kind"),
            body.text("apiVersion")
        ));
    }
    let seconds = &body["gracePeriodSeconds"];
    if !(seconds.is_null() || seconds.is_i64()) {
        let go = machinery::go::json_kind(seconds);
        return bad(format!(
            "json: cannot unmarshal {go} into Go struct field DeleteOptions.gracePeriodSeconds of type int64"
        ));
    }
    Ok(())
}

fn protobuf(bytes: &[u8]) -> Result<Value, api::protobuf::Error> {
    let envelope = api::protobuf::open(bytes)?;
    let schema = api::schema::of_object("v1", "DeleteOptions").expect("the table has DeleteOptions");
    let mut options = api::protobuf::decode(envelope.raw, schema)?;
    options.insert("apiVersion".into(), envelope.api_version.into());
    options.insert("kind".into(), envelope.kind.into());
    Ok(options.into())
}
