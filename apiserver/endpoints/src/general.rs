//! What is no resource: version, health, metrics, discovery, OpenAPI, the issuer's keys.

use access::authn::service_account::Issuer;
use http::{HeaderValue, Method, Response, StatusCode, header};
use machinery::status::StatusError;
use model::VERSION;
use negotiation::Body;
use serde_json::json;

use super::{Call, health, snapshot};
use crate::discovery;
use crate::dispatch::no_such_path;

pub(super) async fn serve(call: Call) -> Result<Response<Body>, StatusError> {
    if !matches!(call.parts.method, Method::GET | Method::HEAD) {
        return Err(StatusError::method_not_supported(&machinery::gvk::GroupResource::new("", ""), call.info.verb));
    }
    let path = call.info.path.trim_end_matches('/').to_string();
    let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    match segments.as_slice() {
        ["version"] => Ok(json_value(&version())),
        [path @ ("healthz" | "livez" | "readyz"), check @ ..] => health::serve(&call, path, &check.join("/")).await,
        ["metrics"] => Ok(series(call.server.metrics.text(&call.server.registry))),
        ["metrics", "slis"] => Ok(series(call.server.metrics.slis.text())),
        ["api" | "apis", ..] => discover(&call),
        ["openapi", ..] => crate::openapi::endpoint::serve(&call, path.trim_start_matches("/openapi/")).await,
        [".well-known", "openid-configuration"] => issuer(&call, "application/json", Issuer::configuration),
        ["openid", "v1", "jwks"] => issuer(&call, "application/jwk-set+json", Issuer::key_set),
        ["ferry", "snapshot"] => snapshot::serve(&call).await,
        [] => Ok(json_value(&paths(&call))),
        _ => Ok(not_found()),
    }
}

/// Metrics in the text form of Prometheus.
fn series(body: String) -> Response<Body> {
    let mut response = text(StatusCode::OK, body);
    let kind = HeaderValue::from_static(component::metrics::CONTENT_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// What there is, for people who look around: `/`.
fn paths(call: &Call) -> serde_json::Value {
    let mut paths: Vec<String> = [
        "/.well-known/openid-configuration",
        "/api",
        "/apis",
        "/metrics",
        "/metrics/slis",
        "/openapi/v2",
        "/openapi/v3",
        "/openid/v1/jwks",
        "/version",
    ]
    .map(String::from)
    .into();
    for group in call.server.sources.groups() {
        let base = if group.name.is_empty() { "/api".to_owned() } else { format!("/apis/{}", group.name) };
        paths.extend(group.versions.iter().map(|version| format!("{base}/{version}")));
        paths.push(base);
    }
    for path in ["/healthz", "/livez", "/readyz"] {
        paths.push(path.into());
        paths.extend(health::names(path).map(|name| format!("{path}/{name}")));
    }
    paths.sort_unstable();
    paths.dedup();
    json!({ "paths": paths })
}

/// Discovery documents; one that the client has already (by its ETag) is not sent again.
fn discover(call: &Call) -> Result<Response<Body>, StatusError> {
    let headers = &call.parts.headers;
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    // HTTP/2 says in the URL what HTTP/1 says in a header.
    let host = call.parts.uri.authority().map_or_else(|| text(header::HOST), |authority| authority.as_str());
    let Some(document) = discovery::document(&call.server.sources, &call.info.path, text(header::ACCEPT), host) else {
        return Ok(not_found());
    };
    let etag = document.etag.as_deref().and_then(|tag| HeaderValue::from_str(tag).ok());
    let known = document.etag.as_deref().is_some_and(|tag| text(header::IF_NONE_MATCH) == tag);
    let mut response = if known {
        let mut response = Response::new(negotiation::full(""));
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        negotiation::json_response(StatusCode::OK, document.body)
    };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(document.content_type));
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    if let Some(etag) = etag {
        response.headers_mut().insert(header::ETAG, etag);
    }
    Ok(response)
}

/// A document of the issuer of service account tokens, by which others verify them.
fn issuer(call: &Call, kind: &'static str, document: fn(&Issuer) -> String) -> Result<Response<Body>, StatusError> {
    let issuer = call.server.issuer.as_deref().ok_or_else(no_such_path)?;
    let mut response = Response::new(negotiation::full(document(issuer)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    Ok(response)
}

fn version() -> serde_json::Value {
    json!({
        "major": "1",
        "minor": "36",
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": "linux/amd64",
    })
}

fn json_value(value: &serde_json::Value) -> Response<Body> {
    negotiation::json_response(StatusCode::OK, serde_json::to_vec_pretty(value).unwrap_or_default())
}

/// Upstream's answer where there is nothing, which is no Status.
pub(super) fn not_found() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "404 page not found\n".into())
}

pub(super) fn text(code: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(negotiation::full(body));
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
