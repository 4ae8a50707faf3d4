//! The comparison of node ports with the bitmap of those that are taken.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::sync::Arc;

use machinery::json::Fields;
use machinery::status::StatusError;
use serde_json::Value;
use storage::Storage;

use super::{Services, Told};
use crate::core::service::ports::{self, Bitmap};

/// Runs for which a port that nobody holds stays taken.
const RUNS_BEFORE_CLEANUP: u32 = 3;

/// Brings the bitmap in line with what Services hold. What is to be told.
pub(super) async fn repair(
    services: &Services,
    storage: &Arc<dyn Storage>,
    leaks: &mut HashMap<u16, u32>,
) -> Result<Vec<Told>, StatusError> {
    let mut told = Vec::new();
    let seen = leaks.clone();
    ports::change(&**storage, |stored| {
        leaks.clone_from(&seen);
        let (rebuilt, said) = plan(services, stored, &ports::range(), leaks);
        told = said;
        rebuilt
    })
    .await?;
    Ok(told)
}

/// The bitmap as it should be: what Services hold, and for some runs what nobody seems to.
fn plan(
    services: &Services,
    stored: &Bitmap,
    range: &RangeInclusive<u16>,
    leaks: &mut HashMap<u16, u32>,
) -> (Bitmap, Vec<Told>) {
    let (mut held, mut told) = (BTreeSet::new(), Vec::new());
    let (first, last) = (range.start(), range.end());
    for service in services {
        let mut tell = |reason, note| told.push(Told::of(service, ("v1", "Service"), reason, note));
        for port in collect(service) {
            if !range.contains(&port) {
                let note = format!("Port {port} is not within the port range {first}-{last}; please recreate service");
                tell("PortOutOfRange", note);
            } else if !held.insert(port) {
                let note = format!("Port {port} was assigned to multiple services; please recreate service");
                tell("PortAlreadyAllocated", note);
            } else {
                if !stored.has(usize::from(port - first)) {
                    tell("PortNotAllocated", format!("Port {port} is not allocated; repairing"));
                }
                leaks.remove(&port);
            }
        }
    }
    let mut rebuilt = Bitmap::default();
    held.iter().for_each(|port| rebuilt.set(usize::from(port - first), true));
    for port in range.clone().filter(|port| stored.has(usize::from(port - first)) && !held.contains(port)) {
        let left = leaks.get(&port).copied().unwrap_or_else(|| {
            tracing::warn!(port, "a node port may have leaked: flagging for later clean up");
            RUNS_BEFORE_CLEANUP - 1
        });
        if left > 0 {
            leaks.insert(port, left - 1);
            rebuilt.set(usize::from(port - first), true);
        } else {
            leaks.remove(&port);
            tracing::warn!(port, "a node port appears to have leaked: cleaning up");
        }
    }
    (rebuilt, told)
}

/// The node ports of a Service: one that several of its ports share is there once, unless two of them have one protocol.
fn collect(service: &Value) -> Vec<u16> {
    let spec = &service["spec"];
    let mut seen: BTreeMap<u16, BTreeSet<&str>> = BTreeMap::new();
    let mut out = Vec::new();
    let numbers = spec.list("ports").iter().map(|port| (port.int("nodePort"), port.text("protocol")));
    for (number, protocol) in numbers.chain([(spec.int("healthCheckNodePort"), "TCP")]) {
        let Some(port) = number.and_then(|n| u16::try_from(n).ok()).filter(|port| *port != 0) else { continue };
        let protocols = seen.entry(port).or_default();
        if protocols.is_empty() || protocols.contains(protocol) {
            out.push(port);
        }
        protocols.insert(protocol);
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::service;
    use super::*;

    fn node_port(name: &str, port: u16) -> Arc<Value> {
        let ports = json!([{ "port": 80, "protocol": "TCP", "nodePort": port }, { "port": 80, "protocol": "UDP", "nodePort": port }]);
        service(name, json!({ "type": "NodePort", "ports": ports }))
    }

    fn check(services: &Services, taken: &[u16], leaks: &mut HashMap<u16, u32>, want: &[u16], said: &[&str]) {
        let range = 30_000..=30_010;
        let bitmap = |ports: &[u16]| {
            let mut bitmap = Bitmap::default();
            ports.iter().for_each(|port| bitmap.set(usize::from(port - 30_000), true));
            bitmap
        };
        let (rebuilt, told) = plan(services, &bitmap(taken), &range, leaks);
        assert_eq!(rebuilt, bitmap(want));
        assert_eq!(told.iter().map(|t| format!("{}: {}", t.reason, t.note)).collect::<Vec<_>>(), said);
    }

    #[test]
    fn what_services_hold_is_taken_and_what_cannot_be_is_told() {
        let leaks = &mut HashMap::new();
        check(&[node_port("a", 30_001)], &[30_001], leaks, &[30_001], &[]);
        let told = "PortNotAllocated: Port 30001 is not allocated; repairing";
        check(&[node_port("a", 30_001)], &[], leaks, &[30_001], &[told]);
        let told = "PortAlreadyAllocated: Port 30001 was assigned to multiple services; please recreate service";
        check(&[node_port("a", 30_001), node_port("b", 30_001)], &[30_001], leaks, &[30_001], &[told]);
        let told = "PortOutOfRange: Port 40000 is not within the port range 30000-30010; please recreate service";
        check(&[node_port("a", 40_000)], &[], leaks, &[], &[told]);
    }

    #[test]
    fn a_port_that_nobody_holds_is_given_back_at_the_third_look() {
        let leaks = &mut HashMap::new();
        for _ in 0..2 {
            check(&[], &[30_001], leaks, &[30_001], &[]);
        }
        check(&[], &[30_001], leaks, &[], &[]);
        check(&[], &[30_002], leaks, &[30_002], &[]);
        check(&[node_port("a", 30_002)], &[30_002], leaks, &[30_002], &[]);
        assert!(leaks.is_empty(), "it is used, so it cannot have leaked");
    }
}
