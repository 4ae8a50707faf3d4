//! Validation of Services (`validateService` and what surrounds it).

use std::collections::BTreeSet;

use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::{meta, names};
use model::check::{Faults, same};
use serde_json::{Value, json};

use super::families::family_of;
use super::{is_headless, needs_health_check_port};

const MODE: &str = "service.kubernetes.io/topology-mode";
const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

/// ValidateServiceCreate.
pub(super) fn create(service: &Value) -> ErrorList {
    check(service, None)
}

/// ValidateServiceUpdate.
pub(super) fn update(service: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    cluster_ips_update(service, old, &mut errors);
    families_update(service, old, &mut errors);
    let at = Path::new("spec");
    let balancer = |s: &Value| s["spec"].text("type") == "LoadBalancer";
    if balancer(service)
        && balancer(old)
        && !same(service["spec"].sub("loadBalancerClass"), old["spec"].sub("loadBalancerClass"))
    {
        let class = service["spec"].sub("loadBalancerClass").cloned();
        errors.invalid(&at.child("loadBalancerClass"), class, "may not change once set");
    }
    let port = |s: &Value| s["spec"].int("healthCheckNodePort").unwrap_or(0);
    if needs_health_check_port(old) && needs_health_check_port(service) && port(old) != port(service) {
        errors.forbidden(&at.child("healthCheckNodePort"), "field is immutable");
    }
    errors.extend(check(service, Some(old)));
    errors
}

fn check(service: &Value, old: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("spec");
    let spec = &service["spec"];
    let kind = spec.text("type");
    if let (Some(mode), Some(hints)) = (meta::annotation(service, MODE), meta::annotation(service, HINTS))
        && mode != hints
    {
        let detail = format!("must match annotations[{HINTS}] when both are specified");
        errors.invalid(&Path::new("metadata").child("annotations").key(MODE), mode, detail);
    }
    if spec.list("ports").is_empty() && !is_headless(service) && kind != "ExternalName" {
        errors.required(&at.child("ports"), "");
    }
    match kind {
        "LoadBalancer" | "NodePort" if is_headless(service) => {
            let detail = format!("may not be set to 'None' for {kind} services");
            errors.invalid(&at.child("clusterIPs").index(0), "None", detail);
        }
        "ExternalName" => external_name(spec, &at, &mut errors),
        _ => {}
    }
    ports(service, &at.child("ports"), &mut errors);
    errors.extend(meta::validate_labels(spec.object("selector"), &at.child("selector")));
    affinity(spec, &at, &mut errors);
    errors.extend(cluster_ips(service, old));
    external_ips(spec, old, &at.child("externalIPs"), &mut errors);
    errors.one_of(&at.child("type"), kind, &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]);
    if kind == "ClusterIP" {
        for (i, port) in spec.list("ports").iter().enumerate() {
            if port.int("nodePort").unwrap_or(0) != 0 {
                let at = at.child("ports").index(i).child("nodePort");
                errors.forbidden(&at, "may not be used when `type` is 'ClusterIP'");
            }
        }
    }
    duplicate_ports(spec, &at.child("ports"), &mut errors);
    balancer(service, old, &at, &mut errors);
    traffic(service, &at, &mut errors);
    errors
}

fn external_name(spec: &Value, at: &Path, errors: &mut ErrorList) {
    for field in ["clusterIPs", "ipFamilies"] {
        if !spec.list(field).is_empty() {
            errors.forbidden(&at.child(field), "may not be set for ExternalName services");
        }
    }
    if spec.has("ipFamilyPolicy") {
        errors.forbidden(&at.child("ipFamilyPolicy"), "may not be set for ExternalName services");
    }
    let name = spec.text("externalName");
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        errors.required(&at.child("externalName"), "");
    } else {
        errors.each(&at.child("externalName"), name, names::dns1123_subdomain(name));
    }
}

fn ports(service: &Value, at: &Path, errors: &mut ErrorList) {
    let ports = service["spec"].list("ports");
    let mut seen = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let at = at.index(i);
        let name = port.text("name");
        if name.is_empty() {
            if ports.len() > 1 {
                errors.required(&at.child("name"), "");
            }
        } else {
            errors.each(&at.child("name"), name, names::dns1123_label(name));
            if !seen.insert(name) {
                errors.duplicate(&at.child("name"), name);
            }
        }
        let number = port.int("port").unwrap_or(0);
        for message in names::port_num(number) {
            errors.invalid(&at.child("port"), number, message);
        }
        errors.one_of(&at.child("protocol"), port.text("protocol"), &["SCTP", "TCP", "UDP"]);
        let path = at.child("targetPort");
        match port.sub("targetPort") {
            Some(Value::String(name)) => errors.each(&path, name, names::port_name(name)),
            other => {
                let number = other.and_then(Value::as_i64).unwrap_or(0);
                for message in names::port_num(number) {
                    errors.invalid(&path, number, message);
                }
            }
        }
        if let Some(protocol) = port.sub("appProtocol").and_then(Value::as_str) {
            errors.each(&at.child("appProtocol"), protocol, names::qualified_name(protocol));
        }
    }
}

fn duplicate_ports(spec: &Value, at: &Path, errors: &mut ErrorList) {
    let (mut nodes, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for (i, port) in spec.list("ports").iter().enumerate() {
        let node = port.int("nodePort").unwrap_or(0);
        if node != 0 && !nodes.insert((port.text("protocol"), node)) {
            errors.duplicate(&at.index(i).child("nodePort"), node);
        }
    }
    for (i, port) in spec.list("ports").iter().enumerate() {
        let (protocol, number) = (port.text("protocol"), port.int("port").unwrap_or(0));
        if !numbers.insert((protocol, number)) {
            // Upstream prints its internal struct.
            let shown = json!({
                "Name": "", "Protocol": protocol, "AppProtocol": null, "Port": number, "TargetPort": 0, "NodePort": 0,
            });
            errors.duplicate(&at.index(i), shown);
        }
    }
}

fn affinity(spec: &Value, at: &Path, errors: &mut ErrorList) {
    let kind = spec.text("sessionAffinity");
    errors.one_of(&at.child("sessionAffinity"), kind, &["ClientIP", "None"]);
    let config = spec.sub("sessionAffinityConfig");
    let at = at.child("sessionAffinityConfig");
    if kind == "None" && config.is_some() {
        errors.forbidden(&at, "must not be set when session affinity is None");
    }
    if kind != "ClientIP" {
        return;
    }
    let missing = "when session affinity type is ClientIP";
    let Some(config) = config else { return errors.required(&at, missing) };
    let at = at.child("clientIP");
    let Some(client) = config.sub("clientIP") else { return errors.required(&at, missing) };
    let at = at.child("timeoutSeconds");
    match client.int("timeoutSeconds") {
        None => errors.required(&at, missing),
        Some(seconds) if !(1..=86400).contains(&seconds) => {
            errors.invalid(&at, seconds, "must be greater than 0 and less than 86400");
        }
        Some(_) => {}
    }
}

fn external_ips(spec: &Value, old: Option<&Value>, at: &Path, errors: &mut ErrorList) {
    let known: Vec<&str> = old.map(|o| o["spec"].texts("externalIPs").collect()).unwrap_or_default();
    for (i, ip) in spec.texts("externalIPs").enumerate() {
        let at = at.index(i);
        let faults = names::ip_for_legacy_field(&at, ip, &known);
        if faults.is_empty() {
            endpoint_ip(ip, &at, errors);
        }
        errors.extend(faults);
    }
}

/// An address that traffic may be sent to (`ValidateEndpointIP`).
pub fn endpoint_ip(ip: &str, at: &Path, errors: &mut ErrorList) {
    use std::net::IpAddr;
    let Some(address) = names::parse_ip_sloppy(ip) else { return };
    if address.is_unspecified() {
        errors.invalid(at, ip, format!("may not be unspecified ({ip})"));
    }
    if address.is_loopback() {
        errors.invalid(at, ip, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    let (link_local, link_local_multicast) = match address {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (v6.segments()[0] & 0xffc0 == 0xfe80, v6.segments()[0] & 0xff0f == 0xff02),
    };
    if link_local {
        errors.invalid(at, ip, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if link_local_multicast {
        errors.invalid(at, ip, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

fn balancer(service: &Value, old: Option<&Value>, at: &Path, errors: &mut ErrorList) {
    let spec = &service["spec"];
    let is_balancer = spec.text("type") == "LoadBalancer";
    let only = "may only be used when `type` is 'LoadBalancer'";
    if !spec.list("loadBalancerSourceRanges").is_empty() {
        let at = at.child("LoadBalancerSourceRanges");
        if !is_balancer {
            errors.forbidden(&at, only);
        }
        let known: Vec<&str> =
            old.map(|o| o["spec"].texts("loadBalancerSourceRanges").map(str::trim).collect()).unwrap_or_default();
        for (i, range) in spec.texts("loadBalancerSourceRanges").enumerate() {
            errors.extend(names::cidr_for_legacy_field(&at.index(i), range.trim(), &known));
        }
    } else if let Some(text) = meta::annotation(service, RANGES) {
        let at = Path::new("metadata").child("annotations").key(RANGES);
        if !is_balancer {
            errors.forbidden(&at, only);
        }
        if old.and_then(|o| meta::annotation(o, RANGES)) != Some(text) && !text.trim().is_empty() {
            for range in text.split(',') {
                errors.extend(names::cidr_for_legacy_field(&at, range.trim(), &[]));
            }
        }
    }
    let allocate = spec.has("allocateLoadBalancerNodePorts");
    if allocate && !is_balancer {
        errors.forbidden(&at.child("allocateLoadBalancerNodePorts"), only);
    }
    if !allocate && is_balancer {
        errors.required(&Path::new("allocateLoadBalancerNodePorts"), "");
    }
    if let Some(class) = spec.sub("loadBalancerClass").and_then(Value::as_str) {
        let at = at.child("loadBalancerClass");
        if is_balancer {
            errors.each(&at, class, names::qualified_name(class));
        } else {
            errors.forbidden(&at, only);
        }
    }
}

fn traffic(service: &Value, at: &Path, errors: &mut ErrorList) {
    let spec = &service["spec"];
    let kind = spec.text("type");
    let external =
        matches!(kind, "LoadBalancer" | "NodePort") || (kind == "ClusterIP" && !spec.list("externalIPs").is_empty());
    let policy = spec.text("externalTrafficPolicy");
    let path = at.child("externalTrafficPolicy");
    if external {
        errors.one_of(&path, policy, &["Cluster", "Local"]);
    } else if !policy.is_empty() {
        errors.invalid(&path, policy, "may only be set for externally-accessible services");
    }
    let port = spec.int("healthCheckNodePort").unwrap_or(0);
    let path = at.child("healthCheckNodePort");
    if !needs_health_check_port(service) {
        if port != 0 {
            let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.invalid(&path, port, detail);
        }
    } else if port == 0 {
        errors.required(&path, "");
    } else {
        for message in names::port_num(port) {
            errors.invalid(&path, port, message);
        }
    }
    let path = at.child("internalTrafficPolicy");
    match spec.sub("internalTrafficPolicy").and_then(Value::as_str) {
        None if matches!(kind, "NodePort" | "LoadBalancer" | "ClusterIP") => errors.required(&path, ""),
        Some(policy) if !["Cluster", "Local"].contains(&policy) => {
            errors.unsupported(&path, policy, &["Cluster", "Local"]);
        }
        _ => {}
    }
    if let Some(distribution) = spec.sub("trafficDistribution").and_then(Value::as_str) {
        let known = ["PreferClose", "PreferSameZone", "PreferSameNode"];
        if !known.contains(&distribution) {
            errors.unsupported(&at.child("trafficDistribution"), distribution, &known);
        }
    }
}

/// ValidateServiceClusterIPsRelatedFields.
pub(super) fn cluster_ips(service: &Value, old: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    let spec = &service["spec"];
    if spec.text("type") == "ExternalName" {
        return errors;
    }
    let at = Path::new("spec");
    let path = at.child("clusterIPs");
    let one = spec.text("clusterIP");
    let ips: Vec<&str> = spec.texts("clusterIPs").collect();
    let shown = || json!(ips);
    match (one, ips.first()) {
        ("", Some(_)) => errors.invalid(&path, shown(), "must be empty when `clusterIP` is not specified"),
        ("", None) => {}
        (_, None) => errors.required(&path, ""),
        (one, Some(first)) if *first != one => errors.invalid(&path, shown(), "first value must match `clusterIP`"),
        _ => {}
    }
    let mut seen = BTreeSet::new();
    let families: Vec<&str> = spec.texts("ipFamilies").collect();
    for (i, family) in families.iter().enumerate() {
        let at = at.child("ipFamilies").index(i);
        if !["IPv4", "IPv6"].contains(family) {
            errors.unsupported(&at, *family, &["IPv4", "IPv6"]);
        }
        if !seen.insert(family) {
            errors.duplicate(&at, *family);
        }
    }
    if let Some(policy) = spec.sub("ipFamilyPolicy").and_then(Value::as_str) {
        let known = ["PreferDualStack", "RequireDualStack", "SingleStack"];
        if !known.contains(&policy) {
            errors.unsupported(&at.child("ipFamilyPolicy"), policy, &known);
        }
    }
    let known: Vec<&str> = old.map(|o| o["spec"].texts("clusterIPs").collect()).unwrap_or_default();
    let mut bad = false;
    for (i, ip) in ips.iter().enumerate() {
        if i == 0 && *ip == "None" {
            if ips.len() > 1 {
                bad = true;
                errors.invalid(&path, shown(), "'None' must be the first and only value");
            }
            continue;
        }
        let faults = names::ip_for_legacy_field(&path.index(i), ip, &known);
        bad |= !faults.is_empty();
        errors.extend(faults);
    }
    if ips.len() > 2 {
        errors.invalid(&path, shown(), "may only hold up to 2 values");
    }
    if bad {
        return errors;
    }
    if ips.len() > 1 && ips.iter().map(|ip| family_of(ip)).collect::<BTreeSet<_>>().len() < 2 {
        errors.invalid(&path, shown(), "may specify no more than one IP for each IP family");
    }
    if !is_headless(service) {
        for (i, (ip, family)) in ips.iter().zip(&families).enumerate() {
            if family_of(ip) != *family && ["IPv4", "IPv6"].contains(family) {
                let detail = format!("expected an {family} value as indicated by `ipFamilies[{i}]`");
                errors.invalid(&path.index(i), *ip, detail);
            }
        }
    }
    errors
}

fn changeable(service: &Value, old: &Value) -> bool {
    service["spec"].text("type") == "ExternalName" || old["spec"].text("type") == "ExternalName"
}

fn cluster_ips_update(service: &Value, old: &Value, errors: &mut ErrorList) {
    if changeable(service, old) || (is_headless(service) && is_headless(old)) {
        return;
    }
    let at = Path::new("spec").child("clusterIPs");
    let (new, before) = (service["spec"].list("clusterIPs"), old["spec"].list("clusterIPs"));
    let shown = || service["spec"].sub("clusterIPs").cloned();
    if new.len() == before.len() {
        for (i, _) in new.iter().zip(before).enumerate().filter(|(_, (n, b))| n != b) {
            errors.invalid(&at.index(i), shown(), "may not change once set");
        }
        return;
    }
    if new.is_empty() {
        errors.invalid(&at.index(0), shown(), "primary clusterIP can not be unset");
    }
    if !new.is_empty() && !before.is_empty() && new[0] != before[0] {
        errors.invalid(&at.index(0), shown(), "may not change once set");
    }
    let policy = service["spec"].text("ipFamilyPolicy");
    if before.len() > new.len() && new.len() == 1 && policy != "SingleStack" {
        let detail = "must be set to 'SingleStack' when releasing the secondary clusterIP";
        errors.invalid(&Path::new("spec").child("ipFamilyPolicy"), policy, detail);
    }
}

fn families_update(service: &Value, old: &Value, errors: &mut ErrorList) {
    if changeable(service, old) || is_headless(service) || is_headless(old) {
        return;
    }
    let at = Path::new("spec").child("ipFamilies").index(0);
    let (new, before) = (service["spec"].list("ipFamilies"), old["spec"].list("ipFamilies"));
    if new.len() == before.len() {
        for _ in new.iter().zip(before).filter(|(n, b)| n != b) {
            errors.invalid(&at, new.to_vec(), "may not change once set");
        }
        return;
    }
    if !new.is_empty() && !before.is_empty() && new[0] != before[0] {
        errors.invalid(&at, service["spec"].sub("clusterIPs").cloned(), "may not change once set");
    }
    let policy = service["spec"].text("ipFamilyPolicy");
    if before.len() > new.len() && new.len() == 1 && policy != "SingleStack" {
        let detail = "must be set to 'SingleStack' when releasing the secondary ipFamily";
        errors.invalid(&Path::new("spec").child("ipFamilyPolicy"), policy, detail);
    }
}

/// ValidateServiceStatusUpdate: the load balancer's answer.
pub(super) fn status_update(service: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("status").child("loadBalancer").child("ingress");
    let ingress = |s: &Value| s["status"].sub("loadBalancer").list("ingress").to_vec();
    let (new, before) = (ingress(service), ingress(old));
    if service["spec"].text("type") != "LoadBalancer" && !new.is_empty() {
        errors.forbidden(&at, "may only be used when `spec.type` is 'LoadBalancer'");
        return errors;
    }
    let known: Vec<&str> = before.iter().map(|i| i.text("ip")).filter(|ip| !ip.is_empty()).collect();
    for (i, point) in new.iter().enumerate() {
        let at = at.index(i);
        let (ip, mode, host) = (point.text("ip"), point.sub("ipMode").and_then(Value::as_str), point.text("hostname"));
        if !ip.is_empty() {
            errors.extend(names::ip_for_legacy_field(&at.child("ip"), ip, &known));
        }
        match mode {
            None if !ip.is_empty() => errors.required(&at.child("ipMode"), "must be specified when `ip` is set"),
            Some(_) if ip.is_empty() => {
                errors.forbidden(&at.child("ipMode"), "may not be specified when `ip` is not set");
            }
            Some(mode) if !["Proxy", "VIP"].contains(&mode) => {
                errors.unsupported(&at.child("ipMode"), mode, &["Proxy", "VIP"]);
            }
            _ => {}
        }
        if !host.is_empty() {
            errors.each(&at.child("hostname"), host, names::dns1123_subdomain(host));
            if names::parse_ip_sloppy(host).is_some() {
                errors.invalid(&at.child("hostname"), host, "must be a DNS name, not an IP address");
            }
        }
    }
    errors
}
