//! The decisions: how many pods a budget needs, how many it has, and what its status says of that.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::{
    api::{
        core::v1::Pod,
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus},
    },
    apimachinery::pkg::{
        apis::meta::v1::{Condition, LabelSelector, Time},
        util::intstr::IntOrString,
    },
    jiff::{SignedDuration, Timestamp},
};

use crate::util::{conditions, int_or_percent::scaled, key, pods};

/// How long an evicted pod may take to be deleted before it counts again.
const DELETION: SignedDuration = SignedDuration::from_mins(2);
/// How long a pod may say that it is about to be taken away without being so.
const STALE: SignedDuration = SignedDuration::from_mins(2);
const ALLOWED: &str = "DisruptionAllowed";

/// Whether a budget's numbers depend on how large its pods' workloads want to be.
pub(crate) fn needs_scale(budget: &PodDisruptionBudget) -> bool {
    let spec = budget.spec.clone().unwrap_or_default();
    spec.max_unavailable.is_some() || matches!(spec.min_available, Some(IntOrString::String(_)))
}

/// How many pods there should be, and how many of them healthy. `scale` is how large their workloads want to be
/// together, where [`needs_scale`].
fn expected(budget: &PodDisruptionBudget, pods: usize, scale: i32) -> (i32, i32) {
    let spec = budget.spec.clone().unwrap_or_default();
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(max), _) => (scale, (scale - scaled(Some(max), scale, true)).max(0)),
        (None, Some(IntOrString::Int(min))) => (i32::try_from(pods).unwrap_or(i32::MAX), *min),
        (None, Some(min)) => (scale, scaled(Some(min), scale, true)),
        (None, None) => (0, 0),
    }
}

/// What to do about a budget.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// None if the status is right.
    pub(crate) status: Option<PodDisruptionBudgetStatus>,
    /// Pods that were evicted and are not deleted.
    pub(crate) not_deleted: Vec<Arc<Pod>>,
    /// When the next one may turn out to be so.
    pub(crate) recheck: Option<Duration>,
}

/// Decides; `pods` are those that the budget selects.
pub(crate) fn sync(budget: &PodDisruptionBudget, pods: &[Arc<Pod>], scale: i32, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let before = budget.status.clone().unwrap_or_default();
    let evicted = before.disrupted_pods.clone().unwrap_or_default();
    let mut disrupted: BTreeMap<String, Time> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| !pods::is_terminating(pod)) {
        let name = key::name(&pod.metadata);
        let Some(at) = evicted.get(name) else { continue };
        let left = until(at, DELETION, now);
        if left.is_negative() {
            plan.not_deleted.push(pod.clone());
            continue;
        }
        disrupted.insert(name.to_owned(), at.clone());
        let left = left.unsigned_abs();
        plan.recheck = Some(plan.recheck.map_or(left, |r| r.min(left)));
    }
    let leaving = |pod: &Pod| {
        let evicted = disrupted.get(key::name(&pod.metadata));
        pods::is_terminating(pod) || evicted.is_some_and(|at| until(at, DELETION, now).is_positive())
    };
    let healthy = pods.iter().filter(|pod| !leaving(pod) && pods::is_ready(pod)).count();
    let healthy = i32::try_from(healthy).unwrap_or(i32::MAX);
    let (expected, desired) = expected(budget, pods.len(), scale);
    // A budget that selects nothing allows nothing: its first pods may come before it is looked at again.
    let allowed = if expected > 0 { healthy.saturating_sub(desired).max(0) } else { 0 };
    let mut status = PodDisruptionBudgetStatus {
        current_healthy: Some(healthy),
        desired_healthy: Some(desired),
        expected_pods: Some(expected),
        disruptions_allowed: Some(allowed),
        disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
        observed_generation: budget.metadata.generation,
        conditions: before.conditions.clone(),
    };
    let empty = |of: &Option<BTreeMap<String, Time>>| of.clone().filter(|of| !of.is_empty());
    let same = PodDisruptionBudgetStatus { disrupted_pods: empty(&before.disrupted_pods), ..before.clone() } == status;
    if !same || !is_told(&before) {
        let (value, reason) = if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
        let generation = status.observed_generation;
        conditions::set(status.conditions.get_or_insert_default(), condition(value, reason, "", generation), now);
        plan.status = Some(status);
    }
    plan
}

/// The status of a budget that can't be calculated: nothing may be evicted then.
pub(crate) fn fail_safe(budget: &PodDisruptionBudget, why: &str, now: Timestamp) -> PodDisruptionBudgetStatus {
    let mut status = budget.status.clone().unwrap_or_default();
    status.disruptions_allowed = Some(0);
    let generation = status.observed_generation;
    let failed = condition("False", "SyncFailed", why, generation);
    conditions::set(status.conditions.get_or_insert_default(), failed, now);
    status
}

fn condition(status: &str, reason: &str, message: &str, generation: Option<i64>) -> Condition {
    Condition {
        type_: ALLOWED.into(),
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
        observed_generation: generation,
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
    }
}

/// Whether the condition says what the number does.
fn is_told(status: &PodDisruptionBudgetStatus) -> bool {
    let condition = status.conditions.iter().flatten().find(|c| c.type_ == ALLOWED);
    let want =
        if status.disruptions_allowed > Some(0) { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    condition.is_some_and(|c| (c.status.as_str(), c.reason.as_str()) == want)
}

/// What is left of a time that began then; negative once it is over.
fn until(began: &Time, takes: SignedDuration, now: Timestamp) -> SignedDuration {
    began.0.saturating_add(takes).map_or(SignedDuration::ZERO, |end| end.duration_since(now))
}

/// In how long a pod's word that it is being taken away is not to be believed any more; none if it says no such thing,
/// or rightly so. A kubelet's word always counts: it may take its time.
pub(crate) fn stale_in(pod: &Pod, now: Timestamp) -> Option<Duration> {
    let condition = pods::condition(pod, "DisruptionTarget")?;
    let kubelet = condition.reason.as_deref() == Some("TerminationByKubelet");
    if pods::is_terminating(pod) || pods::is_finished(pod) || condition.status != "True" || kubelet {
        return None;
    }
    let left = condition.last_transition_time.as_ref().map_or(SignedDuration::ZERO, |at| until(at, STALE, now));
    Some(if left.is_negative() { Duration::ZERO } else { left.unsigned_abs() })
}

/// Whether a change of a pod can change a budget's numbers.
pub(crate) fn matters(old: &Pod, new: &Pod) -> bool {
    old.metadata.labels != new.metadata.labels
        || old.metadata.owner_references != new.metadata.owner_references
        || pods::is_terminating(old) != pods::is_terminating(new)
        || pods::is_ready(old) != pods::is_ready(new)
}

/// A selector as Go prints it.
pub(crate) fn printed(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector else { return "nil".into() };
    let labels: String = selector.match_labels.iter().flatten().map(|(k, v)| format!("{k}: {v},")).collect();
    let expression = |e: &k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement| {
        let values = e.values.clone().unwrap_or_default().join(" ");
        format!("LabelSelectorRequirement{{Key:{},Operator:{},Values:[{values}],}},", e.key, e.operator)
    };
    let expressions: String = selector.match_expressions.iter().flatten().map(expression).collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
