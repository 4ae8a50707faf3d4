//! `/exec`, `/attach`, `/portForward` and `/run`. The runtime serves the stream; bytes are passed through both ways unread.
//!
//! containerd speaks SPDY/3.1, and WebSocket for ports that are named in the query; whatever a client negotiates, it
//! negotiates with the runtime.

use super::refuse;
use crate::{node_agent::Agent, pod};
use axum::{
    Router,
    body::Body,
    extract::{Path, RawQuery, Request, State},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{any, post},
};
use component::{Supervisor, http1};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use proto::cri;
use serde::Deserialize;
use std::{sync::Arc, time::Duration};
use streaming::websocket::is_upgrade;
use tokio::net::TcpStream;

pub(super) fn routes() -> Router<Arc<Agent>> {
    Router::new()
        .route("/exec/{namespace}/{pod}/{container}", any(exec))
        .route("/exec/{namespace}/{pod}/{uid}/{container}", any(exec))
        .route("/attach/{namespace}/{pod}/{container}", any(attach))
        .route("/attach/{namespace}/{pod}/{uid}/{container}", any(attach))
        .route("/portForward/{namespace}/{pod}", any(port_forward))
        .route("/portForward/{namespace}/{pod}/{uid}", any(port_forward))
        .route("/run/{namespace}/{pod}/{container}", post(run))
        .route("/run/{namespace}/{pod}/{uid}/{container}", post(run))
}

/// What a path names.
#[derive(Deserialize, Default)]
#[serde(default)]
struct At {
    namespace: String,
    pod: String,
    /// If it is given, a pod that was made again under the same name is another one.
    uid: Option<String>,
    container: String,
}

impl At {
    fn pod(&self, agent: &Agent) -> Result<Arc<Pod>, Box<Response>> {
        let refuse = |message: &str| Box::new(refuse(StatusCode::NOT_FOUND, message));
        let newest = agent.find(&self.namespace, &self.pod).ok_or_else(|| refuse("pod does not exist"))?;
        let Some(uid) = &self.uid else { return Ok(newest) };
        let same = |p: &Arc<Pod>| pod::uid(p) == uid && pod::name(p) == self.pod && pod::namespace(p) == self.namespace;
        agent.all_pods().into_iter().find(same).ok_or_else(|| refuse("pod not found"))
    }

    /// The id of the container that runs.
    async fn container(&self, agent: &Agent, pod: &Pod) -> Result<String, Box<Response>> {
        let fault = |message: String| Box::new(refuse(StatusCode::INTERNAL_SERVER_ERROR, message));
        let list = agent.runtime.list_containers(Some(pod::uid(pod))).await.map_err(|e| fault(e.to_string()))?;
        let named = |c: &cri::Container| c.labels.get(crate::cri::labels::CONTAINER_NAME) == Some(&self.container);
        let running = list.into_iter().filter(|c| c.state() == cri::ContainerState::ContainerRunning && named(c));
        let newest = running.max_by_key(|c| c.created_at);
        newest.map(|c| c.id).ok_or_else(|| fault(format!("container not found ({:?})", self.container)))
    }
}

/// Every value of a key in a query.
fn values(query: &Option<String>, key: &str) -> Vec<String> {
    let pairs = query.as_deref().unwrap_or_default().split('&').filter_map(|p| p.split_once('='));
    pairs.filter(|(k, _)| *k == key).map(|(_, v)| decode(v)).collect()
}

fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3).and_then(|h| u8::from_str_radix(h, 16).ok()))
            .flatten();
        match (bytes[at], hex) {
            (_, Some(byte)) => {
                out.push(byte);
                at += 3;
                continue;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn flag(query: &Option<String>, key: &str) -> bool {
    values(query, key).first().is_some_and(|v| v == "1" || v == "true")
}

struct Ends {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

/// Kubelet's own parameters are `input`, `output`, `error`; the API's are `stdin`, `stdout`, `stderr`.
fn ends(query: &Option<String>) -> Result<Ends, Box<Response>> {
    let tty = flag(query, "tty");
    let ends = Ends {
        stdin: flag(query, "input") || flag(query, "stdin"),
        stdout: flag(query, "output") || flag(query, "stdout"),
        stderr: (flag(query, "error") || flag(query, "stderr")) && !tty,
        tty,
    };
    if ends.stdin || ends.stdout || ends.stderr {
        Ok(ends)
    } else {
        Err(Box::new(refuse(StatusCode::BAD_REQUEST, "you must specify at least 1 of stdin, stdout, stderr")))
    }
}

async fn exec(State(agent): State<Arc<Agent>>, Path(at): Path<At>, query: RawQuery, request: Request) -> Response {
    let call = async {
        let Ends { stdin, stdout, stderr, tty } = ends(&query.0)?;
        let container_id = at.container(&agent, &*at.pod(&agent)?).await?;
        let asked = cri::ExecRequest { container_id, cmd: values(&query.0, "command"), tty, stdin, stdout, stderr };
        pass(&agent.streams, agent.runtime.exec(asked).await, request).await
    };
    call.await.unwrap_or_else(|refusal| *refusal)
}

async fn attach(State(agent): State<Arc<Agent>>, Path(at): Path<At>, query: RawQuery, request: Request) -> Response {
    let call = async {
        let Ends { stdin, stdout, stderr, .. } = ends(&query.0)?;
        let pod = at.pod(&agent)?;
        let container_id = at.container(&agent, &pod).await?;
        // A container has a terminal or not; what the client thinks does not count.
        let tty = pod::find(&pod, &at.container).is_some_and(|(_, container)| container.tty == Some(true));
        let asked = cri::AttachRequest { container_id, stdin, tty, stdout, stderr: stderr && !tty };
        pass(&agent.streams, agent.runtime.attach(asked).await, request).await
    };
    call.await.unwrap_or_else(|refusal| *refusal)
}

async fn port_forward(
    State(agent): State<Arc<Agent>>,
    Path(at): Path<At>,
    query: RawQuery,
    request: Request,
) -> Response {
    let call = async {
        let pod = at.pod(&agent)?;
        let sandboxes = agent.runtime.list_sandboxes(Some(pod::uid(&pod))).await.unwrap_or_default();
        let ready = sandboxes.into_iter().filter(|s| s.state() == cri::PodSandboxState::SandboxReady);
        let sandbox = ready.max_by_key(|s| s.created_at).ok_or_else(|| {
            let message = format!("failed to find sandboxID for pod {:?}", pod::format(&pod));
            Box::new(refuse(StatusCode::NOT_FOUND, message))
        })?;
        let ports = if is_upgrade(request.headers()) { ports(&query.0)? } else { Vec::new() };
        pass(&agent.streams, agent.runtime.port_forward(&sandbox.id, &ports).await, request).await
    };
    call.await.unwrap_or_else(|refusal| *refusal)
}

/// The ports whose channels a WebSocket client wants: it names them first, where SPDY's streams name them later. Upstream:
/// `NewV4Options` (`portforward/websocket.go`).
fn ports(query: &Option<String>) -> Result<Vec<i32>, Box<Response>> {
    let refuse = |message: String| Box::new(refuse(StatusCode::BAD_REQUEST, message));
    let given = values(query, "port");
    if given.is_empty() {
        return Err(refuse("query parameter \"port\" is required".into()));
    }
    let mut ports = Vec::new();
    for text in &given {
        if text.is_empty() {
            return Err(refuse("query parameter \"port\" cannot be empty".into()));
        }
        for port in text.split(',') {
            let parsed = machinery::go::parse_uint::<u16>(port)
                .map_err(|why| refuse(format!("unable to parse {text:?} as a port: {why}")))?;
            if parsed == 0 {
                return Err(refuse(format!("port {text:?} must be > 0")));
            }
            ports.push(i32::from(parsed));
        }
    }
    Ok(ports)
}

/// Takes the client's upgrade to the runtime's address and joins the two connections, until `own` is stopped.
async fn pass(
    own: &Supervisor,
    url: crate::cri::Result<String>,
    mut request: Request,
) -> Result<Response, Box<Response>> {
    let fault = |error: String| Box::new(refuse(StatusCode::INTERNAL_SERVER_ERROR, error));
    let url: Uri = url
        .map_err(|e| fault(e.to_string()))?
        .parse()
        .map_err(|_| fault("the runtime's stream has no usable address".into()))?;
    let authority = url.authority().ok_or_else(|| fault("the runtime's stream has no address".into()))?.clone();
    let stream = TcpStream::connect((authority.host(), authority.port_u16().unwrap_or(80)))
        .await
        .map_err(|e| fault(e.to_string()))?;
    let _ = stream.set_nodelay(true);
    let (mut sender, _) =
        http1::handshake_under(own, "connection to the runtime", stream).await.map_err(|e| fault(e.to_string()))?;
    let mut onward = hyper::Request::builder()
        .method(request.method().clone())
        .uri(url.path_and_query().map_or("/", |p| p.as_str()));
    if let Some(headers) = onward.headers_mut() {
        *headers = onward_headers(request.headers());
        headers.insert(
            header::HOST,
            authority.as_str().parse().map_err(|_| fault("the runtime's stream has no usable address".into()))?,
        );
    }
    let onward = onward.body(Body::empty()).map_err(|e| fault(e.to_string()))?;
    let mut answer = sender.send_request(onward).await.map_err(|e| fault(e.to_string()))?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(answer.map(Body::new).into_response());
    }
    let client = hyper::upgrade::on(&mut request);
    let runtime = hyper::upgrade::on(&mut answer);
    let joined = async move {
        if let (Ok(client), Ok(runtime)) = tokio::join!(client, runtime) {
            let _ = tokio::io::copy_bidirectional_with_sizes(
                &mut TokioIo::new(client),
                &mut TokioIo::new(runtime),
                32 << 10,
                32 << 10,
            )
            .await;
        }
    };
    own.one_shot("stream to the runtime", own.token().run_until_cancelled_owned(joined));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = answer.headers().clone();
    Ok(response)
}

/// Credentials were for the kubelet.
fn onward_headers(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    headers.remove(header::AUTHORIZATION);
    headers
}

/// A command's output in one answer.
async fn run(State(agent): State<Arc<Agent>>, Path(at): Path<At>, query: RawQuery) -> Response {
    let call = async {
        let id = at.container(&agent, &*at.pod(&agent)?).await?;
        let command = values(&query.0, "cmd").first().cloned().unwrap_or_default();
        let command: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        let fault = |message: String| Box::new(refuse(StatusCode::INTERNAL_SERVER_ERROR, message));
        match agent.runtime.exec_sync(&id, &command, Duration::ZERO).await {
            Ok(output) if output.exit_code == 0 => Ok([output.stdout, output.stderr].concat().into_response()),
            Ok(output) => Err(fault(format!(
                "command '{}' exited with {}: {}",
                command.join(" "),
                output.exit_code,
                String::from_utf8_lossy(&output.stderr)
            ))),
            Err(error) => Err(fault(error.to_string())),
        }
    };
    call.await.unwrap_or_else(|refusal: Box<Response>| *refusal)
}

#[cfg(test)]
mod tests;
