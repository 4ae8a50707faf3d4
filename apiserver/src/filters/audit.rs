//! Audit: the place in the chain where what was asked, by whom, is noted. For now the note is a debug line; policies,
//! levels and backends are a later issue and change this file only. Each request has an id, its client's or a new one, that
//! every answer tells; and no answer is for a cache to keep (`endpoints/filters/{audit_init,cachecontrol}.go`).

use http::Response;
use http::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue};

use model::random::random_uuid;
use model::request_info::RequestInfo;
use model::user::UserInfo;
use negotiation::Body;

const ID: HeaderName = HeaderName::from_static("audit-id");

/// The request's id: what its client says, or a new one.
pub fn id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(&ID).filter(|id| !id.is_empty());
    given.cloned().unwrap_or_else(|| HeaderValue::from_str(&random_uuid()).expect("hexadecimal and dashes"))
}

/// An answer with what all answers have.
pub fn mark(mut response: Response<Body>, id: HeaderValue) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(ID, id);
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
    response
}

/// A request as it will be noted.
pub struct Event {
    line: String,
}

/// A request that is authenticated.
pub fn received(info: &RequestInfo, user: &UserInfo) -> Event {
    let line = if tracing::enabled!(tracing::Level::DEBUG) {
        format!("{} {} by {}", info.verb, info.path, user.name)
    } else {
        String::new()
    };
    Event { line }
}

impl Event {
    /// The request was allowed, as that user (who may be impersonated).
    pub fn authorized(&mut self, user: &UserInfo) {
        tracing::debug!(request = %self.line, as_user = %user.name, "allowed");
    }
}
