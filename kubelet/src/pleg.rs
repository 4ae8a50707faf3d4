//! News from the runtime: every second all states are listed, and pods whose containers changed are woken.
//! Upstream: pkg/kubelet/pleg/generic.go.

use crate::{cri::labels, node_agent::Agent};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::time;

const PERIOD: Duration = Duration::from_secs(1);

/// Ids and states of a pod's sandboxes and containers.
type Picture = BTreeMap<String, i32>;

pub(crate) async fn run(agent: Arc<Agent>) {
    let mut tick = time::interval(PERIOD);
    tick.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    let mut before: HashMap<String, Picture> = HashMap::new();
    loop {
        tick.tick().await;
        let now = match look(&agent).await {
            Ok(now) => now,
            Err(error) => {
                tracing::debug!(%error, "cannot list containers");
                continue;
            }
        };
        for uid in now.keys().chain(before.keys().filter(|uid| !now.contains_key(*uid))) {
            if now.get(uid) != before.get(uid) {
                agent.wake(uid);
            }
        }
        before = now;
    }
}

async fn look(agent: &Agent) -> crate::cri::Result<HashMap<String, Picture>> {
    let mut pods: HashMap<String, Picture> = HashMap::new();
    for sandbox in agent.runtime.list_sandboxes(None).await? {
        if let Some(uid) = sandbox.labels.get(labels::POD_UID) {
            pods.entry(uid.clone()).or_default().insert(sandbox.id, sandbox.state);
        }
    }
    for container in agent.runtime.list_containers(None).await? {
        if let Some(uid) = container.labels.get(labels::POD_UID) {
            pods.entry(uid.clone()).or_default().insert(container.id, container.state);
        }
    }
    Ok(pods)
}
