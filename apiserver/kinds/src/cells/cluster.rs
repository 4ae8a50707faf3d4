//! Rows of the groups around the workloads.

use jiff::Timestamp;
use machinery::json::Fields;
use machinery::meta;
use machinery::time::human_duration;
use serde_json::Value;

use super::core::load_balancer;
use super::{age, condition, count, deleting, flag, joined, name, number, selector, some_of, text_or};

pub(crate) fn api_service(service: &Value, now: Timestamp) -> Vec<Value> {
    let target = match service.at("/spec/service") {
        Some(target) => format!("{}/{}", target.text("namespace"), target.text("name")),
        _ => "Local".into(),
    };
    let available = match condition(service, "/status/conditions", "Available") {
        Some(c) if c["status"] == "True" || c.text("reason").is_empty() => c.text("status").to_owned(),
        Some(c) => format!("{} ({})", c.text("status"), c.text("reason")),
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
    if !request.sub("status").text("certificate").is_empty() {
        status.push_str(",Issued");
    }
    let wanted = request.at("/spec/expirationSeconds").and_then(Value::as_i64);
    vec![
        name(request),
        age(request, now),
        text_or(request, "/spec/signerName", "<none>"),
        request.sub("spec").text("username").into(),
        wanted.map_or("<none>".to_owned(), human_duration).into(),
        status.into(),
    ]
}

/// The name, marked where an annotation makes it the default of its kind.
fn default_name(object: &Value, annotations: &[&str]) -> Value {
    let is_default = |key: &&str| meta::annotation(object, key) == Some("true");
    let mark = if annotations.iter().any(is_default) { " (default)" } else { "" };
    format!("{}{mark}", meta::name(object)).into()
}

pub(crate) fn ingress_class(class: &Value, now: Timestamp) -> Vec<Value> {
    let parameters = match class.at("/spec/parameters") {
        Some(p) => {
            let group = p.text("apiGroup");
            let dot = if group.is_empty() { "" } else { "." };
            format!("{}{dot}{group}/{}", p.text("kind"), p.text("name"))
        }
        _ => "<none>".into(),
    };
    let shown = default_name(class, &["ingressclass.kubernetes.io/is-default-class"]);
    vec![shown, class.sub("spec").text("controller").into(), parameters.into(), age(class, now)]
}

pub(crate) fn ingress(ingress: &Value, now: Timestamp) -> Vec<Value> {
    let rules = ingress.sub("spec").list("rules");
    let hosts: Vec<String> = rules.iter().map(|r| r.text("host").to_owned()).filter(|h| !h.is_empty()).collect();
    let hosts = if hosts.is_empty() { "*".to_owned() } else { some_of(&hosts, 3, rules.len()) };
    let ports = if ingress.sub("spec").list("tls").is_empty() { "80" } else { "80, 443" };
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
    let parent = match address.at("/spec/parentRef") {
        Some(p) => {
            let part = |name: &str, before: &str| match p.text(name) {
                "" => String::new(),
                found => format!("{before}{found}"),
            };
            let resource = format!("{}{}", p.text("resource"), part("group", ".")).to_lowercase();
            format!("{resource}{}/{}", part("namespace", "/"), p.text("name"))
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
        let of_kind = binding.list("subjects").iter().filter(|s| s["kind"] == kind);
        let shown = of_kind.map(|s| match kind {
            "ServiceAccount" => format!("{}/{}", s.text("namespace"), s.text("name")),
            _ => s.text("name").to_owned(),
        });
        Value::from(shown.collect::<Vec<_>>().join(", "))
    };
    vec![
        name(binding),
        format!("{}/{}", binding.sub("roleRef").text("kind"), binding.sub("roleRef").text("name")).into(),
        age(binding, now),
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}

pub(crate) fn csi_driver(driver: &Value, now: Timestamp) -> Vec<Value> {
    let modes = joined(driver, "/spec/volumeLifecycleModes");
    let tokens = match driver.at("/spec/tokenRequests").and_then(Value::as_array) {
        Some(list) => list.iter().map(|t| t.text("audience")).collect::<Vec<_>>().join(","),
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
        class.text("provisioner").into(),
        text_or(class, "/reclaimPolicy", "Delete"),
        text_or(class, "/volumeBindingMode", "Immediate"),
        flag(class, "/allowVolumeExpansion", false),
        age(class, now),
    ]
}

pub(crate) fn volume_attachment(attachment: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(attachment),
        attachment.sub("spec").text("attacher").into(),
        attachment.at("/spec/source").text("persistentVolumeName").into(),
        attachment.sub("spec").text("nodeName").into(),
        flag(attachment, "/status/attached", false),
        age(attachment, now),
    ]
}

pub(crate) fn volume_attributes_class(class: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(class), class.text("driverName").into(), age(class, now)]
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
    let parameters = match policy.at("/spec/paramKind") {
        Some(kind) => format!("{}/{}", kind.text("apiVersion"), kind.text("kind")),
        _ => "<unset>".into(),
    };
    vec![name(policy), count(policy, rules).into(), parameters.into(), age(policy, now)]
}

pub(crate) fn policy_binding(binding: &Value, now: Timestamp) -> Vec<Value> {
    let parameter = match binding.at("/spec/paramRef") {
        Some(p) if !p.text("name").is_empty() => match p.text("namespace") {
            "" => format!("*/{}", p.text("name")),
            namespace => format!("{namespace}/{}", p.text("name")),
        },
        Some(p) if p.get("selector").is_some() => selector(p, "/selector", "").as_str().unwrap_or_default().to_owned(),
        _ => "<unset>".into(),
    };
    vec![name(binding), binding.sub("spec").text("policyName").into(), parameter.into(), age(binding, now)]
}

pub(crate) fn priority_class(class: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(class),
        number(class, "/value").into(),
        flag(class, "/globalDefault", false),
        age(class, now),
        class.text("preemptionPolicy").into(),
    ]
}

pub(crate) fn lease(lease: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(lease), lease.sub("spec").text("holderIdentity").into(), age(lease, now)]
}

pub(crate) fn runtime_class(class: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(class), class.text("handler").into(), age(class, now)]
}

pub(crate) fn endpoint_slice(slice: &Value, now: Timestamp) -> Vec<Value> {
    let port = |port: &Value| match port["port"].as_i64() {
        Some(number) => number.to_string(),
        None => port["name"].as_str().unwrap_or("*").to_owned(),
    };
    let ports: Vec<String> = slice.list("ports").iter().map(port).collect();
    let addresses = slice.list("endpoints").iter().flat_map(|e| e.list("addresses"));
    let addresses: Vec<String> = addresses.filter_map(Value::as_str).map(str::to_owned).collect();
    let shown = |list: &[String]| match some_of(list, 3, list.len()) {
        text if text.is_empty() => "<unset>".to_owned(),
        text => text,
    };
    vec![name(slice), slice.text("addressType").into(), shown(&ports).into(), shown(&addresses).into(), age(slice, now)]
}

pub(crate) fn resource_claim(claim: &Value, now: Timestamp) -> Vec<Value> {
    let allocated = claim.at("/status/allocation").is_some();
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
        slice.sub("spec").text("nodeName").into(),
        slice.sub("spec").text("driver").into(),
        slice.at("/spec/pool").text("name").into(),
        age(slice, now),
    ]
}

pub(crate) fn flow_schema(schema: &Value, now: Timestamp) -> Vec<Value> {
    let dangling = condition(schema, "/status/conditions", "Dangling").map_or("?", |c| c.text("status"));
    vec![
        name(schema),
        schema.at("/spec/priorityLevelConfiguration").text("name").into(),
        number(schema, "/spec/matchingPrecedence").into(),
        text_or(schema, "/spec/distinguisherMethod/type", "<none>"),
        age(schema, now),
        dangling.into(),
    ]
}

pub(crate) fn priority_level(level: &Value, now: Timestamp) -> Vec<Value> {
    let limited = |path: &str| -> Value {
        level.at(&format!("/spec/limited/{path}")).cloned().filter(|v| !v.is_null()).unwrap_or_else(|| "<none>".into())
    };
    vec![
        name(level),
        level.sub("spec").text("type").into(),
        limited("nominalConcurrencyShares"),
        limited("limitResponse/queuing/queues"),
        limited("limitResponse/queuing/handSize"),
        limited("limitResponse/queuing/queueLengthLimit"),
        age(level, now),
    ]
}
