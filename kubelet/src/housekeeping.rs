//! Regular work that belongs to no single pod: orphans, dead containers, images, logs, pressure.

use crate::{
    config::Span,
    cri::labels,
    images::gc,
    logs::rotate,
    node::{machine, status::threshold_bytes},
    node_agent::Agent,
    pod, qos, quantity,
    status::Verdict,
    volumes,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::api::resource::Quantity};
use proto::cri;
use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::Arc,
    time::Duration,
};
use tokio::time;

/// How long a container of a pod that nobody knows is given to end, if its own annotation does not say.
const ORPHAN_GRACE_SECS: u64 = 30;

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
    let ends = gone.into_iter().map(|(uid, (sandboxes, containers))| end_orphan(agent, uid, sandboxes, containers));
    futures::future::join_all(ends).await;
    for uid in volumes::known_pods(&agent.config.root_dir).into_iter().chain(agent.cgroups.pods()) {
        if agent.pods.lock().contains_key(&uid) {
            continue;
        }
        let _ = volumes::remove_pod_dir(&agent.config.root_dir, &uid);
        let _ = agent.cgroups.remove_pod(&uid);
    }
}

async fn end_orphan(agent: &Agent, uid: String, sandboxes: Vec<cri::PodSandbox>, containers: Vec<cri::Container>) {
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
    for sandbox in sandboxes {
        if agent.runtime.stop_sandbox(&sandbox.id).await.is_ok() {
            let _ = agent.runtime.remove_sandbox(&sandbox.id).await;
        }
        let name = |key: &str| sandbox.labels.get(key).cloned().unwrap_or_default();
        let logs = format!(
            "{}/{}_{}_{uid}",
            agent.config.file.pod_logs_dir,
            name(labels::POD_NAMESPACE),
            name(labels::POD_NAME)
        );
        let _ = std::fs::remove_dir_all(logs);
    }
}

/// Once a minute.
pub(crate) async fn run(agent: Arc<Agent>) {
    let mut tick = time::interval(Duration::from_secs(60));
    tick.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    tick.tick().await;
    loop {
        tick.tick().await;
        orphans(&agent).await;
        dead_containers(&agent).await;
    }
}

/// Of each container the newest dead one is kept: `kubectl logs --previous` reads it.
async fn dead_containers(agent: &Agent) {
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
    let minute_ago = Timestamp::now() - SignedDuration::from_secs(60);
    for mut list in dead.into_values() {
        list.sort_by_key(|c| std::cmp::Reverse(c.created_at));
        for old in list.into_iter().skip(1).filter(|c| i128::from(c.created_at) < minute_ago.as_nanosecond()) {
            if agent.runtime.remove_container(&old.id).await.is_ok()
                && let Some(links) = &agent.config.container_log_dir
            {
                let name = |key: &str| old.labels.get(key).cloned().unwrap_or_default();
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

/// Turns over large logs.
pub(crate) async fn log_rotation(agent: Arc<Agent>) {
    let file = &agent.config.file;
    let size = quantity::value(&Quantity(file.container_log_max_size.clone()));
    if size <= 0 {
        return;
    }
    let limits = rotate::Limits { size_bytes: size as u64, files: file.container_log_max_files };
    let mut tick = time::interval(file.container_log_monitor_interval.0.max(Duration::from_secs(3)));
    tick.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let Ok(containers) = agent.runtime.list_containers(None).await else { continue };
        for container in containers.iter().filter(|c| c.state() == cri::ContainerState::ContainerRunning) {
            let Ok(status) = agent.runtime.container_status(&container.id).await else { continue };
            if status.log_path.is_empty() {
                continue;
            }
            if let Err(error) =
                rotate::rotate(agent.runtime.as_ref(), &container.id, Path::new(&status.log_path), limits).await
            {
                tracing::warn!(log = status.log_path, %error, "cannot turn over a container's log");
            }
        }
    }
}

/// Removes images when the disk fills up.
pub(crate) async fn image_gc(agent: Arc<Agent>) {
    let file = &agent.config.file;
    let age = |span: Span| SignedDuration::try_from(span.0).unwrap_or(SignedDuration::ZERO);
    let policy = gc::Policy {
        high_percent: file.image_gc_high_threshold_percent,
        low_percent: file.image_gc_low_threshold_percent,
        minimum_age: age(file.image_minimum_gc_age),
        maximum_age: age(file.image_maximum_gc_age),
    };
    let mut records = gc::Records::default();
    let mut tick = time::interval(Duration::from_secs(300));
    loop {
        tick.tick().await;
        let (Ok(images), Ok(containers), Ok(fs)) = (
            agent.runtime.list_images().await,
            agent.runtime.list_containers(None).await,
            agent.runtime.image_fs().await,
        ) else {
            continue;
        };
        let mut used: HashSet<String> = containers.iter().map(|c| c.image_ref.clone()).collect();
        used.extend(containers.iter().filter_map(|c| c.image.as_ref().map(|i| i.image.clone())));
        // A container may name its image by id, digest or tag.
        for image in &images {
            if image.repo_tags.iter().chain(&image.repo_digests).any(|name| used.contains(name)) {
                used.insert(image.id.clone());
            }
        }
        let now = Timestamp::now();
        let kept = |tag: &String| tag.contains("/pause:") || agent.config.pinned_images.contains(tag);
        let sizes = images.iter().map(|i| (i.id.clone(), i.size, i.pinned || i.repo_tags.iter().any(kept)));
        records.update(sizes, &used, now);
        let mount = fs.first().and_then(|f| f.fs_id.clone()).map(|id| id.mountpoint).unwrap_or_default();
        let Ok(disk) = machine::disk(Path::new(&mount)) else { continue };
        for image in
            records.victims(policy, gc::Disk { capacity: disk.capacity, available: disk.available }, &used, now)
        {
            tracing::info!(image, "removing an unused image to free disk space");
            if let Err(error) = agent.runtime.remove_image(&image).await {
                agent.events.node(
                    "Warning",
                    "ImageGCFailed",
                    &format!("failed to garbage collect image {image}: {error}"),
                );
            }
        }
    }
}

/// Watches memory and disk, and ends pods when they run out. Upstream: pkg/kubelet/eviction.
pub(crate) async fn pressure(agent: Arc<Agent>) {
    let mut tick = time::interval(Duration::from_secs(10));
    let mut calm_since: HashMap<&'static str, time::Instant> = HashMap::new();
    loop {
        tick.tick().await;
        let thresholds = &agent.config.file.eviction_hard;
        let memory = machine::meminfo("MemTotal");
        let available = machine::meminfo("MemAvailable");
        let threshold = thresholds.get("memory.available").map_or(0, |t| threshold_bytes(t, memory));
        let no_memory = available < threshold;
        let disk = machine::disk(&agent.config.root_dir).unwrap_or_default();
        let below = |signal: &str, left: u64, all: u64| {
            thresholds.get(signal).is_some_and(|t| (left as i64) < threshold_bytes(t, all as i64))
        };
        let no_disk = disk.capacity > 0
            && (below("nodefs.available", disk.available, disk.capacity)
                || below("nodefs.inodesFree", disk.inodes_free, disk.inodes));
        {
            // Pressure is over after five minutes without it.
            let mut settle = |kind: &'static str, bad: bool, was: bool| {
                let now = time::Instant::now();
                if bad {
                    calm_since.remove(kind);
                    return true;
                }
                was && now.duration_since(*calm_since.entry(kind).or_insert(now)) < Duration::from_secs(300)
            };
            let mut health = agent.health.write();
            health.memory_pressure = settle("memory", no_memory, health.memory_pressure);
            health.disk_pressure = settle("disk", no_disk, health.disk_pressure);
        }
        let (resource, threshold, left) = match (no_memory, no_disk) {
            (true, _) => ("memory", quantity::bytes(threshold), quantity::bytes(available)),
            (_, true) => (
                "ephemeral-storage",
                quantity::bytes(threshold_bytes(
                    thresholds.get("nodefs.available").map_or("0", String::as_str),
                    disk.capacity as i64,
                )),
                quantity::bytes(disk.available as i64),
            ),
            _ => continue,
        };
        if let Some(victim) = victim(&agent, resource) {
            let message = format!(
                "The node was low on resource: {resource}. Threshold quantity: {}, available: {}. ",
                threshold.0, left.0
            );
            agent.events.pod(&victim, None, "Warning", "Evicted", &message);
            agent.evict(pod::uid(&victim), Verdict { reason: "Evicted".into(), message }, 0);
        }
    }
}

/// Who uses more than it asked for comes first, then the lower priority, then who uses the most beyond its request.
fn victim(agent: &Agent, resource: &str) -> Option<Arc<Pod>> {
    let critical = |p: &Pod| pod::spec(p).priority.unwrap_or(0) >= 2_000_000_000 || pod::is_static(p);
    let excess = |p: &Arc<Pod>| {
        let request =
            crate::container::resources::total(p, |r| quantity::request(r, resource).map_or(0, quantity::value), 0);
        agent.cgroups.usage(qos::class(p), pod::uid(p)).working_set_bytes as i64 - request
    };
    let mut pods: Vec<Arc<Pod>> = agent
        .all_pods()
        .into_iter()
        .filter(|p| !critical(p) && !pod::is_terminal(pod::phase(p)) && !pod::deleting(p))
        .collect();
    pods.sort_by_key(|p| (excess(p) <= 0, pod::spec(p).priority.unwrap_or(0), std::cmp::Reverse(excess(p))));
    pods.into_iter().next()
}
