//! How healthy each zone is, and with it how quickly its unready nodes may lose their pods.
//!
//! Upstream: `pkg/controller/nodelifecycle/node_lifecycle_controller.go` (ComputeZoneState, handleDisruption,
//! setLimiterInZone). Counted as nodes change, so that a question costs nothing, however many nodes there are.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use k8s_openapi::api::core::v1::Node;
use tokio::time::Instant;

use super::sync::{Eviction, is_ready};

/// More nodes than this must be unready before a zone has a problem of its own.
const FEW: usize = 2;

/// How quickly nodes are given up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    /// Nodes a second in a zone that is well.
    pub(crate) usual: f64,
    /// Nodes a second in a large zone that is not.
    pub(crate) reduced: f64,
    /// A zone with more nodes is large; in one that is not, and not well, none are.
    pub(crate) large: usize,
    /// The share of unready nodes from which on a zone is not well.
    pub(crate) threshold: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Normal,
    Partial,
    /// Nothing in it is ready.
    Full,
}

#[derive(Default)]
struct Zone {
    ready: usize,
    unready: usize,
    /// When a node of it was given up last.
    last: Option<Instant>,
}

impl Zone {
    fn state(&self, rates: &Rates) -> State {
        let share = self.unready as f64 / (self.ready + self.unready) as f64;
        match (self.ready, self.unready) {
            (0, 1..) => State::Full,
            (_, unready) if unready > FEW && share >= rates.threshold => State::Partial,
            _ => State::Normal,
        }
    }

    /// Nodes a second.
    fn rate(&self, rates: &Rates) -> f64 {
        match self.state(rates) {
            State::Partial if self.ready + self.unready > rates.large => rates.reduced,
            State::Partial => 0.0,
            State::Normal | State::Full => rates.usual,
        }
    }

    fn count(&mut self, ready: bool) -> &mut usize {
        if ready { &mut self.ready } else { &mut self.unready }
    }
}

/// All zones that have nodes.
pub(crate) struct Zones {
    rates: Rates,
    zones: HashMap<String, Zone>,
}

/// The name of a node's zone, with its region, as upstream's `GetZoneKey`.
pub(crate) fn key(node: &Node) -> String {
    let label = |l: &str| node.metadata.labels.as_ref().and_then(|labels| labels.get(l));
    // The older labels go first, as upstream.
    let region = label("failure-domain.beta.kubernetes.io/region").or_else(|| label("topology.kubernetes.io/region"));
    let zone = label("failure-domain.beta.kubernetes.io/zone").or_else(|| label("topology.kubernetes.io/zone"));
    let text = |label: Option<&String>| label.map_or("", String::as_str).to_owned();
    let (region, zone) = (text(region), text(zone));
    // The null byte keeps two labels apart that together are the same.
    if region.is_empty() && zone.is_empty() { String::new() } else { format!("{region}:\0:{zone}") }
}

impl Zones {
    pub(crate) fn new(rates: Rates) -> Self {
        Self { rates, zones: HashMap::new() }
    }

    /// A node came, went or changed. True if that changes what may be done about unready nodes.
    pub(crate) fn change(&mut self, old: Option<&Node>, new: Option<&Node>) -> bool {
        let place = |node: Option<&Node>| node.map(|n| (key(n), is_ready(n)));
        let (old, new) = (place(old), place(new));
        if old == new {
            return false;
        }
        let touched: Vec<String> = [&old, &new].into_iter().flatten().map(|(zone, _)| zone.clone()).collect();
        let before = self.judge(&touched);
        if let Some((zone, ready)) = &new {
            *self.zones.entry(zone.clone()).or_default().count(*ready) += 1;
        }
        if let Some((zone, ready)) = &old
            && let Some(left) = self.zones.get_mut(zone)
        {
            *left.count(*ready) -= 1;
            if left.ready + left.unready == 0 {
                self.zones.remove(zone);
            }
        }
        before != self.judge(&touched)
    }

    fn judge(&self, zones: &[String]) -> (bool, Vec<Option<f64>>) {
        (self.all_silent(), zones.iter().map(|z| self.zones.get(z).map(|zone| zone.rate(&self.rates))).collect())
    }

    /// By zone, how many nodes there are and how many of them are not ready.
    pub(crate) fn health(&self) -> BTreeMap<String, (usize, usize)> {
        self.zones.iter().map(|(name, zone)| (name.clone(), (zone.ready + zone.unready, zone.unready))).collect()
    }

    fn all_silent(&self) -> bool {
        self.zones.values().all(|zone| zone.state(&self.rates) == State::Full)
    }

    /// What may be done about the pods of a node now. `wants`: it would be given up, which its zone's rate allows or not;
    /// if not yet, in which time to ask again.
    pub(crate) fn may_evict(&mut self, node: &Node, wants: bool, now: Instant) -> (Eviction, Option<Duration>) {
        if self.all_silent() {
            return (Eviction::Off, None);
        }
        let Some(zone) = self.zones.get_mut(&key(node)) else { return (Eviction::Held, None) };
        let rate = zone.rate(&self.rates);
        if rate <= 0.0 {
            return (Eviction::Held, None);
        }
        if !wants {
            return (Eviction::Allowed, None);
        }
        let due = zone.last.and_then(|last| last.checked_add(Duration::from_secs_f64((1.0 / rate).min(1e9))));
        match due {
            Some(due) if due > now => (Eviction::Held, Some(due - now)),
            _ => {
                zone.last = Some(now);
                (Eviction::Allowed, None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const RATES: Rates = Rates { usual: 0.1, reduced: 0.01, large: 50, threshold: 0.55 };

    fn node(zone: &str, ready: bool) -> Node {
        let status = if ready { "True" } else { "Unknown" };
        let node = json!({"metadata": {"labels": {"topology.kubernetes.io/zone": zone}},
            "status": {"conditions": [{"type": "Ready", "status": status}]}});
        serde_json::from_value(node).unwrap()
    }

    fn zones(counts: &[(&str, usize, usize)]) -> Zones {
        let mut zones = Zones::new(RATES);
        for (zone, ready, unready) in counts {
            for is_ready in std::iter::repeat_n(true, *ready).chain(std::iter::repeat_n(false, *unready)) {
                zones.change(None, Some(&node(zone, is_ready)));
            }
        }
        zones
    }

    #[test]
    fn the_more_is_unready_the_slower_nodes_are_given_up() {
        let now = Instant::now();
        let wait = |seconds| (Eviction::Held, Some(Duration::from_secs(seconds)));
        for (ready, unready, first, second) in [
            (1, 0, (Eviction::Allowed, None), wait(10)),
            (1, 2, (Eviction::Allowed, None), wait(10)),
            (1, 3, (Eviction::Held, None), (Eviction::Held, None)),
            (9, 3, (Eviction::Allowed, None), wait(10)),
            (20, 31, (Eviction::Allowed, None), wait(100)),
            (0, 1, (Eviction::Off, None), (Eviction::Off, None)),
        ] {
            let mut zones = zones(&[("a", ready, unready)]);
            let here = node("a", false);
            assert_eq!(zones.may_evict(&here, true, now), first, "{ready} {unready}");
            assert_eq!(zones.may_evict(&here, true, now), second, "{ready} {unready}");
            let later = now + Duration::from_secs(100);
            assert_eq!(zones.may_evict(&here, true, later), first, "{ready} {unready}, later");
            assert_eq!(zones.may_evict(&here, false, later).1, None, "nothing is asked for");
        }
    }

    #[test]
    fn a_zone_that_is_silent_beside_others_is_given_up_at_the_usual_rate() {
        let mut zones = zones(&[("a", 0, 5), ("b", 1, 0)]);
        assert_eq!(zones.may_evict(&node("a", false), true, Instant::now()), (Eviction::Allowed, None));
        assert!(zones.change(Some(&node("b", true)), Some(&node("b", false))), "all are silent now");
        assert_eq!(zones.may_evict(&node("a", false), true, Instant::now()), (Eviction::Off, None));
        assert!(zones.change(Some(&node("b", false)), None) || zones.all_silent());
    }

    #[test]
    fn only_what_makes_a_difference_is_told() {
        let mut zones = zones(&[("a", 100, 0)]);
        let (up, down) = (node("a", true), node("a", false));
        let told: Vec<_> = (0..60).filter(|_| zones.change(Some(&up), Some(&down))).collect();
        assert_eq!(told, [54], "55 of 100");
        assert!(!zones.change(Some(&down), Some(&down)));
    }
}
