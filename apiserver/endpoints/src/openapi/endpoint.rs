//! `/openapi/v2` and `/openapi/v3`: which form a client takes, and whether it has the document already. Follows
//! `kube-openapi/pkg/handler` and `handler3`; compressed for clients that take it, as upstream does for v2 only.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use machinery::status::StatusError;
use negotiation::Body;

use crate::openapi::{self, Served};
use crate::{Call, general};

/// The media types of the two versions, as clients ask for them (with `@` or without) and as they are answered.
const FORMS: [&[(&str, &str)]; 2] = [
    &[
        ("application/json", "application/json"),
        (
            "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
            "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
        ),
        (
            "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
            "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
        ),
    ],
    &[("application/json", "application/json")],
];

/// Serves what follows `/openapi/`.
pub(crate) async fn serve(call: &Call, path: &str) -> Result<Response<Body>, StatusError> {
    let sources = &call.server.sources;
    let (name, forms) = match path.split_once('/') {
        None if path == "v3" => {
            // As upstream: the index is whatever its client takes it for.
            let mut response = negotiation::json_response(StatusCode::OK, openapi::index(sources));
            let kind = HeaderValue::from_static("text/plain; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            return Ok(response);
        }
        None if path == "v2" => (path, FORMS[0]),
        Some(("v3", name)) => (name, FORMS[1]),
        _ => return Ok(general::not_found()),
    };
    let accept = text(&call.parts.headers, header::ACCEPT);
    let Some(kind) = negotiated(accept, forms) else {
        return Ok(empty(StatusCode::NOT_ACCEPTABLE, &[]));
    };
    let protobuf = kind != "application/json";
    let Some(document) = call.server.openapi.get(sources, name, protobuf).await else {
        return Ok(empty(StatusCode::NOT_FOUND, &[]));
    };
    let tag = format!("\"{}\"", document.hash);
    let mut headers = vec![(header::ETAG, tag.clone()), (header::VARY, "Accept, Accept-Encoding".to_owned())];
    if let Some(asked) = call.info.query.get("hash").filter(|_| name != "v2") {
        if asked != document.hash {
            let place = format!("{}?hash={}", call.info.path, document.hash);
            return Ok(empty(StatusCode::MOVED_PERMANENTLY, &[(header::LOCATION, place)]));
        }
        let expires = call.now + jiff::SignedDuration::from_hours(24 * 365);
        headers.push((header::CACHE_CONTROL, "public, immutable".into()));
        headers.push((header::EXPIRES, expires.strftime("%a, %d %b %Y %H:%M:%S UTC").to_string()));
    }
    let known = text(&call.parts.headers, header::IF_NONE_MATCH);
    if known.split(',').any(|k| matches!(k.trim(), t if t == "*" || t.trim_start_matches("W/") == tag)) {
        return Ok(empty(StatusCode::NOT_MODIFIED, &headers));
    }
    headers.push((header::CONTENT_TYPE, kind.into()));
    Ok(body(call, &document, headers))
}

fn body(call: &Call, document: &Served, mut headers: Vec<(header::HeaderName, String)>) -> Response<Body> {
    let encodings = text(&call.parts.headers, header::ACCEPT_ENCODING);
    let gzip = encodings.split(',').any(|e| e.split(';').next().is_some_and(|e| e.trim() == "gzip"));
    let bytes = if gzip { document.gzip() } else { document.plain().into() };
    if gzip {
        headers.push((header::CONTENT_ENCODING, "gzip".into()));
    }
    with(negotiation::full(bytes), StatusCode::OK, &headers)
}

/// The form to answer in: of what the client prefers, the first that there is.
fn negotiated(accept: &str, forms: &[(&str, &'static str)]) -> Option<&'static str> {
    let quality = |clause: &str| {
        let given = clause.split(';').find_map(|p| p.trim().strip_prefix("q=")).and_then(|q| q.parse().ok());
        given.unwrap_or(1.0f32)
    };
    let mut clauses: Vec<&str> = if accept.is_empty() { vec!["*/*"] } else { accept.split(',').collect() };
    clauses.sort_by(|a, b| quality(b).total_cmp(&quality(a)));
    clauses.into_iter().find_map(|clause| match clause.split(';').next().unwrap_or_default().trim() {
        "*/*" | "application/*" => Some("application/json"),
        kind => forms.iter().find(|(asked, _)| *asked == kind).map(|(_, answered)| *answered),
    })
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
}

fn empty(code: StatusCode, headers: &[(header::HeaderName, String)]) -> Response<Body> {
    with(negotiation::full(""), code, headers)
}

fn with(body: Body, code: StatusCode, headers: &[(header::HeaderName, String)]) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
