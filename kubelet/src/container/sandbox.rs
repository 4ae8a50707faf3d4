//! The sandbox of a pod. Upstream: kuberuntime_sandbox.go, generatePodSandboxConfig.

use super::{resources::PodResources, security};
use crate::{cri::labels, pod};
use k8s_openapi::api::core::v1::Pod;
use proto::cri;

/// What the node adds.
pub(crate) struct Parts {
    pub(crate) attempt: u32,
    pub(crate) dns: cri::DnsConfig,
    pub(crate) hostname: String,
    pub(crate) log_directory: String,
    pub(crate) cgroup_parent: String,
    pub(crate) resources: PodResources,
}

pub(crate) fn config(pod: &Pod, parts: Parts) -> cri::PodSandboxConfig {
    let context = pod::spec(pod).security_context.clone().unwrap_or_default();
    let number = |value: Option<i64>| value.map(|value| cri::Int64Value { value });
    let privileged = pod::spec(pod)
        .containers
        .iter()
        .chain(pod::init_containers(pod))
        .any(|c| c.security_context.as_ref().is_some_and(|s| s.privileged == Some(true)));
    let seccomp = cri::SecurityProfile {
        profile_type: cri::security_profile::ProfileType::RuntimeDefault as i32,
        localhost_ref: String::new(),
    };
    let security = cri::LinuxSandboxSecurityContext {
        namespace_options: Some(security::namespaces(pod, None)),
        run_as_user: number(context.run_as_user),
        run_as_group: number(context.run_as_group),
        supplemental_groups: security::groups(pod),
        supplemental_groups_policy: security::groups_policy(pod) as i32,
        privileged,
        seccomp: Some(seccomp),
        ..Default::default()
    };
    let sysctls = context.sysctls.iter().flatten().map(|s| (s.name.replace('/', "."), s.value.clone())).collect();
    let resources = cri::LinuxContainerResources {
        cpu_shares: parts.resources.cpu_shares,
        cpu_quota: parts.resources.cpu_quota_us.unwrap_or(0),
        cpu_period: parts.resources.cpu_period_us,
        memory_limit_in_bytes: parts.resources.memory_limit_bytes.unwrap_or(0),
        ..Default::default()
    };
    cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: pod::name(pod).to_owned(),
            uid: pod::uid(pod).to_owned(),
            namespace: pod::namespace(pod).to_owned(),
            attempt: parts.attempt,
        }),
        hostname: if pod::host_network(pod) { String::new() } else { parts.hostname },
        log_directory: parts.log_directory,
        dns_config: Some(parts.dns),
        port_mappings: ports(pod),
        labels: labels::sandbox(pod),
        annotations: pod.metadata.annotations.clone().unwrap_or_default().into_iter().collect(),
        linux: Some(cri::LinuxPodSandboxConfig {
            cgroup_parent: parts.cgroup_parent,
            security_context: Some(security),
            sysctls,
            overhead: None,
            resources: Some(resources),
        }),
    }
}

fn ports(pod: &Pod) -> Vec<cri::PortMapping> {
    if pod::host_network(pod) {
        return Vec::new();
    }
    let sidecars = pod::init_containers(pod).iter().filter(|c| pod::is_sidecar(c));
    let all = pod::spec(pod).containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
    all.map(|port| cri::PortMapping {
        protocol: match port.protocol.as_deref() {
            Some("UDP") => cri::Protocol::Udp,
            Some("SCTP") => cri::Protocol::Sctp,
            _ => cri::Protocol::Tcp,
        } as i32,
        container_port: port.container_port,
        host_port: port.host_port.unwrap_or(0),
        host_ip: port.host_ip.clone().unwrap_or_default(),
    })
    .collect()
}
