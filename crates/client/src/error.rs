//! What went wrong with a request, asked the way controllers ask it.
//!
//! The reason of the `Status` decides, as in upstream's `apierrors.Is...`; the code alone is ambiguous (409 is both a
//! conflict and "already exists").

use kube::Error;

/// The reason of the server's `Status`, or nothing when the request never got an answer.
pub fn reason(error: &Error) -> Option<&str> {
    match error {
        Error::Api(status) => Some(&status.reason),
        _ => None,
    }
}

/// The server's own words, as Go's clients print them; otherwise whatever went wrong on the way.
pub fn message(error: &Error) -> String {
    match error {
        Error::Api(status) if status.reason == NO_STATUS => without_status(status.code, &status.message),
        Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// It is not known whether the server has done what it was asked: there was no answer, or one that something went wrong
/// inside.
pub fn is_unknown(error: &Error) -> bool {
    match error {
        Error::Api(status) => status.code >= 500,
        _ => true,
    }
}

/// The reason that kube gives an answer without a `Status`: words, as an API server has them for paths that it does not serve.
const NO_STATUS: &str = "Failed to parse error data";

/// What Go's clients say of such an answer (apimachinery `NewGenericServerResponse`).
fn without_status(code: u16, words: &str) -> String {
    match code {
        400 => "the server rejected our request for an unknown reason".to_owned(),
        401 => "the server has asked for the client to provide credentials".to_owned(),
        403 | 406 | 415 if !words.is_empty() => words.to_owned(),
        404 => "the server could not find the requested resource".to_owned(),
        405 => "the server does not allow this method on the requested resource".to_owned(),
        409 => "the server reported a conflict".to_owned(),
        422 => "the server rejected our request due to an error in our request".to_owned(),
        429 => "the server has received too many requests and has asked us to try again later".to_owned(),
        503 => "the server is currently unable to handle the request".to_owned(),
        504 => {
            "the server was unable to return a response in the time allotted, but may still be processing the request"
                .to_owned()
        }
        500.. => format!("an error on the server ({words:?}) has prevented the request from succeeding"),
        _ => format!("the server responded with the status code {code} but did not return more information"),
    }
}

fn is(error: &Error, want: &str, code: u16) -> bool {
    match error {
        Error::Api(s) => s.reason == want || (matches!(s.reason.as_str(), "" | NO_STATUS) && s.code == code),
        _ => false,
    }
}

/// The object or the path does not exist.
pub fn is_not_found(error: &Error) -> bool {
    is(error, "NotFound", 404)
}

/// A create hit an existing object.
pub fn is_already_exists(error: &Error) -> bool {
    is(error, "AlreadyExists", 0)
}

/// A write lost against another one: read again and decide again.
pub fn is_conflict(error: &Error) -> bool {
    is(error, "Conflict", 409)
}

/// The server refused what was sent.
pub fn is_invalid(error: &Error) -> bool {
    is(error, "Invalid", 422)
}

/// The caller may not do this.
pub fn is_forbidden(error: &Error) -> bool {
    is(error, "Forbidden", 403)
}

/// A create was refused because its namespace is going away; retrying is pointless.
pub fn is_namespace_terminating(error: &Error) -> bool {
    let Error::Api(status) = error else { return false };
    let causes = status.details.iter().flat_map(|d| d.causes.iter());
    status.reason == "Forbidden" && causes.into_iter().any(|c| c.reason == "NamespaceTerminating")
}
