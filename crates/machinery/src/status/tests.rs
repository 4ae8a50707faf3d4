//! Messages against upstream's `errors.go`, and the wire form both ways.

use super::*;
use crate::field::{Error, Path};
use crate::gvk::{GroupKind, GroupResource};
use serde_json::json;

#[test]
fn messages_and_codes() {
    let pods = GroupResource::new("", "pods");
    let deployments = GroupResource::new("apps", "deployments");
    let none = GroupResource::default();
    for (error, code, reason, message) in [
        (StatusError::not_found(&deployments, "a"), 404, "NotFound", r#"deployments.apps "a" not found"#),
        (StatusError::already_exists(&pods, "a"), 409, "AlreadyExists", r#"pods "a" already exists"#),
        (StatusError::unauthorized(""), 401, "Unauthorized", "not authorized"),
        (StatusError::forbidden(&none, "", "x"), 403, "Forbidden", "forbidden: x"),
        (StatusError::forbidden(&pods, "", "x"), 403, "Forbidden", "pods is forbidden: x"),
        (StatusError::forbidden(&pods, "a", "x"), 403, "Forbidden", r#"pods "a" is forbidden: x"#),
        (StatusError::conflict(&pods, "a", "x"), 409, "Conflict", r#"Operation cannot be fulfilled on pods "a": x"#),
        (StatusError::expired("too old"), 410, "Expired", "too old"),
        (
            StatusError::method_not_supported(&pods, "create"),
            405,
            "MethodNotAllowed",
            r#"create is not supported on resources of kind "pods""#,
        ),
        (
            StatusError::server_timeout(&pods, "get", 2),
            500,
            "ServerTimeout",
            "The get operation against pods could not be completed at this time, please try again.",
        ),
        (StatusError::internal("x"), 500, "InternalError", "Internal error occurred: x"),
        (StatusError::timeout("x", 1), 504, "Timeout", "Timeout: x"),
        (StatusError::too_large("limit is 3"), 413, "RequestEntityTooLarge", "Request entity too large: limit is 3"),
        (
            StatusError::unsupported_media_type(&["application/json", "application/yaml"]),
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml",
        ),
        (
            StatusError::generic_server_response(404, "GET", &pods, "a", "", 0),
            404,
            "NotFound",
            "the server could not find the requested resource (get pods a)",
        ),
        (
            StatusError::generic_server_response(502, "GET", &none, "", "bad \"gw\"", 0),
            502,
            "InternalError",
            r#"an error on the server ("bad \"gw\"") has prevented the request from succeeding"#,
        ),
    ] {
        assert_eq!((error.code, &*error.reason, &*error.message), (code, reason, message));
        let value = error.to_value();
        assert_eq!(StatusError::from_value(&value), Some(error));
    }
}

#[test]
fn invalid_has_a_cause_an_error() {
    let path = Path::new("spec");
    let kind = GroupKind::new("apps", "Deployment");
    let error = StatusError::invalid(&kind, "a", vec![Error::required(&path, ""), Error::invalid(&path, 1, "no")]);
    assert_eq!(
        error.to_value(),
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 422, "reason": "Invalid",
            "message": "Deployment.apps \"a\" is invalid: [spec: Required value, spec: Invalid value: 1: no]",
            "details": {"name": "a", "group": "apps", "kind": "Deployment", "causes": [
                {"reason": "FieldValueRequired", "message": "Required value", "field": "spec"},
                {"reason": "FieldValueInvalid", "message": "Invalid value: 1: no", "field": "spec"},
            ]},
        })
    );
}
