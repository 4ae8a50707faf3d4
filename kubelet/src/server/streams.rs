//! `/exec`, `/attach`, `/portForward` and `/run`. The runtime serves the stream; bytes are passed through both ways unread.
//!
//! containerd speaks SPDY/3.1; whatever a client negotiates, it negotiates with the runtime.

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
use hyper_util::rt::TokioIo;
use proto::cri;
use std::{sync::Arc, time::Duration};
use tokio::net::TcpStream;

pub(super) fn routes() -> Router<Arc<Agent>> {
    Router::new()
        .route("/exec/{namespace}/{pod}/{container}", any(exec))
        .route("/exec/{namespace}/{pod}/{uid}/{container}", any(exec_uid))
        .route("/attach/{namespace}/{pod}/{container}", any(attach))
        .route("/attach/{namespace}/{pod}/{uid}/{container}", any(attach_uid))
        .route("/portForward/{namespace}/{pod}", any(port_forward))
        .route("/portForward/{namespace}/{pod}/{uid}", any(port_forward_uid))
        .route("/run/{namespace}/{pod}/{container}", post(run))
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

/// The running container's id.
async fn container(agent: &Agent, namespace: &str, name: &str, container: &str) -> Result<String, Box<Response>> {
    let missing = |status, message: String| Box::new(refuse(status, message));
    let found =
        agent.find(namespace, name).ok_or_else(|| missing(StatusCode::NOT_FOUND, "pod does not exist".into()))?;
    let list = agent
        .runtime
        .list_containers(Some(pod::uid(&found)))
        .await
        .map_err(|e| missing(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
    let mut running: Vec<_> = list
        .into_iter()
        .filter(|c| {
            c.state() == cri::ContainerState::ContainerRunning
                && c.labels.get(crate::cri::labels::CONTAINER_NAME).is_some_and(|n| n == container)
        })
        .collect();
    running.sort_by_key(|c| c.created_at);
    running
        .pop()
        .map(|c| c.id)
        .ok_or_else(|| missing(StatusCode::NOT_FOUND, format!("container not found ({container:?})")))
}

async fn exec(
    state: State<Arc<Agent>>,
    Path((namespace, pod, name)): Path<(String, String, String)>,
    query: RawQuery,
    request: Request,
) -> Response {
    do_exec(&state, &namespace, &pod, &name, &query.0, request).await.unwrap_or_else(|r| *r)
}

async fn exec_uid(
    state: State<Arc<Agent>>,
    Path((namespace, pod, _, name)): Path<(String, String, String, String)>,
    query: RawQuery,
    request: Request,
) -> Response {
    do_exec(&state, &namespace, &pod, &name, &query.0, request).await.unwrap_or_else(|r| *r)
}

async fn do_exec(
    agent: &Agent,
    namespace: &str,
    pod: &str,
    name: &str,
    query: &Option<String>,
    request: Request,
) -> Result<Response, Box<Response>> {
    let Ends { stdin, stdout, stderr, tty } = ends(query)?;
    let container_id = container(agent, namespace, pod, name).await?;
    let asked = cri::ExecRequest { container_id, cmd: values(query, "command"), tty, stdin, stdout, stderr };
    pass(agent.runtime.exec(asked).await, request).await
}

async fn attach(
    state: State<Arc<Agent>>,
    Path((namespace, pod, name)): Path<(String, String, String)>,
    query: RawQuery,
    request: Request,
) -> Response {
    do_attach(&state, &namespace, &pod, &name, &query.0, request).await.unwrap_or_else(|r| *r)
}

async fn attach_uid(
    state: State<Arc<Agent>>,
    Path((namespace, pod, _, name)): Path<(String, String, String, String)>,
    query: RawQuery,
    request: Request,
) -> Response {
    do_attach(&state, &namespace, &pod, &name, &query.0, request).await.unwrap_or_else(|r| *r)
}

async fn do_attach(
    agent: &Agent,
    namespace: &str,
    pod: &str,
    name: &str,
    query: &Option<String>,
    request: Request,
) -> Result<Response, Box<Response>> {
    let Ends { stdin, stdout, stderr, .. } = ends(query)?;
    let container_id = container(agent, namespace, pod, name).await?;
    // A container has a terminal or not; what the client thinks does not count.
    let spec = agent.find(namespace, pod).and_then(|p| pod::find(&p, name).map(|f| f.1.into_owned()));
    let tty = spec.is_some_and(|c| c.tty == Some(true));
    let asked = cri::AttachRequest { container_id, stdin, tty, stdout, stderr: stderr && !tty };
    pass(agent.runtime.attach(asked).await, request).await
}

async fn port_forward(
    state: State<Arc<Agent>>,
    Path((namespace, pod)): Path<(String, String)>,
    query: RawQuery,
    request: Request,
) -> Response {
    do_port_forward(&state, &namespace, &pod, &query.0, request).await.unwrap_or_else(|r| *r)
}

async fn port_forward_uid(
    state: State<Arc<Agent>>,
    Path((namespace, pod, _)): Path<(String, String, String)>,
    query: RawQuery,
    request: Request,
) -> Response {
    do_port_forward(&state, &namespace, &pod, &query.0, request).await.unwrap_or_else(|r| *r)
}

async fn do_port_forward(
    agent: &Agent,
    namespace: &str,
    name: &str,
    query: &Option<String>,
    request: Request,
) -> Result<Response, Box<Response>> {
    let missing = || Box::new(refuse(StatusCode::NOT_FOUND, "pod does not exist"));
    let found = agent.find(namespace, name).ok_or_else(missing)?;
    let sandboxes = agent.runtime.list_sandboxes(Some(pod::uid(&found))).await.unwrap_or_default();
    let ready =
        sandboxes.into_iter().filter(|s| s.state() == cri::PodSandboxState::SandboxReady).max_by_key(|s| s.created_at);
    let sandbox = ready.ok_or_else(|| {
        Box::new(refuse(StatusCode::NOT_FOUND, format!("failed to find sandboxID for pod {:?}", pod::format(&found))))
    })?;
    let ports: Vec<i32> = values(query, "port")
        .iter()
        .flat_map(|v| v.split(',').filter_map(|p| p.parse().ok()).collect::<Vec<_>>())
        .collect();
    pass(agent.runtime.port_forward(&sandbox.id, &ports).await, request).await
}

/// Takes the client's upgrade to the runtime's address and joins the two connections.
async fn pass(url: crate::cri::Result<String>, mut request: Request) -> Result<Response, Box<Response>> {
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
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| fault(e.to_string()))?;
    tokio::spawn(connection.with_upgrades());
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
    tokio::spawn(async move {
        if let (Ok(client), Ok(runtime)) = tokio::join!(client, runtime) {
            let _ = tokio::io::copy_bidirectional_with_sizes(
                &mut TokioIo::new(client),
                &mut TokioIo::new(runtime),
                32 << 10,
                32 << 10,
            )
            .await;
        }
    });
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
async fn run(
    State(agent): State<Arc<Agent>>,
    Path((namespace, pod, name)): Path<(String, String, String)>,
    query: RawQuery,
) -> Response {
    let id = match container(&agent, &namespace, &pod, &name).await {
        Ok(id) => id,
        Err(refusal) => return *refusal,
    };
    let command: Vec<String> =
        values(&query.0, "cmd").first().map(|c| c.split_whitespace().map(str::to_owned).collect()).unwrap_or_default();
    match agent.runtime.exec_sync(&id, &command, Duration::ZERO).await {
        Ok(output) if output.exit_code == 0 => [output.stdout, output.stderr].concat().into_response(),
        Ok(output) => refuse(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!(
                "command '{}' exited with {}: {}",
                command.join(" "),
                output.exit_code,
                String::from_utf8_lossy(&output.stderr)
            ),
        ),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}
