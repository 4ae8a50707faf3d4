//! Whether the node takes a pod that was bound to it. Upstream: pkg/kubelet/lifecycle/predicate.go, sysctl/allowlist.go.

use crate::{container::resources::total, cri::observe, node_agent::Agent, pod, quantity, status::Verdict};
use k8s_openapi::api::core::v1::Pod;

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

/// A pod that already has containers was taken by the kubelet before this one.
pub(super) fn admit(agent: &Agent, pod: &Pod, observed: &observe::Pod) -> Result<(), Verdict> {
    if !observed.sandboxes.is_empty() || pod::is_static(pod) {
        return Ok(());
    }
    let refuse = |reason: &str, message: String| Err(Verdict { reason: reason.to_owned(), message });
    for sysctl in pod::spec(pod).security_context.iter().flat_map(|c| c.sysctls.iter().flatten()) {
        let name = sysctl.name.replace('/', ".");
        let listed =
            |pattern: &String| pattern.strip_suffix('*').map_or(*pattern == name, |prefix| name.starts_with(prefix));
        if !SAFE_SYSCTLS.contains(&name.as_str()) && !agent.config.file.allowed_unsafe_sysctls.iter().any(listed) {
            return refuse("SysctlForbidden", format!("forbidden sysctl: {name:?} not allowlisted"));
        }
    }
    let others: Vec<_> = agent
        .all_pods()
        .into_iter()
        .filter(|p| pod::uid(p) != pod::uid(pod) && !pod::is_terminal(pod::phase(p)))
        .collect();
    let mut lacks = Vec::new();
    for name in ["cpu", "memory", "ephemeral-storage"] {
        let Some(allocatable) = agent.allocatable.get(name).map(quantity::milli) else { continue };
        let of = |p: &Pod| {
            let overhead = pod::spec(p).overhead.as_ref().and_then(|o| o.get(name)).map_or(0, quantity::milli);
            total(p, |r| quantity::request(r, name).map_or(0, quantity::milli), overhead)
        };
        let (wanted, used) = (of(pod), others.iter().map(|p| of(p)).sum::<i64>());
        if wanted > 0 && used + wanted > allocatable {
            let unit = if name == "cpu" { 1 } else { 1000 };
            lacks.push((name, wanted / unit, used / unit, allocatable / unit));
        }
    }
    if others.len() as i64 + 1 > agent.config.file.max_pods {
        lacks.push(("pods", 1, others.len() as i64, agent.config.file.max_pods));
    }
    match lacks.first() {
        Some((name, wanted, used, capacity)) => refuse(
            &format!("OutOf{name}"),
            format!(
                "Node didn't have enough resource: {name}, requested: {wanted}, used: {used}, capacity: {capacity}"
            ),
        ),
        None => Ok(()),
    }
}
