//! What load balancers and operators ask: is the proxy well (`/healthz`, port 10256), has this node endpoints of a
//! Service (its `healthCheckNodePort`), and metrics (port 10249).

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use component::Supervisor;
use component::metrics::{Counter, Gauge, Histogram, Series, Text};
use component::serving::{self, Checks, Server};
use component::supervisor::AbortOnDrop;
use parking_lot::Mutex;
use serde_json::json;
use tokio::net::TcpListener;

/// Upper bounds of the times that a sync took.
const SYNC_SECONDS: &[f64] =
    &[0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384];

/// An update that waits for longer than this means that the proxy is not well.
const OVERDUE: Duration = Duration::from_secs(60);

/// The proxy's own view of how it does.
pub struct Health {
    inner: Mutex<Inner>,
    sync_seconds: Histogram,
    failures: Counter,
    last_sync: Gauge,
}

struct Inner {
    waiting_since: Option<Instant>,
    last_updated: jiff::Timestamp,
    node_leaving: bool,
    synced: bool,
}

impl Health {
    /// Not synced yet.
    pub fn new() -> Arc<Health> {
        Arc::new(Health {
            inner: Mutex::new(Inner {
                waiting_since: Some(Instant::now()),
                last_updated: jiff::Timestamp::UNIX_EPOCH,
                node_leaving: false,
                synced: false,
            }),
            sync_seconds: Histogram::new(SYNC_SECONDS),
            failures: Counter::default(),
            last_sync: Gauge::default(),
        })
    }

    /// Writes its metrics, under upstream's names (`pkg/proxy/metrics`).
    fn metrics(&self, out: &mut Text) {
        let name = "kubeproxy_sync_proxy_rules_duration_seconds";
        out.head(name, "[ALPHA] SyncProxyRules latency in seconds", Histogram::KIND);
        self.sync_seconds.write(name, &[], &[], out);
        let name = "kubeproxy_sync_proxy_rules_nftables_sync_failures_total";
        out.head(name, "[ALPHA] Cumulative proxy nftables sync failures", Counter::KIND);
        self.failures.write(name, &[], &[], out);
        let name = "kubeproxy_sync_proxy_rules_last_timestamp_seconds";
        out.head(name, "[ALPHA] The last time proxy rules were successfully synced", Gauge::KIND);
        self.last_sync.write(name, &[], &[], out);
    }

    /// A change waits to be applied.
    pub fn queued(&self) {
        self.inner.lock().waiting_since.get_or_insert_with(Instant::now);
    }

    /// The kernel has what it should have.
    pub fn updated(&self, took: Duration) {
        self.sync_seconds.observe(took.as_secs_f64());
        let now = jiff::Timestamp::now();
        self.last_sync.set(now.as_second());
        let mut inner = self.inner.lock();
        inner.waiting_since = None;
        inner.last_updated = now;
        inner.synced = true;
    }

    /// Applying failed.
    pub fn failed(&self) {
        self.failures.add(1);
        self.queued();
    }

    /// Whether the node is being removed.
    pub fn node_leaving(&self, leaving: bool) {
        self.inner.lock().node_leaving = leaving;
    }

    /// Changes reach the kernel.
    pub fn is_well(&self) -> bool {
        let inner = self.inner.lock();
        inner.synced && inner.waiting_since.is_none_or(|since| since.elapsed() < OVERDUE)
    }

    fn answer(&self, node_matters: bool) -> Response {
        let well = self.is_well();
        let inner = self.inner.lock();
        let eligible = !inner.node_leaving;
        let status = if well && (eligible || !node_matters) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let now = jiff::Timestamp::now();
        let last = if well { now } else { inner.last_updated };
        let mut body = json!({"lastUpdated": last.to_string(), "currentTime": now.to_string()});
        if node_matters {
            body["nodeEligible"] = eligible.into();
        }
        (status, [("x-content-type-options", "nosniff")], axum::Json(body)).into_response()
    }
}

/// Serves `/healthz` (for load balancers: 503 also while the node is being removed) and `/livez`.
///
/// # Errors
/// The address can't be bound.
pub async fn serve_healthz(address: SocketAddr, health: Arc<Health>, tasks: &Supervisor) -> anyhow::Result<()> {
    let route = |node_matters| get(move |State(health): State<Arc<Health>>| async move { health.answer(node_matters) });
    let router = Router::new().route("/healthz", route(true)).route("/livez", route(false)).with_state(health);
    let listener = bind(address).await?;
    tasks.vital(("serving", "healthz"), move |own| serving::serve(router, listener, own));
    Ok(())
}

/// Serves `/metrics`, `/healthz` and `/proxyMode`.
///
/// # Errors
/// The address can't be bound.
pub async fn serve_metrics(address: SocketAddr, health: Arc<Health>, tasks: &Supervisor) -> anyhow::Result<()> {
    let listener = bind(address).await?;
    let mode = Router::new().route("/proxyMode", get(async || "nftables"));
    let server = Server::new(Checks::new(), Checks::new()).open(mode).metrics(move |out| health.metrics(out));
    // As upstream's: on loopback unless told otherwise, and nothing secret in it.
    let server = server.authorized(async |_| None);
    tasks.vital(("serving", "metrics"), move |own| server.serve(listener, own));
    Ok(())
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| anyhow::anyhow!("listening on {address}: {error}"))
}

/// At all addresses of both families, or of IPv4 where there is no other.
async fn bind_all(port: u16) -> anyhow::Result<TcpListener> {
    match bind((Ipv6Addr::UNSPECIFIED, port).into()).await {
        Ok(listener) => Ok(listener),
        Err(_) => bind((Ipv4Addr::UNSPECIFIED, port).into()).await,
    }
}

/// A Service's health check: which port, and how many ready endpoints are here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceCheck {
    /// `healthCheckNodePort`.
    pub port: u16,
    /// Ready endpoints on this node.
    pub local_ready: usize,
}

/// The listeners of all `healthCheckNodePort`s.
pub struct ServiceChecks {
    health: Arc<Health>,
    tasks: Supervisor,
    running: HashMap<(String, String), Running>,
}

struct Running {
    port: u16,
    local_ready: Arc<Mutex<usize>>,
    /// Ends with this.
    _task: AbortOnDrop<()>,
}

impl ServiceChecks {
    /// None yet.
    pub fn new(health: Arc<Health>, tasks: Supervisor) -> ServiceChecks {
        ServiceChecks { health, tasks, running: HashMap::new() }
    }

    /// What a Service wants now; `None` for no check.
    pub fn set(&mut self, service: &(String, String), check: Option<ServiceCheck>) {
        let running = self.running.get(service);
        match (running, check) {
            (Some(running), Some(check)) if running.port == check.port => {
                *running.local_ready.lock() = check.local_ready
            }
            (_, check) => {
                self.running.remove(service);
                if let Some(check) = check {
                    self.start(service, &check);
                }
            }
        }
    }

    fn start(&mut self, service: &(String, String), check: &ServiceCheck) {
        let local_ready = Arc::new(Mutex::new(check.local_ready));
        let (health, count, namespaced) = (self.health.clone(), local_ready.clone(), service.clone());
        let answer = get(async move || {
            let (count, well) = (*count.lock(), health.is_well());
            let status = if count > 0 && well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            let body = json!({"service": {"namespace": namespaced.0, "name": namespaced.1},
                "localEndpoints": count, "serviceProxyHealthy": well});
            let headers = [
                ("x-content-type-options", "nosniff".to_owned()),
                ("x-load-balancing-endpoint-weight", count.to_string()),
            ];
            (status, headers, axum::Json(body))
        });
        let (port, name) = (check.port, format!("{}/{}", service.0, service.1));
        // Another program may have the port, or the same Service's check of before still: tried again.
        let task = self.tasks.restarting(("service_check", name), move |own| {
            let router = Router::new().fallback(answer.clone());
            async move { anyhow::Ok(serving::serve(router, bind_all(port).await?, own).await?) }
        });
        let running = Running { port: check.port, local_ready, _task: task.abort_on_drop() };
        self.running.insert(service.clone(), running);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_services_check_is_asked_by_either_family() {
        let tasks = Supervisor::new();
        let health = Health::new();
        health.updated(Duration::ZERO);
        let mut checks = ServiceChecks::new(health, tasks.child("checks"));
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port();
        let service = ("default".to_owned(), "web".to_owned());
        for (local_ready, code) in [(1, "200"), (0, "503")] {
            checks.set(&service, Some(ServiceCheck { port: free, local_ready }));
            for address in [SocketAddr::from((Ipv4Addr::LOCALHOST, free)), (Ipv6Addr::LOCALHOST, free).into()] {
                let mut stream = loop {
                    match tokio::net::TcpStream::connect(address).await {
                        Ok(stream) => break stream,
                        Err(_) => tokio::task::yield_now().await,
                    }
                };
                stream.write_all(b"GET / HTTP/1.0\r\nConnection: close\r\n\r\n").await.unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await.unwrap();
                assert_eq!(answer.split(' ').nth(1), Some(code), "{address} {answer}");
                assert!(answer.contains(&format!("x-load-balancing-endpoint-weight: {local_ready}")), "{answer}");
            }
        }
    }

    #[test]
    fn metrics_have_upstreams_names() {
        let (health, mut out) = (Health::new(), Text::default());
        health.failed();
        health.updated(Duration::from_millis(3));
        health.metrics(&mut out);
        let text = out.finish();
        let types: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE kubeproxy_sync_proxy_rules_")).collect();
        let expect =
            ["duration_seconds histogram", "nftables_sync_failures_total counter", "last_timestamp_seconds gauge"];
        assert_eq!(types, expect);
        for line in [
            "kubeproxy_sync_proxy_rules_nftables_sync_failures_total 1",
            "kubeproxy_sync_proxy_rules_duration_seconds_bucket{le=\"0.002\"} 0",
            "kubeproxy_sync_proxy_rules_duration_seconds_bucket{le=\"0.004\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in {text}");
        }
    }
}
