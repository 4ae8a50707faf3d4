//! Eviction: pods end before the node runs out of memory, disk or process numbers, and when they are over a disk limit of
//! their own.
//!
//! What is measured and what is done lies here; which thresholds are met ([`state`]), who goes first ([`rank`]) and what the
//! pod is told ([`message`]) is decided without looking at anything. Upstream: pkg/kubelet/eviction/eviction_manager.go.

pub(crate) mod message;
pub(crate) mod rank;
pub(crate) mod state;
pub(crate) mod threshold;
pub(crate) mod usage;

#[cfg(test)]
mod tests;

use crate::{housekeeping, node_agent::Agent, pod, status::Verdict};
use component::supervisor::{self, Ended};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use state::{Observation, Observations, State};
use std::{path::PathBuf, sync::Arc, time::Duration};
use threshold::{Condition, Resource, Signal, Threshold};
use tokio::time;

const PERIOD: Duration = Duration::from_secs(10);
/// How long pods that were evicted are waited for before the node is looked at again.
const CLEAN_UP_LIMIT: Duration = Duration::from_secs(30);
const CLEAN_UP_PERIOD: Duration = Duration::from_secs(1);
/// What a pod is given when there is no time.
const IMMEDIATE_GRACE_SECS: i64 = 1;

/// Watches the node for ever.
///
/// # Errors
/// Measuring it panicked.
pub(crate) async fn run(agent: Arc<Agent>, thresholds: Vec<Threshold>) -> Result<(), Ended> {
    let transition = SignedDuration::try_from(agent.config.file.eviction_pressure_transition_period.0);
    let mut state = State::new(thresholds, transition.unwrap_or(SignedDuration::MAX));
    loop {
        let evicted = synchronize(&agent, &mut state).await?;
        if evicted.is_empty() {
            time::sleep(PERIOD).await;
        } else {
            cleaned_up(&agent, &evicted).await;
        }
    }
}

/// One look: notes what is short, and evicts whom that asks for. The uids of those.
async fn synchronize(agent: &Arc<Agent>, state: &mut State) -> Result<Vec<String>, Ended> {
    let node = observe(agent).await?;
    let now = agent.clock.now();
    let mut thresholds = state.observe(&node.observations, now);
    {
        let conditions = state.conditions(now);
        let mut health = agent.health.write();
        health.memory_pressure = conditions.contains(&Condition::Memory);
        health.disk_pressure = conditions.contains(&Condition::Disk);
        health.pid_pressure = conditions.contains(&Condition::Pid);
    }
    let mut pods = agent.active_pods();
    let needs_disk = |p: &Pod| message::has_own_limit(p);
    if pods.iter().any(|p| needs_disk(p)) {
        match usage::collect(agent, &pods, needs_disk).await {
            Ok(usages) => {
                let evicted = over_own_limits(agent, &pods, &usages, node.dedicated);
                if !evicted.is_empty() {
                    return Ok(evicted);
                }
            }
            Err(error) => tracing::warn!(%error, "the runtime does not say what containers use"),
        }
    }
    let Some(first) = thresholds.first().cloned() else { return Ok(Vec::new()) };
    let resource = first.signal.resource();
    agent.events.node("Warning", "EvictionThresholdMet", &format!("Attempting to reclaim {}", resource.name()));
    if reclaim(agent, state, first.signal, node.dedicated).await? {
        return Ok(Vec::new());
    }
    let all = |_: &Pod| matches!(resource, Resource::EphemeralStorage | Resource::Inodes);
    let usages = match usage::collect(agent, &pods, all).await {
        Ok(usages) => usages,
        Err(error) => {
            tracing::warn!(%error, "the runtime does not say what containers use");
            return Ok(Vec::new());
        }
    };
    rank::rank(&mut pods, first.signal, &usages, node.dedicated);
    // At most one: the next look shows whether it was enough.
    let Some(victim) = pods.iter().find(|p| !pod::is_critical(p)) else {
        tracing::warn!(resource = resource.name(), "nothing can be evicted to relieve the node");
        return Ok(Vec::new());
    };
    thresholds.retain(|t| node.observations.contains_key(&t.signal));
    let usage = usages.get(pod::uid(victim));
    let message = message::node_low(resource, victim, usage, &thresholds, &node.observations);
    let grace = if first.is_hard() {
        IMMEDIATE_GRACE_SECS
    } else {
        let own = pod::spec(victim).termination_grace_period_seconds;
        own.unwrap_or(i64::MAX).min(agent.config.file.eviction_max_pod_grace_period)
    };
    evict(agent, victim, message, grace, true);
    Ok(vec![pod::uid(victim).to_owned()])
}

fn evict(agent: &Agent, pod: &Pod, message: String, grace_secs: i64, disruption: bool) {
    tracing::info!(pod = pod::format(pod), message, "evicting a pod");
    agent.events.pod(pod, None, "Warning", "Evicted", &message);
    agent.evict(pod::uid(pod), Verdict { reason: "Evicted".into(), message, disruption }, grace_secs);
}

/// Evicts all that are over a limit of their own.
fn over_own_limits(agent: &Agent, pods: &[Arc<Pod>], usages: &usage::Usages, dedicated: bool) -> Vec<String> {
    let mut evicted = Vec::new();
    for pod in pods.iter().filter(|p| !pod::is_critical(p)) {
        let Some(usage) = usages.get(pod::uid(pod)) else { continue };
        if let Some(message) = message::over_own_limit(pod, usage, dedicated) {
            evict(agent, pod, message, IMMEDIATE_GRACE_SECS, false);
            evicted.push(pod::uid(pod).to_owned());
        }
    }
    evicted
}

/// Frees what no pod needs: dead containers and unused images, where these are on the short file system. True if that was
/// enough.
async fn reclaim(agent: &Arc<Agent>, state: &State, signal: Signal, dedicated: bool) -> Result<bool, Ended> {
    let helps = match signal {
        Signal::NodeFsAvailable | Signal::NodeFsInodesFree => !dedicated,
        Signal::ImageFsAvailable | Signal::ImageFsInodesFree => true,
        Signal::MemoryAvailable | Signal::AllocatableMemoryAvailable | Signal::PidAvailable => false,
    };
    if !helps {
        return Ok(false);
    }
    housekeeping::containers::remove_unused(agent).await;
    housekeeping::images::remove_unused(agent).await;
    Ok(state.resolved(&observe(agent).await?.observations))
}

struct Node {
    observations: Observations,
    /// Images and writable layers are on another file system than volumes and logs.
    dedicated: bool,
}

async fn observe(agent: &Arc<Agent>) -> Result<Node, Ended> {
    let images = agent.runtime.image_fs().await.ok();
    let mount = images.and_then(|list| list.into_iter().next()?.fs_id).map(|id| PathBuf::from(id.mountpoint));
    let measured = agent.clone();
    supervisor::blocking("measuring the node", move || measure(&measured, mount)).await
}

fn measure(agent: &Agent, image_mount: Option<PathBuf>) -> Node {
    let (gauges, root) = (agent.gauges.as_ref(), agent.config.root_dir.as_path());
    let mut observations = Observations::new();
    let memory = gauges.memory();
    if memory.total > 0 {
        let node = Observation { available: memory.available, capacity: memory.total };
        observations.insert(Signal::MemoryAvailable, node);
        if agent.config.file.cgroups_per_qos {
            let used = agent.cgroups.pods_usage().working_set_bytes as i64;
            let capacity = memory.total - agent.config.reserved("memory") / 1000;
            let pods = Observation { available: capacity - used, capacity };
            observations.insert(Signal::AllocatableMemoryAvailable, pods);
        }
    }
    let mut file_system = |path: &std::path::Path, bytes: Signal, inodes: Signal| {
        let Ok(disk) = gauges.disk(path) else { return };
        if disk.capacity > 0 {
            let observed = Observation { available: disk.available as i64, capacity: disk.capacity as i64 };
            observations.insert(bytes, observed);
        }
        // A file system without a fixed number of inodes has none to run out of.
        if disk.inodes > 0 {
            let observed = Observation { available: disk.inodes_free as i64, capacity: disk.inodes as i64 };
            observations.insert(inodes, observed);
        }
    };
    file_system(root, Signal::NodeFsAvailable, Signal::NodeFsInodesFree);
    let mut dedicated = false;
    if let Some(mount) = image_mount {
        file_system(&mount, Signal::ImageFsAvailable, Signal::ImageFsInodesFree);
        dedicated = matches!((gauges.device(root), gauges.device(&mount)), (Ok(a), Ok(b)) if a != b);
    }
    if let Some(tasks) = gauges.tasks() {
        let left = Observation { available: tasks.limit - tasks.running, capacity: tasks.limit };
        observations.insert(Signal::PidAvailable, left);
    }
    Node { observations, dedicated }
}

/// Waits until nothing of the pods is left, but not for ever.
async fn cleaned_up(agent: &Agent, uids: &[String]) {
    let gone = async {
        loop {
            time::sleep(CLEAN_UP_PERIOD).await;
            if uids.iter().all(|uid| agent.is_over(uid)) {
                return;
            }
        }
    };
    if time::timeout(CLEAN_UP_LIMIT, gone).await.is_err() {
        tracing::warn!(?uids, "evicted pods are not cleaned up yet");
    }
}
