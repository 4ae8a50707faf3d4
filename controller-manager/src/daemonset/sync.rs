//! The decisions of the DaemonSet controller: which nodes get a pod, which pods go, and what the status says.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, DaemonSetStatus, RollingUpdateDaemonSet},
        core::v1::{Node, Pod},
    },
    jiff::Timestamp,
};
use tokio::time::Instant;

use super::nodes::{self, Demands, Fit};
use crate::util::{backoff::Backoff, history::REVISION_LABEL, int_or_percent::scaled, key, pods};

/// Back-off of failed pods, by the set's UID and generation, and the node.
pub(crate) type Failures = Backoff<(String, i64, String)>;

/// What the controller sees.
pub(crate) struct Observed {
    pub(crate) set: Arc<DaemonSet>,
    /// What each node means to the set, by name.
    pub(crate) nodes: BTreeMap<String, Fit>,
    /// The set's pods by the node that they are on or for; those that have ended and are deleted are left out.
    pub(crate) pods: BTreeMap<String, Vec<Arc<Pod>>>,
    /// Of the present template.
    pub(crate) hash: String,
    pub(crate) now: Timestamp,
}

/// An event of the set.
#[derive(Debug, PartialEq)]
pub(crate) struct Said {
    pub(crate) kind: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// What to do about the pods.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// Nodes that get a pod.
    pub(crate) create: Vec<String>,
    pub(crate) delete: Vec<Arc<Pod>>,
    pub(crate) say: Vec<Said>,
    /// Failed pods are left alone until then.
    pub(crate) check_again: Option<Duration>,
}

impl Observed {
    pub(crate) fn new(
        set: Arc<DaemonSet>,
        nodes: &[Arc<Node>],
        mine: &[Arc<Pod>],
        hash: String,
        now: Timestamp,
    ) -> Self {
        let demands = Demands::of(&set);
        let nodes = nodes.iter().map(|n| (key::name(&n.metadata).to_owned(), demands.fit(n))).collect();
        let mut pods: BTreeMap<String, Vec<Arc<Pod>>> = BTreeMap::new();
        for pod in mine.iter().filter(|p| !(pods::is_finished(p) && pods::is_terminating(p))) {
            if let Some(node) = nodes::target(pod) {
                pods.entry(node.to_owned()).or_default().push(pod.clone());
            }
        }
        pods.values_mut().for_each(|pods| pods.sort_by(|a, b| first(a, b)));
        Self { set, nodes, pods, hash, now }
    }

    pub(crate) fn is_updated(&self, pod: &Pod) -> bool {
        nodes::is_updated(pod, &self.hash, nodes::template_generation(&self.set))
    }

    pub(crate) fn is_available(&self, pod: &Pod) -> bool {
        pods::is_available(pod, min_ready_seconds(&self.set), self.now)
    }
}

pub(crate) fn min_ready_seconds(set: &DaemonSet) -> i32 {
    set.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or(0)
}

/// Whether pods of an older template are replaced without anybody deleting them.
pub(crate) fn rolls(set: &DaemonSet) -> bool {
    let strategy = set.spec.as_ref().and_then(|s| s.update_strategy.as_ref());
    strategy.and_then(|s| s.type_.as_deref()) == Some("RollingUpdate")
}

/// The numbers of its rolling update; nothing if it does not roll.
fn rolling(set: &DaemonSet) -> Option<&RollingUpdateDaemonSet> {
    set.spec.as_ref()?.update_strategy.as_ref()?.rolling_update.as_ref().filter(|_| rolls(set))
}

/// How many nodes may have two pods, of so many that want one.
pub(crate) fn max_surge(set: &DaemonSet, wanted: usize) -> usize {
    count(scaled(rolling(set).and_then(|r| r.max_surge.as_ref()), number(wanted), true))
}

/// How many nodes may be without an available pod, of so many that want one.
pub(crate) fn max_unavailable(set: &DaemonSet, wanted: usize) -> usize {
    count(scaled(rolling(set).and_then(|r| r.max_unavailable.as_ref()), number(wanted), true))
}

fn count(n: i32) -> usize {
    usize::try_from(n).unwrap_or(0)
}

fn number(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// Scheduled pods first, then the older.
fn first(a: &Pod, b: &Pod) -> Ordering {
    let waits = |p: &Pod| pods::node_name(p).is_empty();
    let made = |p: &Pod| p.metadata.creation_timestamp.as_ref().map(|t| t.0);
    waits(a).cmp(&waits(b)).then_with(|| made(a).cmp(&made(b))).then_with(|| a.metadata.name.cmp(&b.metadata.name))
}

/// Gives each node the pod that it should have, and takes away the others. Updates are [`super::rolling`]'s.
pub(crate) fn manage(seen: &Observed, failures: &mut Failures, clock: Instant) -> Plan {
    let mut plan = Plan::default();
    for (node, fit) in &seen.nodes {
        match seen.pods.get(node) {
            None if fit.run => plan.create.push(node.clone()),
            Some(pods) if fit.keep => plan.tend(seen, (node, *fit), pods, failures, clock),
            Some(pods) => plan.delete.extend(pods.iter().filter(|p| !pods::is_terminating(p)).cloned()),
            None => {}
        }
    }
    // Pods that wait for a node which is gone: the scheduler can't place them, and the pod collector leaves them alone.
    for (node, pods) in &seen.pods {
        if !seen.nodes.contains_key(node) {
            plan.delete.extend(pods.iter().filter(|p| pods::node_name(p).is_empty()).cloned());
        }
    }
    plan
}

impl Plan {
    pub(crate) fn is_empty(&self) -> bool {
        self.create.is_empty() && self.delete.is_empty()
    }

    /// A node on which a pod may be: those that have ended go, and of the others those that are too many.
    fn tend(
        &mut self,
        seen: &Observed,
        (node, fit): (&str, Fit),
        pods: &[Arc<Pod>],
        failures: &mut Failures,
        clock: Instant,
    ) {
        let mut running = vec![];
        for pod in pods.iter().filter(|p| !pods::is_terminating(p)) {
            let about = format!("{}/{}", key::namespace(&pod.metadata), key::name(&pod.metadata));
            match pods::phase(pod) {
                "Failed" => {
                    // Here a kubelet that refuses the pod and this controller would race each other.
                    let generation = seen.set.status.as_ref().and_then(|s| s.observed_generation).unwrap_or(0);
                    let failing = (key::uid(&seen.set.metadata).to_owned(), generation, node.to_owned());
                    if let Some(wait) = failures.waiting(&failing, clock) {
                        self.check_again = Some(self.check_again.map_or(wait, |earlier| earlier.min(wait)));
                        continue;
                    }
                    failures.next(failing, clock);
                    let message = format!("Found failed daemon pod {about} on node {node}, will try to kill it");
                    self.say.push(Said { kind: "Warning", reason: "FailedDaemonPod", message });
                    self.delete.push(pod.clone());
                }
                "Succeeded" => {
                    let message = format!("Found succeeded daemon pod {about} on node {node}, will try to delete it");
                    self.say.push(Said { kind: "Normal", reason: "SucceededDaemonPod", message });
                    self.delete.push(pod.clone());
                }
                _ => running.push(pod),
            }
        }
        if max_surge(&seen.set, 1) == 0 {
            self.delete.extend(running.into_iter().skip(1).cloned());
        } else if running.is_empty() {
            // Where pods surge, one that is on its way out is no reason to wait.
            self.create.extend(fit.run.then(|| node.to_owned()));
        } else if running.len() > 1 {
            self.thin_out(seen, running);
        }
    }

    /// Two pods may be on a node if the older is of an older template and ready, and the newer one not yet available.
    fn thin_out(&mut self, seen: &Observed, running: Vec<&Arc<Pod>>) {
        let hash = |p: &Pod| p.metadata.labels.as_ref().and_then(|l| l.get(REVISION_LABEL)).cloned();
        let (new, old): (Vec<_>, Vec<_>) = running.into_iter().partition(|p| hash(p).unwrap_or_default() == seen.hash);
        self.delete.extend(
            new.iter()
                .chain(&old)
                .copied()
                .filter(|p| {
                    let oldest = |of: &[&Arc<Pod>]| of.first().is_some_and(|o| Arc::ptr_eq(o, p));
                    !oldest(&new) && !oldest(&old)
                })
                .cloned(),
        );
        if let (Some(new), Some(old)) = (new.first(), old.first())
            && (!pods::is_ready(old) || seen.is_available(new))
        {
            self.delete.push((*old).clone());
        }
    }
}

/// A status with the counts of now.
pub(crate) fn status(seen: &Observed, mut status: DaemonSetStatus) -> DaemonSetStatus {
    let (mut wanted, mut there, mut astray) = (0, 0, 0);
    let (mut ready, mut available, mut updated) = (0, 0, 0);
    for (node, fit) in &seen.nodes {
        let oldest = seen.pods.get(node).and_then(|pods| pods.first());
        match (fit.run, oldest) {
            (true, Some(pod)) => {
                wanted += 1;
                there += 1;
                ready += i32::from(pods::is_ready(pod));
                available += i32::from(seen.is_available(pod));
                updated += i32::from(seen.is_updated(pod));
            }
            (true, None) => wanted += 1,
            (false, Some(_)) => astray += 1,
            (false, None) => {}
        }
    }
    status.desired_number_scheduled = wanted;
    status.current_number_scheduled = there;
    status.number_misscheduled = astray;
    status.number_ready = ready;
    status.updated_number_scheduled = Some(updated).filter(|n| *n != 0);
    status.number_available = Some(available).filter(|n| *n != 0);
    status.number_unavailable = Some(wanted - available).filter(|n| *n != 0);
    status
}
