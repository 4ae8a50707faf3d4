//! To and from the `metav1.Status` object.

use super::{Cause, Details, StatusError};
use crate::json::Fields;
use serde_json::{Map, Value, json};

impl StatusError {
    /// The Status object that the client gets.
    pub fn to_value(&self) -> Value {
        let mut out = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "code": self.code,
        });
        put(&mut out, "message", &self.message);
        put(&mut out, "reason", &self.reason);
        if !self.continue_token.is_empty() {
            put(&mut out["metadata"], "continue", &self.continue_token);
        }
        if let Some(details) = &self.details {
            out["details"] = details.to_value();
        }
        out
    }

    /// Reads a Status of a failure; None when the value is none.
    pub fn from_value(value: &Value) -> Option<Self> {
        if value["kind"] != "Status" || value["status"] == "Success" {
            return None;
        }
        let details = value.get("details").filter(|d| d.is_object()).map(|d| {
            Box::new(Details {
                name: d.text("name").to_owned(),
                group: d.text("group").to_owned(),
                kind: d.text("kind").to_owned(),
                uid: d.text("uid").to_owned(),
                causes: d["causes"].as_array().map(|all| all.iter().map(cause).collect()).unwrap_or_default(),
                retry_after_seconds: d["retryAfterSeconds"].as_i64().and_then(|n| n.try_into().ok()).unwrap_or(0),
            })
        });
        Some(StatusError {
            code: value["code"].as_u64().and_then(|n| n.try_into().ok()).unwrap_or(500),
            reason: value.text("reason").to_owned().into(),
            message: value.text("message").to_owned(),
            details,
            continue_token: value.sub("metadata").text("continue").to_owned(),
        })
    }
}

impl Details {
    fn to_value(&self) -> Value {
        let mut out = Value::Object(Map::new());
        put(&mut out, "name", &self.name);
        put(&mut out, "group", &self.group);
        put(&mut out, "kind", &self.kind);
        put(&mut out, "uid", &self.uid);
        if !self.causes.is_empty() {
            out["causes"] = self
                .causes
                .iter()
                .map(|c| {
                    let mut cause = Value::Object(Map::new());
                    put(&mut cause, "reason", &c.kind);
                    put(&mut cause, "message", &c.message);
                    put(&mut cause, "field", &c.field);
                    cause
                })
                .collect();
        }
        if self.retry_after_seconds != 0 {
            out["retryAfterSeconds"] = self.retry_after_seconds.into();
        }
        out
    }
}

fn put(object: &mut Value, name: &str, text: &str) {
    if !text.is_empty() {
        object[name] = text.into();
    }
}

fn cause(value: &Value) -> Cause {
    Cause {
        kind: value.text("reason").to_owned().into(),
        message: value.text("message").to_owned(),
        field: value.text("field").to_owned(),
    }
}
