//! `pods/log`: the kubelet's `/containerLogs` passed on as it comes, in a plain body or in messages of a WebSocket.

use component::http1;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use machinery::field::{Error, ErrorList, Path};
use machinery::gvk::GroupKind;
use machinery::meta;
use machinery::status::StatusError;
use model::request_info::Query;
use negotiation::Body;
use serde_json::Value;
use streaming::{reader, websocket};

use super::super::Call;
use super::{container, node_of};

/// The largest refusal of a kubelet that is passed on.
const REFUSAL_BYTES: usize = 64 * 1024;

pub(super) async fn handle(mut call: Call, pod: &Value) -> Result<Response<Body>, StatusError> {
    let client = call.parts.extensions.remove::<OnUpgrade>();
    let query = &call.info.query;
    validate(query, meta::name(pod))?;
    let container = container(pod, query.get("container"))?;
    let Ok(node) = node_of(pod) else {
        // Nothing ran yet: nothing was logged, over a WebSocket too.
        let mut nothing = Response::new(negotiation::full(""));
        *nothing.status_mut() = StatusCode::NO_CONTENT;
        return Ok(nothing);
    };
    let nodes = &call.server.nodes;
    let location = nodes.locate(&call.server.registry, node)?;
    let stream = nodes.connect(&location).await?;
    let uri = format!("/containerLogs/{}/{}/{container}?{}", meta::namespace(pod), meta::name(pod), passed_on(query));
    let failed = |e: &dyn std::fmt::Display| StatusError::internal(format!("reading the log of {node}: {e}"));
    let (mut sender, _) = http1::handshake("connection to a kubelet", stream).await.map_err(|e| failed(&e))?;
    let request = Request::get(uri)
        .header(HOST, &location.authority)
        .body(Empty::<bytes::Bytes>::new())
        .map_err(|e| failed(&e))?;
    let response = sender.send_request(request).await.map_err(|e| failed(&e))?;
    let code = response.status();
    if code != StatusCode::OK {
        let body = http_body_util::Limited::new(response.into_body(), REFUSAL_BYTES)
            .collect()
            .await
            .map_err(|e| failed(&e))?;
        return Err(refusal(code, &String::from_utf8_lossy(&body.to_bytes()), pod));
    }
    // The connection lives as long as the body is read.
    let body = response
        .into_body()
        .map_err(std::io::Error::other)
        .map_frame(move |frame| {
            let _open = &sender;
            frame
        })
        .boxed_unsync();
    match client.filter(|_| websocket::is_upgrade(&call.parts.headers)) {
        Some(client) => messages(&call.parts.headers, client, body),
        None => Ok(text(body)),
    }
}

/// The log in messages of a WebSocket.
fn messages(headers: &HeaderMap, client: OnUpgrade, body: Body) -> Result<Response<Body>, StatusError> {
    let protocol = match reader::choose(&websocket::offered(headers)) {
        Ok(protocol) => protocol,
        Err(why) => {
            let mut refusal = text(negotiation::full(why));
            *refusal.status_mut() = StatusCode::FORBIDDEN;
            return Ok(refusal);
        }
    };
    let headers = websocket::accept(headers, protocol.name).map_err(StatusError::bad_request)?;
    component::supervisor::detached("log over a WebSocket", async move {
        if let Ok(client) = client.await {
            reader::send(TokioIo::new(client), protocol, body.into_data_stream()).await;
        }
    });
    Ok(super::streams::switching(headers))
}

fn text(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

fn refusal(code: StatusCode, body: &str, pod: &Value) -> StatusError {
    match code {
        StatusCode::BAD_REQUEST => StatusError::bad_request(body.trim_end()),
        StatusCode::NOT_FOUND => {
            let pods = machinery::gvk::GroupResource::new("", "pods");
            let mut error = StatusError::not_found(&pods, meta::name(pod));
            error.message = format!("the server could not find the requested resource ( pods/log {})", meta::name(pod));
            error
        }
        code => StatusError::internal(format!("the kubelet answered {code}: {}", body.trim_end())),
    }
}

/// The options of PodLogOptions that the kubelet takes.
fn passed_on(query: &Query) -> String {
    let mut out = form_urlencoded::Serializer::new(String::new());
    for flag in ["follow", "previous", "timestamps"] {
        if query.flag(flag) {
            out.append_pair(flag, "true");
        }
    }
    for name in ["sinceSeconds", "sinceTime", "tailLines", "limitBytes", "stream"] {
        if let Some(value) = query.get(name) {
            out.append_pair(name, value);
        }
    }
    out.finish()
}

/// Follows `pkg/apis/core/validation` (ValidatePodLogOptions).
fn validate(query: &Query, name: &str) -> Result<(), StatusError> {
    let mut errors = ErrorList::new();
    let number = |key: &str| query.get(key).map(machinery::go::parse_int::<i64>).transpose();
    for (key, least, what) in [
        ("tailLines", 0, "must be greater than or equal to 0"),
        ("limitBytes", 1, "must be greater than 0"),
        ("sinceSeconds", 1, "must be greater than 0"),
    ] {
        match number(key) {
            Ok(Some(n)) if n < least => errors.push(Error::invalid(&Path::new(key), n, what)),
            Ok(_) => {}
            Err(why) => return Err(StatusError::bad_request(why)),
        }
    }
    if query.get("sinceSeconds").is_some() && query.get("sinceTime").is_some() {
        errors.push(Error::forbidden(&Path::nil(), "at most one of `sinceTime` or `sinceSeconds` may be specified"));
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(StatusError::invalid(&GroupKind::new("", "PodLogOptions"), name, errors))
    }
}
