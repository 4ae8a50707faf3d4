//! Turning over large logs of running containers.

use crate::{logs::rotate, node_agent::Agent, quantity};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use proto::cri;
use std::{path::Path, sync::Arc, time::Duration};
use tokio::time;

/// `containerLogMonitorInterval` is not taken to be less.
const LEAST_PERIOD: Duration = Duration::from_secs(3);

pub(crate) async fn run(agent: Arc<Agent>) {
    let file = &agent.config.file;
    let size = quantity::value(&Quantity(file.container_log_max_size.clone()));
    if size <= 0 {
        // Logs grow as they like: nothing to do, ever.
        return std::future::pending().await;
    }
    let limits = rotate::Limits { size_bytes: size as u64, files: file.container_log_max_files };
    let mut tick = time::interval(file.container_log_monitor_interval.0.max(LEAST_PERIOD));
    tick.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let Ok(containers) = agent.runtime.list_containers(None).await else { continue };
        for container in containers.iter().filter(|c| c.state() == cri::ContainerState::ContainerRunning) {
            let Ok(status) = agent.runtime.container_status(&container.id).await else { continue };
            if status.log_path.is_empty() {
                continue;
            }
            let outcome =
                rotate::rotate(agent.runtime.as_ref(), &container.id, Path::new(&status.log_path), limits).await;
            if let Err(error) = outcome {
                tracing::warn!(log = status.log_path, %error, "cannot turn over a container's log");
            }
        }
    }
}
