//! Requests and limits as the kernel counts them. Upstream: pkg/kubelet/cm/helpers_linux.go.

use crate::{pod, qos, quantity};
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use proto::cri::LinuxContainerResources;

const PERIOD_US: i64 = 100_000;
const MIN_QUOTA_US: i64 = 1000;
const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;

pub(crate) fn shares(milli: i64) -> i64 {
    if milli == 0 { MIN_SHARES } else { (milli * 1024 / 1000).clamp(MIN_SHARES, MAX_SHARES) }
}

/// Microseconds of a period; 0: no limit.
pub(crate) fn quota(milli: i64, period_us: i64) -> i64 {
    if milli == 0 { 0 } else { (milli * period_us / 1000).max(MIN_QUOTA_US) }
}

/// `cpuCFSQuota` and its period.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cpu {
    pub(crate) quota: bool,
    pub(crate) period_us: i64,
}

impl Default for Cpu {
    fn default() -> Self {
        Self { quota: true, period_us: PERIOD_US }
    }
}

pub(crate) fn container(pod: &Pod, container: &Container, cpu: Cpu, memory_bytes: i64) -> LinuxContainerResources {
    let level = &pod::spec(pod).resources;
    let limit = |name| quantity::limit(&container.resources, name).or_else(|| quantity::limit(level, name));
    let cpu_limit = limit("cpu").map_or(0, quantity::milli);
    let cpu_request = quantity::request(&container.resources, "cpu").map_or(cpu_limit, quantity::milli);
    let mut resources = LinuxContainerResources {
        cpu_shares: shares(cpu_request),
        memory_limit_in_bytes: limit("memory").map_or(0, quantity::value),
        oom_score_adj: qos::oom_score_adj(pod, container, memory_bytes),
        ..Default::default()
    };
    if cpu.quota {
        resources.cpu_period = cpu.period_us;
        resources.cpu_quota = quota(cpu_limit, cpu.period_us);
    }
    resources
}

/// What the pod's own cgroup gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PodResources {
    pub(crate) cpu_shares: i64,
    pub(crate) cpu_quota_us: Option<i64>,
    pub(crate) cpu_period_us: i64,
    pub(crate) memory_limit_bytes: Option<i64>,
}

/// The sum over containers, or the largest init container with the sidecars before it; plus overhead.
pub(crate) fn total(pod: &Pod, of: impl Fn(&Option<ResourceRequirements>) -> i64, overhead: i64) -> i64 {
    let mut running: i64 = pod::spec(pod).containers.iter().map(|c| of(&c.resources)).sum();
    let (mut sidecars, mut peak) = (0, 0);
    for container in pod::init_containers(pod) {
        let amount = of(&container.resources);
        if pod::is_sidecar(container) {
            sidecars += amount;
            running += amount;
            peak = peak.max(sidecars);
        } else {
            peak = peak.max(sidecars + amount);
        }
    }
    running.max(peak) + overhead
}

/// What the pod asks for: as a whole if it says so, or the sum of its containers; CPU in thousandths, all else in whole units.
pub(crate) fn requested(pod: &Pod, name: &str) -> i64 {
    let amount = if name == "cpu" { quantity::milli } else { quantity::value };
    let overhead = pod::spec(pod).overhead.as_ref().and_then(|o| o.get(name)).map_or(0, amount);
    match quantity::request(&pod::spec(pod).resources, name) {
        Some(whole) => amount(whole) + overhead,
        None => total(pod, |r| quantity::request(r, name).map_or(0, amount), overhead),
    }
}

pub(crate) fn pod_resources(pod: &Pod, cpu: Cpu) -> PodResources {
    let overhead = |name: &str| pod::spec(pod).overhead.as_ref().and_then(|o| o.get(name));
    let cpu_of = |r: &Option<ResourceRequirements>| {
        quantity::request(r, "cpu").or_else(|| quantity::limit(r, "cpu")).map_or(0, quantity::milli)
    };
    let request = total(pod, cpu_of, overhead("cpu").map_or(0, quantity::milli));
    let cpu_limit = total(
        pod,
        |r| quantity::limit(r, "cpu").map_or(0, quantity::milli),
        overhead("cpu").map_or(0, quantity::milli),
    );
    let whole = |name: &str| quantity::limit(&pod::spec(pod).resources, name);
    let memory_overhead = overhead("memory").map_or(0, quantity::value);
    let memory_limit = match whole("memory") {
        Some(limit) => quantity::value(limit) + memory_overhead,
        None => total(pod, |r| quantity::limit(r, "memory").map_or(0, quantity::value), memory_overhead),
    };
    let all = |name: &str| {
        let sidecars = pod::init_containers(pod).iter();
        pod::spec(pod)
            .containers
            .iter()
            .chain(sidecars)
            .all(|c| quantity::limit(&c.resources, name).is_some_and(|q| quantity::milli(q) > 0))
    };
    let (cpu_bound, memory_bound) = (all("cpu"), all("memory"));
    PodResources {
        cpu_shares: if qos::class(pod) == "BestEffort" { MIN_SHARES } else { shares(request) },
        cpu_quota_us: (cpu.quota && cpu_bound).then(|| quota(cpu_limit, cpu.period_us)),
        cpu_period_us: cpu.period_us,
        memory_limit_bytes: (memory_bound || whole("memory").is_some()).then_some(memory_limit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn kernel_numbers() {
        let pod: Pod = serde_json::from_value(json!({"spec": {"containers": [
            {"name": "a", "resources": {"requests": {"cpu": "250m", "memory": "64Mi"}, "limits": {"cpu": "500m", "memory": "128Mi"}}},
            {"name": "b", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}
        ]}}))
        .expect("a pod");
        let a = container(&pod, &pod::spec(&pod).containers[0], Cpu::default(), 8 << 30);
        assert_eq!(
            (a.cpu_shares, a.cpu_quota, a.cpu_period, a.memory_limit_in_bytes, a.oom_score_adj),
            (256, 50_000, 100_000, 128 << 20, 993)
        );
        let whole = pod_resources(&pod, Cpu::default());
        assert_eq!(
            whole,
            PodResources {
                cpu_shares: 1280,
                cpu_quota_us: Some(150_000),
                cpu_period_us: 100_000,
                memory_limit_bytes: Some((1 << 30) + (128 << 20))
            }
        );
    }
}
