//! Constructors, one a reason.

use super::{Cause, Details, StatusError};
use crate::field::{self, ErrorList};
use crate::go;
use crate::gvk::{GroupKind, GroupResource};
use std::borrow::Cow;
use std::fmt;

impl Details {
    fn of(resource: &GroupResource, name: &str) -> Self {
        Details {
            name: name.to_owned(),
            group: resource.group.clone(),
            kind: resource.resource.clone(),
            ..Details::default()
        }
    }
}

fn plain(code: u16, reason: &'static str, message: impl Into<String>) -> StatusError {
    StatusError {
        code,
        reason: Cow::Borrowed(reason),
        message: message.into(),
        details: None,
        continue_token: String::new(),
    }
}

fn about(
    code: u16,
    reason: &'static str,
    resource: &GroupResource,
    name: &str,
    message: impl Into<String>,
) -> StatusError {
    StatusError { details: Some(Box::new(Details::of(resource, name))), ..plain(code, reason, message) }
}

impl StatusError {
    /// 404 NotFound.
    pub fn not_found(resource: &GroupResource, name: &str) -> Self {
        about(404, "NotFound", resource, name, format!("{resource} {} not found", go::quote(name)))
    }

    /// 404 for a path that is none of the API's: what upstream answers as a Status for unknown resources.
    pub fn no_such_resource() -> Self {
        StatusError {
            details: Some(Box::new(Details::default())),
            ..plain(404, "NotFound", "the server could not find the requested resource")
        }
    }

    /// 409 AlreadyExists.
    pub fn already_exists(resource: &GroupResource, name: &str) -> Self {
        about(409, "AlreadyExists", resource, name, format!("{resource} {} already exists", go::quote(name)))
    }

    /// 409 AlreadyExists after the attempts to find a free generated name.
    pub fn generate_name_conflict(resource: &GroupResource, name: &str, retry_after_seconds: i32) -> Self {
        let message = format!(
            "{resource} {} already exists, the server was not able to generate a unique name for the object",
            go::quote(name)
        );
        about(409, "AlreadyExists", resource, name, message).retry_after(retry_after_seconds)
    }

    /// 401 Unauthorized; an empty message becomes upstream's.
    pub fn unauthorized(message: &str) -> Self {
        plain(401, "Unauthorized", if message.is_empty() { "not authorized" } else { message })
    }

    /// 403 Forbidden.
    pub fn forbidden(resource: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        let message = if resource.is_empty() {
            format!("forbidden: {why}")
        } else if name.is_empty() {
            format!("{resource} is forbidden: {why}")
        } else {
            format!("{resource} {} is forbidden: {why}", go::quote(name))
        };
        about(403, "Forbidden", resource, name, message)
    }

    /// 409 Conflict.
    pub fn conflict(resource: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} {}: {why}", go::quote(name));
        about(409, "Conflict", resource, name, message)
    }

    /// 409 Conflict of server-side apply.
    pub fn apply_conflict(causes: Vec<Cause>, message: impl Into<String>) -> Self {
        StatusError {
            details: Some(Box::new(Details { causes, ..Details::default() })),
            ..plain(409, "Conflict", message)
        }
    }

    /// 410 Gone.
    pub fn gone(message: impl Into<String>) -> Self {
        plain(410, "Gone", message)
    }

    /// 410 Expired: the revision asked for is no longer there.
    pub fn expired(message: impl Into<String>) -> Self {
        plain(410, "Expired", message)
    }

    /// 422 Invalid, one cause an error.
    pub fn invalid(kind: &GroupKind, name: &str, errors: ErrorList) -> Self {
        let quoted = go::quote(name);
        let message = match field::aggregate(&errors) {
            None => format!("{kind} {quoted} is invalid"),
            Some(all) => format!("{kind} {quoted} is invalid: {all}"),
        };
        let causes = errors
            .into_iter()
            .map(|e| Cause { kind: e.kind.cause().into(), message: e.body(), field: e.field })
            .collect();
        let details = Details {
            name: name.to_owned(),
            group: kind.group.clone(),
            kind: kind.kind.clone(),
            causes,
            ..Details::default()
        };
        StatusError { details: Some(Box::new(details)), ..plain(422, "Invalid", message) }
    }

    /// 400 BadRequest.
    pub fn bad_request(message: impl Into<String>) -> Self {
        plain(400, "BadRequest", message)
    }

    /// 429 TooManyRequests, to be tried again after so many seconds.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: i32) -> Self {
        StatusError { details: Some(Box::new(Details::default())), ..plain(429, "TooManyRequests", message) }
            .retry_after(retry_after_seconds)
    }

    /// 503 ServiceUnavailable.
    pub fn service_unavailable(message: impl Into<String>) -> Self {
        plain(503, "ServiceUnavailable", message)
    }

    /// 405 MethodNotAllowed.
    pub fn method_not_supported(resource: &GroupResource, action: &str) -> Self {
        let message = format!("{action} is not supported on resources of kind {}", go::quote(&resource.to_string()));
        about(405, "MethodNotAllowed", resource, "", message)
    }

    /// 500 ServerTimeout: safe to try again.
    pub fn server_timeout(resource: &GroupResource, operation: &str, retry_after_seconds: i32) -> Self {
        let message = format!(
            "The {operation} operation against {resource} could not be completed at this time, please try again."
        );
        about(500, "ServerTimeout", resource, operation, message).retry_after(retry_after_seconds)
    }

    /// 500 InternalError.
    pub fn internal(why: impl fmt::Display) -> Self {
        let cause = Cause { message: why.to_string(), ..Cause::default() };
        StatusError {
            details: Some(Box::new(Details { causes: vec![cause], ..Details::default() })),
            ..plain(500, "InternalError", format!("Internal error occurred: {why}"))
        }
    }

    /// 500 without a reason: upstream's form of an error that nobody gave one.
    pub fn unknown(message: impl Into<String>) -> Self {
        plain(500, "", message)
    }

    /// 504 Timeout.
    pub fn timeout(message: impl fmt::Display, retry_after_seconds: i32) -> Self {
        StatusError {
            details: Some(Box::new(Details::default())),
            ..plain(504, "Timeout", format!("Timeout: {message}"))
        }
        .retry_after(retry_after_seconds)
    }

    /// 413 RequestEntityTooLarge.
    pub fn too_large(message: impl fmt::Display) -> Self {
        plain(413, "RequestEntityTooLarge", format!("Request entity too large: {message}"))
    }

    /// 406 NotAcceptable, listing what could be sent.
    pub fn not_acceptable(accepted: &[&str]) -> Self {
        plain(406, "NotAcceptable", format!("only the following media types are accepted: {}", accepted.join(", ")))
    }

    /// 415 UnsupportedMediaType, listing what could be read.
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let accepted = accepted.join(", ");
        plain(
            415,
            "UnsupportedMediaType",
            format!("the body of the request was in an unknown format - accepted media types include: {accepted}"),
        )
    }

    /// What client-go makes of an answer without a Status, and upstream's server of some paths.
    pub fn generic_server_response(
        code: u16,
        verb: &str,
        resource: &GroupResource,
        name: &str,
        server_message: &str,
        retry_after_seconds: i32,
    ) -> Self {
        let mut message =
            format!("the server responded with the status code {code} but did not return more information");
        let mut reason = "";
        let known: Option<(&'static str, &str)> = match code {
            409 => Some((if verb == "POST" { "AlreadyExists" } else { "Conflict" }, "the server reported a conflict")),
            404 => Some(("NotFound", "the server could not find the requested resource")),
            400 => Some(("BadRequest", "the server rejected our request for an unknown reason")),
            401 => Some(("Unauthorized", "the server has asked for the client to provide credentials")),
            403 => Some(("Forbidden", server_message)),
            406 if server_message.is_empty() || server_message == "unknown" => {
                Some(("NotAcceptable", "the server was unable to respond with a content type that the client supports"))
            }
            406 => Some(("NotAcceptable", server_message)),
            415 => Some(("UnsupportedMediaType", server_message)),
            405 => Some(("MethodNotAllowed", "the server does not allow this method on the requested resource")),
            422 => Some(("Invalid", "the server rejected our request due to an error in our request")),
            503 => Some(("ServiceUnavailable", "the server is currently unable to handle the request")),
            504 => Some((
                "Timeout",
                "the server was unable to return a response in the time allotted, but may still be processing the request",
            )),
            429 => Some((
                "TooManyRequests",
                "the server has received too many requests and has asked us to try again later",
            )),
            _ => None,
        };
        if let Some((known_reason, text)) = known {
            reason = known_reason;
            message = text.to_owned();
        } else if code >= 500 {
            reason = "InternalError";
            message = format!(
                "an error on the server ({}) has prevented the request from succeeding",
                go::quote(server_message)
            );
        }
        let verb = verb.to_lowercase();
        if !resource.is_empty() {
            message = if name.is_empty() {
                format!("{message} ({verb} {resource})")
            } else {
                format!("{message} ({verb} {resource} {name})")
            };
        }
        about(code, reason, resource, name, message).retry_after(retry_after_seconds)
    }

    /// The same with a time to wait.
    pub fn retry_after(mut self, seconds: i32) -> Self {
        self.details.get_or_insert_default().retry_after_seconds = seconds;
        self
    }

    /// The same with the object's UID in the details.
    pub fn with_uid(mut self, uid: &str) -> Self {
        self.details.get_or_insert_default().uid = uid.to_owned();
        self
    }

    /// The same with one more cause.
    pub fn with_cause(mut self, cause: Cause) -> Self {
        self.details.get_or_insert_default().causes.push(cause);
        self
    }
}
