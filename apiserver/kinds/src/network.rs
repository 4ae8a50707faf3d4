//! Validation of Endpoints, EndpointSlices and Leases.

use std::collections::BTreeSet;

use machinery::field::{Error, ErrorList, Path};
use machinery::json::Fields;
use machinery::{meta, names};
use model::check::Faults;
use serde_json::Value;

use super::checked::Checked;
use super::core::service::endpoint_ip;

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

/// Endpoints.
pub fn endpoints() -> Checked {
    Checked::object(endpoints_object)
}

/// EndpointSlices.
pub fn endpoint_slices() -> Checked {
    Checked {
        object: slice,
        update: |new, old| {
            meta::validate_immutable(new.sub("addressType"), old.sub("addressType"), &Path::new("addressType"))
        },
    }
}

/// Leases.
pub fn leases() -> Checked {
    Checked::object(|lease| {
        let mut errors = ErrorList::new();
        let at = Path::new("spec");
        let spec = &lease["spec"];
        if let Some(seconds) = spec.int("leaseDurationSeconds").filter(|s| *s <= 0) {
            errors.invalid(&at.child("leaseDurationSeconds"), seconds, "must be greater than 0");
        }
        errors.nonnegative(&at.child("leaseTransitions"), spec.int("leaseTransitions").unwrap_or(0));
        if !spec.text("preferredHolder").is_empty() && spec.text("strategy").is_empty() {
            errors.forbidden(&at.child("preferredHolder"), "may only be specified if `strategy` is defined");
        }
        errors
    })
}

fn node_name(name: &str, at: &Path, errors: &mut ErrorList) {
    errors.each(at, name, names::dns1123_subdomain(name));
}

fn endpoints_object(endpoints: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    for (i, subset) in endpoints.list("subsets").iter().enumerate() {
        let at = Path::new("subsets").index(i);
        if subset.list("addresses").is_empty() && subset.list("notReadyAddresses").is_empty() {
            errors.required(&at, "must specify `addresses` or `notReadyAddresses`");
        }
        for list in ["addresses", "notReadyAddresses"] {
            for (j, address) in subset.list(list).iter().enumerate() {
                endpoint_address(address, &at.child(list).index(j), &mut errors);
            }
        }
        let ports = subset.list("ports");
        for (j, port) in ports.iter().enumerate() {
            let at = at.child("ports").index(j);
            let name = port.text("name");
            if name.is_empty() {
                if ports.len() > 1 {
                    errors.required(&at.child("name"), "");
                }
            } else {
                errors.each(&at.child("name"), name, names::dns1123_label(name));
            }
            let number = port.int("port").unwrap_or(0);
            for message in names::port_num(number) {
                errors.invalid(&at.child("port"), number, message);
            }
            errors.one_of(&at.child("protocol"), port.text("protocol"), &PROTOCOLS);
            app_protocol(port, &at, &mut errors);
        }
    }
    errors
}

fn app_protocol(port: &Value, at: &Path, errors: &mut ErrorList) {
    if let Some(protocol) = port.sub("appProtocol").and_then(Value::as_str) {
        errors.each(&at.child("appProtocol"), protocol, names::qualified_name(protocol));
    }
}

fn endpoint_address(address: &Value, at: &Path, errors: &mut ErrorList) {
    let ip = address.text("ip");
    let faults = names::ip_for_legacy_field(&at.child("ip"), ip, &[]);
    let readable = faults.is_empty();
    errors.extend(faults);
    let host = address.text("hostname");
    if !host.is_empty() {
        errors.each(&at.child("hostname"), host, names::dns1123_label(host));
    }
    if let Some(node) = address.sub("nodeName").and_then(Value::as_str) {
        node_name(node, &at.child("nodeName"), errors);
    }
    if readable {
        endpoint_ip(ip, &at.child("ip"), errors);
    } else {
        errors.invalid(&at.child("ip"), ip, "must be a valid IP address");
    }
}

fn slice(slice: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let kind = slice.text("addressType");
    errors.one_of(&Path::new("addressType"), kind, &["FQDN", "IPv4", "IPv6"]);
    slice_ports(slice.list("ports"), &Path::new("ports"), &mut errors);
    let at = Path::new("endpoints");
    let endpoints = slice.list("endpoints");
    if endpoints.len() > 1000 {
        errors.push(Error::too_many(&at, endpoints.len(), 1000));
        return errors;
    }
    for (i, endpoint) in endpoints.iter().enumerate() {
        let at = at.index(i);
        let addresses = endpoint.list("addresses").len();
        let path = at.child("addresses");
        if addresses == 0 {
            errors.required(&path, "must contain at least 1 address");
        } else if addresses > 100 {
            errors.push(Error::too_many(&path, addresses, 100));
        }
        for (j, address) in endpoint.texts("addresses").enumerate() {
            slice_address(address, kind, &path, j, &mut errors);
        }
        if let Some(node) = endpoint.sub("nodeName").and_then(Value::as_str) {
            node_name(node, &at.child("nodeName"), &mut errors);
        }
        let topology = at.child("deprecatedTopology");
        errors.extend(meta::validate_labels(endpoint.object("deprecatedTopology"), &topology));
        if let Some(host) = endpoint.sub("hostname").and_then(Value::as_str) {
            errors.each(&at.child("hostname"), host, names::dns1123_label(host));
        }
        hints(endpoint.sub("hints"), &at.child("hints"), &mut errors);
    }
    errors
}

fn slice_address(address: &str, kind: &str, list: &Path, index: usize, errors: &mut ErrorList) {
    let at = list.index(index);
    let faults = match kind {
        "IPv4" => names::ip_for_legacy_field(&at, address, &[]),
        "IPv6" => names::ip(&at, address),
        "FQDN" => return errors.extend(names::fully_qualified_domain_name(&at, address)),
        _ => return,
    };
    if !faults.is_empty() {
        return errors.extend(faults);
    }
    let is_v4 = names::parse_ip_sloppy(address).is_some_and(|ip| ip.is_ipv4());
    if is_v4 != (kind == "IPv4") {
        errors.invalid(list, address, format!("must be an {kind} address"));
    }
    endpoint_ip(address, &at, errors);
}

fn slice_ports(ports: &[Value], at: &Path, errors: &mut ErrorList) {
    if ports.len() > 20_000 {
        return errors.push(Error::too_many(at, ports.len(), 20_000));
    }
    let mut seen = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let at = at.index(i);
        let name = port.text("name");
        if !name.is_empty() {
            errors.each(&at.child("name"), name, names::dns1123_label(name));
        }
        if !seen.insert(name) {
            errors.duplicate(&at.child("name"), name);
        }
        errors.one_of(&at.child("protocol"), port.text("protocol"), &PROTOCOLS);
        app_protocol(port, &at, errors);
    }
}

fn hints(hints: Option<&Value>, at: &Path, errors: &mut ErrorList) {
    for (list, rule) in [
        ("forZones", names::label_value as fn(&str) -> Vec<String>),
        ("forNodes", names::dns1123_subdomain as fn(&str) -> Vec<String>),
    ] {
        let at = at.child(list);
        let given = hints.list(list);
        if given.len() > 8 {
            return errors.push(Error::too_many(&at, given.len(), 8));
        }
        let mut seen = BTreeSet::new();
        for (i, hint) in given.iter().enumerate() {
            let at = at.index(i).child("name");
            let name = hint.text("name");
            if !seen.insert(name) {
                errors.duplicate(&at, name);
            }
            errors.each(&at, name, rule(name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::check::said;
    use serde_json::json;

    #[test]
    fn addresses_are_strict() {
        let odd = json!({"addressType": "IPv4", "ports": [], "endpoints": [{"addresses": ["192.0.2.010"]}]});
        let detail = "Invalid value: \"192.0.2.010\": must not have leading 0s";
        assert_eq!(said(&slice(&odd)), [format!("endpoints[0].addresses[0]: {detail}")]);
    }

    #[test]
    fn slices_and_endpoints() {
        let good = json!({"addressType": "IPv4", "ports": [{"name": "", "protocol": "TCP", "port": 80}],
            "endpoints": [{"addresses": ["10.1.1.1"], "hints": {"forZones": [{"name": "a"}]}}]});
        assert!(slice(&good).is_empty());
        let bad = json!({"addressType": "IPv4", "ports": [{"name": "a", "protocol": "x"}, {"name": "a", "protocol": "TCP"}],
            "endpoints": [{"addresses": ["fd00::1", "127.0.0.1", "x"]}, {"addresses": []}]});
        assert_eq!(
            said(&slice(&bad)),
            [
                "ports[0].protocol: Unsupported value: \"x\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
                "ports[1].name: Duplicate value: \"a\"",
                "endpoints[0].addresses: Invalid value: \"fd00::1\": must be an IPv4 address",
                "endpoints[0].addresses[1]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
                "endpoints[0].addresses[2]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                "endpoints[1].addresses: Required value: must contain at least 1 address",
            ]
        );
        let bad = json!({"subsets": [{"ports": [{"port": 0, "protocol": "TCP"}]}]});
        assert_eq!(
            said(&endpoints_object(&bad)),
            [
                "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`",
                "subsets[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            ]
        );
        assert_eq!(
            said(&(leases().object)(&json!({"spec": {"leaseDurationSeconds": 0}}))),
            ["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",]
        );
    }
}
