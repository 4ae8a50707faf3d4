//! The comparison of cluster IPs with IPAddress objects: each address that a Service holds has an object that refers to it,
//! and each object that the allocator made refers to a Service that holds it.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use machinery::json::Fields;
use machinery::meta;
use serde_json::Value;

use super::{Services, Step, Told};
use crate::core::service::addresses::{MANAGED_BY, MANAGER, Ranges, object};
use crate::core::service::families::family_of;
use crate::core::service::held_addresses;

/// How long an address may be taken before its Service is there: as long as a request may take.
const GRACE_SECONDS: i64 = 60;
/// How long a write that failed may take to give its address back.
const REVERT_SECONDS: i64 = 5;

/// What is to be done and told, first for Services, then for addresses.
pub(super) fn plan(services: &Services, addresses: &[Arc<Value>], ranges: &Ranges, now: Timestamp) -> Vec<Step> {
    let by_name: HashMap<&str, &Value> = addresses.iter().map(|a| (meta::name(a), &**a)).collect();
    let find = |namespace: &str, name: &str| {
        services.iter().find(|s| meta::namespace(s) == namespace && meta::name(s) == name).map(|s| &**s)
    };
    let mut steps = Vec::new();
    for service in services {
        for ip in held_addresses(service) {
            of_service(service, &ip, &by_name, &find, ranges, &mut steps);
        }
    }
    let own = addresses.iter().filter(|a| a["metadata"]["labels"].text(MANAGED_BY) == MANAGER);
    own.for_each(|address| of_address(address, &find, now, &mut steps));
    steps
}

type Find<'f, 's> = &'f dyn Fn(&str, &str) -> Option<&'s Value>;

fn of_service(
    service: &Value,
    ip: &str,
    addresses: &HashMap<&str, &Value>,
    find: Find<'_, '_>,
    ranges: &Ranges,
    steps: &mut Vec<Step>,
) {
    let mut tell = |reason, note| steps.push(Step::Tell(Told::of(service, ("v1", "Service"), reason, note)));
    let (namespace, name, family) = (meta::namespace(service), meta::name(service), family_of(ip));
    let Some(parsed) = machinery::names::parse_ip_sloppy(ip) else {
        return tell("ClusterIPNotValid", format!("Cluster IP {ip} is not a valid IP; please recreate Service"));
    };
    if !ranges.contain(&parsed) {
        let note =
            format!("Cluster IP [{family}]: {ip} is not within any configured Service CIDR; please recreate service");
        return tell("ClusterIPOutOfRange", note);
    }
    let made = || Step::Create(object(parsed, namespace, name));
    let Some(address) = addresses.get(parsed.to_string().as_str()) else {
        tell("ClusterIPNotAllocated", format!("Cluster IP [{family}]: {ip} is not allocated; repairing"));
        return steps.push(made());
    };
    let again = [Step::Delete(meta::name(address).to_owned()), made()];
    let parent = &address["spec"]["parentRef"];
    let wrong =
        format!("the ClusterIP [{family}]: {ip} for Service {namespace}/{name} has a wrong reference; repairing");
    if !parent.text("group").is_empty() || parent.text("resource") != "services" {
        tell("ClusterIPNotAllocated", wrong);
        return steps.extend(again);
    }
    if parent.text("namespace") != namespace || parent.text("name") != name {
        let Some(other) = find(parent.text("namespace"), parent.text("name")) else {
            tell("ClusterIPNotAllocated", wrong);
            return steps.extend(again);
        };
        if held_addresses(other).iter().any(|held| held == meta::name(address)) {
            let note = format!("Cluster IP [{family}]:{ip} was assigned to multiple services; please recreate service");
            tell("ClusterIPAlreadyAllocated", note);
        }
        return;
    }
    let labels = &address["metadata"]["labels"];
    if labels.text(MANAGED_BY) != MANAGER || labels.text("ipaddress.kubernetes.io/ip-family") != family {
        steps.extend(again);
    }
}

fn of_address(address: &Value, find: Find<'_, '_>, now: Timestamp, steps: &mut Vec<Step>) {
    let (ip, parent) = (meta::name(address), &address["spec"]["parentRef"]);
    let mut clean = |reason, note| {
        steps.push(Step::Tell(Told::of(address, ("networking.k8s.io/v1", "IPAddress"), reason, note)));
        steps.push(Step::Delete(ip.to_owned()));
    };
    if !parent.text("group").is_empty() || parent.text("resource") != "services" {
        let note =
            format!("IPAddress {ip} appears to have been modified, not referencing a Service {parent}: cleaning up");
        return clean("IPAddressNotAllocated", note);
    }
    let (namespace, name) = (parent.text("namespace"), parent.text("name"));
    let made = address["metadata"].text("creationTimestamp").parse::<Timestamp>().unwrap_or(Timestamp::MIN);
    let age = now.duration_since(made).as_secs();
    let Some(service) = find(namespace, name) else {
        if age > GRACE_SECONDS {
            let note = format!("IPAddress: {ip} for Service {namespace}/{name} appears to have leaked: cleaning up");
            clean("IPAddressNotAllocated", note);
        }
        return;
    };
    let external = service["spec"].text("type") == "ExternalName";
    let after = service["metadata"].text("creationTimestamp").parse::<Timestamp>().is_ok_and(|service| made > service);
    let early = external && age < GRACE_SECONDS || after && age < REVERT_SECONDS;
    if service["spec"].texts("clusterIPs").any(|held| held == ip) || early {
        return;
    }
    let note = format!("IPAddress: {ip} for Service {namespace}/{name} has a wrong reference; cleaning up");
    clean("IPAddressWrongReference", note);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::service;
    use super::*;

    fn address(ip: &str, name: &str, made: &str) -> Arc<Value> {
        let mut object = object(ip.parse().expect("an address"), "n", name);
        object["metadata"]["creationTimestamp"] = made.into();
        Arc::new(object)
    }

    fn cluster(ip: &str) -> Value {
        json!({ "type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip] })
    }

    /// The steps in words.
    fn planned(services: &Services, addresses: &[Arc<Value>]) -> Vec<String> {
        let ranges = Ranges::fixed(&["10.0.0.0/24"]);
        let steps = plan(services, addresses, &ranges, "2026-01-01T00:10:00Z".parse().expect("a time"));
        let said = |step| match step {
            Step::Create(object) => {
                format!("create {} for {}", meta::name(&object), object["spec"]["parentRef"].text("name"))
            }
            Step::Delete(name) => format!("delete {name}"),
            Step::Tell(told) => format!("{}: {}", told.reason, told.note),
        };
        steps.into_iter().map(said).collect()
    }

    const OLD: &str = "2026-01-01T00:00:00Z";

    #[test]
    fn what_agrees_is_left_alone() {
        let services = [service("a", cluster("10.0.0.7")), service("h", cluster("None"))];
        assert_eq!(planned(&services, &[address("10.0.0.7", "a", OLD)]), Vec::<String>::new());
    }

    #[test]
    fn an_address_that_a_service_holds_is_taken_for_it() {
        let services = [service("a", cluster("10.0.0.7"))];
        let told = "ClusterIPNotAllocated: Cluster IP [IPv4]: 10.0.0.7 is not allocated; repairing";
        assert_eq!(planned(&services, &[]), [told, "create 10.0.0.7 for a"]);
        let gone = planned(&services, &[address("10.0.0.7", "gone", "2026-01-01T00:09:30Z")]);
        let told =
            "ClusterIPNotAllocated: the ClusterIP [IPv4]: 10.0.0.7 for Service n/a has a wrong reference; repairing";
        assert_eq!(gone, [told, "delete 10.0.0.7", "create 10.0.0.7 for a"]);
    }

    #[test]
    fn what_two_services_hold_is_told_and_left_to_people() {
        let services = [service("a", cluster("10.0.0.7")), service("b", cluster("10.0.0.7"))];
        let told = "ClusterIPAlreadyAllocated: Cluster IP [IPv4]:10.0.0.7 was assigned to multiple services; please recreate service";
        assert_eq!(planned(&services, &[address("10.0.0.7", "a", OLD)]), [told]);
        let out = planned(&[service("a", cluster("10.9.0.7"))], &[]);
        let told = "ClusterIPOutOfRange: Cluster IP [IPv4]: 10.9.0.7 is not within any configured Service CIDR; please recreate service";
        assert_eq!(out, [told]);
    }

    #[test]
    fn an_address_that_nobody_holds_is_given_back_once_no_write_can_want_it() {
        let leaked = planned(&[], &[address("10.0.0.7", "gone", OLD)]);
        let told = "IPAddressNotAllocated: IPAddress: 10.0.0.7 for Service n/gone appears to have leaked: cleaning up";
        assert_eq!(leaked, [told, "delete 10.0.0.7"]);
        assert_eq!(planned(&[], &[address("10.0.0.7", "gone", "2026-01-01T00:09:30Z")]), Vec::<String>::new());
        let services = [service("a", cluster("10.0.0.8"))];
        let both = [address("10.0.0.7", "a", "2026-01-01T00:09:30Z"), address("10.0.0.8", "a", OLD)];
        let told = "IPAddressWrongReference: IPAddress: 10.0.0.7 for Service n/a has a wrong reference; cleaning up";
        assert_eq!(planned(&services, &both), [told, "delete 10.0.0.7"]);
    }
}
