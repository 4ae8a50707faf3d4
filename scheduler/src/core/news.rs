//! What the informers report: pods, nodes, and what the volume plugins look at.

use std::{sync::Arc, time::Instant};

use k8s_openapi::api::core::v1::{Node as ApiNode, Pod as ApiPod};

use super::Core;
use crate::{
    cache::{pod::PodInfo, volumes::Stored},
    framework::events::{Action, Change, Event, HintContext, node_events, pod_events},
};

impl Core {
    /// A pod was added or changed.
    pub fn pod_changed(&mut self, pod: &ApiPod, now: Instant) {
        let pod = self.cache.read_pod(pod);
        if pod.finished {
            // It holds nothing any more, wherever it is.
            self.pod_deleted(&pod.uid, now);
        } else if pod.is_assigned() {
            self.assigned(pod, now);
        } else if let Some(&profile) = self.by_name.get(&pod.scheduler_name) {
            self.pending(pod, profile, now);
        }
    }

    fn assigned(&mut self, pod: Arc<PodInfo>, now: Instant) {
        self.held.remove(&pod.uid);
        self.queue.delete(&pod.uid);
        self.cache.clear_nomination(&pod.uid);
        match self.cache.set_pod(pod.clone()) {
            Some((old, false)) => {
                for event in pod_events(&old, &pod) {
                    self.wake(&event, now, &|_| true);
                }
            }
            Some((_, true)) | None => self.wake(&Event::pod_added(pod), now, &|_| true),
        }
    }

    fn pending(&mut self, pod: Arc<PodInfo>, profile: usize, now: Instant) {
        if self.binding.contains_key(&pod.uid) {
            // It has a node in our eyes; only its deletion matters, for it frees what it was given.
            if pod.terminating
                && let Some(gone) = self.cache.forget(&pod.uid)
            {
                self.wake(&Event::pod_deleted(gone), now, &|_| true);
            }
            if let Some(binding) = self.binding.get_mut(&pod.uid) {
                binding.queued.pod = pod;
            }
            return;
        }
        if self.cache.pod(&pod.uid).is_some() {
            // Its binding is written: this is older news, and the pod must not be tried again.
            return;
        }
        if let Some(held) = self.held.get_mut(&pod.uid) {
            held.queued.pod = pod;
            return;
        }
        let Some(old) = self.queue.get(&pod.uid).cloned() else {
            self.cache.nominate(&pod, &pod.nominated_node);
            self.queue.add(pod, profile, now);
            return;
        };
        if old.resource_version == pod.resource_version {
            return;
        }
        let events = pod_events(&old, &pod);
        let context = HintContext { snapshot: self.cache.snapshot() };
        self.queue.update(&pod, &events, &context, now);
        if old.nominated_node != pod.nominated_node {
            self.cache.nominate(&pod, &pod.nominated_node);
            if !old.nominated_node.is_empty() {
                let priority = old.priority;
                self.wake(&Event::pod_deleted(old), now, &|other| other.priority <= priority);
            }
        }
    }

    /// The uids of all pods known, but for those whose fate is under way: what a list does not show is gone.
    pub fn known_pods(&self) -> Vec<Arc<str>> {
        let waiting = self.queue.uids().chain(self.held.keys()).chain(self.cache.nominated());
        self.cache.confirmed().chain(waiting).cloned().collect()
    }

    /// A pod is gone.
    pub fn pod_deleted(&mut self, uid: &str, now: Instant) {
        if let Some(binding) = self.binding.remove(uid) {
            binding.under_way.cancel("pod does not exist any more");
        }
        let nominated = self.cache.clear_nomination(uid);
        let held = self.held.remove(uid).map(|held| held.queued.pod);
        let waited = self.queue.delete(uid).or(held).or(nominated);
        if let Some(pod) = waited.filter(|pod| !pod.nominated_node.is_empty()) {
            let priority = pod.priority;
            self.wake(&Event::pod_deleted(pod), now, &|other| other.priority <= priority);
        }
        if let Some(pod) = self.cache.remove_pod(uid) {
            self.wake(&Event::pod_deleted(pod), now, &|_| true);
        }
    }

    /// A node was added or changed.
    pub fn node_changed(&mut self, node: &ApiNode, now: Instant) {
        let new = self.cache.read_node(node);
        match self.cache.set_node(new.clone()) {
            None => {
                let change = Change::Node { old: None, new: Some(new) };
                self.wake(&Event { action: Action::NODE_ADD, change }, now, &|_| true);
            }
            Some(old) => {
                for event in node_events(&old, &new) {
                    self.wake(&event, now, &|_| true);
                }
            }
        }
    }

    /// A node is gone.
    pub fn node_deleted(&mut self, name: &str, now: Instant) {
        for binding in self.binding.values().filter(|binding| &*binding.under_way.node_name == name) {
            binding.under_way.cancel(format!("failed to get node {name:?}: node {name:?} not found"));
        }
        if let Some(old) = self.cache.remove_node(name) {
            let change = Change::Node { old: Some(old), new: None };
            self.wake(&Event { action: Action::NODE_DELETE, change }, now, &|_| true);
        }
    }

    /// A claim, a volume or something else that the volume plugins look at came, changed or (`None`) went.
    pub fn stored<K: Stored>(&mut self, key: &str, object: Option<K>, now: Instant) {
        let (old, new) = self.cache.snapshot().volumes.show::<K>(key, object);
        if let Some(event) = K::event(old, new) {
            self.wake(&event, now, &|_| true);
        }
    }
}
