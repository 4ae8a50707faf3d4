//! CertificateSigningRequests: who asks is noted when it is made; after that the object itself never changes. Approvers write
//! conditions by `/approval`, signers the certificate by `/status`. Follows `pkg/registry/certificates/certificates` and
//! `pkg/apis/certificates/validation`.

mod pem;
mod signed;
#[cfg(test)]
mod tests;
mod validation;

use machinery::field::ErrorList;
use serde_json::{Value, json};

use machinery::json::Fields;
use model::check::keep;
use model::user::UserInfo;
use writes::strategy::{Strategy, WriteContext};

/// CertificateSigningRequests.
pub struct CertificateSigningRequests;

impl Strategy for CertificateSigningRequests {
    fn prepare_for_create(&self, cx: &WriteContext<'_>, request: &mut Value) {
        note_requestor(request, cx.user);
    }

    fn prepare_for_update(&self, cx: &WriteContext<'_>, request: &mut Value, old: &Value) {
        match cx.subresource {
            Some("approval") => prepare_approval(request, old, cx.now),
            Some(_) => prepare_status(request, old, cx.now),
            None => ["spec", "status"].iter().for_each(|field| keep(request, old, field)),
        }
    }

    fn validate(&self, _: &WriteContext<'_>, request: &Value) -> ErrorList {
        validation::create(request)
    }

    fn validate_update(&self, cx: &WriteContext<'_>, request: &Value, old: &Value) -> ErrorList {
        validation::update(request, old, cx.subresource.unwrap_or_default())
    }
}

/// The user who asks, whatever the client says of it.
fn note_requestor(request: &mut Value, user: &UserInfo) {
    let Some(spec) = request.get_mut("spec").and_then(Value::as_object_mut) else { return };
    for field in ["username", "uid", "groups", "extra"] {
        spec.remove(field);
    }
    let mut note = |field: &str, value: Value, empty: bool| {
        if !empty {
            spec.insert(field.to_owned(), value);
        }
    };
    note("username", user.name.as_str().into(), user.name.is_empty());
    note("uid", user.uid.as_str().into(), user.uid.is_empty());
    note("groups", json!(user.groups), user.groups.is_empty());
    note("extra", json!(user.extra), user.extra.is_empty());
}

/// Of an approval only the conditions are taken.
fn prepare_approval(request: &mut Value, old: &Value, now: jiff::Timestamp) {
    note_times(request, old, now);
    let conditions = request["status"].sub("conditions").cloned();
    keep(request, old, "spec");
    keep(request, old, "status");
    if !request["status"].is_object() {
        request["status"] = json!({});
    }
    if let Some(status) = request["status"].as_object_mut() {
        status.remove("conditions");
        status.extend(conditions.map(|conditions| ("conditions".to_owned(), conditions)));
    }
}

/// Of a status the approval is left as it was, unless some of it was added or taken away: that is a fault.
fn prepare_status(request: &mut Value, old: &Value, now: jiff::Timestamp) {
    for kind in ["Approved", "Denied"] {
        let places = |object: &Value| -> Vec<usize> {
            let conditions = object["status"].list("conditions").iter().enumerate();
            conditions.filter(|(_, condition)| condition.text("type") == kind).map(|(i, _)| i).collect()
        };
        let (before, after) = (places(old), places(request));
        if before.len() == after.len() {
            for (i, j) in before.into_iter().zip(after) {
                request["status"]["conditions"][j] = old["status"]["conditions"][i].clone();
            }
        }
    }
    note_times(request, old, now);
}

/// Conditions without times get them; who had its state before keeps the time since when.
fn note_times(request: &mut Value, old: &Value, now: jiff::Timestamp) {
    let now: Value = machinery::time::rfc3339(now).into();
    let Some(conditions) = request["status"].get_mut("conditions").and_then(Value::as_array_mut) else { return };
    for condition in conditions.iter_mut().filter(|condition| condition.is_object()) {
        if !condition.has("lastUpdateTime") {
            condition["lastUpdateTime"] = now.clone();
        }
        if !condition.has("lastTransitionTime") {
            let same = |there: &&Value| {
                ["type", "status"].iter().all(|field| there.text(field) == condition.text(field))
                    && there.has("lastTransitionTime")
            };
            let since = old["status"].list("conditions").iter().find(same).map(|c| c["lastTransitionTime"].clone());
            condition["lastTransitionTime"] = since.unwrap_or_else(|| now.clone());
        }
    }
}
