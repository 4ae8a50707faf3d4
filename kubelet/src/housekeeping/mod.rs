//! Regular work that belongs to no single pod: pods that nobody knows any more, dead containers, unused images, large logs.
//!
//! Whatever may wait for a disk or a mount is done on the blocking pool: the threads that run tasks also carry the node's
//! heartbeat, and one network file system that does not answer must not make the node look dead.

pub(crate) mod containers;
pub(crate) mod images;
pub(crate) mod logs;

use crate::{cri::labels, node_agent::Agent, volumes};
use component::supervisor;
use proto::cri;
use std::{
    collections::{HashMap, HashSet},
    fs,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::time;

/// How long a container of a pod that nobody knows is given to end, if its own annotation does not say.
const ORPHAN_GRACE_SECS: u64 = 30;
const PERIOD: Duration = Duration::from_secs(60);

/// At once, and then once a minute.
pub(crate) async fn run(agent: Arc<Agent>) {
    let mut tick = time::interval(PERIOD);
    tick.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        orphans(&agent).await;
        containers::remove_old(&agent).await;
    }
}

/// Ends and removes what belongs to no pod of this node any more: the API forgot it while no kubelet looked.
pub(crate) async fn orphans(agent: &Arc<Agent>) {
    let known: HashSet<String> = agent.pods.lock().keys().cloned().collect();
    let (Ok(sandboxes), Ok(containers)) =
        (agent.runtime.list_sandboxes(None).await, agent.runtime.list_containers(None).await)
    else {
        return;
    };
    let mut gone: HashMap<String, (Vec<cri::PodSandbox>, Vec<cri::Container>)> = HashMap::new();
    for sandbox in sandboxes {
        if let Some(uid) = sandbox.labels.get(labels::POD_UID).filter(|uid| !known.contains(*uid)) {
            gone.entry(uid.clone()).or_default().0.push(sandbox);
        }
    }
    for container in containers {
        if let Some(uid) = container.labels.get(labels::POD_UID).filter(|uid| !known.contains(*uid)) {
            gone.entry(uid.clone()).or_default().1.push(container);
        }
    }
    let ends = gone.into_iter().map(|(uid, (sandboxes, containers))| end(agent, uid, sandboxes, containers));
    futures::future::join_all(ends).await;
    let agent = agent.clone();
    let swept = supervisor::blocking("clean-up after pods", move || {
        for uid in volumes::known_pods(&agent.config.root_dir).into_iter().chain(agent.cgroups.pods()) {
            if agent.pods.lock().contains_key(&uid) {
                continue;
            }
            let removed = volumes::remove_pod_dir(&agent.config.root_dir, &uid);
            let removed = removed.and_then(|()| agent.cgroups.remove_pod(&uid));
            if let Err(error) = removed {
                tracing::warn!(uid, %error, "cannot remove what is left of a pod that the API does not know");
            }
        }
    });
    if let Err(error) = swept.await {
        tracing::error!(%error, "looking for what is left of pods ended early");
    }
}

async fn end(agent: &Agent, uid: String, sandboxes: Vec<cri::PodSandbox>, containers: Vec<cri::Container>) {
    tracing::info!(uid, "ending a pod that the API does not know");
    let stops = containers.iter().map(|container| {
        let grace = container
            .annotations
            .get(labels::TERMINATION_GRACE)
            .and_then(|s| s.parse().ok())
            .unwrap_or(ORPHAN_GRACE_SECS);
        agent.runtime.stop_container(&container.id, Duration::from_secs(grace))
    });
    futures::future::join_all(stops).await;
    let mut folders = Vec::new();
    for sandbox in sandboxes {
        if agent.runtime.stop_sandbox(&sandbox.id).await.is_ok() {
            let _ = agent.runtime.remove_sandbox(&sandbox.id).await;
        }
        let name = |key: &str| sandbox.labels.get(key).map_or("", String::as_str);
        folders.push(PathBuf::from(format!(
            "{}/{}_{}_{uid}",
            agent.config.file.pod_logs_dir,
            name(labels::POD_NAMESPACE),
            name(labels::POD_NAME)
        )));
    }
    let remove = move || folders.into_iter().for_each(|folder| drop(fs::remove_dir_all(folder)));
    // Logged and counted; who is left is found again the next time.
    let _ = supervisor::blocking("clean-up after pods", remove).await;
}

#[cfg(test)]
mod tests;
