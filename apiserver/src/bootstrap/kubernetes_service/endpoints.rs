//! What the endpoints of the `kubernetes` Service should be: pure, objects in and objects out.
//!
//! Follows `pkg/controlplane/reconcilers` (lease.go, instancecount.go, endpointsadapter.go).

use std::collections::{BTreeMap, BTreeSet};

use machinery::json::Fields;
use serde_json::{Value, json};

/// The name of the Service, of its Endpoints and of its EndpointSlice.
pub(super) const NAME: &str = "kubernetes";
/// Keeps the controller that mirrors Endpoints away from these.
const SKIP_MIRROR: &str = "endpointslice.kubernetes.io/skip-mirror";
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The ports of every server; all have the same.
pub(super) fn ports(port: u16) -> Value {
    json!([{ "name": "https", "port": port, "protocol": "TCP" }])
}

/// The Endpoints that have the addresses of all leases and no others. Their ports are made anew where the object is no list of
/// addresses at all, or always (`with_ports`).
pub(super) fn of_leases(existing: Option<&Value>, ips: &[String], ports: &Value, with_ports: bool) -> Value {
    let mut object = existing.map_or_else(new, skipping_the_mirror);
    let formed = object["subsets"].as_array().is_some_and(|subsets| subsets.len() == 1);
    if !formed {
        object["subsets"] = json!([{ "ports": ports }]);
    }
    let subset = &object["subsets"][0];
    let have: BTreeSet<&str> = subset.list("addresses").iter().map(|address| address.text("ip")).collect();
    let want: BTreeSet<&str> = ips.iter().map(String::as_str).collect();
    if !formed || have != want || subset.list("addresses").len() != ips.len() {
        object["subsets"][0]["addresses"] = ips.iter().map(|ip| json!({ "ip": ip })).collect();
        repack(&mut object);
    }
    if with_ports {
        set_ports(&mut object, ports);
    }
    object
}

/// The Endpoints that have this server's address, and those of others as long as there are no more than `count`.
pub(super) fn of_count(existing: Option<&Value>, ip: &str, ports: &Value, count: usize) -> Value {
    let mut object = existing.map_or_else(new, skipping_the_mirror);
    if object["subsets"].as_array().is_none_or(|subsets| subsets.len() != 1) {
        object["subsets"] = json!([{ "addresses": [{ "ip": ip }], "ports": ports }]);
        return object;
    }
    let addresses = object["subsets"][0].list("addresses").to_vec();
    let known = addresses.iter().any(|address| address.text("ip") == ip);
    if known && addresses.len() <= count {
        return object;
    }
    object["subsets"][0]["addresses"] = addresses.into_iter().chain([json!({ "ip": ip })]).collect();
    repack(&mut object);
    if let Some(addresses) = object["subsets"][0]["addresses"].as_array_mut()
        && let Some(own) = addresses.iter().position(|address| address.text("ip") == ip)
    {
        // Of too many, those after the own one go, and then from the first on: all servers come to the same.
        addresses.rotate_left(own);
        addresses.truncate(count.max(1));
        addresses.sort_by(|a, b| a.text("ip").cmp(b.text("ip")));
    }
    object
}

/// The Endpoints without an address.
pub(super) fn without(existing: &Value, ip: &str) -> Value {
    let mut object = existing.clone();
    if object.list("subsets").is_empty() {
        return object;
    }
    if let Some(addresses) = object["subsets"][0]["addresses"].as_array_mut() {
        addresses.retain(|address| address.text("ip") != ip);
    }
    repack(&mut object);
    object
}

fn new() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": { "name": NAME, "namespace": "default", "labels": { SKIP_MIRROR: "true" } },
    })
}

fn skipping_the_mirror(existing: &Value) -> Value {
    let mut object = existing.clone();
    if object["metadata"]["labels"].is_null() {
        object["metadata"]["labels"] = json!({});
    }
    object["metadata"]["labels"][SKIP_MIRROR] = "true".into();
    object
}

/// The canonical form of a single subset: each address once, in order, not ready if it is in both lists; none without addresses.
fn repack(object: &mut Value) {
    let subset = &object["subsets"][0];
    let mut addresses: BTreeMap<(String, String), (bool, Value)> = BTreeMap::new();
    for (list, ready) in [("addresses", true), ("notReadyAddresses", false)] {
        for address in subset.list(list) {
            let key = (address.text("ip").to_owned(), address["targetRef"].text("uid").to_owned());
            addresses.entry(key).and_modify(|(was, _)| *was &= ready).or_insert((ready, address.clone()));
        }
    }
    if addresses.is_empty() {
        object["subsets"] = json!([]);
        return;
    }
    let mut packed = json!({ "ports": subset["ports"] });
    for (list, wanted) in [("addresses", true), ("notReadyAddresses", false)] {
        let of_list = addresses.values().filter(|(ready, _)| *ready == wanted).map(|(_, address)| address.clone());
        let of_list: Vec<Value> = of_list.collect();
        if !of_list.is_empty() {
            packed[list] = of_list.into();
        }
    }
    object["subsets"] = json!([packed]);
}

fn set_ports(object: &mut Value, ports: &Value) {
    if !object.list("subsets").is_empty() {
        object["subsets"][0]["ports"] = ports.clone();
    }
}

/// The EndpointSlice that says the same as Endpoints. It is one, of one family, as upstream's.
pub(super) fn slice(endpoints: &Value) -> Value {
    let subset = endpoints.list("subsets").first().unwrap_or(&Value::Null);
    let all = || subset.list("addresses").iter().chain(subset.list("notReadyAddresses"));
    let is_v6 = |address: &Value| address.text("ip").contains(':');
    let v6 = all().next().is_some() && all().all(is_v6);
    let of = |list: &str, ready: bool| -> Vec<Value> {
        let same = subset.list(list).iter().filter(|address| is_v6(address) == v6);
        same.map(|address| {
            let mut endpoint = json!({ "addresses": [address["ip"]], "conditions": { "ready": ready } });
            for key in ["targetRef", "nodeName"] {
                if let Some(value) = address.get(key) {
                    endpoint[key] = value.clone();
                }
            }
            endpoint
        })
        .collect()
    };
    let endpoints = [of("addresses", true), of("notReadyAddresses", false)].concat();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": { "name": NAME, "namespace": "default", "labels": { SERVICE_NAME: NAME } },
        "addressType": if v6 { "IPv6" } else { "IPv4" },
        "endpoints": endpoints,
        "ports": subset.list("ports"),
    })
}

/// The existing slice made to say what `wanted` says; the very same where it does.
pub(super) fn slice_changed(existing: &Value, wanted: &Value) -> Value {
    let mut object = existing.clone();
    for field in ["endpoints", "ports"] {
        if existing.list(field) != wanted.list(field) {
            object[field] = wanted[field].clone();
        }
    }
    object["metadata"]["labels"] = wanted["metadata"]["labels"].clone();
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `ips[!not-ready]:port,...` of each subset.
    fn shown(endpoints: &Value) -> String {
        let list = |subset: &Value, name: &str| {
            subset.list(name).iter().map(|a| a.text("ip").to_owned()).collect::<Vec<_>>().join(",")
        };
        let subset = |subset: &Value| {
            let ports: Vec<_> =
                subset.list("ports").iter().filter_map(|p| p.int("port")).map(|p| p.to_string()).collect();
            let not = list(subset, "notReadyAddresses");
            let not = if not.is_empty() { not } else { format!("!{not}") };
            format!("{}{not}:{}", list(subset, "addresses"), ports.join(","))
        };
        endpoints.list("subsets").iter().map(subset).collect::<Vec<_>>().join(" ")
    }

    fn existing(ips: &[&str], port: u16) -> Value {
        let mut object = new();
        let addresses: Vec<Value> = ips.iter().map(|ip| json!({ "ip": ip })).collect();
        object["subsets"] = json!([{ "addresses": addresses, "ports": ports(port) }]);
        object
    }

    fn leased(existing: Option<&Value>, ips: &[&str], with_ports: bool) -> String {
        let ips: Vec<String> = ips.iter().map(|ip| (*ip).to_owned()).collect();
        shown(&of_leases(existing, &ips, &ports(6443), with_ports))
    }

    #[test]
    fn endpoints_are_the_servers_that_have_a_lease() {
        assert_eq!(leased(None, &["10.0.0.2", "10.0.0.1"], false), "10.0.0.1,10.0.0.2:6443");
        let two = existing(&["10.0.0.1", "10.0.0.2"], 6443);
        assert_eq!(leased(Some(&two), &["10.0.0.2"], false), "10.0.0.2:6443");
        assert_eq!(leased(Some(&two), &["10.0.0.2", "10.0.0.3", "10.0.0.1"], false), "10.0.0.1,10.0.0.2,10.0.0.3:6443");
        // The last one goes.
        assert_eq!(leased(Some(&two), &[], true), "");
        let doubled = existing(&["10.0.0.1", "10.0.0.1"], 6443);
        assert_eq!(leased(Some(&doubled), &["10.0.0.1", "10.0.0.2"], false), "10.0.0.1,10.0.0.2:6443");
    }

    #[test]
    fn ports_of_another_server_stay_until_a_server_starts_or_goes() {
        let other = existing(&["10.0.0.1"], 443);
        assert_eq!(leased(Some(&other), &["10.0.0.1", "10.0.0.2"], false), "10.0.0.1,10.0.0.2:443");
        assert_eq!(leased(Some(&other), &["10.0.0.1"], true), "10.0.0.1:6443");
        let mut broken = other.clone();
        broken["subsets"] = json!([other["subsets"][0], other["subsets"][0]]);
        assert_eq!(leased(Some(&broken), &["10.0.0.1"], false), "10.0.0.1:6443");
    }

    #[test]
    fn what_is_right_is_not_touched() {
        let two = existing(&["10.0.0.2", "10.0.0.1"], 6443);
        let ips = ["10.0.0.1".to_owned(), "10.0.0.2".to_owned()];
        assert_eq!(of_leases(Some(&two), &ips, &ports(6443), true), two, "not even its order");
        let mut mirrored = two.clone();
        mirrored["metadata"]["labels"] = json!({ "a": "b" });
        let skips = of_leases(Some(&mirrored), &ips, &ports(6443), false);
        assert_eq!(skips["metadata"]["labels"], json!({ "a": "b", SKIP_MIRROR: "true" }));
    }

    #[test]
    fn of_a_number_of_servers_each_keeps_its_own_address() {
        let count = |existing: Option<&Value>, count| shown(&of_count(existing, "10.0.0.3", &ports(6443), count));
        assert_eq!(count(None, 1), "10.0.0.3:6443");
        let two = existing(&["10.0.0.1", "10.0.0.5"], 6443);
        assert_eq!(count(Some(&two), 3), "10.0.0.1,10.0.0.3,10.0.0.5:6443");
        assert_eq!(count(Some(&two), 2), "10.0.0.3,10.0.0.5:6443");
        assert_eq!(count(Some(&two), 1), "10.0.0.3:6443");
        let own = existing(&["10.0.0.3"], 6443);
        assert_eq!(of_count(Some(&own), "10.0.0.3", &ports(6443), 1), own);
        assert_eq!(shown(&without(&two, "10.0.0.1")), "10.0.0.5:6443");
        assert_eq!(shown(&without(&own, "10.0.0.3")), "");
        assert_eq!(without(&new(), "10.0.0.3"), new());
    }

    #[test]
    fn the_slice_says_what_the_endpoints_say() {
        let of = slice(&existing(&["10.0.0.1", "10.0.0.2"], 6443));
        assert_eq!((&of["addressType"], of.list("endpoints").len()), (&"IPv4".into(), 2));
        assert_eq!(of["endpoints"][1], json!({ "addresses": ["10.0.0.2"], "conditions": { "ready": true } }));
        assert_eq!(slice(&existing(&["fd00::1"], 6443))["addressType"], "IPv6");
        let mixed = slice(&existing(&["10.0.0.1", "fd00::1"], 6443));
        assert_eq!((&mixed["addressType"], mixed.list("endpoints").len()), (&"IPv4".into(), 1), "of one family");
        let none = slice(&new());
        assert_eq!((&none["addressType"], none.list("endpoints").len()), (&"IPv4".into(), 0));
        assert_eq!(slice_changed(&of, &of), of);
        let mut changed = of.clone();
        changed["endpoints"] = json!([]);
        changed["metadata"]["resourceVersion"] = "7".into();
        let mended = slice_changed(&changed, &of);
        assert_eq!((&mended["endpoints"], &mended["metadata"]["resourceVersion"]), (&of["endpoints"], &"7".into()));
    }
}
