//! exec, attach and port-forward. A SPDY client's bytes go to the kubelet as they are. A WebSocket client of exec and
//! attach is translated to SPDY; one of port-forward carries SPDY inside its messages, which is unwrapped, or has channels of
//! its own for the ports that it names in `?ports=`, which the node's runtime serves: those bytes pass as they are too.

use std::time::Duration;

use access::authz::{Attributes, Decision};
use http::header::{CONNECTION, HOST, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use machinery::field::{Error, ErrorList, Path};
use machinery::gvk::{GroupKind, GroupResource};
use machinery::meta;
use machinery::status::StatusError;
use model::request_info::RequestInfo;
use negotiation::Body;
use serde_json::Value;
use streaming::dial::{self, Answer, PORTFORWARD, REMOTECOMMAND, STREAM_PROTOCOL};
use streaming::{copy, spdy, translate, tunnel, websocket};

use super::super::Call;
use super::nodes::Location;
use super::{container, node_of};

/// A stream on which nothing happens ends after this long, as upstream's.
const IDLE: Duration = Duration::from_secs(4 * 60 * 60);

pub(super) async fn handle(mut call: Call, pod: &Value) -> Result<Response<Body>, StatusError> {
    may_create(&call, pod)?;
    let options = Options::parse(&call, pod)?;
    let node = node_of(pod)?;
    let location = call.server.nodes.locate(&call.server.registry, node)?;
    let Some(client) = call.parts.extensions.remove::<OnUpgrade>() else {
        return Err(StatusError::bad_request("Upgrade request required"));
    };
    let headers = &call.parts.headers;
    if websocket::is_upgrade(headers) {
        let offered = websocket::offered(headers);
        if options.forward && !tunnel::offered(&offered).is_empty() {
            return tunnelled(&call, client, options, location).await;
        }
        if !options.forward {
            return translated(&call, client, options, location);
        }
        let request = options.websocket_request(&location, headers)?;
        return passed_through(&call, client, request, location).await;
    }
    if headers.get(UPGRADE).is_some_and(|v| v.to_str().is_ok_and(|v| v.eq_ignore_ascii_case(spdy::UPGRADE))) {
        let offered: Vec<&str> = headers.get_all(STREAM_PROTOCOL).iter().filter_map(|v| v.to_str().ok()).collect();
        let request = options.request(&location, &offered)?;
        return passed_through(&call, client, request, location).await;
    }
    Err(StatusError::bad_request("Upgrade request required"))
}

/// A WebSocket begins with a GET, and does what a POST does: it takes the same permission
/// (`pkg/registry/core/pod/rest/authorize.go`).
fn may_create(call: &Call, pod: &Value) -> Result<(), StatusError> {
    if call.info.verb == "create" {
        return Ok(());
    }
    let info = RequestInfo { verb: "create", ..call.info.clone() };
    match call.server.authorizer.authorize(&Attributes::of(call.user(), &info)) {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(why) | Decision::NoOpinion(why) => {
            Err(StatusError::forbidden(&GroupResource::new("", "pods"), meta::name(pod), why))
        }
    }
}

/// What the kubelet is asked.
struct Options {
    forward: bool,
    streams: translate::Options,
    path: String,
}

impl Options {
    /// From PodExecOptions, PodAttachOptions or PodPortForwardOptions in the query.
    fn parse(call: &Call, pod: &Value) -> Result<Self, StatusError> {
        let (query, part) = (&call.info.query, call.info.subresource.as_str());
        let (namespace, name) = (meta::namespace(pod), meta::name(pod));
        if part == "portforward" {
            let ports = ports(query.all("ports"))?;
            let asked = if ports.is_empty() { String::new() } else { format!("?port={}", ports.join("%2C")) };
            let path = format!("/portForward/{namespace}/{name}{asked}");
            return Ok(Self { forward: true, streams: translate::Options::default(), path });
        }
        let flag = |key, default| if query.has(key) { query.flag(key) } else { default };
        let streams = translate::Options {
            stdin: flag("stdin", false),
            stdout: flag("stdout", true),
            stderr: flag("stderr", true),
            tty: flag("tty", false),
        };
        let commands: Vec<&str> = query.all("command").collect();
        let mut errors = ErrorList::new();
        if part == "exec" && commands.is_empty() {
            errors.push(Error::required(&Path::new("command"), ""));
        }
        if !errors.is_empty() {
            return Err(StatusError::invalid(&GroupKind::new("", "PodExecOptions"), name, errors));
        }
        if !streams.stdin && !streams.stdout && !streams.stderr {
            return Err(StatusError::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
        }
        let container = container(pod, query.get("container"))?;
        let mut asked = form_urlencoded::Serializer::new(String::new());
        // With a terminal the output carries the errors.
        let stderr = streams.stderr && !streams.tty;
        for (key, wanted) in
            [("input", streams.stdin), ("output", streams.stdout), ("error", stderr), ("tty", streams.tty)]
        {
            if wanted {
                asked.append_pair(key, "1");
            }
        }
        for command in commands {
            asked.append_pair("command", command);
        }
        let path = format!("/{part}/{namespace}/{name}/{container}?{}", asked.finish());
        Ok(Self { forward: false, streams: translate::Options { stderr, ..streams }, path })
    }

    fn request(&self, location: &Location, protocols: &[&str]) -> Result<Request<()>, StatusError> {
        dial::spdy_request(&location.authority, &self.path, protocols)
            .map_err(|e| StatusError::bad_request(format!("unable to upgrade: {e}")))
    }

    /// The client's own handshake of a WebSocket, for the kubelet.
    fn websocket_request(&self, location: &Location, client: &HeaderMap) -> Result<Request<()>, StatusError> {
        let mut request = Request::get(&self.path)
            .header(HOST, &location.authority)
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .body(())
            .map_err(|e| StatusError::bad_request(format!("unable to upgrade: {e}")))?;
        copy_handshake(client, request.headers_mut());
        Ok(request)
    }
}

/// The ports of PodPortForwardOptions: a parameter for each, or several in one with commas between them.
fn ports<'q>(given: impl Iterator<Item = &'q str>) -> Result<Vec<String>, StatusError> {
    let parse = |text: &str| {
        let port = machinery::go::parse_uint::<u16>(text);
        port.map(|port| port.to_string())
            .map_err(|why| StatusError::bad_request(format!("cannot convert to []int32: {why}")))
    };
    given.flat_map(|several| several.split(',')).map(parse).collect()
}

/// What client and server of a WebSocket tell each other in headers.
fn copy_handshake(from: &HeaderMap, to: &mut HeaderMap) {
    for (name, value) in from.iter().filter(|(name, _)| name.as_str().starts_with("sec-websocket-")) {
        to.append(name, value.clone());
    }
}

/// The same protocol on both sides: SPDY, or WebSocket where the node's runtime serves it.
async fn passed_through(
    call: &Call,
    client: OnUpgrade,
    request: Request<()>,
    location: Location,
) -> Result<Response<Body>, StatusError> {
    let spoken = request.headers()[UPGRADE].clone();
    let (kubelet, answer) = upgrade(call, &location, request).await?;
    component::supervisor::detached("stream to a kubelet", async move {
        if let Ok(client) = client.await {
            let options = copy::Options { idle_timeout: Some(IDLE), ..copy::Options::default() };
            let _ = copy::proxy_upgraded(TokioIo::new(client), kubelet, options).await;
        }
    });
    let mut headers = HeaderMap::new();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, spoken);
    copy_handshake(&answer, &mut headers);
    if let Some(protocol) = answer.get(STREAM_PROTOCOL) {
        headers.insert(STREAM_PROTOCOL, protocol.clone());
    }
    Ok(switching(headers))
}

/// SPDY inside WebSocket messages on the client's side.
async fn tunnelled(
    call: &Call,
    client: OnUpgrade,
    options: Options,
    location: Location,
) -> Result<Response<Body>, StatusError> {
    let request = options.request(&location, PORTFORWARD)?;
    let (kubelet, _) = upgrade(call, &location, request).await?;
    let chosen = format!("{}{}", tunnel::PREFIX, PORTFORWARD[0]);
    let headers = websocket::accept(&call.parts.headers, Some(&chosen)).map_err(StatusError::bad_request)?;
    component::supervisor::detached("stream to a kubelet", async move {
        if let Ok(client) = client.await
            && let Err(error) = tunnel::tunnel(TokioIo::new(client), kubelet, Some(IDLE)).await
        {
            tracing::debug!(%error, "port-forward ended");
        }
    });
    Ok(switching(headers))
}

/// WebSocket channels on the client's side, SPDY on the node's. The client is answered first: what goes wrong with the
/// node is told on its error channel.
fn translated(
    call: &Call,
    client: OnUpgrade,
    options: Options,
    location: Location,
) -> Result<Response<Body>, StatusError> {
    let offered = websocket::offered(&call.parts.headers);
    let protocol = if offered.is_empty() {
        websocket::V1
    } else {
        websocket::choose(&offered, websocket::REMOTECOMMAND)
            .ok_or_else(|| StatusError::bad_request("unable to upgrade: no supported WebSocket protocol was offered"))?
    };
    let chosen = (!offered.is_empty()).then_some(protocol.name);
    let headers = websocket::accept(&call.parts.headers, chosen).map_err(StatusError::bad_request)?;
    let request = options.request(&location, REMOTECOMMAND)?;
    let nodes = call.server.nodes.clone();
    component::supervisor::detached("stream to a kubelet", async move {
        let Ok(client) = client.await else { return };
        let server = async {
            let stream = nodes.connect(&location).await.map_err(|e| e.to_value())?;
            dial::spdy(stream, request, spdy::Limits::default()).await
        };
        translate::translate_exec(TokioIo::new(client), protocol, options.streams, server).await;
    });
    Ok(switching(headers))
}

async fn upgrade(
    call: &Call,
    location: &Location,
    request: Request<()>,
) -> Result<(TokioIo<hyper::upgrade::Upgraded>, HeaderMap), StatusError> {
    let stream = call.server.nodes.connect(location).await?;
    match dial::upgrade(stream, request).await {
        Ok(Answer::Upgraded { io, headers }) => Ok((io, headers)),
        Ok(Answer::Refused(response)) => {
            let status = dial::refusal_status(response.body());
            Err(StatusError::from_value(&status)
                .unwrap_or_else(|| StatusError::internal("unable to upgrade connection")))
        }
        Err(error) => Err(StatusError::internal(format!("error sending request: {error}"))),
    }
}

pub(super) fn switching(headers: HeaderMap) -> Response<Body> {
    let mut response = Response::new(negotiation::full(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers;
    response
}
