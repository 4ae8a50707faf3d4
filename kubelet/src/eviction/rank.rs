//! Who is evicted first when something is short. Upstream: eviction/helpers.go, rankMemoryPressure and its siblings.

use super::{
    threshold::{Resource, Signal},
    usage::{Disk, Usage, Usages, is_local_ephemeral},
};
use crate::{container::resources::requested, pod};
use k8s_openapi::api::core::v1::Pod;
use std::{
    cmp::{Ordering, Reverse},
    sync::Arc,
};

/// Which parts of a pod's disk use a file system holds.
#[derive(Debug, Clone, Copy)]
struct Parts {
    root: bool,
    /// Logs and volumes.
    rest: bool,
}

fn priority(pod: &Pod) -> i32 {
    pod::spec(pod).priority.unwrap_or(0)
}

/// Puts the pods in the order in which they are evicted. `dedicated`: images have a file system of their own.
pub(crate) fn rank(pods: &mut [Arc<Pod>], signal: Signal, usages: &Usages, dedicated: bool) {
    match signal.resource() {
        Resource::Memory => by_excess(pods, usages, "memory", |_, usage| usage.working_set_bytes),
        Resource::Pids => pods.sort_by(|a, b| {
            let processes = |p: &Pod| usages.get(pod::uid(p)).map(|usage| Reverse(usage.processes));
            priority(a).cmp(&priority(b)).then_with(|| unknown_first(processes(a), processes(b)))
        }),
        disk => {
            let image_side = matches!(signal, Signal::ImageFsAvailable | Signal::ImageFsInodesFree);
            let parts = Parts { root: !dedicated || image_side, rest: !dedicated || !image_side };
            let used = |p: &Pod, usage: &Usage| {
                let disk_use = disk_use(p, usage, parts);
                if disk == Resource::Inodes { disk_use.inodes } else { disk_use.bytes }
            };
            by_excess(pods, usages, disk.name(), used);
        }
    }
}

/// Upstream's last comparison takes the request in bytes from a number of inodes; here inodes have no request.
///
/// Those that use more than they asked for come first, then the lower priority, then who uses the most beyond its request.
fn by_excess(pods: &mut [Arc<Pod>], usages: &Usages, resource: &str, used: impl Fn(&Pod, &Usage) -> i64) {
    let excess = |p: &Pod| usages.get(pod::uid(p)).map(|usage| used(p, usage) - requested(p, resource));
    let within = |excess: &Option<i64>| excess.map(|e| e <= 0);
    pods.sort_by(|a, b| {
        let (a_excess, b_excess) = (excess(a), excess(b));
        unknown_first(within(&a_excess), within(&b_excess))
            .then_with(|| priority(a).cmp(&priority(b)))
            .then_with(|| unknown_first(a_excess.map(Reverse), b_excess.map(Reverse)))
    });
}

/// A pod of which nothing is known comes first.
fn unknown_first<T: Ord>(a: Option<T>, b: Option<T>) -> Ordering {
    a.cmp(&b)
}

fn disk_use(pod: &Pod, usage: &Usage, parts: Parts) -> Disk {
    let mut sum = Disk::default();
    for container in &usage.containers {
        if parts.root {
            sum += container.root;
        }
        if parts.rest {
            sum += container.logs;
        }
    }
    if parts.rest {
        let local = pod::spec(pod).volumes.iter().flatten().filter(|v| is_local_ephemeral(v));
        sum += local.filter_map(|v| usage.volumes.get(&v.name)).copied().sum();
    }
    sum
}
