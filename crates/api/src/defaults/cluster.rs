//! The groups around the workloads: networking, RBAC, storage, admission, flow control, extension.

use machinery::json::Fields;
use serde_json::{Map, Value, json};

use super::{Row, each, empty, inner, inner_if, or, or_zero};

const RBAC: &str = "rbac.authorization.k8s.io";

pub(super) const RULES: &[Row] = &[
    ("networking.v1", "NetworkPolicyPort", |m| or(m, "protocol", "TCP")),
    ("networking.v1", "NetworkPolicy", network_policy),
    ("networking.v1", "IngressClass", ingress_class),
    ("discovery.v1", "EndpointPort", endpoint_port),
    ("rbac.v1", "ClusterRoleBinding", role_ref),
    ("rbac.v1", "RoleBinding", role_ref),
    ("rbac.v1", "Subject", subject),
    ("storage.v1", "StorageClass", storage_class),
    ("storage.v1", "CSIDriver", csi_driver),
    ("scheduling.v1", "PriorityClass", |m| or(m, "preemptionPolicy", "PreemptLowerPriority")),
    ("flowcontrol.v1", "FlowSchemaSpec", |m| or_zero(m, "matchingPrecedence", 1000)),
    ("flowcontrol.v1", "ExemptPriorityLevelConfiguration", |m| priority_level(m, 0)),
    ("flowcontrol.v1", "LimitedPriorityLevelConfiguration", |m| priority_level(m, 30)),
    ("flowcontrol.v1", "QueuingConfiguration", queuing),
    ("admissionregistration.v1", "ValidatingWebhook", webhook),
    ("admissionregistration.v1", "MutatingWebhook", mutating_webhook),
    // Upstream's rule is for Rule, which RuleWithOperations and NamedRuleWithOperations inline.
    ("admissionregistration.v1", "RuleWithOperations", |m| or(m, "scope", "*")),
    ("admissionregistration.v1", "NamedRuleWithOperations", |m| or(m, "scope", "*")),
    ("admissionregistration.v1", "ServiceReference", |m| or(m, "port", 443)),
    ("admissionregistration.v1", "ValidatingAdmissionPolicySpec", |m| or(m, "failurePolicy", "Fail")),
    ("admissionregistration.v1", "MutatingAdmissionPolicySpec", |m| or(m, "failurePolicy", "Fail")),
    ("admissionregistration.v1", "MatchResources", match_resources),
    ("apiextensions.v1", "CustomResourceDefinition", custom_resource_definition),
    ("apiextensions.v1", "ServiceReference", |m| or(m, "port", 443)),
    ("apiregistration.v1", "ServiceReference", |m| or(m, "port", 443)),
];

fn network_policy(policy: &mut Map<String, Value>) {
    let spec = inner(policy, "spec");
    let types = if empty(spec, "egress") { json!(["Ingress"]) } else { json!(["Ingress", "Egress"]) };
    or_zero(spec, "policyTypes", types);
}

fn ingress_class(class: &mut Map<String, Value>) {
    if let Some(parameters) = inner_if(class, "spec").and_then(|s| inner_if(s, "parameters")) {
        or(parameters, "scope", "Cluster");
    }
}

fn endpoint_port(port: &mut Map<String, Value>) {
    or(port, "name", "");
    or(port, "protocol", "TCP");
}

fn role_ref(binding: &mut Map<String, Value>) {
    or_zero(inner(binding, "roleRef"), "apiGroup", RBAC);
}

fn subject(subject: &mut Map<String, Value>) {
    if matches!(subject.text("kind"), "User" | "Group") {
        or_zero(subject, "apiGroup", RBAC);
    }
}

fn storage_class(class: &mut Map<String, Value>) {
    or(class, "reclaimPolicy", "Delete");
    or(class, "volumeBindingMode", "Immediate");
}

fn csi_driver(driver: &mut Map<String, Value>) {
    let spec = inner(driver, "spec");
    or(spec, "attachRequired", true);
    or(spec, "podInfoOnMount", false);
    or(spec, "storageCapacity", false);
    or(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    or_zero(spec, "volumeLifecycleModes", json!(["Persistent"]));
    or(spec, "requiresRepublish", false);
    or(spec, "seLinuxMount", false);
}

fn priority_level(level: &mut Map<String, Value>, shares: i32) {
    or(level, "nominalConcurrencyShares", shares);
    or(level, "lendablePercent", 0);
}

fn queuing(queuing: &mut Map<String, Value>) {
    or_zero(queuing, "handSize", 8);
    or_zero(queuing, "queues", 64);
    or_zero(queuing, "queueLengthLimit", 50);
}

fn webhook(webhook: &mut Map<String, Value>) {
    or(webhook, "failurePolicy", "Fail");
    match_resources(webhook);
    or(webhook, "timeoutSeconds", 10);
}

fn mutating_webhook(mutating: &mut Map<String, Value>) {
    webhook(mutating);
    or(mutating, "reinvocationPolicy", "Never");
}

fn match_resources(matches: &mut Map<String, Value>) {
    or(matches, "matchPolicy", "Equivalent");
    or(matches, "namespaceSelector", json!({}));
    or(matches, "objectSelector", json!({}));
}

fn custom_resource_definition(definition: &mut Map<String, Value>) {
    let spec = inner(definition, "spec");
    let names = inner(spec, "names");
    let kind = names.text("kind").to_owned();
    or_zero(names, "singular", kind.to_lowercase());
    if !kind.is_empty() {
        or_zero(names, "listKind", format!("{kind}List"));
    }
    or(spec, "conversion", json!({"strategy": "None"}));
    let stored = each(spec, "versions")
        .find(|v| v.get("storage") == Some(&Value::Bool(true)))
        .and_then(|v| v.get("name").cloned());
    if let Some(name) = stored {
        or_zero(inner(definition, "status"), "storedVersions", json!([name]));
    }
}
