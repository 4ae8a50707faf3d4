//! Removing images when the disk fills up. Upstream: pkg/kubelet/images/image_gc_manager.go.

use crate::{config::Span, images::gc, node_agent::Agent};
use component::supervisor;
use jiff::SignedDuration;
use std::{collections::HashSet, path::PathBuf, sync::Arc, time::Duration};
use tokio::time;

const PERIOD: Duration = Duration::from_secs(300);

/// Every five minutes.
pub(crate) async fn run(agent: Arc<Agent>) {
    let mut tick = time::interval(PERIOD);
    tick.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let Ok(file_systems) = agent.runtime.image_fs().await else { continue };
        let mount = file_systems.into_iter().next().and_then(|f| f.fs_id).map(|id| id.mountpoint).unwrap_or_default();
        let gauges = agent.gauges.clone();
        let Ok(Ok(disk)) = supervisor::blocking("measuring a disk", move || gauges.disk(&PathBuf::from(mount))).await
        else {
            continue;
        };
        let policy = policy(&agent);
        collect(&agent, policy, policy.excess(gc::Disk { capacity: disk.capacity, available: disk.available })).await;
    }
}

/// Removes every image that nothing uses and that is old enough: the disk is full.
pub(crate) async fn remove_unused(agent: &Arc<Agent>) {
    collect(agent, policy(agent), u64::MAX).await;
}

fn policy(agent: &Agent) -> gc::Policy {
    let file = &agent.config.file;
    let age = |span: Span| SignedDuration::try_from(span.0).unwrap_or(SignedDuration::MAX);
    gc::Policy {
        high_percent: file.image_gc_high_threshold_percent,
        low_percent: file.image_gc_low_threshold_percent,
        minimum_age: age(file.image_minimum_gc_age),
        maximum_age: age(file.image_maximum_gc_age),
    }
}

async fn collect(agent: &Agent, policy: gc::Policy, wanted: u64) {
    let (Ok(images), Ok(containers)) = (agent.runtime.list_images().await, agent.runtime.list_containers(None).await)
    else {
        return;
    };
    let mut used: HashSet<String> = containers.iter().map(|c| c.image_ref.clone()).collect();
    used.extend(containers.iter().filter_map(|c| c.image.as_ref().map(|i| i.image.clone())));
    // A container may name its image by id, digest or tag.
    for image in &images {
        if image.repo_tags.iter().chain(&image.repo_digests).any(|name| used.contains(name)) {
            used.insert(image.id.clone());
        }
    }
    let now = agent.clock.now();
    let kept = |tag: &String| tag.contains("/pause:") || agent.config.pinned_images.contains(tag);
    let sizes = images.iter().map(|i| (i.id.clone(), i.size, i.pinned || i.repo_tags.iter().any(kept)));
    let victims = {
        let mut records = agent.image_records.lock();
        records.update(sizes, &used, now);
        records.victims(policy, wanted, &used, now)
    };
    for image in victims {
        tracing::info!(image, "removing an unused image to free disk space");
        if let Err(error) = agent.runtime.remove_image(&image).await {
            let message = format!("failed to garbage collect image {image}: {error}");
            agent.events.node("Warning", "ImageGCFailed", &message);
        }
    }
}
