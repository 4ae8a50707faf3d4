//! What the node, its pods and their containers use: the summary that collectors read. Upstream: pkg/kubelet/stats, of which
//! the shape is k8s.io/kubelet/pkg/apis/stats/v1alpha1.
//!
//! Containers are measured by the runtime, pods and the node by their cgroups; a pod without a cgroup of its own is the sum of
//! its containers.

mod collect;
mod network;
mod rates;
#[cfg(test)]
mod tests;

pub(crate) use collect::{cpu_and_memory, everything};
pub(crate) use rates::Rates;

use crate::eviction::usage::Usages;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Serialize, Serializer};

/// What is remembered from one summary to the next.
#[derive(Default)]
pub(crate) struct Memory {
    /// Times of processors, of which speeds are made.
    rates: Mutex<Rates>,
    /// What pods take of the disk: walked seldom.
    disk: Mutex<Option<(Timestamp, Usages)>>,
}

/// Nanoseconds since 1970, written to the second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) i64);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let at = Timestamp::from_nanosecond(i128::from(self.0)).unwrap_or(Timestamp::UNIX_EPOCH);
        serializer.collect_str(&at.strftime("%Y-%m-%dT%H:%M:%SZ"))
    }
}

/// The document of `/stats/summary`.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) node: Node,
    pub(crate) pods: Vec<Pod>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Node {
    pub(crate) node_name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) system_containers: Vec<Container>,
    /// When the machine was started.
    pub(crate) start_time: Time,
    #[serde(flatten)]
    pub(crate) used: Used,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) network: Option<network::Network>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fs: Option<Fs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) runtime: Option<Runtime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rlimit: Option<Rlimit>,
}

/// The runtime's own file systems.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Runtime {
    pub(crate) image_fs: Fs,
    pub(crate) container_fs: Fs,
}

/// How many processes there may be, and are.
#[derive(Debug, Serialize)]
pub(crate) struct Rlimit {
    pub(crate) time: Time,
    pub(crate) maxpid: i64,
    pub(crate) curproc: i64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Pod {
    pub(crate) pod_ref: PodRef,
    /// When its sandbox was made.
    pub(crate) start_time: Time,
    pub(crate) containers: Vec<Container>,
    #[serde(flatten)]
    pub(crate) used: Used,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) network: Option<network::Network>,
    #[serde(rename = "volume", skip_serializing_if = "Vec::is_empty")]
    pub(crate) volumes: Vec<Volume>,
    #[serde(rename = "ephemeral-storage", skip_serializing_if = "Option::is_none")]
    pub(crate) ephemeral_storage: Option<Fs>,
    #[serde(rename = "process_stats", skip_serializing_if = "Option::is_none")]
    pub(crate) processes: Option<Processes>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Processes {
    #[serde(rename = "process_count")]
    pub(crate) count: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct PodRef {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) uid: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Container {
    pub(crate) name: String,
    /// When it was created.
    pub(crate) start_time: Time,
    #[serde(flatten)]
    pub(crate) used: Used,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rootfs: Option<Fs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) logs: Option<Fs>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Volume {
    #[serde(flatten)]
    pub(crate) fs: Fs,
    pub(crate) name: String,
}

/// Processor, memory and swap.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Used {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu: Option<Cpu>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) swap: Option<Swap>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Cpu {
    pub(crate) time: Time,
    /// Of late; `None` until there were two measurements.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) usage_nano_cores: Option<u64>,
    /// Since it was started.
    pub(crate) usage_core_nano_seconds: u64,
}

/// Memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Bytes {
    pub(crate) time: Time,
    /// Below its limit, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) available_bytes: Option<u64>,
    pub(crate) usage_bytes: u64,
    pub(crate) working_set_bytes: u64,
    pub(crate) rss_bytes: u64,
    pub(crate) page_faults: u64,
    pub(crate) major_page_faults: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Swap {
    pub(crate) time: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) swap_available_bytes: Option<u64>,
    pub(crate) swap_usage_bytes: u64,
}

/// A file system, and what is used of it by whom it is told of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Fs {
    pub(crate) time: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) available_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) capacity_bytes: Option<u64>,
    pub(crate) used_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) inodes_free: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) inodes: Option<u64>,
    pub(crate) inodes_used: u64,
}
