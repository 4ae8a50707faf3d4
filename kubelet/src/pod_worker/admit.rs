//! Whether the node takes a pod that was bound to it. Upstream: pkg/kubelet/lifecycle/predicate.go, eviction_manager.go (Admit),
//! sysctl/allowlist.go.

use crate::{
    container::resources::requested,
    eviction::threshold::Condition,
    node_agent::Agent,
    pod, qos,
    quantity::{self, List},
    status::Verdict,
};
use k8s_openapi::api::core::v1::{Pod, Toleration};
use std::{collections::BTreeSet, sync::Arc};

/// Sysctls that touch nothing but the pod's own namespaces.
const SAFE_SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

const OS: &str = "linux";

/// The node's part of the question.
pub(crate) struct Node<'a> {
    pub(crate) allocatable: &'a List,
    pub(crate) max_pods: i64,
    pub(crate) unsafe_sysctls: &'a [String],
    pub(crate) conditions: BTreeSet<Condition>,
}

/// A refusal: the reason, and the message of the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl Refusal {
    /// What becomes the pod's status.
    pub(super) fn verdict(self) -> Verdict {
        let message = format!("Pod was rejected: {}", self.message);
        Verdict { reason: self.reason, message, disruption: false }
    }
}

fn refuse(reason: impl Into<String>, message: impl Into<String>) -> Result<(), Refusal> {
    Err(Refusal { reason: reason.into(), message: message.into() })
}

/// `others`: the pods that the node has taken and not yet ended. The first fault counts, in upstream's order.
pub(crate) fn check(pod: &Pod, others: &[Arc<Pod>], node: &Node) -> Result<(), Refusal> {
    pressure(pod, &node.conditions)?;
    sysctls(pod, node.unsafe_sysctls)?;
    operating_system(pod)?;
    resources(pod, others, node)?;
    host_ports(pod, others)
}

fn pressure(pod: &Pod, conditions: &BTreeSet<Condition>) -> Result<(), Refusal> {
    if conditions.is_empty() || pod::is_critical(pod) {
        return Ok(());
    }
    let memory_alone = conditions.iter().eq([&Condition::Memory]);
    if memory_alone && (qos::class(pod) != "BestEffort" || tolerates_memory_pressure(pod)) {
        return Ok(());
    }
    let names: Vec<&str> = conditions.iter().map(|c| c.name()).collect();
    refuse("Evicted", format!("The node had condition: [{}]. ", names.join(" ")))
}

fn tolerates_memory_pressure(pod: &Pod) -> bool {
    const TAINT: &str = "node.kubernetes.io/memory-pressure";
    let tolerates = |t: &Toleration| {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let exists = t.operator.as_deref() == Some("Exists");
        let key = text(&t.key);
        (text(&t.effect).is_empty() || text(&t.effect) == "NoSchedule")
            && (key == TAINT || key.is_empty() && exists)
            && (exists || text(&t.value).is_empty())
    };
    pod::spec(pod).tolerations.iter().flatten().any(tolerates)
}

fn sysctls(pod: &Pod, unsafe_ones: &[String]) -> Result<(), Refusal> {
    for sysctl in pod::spec(pod).security_context.iter().flat_map(|c| c.sysctls.iter().flatten()) {
        let name = sysctl.name.replace('/', ".");
        let listed =
            |pattern: &String| pattern.strip_suffix('*').map_or(*pattern == name, |prefix| name.starts_with(prefix));
        if !SAFE_SYSCTLS.contains(&name.as_str()) && !unsafe_ones.iter().any(listed) {
            return refuse("SysctlForbidden", format!("forbidden sysctl: {name:?} not allowlisted"));
        }
    }
    Ok(())
}

fn operating_system(pod: &Pod) -> Result<(), Refusal> {
    let label = pod.metadata.labels.as_ref().and_then(|l| l.get("kubernetes.io/os"));
    if label.is_some_and(|os| os != OS) {
        let message = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label";
        return refuse("PodOSSelectorNodeLabelDoesNotMatch", message);
    }
    if pod::spec(pod).os.as_ref().is_some_and(|os| os.name != OS) {
        return refuse("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS");
    }
    Ok(())
}

fn resources(pod: &Pod, others: &[Arc<Pod>], node: &Node) -> Result<(), Refusal> {
    let short = |name: &str, wanted: i64, used: i64, capacity: i64| {
        refuse(
            format!("OutOf{name}"),
            format!(
                "Node didn't have enough resource: {name}, requested: {wanted}, used: {used}, capacity: {capacity}"
            ),
        )
    };
    let count = others.len() as i64;
    if count + 1 > node.max_pods {
        return short("pods", 1, count, node.max_pods);
    }
    let first = ["cpu", "memory", "ephemeral-storage"];
    let rest = node.allocatable.keys().map(String::as_str).filter(|name| *name != "pods" && !first.contains(name));
    for name in first.into_iter().chain(rest) {
        let Some(allocatable) = node.allocatable.get(name) else { continue };
        let capacity = if name == "cpu" { quantity::milli(allocatable) } else { quantity::value(allocatable) };
        let (wanted, used) = (requested(pod, name), others.iter().map(|p| requested(p, name)).sum::<i64>());
        if wanted > 0 && wanted > capacity - used {
            return short(name, wanted, used, capacity);
        }
    }
    Ok(())
}

fn host_ports(pod: &Pod, others: &[Arc<Pod>]) -> Result<(), Refusal> {
    let used: Vec<_> = others.iter().flat_map(|other| ports(other)).collect();
    if ports(pod).iter().any(|port| used.iter().any(|other| port.conflicts(other))) {
        let message = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
        return refuse("NodePorts", message);
    }
    Ok(())
}

/// A port of the node that a container takes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct HostPort {
    ip: String,
    protocol: String,
    port: i32,
}

impl HostPort {
    const ALL: &str = "0.0.0.0";

    fn conflicts(&self, other: &Self) -> bool {
        let same_address = self.ip == other.ip || self.ip == Self::ALL || other.ip == Self::ALL;
        self.port == other.port && self.protocol == other.protocol && same_address
    }
}

fn ports(pod: &Pod) -> Vec<HostPort> {
    let or =
        |text: &Option<String>, default: &str| text.as_deref().filter(|t| !t.is_empty()).unwrap_or(default).to_owned();
    let sidecars = pod::init_containers(pod).iter().filter(|c| pod::is_sidecar(c));
    let all = pod::spec(pod).containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
    all.filter_map(|p| {
        let port = p.host_port.filter(|port| *port > 0)?;
        Some(HostPort { ip: or(&p.host_ip, HostPort::ALL), protocol: or(&p.protocol, "TCP"), port })
    })
    .collect()
}

impl Agent {
    /// Takes the pod or says why not. One at a time: of two pods that fit alone, but not both, one stays.
    pub(super) fn admit(&self, pod: &Pod) -> Result<(), Refusal> {
        let mut admitted = self.admitted.lock();
        let others: Vec<Arc<Pod>> = self
            .pods
            .lock()
            .values()
            .filter(|handle| handle.is_active())
            .map(|handle| handle.pod())
            .filter(|p| pod::uid(p) != pod::uid(pod) && (admitted.contains(pod::uid(p)) || has_run(p)))
            .collect();
        let health = self.health.read().clone();
        let conditions = [
            (health.memory_pressure, Condition::Memory),
            (health.disk_pressure, Condition::Disk),
            (health.pid_pressure, Condition::Pid),
        ];
        let node = Node {
            allocatable: &self.allocatable,
            max_pods: self.config.file.max_pods,
            unsafe_sysctls: &self.config.file.allowed_unsafe_sysctls,
            conditions: conditions.into_iter().filter_map(|(is, condition)| is.then_some(condition)).collect(),
        };
        check(pod, &others, &node)?;
        admitted.insert(pod::uid(pod).to_owned());
        Ok(())
    }
}

/// An earlier kubelet took it: it counts from the start, whichever worker comes first.
fn has_run(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let mut containers = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
    containers.any(|c| c.container_id.is_some())
}

#[cfg(test)]
mod tests;
