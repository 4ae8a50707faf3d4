//! The rolling update of a DaemonSet: which old pods go now, or, where pods surge, which nodes get a new one beside.
//!
//! Without surge old pods are deleted as far as `maxUnavailable` allows, and the next pass gives their nodes new ones.
//! With surge a node gets its new pod first, at most `maxSurge` of them beside pods that are available, and the old one
//! goes when the new one is available. What is not available anyway is replaced at once in both.

use std::sync::Arc;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Pod;

use super::sync::{Observed, Plan, max_surge, max_unavailable};
use crate::util::pods;

/// Decides.
///
/// # Errors
/// A pod that should be replaced is on a node that is not there.
pub(crate) fn roll(seen: &Observed) -> anyhow::Result<Plan> {
    let wanted = seen.nodes.values().filter(|fit| fit.run).count();
    let (surge, unavailable) = (max_surge(&seen.set, wanted), max_unavailable(&seen.set, wanted));
    match surge {
        // Neither would never move.
        0 => Ok(delete_old(seen, if unavailable == 0 && wanted > 0 { 1 } else { unavailable })),
        _ => surge_new(seen, surge, wanted),
    }
}

/// A pod of the present template, and one of another.
type Pair<'a> = (Option<&'a Arc<Pod>>, Option<&'a Arc<Pod>>);

/// The pods of a node that are not on their way out; nothing if there are several of a sort, which is for the next pass to
/// mend.
fn pair<'a>(seen: &Observed, pods: &'a [Arc<Pod>]) -> Option<Pair<'a>> {
    let here = pods.iter().filter(|p| !pods::is_terminating(p));
    let (new, old): (Vec<_>, Vec<_>) = here.partition(|p| seen.is_updated(p));
    (new.len() <= 1 && old.len() <= 1).then(|| (new.first().copied(), old.first().copied()))
}

fn delete_old(seen: &Observed, max_unavailable: usize) -> Plan {
    let (mut unavailable, mut at_once, mut candidates) = (0, vec![], vec![]);
    for pods in seen.pods.values() {
        match pair(seen, pods) {
            Some((Some(new), None)) => unavailable += usize::from(!seen.is_available(new)),
            Some((None, Some(old))) if !seen.is_available(old) => {
                at_once.push(old.clone());
                unavailable += 1;
            }
            Some((None, Some(old))) => candidates.push(old.clone()),
            // None, or one too many: this pass' first part deals with it.
            _ => unavailable += 1,
        }
    }
    unavailable += seen.nodes.iter().filter(|(node, fit)| fit.run && !seen.pods.contains_key(*node)).count();
    candidates.truncate(max_unavailable.saturating_sub(unavailable));
    at_once.extend(candidates);
    Plan { delete: at_once, ..Plan::default() }
}

fn surge_new(seen: &Observed, max_surge: usize, wanted: usize) -> anyhow::Result<Plan> {
    let (mut surging, mut available) = (0, 0);
    let (mut delete, mut unwanted) = (vec![], vec![]);
    let (mut at_once, mut candidates) = (vec![], vec![]);
    for (node, pods) in &seen.pods {
        let Some((new, old)) = pair(seen, pods) else {
            surging += 1;
            continue;
        };
        let is_available = |pod: &Arc<Pod>| seen.is_available(pod);
        available += usize::from(old.or(new).is_some_and(is_available));
        match (new, old) {
            (_, None) => {}
            (None, Some(old)) => {
                let fit = seen.nodes.get(node).with_context(|| format!("couldn't get node for nodeName {node:?}"))?;
                match (is_available(old), fit.run) {
                    (false, false) => delete.push(old.clone()),
                    (false, true) => at_once.push(node.clone()),
                    (true, false) => unwanted.push(old.clone()),
                    (true, true) => candidates.push(node.clone()),
                }
            }
            (Some(new), Some(old)) if is_available(new) => delete.push(old.clone()),
            (Some(_), Some(_)) => surging += 1,
        }
    }
    // Who surges expects to be available throughout: where pods are wanted no more, they go as others become available.
    unwanted.truncate(available.saturating_sub(wanted));
    delete.extend(unwanted);
    candidates.truncate(max_surge.saturating_sub(surging));
    at_once.extend(candidates);
    Ok(Plan { create: at_once, delete, ..Plan::default() })
}
