//! What went through network interfaces, from the kernel's table of a process' network namespace.

use super::Time;
use serde::Serialize;

/// Taken as the pod's or the node's own.
const USUAL: &str = "eth0";
/// Not counted, as cAdvisor does not.
const IGNORED: &[&str] = &["lo", "veth", "docker", "nerdctl"];

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Network {
    pub(crate) time: Time,
    #[serde(flatten)]
    pub(crate) usual: Option<Interface>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) interfaces: Vec<Interface>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) rx_bytes: u64,
    pub(crate) rx_errors: u64,
    pub(crate) tx_bytes: u64,
    pub(crate) tx_errors: u64,
}

/// Of the process' network namespace; `None` when it is gone.
pub(super) fn of_process(pid: &str, time: Time) -> Option<Network> {
    Some(parse(&std::fs::read_to_string(format!("/proc/{pid}/net/dev")).ok()?, time))
}

/// Reads a `net/dev`.
pub(super) fn parse(text: &str, time: Time) -> Network {
    let interfaces: Vec<Interface> = text.lines().filter_map(interface).collect();
    Network { time, usual: interfaces.iter().find(|i| i.name == USUAL).cloned(), interfaces }
}

fn interface(line: &str) -> Option<Interface> {
    let (name, numbers) = line.split_once(':')?;
    let name = name.trim();
    let numbers: Vec<u64> = numbers.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    if numbers.len() < 16 || IGNORED.iter().any(|prefix| name.starts_with(prefix)) {
        return None;
    }
    Some(Interface {
        name: name.to_owned(),
        rx_bytes: numbers[0],
        rx_errors: numbers[2],
        tx_bytes: numbers[8],
        tx_errors: numbers[10],
    })
}
