//! Devices for claims: what a selector selects, which devices are taken, and which ones a set of claims is given on a node.
//!
//! Upstream: `staging/src/k8s.io/dynamic-resource-allocation` (`structured` in its incubating form, `cel`). It knows the
//! types of `resource.k8s.io/v1` and nothing of schedulers, informers or writes; the same question has the same answer,
//! but for the names of shares.

mod allocated;
mod answer;
mod capacity;
mod constraint;
mod counters;
pub mod entries;
mod inventory;
mod pools;
mod request;
mod search;
pub mod selector;
mod taints;
#[cfg(test)]
mod tests;

pub use allocated::Allocated;
pub use inventory::{DeviceId, Inventory, PoolId};
pub use search::{Allocator, Failure, Node};
pub use taints::tolerates;

/// Keeps an allocated claim until it is deallocated.
pub const FINALIZER: &str = "resource.kubernetes.io/delete-protection";
/// Most devices that a claim can be given.
pub const RESULTS_MAX: usize = 32;
