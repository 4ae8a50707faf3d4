//! What a DaemonSet owes while it rolls: no more nodes than it may are without a pod that serves, or have one too many.

use std::collections::{BTreeMap, BTreeSet};

use super::Ledger;

/// How much an update may cost at any time.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Nodes without a pod that serves.
    pub unavailable: usize,
    /// Nodes with a pod more, not counting those on their way out.
    pub surge: usize,
}

impl Ledger {
    /// What is wrong with a set between two revisions of the store: from when all nodes had a pod that serves, to when
    /// nothing was asked of it any more. `owner` is its uid.
    pub fn daemon_faults(&self, owner: &str, nodes: &BTreeSet<String>, of: Budget, from: i64, to: i64) -> Vec<String> {
        let mut faults = Vec::new();
        // By uid: its node, whether it serves, whether it is on its way out.
        let mut now: BTreeMap<&str, (&str, bool, bool)> = BTreeMap::new();
        for seen in self.of(owner).take_while(|seen| seen.revision <= to) {
            let pod = &seen.pod;
            match seen.gone {
                true => drop(now.remove(pod.uid.as_str())),
                false => drop(now.insert(&pod.uid, (&pod.node, pod.serves(), pod.terminating))),
            }
            if seen.revision < from {
                continue;
            }
            let served: BTreeSet<&str> =
                now.values().filter(|(_, serves, _)| *serves).map(|(node, ..)| *node).collect();
            let without: Vec<&String> = nodes.iter().filter(|node| !served.contains(node.as_str())).collect();
            if without.len() > of.unavailable {
                faults.push(format!("at revision {} {without:?} are without a pod that serves", seen.revision));
            }
            let mut pods: BTreeMap<&str, usize> = BTreeMap::new();
            let staying = now.values().filter(|(node, _, terminating)| !terminating && !node.is_empty());
            staying.for_each(|(node, ..)| *pods.entry(node).or_default() += 1);
            let surging: Vec<_> = pods.iter().filter(|(_, pods)| **pods > 1).collect();
            if surging.len() > of.surge {
                faults.push(format!("at revision {} there are too many pods on {surging:?}", seen.revision));
            }
        }
        faults
    }

    /// What is wrong with a set that has rolled: each node has exactly one pod, which serves, of one revision, not of
    /// `old`.
    pub fn daemon_end_faults(&self, owner: &str, nodes: &BTreeSet<String>, old: &str) -> Vec<String> {
        let mut faults = Vec::new();
        for node in nodes {
            let here: Vec<_> = self.pods().filter(|pod| pod.owner == owner && pod.node == *node).collect();
            match here.as_slice() {
                [pod] if pod.serves() && pod.revision != old => {}
                other => faults.push(format!("{node} ends with {other:?}")),
            }
        }
        let revisions: BTreeSet<_> = self.pods().filter(|p| p.owner == owner).map(|p| p.revision.as_str()).collect();
        if revisions.len() > 1 {
            faults.push(format!("it ends with pods of {revisions:?}"));
        }
        faults
    }
}
