//! The decisions: the slices that say what Endpoints say.
//!
//! A subset of Endpoints is one slice for each address family, so that which is whose is plain.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use controller::controller_ref;
use k8s_openapi::{
    api::{
        core::v1::{EndpointAddress, EndpointSubset, Endpoints},
        discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use machinery::names::parse_ip_sloppy;

use super::MANAGER;
use crate::util::{
    key,
    selector::Labels,
    slices::{Identity, MANAGED_BY, Ports, SERVICE_LABEL, Writes, identity, ports_key, same},
    subsets::Repacked,
};

/// Annotations that say something of the Endpoints alone.
const NOT_COPIED: [&str; 2] =
    ["endpoints.kubernetes.io/last-change-trigger-time", "kubectl.kubernetes.io/last-applied-configuration"];

/// What to write, and what could not be mirrored.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) writes: Writes,
    /// Addresses that are none.
    pub(crate) invalid: usize,
    /// Addresses that were left out, for that reason or because a subset has too many.
    pub(crate) skipped: usize,
}

/// The slices of one family and one list of ports.
#[derive(Default)]
struct Group {
    ports: Vec<EndpointPort>,
    wanted: BTreeMap<Identity, Endpoint>,
    existing: Vec<Arc<EndpointSlice>>,
}

/// Decides; at most `max` addresses of a subset are mirrored.
pub(crate) fn sync(endpoints: &Endpoints, existing: &[Arc<EndpointSlice>], max: usize) -> Plan {
    let mut plan = Plan::default();
    let mut groups: BTreeMap<(&str, Ports), Group> = BTreeMap::new();
    for slice in existing {
        let family = if slice.address_type == "IPv6" { "IPv6" } else { "IPv4" };
        groups.entry((family, ports_key(slice.ports.as_ref()))).or_default().existing.push(slice.clone());
    }
    for subset in repacked(endpoints) {
        let ports: Vec<EndpointPort> = subset.ports.iter().flatten().map(port).collect();
        let ready = subset.addresses.iter().flatten().map(|a| (a, true));
        let unready = subset.not_ready_addresses.iter().flatten().map(|a| (a, false));
        let mut added = 0;
        for (address, ready) in ready.chain(unready) {
            if added == max {
                plan.skipped += 1;
                continue;
            }
            let Some((family, endpoint)) = endpoint(address, ready) else {
                plan.invalid += 1;
                plan.skipped += 1;
                continue;
            };
            let group = groups.entry((family, ports_key(Some(&ports)))).or_default();
            group.ports.clone_from(&ports);
            group.wanted.insert(identity(&endpoint), endpoint);
            added += 1;
        }
    }
    for ((family, _), group) in groups {
        decide(endpoints, family, group, max, &mut plan.writes);
    }
    recycle(&mut plan.writes);
    if endpoints.metadata.deletion_timestamp.is_some() {
        plan.writes.create.clear();
    }
    plan
}

fn repacked(endpoints: &Endpoints) -> Vec<EndpointSubset> {
    let mut repacked = Repacked::default();
    for subset in endpoints.subsets.iter().flatten() {
        let ready = subset.addresses.iter().flatten().map(|a| (a, true));
        let unready = subset.not_ready_addresses.iter().flatten().map(|a| (a, false));
        for (address, ready) in ready.chain(unready) {
            let ports = subset.ports.iter().flatten();
            let mut ports: Vec<_> =
                ports.map(|p| Some((p.port, p.name.clone(), p.protocol.clone(), p.app_protocol.clone()))).collect();
            if ports.is_empty() {
                ports.push(None);
            }
            ports.into_iter().for_each(|port| repacked.add(port, address, ready));
        }
    }
    repacked.subsets()
}

fn port(p: &k8s_openapi::api::core::v1::EndpointPort) -> EndpointPort {
    EndpointPort {
        name: Some(p.name.clone().unwrap_or_default()),
        port: Some(p.port),
        protocol: Some(p.protocol.clone().unwrap_or_else(|| "TCP".into())),
        app_protocol: p.app_protocol.clone(),
    }
}

/// An address with its family, in the form of a slice; none if it is no IP.
fn endpoint(address: &EndpointAddress, ready: bool) -> Option<(&'static str, Endpoint)> {
    let ip = parse_ip_sloppy(&address.ip)?;
    let endpoint = Endpoint {
        addresses: vec![ip.to_string()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..Default::default() }),
        target_ref: address.target_ref.clone(),
        node_name: address.node_name.clone(),
        hostname: address.hostname.clone().filter(|h| !h.is_empty()),
        ..Default::default()
    };
    Some((if matches!(ip, IpAddr::V4(_)) { "IPv4" } else { "IPv6" }, endpoint))
}

fn decide(endpoints: &Endpoints, family: &str, mut group: Group, max: usize, writes: &mut Writes) {
    let delete = |slices: &[Arc<EndpointSlice>]| slices.iter().map(|s| (**s).clone()).collect::<Vec<_>>();
    if group.wanted.is_empty() {
        writes.delete.extend(delete(&group.existing));
        return;
    }
    let first = group.existing.first().cloned();
    writes.delete.extend(delete(group.existing.get(1..).unwrap_or_default()));
    if first.as_ref().is_some_and(|slice| is_right(slice, endpoints, &group.wanted)) {
        return;
    }
    let mut slice = new_slice(endpoints, family, std::mem::take(&mut group.ports));
    slice.endpoints = group.wanted.into_values().take(max).collect::<Vec<_>>().into();
    match first {
        Some(first) => {
            slice.metadata.name.clone_from(&first.metadata.name);
            slice.metadata.generate_name = None;
            writes.update.push(slice);
        }
        None => writes.create.push(slice),
    }
}

/// Whether a slice says what is wanted, and is labelled, annotated and owned so.
fn is_right(slice: &EndpointSlice, endpoints: &Endpoints, wanted: &BTreeMap<Identity, Endpoint>) -> bool {
    let has = slice.endpoints.as_deref().unwrap_or_default();
    let meta = &slice.metadata;
    let stranger = |o: &k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference| {
        let named = o.kind == "Endpoints" && Some(&o.name) == endpoints.metadata.name.as_ref();
        named && Some(&o.uid) != endpoints.metadata.uid.as_ref()
    };
    has.len() == wanted.len()
        && has.iter().all(|e| wanted.get(&identity(e)).is_some_and(|w| same(w, e)))
        && meta.labels.clone().unwrap_or_default() == labels(endpoints)
        && meta.annotations.clone().unwrap_or_default() == annotations(endpoints)
        && !meta.owner_references.iter().flatten().any(stranger)
}

fn labels(endpoints: &Endpoints) -> Labels {
    let mut labels = endpoints.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_LABEL.into(), key::name(&endpoints.metadata).into());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    labels
}

fn annotations(endpoints: &Endpoints) -> Labels {
    let mut annotations = endpoints.metadata.annotations.clone().unwrap_or_default();
    annotations.retain(|name, _| !NOT_COPIED.contains(&name.as_str()));
    annotations
}

fn new_slice(endpoints: &Endpoints, family: &str, ports: Vec<EndpointPort>) -> EndpointSlice {
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", key::name(&endpoints.metadata))),
            namespace: endpoints.metadata.namespace.clone(),
            labels: Some(labels(endpoints)),
            annotations: Some(annotations(endpoints)).filter(|a| !a.is_empty()),
            owner_references: Some(vec![controller_ref(endpoints)]),
            ..Default::default()
        },
        address_type: family.into(),
        endpoints: Some(vec![]),
        ports: Some(ports),
    }
}

/// A slice to go and one of its family to come are one write.
fn recycle(writes: &mut Writes) {
    for mut slice in std::mem::take(&mut writes.create) {
        match writes.delete.iter().position(|gone| gone.address_type == slice.address_type) {
            None => writes.create.push(slice),
            Some(i) => {
                slice.metadata.name = writes.delete.remove(i).metadata.name;
                slice.metadata.generate_name = None;
                writes.update.push(slice);
            }
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
