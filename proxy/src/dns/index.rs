//! Services and endpoints by the keys that questions have: name, and address.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use client::Change;
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

use crate::model::SERVICE_NAME_LABEL;

type Key = (String, String);

/// What the DNS knows of the cluster.
#[derive(Default)]
pub struct Index {
    /// `None`: not known (yet).
    namespaces: Option<HashSet<String>>,
    services: HashMap<String, BTreeMap<String, Arc<Service>>>,
    slices: HashMap<Key, BTreeMap<String, Arc<EndpointSlice>>>,
    cluster_ips: HashMap<IpAddr, Key>,
    /// Services with an endpoint at an address, and in how many slices.
    endpoint_ips: HashMap<IpAddr, BTreeMap<Key, u32>>,
}

impl Index {
    /// From now on it is told of all namespaces.
    pub fn know_namespaces(&mut self) {
        self.namespaces.get_or_insert_default();
    }

    /// Takes in a change of a namespace.
    pub fn namespace(&mut self, change: &Change<Namespace>) {
        let name = change.object().metadata.name.clone().unwrap_or_default();
        let Some(all) = &mut self.namespaces else { return };
        match change {
            Change::Deleted(_) => all.remove(&name),
            Change::Added(_) | Change::Updated { .. } => all.insert(name),
        };
    }

    /// Takes in a change of a Service.
    pub fn service(&mut self, change: &Change<Service>) {
        let (old, new) = parts(change);
        if let Some(old) = old {
            let (namespace, name) = names(&old.metadata);
            for ip in cluster_ips(old) {
                self.cluster_ips.remove(&ip);
            }
            if let Some(of_namespace) = self.services.get_mut(&namespace) {
                of_namespace.remove(&name);
                if of_namespace.is_empty() {
                    self.services.remove(&namespace);
                }
            }
        }
        if let Some(new) = new {
            let (namespace, name) = names(&new.metadata);
            for ip in cluster_ips(new) {
                self.cluster_ips.insert(ip, (namespace.clone(), name.clone()));
            }
            self.services.entry(namespace).or_default().insert(name, new.clone());
        }
    }

    /// Takes in a change of an EndpointSlice.
    pub fn slice(&mut self, change: &Change<EndpointSlice>) {
        let (old, new) = parts(change);
        if let Some((old, key)) = old.and_then(|old| Some((old, service_key(old)?))) {
            if let Some(slices) = self.slices.get_mut(&key) {
                slices.remove(&names(&old.metadata).1);
                if slices.is_empty() {
                    self.slices.remove(&key);
                }
            }
            for ip in endpoint_ips(old) {
                if let Some(services) = self.endpoint_ips.get_mut(&ip) {
                    if let Some(count) = services.get_mut(&key) {
                        *count -= 1;
                        if *count == 0 {
                            services.remove(&key);
                        }
                    }
                    if services.is_empty() {
                        self.endpoint_ips.remove(&ip);
                    }
                }
            }
        }
        if let Some((new, key)) = new.and_then(|new| Some((new, service_key(new)?))) {
            for ip in endpoint_ips(new) {
                *self.endpoint_ips.entry(ip).or_default().entry(key.clone()).or_default() += 1;
            }
            self.slices.entry(key).or_default().insert(names(&new.metadata).1, new.clone());
        }
    }

    /// Whether there is a namespace; as long as that is not known, whether it has any Service.
    pub(super) fn has_namespace(&self, namespace: &str) -> bool {
        self.namespaces.as_ref().map_or_else(|| self.services.contains_key(namespace), |all| all.contains(namespace))
    }

    /// Whether there may be pods in it.
    pub(super) fn may_have_pods(&self, namespace: &str) -> bool {
        self.namespaces.as_ref().is_none_or(|all| all.contains(namespace))
    }

    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<&Arc<Service>> {
        self.services.get(namespace)?.get(name)
    }

    /// The ready endpoints of a Service, each with its slice.
    pub(super) fn endpoints(&self, namespace: &str, name: &str) -> impl Iterator<Item = (&EndpointSlice, &Endpoint)> {
        let slices = self.slices.get(&(namespace.to_owned(), name.to_owned())).into_iter().flat_map(BTreeMap::values);
        slices.flat_map(|slice| {
            let ready = |endpoint: &&Endpoint| endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true);
            slice.endpoints.iter().flatten().filter(ready).map(|endpoint| (&**slice, endpoint))
        })
    }

    pub(super) fn by_cluster_ip(&self, ip: &IpAddr) -> Option<&Key> {
        self.cluster_ips.get(ip)
    }

    pub(super) fn by_endpoint_ip(&self, ip: &IpAddr) -> impl Iterator<Item = &Key> {
        self.endpoint_ips.get(ip).into_iter().flat_map(BTreeMap::keys)
    }
}

fn parts<K>(change: &Change<K>) -> (Option<&Arc<K>>, Option<&Arc<K>>) {
    match change {
        Change::Added(new) => (None, Some(new)),
        Change::Updated { old, new } => (Some(old), Some(new)),
        Change::Deleted(old) => (Some(old), None),
    }
}

fn names(meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> Key {
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

/// Unlike the proxy, the DNS wants the slices of headless Services above all.
fn service_key(slice: &EndpointSlice) -> Option<Key> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME_LABEL)?;
    Some((slice.metadata.namespace.clone()?, name.clone()))
}

/// A Service's cluster IPs; none if it is headless.
pub(super) fn cluster_ips(service: &Service) -> Vec<IpAddr> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let mut ips: Vec<IpAddr> =
        spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip).filter_map(|ip| ip.parse().ok()).collect();
    ips.sort();
    ips.dedup();
    ips
}

fn endpoint_ips(slice: &EndpointSlice) -> impl Iterator<Item = IpAddr> {
    slice.endpoints.iter().flatten().filter_map(|endpoint| endpoint.addresses.first()?.parse().ok())
}
