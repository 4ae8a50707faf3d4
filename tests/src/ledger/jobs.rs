//! What a job owes: each index comes to its end exactly once, each pod that ran is counted, and none is kept for counting.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Ledger;

impl Ledger {
    /// What is wrong with a job that has completed, by its object as it is now. `completions` are all of its indexes.
    pub fn job_faults(&self, job: &Value, completions: u32) -> Vec<String> {
        let owner = job["metadata"]["uid"].as_str().unwrap_or_default();
        let indexed = job["spec"]["completionMode"] == "Indexed";
        let mut faults = Vec::new();
        let mut completed: BTreeMap<Option<u32>, BTreeSet<&str>> = BTreeMap::new();
        let mut pods = BTreeSet::new();
        for seen in self.of(owner) {
            pods.insert(seen.pod.uid.as_str());
        }
        let last = self.of(owner).map(|seen| (seen.pod.uid.as_str(), seen)).collect::<BTreeMap<_, _>>();
        for (uid, seen) in &last {
            if self.completed(uid) {
                completed.entry(seen.pod.index).or_default().insert(uid);
            }
            if seen.gone && seen.pod.tracked {
                faults.push(format!("{} went before it was counted", seen.pod.name));
            }
            if !seen.gone && seen.pod.tracked {
                faults.push(format!("{} is kept for a job that has counted everything", seen.pod.name));
            }
        }
        let all: usize = completed.values().map(BTreeSet::len).sum();
        if indexed {
            for (index, uids) in &completed {
                if uids.len() > 1 {
                    faults.push(format!("index {index:?} has succeeded {} times: {uids:?}", uids.len()));
                }
            }
            let missing: Vec<u32> = (0..completions).filter(|index| !completed.contains_key(&Some(*index))).collect();
            if !missing.is_empty() {
                faults.push(format!("indexes {missing:?} have never succeeded"));
            }
            let wanted = format!("0-{}", completions - 1);
            if job["status"]["completedIndexes"] != wanted.as_str() {
                faults.push(format!("completed indexes are {}, not {wanted}", job["status"]["completedIndexes"]));
            }
        }
        let status = &job["status"];
        if all != completions as usize || status["succeeded"] != completions {
            faults.push(format!(
                "{completions} completions were wanted, {all} pods have completed, {} are counted",
                status["succeeded"]
            ));
        }
        let failed = status["failed"].as_u64().unwrap_or(0);
        if failed != 0 {
            faults.push(format!("{failed} failures are counted, and no container has failed"));
        }
        let uncounted = &status["uncountedTerminatedPods"];
        if ["succeeded", "failed"].iter().any(|of| uncounted[of].as_array().is_some_and(|uids| !uids.is_empty())) {
            faults.push(format!("it is complete, and pods are still to be counted: {uncounted}"));
        }
        faults
    }
}
