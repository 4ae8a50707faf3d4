//! The seam between informers, which tell in their own time, and the agent, which asks when it is ready: what is known, and
//! what of it has changed.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use client::{Change, Informer};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::compile::Compiler;
use crate::facts::Facts;
use crate::model::{self, Key};

#[derive(Default)]
struct State {
    facts: Facts,
    changed: Changed,
}

/// What changed.
#[derive(Debug, Default)]
pub struct Changed {
    addresses: BTreeSet<IpAddr>,
    namespaces: BTreeSet<String>,
    policies: BTreeSet<Key>,
    others: bool,
}

impl Changed {
    /// Nothing did.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.namespaces.is_empty() && self.policies.is_empty() && !self.others
    }

    /// Tells a compiler.
    pub fn tell(&self, facts: &Facts, compiler: &mut Compiler) {
        if self.others {
            compiler.dns(facts.dns_endpoints());
            compiler.ranges(&facts.ranges);
        }
        self.namespaces.iter().for_each(|name| compiler.namespace(name, facts.namespaces.get(name).cloned()));
        self.addresses.iter().for_each(|ip| compiler.address(*ip, facts.owner(*ip).cloned()));
        self.policies.iter().for_each(|key| compiler.policy(key, facts.policies.get(key).cloned()));
    }
}

/// See the module.
#[derive(Default)]
pub struct Tracker {
    state: Mutex<State>,
    wake: Notify,
}

fn key(meta: &ObjectMeta) -> Key {
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

/// The state now, if it is there.
fn there<K>(change: &Change<K>) -> Option<&Arc<K>> {
    match change {
        Change::Deleted(_) => None,
        there => Some(there.object()),
    }
}

impl Tracker {
    /// Listens to pods; `node` is this one's name.
    pub fn pods(self: &Arc<Self>, informer: &Informer<Pod>, node: String) {
        let tracker = self.clone();
        informer.on_change(move |change| {
            let pod = there(change).and_then(|pod| model::pod(pod, &node));
            tracker.change(|state| {
                let changed = state.facts.pod(&key(&change.object().metadata), pod);
                state.changed.addresses.extend(changed);
            });
        });
    }

    /// Listens to namespaces.
    pub fn namespaces(self: &Arc<Self>, informer: &Informer<Namespace>) {
        let tracker = self.clone();
        informer.on_change(move |change| {
            let (_, name) = key(&change.object().metadata);
            let labels = there(change).map(|namespace| namespace.metadata.labels.clone().unwrap_or_default());
            tracker.change(|state| {
                if state.facts.namespaces.get(&name).map(Arc::as_ref) == labels.as_ref() {
                    return;
                }
                match labels {
                    Some(labels) => state.facts.namespaces.insert(name.clone(), Arc::new(labels)),
                    None => state.facts.namespaces.remove(&name),
                };
                state.changed.namespaces.insert(name);
            });
        });
    }

    /// Listens to policies.
    pub fn policies(self: &Arc<Self>, informer: &Informer<NetworkPolicy>) {
        let tracker = self.clone();
        informer.on_change(move |change| {
            let key = key(&change.object().metadata);
            let policy = there(change).map(|policy| model::policy(policy));
            tracker.change(|state| {
                if state.facts.policies.get(&key).map(Arc::as_ref) == policy.as_ref() {
                    return;
                }
                match policy {
                    Some(policy) => state.facts.policies.insert(key.clone(), Arc::new(policy)),
                    None => state.facts.policies.remove(&key),
                };
                state.changed.policies.insert(key);
            });
        });
    }

    /// Listens to the slices of the DNS's Service.
    pub fn dns(self: &Arc<Self>, informer: &Informer<EndpointSlice>) {
        let tracker = self.clone();
        informer.on_change(move |change| {
            let (_, name) = key(&change.object().metadata);
            let endpoints = there(change).map(|slice| model::dns_endpoints(slice));
            tracker.change(|state| {
                let before = match endpoints.clone() {
                    Some(endpoints) => state.facts.dns.insert(name, endpoints),
                    None => state.facts.dns.remove(&name),
                };
                state.changed.others |= before != endpoints;
            });
        });
    }

    /// Listens to this node.
    pub fn node(self: &Arc<Self>, informer: &Informer<Node>) {
        let tracker = self.clone();
        informer.on_change(move |change| {
            let spec = there(change).and_then(|node| node.spec.as_ref());
            let listed = spec.and_then(|spec| spec.pod_cidrs.as_ref()).into_iter().flatten();
            let all: BTreeSet<IpNet> = listed
                .chain(spec.and_then(|spec| spec.pod_cidr.as_ref()))
                .filter_map(|range| range.parse().ok())
                .collect();
            let ranges: Vec<IpNet> = all.into_iter().collect();
            tracker.change(|state| {
                state.changed.others |= state.facts.ranges != ranges;
                state.facts.ranges = ranges;
            });
        });
    }

    /// Has `change` change the state, and wakes who waits if it did.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        let was_empty = state.changed.is_empty();
        change(&mut state);
        let wakes = was_empty && !state.changed.is_empty();
        drop(state);
        if wakes {
            self.wake.notify_one();
        }
    }

    /// Returns when something has changed; maybe once too often.
    pub async fn changed(&self) {
        self.wake.notified().await;
    }

    /// Whether something waits to be taken.
    pub fn is_dirty(&self) -> bool {
        !self.state.lock().changed.is_empty()
    }

    /// Has `look` see what is known, and what of it has changed since this was last done.
    pub fn take<T>(&self, look: impl FnOnce(&Facts, &Changed) -> T) -> T {
        let mut state = self.state.lock();
        let changed = std::mem::take(&mut state.changed);
        look(&state.facts, &changed)
    }

    /// What is known.
    pub fn facts(&self) -> impl std::ops::Deref<Target = Facts> + '_ {
        MutexGuard::map(self.state.lock(), |state| &mut state.facts)
    }
}
