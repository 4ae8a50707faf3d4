//! Rows of the groups around the workloads.

use jiff::Timestamp;
use machinery::meta;
use machinery::time::human_duration;
use serde_json::Value;

use super::core::load_balancer;
use super::{age, condition, count, deleting, flag, items, joined, name, number, selector, some_of, text, text_or};

pub(crate) fn api_service(service: &Value, now: Timestamp) -> Vec<Value> {
    let target = match service.pointer("/spec/service") {
        Some(target) if !target.is_null() => format!("{}/{}", text(target, "/namespace"), text(target, "/name")),
        _ => "Local".into(),
    };
    let available = match condition(service, "/status/conditions", "Available") {
        Some(c) if c["status"] == "True" || text(c, "/reason").is_empty() => text(c, "/status").to_owned(),
        Some(c) => format!("{} ({})", text(c, "/status"), text(c, "/reason")),
        None => "Unknown".into(),
    };
    vec![name(service), target.into(), available.into(), age(service, now)]
}

pub(crate) fn certificate_signing_request(request: &Value, now: Timestamp) -> Vec<Value> {
    let has = |kind: &str| condition(request, "/status/conditions", kind).is_some();
    let mut status = match () {
        () if has("Denied") => "Denied".to_owned(),
        () if has("Approved") => "Approved".to_owned(),
        () => "Pending".to_owned(),
    };
    if has("Failed") {
        status.push_str(",Failed");
    }
    if !text(request, "/status/certificate").is_empty() {
        status.push_str(",Issued");
    }
    let wanted = request.pointer("/spec/expirationSeconds").and_then(Value::as_i64);
    vec![
        name(request),
        age(request, now),
        text_or(request, "/spec/signerName", "<none>"),
        text(request, "/spec/username").into(),
        wanted.map_or("<none>".to_owned(), human_duration).into(),
        status.into(),
    ]
}

/// The name, marked where an annotation makes it the default of its kind.
fn default_name(object: &Value, annotations: &[&str]) -> Value {
    let is_default = |key: &&str| meta::annotation(object, key) == Some("true");
    let mark = if annotations.iter().any(is_default) { " (default)" } else { "" };
    format!("{}{mark}", text(object, "/metadata/name")).into()
}

pub(crate) fn ingress_class(class: &Value, now: Timestamp) -> Vec<Value> {
    let parameters = match class.pointer("/spec/parameters") {
        Some(p) if !p.is_null() => {
            let group = text(p, "/apiGroup");
            let dot = if group.is_empty() { "" } else { "." };
            format!("{}{dot}{group}/{}", text(p, "/kind"), text(p, "/name"))
        }
        _ => "<none>".into(),
    };
    let shown = default_name(class, &["ingressclass.kubernetes.io/is-default-class"]);
    vec![shown, text(class, "/spec/controller").into(), parameters.into(), age(class, now)]
}

pub(crate) fn ingress(ingress: &Value, now: Timestamp) -> Vec<Value> {
    let rules = items(ingress, "/spec/rules");
    let hosts: Vec<String> = rules.iter().map(|r| text(r, "/host").to_owned()).filter(|h| !h.is_empty()).collect();
    let hosts = if hosts.is_empty() { "*".to_owned() } else { some_of(&hosts, 3, rules.len()) };
    let ports = if items(ingress, "/spec/tls").is_empty() { "80" } else { "80, 443" };
    vec![
        name(ingress),
        text_or(ingress, "/spec/ingressClassName", "<none>"),
        hosts.into(),
        load_balancer(ingress).into(),
        ports.into(),
        age(ingress, now),
    ]
}

pub(crate) fn ip_address(address: &Value, now: Timestamp) -> Vec<Value> {
    let parent = match address.pointer("/spec/parentRef") {
        Some(p) if !p.is_null() => {
            let part = |path: &str, before: &str| match text(p, path) {
                "" => String::new(),
                found => format!("{before}{found}"),
            };
            let resource = format!("{}{}", text(p, "/resource"), part("/group", ".")).to_lowercase();
            format!("{resource}{}/{}", part("/namespace", "/"), text(p, "/name"))
        }
        _ => "<none>".into(),
    };
    vec![name(address), parent.into(), age(address, now)]
}

pub(crate) fn network_policy(policy: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(policy), selector(policy, "/spec/podSelector", "<none>"), age(policy, now)]
}

pub(crate) fn service_cidr(cidr: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(cidr), joined(cidr, "/spec/cidrs").into(), age(cidr, now)]
}

pub(crate) fn role_binding(binding: &Value, now: Timestamp) -> Vec<Value> {
    let subjects = |kind: &str| {
        let of_kind = items(binding, "/subjects").iter().filter(|s| s["kind"] == kind);
        let shown = of_kind.map(|s| match kind {
            "ServiceAccount" => format!("{}/{}", text(s, "/namespace"), text(s, "/name")),
            _ => text(s, "/name").to_owned(),
        });
        Value::from(shown.collect::<Vec<_>>().join(", "))
    };
    vec![
        name(binding),
        format!("{}/{}", text(binding, "/roleRef/kind"), text(binding, "/roleRef/name")).into(),
        age(binding, now),
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}

pub(crate) fn csi_driver(driver: &Value, now: Timestamp) -> Vec<Value> {
    let modes = joined(driver, "/spec/volumeLifecycleModes");
    let tokens = match driver.pointer("/spec/tokenRequests").and_then(Value::as_array) {
        Some(list) => list.iter().map(|t| text(t, "/audience")).collect::<Vec<_>>().join(","),
        None => "<unset>".into(),
    };
    vec![
        name(driver),
        flag(driver, "/spec/attachRequired", true),
        flag(driver, "/spec/podInfoOnMount", false),
        flag(driver, "/spec/storageCapacity", false),
        tokens.into(),
        flag(driver, "/spec/requiresRepublish", false),
        if modes.is_empty() { "<none>".into() } else { modes.into() },
        age(driver, now),
    ]
}

pub(crate) fn csi_node(node: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(node), count(node, "/spec/drivers").into(), age(node, now)]
}

pub(crate) fn storage_class(class: &Value, now: Timestamp) -> Vec<Value> {
    let marks = ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
    vec![
        default_name(class, &marks),
        text(class, "/provisioner").into(),
        text_or(class, "/reclaimPolicy", "Delete"),
        text_or(class, "/volumeBindingMode", "Immediate"),
        flag(class, "/allowVolumeExpansion", false),
        age(class, now),
    ]
}

pub(crate) fn volume_attachment(attachment: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(attachment),
        text(attachment, "/spec/attacher").into(),
        text(attachment, "/spec/source/persistentVolumeName").into(),
        text(attachment, "/spec/nodeName").into(),
        flag(attachment, "/status/attached", false),
        age(attachment, now),
    ]
}

pub(crate) fn volume_attributes_class(class: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(class), text(class, "/driverName").into(), age(class, now)]
}

pub(crate) fn webhooks(configuration: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(configuration), count(configuration, "/webhooks").into(), age(configuration, now)]
}

pub(crate) fn mutating_admission_policy(policy: &Value, now: Timestamp) -> Vec<Value> {
    admission_policy(policy, "/spec/mutations", now)
}

pub(crate) fn validating_admission_policy(policy: &Value, now: Timestamp) -> Vec<Value> {
    admission_policy(policy, "/spec/validations", now)
}

fn admission_policy(policy: &Value, rules: &str, now: Timestamp) -> Vec<Value> {
    let parameters = match policy.pointer("/spec/paramKind") {
        Some(kind) if !kind.is_null() => format!("{}/{}", text(kind, "/apiVersion"), text(kind, "/kind")),
        _ => "<unset>".into(),
    };
    vec![name(policy), count(policy, rules).into(), parameters.into(), age(policy, now)]
}

pub(crate) fn policy_binding(binding: &Value, now: Timestamp) -> Vec<Value> {
    let parameter = match binding.pointer("/spec/paramRef") {
        Some(p) if !text(p, "/name").is_empty() => match text(p, "/namespace") {
            "" => format!("*/{}", text(p, "/name")),
            namespace => format!("{namespace}/{}", text(p, "/name")),
        },
        Some(p) if p.get("selector").is_some() => selector(p, "/selector", "").as_str().unwrap_or_default().to_owned(),
        _ => "<unset>".into(),
    };
    vec![name(binding), text(binding, "/spec/policyName").into(), parameter.into(), age(binding, now)]
}

pub(crate) fn priority_class(class: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(class),
        number(class, "/value").into(),
        flag(class, "/globalDefault", false),
        age(class, now),
        text(class, "/preemptionPolicy").into(),
    ]
}

pub(crate) fn lease(lease: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(lease), text(lease, "/spec/holderIdentity").into(), age(lease, now)]
}

pub(crate) fn runtime_class(class: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(class), text(class, "/handler").into(), age(class, now)]
}

pub(crate) fn endpoint_slice(slice: &Value, now: Timestamp) -> Vec<Value> {
    let port = |port: &Value| match port["port"].as_i64() {
        Some(number) => number.to_string(),
        None => port["name"].as_str().unwrap_or("*").to_owned(),
    };
    let ports: Vec<String> = items(slice, "/ports").iter().map(port).collect();
    let addresses = items(slice, "/endpoints").iter().flat_map(|e| items(e, "/addresses"));
    let addresses: Vec<String> = addresses.filter_map(Value::as_str).map(str::to_owned).collect();
    let shown = |list: &[String]| match some_of(list, 3, list.len()) {
        text if text.is_empty() => "<unset>".to_owned(),
        text => text,
    };
    vec![
        name(slice),
        text(slice, "/addressType").into(),
        shown(&ports).into(),
        shown(&addresses).into(),
        age(slice, now),
    ]
}

pub(crate) fn resource_claim(claim: &Value, now: Timestamp) -> Vec<Value> {
    let allocated = claim.pointer("/status/allocation").is_some_and(|a| !a.is_null());
    let states = [
        ("deleted", deleting(claim)),
        ("pending", !allocated && !deleting(claim)),
        ("allocated", allocated),
        ("reserved", allocated && count(claim, "/status/reservedFor") > 0),
    ];
    let state = states.into_iter().filter(|(_, on)| *on).map(|(word, _)| word).collect::<Vec<_>>().join(",");
    vec![name(claim), state.into(), age(claim, now)]
}

pub(crate) fn resource_slice(slice: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(slice),
        text(slice, "/spec/nodeName").into(),
        text(slice, "/spec/driver").into(),
        text(slice, "/spec/pool/name").into(),
        age(slice, now),
    ]
}

pub(crate) fn flow_schema(schema: &Value, now: Timestamp) -> Vec<Value> {
    let dangling = condition(schema, "/status/conditions", "Dangling").map_or("?", |c| text(c, "/status"));
    vec![
        name(schema),
        text(schema, "/spec/priorityLevelConfiguration/name").into(),
        number(schema, "/spec/matchingPrecedence").into(),
        text_or(schema, "/spec/distinguisherMethod/type", "<none>"),
        age(schema, now),
        dangling.into(),
    ]
}

pub(crate) fn priority_level(level: &Value, now: Timestamp) -> Vec<Value> {
    let limited = |path: &str| -> Value {
        level
            .pointer(&format!("/spec/limited/{path}"))
            .cloned()
            .filter(|v| !v.is_null())
            .unwrap_or_else(|| "<none>".into())
    };
    vec![
        name(level),
        text(level, "/spec/type").into(),
        limited("nominalConcurrencyShares"),
        limited("limitResponse/queuing/queues"),
        limited("limitResponse/queuing/handSize"),
        limited("limitResponse/queuing/queueLengthLimit"),
        age(level, now),
    ]
}
