//! What pods are worth to the calculation: whether their figures count, and what they request. Upstream:
//! `replica_calculator.go`, groupPods and calculateRequests.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::{
    api::core::v1::{Container, Pod},
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
    jiff::{SignedDuration, Timestamp},
};
use machinery::quantity::Quantity;

use crate::util::{key, pods};

/// One pod's figure: in thousandths, of a window that ends at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) at: Timestamp,
    pub(super) window: SignedDuration,
    pub(super) value: i64,
}

/// By the pod's name.
pub(super) type Samples = BTreeMap<String, Sample>;

/// How long a young pod's figures are not trusted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Within this time of its start a pod's processor time counts only from a whole window after it became ready.
    pub(super) cpu_initialization: SignedDuration,
    /// A pod that became unready within this time of its start never was ready.
    pub(super) initial_readiness: SignedDuration,
}

/// Names of pods, by what becomes of their figures.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Groups {
    pub(super) ready: i64,
    pub(super) unready: BTreeSet<String>,
    pub(super) missing: BTreeSet<String>,
    pub(super) ignored: BTreeSet<String>,
}

pub(super) fn group(
    pods: &[Arc<Pod>],
    samples: &Samples,
    resource: &str,
    patience: Patience,
    now: Timestamp,
) -> Groups {
    let mut groups = Groups::default();
    for pod in pods {
        let name = key::name(&pod.metadata).to_owned();
        if pods::is_terminating(pod) || pods::phase(pod) == "Failed" {
            groups.ignored.insert(name);
        } else if pods::phase(pod) == "Pending" {
            groups.unready.insert(name);
        } else {
            match samples.get(&name) {
                None => drop(groups.missing.insert(name)),
                Some(sample) if resource == "cpu" && is_unready(pod, sample, patience, now) => {
                    groups.unready.insert(name);
                }
                Some(_) => groups.ready += 1,
            }
        }
    }
    groups
}

fn is_unready(pod: &Pod, sample: &Sample, patience: Patience, now: Timestamp) -> bool {
    let started = pod.status.as_ref().and_then(|s| s.start_time.as_ref()).map(|t| t.0);
    let (Some(condition), Some(started)) = (pods::condition(pod, "Ready"), started) else { return true };
    let since = condition.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |t| t.0);
    let after = |time: Timestamp, span: SignedDuration| time.saturating_add(span).unwrap_or(Timestamp::MAX);
    let unready = condition.status == "False";
    if after(started, patience.cpu_initialization) > now {
        unready || sample.at < after(since, sample.window)
    } else {
        unready && after(started, patience.initial_readiness) > since
    }
}

type List = BTreeMap<String, ApiQuantity>;

fn milli(amount: &ApiQuantity) -> i64 {
    Quantity::parse(&amount.0).map_or(0, |q| q.milli_value())
}

fn requested(container: &Container) -> Option<&List> {
    container.resources.as_ref()?.requests.as_ref()
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// What each pod requests of a resource, in thousandths: all of it or one container of it. What the pod itself requests
/// counts before its containers do.
///
/// # Errors
/// A pod requests nothing of it, or has no such container.
pub(super) fn of_pods(pods: &[Arc<Pod>], container: &str, resource: &str) -> Result<BTreeMap<String, i64>, String> {
    let one = |pod: &Arc<Pod>| {
        let amount = match container.is_empty() && requests_itself(pod) {
            true => of_pod(pod, resource)?,
            false => of_containers(pod, container, resource)?,
        };
        Ok((key::name(&pod.metadata).to_owned(), amount))
    };
    pods.iter().map(one).collect()
}

fn own(pod: &Pod) -> Option<&List> {
    pod.spec.as_ref()?.resources.as_ref()?.requests.as_ref()
}

/// Whether the pod requests something as a whole.
fn requests_itself(pod: &Pod) -> bool {
    let whole = |name: &String| matches!(name.as_str(), "cpu" | "memory") || name.starts_with("hugepages-");
    own(pod).is_some_and(|list| list.keys().any(whole))
}

/// As a scheduler counts it: the pod's own word, or its containers, and its overhead.
fn of_pod(pod: &Pod, resource: &str) -> Result<i64, String> {
    let missing = || format!("missing pod-level request for {resource} in Pod {}", key::name(&pod.metadata));
    let spec = pod.spec.as_ref().ok_or_else(missing)?;
    let of = |container: &Container| requested(container).and_then(|list| list.get(resource)).map(milli);
    let all = || {
        let mut known = spec.containers.iter().filter_map(of).reduce(i64::saturating_add);
        let (mut beside, mut most) = (0i64, None::<i64>);
        for init in spec.init_containers.iter().flatten() {
            let Some(amount) = of(init) else { continue };
            if is_sidecar(init) {
                known = Some(known.unwrap_or(0).saturating_add(amount));
                beside = beside.saturating_add(amount);
                most = most.max(Some(beside));
            } else {
                most = most.max(Some(beside.saturating_add(amount)));
            }
        }
        known.max(most)
    };
    let amount = own(pod).and_then(|list| list.get(resource)).map(milli).or_else(all);
    let overhead = spec.overhead.as_ref().and_then(|list| list.get(resource)).map(milli);
    match (amount, overhead) {
        (None, None) => Err(missing()),
        (amount, overhead) => Ok(amount.unwrap_or(0).saturating_add(overhead.unwrap_or(0))),
    }
}

fn of_containers(pod: &Pod, wanted: &str, resource: &str) -> Result<i64, String> {
    let name = key::name(&pod.metadata);
    let spec = pod.spec.as_ref();
    let regular = spec.iter().flat_map(|s| &s.containers);
    let sidecars = spec.iter().flat_map(|s| s.init_containers.iter().flatten()).filter(|c| is_sidecar(c));
    let mut sum = 0i64;
    for container in regular.chain(sidecars).filter(|c| wanted.is_empty() || c.name == wanted) {
        let amount = requested(container)
            .and_then(|list| list.get(resource))
            .ok_or_else(|| format!("missing request for {resource} in container {} of Pod {name}", container.name))?;
        sum = sum.saturating_add(milli(amount));
        if container.name == wanted {
            return Ok(sum);
        }
    }
    if wanted.is_empty() { Ok(sum) } else { Err(format!("container {wanted} not found in Pod {name}")) }
}
