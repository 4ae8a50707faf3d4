//! ConversionReview: what is asked of a conversion webhook, and what of its answer is taken. Pure. It may change labels and
//! annotations; the rest of the metadata stays the server's.

use machinery::json::Fields;
use machinery::meta;
use serde_json::{Value, json};

/// What was to be converted, for messages.
pub(super) struct Subject {
    kind: String,
    list: bool,
}

impl Subject {
    pub(super) fn of(first: &Value, list: bool) -> Self {
        let suffix = if list { "List" } else { "" };
        Self { kind: format!("{}, Kind={}{suffix}", first.text("apiVersion"), first.text("kind")), list }
    }

    pub(super) fn failed(&self, why: &str) -> String {
        format!("conversion webhook for {} failed: {why}", self.kind)
    }

    pub(super) fn count(&self, got: usize, expected: usize) -> String {
        format!("conversion webhook for {} returned {got} objects, expected {expected}", self.kind)
    }

    fn invalid(&self, at: usize, what: &str, why: &str) -> String {
        let place = match (self.list, what) {
            (true, "object") => format!("invalid converted object at index {at}"),
            (true, _) => format!("invalid {what} in object at index {at}"),
            (false, _) => format!("invalid {what}"),
        };
        format!("conversion webhook for {} returned {place}: {why}", self.kind)
    }
}

/// The review to send, in the first version that both sides know.
pub(super) fn request(versions: &[String], objects: &[&Value], to: &str, uid: &str) -> Result<Value, String> {
    let known = versions.iter().find(|version| matches!(version.as_str(), "v1" | "v1beta1"));
    let version = known.ok_or("no supported conversion review versions")?;
    Ok(json!({
        "kind": "ConversionReview",
        "apiVersion": format!("apiextensions.k8s.io/{version}"),
        "request": { "uid": uid, "desiredAPIVersion": to, "objects": objects },
    }))
}

/// The converted objects of an answer; its own message where it says that it failed.
pub(super) fn converted(request: &Value, mut answer: Value, uid: &str) -> Result<Vec<Value>, String> {
    let name = |review: &Value| {
        let version = review.text("apiVersion");
        match version.split_once('/') {
            Some((group, version)) => format!("{group}/{version}, Kind={}", review.text("kind")),
            None => format!("/{version}, Kind={}", review.text("kind")),
        }
    };
    let (version, kind) = (answer.text("apiVersion"), answer.text("kind"));
    let known = kind == "ConversionReview" && version.starts_with("apiextensions.k8s.io/");
    if !(known || version.is_empty() && kind.is_empty()) {
        // The scheme of upstream's client has no other kind.
        let scheme = "k8s.io/apiserver/pkg/util/webhook/client.go:71";
        return Err(format!("no kind {kind:?} is registered for version {version:?} in scheme {scheme:?}"));
    }
    let v1 = request["apiVersion"] == "apiextensions.k8s.io/v1";
    if v1 && name(&answer) != name(request) {
        return Err(format!("expected webhook response of {}, got {}", name(request), name(&answer)));
    }
    let response = &mut answer["response"];
    if response.is_null() {
        return Err("no response provided".into());
    }
    // v1beta1 did not say whose answer it was.
    let given = response.text("uid");
    if v1 && given != uid {
        return Err(format!("expected response.uid={uid:?}, got {given:?}"));
    }
    let result = &response["result"];
    if result["status"] != "Success" {
        let message = result.text("message");
        let status = result.text("status");
        return Err(match message {
            "" => format!("response.result.status was '{status}', not 'Success'"),
            message => message.to_string(),
        });
    }
    match response["convertedObjects"].take() {
        Value::Array(objects) => Ok(objects),
        _ => Ok(Vec::new()),
    }
}

/// A converted object with the original's metadata, and its own labels and annotations.
pub(super) fn accept(of: &Subject, original: &Value, mut new: Value, to: &str, at: usize) -> Result<Value, String> {
    let place = if of.list { "converted object" } else { "object" };
    let wrong = |what: &str, expected: &str, got: &str| {
        let why = format!("invalid {what} (expected {expected}, received {got})");
        Err(format!("conversion webhook for {} returned invalid {place} at index {at}: {why}", of.kind))
    };
    if !new.is_object() {
        let why = match &new {
            Value::Null => "unexpected end of JSON input".to_string(),
            other => {
                let go = machinery::go::json_kind(other);
                format!("json: cannot unmarshal {go} into Go value of type map[string]interface {{}}")
            }
        };
        return Err(if of.list { of.invalid(at, "object", &why) } else { why });
    }
    let (version, kind) = (new.text("apiVersion"), new.text("kind"));
    if version != to {
        return wrong("groupVersion", to, version);
    }
    if kind != original.text("kind") {
        return wrong("kind", original.text("kind"), kind);
    }
    for (what, get) in
        [("name", meta::name as fn(&Value) -> &str), ("namespace", |o| meta::namespace(o)), ("UID", meta::uid)]
    {
        let (before, after) = (get(original), get(&new));
        if before != after {
            return Err(of.invalid(at, "object", &format!("must have the same {what}: {before} != {after}")));
        }
    }
    let metadata = restored(original, &new).map_err(|why| of.invalid(at, "metadata", &why))?;
    new["metadata"] = metadata;
    Ok(new)
}

fn restored(original: &Value, new: &Value) -> Result<Value, String> {
    let given = new.get("metadata").ok_or("missing metadata in converted object")?;
    if !given.is_object() {
        return Err(format!("invalid metadata of type {} in converted object", machinery::go::json_kind(given)));
    }
    let mut metadata = original["metadata"].clone();
    for field in ["labels", "annotations"] {
        let own = given.get(field).filter(|value| !value.is_null());
        let Some(own) = own else {
            metadata.as_object_mut().map(|members| members.remove(field));
            continue;
        };
        let Some(members) = own.as_object() else {
            let kind = machinery::go::type_name(own);
            return Err(format!("invalid metadata.{field} of type {kind} in converted object"));
        };
        if let Some((key, value)) = members.iter().find(|(_, value)| !value.is_string()) {
            let kind = machinery::go::type_name(value);
            return Err(format!("metadata.{field}[{key}] must be a string, but is {kind} in converted object"));
        }
        if metadata[field] != *own {
            let path = machinery::field::Path::new("metadata");
            let errors = match field {
                "labels" => meta::validate_labels(Some(members), &path.child("labels")),
                _ => meta::validate_annotations(Some(members), &path.child("annotation")),
            };
            if let Some(first) = errors.first() {
                return Err(first.to_string());
            }
        }
        metadata[field] = own.clone();
    }
    Ok(metadata)
}
