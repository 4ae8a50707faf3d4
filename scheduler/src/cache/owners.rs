//! Which selector describes a pod's workload, for spreading pods that name no constraint of their own.
//!
//! Upstream asks listers of Services, ReplicationControllers, ReplicaSets and StatefulSets in every cycle; here those
//! objects are reduced to their selectors when they change.

use std::{collections::HashMap, sync::Arc};

use super::{labels::Selector, shape::PodShape};

/// The kinds looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OwnerKind {
    /// Every Service whose selector matches the pod counts.
    Service,
    /// The pod's controller counts.
    ReplicationController,
    /// Likewise.
    ReplicaSet,
    /// Likewise.
    StatefulSet,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Owners {
    services: HashMap<Arc<str>, HashMap<Arc<str>, Selector>>,
    controllers: HashMap<(OwnerKind, Arc<str>, Arc<str>), Selector>,
    /// Goes up with every change, so that what was worked out per shape can be kept.
    pub generation: u64,
}

impl Owners {
    /// Forgets a kind; a list of it follows.
    pub fn clear(&mut self, kind: OwnerKind) {
        self.generation += 1;
        if kind == OwnerKind::Service {
            self.services.clear();
        }
        self.controllers.retain(|(known, ..), _| *known != kind);
    }

    /// Sets or removes a selector.
    pub fn set(&mut self, kind: OwnerKind, namespace: Arc<str>, name: Arc<str>, selector: Option<Selector>) {
        self.generation += 1;
        match (kind, selector) {
            (OwnerKind::Service, Some(selector)) => {
                self.services.entry(namespace).or_default().insert(name, selector);
            }
            (OwnerKind::Service, None) => {
                if let Some(in_namespace) = self.services.get_mut(&namespace) {
                    in_namespace.remove(&name);
                    if in_namespace.is_empty() {
                        self.services.remove(&namespace);
                    }
                }
            }
            (kind, Some(selector)) => {
                self.controllers.insert((kind, namespace, name), selector);
            }
            (kind, None) => {
                self.controllers.remove(&(kind, namespace, name));
            }
        }
    }

    /// The selector of a pod's workload; one that selects everything when nothing is known (`helper.DefaultSelector`).
    pub fn default_selector(&self, shape: &PodShape) -> Selector {
        let mut selector = Selector::All(Box::default());
        for service in self.services.get(&shape.namespace).into_iter().flat_map(HashMap::values) {
            if service.matches(&shape.labels) {
                selector = selector.and(service);
            }
        }
        if let Some(owner) = &shape.owner {
            let kind = match &*owner.kind {
                "ReplicationController" => OwnerKind::ReplicationController,
                "ReplicaSet" => OwnerKind::ReplicaSet,
                "StatefulSet" => OwnerKind::StatefulSet,
                _ => return selector,
            };
            if let Some(own) = self.controllers.get(&(kind, shape.namespace.clone(), owner.name.clone())) {
                selector = selector.and(own);
            }
        }
        selector
    }
}
