//! Which Services want a load balancer, which changes matter to it, and which nodes it leads to.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::{LoadBalancerStatus, Node, Service};

use controller::key;

/// The finalizer that keeps a Service until its load balancer is gone.
pub const FINALIZER: &str = "service.kubernetes.io/load-balancer-cleanup";
const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";

/// Whether a Service is the cloud's.
type Serves<'a> = &'a dyn Fn(&Service) -> bool;

pub(super) fn wants(service: &Service, serves: Serves<'_>) -> bool {
    is_balanced(service) && serves(service)
}

fn is_balanced(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|s| s.type_.as_deref() == Some("LoadBalancer"))
}

pub(super) fn is_protected(service: &Service) -> bool {
    service.metadata.finalizers.iter().flatten().any(|f| f == FINALIZER)
}

/// It had one, and must not any more.
pub(super) fn needs_cleanup(service: &Service) -> bool {
    is_protected(service) && (service.metadata.deletion_timestamp.is_some() || !is_balanced(service))
}

/// Whether the load balancer may have to change.
pub(super) fn needs_update(old: &Service, new: &Service, serves: Serves<'_>) -> bool {
    if !wants(old, serves) && !wants(new, serves) {
        return false;
    }
    let (Some(a), Some(b)) = (&old.spec, &new.spec) else { return true };
    wants(old, serves) != wants(new, serves)
        || a.load_balancer_source_ranges != b.load_balancer_source_ranges
        || a.ports != b.ports
        || a.session_affinity != b.session_affinity
        || a.session_affinity_config != b.session_affinity_config
        || a.load_balancer_ip != b.load_balancer_ip
        || a.external_ips != b.external_ips
        || old.metadata.annotations != new.metadata.annotations
        || old.metadata.uid != new.metadata.uid
        || a.external_traffic_policy != b.external_traffic_policy
        || a.health_check_node_port != b.health_check_node_port
        || a.ip_families.iter().flatten().count() != b.ip_families.iter().flatten().count()
}

/// Not excluded by its label: one that says neither true nor false excludes.
fn is_included(node: &Node) -> bool {
    let label = node.metadata.labels.as_ref().and_then(|l| l.get(EXCLUDED));
    label.is_none_or(|value| matches!(value.as_str(), "0" | "f" | "F" | "false" | "FALSE" | "False"))
}

/// Whether load balancers may lead to a node: it stays, and is not excluded.
pub fn takes_load(node: &Node) -> bool {
    let mut taints = node.spec.iter().flat_map(|s| s.taints.iter().flatten());
    node.metadata.deletion_timestamp.is_none() && is_included(node) && !taints.any(|t| t.key == TO_BE_DELETED)
}

/// The nodes that load balancers lead to.
pub(super) fn backends(nodes: Vec<Arc<Node>>) -> Vec<Arc<Node>> {
    nodes.into_iter().filter(|node| takes_load(node)).collect()
}

fn provider_id(node: &Node) -> &str {
    node.spec.as_ref().and_then(|s| s.provider_id.as_deref()).unwrap_or_default()
}

/// Whether a change of a node may matter to load balancers.
pub(super) fn matters(old: &Node, new: &Node) -> bool {
    is_included(old) != is_included(new) || provider_id(old) != provider_id(new)
}

/// What of nodes a load balancer knows: their names and the cloud's names for them.
pub(super) fn known(nodes: &[Arc<Node>]) -> BTreeMap<String, String> {
    nodes.iter().map(|node| (key::name(&node.metadata).to_owned(), provider_id(node).to_owned())).collect()
}

/// Whether two states of a load balancer are the same, where none is an empty one.
pub(super) fn same(old: Option<&LoadBalancerStatus>, new: &LoadBalancerStatus) -> bool {
    let old = old.and_then(|s| s.ingress.as_deref()).unwrap_or_default();
    old == new.ingress.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// As clouds do by default.
    fn serves(service: &Service) -> bool {
        service.spec.as_ref().is_some_and(|spec| spec.load_balancer_class.is_none())
    }

    fn service(meta: Value, spec: Value) -> Service {
        let mut service = json!({"metadata": {"name": "s", "uid": "1"}, "spec": {"type": "LoadBalancer"}});
        for (part, more) in [("metadata", meta), ("spec", spec)] {
            service[part].as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        }
        serde_json::from_value(service).unwrap()
    }

    #[test]
    fn a_load_balancer_is_wanted_without_a_class_and_cleaned_up_with_the_finalizer() {
        let check = |meta: Value, spec: Value, want: (bool, bool)| {
            let service = service(meta, spec);
            assert_eq!((wants(&service, &serves), needs_cleanup(&service)), want, "{service:?}");
        };
        let (none, kept) = (json!({}), json!({"finalizers": [FINALIZER]}));
        let going = json!({"finalizers": [FINALIZER], "deletionTimestamp": "2026-01-01T00:00:00Z"});
        check(none.clone(), none.clone(), (true, false));
        check(none.clone(), json!({"type": "ClusterIP"}), (false, false));
        check(none.clone(), json!({"loadBalancerClass": "x"}), (false, false));
        check(kept.clone(), none.clone(), (true, false));
        check(kept, json!({"type": "ClusterIP"}), (false, true));
        check(going, none, (true, true));
        check(json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}), json!({}), (true, false));
    }

    #[test]
    fn changes_that_a_load_balancer_does_not_see_do_not_matter() {
        let check = |meta: Value, spec: Value, want: bool| {
            let (old, new) = (service(json!({}), json!({})), service(meta, spec));
            assert_eq!((needs_update(&old, &new, &serves), needs_update(&new, &old, &serves)), (want, want), "{new:?}");
        };
        check(json!({}), json!({}), false);
        check(json!({"labels": {"a": "b"}}), json!({"selector": {"a": "b"}}), false);
        check(json!({"annotations": {"a": "b"}}), json!({}), true);
        check(json!({"uid": "2"}), json!({}), true);
        for spec in [
            json!({"type": "ClusterIP"}),
            json!({"loadBalancerClass": "x"}),
            json!({"loadBalancerSourceRanges": ["10.0.0.0/8"]}),
            json!({"ports": [{"port": 80}]}),
            json!({"sessionAffinity": "ClientIP"}),
            json!({"loadBalancerIP": "1.2.3.4"}),
            json!({"externalIPs": ["1.2.3.4"]}),
            json!({"externalTrafficPolicy": "Local"}),
            json!({"healthCheckNodePort": 30000}),
            json!({"ipFamilies": ["IPv4", "IPv6"]}),
        ] {
            check(json!({}), spec, true);
        }
        let inner = |port: u16| service(json!({}), json!({"type": "ClusterIP", "ports": [{"port": port}]}));
        assert!(!needs_update(&inner(80), &inner(81), &serves));
    }

    fn node(name: &str, meta: Value, spec: Value) -> Arc<Node> {
        let mut node = json!({"metadata": meta, "spec": spec});
        node["metadata"]["name"] = name.into();
        Arc::new(serde_json::from_value(node).unwrap())
    }

    #[test]
    fn load_balancers_lead_to_nodes_that_stay() {
        let label = |value: &str| json!({"labels": {EXCLUDED: value}});
        let nodes = vec![
            node("plain", json!({}), json!({"providerID": "x://1"})),
            node("excluded", label(""), json!({})),
            node("excluded-too", label("true"), json!({})),
            node("included", label("false"), json!({})),
            node("deleted", json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}), json!({})),
            node("doomed", json!({}), json!({"taints": [{"key": TO_BE_DELETED, "effect": "NoSchedule"}]})),
        ];
        let known = known(&backends(nodes.clone()));
        assert_eq!(known, [("plain", "x://1"), ("included", "")].map(|(a, b)| (a.into(), b.into())).into());
        let matters = |a: usize, b: usize| matters(&nodes[a], &nodes[b]);
        assert!(matters(3, 1) && matters(0, 3) && !matters(1, 2) && !matters(3, 4) && !matters(3, 5));
    }
}
