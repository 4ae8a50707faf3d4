//! Amounts as integers: thousandths of a CPU, bytes, counts.
//!
//! What a pod asks for follows upstream's `component-helpers/resource` (sums of containers, the maximum over init
//! containers with the sidecars started before each, pod-level resources, overhead).

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    api::core::v1::{Container, ContainerStatus, Pod},
    apimachinery::pkg::api::resource::Quantity,
};
use smallvec::SmallVec;

use super::labels::Interner;

/// What scoring assumes for a container that names no CPU request, so that such pods do not all pile up on one node.
pub const DEFAULT_CPU_MILLI: i64 = 100;
/// Likewise for memory.
pub const DEFAULT_MEMORY_BYTES: i64 = 200 * 1024 * 1024;

/// A vector of amounts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Resources {
    /// Thousandths of a CPU.
    pub cpu_milli: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes of local storage.
    pub ephemeral_storage: i64,
    /// Extended resources, huge pages and the like, by name, sorted.
    pub scalars: SmallVec<[(Arc<str>, i64); 1]>,
}

type List = BTreeMap<String, Quantity>;

/// A quantity's value, or a thousand times it, rounded up; 0 for what cannot be parsed.
pub fn amount(quantity: &Quantity, milli: bool) -> i64 {
    let Ok(parsed) = machinery::quantity::Quantity::parse(&quantity.0) else { return 0 };
    if milli { parsed.milli_value() } else { parsed.value() }
}

fn is_scalar(name: &str) -> bool {
    name.contains('/') || name.starts_with("hugepages-") || name.starts_with("attachable-volumes-")
}

impl Resources {
    /// From the API's list; names that scheduling does not count are left out.
    pub fn new(list: &List, interner: &mut Interner) -> Self {
        let mut sum = Self::default();
        for (name, quantity) in list {
            match name.as_str() {
                "cpu" => sum.cpu_milli = amount(quantity, true),
                "memory" => sum.memory = amount(quantity, false),
                "ephemeral-storage" => sum.ephemeral_storage = amount(quantity, false),
                other if is_scalar(other) => sum.scalars.push((interner.intern(other), amount(quantity, false))),
                _ => {}
            }
        }
        sum
    }

    /// The amount of a scalar resource.
    pub fn scalar(&self, name: &str) -> i64 {
        self.scalars.iter().find(|(known, _)| &**known == name).map_or(0, |(_, amount)| *amount)
    }

    fn merge(&mut self, other: &Self, f: impl Fn(i64, i64) -> i64) {
        self.cpu_milli = f(self.cpu_milli, other.cpu_milli);
        self.memory = f(self.memory, other.memory);
        self.ephemeral_storage = f(self.ephemeral_storage, other.ephemeral_storage);
        for (name, amount) in &other.scalars {
            match self.scalars.binary_search_by(|(known, _)| known.cmp(name)) {
                Ok(at) => self.scalars[at].1 = f(self.scalars[at].1, *amount),
                Err(at) => self.scalars.insert(at, (name.clone(), f(0, *amount))),
            }
        }
    }

    /// Adds.
    pub fn add(&mut self, other: &Self) {
        self.merge(other, i64::saturating_add);
    }

    /// Subtracts.
    pub fn sub(&mut self, other: &Self) {
        self.merge(other, i64::saturating_sub);
    }

    /// The larger of each.
    pub fn max(&mut self, other: &Self) {
        self.merge(other, i64::max);
    }

    /// Whether nothing is asked for.
    pub fn is_zero(&self) -> bool {
        self.cpu_milli == 0 && self.memory == 0 && self.ephemeral_storage == 0 && self.scalars.is_empty()
    }

    /// Whether any amount is smaller than in `old`.
    pub fn any_less_than(&self, old: &Self) -> bool {
        self.cpu_milli < old.cpu_milli
            || self.memory < old.memory
            || self.ephemeral_storage < old.ephemeral_storage
            || old.scalars.iter().any(|(name, amount)| self.scalar(name) < *amount)
    }
}

/// What a pod asks for, and the same with defaults for containers that leave CPU or memory out (used by scoring alone).
pub fn of_pod(pod: &Pod, interner: &mut Interner) -> (Resources, Resources) {
    let Some(spec) = &pod.spec else { return Default::default() };
    let statuses: &[ContainerStatus] =
        pod.status.as_ref().and_then(|s| s.container_statuses.as_deref()).unwrap_or_default();
    let init_statuses: &[ContainerStatus] =
        pod.status.as_ref().and_then(|s| s.init_container_statuses.as_deref()).unwrap_or_default();
    let infeasible = pod.status.as_ref().is_some_and(|status| {
        status
            .conditions
            .iter()
            .flatten()
            .any(|c| c.type_ == "PodResizePending" && c.reason.as_deref() == Some("Infeasible"))
    });
    let mut of = |container: &Container, statuses: &[ContainerStatus]| -> (Resources, Resources) {
        let empty = List::new();
        let asked = container.resources.as_ref().and_then(|r| r.requests.as_ref()).unwrap_or(&empty);
        let mut exact = Resources::new(asked, interner);
        // A resize in place: what is allotted and in force counts as long as it is the larger.
        if let Some(status) = statuses.iter().find(|s| s.name == container.name)
            && let Some(actual) = &status.resources
        {
            let mut effective = if infeasible { Resources::default() } else { exact.clone() };
            for list in [actual.requests.as_ref(), status.allocated_resources.as_ref()].into_iter().flatten() {
                effective.max(&Resources::new(list, interner));
            }
            exact = effective;
        }
        let mut padded = exact.clone();
        if !asked.contains_key("cpu") {
            padded.cpu_milli += DEFAULT_CPU_MILLI;
        }
        if !asked.contains_key("memory") {
            padded.memory += DEFAULT_MEMORY_BYTES;
        }
        (exact, padded)
    };
    let (mut sum, mut padded) = (Resources::default(), Resources::default());
    for container in &spec.containers {
        let (exact, with_defaults) = of(container, statuses);
        sum.add(&exact);
        padded.add(&with_defaults);
    }
    let mut sidecars = (Resources::default(), Resources::default());
    let mut peak = (Resources::default(), Resources::default());
    for container in spec.init_containers.iter().flatten() {
        let sidecar = container.restart_policy.as_deref() == Some("Always");
        let (mut exact, mut with_defaults) = of(container, if sidecar { init_statuses } else { &[] });
        if sidecar {
            sum.add(&exact);
            padded.add(&with_defaults);
            sidecars.0.add(&exact);
            sidecars.1.add(&with_defaults);
            (exact, with_defaults) = sidecars.clone();
        } else {
            exact.add(&sidecars.0);
            with_defaults.add(&sidecars.1);
        }
        peak.0.max(&exact);
        peak.1.max(&with_defaults);
    }
    sum.max(&peak.0);
    padded.max(&peak.1);
    for (name, quantity) in spec.resources.iter().flat_map(|r| r.requests.iter().flatten()) {
        for total in [&mut sum, &mut padded] {
            match name.as_str() {
                "cpu" => total.cpu_milli = amount(quantity, true),
                "memory" => total.memory = amount(quantity, false),
                other if other.starts_with("hugepages-") => {
                    let name = interner.intern(other);
                    total.scalars.retain(|(known, _)| *known != name);
                    let at = total.scalars.partition_point(|(known, _)| *known < name);
                    total.scalars.insert(at, (name, amount(quantity, false)));
                }
                _ => {}
            }
        }
    }
    if let Some(overhead) = &spec.overhead {
        let overhead = Resources::new(overhead, interner);
        sum.add(&overhead);
        padded.add(&overhead);
    }
    (sum, padded)
}
