//! The node's status: what it has, whether it works. Upstream: pkg/kubelet/nodestatus/setters.go.

use super::{
    machine::{Disk, Machine},
    runtime_version,
};
use crate::{config::Config, quantity};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{
        ContainerImage, DaemonEndpoint, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeStatus, NodeSystemInfo,
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::Time},
};
use machinery::names::is_extended_resource;
use proto::cri;
use std::collections::BTreeMap;

/// The most images that are reported, the largest first, and the most names of one.
const IMAGES_LIMIT: usize = 50;
const NAMES_LIMIT: usize = 5;

/// What was found out for this report.
pub(crate) struct Findings<'a> {
    pub(crate) config: &'a Config,
    pub(crate) machine: &'a Machine,
    pub(crate) disk: Disk,
    pub(crate) addresses: &'a [String],
    pub(crate) runtime: &'a cri::VersionResponse,
    pub(crate) images: &'a [cri::Image],
    /// What is wrong; empty: ready.
    pub(crate) faults: &'a [String],
    pub(crate) memory_pressure: bool,
    pub(crate) disk_pressure: bool,
    pub(crate) pid_pressure: bool,
    pub(crate) kubelet_port: u16,
    pub(crate) now: Timestamp,
}

/// What pods may have: capacity less what is reserved and the eviction threshold.
pub(crate) fn allocatable(config: &Config, capacity: &quantity::List) -> quantity::List {
    let mut list = capacity.clone();
    for (name, total) in capacity {
        let reserved = config.reserved(name);
        let signal = match name.as_str() {
            "memory" => "memory.available",
            "ephemeral-storage" => "nodefs.available",
            _ => "",
        };
        let threshold = config
            .file
            .eviction_hard
            .get(signal)
            .map_or(0, |text| threshold_bytes(text, quantity::value(total)) * 1000);
        let left = (quantity::milli(total) - reserved - threshold).max(0);
        let text = match name.as_str() {
            "cpu" if left % 1000 == 0 => (left / 1000).to_string(),
            "cpu" => format!("{left}m"),
            "memory" => format!("{}Ki", left / 1000 / 1024),
            _ => (left / 1000).to_string(),
        };
        list.insert(name.clone(), if reserved + threshold == 0 { total.clone() } else { Quantity(text) });
    }
    list
}

/// Capacity and allocatable with the extended resources that others wrote into the node's capacity, all of which pods may
/// have. One that left the capacity leaves allocatable, too.
fn with_extended(old: &NodeStatus, capacity: &quantity::List, allocatable: &quantity::List) -> [quantity::List; 2] {
    let foreign = old.capacity.iter().flatten().filter(|(name, _)| !capacity.contains_key(*name));
    let foreign: quantity::List = foreign.map(|(name, amount)| (name.clone(), amount.clone())).collect();
    let kept = old.allocatable.iter().flatten().filter(|(name, _)| !is_extended_resource(name));
    let kept = kept.map(|(name, amount)| (name.clone(), amount.clone()));
    let both = |own: &quantity::List| own.clone().into_iter().chain(foreign.clone());
    [both(capacity).collect(), kept.chain(both(allocatable)).collect()]
}

/// A threshold is a quantity or a percentage of the capacity.
pub(crate) fn threshold_bytes(text: &str, capacity: i64) -> i64 {
    match text.strip_suffix('%') {
        Some(percent) => (capacity as f64 * percent.parse::<f64>().unwrap_or(0.0) / 100.0) as i64,
        None => quantity::value(&Quantity(text.to_owned())),
    }
}

pub(crate) fn capacity(config: &Config, machine: &Machine, disk: Disk) -> quantity::List {
    BTreeMap::from([
        ("cpu".to_owned(), Quantity(machine.cpus.to_string())),
        ("memory".to_owned(), Quantity(format!("{}Ki", machine.memory_bytes / 1024))),
        ("ephemeral-storage".to_owned(), Quantity(format!("{}Ki", disk.capacity / 1024))),
        ("hugepages-1Gi".to_owned(), Quantity("0".into())),
        ("hugepages-2Mi".to_owned(), Quantity("0".into())),
        ("pods".to_owned(), Quantity(config.file.max_pods.to_string())),
    ])
}

/// The status, over what the API holds: the times of conditions, and what others wrote.
pub(crate) fn status(old: &NodeStatus, findings: &Findings) -> NodeStatus {
    let Findings { config, machine, .. } = *findings;
    let own = capacity(config, machine, findings.disk);
    let [capacity, allocatable] = with_extended(old, &own, &allocatable(config, &own));
    let address = |kind: &str, address: &str| NodeAddress { type_: kind.into(), address: address.into() };
    let mut addresses: Vec<NodeAddress> = findings.addresses.iter().map(|ip| address("InternalIP", ip)).collect();
    addresses.push(address("Hostname", &config.hostname));
    let version = format!("v1.36.2+ferry.{}", env!("CARGO_PKG_VERSION"));
    NodeStatus {
        allocatable: Some(allocatable),
        capacity: Some(capacity),
        addresses: Some(addresses),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(findings.kubelet_port) }),
        }),
        node_info: Some(NodeSystemInfo {
            architecture: machine.architecture.into(),
            boot_id: machine.boot_id.clone(),
            container_runtime_version: format!(
                "{}://{}",
                findings.runtime.runtime_name,
                runtime_version::shown(&findings.runtime.runtime_version)
            ),
            kernel_version: machine.kernel.clone(),
            kube_proxy_version: String::new(),
            kubelet_version: version,
            machine_id: machine.machine_id.clone(),
            operating_system: "linux".into(),
            os_image: machine.os_image.clone(),
            system_uuid: machine.system_uuid.clone(),
            swap: (machine.swap_bytes > 0)
                .then_some(k8s_openapi::api::core::v1::NodeSwapStatus { capacity: Some(machine.swap_bytes) }),
        }),
        images: Some(images(findings.images)),
        conditions: Some(conditions(old, findings)),
        ..old.clone()
    }
}

fn images(list: &[cri::Image]) -> Vec<ContainerImage> {
    let mut list: Vec<&cri::Image> = list.iter().collect();
    list.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
    list.truncate(IMAGES_LIMIT);
    let names = |image: &cri::Image| {
        let mut names: Vec<String> = image.repo_digests.iter().chain(&image.repo_tags).cloned().collect();
        names.truncate(NAMES_LIMIT);
        names
    };
    list.iter().map(|image| ContainerImage { names: Some(names(image)), size_bytes: Some(image.size as i64) }).collect()
}

fn conditions(old: &NodeStatus, findings: &Findings) -> Vec<NodeCondition> {
    let pressure = |bad: bool, word: &str, text: &str| {
        let (has, have) = if bad { ("HasInsufficient", "insufficient") } else { ("HasSufficient", "sufficient") };
        (bad, format!("Kubelet{has}{word}"), format!("kubelet has {have} {text}"))
    };
    let disk = match findings.disk_pressure {
        true => (true, "KubeletHasDiskPressure".to_owned(), "kubelet has disk pressure".to_owned()),
        false => (false, "KubeletHasNoDiskPressure".to_owned(), "kubelet has no disk pressure".to_owned()),
    };
    let ready = match findings.faults {
        [] => (true, "KubeletReady".to_owned(), "kubelet is posting ready status".to_owned()),
        [one] => (false, "KubeletNotReady".to_owned(), one.clone()),
        many => (false, "KubeletNotReady".to_owned(), format!("[{}]", many.join(", "))),
    };
    let mut list: Vec<NodeCondition> = Vec::new();
    for (kind, (state, reason, message)) in [
        ("MemoryPressure", pressure(findings.memory_pressure, "Memory", "memory available")),
        ("DiskPressure", disk),
        ("PIDPressure", pressure(findings.pid_pressure, "PID", "PID available")),
        ("Ready", ready),
    ] {
        let status = if state { "True" } else { "False" };
        let before = old.conditions.iter().flatten().find(|c| c.type_ == kind);
        let since = before.filter(|c| c.status == status).and_then(|c| c.last_transition_time.clone());
        list.push(NodeCondition {
            type_: kind.into(),
            status: status.into(),
            reason: Some(reason),
            message: Some(message),
            last_heartbeat_time: Some(Time(findings.now)),
            last_transition_time: Some(since.unwrap_or(Time(findings.now))),
        });
    }
    let others = old
        .conditions
        .iter()
        .flatten()
        .filter(|c| !list.iter().any(|l| l.type_ == c.type_))
        .cloned()
        .collect::<Vec<_>>();
    others.into_iter().chain(list).collect()
}

/// Whether anything but heartbeat times differs.
pub(crate) fn changed(old: &NodeStatus, new: &NodeStatus) -> bool {
    let still = |status: &NodeStatus| {
        let mut status = status.clone();
        for condition in status.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = None;
        }
        serde_json::to_value(status).unwrap_or_default()
    };
    still(old) != still(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocatable_is_what_is_left() {
        let mut config = Config::default();
        config.file.eviction_hard =
            [("memory.available".to_owned(), "100Mi".to_owned()), ("nodefs.available".to_owned(), "10%".to_owned())]
                .into();
        config.file.system_reserved = [("cpu".to_owned(), "500m".to_owned())].into();
        let machine = Machine { cpus: 2, memory_bytes: 1 << 30, ..Machine::default() };
        let list = allocatable(&config, &capacity(&config, &machine, Disk { capacity: 1_024_000, ..Disk::default() }));
        let text = |name: &str| list[name].0.as_str();
        assert_eq!(
            (text("cpu"), text("memory"), text("ephemeral-storage"), text("pods")),
            ("1500m", "946176Ki", "921600", "110")
        );
    }

    #[test]
    fn extended_resources_of_others_are_allocatable() {
        let list = |entries: &[(&str, &str)]| -> quantity::List {
            entries.iter().map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned()))).collect()
        };
        let old = NodeStatus {
            capacity: Some(list(&[("cpu", "8"), ("example.com/dongle", "3")])),
            allocatable: Some(list(&[("cpu", "8"), ("example.com/dongle", "1"), ("example.com/gone", "5")])),
            ..Default::default()
        };
        let [capacity, allocatable] = with_extended(&old, &list(&[("cpu", "2")]), &list(&[("cpu", "1500m")]));
        assert_eq!(capacity, list(&[("cpu", "2"), ("example.com/dongle", "3")]));
        assert_eq!(allocatable, list(&[("cpu", "1500m"), ("example.com/dongle", "3")]));
    }
}
