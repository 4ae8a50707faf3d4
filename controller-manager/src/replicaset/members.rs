//! What a pass over a set needs to know of the set's pods, kept as they change.
//!
//! A pass mostly counts, and there is one for every change of a pod: reading the pods themselves would open all of them
//! (`docs/decisions/010`), and matching their labels anew each time takes most of a pass. So of each pod some dozens of bytes
//! are kept; pods of one template share their labels.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use client::Change;
use controller::controller_of;
use k8s_openapi::{
    api::core::v1::Pod,
    jiff::{SignedDuration, Timestamp},
};
use parking_lot::Mutex;

use crate::util::{
    key, pods,
    selector::{Labels, Selector},
    uid::Uid,
};

/// A pod, as far as it counts.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    labels: Arc<Labels>,
    finished: bool,
    terminating: bool,
    ready: bool,
    ready_since: Option<Timestamp>,
}

impl Member {
    pub(crate) fn of(pod: &Pod) -> Self {
        Self {
            labels: Arc::new(pod.metadata.labels.clone().unwrap_or_default()),
            finished: pods::is_finished(pod),
            terminating: pods::is_terminating(pod),
            ready: pods::is_ready(pod),
            ready_since: pods::ready_since(pod),
        }
    }

    /// As [`pods::is_active`].
    pub(crate) fn is_active(&self) -> bool {
        !self.finished && !self.terminating
    }

    /// On its way out, but not finished.
    pub(crate) fn is_leaving(&self) -> bool {
        self.terminating && !self.finished
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready
    }

    /// As [`pods::is_available`].
    pub(crate) fn is_available(&self, min_ready_seconds: i32, now: Timestamp) -> bool {
        self.ready && (min_ready_seconds == 0 || self.next_availability(min_ready_seconds, now) == Some(None))
    }

    /// As [`pods::next_availability`].
    pub(crate) fn next_availability(&self, min_ready_seconds: i32, now: Timestamp) -> Option<Option<SignedDuration>> {
        pods::availability(self.ready_since?, min_ready_seconds, now)
    }
}

/// Whether a selector matches members; siblings, which share their labels, are asked about once.
pub(crate) fn matching(selector: &Selector) -> impl FnMut(&Member) -> bool {
    let mut last: Option<(Arc<Labels>, bool)> = None;
    move |member| match &last {
        Some((labels, matches)) if Arc::ptr_eq(labels, &member.labels) => *matches,
        _ => {
            let matches = selector.matches(Some(&member.labels));
            last = Some((member.labels.clone(), matches));
            matches
        }
    }
}

#[derive(Default)]
struct State {
    /// By the UIDs of their controllers.
    of: HashMap<Uid, BTreeMap<Uid, Member>>,
    labels: HashSet<Arc<Labels>>,
    /// At how many labels those are dropped that no member has any more.
    swept_at: usize,
}

/// So many labels may be nobody's.
const UNUSED: usize = 64;

/// The pods of all sets of a kind.
pub(super) struct Members {
    /// Of the sets.
    kind: String,
    state: Mutex<State>,
}

impl Members {
    pub(super) fn new(kind: String) -> Self {
        Self { kind, state: Mutex::default() }
    }

    /// The informer of pods has changed; what is told here is counted from the next pass on.
    pub(super) fn note(&self, change: &Change<Pod>) {
        let (gone, there) = match change {
            Change::Added(pod) | Change::Deleted(pod) => (None, pod),
            Change::Updated { old, new } => (Some(old), new),
        };
        let owner = |pod: &Pod| {
            let owner = controller_of(&pod.metadata).filter(|owner| owner.kind == self.kind)?;
            Some((Uid::new(&owner.uid), Uid::new(key::uid(&pod.metadata))))
        };
        if let Change::Deleted(pod) = change {
            return self.state.lock().delete(owner(pod).map(|(owner, _)| owner), Uid::new(key::uid(&pod.metadata)));
        }
        let (was, is) = (gone.and_then(|pod| owner(pod)), owner(there));
        let mut state = self.state.lock();
        if let Some((owner, pod)) = was.filter(|was| is != Some(*was)) {
            state.remove(owner, pod);
        }
        if let Some((owner, pod)) = is {
            state.insert(owner, pod, Member::of(there));
        }
    }

    /// Whether a pod with that UID is one of a set's.
    pub(super) fn has(&self, set: &str, pod: &str) -> bool {
        self.state.lock().of.get(&Uid::new(set)).is_some_and(|members| members.contains_key(&Uid::new(pod)))
    }

    /// Those of the set with that UID.
    pub(super) fn of(&self, uid: &str) -> Vec<Member> {
        self.state.lock().of.get(&Uid::new(uid)).into_iter().flat_map(BTreeMap::values).cloned().collect()
    }
}

impl State {
    fn insert(&mut self, owner: Uid, pod: Uid, mut member: Member) {
        match self.labels.get(&member.labels) {
            Some(shared) => member.labels = shared.clone(),
            None => {
                if self.labels.len() >= self.swept_at {
                    self.labels.retain(|labels| Arc::strong_count(labels) > 1);
                    self.swept_at = 2 * self.labels.len() + UNUSED;
                }
                self.labels.insert(member.labels.clone());
            }
        }
        self.of.entry(owner).or_default().insert(pod, member);
    }

    /// True if it was there.
    fn remove(&mut self, owner: Uid, pod: Uid) -> bool {
        let Some(members) = self.of.get_mut(&owner) else { return false };
        let was = members.remove(&pod).is_some();
        if members.is_empty() {
            self.of.remove(&owner);
        }
        was
    }

    /// A pod is gone that at last had this owner. The write that ended it may have been the one that gave it another, which
    /// nobody was told: then it is with some set still.
    fn delete(&mut self, owner: Option<Uid>, pod: Uid) {
        if !owner.is_some_and(|owner| self.remove(owner, pod))
            && let Some(owner) = self.of.iter().find(|(_, members)| members.contains_key(&pod)).map(|(owner, _)| *owner)
        {
            self.remove(owner, pod);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, owner: (&str, &str), label: &str, phase: &str) -> Arc<Pod> {
        let (kind, uid) = owner;
        let owner = json!({"apiVersion": "apps/v1", "kind": kind, "name": "web", "uid": uid, "controller": true});
        let meta = json!({"name": name, "uid": name, "labels": {"app": label}, "ownerReferences": [owner]});
        Arc::new(serde_json::from_value(json!({"metadata": meta, "status": {"phase": phase}})).unwrap())
    }

    #[test]
    fn members_follow_their_pods_from_set_to_set_and_siblings_share_labels() {
        let members = Members::new("ReplicaSet".to_owned());
        let set = ("ReplicaSet", "s1");
        let a = pod("a", set, "web", "Running");
        members.note(&Change::Added(a.clone()));
        members.note(&Change::Added(a.clone()));
        members.note(&Change::Added(pod("b", set, "web", "Pending")));
        members.note(&Change::Added(pod("c", set, "db", "Failed")));
        members.note(&Change::Added(pod("d", ("Job", "s1"), "web", "Running")));
        let count = |uid: &str| members.of(uid).len();
        assert_eq!((count("s1"), members.of("s1").iter().filter(|m| m.is_active()).count()), (3, 2));
        assert!(members.has("s1", "a") && !members.has("s1", "d") && !members.has("s2", "a"));
        assert_eq!(members.state.lock().labels.len(), 2);
        let selector = Selector::of_labels([("app".to_owned(), "web".to_owned())].into());
        let mut matches = matching(&selector);
        assert_eq!(members.of("s1").iter().filter(|m| matches(m)).count(), 2);

        let moved = pod("a", ("ReplicaSet", "s2"), "web", "Running");
        members.note(&Change::Updated { old: a, new: moved.clone() });
        assert_eq!((count("s1"), count("s2")), (2, 1));
        let other = pod("a", ("StatefulSet", "s2"), "web", "Running");
        members.note(&Change::Deleted(other.clone()));
        assert_eq!(count("s2"), 0, "it had another owner when it went");
        members.note(&Change::Added(moved.clone()));
        members.note(&Change::Updated { old: moved, new: other.clone() });
        assert_eq!(count("s2"), 0);
        members.note(&Change::Deleted(pod("b", set, "web", "Running")));
        members.note(&Change::Deleted(pod("c", set, "db", "Running")));
        assert!(members.state.lock().of.is_empty());
        for n in 0..10 * UNUSED {
            let pod = pod("e", set, &n.to_string(), "Running");
            members.note(&Change::Added(pod.clone()));
            members.note(&Change::Deleted(pod));
        }
        assert!(members.state.lock().labels.len() <= 2 * UNUSED, "labels that nobody has are dropped");
    }
}
