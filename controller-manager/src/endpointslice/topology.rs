//! `service.kubernetes.io/topology-mode: Auto`: endpoints are given to zones in proportion to the zones' processors, so that
//! traffic stays in its zone and no endpoint gets more than a fifth above its share.
//!
//! Upstream: `staging/src/k8s.io/endpointslice/topologycache`.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use k8s_openapi::api::{
    core::v1::{Node, Service},
    discovery::v1::{Endpoint, EndpointHints, EndpointSlice, ForZone},
};
use machinery::quantity::Quantity;

use super::sync::zone;
use crate::util::{key::Key, nodes};

/// The most that an endpoint may have above its share.
const OVERLOAD: f64 = 0.2;
/// The annotation, and its older name, which goes first.
const MODES: [&str; 2] = ["service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"];
/// Nodes with these labels, whatever their values, serve no workloads.
const EXCLUDED: [&str; 2] = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];

const NO_ZONE: &str = "One or more endpoints do not have a zone specified";
const NO_HINTS: &str = "No hints allocated for zones";
const ENABLED: &str = "Topology Aware Hints has been enabled";
const DISABLED: &str = "Topology Aware Hints has been disabled";
const NO_NODES: &str = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes";
const TOO_FEW: &str = "Insufficient number of endpoints";
const OVERLOADED: &str =
    "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold";

/// How many endpoints each zone has.
pub(super) type ByZone = BTreeMap<String, usize>;

/// Whether a Service asks for such hints.
pub(super) fn is_wanted(service: &Service) -> bool {
    let annotation = |name: &&str| service.metadata.annotations.as_ref()?.get(*name);
    MODES.iter().find_map(annotation).is_some_and(|mode| mode == "Auto" || mode == "auto")
}

/// The share of the cluster's processors that each zone has; nothing if that can't be said or there is one zone alone.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Zones(Option<BTreeMap<String, f64>>);

impl Zones {
    /// Of the nodes that are ready and serve workloads.
    pub(super) fn of(nodes: impl Iterator<Item = Arc<Node>>) -> Self {
        let mut milli_cpus: BTreeMap<String, i64> = BTreeMap::new();
        for node in nodes {
            let node = &*node;
            let labels = node.metadata.labels.as_ref();
            let excluded = |label: &&str| labels.is_some_and(|labels| labels.contains_key(*label));
            if EXCLUDED.iter().any(excluded) || !nodes::is_ready(node) {
                continue;
            }
            let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
            let cpus = allocatable.and_then(|all| Quantity::parse(&all.get("cpu")?.0).ok());
            let milli = cpus.map_or(0, |cpus| cpus.milli_value());
            // One that does not say it makes all shares wrong.
            let Some(zone) = zone(node).filter(|_| milli != 0) else { return Self(None) };
            *milli_cpus.entry(zone.to_owned()).or_default() += milli;
        }
        let total: i64 = milli_cpus.values().sum();
        let shares = || milli_cpus.iter().map(|(zone, milli)| (zone.clone(), *milli as f64 / total as f64));
        Self((milli_cpus.len() > 1 && total != 0).then(|| shares().collect()))
    }

    /// Whether a zone has fewer endpoints than it needs.
    fn overloads(&self, hinted: &ByZone) -> bool {
        let (Some(shares), false) = (&self.0, hinted.is_empty()) else { return !hinted.is_empty() };
        let total: usize = hinted.values().sum();
        shares.iter().any(|(zone, share)| hinted.get(zone).is_none_or(|has| *has < least(total as f64 * share)))
    }

    /// What each zone gets of so many endpoints.
    ///
    /// # Errors
    /// No division is good enough: why.
    fn allocate(&self, endpoints: usize) -> Result<BTreeMap<&str, Allocation>, String> {
        let shares = self.0.as_ref().ok_or(NO_NODES)?;
        let numbers = || format!("({endpoints} endpoints, {} zones)", shares.len());
        if shares.len() > endpoints {
            return Err(format!("{TOO_FEW} {}", numbers()));
        }
        let mut allocations: BTreeMap<&str, Allocation> = BTreeMap::new();
        for (zone, share) in shares {
            let exact = share * endpoints as f64;
            let minimum = least(exact);
            allocations.insert(zone, Allocation { minimum, maximum: 0, desired: exact.max(minimum as f64) });
        }
        let total: usize = allocations.values().map(|allocation| allocation.minimum).sum();
        let spare = endpoints.checked_sub(total).ok_or_else(|| format!("{OVERLOADED} {}", numbers()))?;
        allocations.values_mut().for_each(|allocation| allocation.maximum = allocation.minimum + spare);
        Ok(allocations)
    }

    /// Gives the endpoints of one family hints, with the fewest writes: slices of `unchanged` that have to change go to
    /// `update`. Returns how many endpoints each zone has.
    ///
    /// # Errors
    /// There are to be no hints: why.
    pub(super) fn hint(
        &self,
        create: &mut [EndpointSlice],
        update: &mut Vec<EndpointSlice>,
        unchanged: &mut Vec<Arc<EndpointSlice>>,
    ) -> Result<ByZone, String> {
        let ready = |slice: &EndpointSlice| slice.endpoints.iter().flatten().filter(|e| is_ready(e)).count();
        let written: usize = create.iter().chain(&*update).map(ready).sum();
        let kept: usize = unchanged.iter().map(|slice| ready(slice)).sum();
        let allocations = self.allocate(written + kept)?;
        let mut hinted = ByZone::new();
        for slice in std::mem::take(unchanged) {
            match usable(&slice, &hinted, &allocations) {
                Some(has) => {
                    has.into_iter().for_each(|(zone, n)| *hinted.entry(zone).or_default() += n);
                    unchanged.push(slice);
                }
                None => update.push((*slice).clone()),
            }
        }
        // Each its own zone to begin with.
        for endpoint in endpoints(create, update) {
            endpoint.hints = None;
            if !is_ready(endpoint) {
                continue;
            }
            let zone = endpoint.zone.clone().filter(|zone| !zone.is_empty()).ok_or(NO_ZONE)?;
            *hinted.entry(zone.clone()).or_default() += 1;
            endpoint.hints = Some(for_zone(zone));
        }
        let (mut giving, mut receiving) = exchange(&allocations, &hinted);
        for endpoint in endpoints(create, update).filter(|endpoint| is_ready(endpoint)) {
            let Some(from) = endpoint.zone.clone().filter(|zone| giving.contains_key(zone)) else { continue };
            let Some(to) = receiving.keys().next().cloned() else { break };
            for (side, zone) in [(&mut giving, &from), (&mut receiving, &to)] {
                if let Some(left) = side.get_mut(zone) {
                    *left -= 1;
                    if *left == 0 {
                        side.remove(zone);
                    }
                }
            }
            if let Some(has) = hinted.get_mut(&from) {
                *has -= 1;
            }
            *hinted.entry(to.clone()).or_default() += 1;
            endpoint.hints = Some(for_zone(to));
        }
        if hinted.is_empty() { Err(NO_HINTS.to_owned()) } else { Ok(hinted) }
    }
}

/// What a zone gets.
struct Allocation {
    minimum: usize,
    maximum: usize,
    desired: f64,
}

/// The fewest endpoints with which none has too much.
fn least(exact: f64) -> usize {
    (exact * (1.0 / (1.0 + OVERLOAD))).ceil() as usize
}

fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) == Some(true)
}

fn for_zone(name: String) -> EndpointHints {
    EndpointHints { for_zones: Some(vec![ForZone { name }]), ..Default::default() }
}

fn endpoints<'a>(
    create: &'a mut [EndpointSlice],
    update: &'a mut [EndpointSlice],
) -> impl Iterator<Item = &'a mut Endpoint> {
    create.iter_mut().chain(update).flat_map(|slice| slice.endpoints.iter_mut().flatten())
}

/// The hints of a slice, if it can stay as it is beside those that are `hinted` already.
fn usable(slice: &EndpointSlice, hinted: &ByZone, allocations: &BTreeMap<&str, Allocation>) -> Option<ByZone> {
    let mut has = ByZone::new();
    for endpoint in slice.endpoints.iter().flatten().filter(|endpoint| is_ready(endpoint)) {
        let zones = endpoint.hints.as_ref()?.for_zones.as_ref().filter(|zones| !zones.is_empty())?;
        for zone in zones {
            allocations.get(zone.name.as_str())?;
            *has.entry(zone.name.clone()).or_default() += 1;
        }
    }
    let fits = |(zone, n): (&String, &usize)| {
        let most = allocations.get(zone.as_str()).map_or(0, |allocation| allocation.maximum);
        n + hinted.get(zone).copied().unwrap_or(0) <= most
    };
    has.iter().all(fits).then_some(has)
}

/// How many endpoints zones give away, and how many zones get.
fn exchange(allocations: &BTreeMap<&str, Allocation>, hinted: &ByZone) -> (ByZone, ByZone) {
    let (mut too_many, mut too_few) = (BTreeMap::new(), BTreeMap::new());
    for (zone, allocation) in allocations {
        let over = hinted.get(*zone).copied().unwrap_or(0) as f64 - allocation.desired;
        if over > 0.0 {
            too_many.insert(*zone, over);
        } else if over < 0.0 {
            too_few.insert(*zone, -over);
        }
    }
    let (mut giving, mut receiving) = (ByZone::new(), ByZone::new());
    while let (Some((from, gives)), Some((to, gets))) = (most(&too_many), most(&too_few)) {
        if (gives < 1.0 && gets < 1.0) || gives < 0.5 || gets < 0.5 {
            break;
        }
        for (zone, side, left) in [(from, &mut giving, &mut too_many), (to, &mut receiving, &mut too_few)] {
            *side.entry(zone.to_owned()).or_default() += 1;
            *left.entry(zone).or_default() -= 1.0;
        }
    }
    (giving, receiving)
}

fn most<'a>(zones: &BTreeMap<&'a str, f64>) -> Option<(&'a str, f64)> {
    let mut most: Option<(&str, f64)> = None;
    for (zone, n) in zones {
        if *n > most.map_or(0.0, |(_, n)| n) {
            most = Some((zone, *n));
        }
    }
    most
}

/// What became of the hints of one family.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    /// They are not asked for.
    Unwanted,
    Hinted(ByZone),
    /// And why not.
    Impossible(String),
}

/// What is known of zones and of Services that have hints.
#[derive(Default)]
pub(super) struct Topology {
    pub(super) zones: Zones,
    hinted: HashMap<Key, BTreeMap<String, ByZone>>,
    /// Those of which it is told that they have hints.
    told: HashSet<Key>,
}

/// An event: Normal or Warning, reason, message.
pub(super) type Said = (&'static str, &'static str, String);

impl Topology {
    /// Notes what became of a Service's hints for a family, and says what is to be told.
    pub(super) fn note(&mut self, service: &Key, family: &str, outcome: Outcome) -> Option<Said> {
        let disabled = |why: &str| ("Warning", "TopologyAwareHintsDisabled", format!("{why}, addressType: {family}"));
        match outcome {
            Outcome::Hinted(zones) => {
                self.hinted.entry(service.clone()).or_default().insert(family.to_owned(), zones);
                let new = self.told.insert(service.clone());
                new.then(|| ("Normal", "TopologyAwareHintsEnabled", format!("{ENABLED}, addressType: {family}")))
            }
            Outcome::Impossible(why) => {
                self.remove(service, family);
                Some(disabled(&why))
            }
            Outcome::Unwanted => self.remove(service, family).then(|| disabled(DISABLED)),
        }
    }

    /// A Service has no hints of that family any more; whether it was told that it has some.
    pub(super) fn remove(&mut self, service: &Key, family: &str) -> bool {
        if let Some(families) = self.hinted.get_mut(service) {
            families.remove(family);
            if families.is_empty() {
                self.hinted.remove(service);
            }
        }
        self.told.remove(service)
    }

    /// Nothing is known of a Service any more.
    pub(super) fn forget(&mut self, service: &Key) {
        self.hinted.remove(service);
        self.told.remove(service);
    }

    /// The Services of which some zone has too few endpoints now.
    pub(super) fn overloaded(&self) -> Vec<Key> {
        let overloaded = |families: &BTreeMap<String, ByZone>| families.values().any(|has| self.zones.overloads(has));
        self.hinted.iter().filter(|(_, families)| overloaded(families)).map(|(key, _)| key.clone()).collect()
    }
}

#[cfg(test)]
mod tests;
