//! What nodes answer about the resources that their pods use: `/metrics/resource` over TLS, each node on a port of its own.

use std::cell::RefCell;
use std::fmt::Write;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::PrivateKeyDer;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::object;

/// What each container uses: cores, and bytes.
const CORES: f64 = 0.05;
const BYTES: u64 = 64 << 20;
/// All have run for that long already when they are first asked: autoscalers wait for young containers.
const AGE: Duration = Duration::from_secs(3600);

/// A pod that runs: namespace, name, containers.
type Running = (String, String, Vec<String>);

/// Which pods run, by node, for nodes that are asked.
#[derive(Clone)]
pub(super) struct Used {
    nodes: Rc<RefCell<Vec<Vec<Running>>>>,
    /// When all containers began, since 1970.
    started: Duration,
}

impl Used {
    pub(super) fn new(nodes: usize) -> Self {
        Self { nodes: Rc::new(RefCell::new(vec![Vec::new(); nodes])), started: now() - AGE }
    }

    pub(super) fn add<'l>(&self, node: &str, namespace: &str, name: &str, containers: impl Iterator<Item = &'l str>) {
        let mut nodes = self.nodes.borrow_mut();
        if let Some(pods) = object::number(node).and_then(|number| nodes.get_mut(number)) {
            pods.push((namespace.to_owned(), name.to_owned(), containers.map(str::to_owned).collect()));
        }
    }

    /// In Prometheus' text form.
    fn text(&self, node: usize) -> String {
        let (now, started) = (now(), self.started.as_secs());
        let (now_ms, spent) = (now.as_millis(), (now - self.started).as_secs_f64() * CORES);
        let mut out = format!(
            "node_cpu_usage_seconds_total {spent} {now_ms}\nnode_memory_working_set_bytes {} {now_ms}\n",
            BYTES * 100
        );
        for (namespace, pod, containers) in self.nodes.borrow().get(node).into_iter().flatten() {
            for container in containers {
                let labels = format!(r#"{{container="{container}",namespace="{namespace}",pod="{pod}"}}"#);
                // Writing to a String does not fail.
                let _ = writeln!(out, "container_start_time_seconds{labels} {started} {now_ms}");
                let _ = writeln!(out, "container_cpu_usage_seconds_total{labels} {spent} {now_ms}");
                let _ = writeln!(out, "container_memory_working_set_bytes{labels} {BYTES} {now_ms}");
            }
        }
        out
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Ports of nodes, nobody behind them yet.
pub(super) struct Kubelets(Vec<(TcpListener, u16)>);

impl Kubelets {
    pub(super) fn bind(count: usize) -> anyhow::Result<Self> {
        let listener = || {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            listener.set_nonblocking(true)?;
            let port = listener.local_addr()?.port();
            anyhow::Ok((listener, port))
        };
        Ok(Self((0..count).map(|_| listener()).collect::<Result<_, _>>()?))
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    pub(super) fn port(&self, node: usize) -> u16 {
        self.0[node].1
    }

    /// Answers, for ever.
    pub(super) async fn serve(self, used: Used) -> anyhow::Result<()> {
        let pair = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let key = PrivateKeyDer::try_from(pair.signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![pair.cert.der().clone()], key)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let mut listening = JoinSet::new();
        for (node, (listener, _)) in self.0.into_iter().enumerate() {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            listening.spawn_local(listen(node, listener, acceptor.clone(), used.clone()));
        }
        while let Some(ended) = listening.join_next().await {
            ended??;
        }
        Ok(())
    }
}

async fn listen(
    node: usize,
    listener: tokio::net::TcpListener,
    acceptor: TlsAcceptor,
    used: Used,
) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let (acceptor, used) = (acceptor.clone(), used.clone());
        tokio::task::spawn_local(async move {
            let stream = acceptor.accept(stream).await?;
            let answer = service_fn(|request: Request<_>| {
                let known = request.uri().path() == "/metrics/resource";
                let body = if known { used.text(node) } else { String::new() };
                let mut response = Response::new(Full::new(Bytes::from(body)));
                if !known {
                    *response.status_mut() = StatusCode::NOT_FOUND;
                }
                async { Ok::<_, std::convert::Infallible>(response) }
            });
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await?;
            anyhow::Ok(())
        });
    }
}
