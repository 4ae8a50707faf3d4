//! Fields that say the same or depend on the type: an old client that knows one of them must not break the other.

use std::collections::BTreeMap;

use machinery::json::Fields;
use model::check::{keep, same};
use serde_json::{Value, json};

use super::{needs_cluster_ip, needs_health_check_port, needs_node_port};

fn remove(service: &mut Value, field: &str) {
    service["spec"].as_object_mut().map(|spec| spec.remove(field));
}

fn same_field(a: &Value, b: &Value, field: &str) -> bool {
    same(a["spec"].sub(field), b["spec"].sub(field))
}

/// Makes `clusterIPs` follow `clusterIP` where only the latter was written (`normalizeClusterIPs`).
pub(super) fn sync_cluster_ips(service: &mut Value, old: Option<&Value>) {
    let one = service["spec"].text("clusterIP").to_owned();
    let many = !service["spec"].list("clusterIPs").is_empty();
    let Some(old) = old else {
        if !one.is_empty() && !many {
            service["spec"]["clusterIPs"] = json!([one]);
        }
        return;
    };
    let before = old["spec"].text("clusterIP");
    if !many && before == one {
        keep(&mut service["spec"], &old["spec"], "clusterIPs");
    }
    if before != one && same_field(service, old, "clusterIPs") {
        if one.is_empty() {
            remove(service, "clusterIPs");
        } else {
            service["spec"]["clusterIPs"] = json!([one]);
        }
    }
}

/// What was allocated stays although the client did not send it back (`patchAllocatedValues`).
pub(super) fn carry_allocated(service: &mut Value, old: &Value) {
    if needs_cluster_ip(old) && needs_cluster_ip(service) {
        if service["spec"].text("clusterIP").is_empty() {
            keep(&mut service["spec"], &old["spec"], "clusterIP");
        }
        if service["spec"].list("clusterIPs").is_empty() && same_field(service, old, "clusterIP") {
            keep(&mut service["spec"], &old["spec"], "clusterIPs");
        }
    }
    if needs_node_port(old) && needs_node_port(service) {
        let ports = |service: &Value| -> Vec<i64> {
            service["spec"].list("ports").iter().filter_map(|p| p.int("nodePort")).filter(|p| *p != 0).collect()
        };
        let (of_old, of_new) = (ports(old), ports(service));
        let mut used: Vec<i64> = of_old.into_iter().filter(|p| of_new.contains(p)).collect();
        let by_name: BTreeMap<String, i64> = old["spec"]
            .list("ports")
            .iter()
            .map(|p| (p.text("name").to_owned(), p.int("nodePort").unwrap_or(0)))
            .collect();
        if let Some(Value::Array(ports)) = service["spec"].get_mut("ports") {
            for port in ports.iter_mut().filter(|p| p.int("nodePort").unwrap_or(0) == 0) {
                let known = by_name.get(port.text("name")).copied().unwrap_or(0);
                if known != 0 && !used.contains(&known) {
                    port["nodePort"] = known.into();
                    used.push(known);
                }
            }
        }
    }
    if needs_health_check_port(old)
        && needs_health_check_port(service)
        && service["spec"].int("healthCheckNodePort").unwrap_or(0) == 0
    {
        keep(&mut service["spec"], &old["spec"], "healthCheckNodePort");
    }
}

/// What a change of type makes void goes, unless the client changed it too (`dropTypeDependentFields`).
pub(super) fn drop_type_dependent(service: &mut Value, old: &Value) {
    if needs_cluster_ip(old) && !needs_cluster_ip(service) {
        if same_field(service, old, "clusterIPs") {
            remove(service, "clusterIP");
            remove(service, "clusterIPs");
        }
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            if same_field(service, old, field) {
                remove(service, field);
            }
        }
    }
    let numbers = |service: &Value| {
        let mut out: Vec<i64> = service["spec"].list("ports").iter().filter_map(|p| p.int("nodePort")).collect();
        out.sort_unstable();
        out
    };
    if needs_node_port(old)
        && !needs_node_port(service)
        && numbers(old) == numbers(service)
        && let Some(Value::Array(ports)) = service["spec"].get_mut("ports")
    {
        for port in ports.iter_mut().filter_map(Value::as_object_mut) {
            port.remove("nodePort");
        }
    }
    let drop_where = |service: &mut Value, field: &str, before: bool, after: bool| {
        if before && !after && same_field(service, old, field) {
            remove(service, field);
        }
    };
    let is_balancer = |s: &Value| s["spec"].text("type") == "LoadBalancer";
    let external = |s: &Value| matches!(s["spec"].text("type"), "NodePort" | "LoadBalancer");
    let (before, after) = (needs_health_check_port(old), needs_health_check_port(service));
    drop_where(service, "healthCheckNodePort", before, after);
    let (before, after) = (is_balancer(old), is_balancer(service));
    drop_where(service, "allocateLoadBalancerNodePorts", before, after);
    drop_where(service, "loadBalancerClass", before, after);
    let has_external_ips = !service["spec"].list("externalIPs").is_empty();
    let (before, after) = (external(old), external(service) || has_external_ips);
    drop_where(service, "externalTrafficPolicy", before, after);
}
