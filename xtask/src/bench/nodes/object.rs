//! What a node says of itself: a Node with the size, labels, images and conditions of an ordinary one, and a Lease.

use jiff::Timestamp;
use serde_json::json;

/// Where nodes have their Leases.
pub(super) const LEASES: &str = "kube-node-lease";
/// Zones that nodes are in by turns.
const ZONES: [&str; 3] = ["zone-a", "zone-b", "zone-c"];
const IMAGES: usize = 10;

/// The name of a node.
pub(crate) fn name(i: usize) -> String {
    format!("node-{i:05}")
}

/// The number of a node.
pub(super) fn number(name: &str) -> Option<usize> {
    name.strip_prefix("node-")?.parse().ok()
}

/// The Node, which listens on a port of this machine if it does at all.
pub(super) fn node(i: usize, port: Option<u16>) -> String {
    let (name, now) = (name(i), now());
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        })
    };
    let images: Vec<_> = (0..IMAGES)
        .map(|image| {
            let digest = format!("{image:02x}").repeat(32);
            json!({
                "names": [format!("registry.example/image-{image}@sha256:{digest}"), format!("registry.example/image-{image}:1.0")],
                "sizeBytes": 50_000_000 + image * 1_000_000,
            })
        })
        .collect();
    let size =
        json!({"cpu": "32", "memory": "263866468Ki", "pods": "110", "ephemeral-storage": "504G", "hugepages-2Mi": "0"});
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
                "beta.kubernetes.io/os": "linux", "beta.kubernetes.io/arch": "amd64",
                "node.kubernetes.io/instance-type": "bench.8xlarge",
                "topology.kubernetes.io/region": "bench", "topology.kubernetes.io/zone": ZONES[i % ZONES.len()],
            },
            "annotations": {"node.alpha.kubernetes.io/ttl": "0", "volumes.kubernetes.io/controller-managed-attach-detach": "true"},
        },
        "spec": {},
        "status": {
            "capacity": size, "allocatable": size,
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port.unwrap_or(10250)}},
            "conditions": [
                condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
                condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
                condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
                condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
            ],
            "nodeInfo": {
                "machineID": format!("{i:032x}"), "systemUUID": format!("{i:032x}"), "bootID": format!("{i:032x}"),
                "kernelVersion": "6.1.0", "osImage": "Debian GNU/Linux 12 (bookworm)", "operatingSystem": "linux",
                "architecture": "amd64", "containerRuntimeVersion": "containerd://2.1.0",
                "kubeletVersion": "v1.36.2", "kubeProxyVersion": "",
            },
            "images": images,
        },
    })
    .to_string()
}

/// The Lease, which is renewed once and for all.
pub(super) fn lease(i: usize) -> String {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": name(i), "namespace": LEASES},
        "spec": {"holderIdentity": name(i), "leaseDurationSeconds": 40, "renewTime": "2099-01-01T00:00:00.000000Z"},
    })
    .to_string()
}

/// As objects have times.
pub(super) fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
