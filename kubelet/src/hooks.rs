//! `postStart` and `preStop`. Upstream: pkg/kubelet/lifecycle/handlers.go.

use crate::{cri::Runtime, http, pod};
use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod};
use std::time::Duration;

/// Upstream's hooks have no limit of their own over HTTP; one that never answers would hold a pod for ever.
const HTTP_LIMIT: Duration = Duration::from_secs(120);

/// Runs the hook to its end; the error is upstream's message.
pub(crate) async fn run(
    runtime: &dyn Runtime,
    pod: &Pod,
    container: &Container,
    id: &str,
    pod_ip: &str,
    hook: &LifecycleHandler,
) -> Result<(), String> {
    let place = format!("for Container {:?} in Pod {:?} failed", container.name, pod::format(pod));
    if let Some(action) = &hook.exec {
        let command = action.command.clone().unwrap_or_default();
        let shown = command.join(" ");
        return match runtime.exec_sync(id, &command, Duration::ZERO).await {
            Ok(output) if output.exit_code == 0 => Ok(()),
            Ok(output) => {
                let mut all = output.stdout;
                all.extend_from_slice(&output.stderr);
                let error = format!(
                    "command '{shown}' exited with {}: {}",
                    output.exit_code,
                    String::from_utf8_lossy(&output.stderr)
                );
                Err(format!(
                    "Exec lifecycle hook ([{shown}]) {place} - error: {error}, message: {:?}",
                    String::from_utf8_lossy(&all)
                ))
            }
            Err(error) => Err(format!("Exec lifecycle hook ([{shown}]) {place} - error: {error}, message: \"\"")),
        };
    }
    if let Some(action) = &hook.http_get {
        let fault = |error: String| {
            format!("HTTP lifecycle hook ({}) {place} - error: {error}", action.path.as_deref().unwrap_or_default())
        };
        let target = http::target(action, container, pod_ip, "lifecycle").map_err(fault)?;
        return http::get(&target, HTTP_LIMIT).await.map(drop).map_err(fault);
    }
    if let Some(action) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(action.seconds.max(0) as u64)).await;
        return Ok(());
    }
    Err("Cannot run handler: invalid handler".into())
}
