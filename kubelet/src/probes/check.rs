//! Asking once. Upstream: pkg/probe.

use crate::{container::expand::expand, cri::Runtime, http, pod};
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use std::time::Duration;
use tokio::time::timeout;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Warned(String),
    Failed(String),
    /// The question could not be asked.
    Errored(String),
}

pub(crate) async fn run(
    runtime: &dyn Runtime,
    pod: &Pod,
    container: &Container,
    probe: &Probe,
    id: &str,
    pod_ip: &str,
) -> Outcome {
    let limit = Duration::from_secs(probe.timeout_seconds.unwrap_or(1).max(1) as u64);
    if let Some(action) = &probe.exec {
        let own = |name: &str| container.env.iter().flatten().find(|e| e.name == name).and_then(|e| e.value.clone());
        let command: Vec<String> = action.command.iter().flatten().map(|part| expand(part, &own)).collect();
        return exec(runtime, id, &command, limit).await;
    }
    if let Some(action) = &probe.http_get {
        let target = match http::target(action, container, pod_ip, "probe") {
            Ok(target) => target,
            Err(error) => return Outcome::Errored(error),
        };
        return match http::get(&target, limit).await {
            Ok(answer) if answer.left => {
                Outcome::Warned(format!("Probe terminated redirects, Response body: {}", answer.body))
            }
            Ok(answer) if (200..400).contains(&answer.status) => Outcome::Passed,
            Ok(answer) => Outcome::Failed(format!("HTTP probe failed with statuscode: {}", answer.status)),
            Err(error) => Outcome::Failed(error),
        };
    }
    if let Some(action) = &probe.tcp_socket {
        let host = action.host.as_deref().filter(|h| !h.is_empty()).unwrap_or(pod_ip);
        let port = match http::port(&action.port, container) {
            Ok(port) => port,
            Err(error) => return Outcome::Errored(error),
        };
        return match timeout(limit, http::connect(host, port)).await {
            Ok(Ok(_)) => Outcome::Passed,
            Ok(Err(error)) => Outcome::Failed(error),
            Err(_) => Outcome::Failed(format!("dial tcp {host}:{port}: i/o timeout")),
        };
    }
    if let Some(action) = &probe.grpc {
        return super::check::grpc::ask(pod_ip, action.port, action.service.as_deref().unwrap_or_default(), limit)
            .await;
    }
    Outcome::Errored(format!("missing probe handler for {}:{}", pod::format(pod), container.name))
}

async fn exec(runtime: &dyn Runtime, id: &str, command: &[String], limit: Duration) -> Outcome {
    match runtime.exec_sync(id, command, limit).await {
        Ok(output) if output.exit_code == 0 => Outcome::Passed,
        Ok(output) => {
            let mut all = output.stdout;
            all.extend_from_slice(&output.stderr);
            all.truncate(10 * 1024);
            Outcome::Failed(String::from_utf8_lossy(&all).into_owned())
        }
        Err(error) if error.code == tonic::Code::DeadlineExceeded => {
            Outcome::Failed(format!("command timed out: {:?} timed out after {}s", command.join(" "), limit.as_secs()))
        }
        Err(error) => Outcome::Errored(error.to_string()),
    }
}

mod grpc {
    //! `grpc.health.v1.Health/Check`, by hand: two messages of one field each.

    use super::Outcome;
    use std::time::Duration;
    use tokio::time::timeout;
    use tonic::{Request, codegen::http::uri::PathAndQuery, transport::Endpoint};

    #[derive(Clone, PartialEq, prost::Message)]
    struct HealthCheckRequest {
        #[prost(string, tag = "1")]
        service: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct HealthCheckResponse {
        #[prost(int32, tag = "1")]
        status: i32,
    }

    const SERVING: i32 = 1;

    pub(super) async fn ask(host: &str, port: i32, service: &str, limit: Duration) -> Outcome {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let address = format!("{host}:{port}");
        match timeout(limit, call(&address, service)).await {
            Ok(Ok(SERVING)) => Outcome::Passed,
            Ok(Ok(status)) => Outcome::Failed(format!(
                "service unhealthy (responded with {:?})",
                ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"].get(status as usize).unwrap_or(&"UNKNOWN")
            )),
            Ok(Err(error)) => Outcome::Failed(error),
            Err(_) => Outcome::Failed(format!(
                "timeout: failed to connect service {address:?} within {limit:?}: context deadline exceeded"
            )),
        }
    }

    async fn call(address: &str, service: &str) -> Result<i32, String> {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|e| e.to_string())?;
        let channel =
            endpoint.connect().await.map_err(|e| format!("error: failed to connect service at {address:?}: {e}"))?;
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.map_err(|e| e.to_string())?;
        let request = Request::new(HealthCheckRequest { service: service.to_owned() });
        let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
        let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
        match client.unary(request, path, codec).await {
            Ok(answer) => Ok(answer.into_inner().status),
            Err(status) if status.code() == tonic::Code::Unimplemented => Err(format!(
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {}",
                status.message()
            )),
            Err(status) => Err(format!("error: health rpc failed: {}", status.message())),
        }
    }
}
