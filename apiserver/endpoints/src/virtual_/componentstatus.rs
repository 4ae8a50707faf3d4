//! `componentstatuses`: whether the scheduler, the controller manager and the store answer, found out when somebody asks.
//! Follows `pkg/registry/core/componentstatus`: the two are looked for on this machine, at their usual ports.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use component::http1;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use http::{Request, header};
use http_body_util::{BodyExt, Empty, Limited};
use machinery::gvk::GroupResource;
use machinery::status::StatusError;
use model::request_info::RequestInfo;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use writes::strategy::WriteContext;

use super::super::virtual_::Virtual;
use crate::Server;

/// The components, and where they listen; the store has no port of its own.
const COMPONENTS: [(&str, u16); 3] = [("scheduler", 10259), ("controller-manager", 10257), ("etcd-0", 0)];
/// How long one may take to answer, and how much of it is read.
const PATIENCE: Duration = Duration::from_secs(20);
const LIMIT_BYTES: usize = 10 * 1024;

/// The resource.
pub struct ComponentStatus;

#[async_trait]
impl Virtual for ComponentStatus {
    async fn serve(
        &self,
        server: &Server,
        _: &WriteContext<'_>,
        info: &RequestInfo,
        _: Value,
    ) -> Result<Value, StatusError> {
        if info.verb == "list" {
            // As upstream: whoever answers first is first.
            let asked: FuturesUnordered<_> =
                COMPONENTS.iter().map(|(name, port)| status(server, name, *port)).collect();
            let all: Vec<Value> = asked.collect().await;
            return Ok(json!({ "items": all }));
        }
        match COMPONENTS.iter().find(|(name, _)| *name == info.name) {
            Some((name, port)) => Ok(status(server, name, *port).await),
            None => Err(StatusError::not_found(&GroupResource::new("", "componentstatus"), &info.name)),
        }
    }
}

async fn status(server: &Server, name: &str, port: u16) -> Value {
    let mut condition = json!({"type": "Healthy", "status": "True", "message": "ok"});
    if name.starts_with("etcd") {
        if let Err(error) = server.registry.feed().caught_up().await {
            condition = json!({"type": "Healthy", "status": "False", "error": error.message});
        }
    } else if let Err(why) = answers(server.nodes.backend_tls.clone(), port).await {
        condition = json!({"type": "Healthy", "status": "False", "message": why});
    }
    json!({"kind": "ComponentStatus", "apiVersion": "v1", "metadata": {"name": name}, "conditions": [condition]})
}

/// Asks a component of this machine how it is; in words, as Go's client has them, what is wrong.
async fn answers(tls: Arc<rustls::ClientConfig>, port: u16) -> Result<(), String> {
    let authority = format!("127.0.0.1:{port}");
    let failed = |why: String| format!("Get \"https://{authority}/healthz\": {why}");
    let ask = async {
        let stream = TcpStream::connect(&authority).await.map_err(|e| match e.kind() {
            std::io::ErrorKind::ConnectionRefused => format!("dial tcp {authority}: connect: connection refused"),
            _ => format!("dial tcp {authority}: {e}"),
        })?;
        let name = ServerName::try_from("127.0.0.1").map_err(|e| e.to_string())?;
        let stream = TlsConnector::from(tls).connect(name, stream).await.map_err(|e| e.to_string())?;
        let opened = http1::handshake("connection to a component", stream).await;
        let (mut sender, _) = opened.map_err(|e| e.to_string())?;
        let request = Request::get("/healthz").header(header::HOST, &authority).body(Empty::<Bytes>::new());
        let answer = sender.send_request(request.map_err(|e| e.to_string())?).await.map_err(|e| e.to_string())?;
        let code = answer.status();
        Limited::new(answer.into_body(), LIMIT_BYTES).collect().await.map_err(|e| e.to_string())?;
        Ok(code)
    };
    match tokio::time::timeout(PATIENCE, ask).await {
        Ok(Ok(code)) if code.is_success() || code.is_redirection() => Ok(()),
        Ok(Ok(code)) => Err(format!("HTTP probe failed with statuscode: {}", code.as_u16())),
        Ok(Err(why)) => Err(failed(why)),
        Err(_) => Err(failed("context deadline exceeded".into())),
    }
}
