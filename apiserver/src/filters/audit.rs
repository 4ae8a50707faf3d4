//! Audit: each request has an id, its client's or a new one, that every answer tells; no answer is for a cache to keep
//! (`endpoints/filters/{audit_init,cachecontrol}.go`); and when the last byte is sent, the request's record is written to the
//! access log: for now a debug line. Policies, levels and backends are a later issue, and read the record at the same place.

use http::Response;
use http::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue};

use model::random::random_uuid;
use model::record::Record;
use model::user::UserInfo;
use negotiation::Body;

const ID: HeaderName = HeaderName::from_static("audit-id");

/// The request's id: what its client says, or a new one.
pub fn id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(&ID).filter(|id| !id.is_empty());
    given.cloned().unwrap_or_else(|| HeaderValue::from_str(&random_uuid()).expect("hexadecimal and dashes"))
}

/// An answer with what all answers have.
pub fn mark(mut response: Response<Body>, record: &Record) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(ID, record.id.clone());
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
    response
}

/// Whether anybody reads the access log.
pub fn logs() -> bool {
    tracing::enabled!(tracing::Level::DEBUG)
}

/// The request is over.
pub fn ended(record: &Record) {
    tracing::debug!("{}", line(record));
}

/// The record as a line: who did what to what, as whom, what came of it.
fn line(record: &Record) -> String {
    let name = |user: Option<&UserInfo>| user.map_or("-", |user| &user.name).to_owned();
    let mut line = format!("{} {} {}", record.id.to_str().unwrap_or("-"), record.info.verb, record.info.path);
    if record.name() != record.info.name {
        line += &format!(" name={}", record.name());
    }
    line += &format!(" by {}", name(record.identity()));
    if record.user() != record.identity() {
        line += &format!(" as {}", name(record.user()));
    }
    line += &match record.answer() {
        Some((code, latency)) => format!(": {code} in {latency:?}, {} bytes", record.sent_bytes()),
        None => ": its client has gone".to_owned(),
    };
    for (key, value) in record.annotations.all() {
        line += &format!(" {key}={value:?}");
    }
    line
}

#[cfg(test)]
mod tests {
    use http::Method;
    use model::request_info::RequestInfo;

    use super::*;

    #[test]
    fn a_line_tells_who_did_what_and_what_came_of_it() {
        let info = RequestInfo::parse(&Method::POST, "/api/v1/namespaces/a/pods", "");
        let record = Record::new(HeaderValue::from_static("7"), info, false);
        assert_eq!(line(&record), "7 create /api/v1/namespaces/a/pods by -: its client has gone");
        let user = |name: &str| UserInfo { name: name.into(), ..UserInfo::default() };
        record.identified(Ok::<_, ()>(user("ann"))).unwrap();
        record.acts_as(user("bob"));
        record.named("p-1");
        record.annotations.add("example.com/k", "v");
        record.answered(201);
        record.sent(5);
        let told = line(&record);
        assert!(told.starts_with("7 create /api/v1/namespaces/a/pods name=p-1 by ann as bob: 201 in "), "{told}");
        assert!(told.ends_with(", 5 bytes example.com/k=\"v\""), "{told}");
    }
}
