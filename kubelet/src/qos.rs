//! A pod's quality of service and what follows from it: its cgroup's parent and who the kernel kills first.
//! Upstream: pkg/apis/core/v1/helper/qos/qos.go, pkg/kubelet/qos/policy.go.

use crate::{pod, quantity};
use k8s_openapi::api::core::v1::{Container, Pod};

/// `Guaranteed`, `Burstable` or `BestEffort`. Fixed at creation: the API's word counts if it is there.
pub(crate) fn class(pod: &Pod) -> &str {
    match pod.status.as_ref().and_then(|s| s.qos_class.as_deref()).filter(|c| !c.is_empty()) {
        Some(class) => class,
        None => computed(pod),
    }
}

fn computed(pod: &Pod) -> &'static str {
    let spec = pod::spec(pod);
    let positive = |q: Option<&k8s_openapi::apimachinery::pkg::api::resource::Quantity>| q.map_or(0, quantity::milli);
    let mut any = false;
    let mut guaranteed = true;
    for container in spec.containers.iter().chain(pod::init_containers(pod)) {
        for name in ["cpu", "memory"] {
            let limit = positive(quantity::limit(&container.resources, name));
            let request = quantity::request(&container.resources, name).map_or(limit, quantity::milli);
            any |= limit > 0 || request > 0;
            guaranteed &= limit > 0 && request == limit;
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// Between -997 (guaranteed, critical) and 1000 (best effort).
pub(crate) fn oom_score_adj(pod: &Pod, container: &Container, memory_bytes: i64) -> i64 {
    if pod::is_critical(pod) {
        return -997;
    }
    match class(pod) {
        "Guaranteed" => -997,
        "BestEffort" => 1000,
        _ => {
            let request = quantity::request(&container.resources, "memory").map_or(0, quantity::value);
            let score = 1000 - (i128::from(request) * 1000 / i128::from(memory_bytes.max(1))) as i64;
            // Below best effort, above guaranteed.
            if score < 3 {
                3
            } else if score == 1000 {
                999
            } else {
                score.min(999)
            }
        }
    }
}
