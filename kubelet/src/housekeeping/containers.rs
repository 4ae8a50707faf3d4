//! Dead containers. Upstream: kuberuntime_gc.go.

use crate::{cri::labels, node_agent::Agent};
use jiff::SignedDuration;
use proto::cri;
use std::collections::HashMap;

/// How long ago a container must have been made before it counts as old.
const MINIMUM_AGE: SignedDuration = SignedDuration::from_secs(60);

/// Of each container the newest dead one is kept: `kubectl logs --previous` reads it.
pub(crate) async fn remove_old(agent: &Agent) {
    remove(agent, false).await;
}

/// Dead containers of pods that are over go too: the disk is full.
pub(crate) async fn remove_unused(agent: &Agent) {
    remove(agent, true).await;
}

async fn remove(agent: &Agent, of_ended_pods: bool) {
    let Ok(containers) = agent.runtime.list_containers(None).await else { return };
    let mut dead: HashMap<(String, String), Vec<cri::Container>> = HashMap::new();
    for container in containers {
        if container.state() == cri::ContainerState::ContainerRunning {
            continue;
        }
        let (Some(uid), Some(name)) =
            (container.labels.get(labels::POD_UID), container.labels.get(labels::CONTAINER_NAME))
        else {
            continue;
        };
        dead.entry((uid.clone(), name.clone())).or_default().push(container);
    }
    let limit = (agent.clock.now() - MINIMUM_AGE).as_nanosecond();
    for ((uid, _), mut list) in dead {
        list.sort_by_key(|c| std::cmp::Reverse(c.created_at));
        let kept = if of_ended_pods && agent.is_over(&uid) { 0 } else { 1 };
        for old in list.into_iter().skip(kept).filter(|c| i128::from(c.created_at) < limit) {
            if agent.runtime.remove_container(&old.id).await.is_ok()
                && let Some(links) = &agent.config.container_log_dir
            {
                let name = |key: &str| old.labels.get(key).map_or("", String::as_str);
                let link = format!(
                    "{}_{}_{}-{}.log",
                    name(labels::POD_NAME),
                    name(labels::POD_NAMESPACE),
                    name(labels::CONTAINER_NAME),
                    old.id
                );
                let _ = std::fs::remove_file(links.join(link));
            }
        }
    }
}
