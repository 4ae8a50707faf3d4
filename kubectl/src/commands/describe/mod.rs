//! `kubectl describe`: an object for people to read, with its surroundings and events.
//!
//! Kinds that people look at most have a description of their own, laid out as upstream's; all others get their fields.

pub mod doc;
mod node;
mod pod;

use serde_json::Value;

use self::doc::{Doc, long_time, text};
use super::Command;
use crate::{
    cli::{
        context::{Call, Context},
        failure::{Failure, Outcome},
        flags::{Flag, switch, value},
    },
    resource_builder::{Info, files, select},
};

/// The table row.
pub const COMMAND: Command =
    Command { name: "describe", aliases: &[], flags: &[FLAGS, files::FLAGS], sub: &[], run: super::action!(run) };

const FLAGS: &[Flag] =
    &[switch("all-namespaces").short('A'), value("selector").short('l'), switch("show-events"), value("chunk-size")];

async fn run(context: Context) -> Outcome {
    let flags = &context.flags;
    if flags.args.is_empty() && !files::given(&context) {
        return Err(Failure::plain(
            "You must specify the type of resource to describe. Use \"kubectl api-resources\" for a complete list of supported resources.\n",
        ));
    }
    let (infos, failures) = match select::infos(&context, &flags.args).await {
        Ok(found) => found,
        Err(failure) => return Err(failure),
    };
    let (infos, failures) = by_prefix(&context, infos, failures).await?;
    let mut failures = failures;
    let mut first = true;
    let some = !infos.is_empty();
    for mut info in infos {
        if info.object["metadata"]["uid"].is_null() {
            match info.read(&context).await {
                Ok(object) => info.object = object,
                Err(failure) => {
                    failures.push(failure);
                    continue;
                }
            }
        }
        if !first {
            context.print("\n\n")?;
        }
        first = false;
        context.print(&describe(&context, &info).await?)?;
    }
    if !some && failures.is_empty() {
        if flags.is("all-namespaces") {
            context.note(format_args!("No resources found"));
        } else {
            context.note(format_args!("No resources found in {} namespace.", context.namespace()?.0));
        }
    }
    Failure::all(failures)
}

/// A name that is no object's may be the beginning of several.
async fn by_prefix(context: &Context, infos: Vec<Info>, failures: Vec<Failure>) -> Outcome<(Vec<Info>, Vec<Failure>)> {
    let [kind, prefix] = context.flags.args.as_slice() else { return Ok((infos, failures)) };
    if !infos.is_empty() || failures.is_empty() || !failures.iter().all(Failure::is_not_found) || kind.contains('/') {
        return Ok((infos, failures));
    }
    let resource = context.mapper().await?.require(kind)?;
    let found = select::list(context, &resource).await?;
    let found: Vec<Info> = found.into_iter().filter(|info| info.name.starts_with(prefix.as_str())).collect();
    if found.is_empty() { Ok((infos, failures)) } else { Ok((found, Vec::new())) }
}

/// `ReplicaSet/web-1`.
fn controller(meta: &Value) -> String {
    let owners = meta["ownerReferences"].as_array();
    let owner = owners.into_iter().flatten().find(|owner| owner["controller"] == true);
    owner.map(|owner| format!("{}/{}", text(&owner["kind"]), text(&owner["name"]))).unwrap_or_default()
}

/// A label selector as people write it.
fn selector_text(selector: &Value) -> String {
    machinery::selector::LabelSelector::from_value(Some(selector).filter(|s| !s.is_null()))
        .map(|s| s.to_string())
        .unwrap_or_default()
}

/// Labels as `a=1,b=2`.
fn flat(labels: &Value) -> String {
    let pairs: Vec<String> =
        labels.as_object().into_iter().flatten().map(|(k, v)| format!("{k}={}", text(v))).collect();
    if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(",") }
}

async fn events(context: &Context, info: &Info) -> Option<Vec<Value>> {
    if !context.flags.is_or("show-events", true) {
        return None;
    }
    let meta = &info.object["metadata"];
    let uid = if info.resource.kind == "Node" { text(&meta["name"]) } else { text(&meta["uid"]) };
    let mut selector = format!("involvedObject.name={},involvedObject.kind={}", info.name, info.resource.kind);
    if !info.namespace.is_empty() {
        selector = format!("{selector},involvedObject.namespace={}", info.namespace);
    }
    let namespace = if info.namespace.is_empty() { String::new() } else { format!("/namespaces/{}", info.namespace) };
    let call = Call::get(format!("/api/v1{namespace}/events")).query("fieldSelector", selector);
    let list = context.json(call).await.ok()?;
    let all = list["items"].as_array().cloned().unwrap_or_default();
    let ours = |event: &Value| {
        let of = text(&event["involvedObject"]["uid"]);
        of.is_empty() || of == uid || of == text(&meta["uid"])
    };
    Some(all.into_iter().filter(ours).collect())
}

async fn describe(context: &Context, info: &Info) -> Outcome<String> {
    let mut doc = Doc::default();
    let object = &info.object;
    let group_kind = (info.resource.group.as_str(), info.resource.kind.as_str());
    let events = match group_kind {
        ("", "Secret" | "Namespace") => None,
        _ => events(context, info).await,
    };
    match group_kind {
        ("", "Pod") => pod::describe(&mut doc, object),
        ("apps", "Deployment") => deployment(context, info, &mut doc).await,
        ("apps", "ReplicaSet") => replica_set(context, info, &mut doc).await,
        ("", "Service") => service(context, info, &mut doc).await,
        ("", "Node") => node::describe(context, &mut doc, object).await,
        ("", "ConfigMap") => config_map(&mut doc, object),
        ("", "Secret") => secret(&mut doc, object),
        ("", "Namespace") => namespace(&mut doc, object),
        _ => generic(&mut doc, object),
    }
    doc.events(events);
    Ok(doc.finish())
}

fn head(doc: &mut Doc, object: &Value) {
    doc.pair(0, "Name", &text(&object["metadata"]["name"]));
    doc.pair(0, "Namespace", &text(&object["metadata"]["namespace"]));
}

fn labels(doc: &mut Doc, object: &Value) {
    doc.labels("Labels", &object["metadata"]["labels"]);
    doc.annotations("Annotations", &object["metadata"]["annotations"]);
}

async fn deployment(context: &Context, info: &Info, doc: &mut Doc) {
    let object = &info.object;
    let (spec, status) = (&object["spec"], &object["status"]);
    let number = |value: &Value| value.as_i64().unwrap_or(0);
    head(doc, object);
    doc.pair(0, "CreationTimestamp", &long_time(&object["metadata"]["creationTimestamp"]));
    labels(doc, object);
    doc.pair(0, "Selector", &selector_text(&spec["selector"]));
    doc.pair(
        0,
        "Replicas",
        &format!(
            "{} desired | {} updated | {} total | {} available | {} unavailable",
            number(&spec["replicas"]),
            number(&status["updatedReplicas"]),
            number(&status["replicas"]),
            number(&status["availableReplicas"]),
            number(&status["unavailableReplicas"])
        ),
    );
    doc.pair(0, "StrategyType", &text(&spec["strategy"]["type"]));
    doc.pair(0, "MinReadySeconds", &number(&spec["minReadySeconds"]).to_string());
    let rolling = &spec["strategy"]["rollingUpdate"];
    if !rolling.is_null() {
        let line =
            format!("{} max unavailable, {} max surge", text(&rolling["maxUnavailable"]), text(&rolling["maxSurge"]));
        doc.pair(0, "RollingUpdateStrategy", &line);
    }
    pod::template(doc, &spec["template"]);
    doc.conditions(&status["conditions"]);
    let call = Call::get(format!("/apis/apps/v1/namespaces/{}/replicasets", info.namespace))
        .query("labelSelector", selector_text(&spec["selector"]));
    let Ok(list) = context.json(call).await else { return };
    let mut sets: Vec<&Value> = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|set| controller(&set["metadata"]) == format!("Deployment/{}", info.name))
        .collect();
    sets.sort_by_key(|set| text(&set["metadata"]["creationTimestamp"]));
    if sets.is_empty() {
        return;
    }
    let is_new = |set: &&Value| {
        let mut template = set["spec"]["template"].clone();
        if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
            labels.remove("pod-template-hash");
        }
        template == spec["template"]
    };
    let line = |sets: Vec<&Value>| {
        let all: Vec<String> = sets
            .iter()
            .map(|set| {
                let (now, wanted) = (number(&set["status"]["replicas"]), number(&set["spec"]["replicas"]));
                format!("{} ({now}/{wanted} replicas created)", text(&set["metadata"]["name"]))
            })
            .collect();
        if all.is_empty() { "<none>".to_owned() } else { all.join(", ") }
    };
    let newest = sets.iter().position(is_new);
    let new: Vec<&Value> = newest.map(|at| sets[at]).into_iter().collect();
    let old: Vec<&Value> = sets.iter().enumerate().filter(|(at, _)| Some(*at) != newest).map(|(_, set)| *set).collect();
    doc.pair(0, "OldReplicaSets", &line(old));
    doc.pair(0, "NewReplicaSet", &line(new));
}

async fn replica_set(context: &Context, info: &Info, doc: &mut Doc) {
    let object = &info.object;
    let (spec, status) = (&object["spec"], &object["status"]);
    head(doc, object);
    doc.pair(0, "Selector", &selector_text(&spec["selector"]));
    labels(doc, object);
    doc.pair_if(0, "Controlled By", &controller(&object["metadata"]));
    let number = |value: &Value| value.as_i64().unwrap_or(0);
    doc.pair(
        0,
        "Replicas",
        &format!("{} current / {} desired", number(&status["replicas"]), number(&spec["replicas"])),
    );
    let call = Call::get(format!("/api/v1/namespaces/{}/pods", info.namespace))
        .query("labelSelector", selector_text(&spec["selector"]));
    let line = match context.json(call).await {
        Err(failure) => format!("error in fetching pods: {}", failure.bare()),
        Ok(list) => {
            let uid = &object["metadata"]["uid"];
            let own = |pod: &&Value| {
                pod["metadata"]["ownerReferences"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .any(|o| o["controller"] == true && o["uid"] == *uid)
            };
            let pods: Vec<&Value> = list["items"].as_array().into_iter().flatten().filter(own).collect();
            let count = |phase: &str| pods.iter().filter(|pod| pod["status"]["phase"] == phase).count();
            format!(
                "{} Running / {} Waiting / {} Succeeded / {} Failed",
                count("Running"),
                count("Pending"),
                count("Succeeded"),
                count("Failed")
            )
        }
    };
    doc.pair(0, "Pods Status", &line);
    pod::template(doc, &spec["template"]);
    doc.conditions(&status["conditions"]);
}

async fn service(context: &Context, info: &Info, doc: &mut Doc) {
    let object = &info.object;
    let spec = &object["spec"];
    let joined = |value: &Value| {
        let all: Vec<String> = value.as_array().into_iter().flatten().map(text).collect();
        if all.is_empty() { "<none>".to_owned() } else { all.join(",") }
    };
    head(doc, object);
    labels(doc, object);
    doc.pair(0, "Selector", &flat(&spec["selector"]));
    doc.pair(0, "Type", &text(&spec["type"]));
    doc.pair_if(0, "IP Family Policy", &text(&spec["ipFamilyPolicy"]));
    doc.pair(0, "IP Families", &joined(&spec["ipFamilies"]));
    doc.pair(0, "IP", &text(&spec["clusterIP"]));
    doc.pair(0, "IPs", &joined(&spec["clusterIPs"]));
    if !spec["externalIPs"].is_null() {
        doc.pair(0, "External IPs", &joined(&spec["externalIPs"]));
    }
    doc.pair_if(0, "Desired LoadBalancer IP", &text(&spec["loadBalancerIP"]));
    doc.pair_if(0, "External Name", &text(&spec["externalName"]));
    let ingress: Vec<String> = object["status"]["loadBalancer"]["ingress"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|entry| if entry["ip"].is_null() { text(&entry["hostname"]) } else { text(&entry["ip"]) })
        .collect();
    doc.pair_if(0, "LoadBalancer Ingress", &ingress.join(", "));
    let call = Call::get(format!("/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices", info.namespace))
        .query("labelSelector", format!("kubernetes.io/service-name={}", info.name));
    let slices = context.json(call).await.unwrap_or_default();
    for port in spec["ports"].as_array().into_iter().flatten() {
        let name = port["name"].as_str().filter(|name| !name.is_empty()).unwrap_or("<unset>");
        let protocol = text(&port["protocol"]);
        doc.pair(0, "Port", &format!("{name}\t{}/{protocol}", text(&port["port"])));
        doc.pair(0, "TargetPort", &format!("{}/{protocol}", text(&port["targetPort"])));
        doc.pair_if(0, "AppProtocol", &text(&port["appProtocol"]));
        if port["nodePort"].as_i64().unwrap_or(0) != 0 {
            doc.pair(0, "NodePort", &format!("{name}\t{}/{protocol}", text(&port["nodePort"])));
        }
        doc.pair(0, "Endpoints", &endpoints(&slices, port["name"].as_str().unwrap_or_default()));
    }
    doc.pair(0, "Session Affinity", &text(&spec["sessionAffinity"]));
    doc.pair_if(0, "External Traffic Policy", &text(&spec["externalTrafficPolicy"]));
    doc.pair_if(0, "Internal Traffic Policy", &text(&spec["internalTrafficPolicy"]));
    if spec["healthCheckNodePort"].as_i64().unwrap_or(0) != 0 {
        doc.pair(0, "HealthCheck NodePort", &text(&spec["healthCheckNodePort"]));
    }
    if !spec["loadBalancerSourceRanges"].is_null() {
        doc.pair(0, "LoadBalancer Source Ranges", &joined(&spec["loadBalancerSourceRanges"]));
    }
    doc.pair_if(0, "Traffic Distribution", &text(&spec["trafficDistribution"]));
}

/// The first three ready addresses of a port, and how many more there are.
fn endpoints(slices: &Value, port_name: &str) -> String {
    const SHOWN: usize = 3;
    let items = slices["items"].as_array().map_or(&[][..], Vec::as_slice);
    if items.is_empty() {
        return "<none>".to_owned();
    }
    let mut all = Vec::new();
    for slice in items {
        let ports = slice["ports"].as_array().map_or(&[][..], Vec::as_slice);
        let ready = || {
            slice["endpoints"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|endpoint| endpoint["conditions"]["ready"] != false)
        };
        if ports.is_empty() {
            all.extend(ready().map(|endpoint| text(&endpoint["addresses"][0])));
        }
        for port in ports.iter().filter(|port| port["name"].as_str().unwrap_or_default() == port_name) {
            all.extend(ready().map(|endpoint| {
                let address = text(&endpoint["addresses"][0]);
                let address = if address.contains(':') { format!("[{address}]") } else { address };
                format!("{address}:{}", text(&port["port"]))
            }));
        }
    }
    let shown = all.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(",");
    if all.len() > SHOWN { format!("{shown} + {} more...", all.len() - SHOWN) } else { shown }
}

fn config_map(doc: &mut Doc, object: &Value) {
    head(doc, object);
    labels(doc, object);
    doc.raw("\nData\n====\n");
    for (key, value) in object["data"].as_object().into_iter().flatten() {
        doc.raw(&format!("{key}:\n----\n{}\n\n", text(value)));
    }
    doc.raw("\nBinaryData\n====\n");
    for (key, value) in object["binaryData"].as_object().into_iter().flatten() {
        doc.raw(&format!("{key}: {} bytes\n", decoded_length(value)));
    }
    doc.raw("\n");
}

fn decoded_length(value: &Value) -> usize {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text(value)).map_or(0, |bytes| bytes.len())
}

fn secret(doc: &mut Doc, object: &Value) {
    head(doc, object);
    labels(doc, object);
    doc.raw(&format!("\nType:\t{}\n", text(&object["type"])));
    doc.raw("\nData\n====\n");
    for (key, value) in object["data"].as_object().into_iter().flatten() {
        doc.pair(0, key, &format!("{} bytes", decoded_length(value)));
    }
}

fn namespace(doc: &mut Doc, object: &Value) {
    doc.pair(0, "Name", &text(&object["metadata"]["name"]));
    labels(doc, object);
    doc.pair(0, "Status", &text(&object["status"]["phase"]));
    if let Some(all) = object["status"]["conditions"].as_array().filter(|all| !all.is_empty()) {
        doc.line(0, "Conditions:");
        doc.line(1, "Type\tStatus\tLastTransitionTime\tReason\tMessage");
        doc.line(1, "----\t------\t------------------\t------\t-------");
        for condition in all {
            let of = |key: &str| text(&condition[key]);
            let time = long_time(&condition["lastTransitionTime"]);
            doc.line(1, &format!("{}\t{}\t{time}\t{}\t{}", of("type"), of("status"), of("reason"), of("message")));
        }
    }
    doc.raw("\nNo resource quota.\n\nNo LimitRange resource.\n");
}

/// Any kind: all its fields, with names as people would write them.
fn generic(doc: &mut Doc, object: &Value) {
    head(doc, object);
    labels(doc, object);
    fields(doc, 0, object, "");
}

fn fields(doc: &mut Doc, level: usize, value: &Value, path: &str) {
    const SKIPPED: &[&str] = &[
        ".metadata.managedFields",
        ".metadata.name",
        ".metadata.namespace",
        ".metadata.labels",
        ".metadata.annotations",
    ];
    for (key, value) in value.as_object().into_iter().flatten() {
        let path = format!("{path}.{key}");
        if SKIPPED.contains(&path.as_str()) {
            continue;
        }
        match value {
            Value::Object(_) => {
                doc.line(level, &format!("{}:", label(key)));
                fields(doc, level + 1, value, &path);
            }
            Value::Array(items) => {
                doc.line(level, &format!("{}:", label(key)));
                for item in items {
                    if item.is_object() {
                        fields(doc, level + 1, item, &path);
                    } else {
                        doc.line(level + 1, &text(item));
                    }
                }
            }
            Value::Null => doc.pair(level, &label(key), "<nil>"),
            other => doc.pair(level, &label(key), &text(other)),
        }
    }
}

/// `clusterIP` as `Cluster IP`.
fn label(field: &str) -> String {
    if !field.chars().all(|c| c.is_alphabetic() || c == '-') {
        return field.to_owned();
    }
    let chars: Vec<char> = field.chars().collect();
    let mut words: Vec<String> = Vec::new();
    for (at, c) in chars.iter().enumerate() {
        let lower = |at: usize| chars.get(at).is_some_and(|c| c.is_lowercase());
        let starts = at == 0 || (c.is_uppercase() && (lower(at - 1) || lower(at + 1)));
        match words.last_mut() {
            Some(word) if !starts => word.push(*c),
            _ => words.push(c.to_string()),
        }
    }
    for word in &mut words {
        let upper = word.to_uppercase();
        if ["API", "URL", "UID", "GUID"].contains(&upper.as_str()) {
            *word = upper;
        } else if let Some(first) = word.chars().next() {
            *word = first.to_uppercase().chain(word.chars().skip(1)).collect();
        }
    }
    words.join(" ")
}

/// A pod template as `rollout history --revision` shows it: upstream leaves the tabs in it.
pub fn template_lines(template: &Value) -> String {
    let mut doc = Doc::default();
    pod::template(&mut doc, template);
    doc.with_tabs()
}

#[cfg(test)]
mod tests {
    #[test]
    fn labels_of_fields() {
        for (field, label) in [
            ("kind", "Kind"),
            ("apiVersion", "API Version"),
            ("clusterIP", "Cluster IP"),
            ("uid", "UID"),
            ("creationTimestamp", "Creation Timestamp"),
            ("tls.crt", "tls.crt"),
        ] {
            assert_eq!(super::label(field), label);
        }
    }
}
