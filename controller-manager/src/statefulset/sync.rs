//! The decisions of the StatefulSet controller: which pods are made, mended and deleted, in which order.
//!
//! In order, a set waits for each of its pods to be available before it looks at the next, and scales down from the
//! highest ordinal, one pod at a time. In parallel nothing waits. Updates go from the highest ordinal down, one pod at a
//! time, and not below the partition (`maxUnavailable` is a feature of upstream's that is off by default).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::{
    api::{
        apps::v1::{StatefulSet, StatefulSetStatus},
        core::v1::{PersistentVolumeClaim, Pod},
    },
    jiff::Timestamp,
};

use super::{claims, identity};
use crate::util::pods;

/// Most pods made in one go.
const BURST: usize = 500;

/// What the controller sees.
pub(crate) struct Observed<'a> {
    pub(crate) set: &'a StatefulSet,
    /// The set with the template that its pods had before, and that one's revision.
    pub(crate) current: (&'a StatefulSet, &'a str),
    /// The set with its present template, and that one's revision.
    pub(crate) update: (&'a StatefulSet, &'a str),
    pub(crate) collisions: i32,
    pub(crate) pods: &'a [Arc<Pod>],
    /// A claim of the set's namespace, by name.
    pub(crate) claim: &'a (dyn Fn(&str) -> Option<Arc<PersistentVolumeClaim>> + Sync),
    pub(crate) now: Timestamp,
}

/// Something to do about one pod.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// Makes its claims, then the pod, then sees to the claims' owners.
    Create(Box<Pod>),
    Delete(Arc<Pod>),
    /// Makes claims that are missing, and sees to their owners: the pod waits for them.
    EnsureClaims(Arc<Pod>),
    /// Mends what makes it a member, its claims and their owners.
    Mend(Arc<Pod>),
    /// Sees to the owners of its claims.
    SettleClaims(Arc<Pod>),
}

/// What to do: phase after phase, in each the pods in order or at once, for each its steps. A failure ends its phase and
/// those after it.
#[derive(Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) phases: Vec<Vec<Vec<Step>>>,
    /// One pod at a time.
    pub(crate) in_order: bool,
    /// A pod can't be made before a claim is gone.
    pub(crate) blocked: bool,
    /// A pod that is deleted last, to be made anew of the present template. Then the status counts it no more.
    pub(crate) replace: Option<Arc<Pod>>,
    pub(crate) status: StatefulSetStatus,
}

pub(crate) fn min_ready_seconds(set: &StatefulSet) -> i32 {
    set.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or(0)
}

fn strategy(set: &StatefulSet) -> (&str, Option<i32>) {
    let strategy = set.spec.as_ref().and_then(|s| s.update_strategy.as_ref());
    let partition = strategy.and_then(|s| s.rolling_update.as_ref()).map(|r| r.partition.unwrap_or(0));
    (strategy.and_then(|s| s.type_.as_deref()).unwrap_or_default(), partition)
}

/// Decides.
pub(crate) fn plan(seen: &Observed<'_>) -> Plan {
    let set = seen.set;
    let mut plan = Plan {
        phases: vec![],
        in_order: seen.in_order(),
        blocked: false,
        replace: None,
        status: status(seen, seen.pods.iter()),
    };
    if set.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let members = Members::of(seen);
    plan.status = status(seen, members.replicas.values().chain(&members.condemned));
    let mut phases = [vec![], vec![], vec![]];
    let mut done;
    (phases[0], done, plan.blocked) = seen.tend_all(&members);
    if done {
        let unsettled = members.condemned.iter().filter(|pod| !seen.claims_match(pod));
        phases[1] = unsettled.map(|pod| vec![Step::SettleClaims(pod.clone())]).collect();
        phases[2] = seen.scale_down(&members).into_iter().map(|pod| vec![Step::Delete(pod)]).collect();
        done = !plan.in_order || members.condemned.is_empty();
    }
    if done && strategy(set).0 != "OnDelete" {
        plan.replace = seen.outdated(&members);
    }
    plan.phases = phases.into_iter().filter(|phase| !phase.is_empty()).collect();
    plan
}

/// The set's pods by what its ordinals say of them.
struct Members {
    /// By their places, from 0.
    replicas: BTreeMap<i32, Arc<Pod>>,
    /// Those that have no place, the highest ordinal first.
    condemned: Vec<Arc<Pod>>,
}

impl Members {
    fn of(seen: &Observed<'_>) -> Self {
        let (first, n) = (identity::first_ordinal(seen.set), identity::replicas(seen.set));
        let mut members = Self { replicas: BTreeMap::new(), condemned: vec![] };
        for pod in seen.pods {
            let Some(ordinal) = identity::ordinal(pod) else { continue };
            match ordinal.checked_sub(first).filter(|place| (0..n).contains(place)) {
                Some(place) => drop(members.replicas.insert(place, pod.clone())),
                None => members.condemned.push(pod.clone()),
            }
        }
        members.condemned.sort_by_key(|pod| std::cmp::Reverse(identity::ordinal(pod)));
        members
    }
}

impl Observed<'_> {
    fn in_order(&self) -> bool {
        self.set.spec.as_ref().and_then(|s| s.pod_management_policy.as_deref()) != Some("Parallel")
    }

    fn is_available(&self, pod: &Pod) -> bool {
        pods::is_available(pod, min_ready_seconds(self.set), self.now)
    }

    /// Running, and available for as long as it has to be.
    fn is_healthy(&self, pod: &Pod) -> bool {
        is_running_and_ready(pod) && self.is_available(pod)
    }

    /// Of the revision that a pod of that ordinal should be of.
    fn new_pod(&self, ordinal: i32) -> Pod {
        let first = identity::first_ordinal(self.set);
        let kept = match strategy(self.set) {
            (_, Some(partition)) => partition,
            ("RollingUpdate", None) => self.set.status.as_ref().and_then(|s| s.current_replicas).unwrap_or(0),
            _ => 0,
        };
        let (set, revision) = if ordinal < first.saturating_add(kept) { self.current } else { self.update };
        identity::new_pod(set, revision, ordinal)
    }

    /// The claims of a pod that are there, with what is wanted of their owners.
    fn claims(&self, pod: &Pod) -> impl Iterator<Item = Arc<PersistentVolumeClaim>> {
        let (set, _) = self.update;
        let ordinal = identity::ordinal(pod).unwrap_or(-1);
        let names = identity::claim_templates(set).iter().map(move |t| identity::claim_name(set, t, ordinal));
        names.filter_map(|name| (self.claim)(&name))
    }

    fn claims_match(&self, pod: &Pod) -> bool {
        self.claims(pod).all(|claim| claims::owners_match(&claim, self.update.0, pod))
    }

    /// What the places need; whether what comes after may be begun, for which in order all have to be healthy; and whether
    /// a claim is in the way of a pod.
    fn tend_all(&self, members: &Members) -> (Vec<Vec<Step>>, bool, bool) {
        let first = identity::first_ordinal(self.set);
        let (mut all, mut missing, mut blocked) = (vec![], 0, false);
        for place in 0..identity::replicas(self.set) {
            let (steps, healthy) = match members.replicas.get(&place) {
                Some(pod) => self.tend(pod),
                None => {
                    missing += 1;
                    let made = self.make(first.saturating_add(place));
                    blocked |= made.is_none();
                    (Vec::from_iter(made), false)
                }
            };
            if !steps.is_empty() {
                all.push(steps);
            }
            if !healthy && self.in_order() {
                return (all, false, blocked);
            }
            if missing == BURST {
                break;
            }
        }
        (all, true, blocked)
    }

    /// Nothing if a claim is in the way.
    fn make(&self, ordinal: i32) -> Option<Step> {
        let pod = self.new_pod(ordinal);
        let blocked = self.claims(&pod).any(|claim| claims::blocks(&claim, self.set, &pod));
        (!blocked).then(|| Step::Create(Box::new(pod)))
    }

    /// What a pod needs, and whether a set that goes in order may look at the next.
    fn tend(&self, pod: &Arc<Pod>) -> (Vec<Step>, bool) {
        // However it ended, it has to run; it is made anew when it is gone.
        if pods::is_finished(pod) {
            let steps = if pods::is_terminating(pod) { vec![] } else { vec![Step::Delete(pod.clone())] };
            return (steps, false);
        }
        let mut steps = vec![];
        if pods::phase(pod) == "Pending" {
            steps.push(Step::EnsureClaims(pod.clone()));
        }
        if self.in_order() && (pods::is_terminating(pod) || !self.is_healthy(pod)) {
            return (steps, false);
        }
        let member = identity::identity_matches(self.set, pod) && identity::storage_matches(self.set, pod);
        if !member || !self.claims_match(pod) {
            steps.push(Step::Mend(pod.clone()));
        }
        (steps, true)
    }

    /// The pods to scale away: in order only the one of the highest ordinal, once it is gone the next. One that is not
    /// healthy is not waited for if it is the first such, so that a scaled-down set does not wait for it for ever.
    fn scale_down(&self, members: &Members) -> Vec<Arc<Pod>> {
        let pods = members.condemned.iter();
        if !self.in_order() {
            return pods.filter(|pod| !pods::is_terminating(pod)).cloned().collect();
        }
        let unavailable = |pod: &&Arc<Pod>| !self.is_available(pod) || pods::is_terminating(pod);
        let first_unavailable = pods.clone().rev().find(unavailable);
        let may_go = |pod: &&Arc<Pod>| {
            let is_first = first_unavailable.is_some_and(|first| Arc::ptr_eq(first, pod));
            !pods::is_terminating(pod) && (is_first || self.is_healthy(pod))
        };
        pods.take(1).filter(may_go).cloned().collect()
    }

    /// The pod that is updated next, if none is waited for.
    fn outdated(&self, members: &Members) -> Option<Arc<Pod>> {
        for place in (strategy(self.set).1.unwrap_or(0).max(0)..identity::replicas(self.set)).rev() {
            let pod = members.replicas.get(&place)?;
            if identity::revision(pod) != self.update.1 && !pods::is_terminating(pod) {
                return Some(pod.clone());
            }
            if !self.is_available(pod) || pods::is_terminating(pod) {
                return None;
            }
        }
        None
    }
}

fn is_running_and_ready(pod: &Pod) -> bool {
    pods::phase(pod) == "Running" && pods::is_ready(pod)
}

fn status<'a>(seen: &Observed<'_>, of: impl Iterator<Item = &'a Arc<Pod>>) -> StatefulSetStatus {
    let (mut there, mut ready, mut available, mut current, mut updated) = (0, 0, 0, 0, 0);
    for pod in of {
        there += 1;
        if is_running_and_ready(pod) {
            ready += 1;
            available += i32::from(seen.is_available(pod));
        }
        if !pods::is_terminating(pod) {
            current += i32::from(identity::revision(pod) == seen.current.1);
            updated += i32::from(identity::revision(pod) == seen.update.1);
        }
    }
    StatefulSetStatus {
        observed_generation: seen.set.metadata.generation,
        replicas: there,
        ready_replicas: Some(ready),
        available_replicas: Some(available),
        current_replicas: Some(current),
        updated_replicas: Some(updated),
        current_revision: Some(seen.current.1.to_owned()),
        update_revision: Some(seen.update.1.to_owned()),
        collision_count: Some(seen.collisions),
        conditions: None,
    }
}

/// Once all pods are of the present template, it is the one that they had before too.
pub(crate) fn complete(set: &StatefulSet, status: &mut StatefulSetStatus) {
    let all = identity::replicas(set);
    let done = status.replicas == all && status.ready_replicas == Some(all) && status.updated_replicas == Some(all);
    if strategy(set).0 == "RollingUpdate" && done {
        status.current_replicas = status.updated_replicas;
        status.current_revision = status.update_revision.clone();
    }
}

/// Whether the status is worth writing. Conditions are nobody's here, and the number of collisions comes with the
/// revision that they were met for.
pub(crate) fn differs(set: &StatefulSet, status: &StatefulSetStatus) -> bool {
    let old = set.status.clone().unwrap_or_default();
    let number = |n: Option<i32>| n.unwrap_or(0);
    let text = |s: &Option<String>| s.clone().unwrap_or_default();
    status.observed_generation > old.observed_generation
        || status.replicas != old.replicas
        || number(status.ready_replicas) != number(old.ready_replicas)
        || number(status.available_replicas) != number(old.available_replicas)
        || number(status.current_replicas) != number(old.current_replicas)
        || number(status.updated_replicas) != number(old.updated_replicas)
        || text(&status.current_revision) != text(&old.current_revision)
        || text(&status.update_revision) != text(&old.update_revision)
}

/// When a ready pod will next become available, if the set waits for that.
pub(crate) fn next_check(seen: &Observed<'_>, status: &StatefulSetStatus) -> Option<Duration> {
    let wait = min_ready_seconds(seen.set);
    if wait <= 0 || status.ready_replicas == status.available_replicas {
        return None;
    }
    let next = seen.pods.iter().filter_map(|p| pods::next_availability(p, wait, seen.now).flatten()).min();
    Some(next.and_then(|d| Duration::try_from(d).ok()).unwrap_or(Duration::from_secs(wait.unsigned_abs().into())))
}
