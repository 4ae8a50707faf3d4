//! The decisions: which slices a Service should have, with the fewest writes from those that it has.
//!
//! Endpoints stay in the slice that they are in. New ones go where something changes anyway, then into the unchanged
//! slice that they fill best, then into new slices.

use std::{collections::BTreeMap, sync::Arc};

use controller::controller_ref;
use k8s_openapi::{
    api::{
        core::v1::{Node, ObjectReference, Pod, Service},
        discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::{
    MANAGER,
    hints::{self, Distribution},
    topology::{self, Outcome, Zones},
};
use crate::util::{
    key, pods,
    selector::Labels,
    services,
    slices::{Identity, MANAGED_BY, Ports, SERVICE_LABEL, Writes, identity, ports_key, same},
};

/// What to write.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) writes: Writes,
    /// What could not be decided now, and is worth another try.
    pub(crate) problems: Vec<String>,
    /// What became of the hints of each address family.
    pub(super) hints: Vec<(&'static str, Outcome)>,
}

/// The zone that a node is in.
pub(crate) fn zone(node: &Node) -> Option<&String> {
    node.metadata.labels.as_ref()?.get("topology.kubernetes.io/zone").filter(|z| !z.is_empty())
}

/// Decides for all address families of the Service.
pub(super) fn sync(
    service: &Service,
    pods: &[Arc<Pod>],
    node: impl Fn(&str) -> Option<Arc<Node>>,
    existing: &[Arc<EndpointSlice>],
    max: usize,
    zones: &Zones,
) -> Plan {
    let mut plan = Plan::default();
    let families = families(service);
    let unwanted = existing.iter().filter(|s| !families.contains(&s.address_type.as_str()));
    plan.writes.delete.extend(unwanted.map(|s| (**s).clone()));
    for family in families {
        let existing: Vec<_> = existing.iter().filter(|s| s.address_type == family).cloned().collect();
        sync_family((service, pods, zones), &node, &existing, family, max, &mut plan);
    }
    plan
}

fn families(service: &Service) -> Vec<&'static str> {
    let spec = service.spec.as_ref();
    let named = spec.and_then(|s| s.ip_families.as_ref()).into_iter().flatten();
    let mut families: Vec<_> = named.map(|f| if f == "IPv6" { "IPv6" } else { "IPv4" }).collect();
    families.sort_unstable();
    families.dedup();
    if families.is_empty() {
        let ip = spec.and_then(|s| s.cluster_ip.as_deref()).unwrap_or_default();
        families = match services::has_cluster_ip(service) {
            true if ip.contains(':') => vec!["IPv6"],
            true => vec!["IPv4"],
            false => vec!["IPv4", "IPv6"],
        };
    }
    families
}

fn sync_family(
    (service, pods, zones): (&Service, &[Arc<Pod>], &Zones),
    node: &impl Fn(&str) -> Option<Arc<Node>>,
    existing: &[Arc<EndpointSlice>],
    family: &'static str,
    max: usize,
    plan: &mut Plan,
) {
    let (owned, strange): (Vec<_>, Vec<_>) = existing.iter().partition(|s| owned_by(s, service));
    let mut delete: Vec<EndpointSlice> = strange.into_iter().map(|s| (**s).clone()).collect();
    let (mut create, mut update) = (vec![], vec![]);
    let mut by_ports: BTreeMap<Ports, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in owned {
        by_ports.entry(ports_key(slice.ports.as_ref())).or_default().push(slice.clone());
    }
    let mut wanted: BTreeMap<Ports, (Vec<EndpointPort>, BTreeMap<Identity, Endpoint>)> = BTreeMap::new();
    for pod in pods.iter().filter(|p| services::eligible(p, true)) {
        let node_name = pods::node_name(pod);
        let found = node(node_name);
        if found.is_none() && !services::publishes_not_ready(service) {
            let (ns, name) = (key::namespace(&service.metadata), key::name(&service.metadata));
            let pod = key::name(&pod.metadata);
            plan.problems.push(format!("skipping Pod {pod} for Service {ns}/{name}: Node {node_name} Not Found"));
            continue;
        }
        let ports = endpoint_ports(service, pod);
        let group = wanted.entry(ports_key(Some(&ports))).or_insert_with(|| (ports, BTreeMap::new()));
        if let Some(e) = endpoint(service, pod, found.as_deref(), family) {
            group.1.insert(identity(&e), e);
        }
    }
    for (key, (ports, endpoints)) in wanted {
        let slices = by_ports.remove(&key).unwrap_or_default();
        fill(service, family, ports, endpoints, slices, max, (&mut create, &mut update, &mut delete));
    }
    delete.extend(by_ports.into_values().flatten().map(|s| (*s).clone()));
    // A Service always has a slice: its absence means "not looked at yet".
    if delete.len() == existing.len() && create.is_empty() {
        let placeholder = new_slice(service, family, vec![]);
        let is_placeholder = |s: &EndpointSlice| {
            let empty = s.endpoints.iter().flatten().count() + s.ports.iter().flatten().count() == 0;
            empty && s.metadata.labels == placeholder.metadata.labels && owned_by(s, service)
        };
        if delete.len() == 1 && is_placeholder(&delete[0]) {
            delete.clear();
        } else {
            create.push(placeholder);
        }
    }
    let touched = |s: &Arc<EndpointSlice>| {
        let same = |t: &EndpointSlice| t.metadata.name == s.metadata.name;
        update.iter().any(same) || delete.iter().any(same)
    };
    let mut unchanged: Vec<_> = existing.iter().filter(|s| !touched(s)).cloned().collect();
    let by_topology = topology::is_wanted(service);
    let outcome = match by_topology.then(|| zones.hint(&mut create, &mut update, &mut unchanged)) {
        Some(Ok(hinted)) => Outcome::Hinted(hinted),
        other => {
            let distribution = if by_topology { Distribution::Anywhere } else { hints::distribution(service) };
            create.iter_mut().chain(update.iter_mut()).for_each(|s| {
                hints::set(s, distribution);
            });
            for slice in unchanged {
                let mut slice = (*slice).clone();
                if hints::set(&mut slice, distribution) {
                    update.push(slice);
                }
            }
            other.and_then(Result::err).map_or(Outcome::Unwanted, Outcome::Impossible)
        }
    };
    plan.hints.push((family, outcome));
    // A slice to go and one to come are one write.
    let mut i = 0;
    while i < delete.len() && !create.is_empty() {
        if owned_by(&delete[i], service)
            && let Some(mut slice) = create.pop()
        {
            let old = delete.remove(i);
            slice.metadata.name = old.metadata.name;
            slice.metadata.generate_name = old.metadata.generate_name;
            update.push(slice);
        } else {
            i += 1;
        }
    }
    plan.writes.create.append(&mut create);
    plan.writes.update.append(&mut update);
    plan.writes.delete.append(&mut delete);
}

/// Puts the wanted endpoints of one ports list into slices.
fn fill(
    service: &Service,
    family: &str,
    ports: Vec<EndpointPort>,
    mut wanted: BTreeMap<Identity, Endpoint>,
    slices: Vec<Arc<EndpointSlice>>,
    max: usize,
    (create, update, delete): (&mut Vec<EndpointSlice>, &mut Vec<EndpointSlice>, &mut Vec<EndpointSlice>),
) {
    let (mut changed, mut unchanged) = (vec![], vec![]);
    for slice in slices {
        let mut kept = vec![];
        let mut differs = false;
        let before = slice.endpoints.as_deref().unwrap_or_default();
        for old in before {
            if let Some(new) = wanted.remove(&identity(old)) {
                differs |= !same(&new, old);
                kept.push(new);
            }
        }
        let labels = labels(service);
        let lost = kept.len() != before.len();
        if lost && kept.is_empty() {
            delete.push((*slice).clone());
        } else if differs || lost || slice.metadata.labels.as_ref() != Some(&labels) {
            let mut slice = (*slice).clone();
            slice.endpoints = Some(kept);
            slice.metadata.labels = Some(labels);
            changed.push(slice);
        } else {
            unchanged.push((*slice).clone());
        }
    }
    let len = |s: &EndpointSlice| s.endpoints.as_ref().map_or(0, Vec::len);
    let top_up = |slice: &mut EndpointSlice, wanted: &mut BTreeMap<Identity, Endpoint>| {
        let endpoints = slice.endpoints.get_or_insert_default();
        while endpoints.len() < max
            && let Some((_, e)) = wanted.pop_first()
        {
            endpoints.push(e);
        }
    };
    changed.sort_by_key(|s| std::cmp::Reverse(len(s)));
    changed.iter_mut().for_each(|slice| top_up(slice, &mut wanted));
    while !wanted.is_empty() {
        let room = |s: &EndpointSlice| max.checked_sub(len(s) + wanted.len()).filter(|left| *left < max);
        let fits = unchanged.iter().enumerate().filter_map(|(i, s)| room(s).map(|left| (left, i))).min();
        match fits.filter(|_| wanted.len() < max) {
            Some((_, i)) => {
                let mut slice = unchanged.swap_remove(i);
                top_up(&mut slice, &mut wanted);
                changed.push(slice);
            }
            None => {
                let mut slice = new_slice(service, family, ports.clone());
                top_up(&mut slice, &mut wanted);
                create.push(slice);
            }
        }
    }
    update.append(&mut changed);
}

fn owned_by(slice: &EndpointSlice, service: &Service) -> bool {
    let owners = slice.metadata.owner_references.iter().flatten();
    owners
        .into_iter()
        .any(|o| Some(&o.uid) == service.metadata.uid.as_ref() && o.kind == "Service" && o.api_version == "v1")
}

fn labels(service: &Service) -> Labels {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    if services::has_cluster_ip(service) {
        labels.remove(services::HEADLESS);
    } else {
        labels.insert(services::HEADLESS.into(), String::new());
    }
    labels.insert(SERVICE_LABEL.into(), key::name(&service.metadata).into());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    labels
}

fn new_slice(service: &Service, family: &str, ports: Vec<EndpointPort>) -> EndpointSlice {
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", key::name(&service.metadata))),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels(service)),
            owner_references: Some(vec![controller_ref(service)]),
            ..Default::default()
        },
        address_type: family.into(),
        endpoints: Some(vec![]),
        ports: Some(ports),
    }
}

fn endpoint_ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let port = |p: &k8s_openapi::api::core::v1::ServicePort| {
        Some(EndpointPort {
            name: Some(p.name.clone().unwrap_or_default()),
            port: Some(services::find_port(pod, p)?),
            protocol: Some(p.protocol.clone().unwrap_or_else(|| "TCP".into())),
            app_protocol: p.app_protocol.clone(),
        })
    };
    services::ports(service).iter().filter_map(port).collect()
}

fn endpoint(service: &Service, pod: &Pod, node: Option<&Node>, family: &str) -> Option<Endpoint> {
    let ips = services::ips(pod);
    let addresses: Vec<_> =
        ips.iter().filter(|ip| ip.is_ipv6() == (family == "IPv6")).map(ToString::to_string).collect();
    let (serving, terminating) = (pods::is_ready(pod), pods::is_terminating(pod));
    let ready = services::publishes_not_ready(service) || (serving && !terminating);
    let node_name = pods::node_name(pod);
    (!addresses.is_empty()).then(|| Endpoint {
        addresses,
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".into()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..Default::default()
        }),
        node_name: (!node_name.is_empty()).then(|| node_name.to_owned()),
        zone: node.and_then(zone).cloned(),
        hostname: services::hostname(pod, service).cloned(),
        ..Default::default()
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
