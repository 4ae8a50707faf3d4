//! What is no resource: version, health, metrics, discovery, OpenAPI, the issuer's keys.

use http::{HeaderValue, Method, Response, StatusCode, header};
use machinery::status::StatusError;
use serde_json::json;
use std::sync::atomic::Ordering;

use super::{Call, no_such_path};
use crate::VERSION;
use crate::discovery;
use crate::filters::authn::service_account::Issuer;
use crate::negotiation::{self, Body};

pub(super) async fn serve(call: Call) -> Result<Response<Body>, StatusError> {
    if !matches!(call.parts.method, Method::GET | Method::HEAD) {
        return Err(StatusError::method_not_supported(&machinery::gvk::GroupResource::new("", ""), call.info.verb));
    }
    let path = call.info.path.trim_end_matches('/').to_string();
    let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    match segments.as_slice() {
        ["version"] => Ok(json_value(&version())),
        ["healthz" | "livez" | "readyz", check @ ..] => health(&call, segments[0], check.first().copied()).await,
        ["metrics"] => {
            let mut response = text(StatusCode::OK, call.server.metrics.text());
            let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            Ok(response)
        }
        ["api" | "apis", ..] => discover(&call),
        ["openapi", ..] => super::openapi::serve(&call, path.trim_start_matches("/openapi/")).await,
        [".well-known", "openid-configuration"] => issuer(&call, "application/json", Issuer::configuration),
        ["openid", "v1", "jwks"] => issuer(&call, "application/jwk-set+json", Issuer::key_set),
        _ => Err(no_such_path()),
    }
}

/// Discovery documents; one that the client has already (by its ETag) is not sent again.
fn discover(call: &Call) -> Result<Response<Body>, StatusError> {
    let headers = &call.parts.headers;
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let rows = rows(call);
    // HTTP/2 says in the URL what HTTP/1 says in a header.
    let host = call.parts.uri.authority().map_or_else(|| text(header::HOST), |authority| authority.as_str());
    let document =
        discovery::document(rows.all(), &call.info.path, text(header::ACCEPT), host).ok_or_else(no_such_path)?;
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

/// `/livez` is that the process serves; `/readyz` that the store answers and the bootstrap is done.
async fn health(call: &Call, path: &str, only: Option<&str>) -> Result<Response<Body>, StatusError> {
    let stored = call.server.registry.feed().caught_up().await.is_ok();
    let mut checks = vec![("ping", true), ("log", true), ("etcd", stored)];
    if path != "livez" {
        checks.push(("poststarthook/bootstrap-controller", call.server.ready.load(Ordering::Acquire)));
        checks.push(("shutdown", !call.server.cancel.is_cancelled()));
    }
    if let Some(name) = only {
        checks.retain(|(check, _)| *check == name);
        if checks.is_empty() {
            return Err(no_such_path());
        }
    }
    let excluded: Vec<&str> = call.info.query.all("exclude").collect();
    let good = checks.iter().all(|(check, good)| *good || excluded.contains(check));
    let code = if good { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
    if good && !call.info.query.has("verbose") {
        return Ok(text(code, "ok".into()));
    }
    let mut out = String::new();
    for (check, good) in checks {
        let line = match (good, excluded.contains(&check)) {
            (_, true) => format!("[+]{check} excluded: ok\n"),
            (true, _) => format!("[+]{check} ok\n"),
            (false, _) => format!("[-]{check} failed: reason withheld\n"),
        };
        out.push_str(&line);
    }
    out.push_str(&format!("{path} check {}\n", if good { "passed" } else { "failed" }));
    Ok(text(code, out))
}

fn text(code: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(negotiation::full(body));
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
