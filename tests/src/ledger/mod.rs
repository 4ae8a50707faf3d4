//! What became of the pods of workloads: each of their states in the order of revisions, as a watch has shown them, and
//! what the kubelets ran, as they noted it themselves. The rest of the module holds both against what controllers owe:
//! [`identities`], [`jobs`], [`stateful`], [`daemons`].
//!
//! Revisions are one order of all writes, so a rule that holds "at any time" is checked at every write, exactly. What a
//! kubelet ran is noted apart: a pod that ran and was forgotten is in the one and not in the other.

mod daemons;
mod jobs;
mod stateful;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::Value;

pub use daemons::Budget;

/// What a pod is at a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its uid.
    pub uid: String,
    /// Its name; all are of one namespace.
    pub name: String,
    /// The uid of its controller; empty without one.
    pub owner: String,
    /// The node that it is bound to, or empty.
    pub node: String,
    /// The revision of its workload's template that it is of, or empty.
    pub revision: String,
    /// Its completion index.
    pub index: Option<u32>,
    /// Its phase.
    pub phase: String,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether its deletion was asked for.
    pub terminating: bool,
    /// Whether its job has yet to count it.
    pub tracked: bool,
}

impl Pod {
    /// Of an object of the API.
    pub fn of(object: &Value) -> Self {
        let metadata = &object["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let all = |value: &'_ Value| value.as_array().cloned().unwrap_or_default();
        let owner = all(&metadata["ownerReferences"]).into_iter().find(|owner| owner["controller"] == true);
        let label = |name: &str| metadata["labels"][name].as_str();
        Self {
            uid: text(&metadata["uid"]),
            name: text(&metadata["name"]),
            owner: owner.map(|owner| text(&owner["uid"])).unwrap_or_default(),
            node: text(&object["spec"]["nodeName"]),
            revision: label("controller-revision-hash").unwrap_or_default().to_owned(),
            index: label("batch.kubernetes.io/job-completion-index").and_then(|index| index.parse().ok()),
            phase: text(&object["status"]["phase"]),
            ready: all(&object["status"]["conditions"]).iter().any(|c| c["type"] == "Ready" && c["status"] == "True"),
            terminating: !metadata["deletionTimestamp"].is_null(),
            tracked: all(&metadata["finalizers"]).iter().any(|f| f == "batch.kubernetes.io/job-tracking"),
        }
    }

    /// Whether it serves: ready, and nobody wants it gone.
    fn serves(&self) -> bool {
        self.ready && !self.terminating
    }
}

/// A write to a pod, as a watch shows it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Of the store.
    pub revision: i64,
    /// Whether the pod is gone by it.
    pub gone: bool,
    /// As it was made by the write, or as it was last.
    pub pod: Pod,
}

/// What a controller or the scheduler did, by what a write has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Made a pod.
    Made,
    /// Gave it a node.
    Bound,
    /// Counted it.
    Released,
    /// Asked for its deletion.
    Deleting,
    /// It is gone.
    Gone,
    /// Its kubelet said something, or nothing of these.
    Other,
}

/// What a kubelet noted of a pod: that it began to run it, and that it has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Run {
    /// The pod's uid and name.
    Began(String, String),
    /// Its uid, and whether it had come to its end by itself.
    Ended(String, bool),
}

/// All of it.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    seen: Vec<Seen>,
    now: BTreeMap<String, Pod>,
    runs: Vec<Run>,
}

impl Ledger {
    /// Notes an event of the watch; says what was done to which pod.
    pub fn see(&mut self, seen: Seen) -> Step {
        let pod = seen.pod.clone();
        let before = match seen.gone {
            true => self.now.remove(&pod.uid),
            false => self.now.insert(pod.uid.clone(), pod.clone()),
        };
        let step = match &before {
            _ if seen.gone => Step::Gone,
            None => Step::Made,
            Some(was) if was.node != pod.node => Step::Bound,
            Some(was) if was.tracked && !pod.tracked => Step::Released,
            Some(was) if !was.terminating && pod.terminating => Step::Deleting,
            Some(_) => Step::Other,
        };
        self.seen.push(seen);
        step
    }

    /// Notes what a kubelet did.
    pub fn ran(&mut self, run: Run) {
        self.runs.push(run);
    }

    /// The pods that are there now.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.now.values()
    }

    /// How many events there were.
    pub fn events(&self) -> usize {
        self.seen.len()
    }

    /// How many pods the kubelets ran.
    pub fn began(&self) -> usize {
        self.runs.iter().filter(|run| matches!(run, Run::Began(..))).count()
    }

    /// Events of the pods of one owner.
    fn of<'a>(&'a self, owner: &'a str) -> impl Iterator<Item = &'a Seen> {
        self.seen.iter().filter(move |seen| seen.pod.owner == owner)
    }

    /// What is wrong with pods whoever made them: two of one name that ran at once, one that ran again, one that is gone
    /// while its kubelet still ran it, one that ran and that no watch has shown.
    pub fn identities(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut running: BTreeMap<&str, &str> = BTreeMap::new();
        let mut names: BTreeMap<&str, &str> = BTreeMap::new();
        for run in &self.runs {
            match run {
                Run::Began(uid, name) => {
                    if let Some(other) = running.insert(name, uid) {
                        faults.push(format!("{name} began as {uid} while {other} ran"));
                    }
                    if names.insert(uid, name).is_some() {
                        faults.push(format!("{name} ran twice as {uid}"));
                    }
                }
                Run::Ended(uid, _) => {
                    if let Some(name) = names.get(uid.as_str()) {
                        running.remove(name);
                    }
                }
            }
        }
        let gone: BTreeMap<&str, &Pod> =
            self.seen.iter().filter(|seen| seen.gone).map(|seen| (seen.pod.uid.as_str(), &seen.pod)).collect();
        let left = running.iter().filter(|(_, uid)| gone.contains_key(**uid));
        faults.extend(left.map(|(name, uid)| format!("{name} ({uid}) is gone, and its kubelet still runs it")));
        let unseen = names.iter().filter(|(uid, _)| !self.seen.iter().any(|seen| seen.pod.uid == **uid));
        faults.extend(unseen.map(|(uid, name)| format!("{name} ({uid}) ran, and no watch has shown it")));
        faults
    }

    /// Whether a pod has come to its end by itself, by its kubelet.
    fn completed(&self, uid: &str) -> bool {
        self.runs.iter().any(|run| matches!(run, Run::Ended(of, true) if of == uid))
    }
}
