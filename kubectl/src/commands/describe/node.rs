//! Nodes: conditions, capacity, and the pods on them with what they ask for.

use machinery::json::Fields;
use machinery::quantity::Quantity;
use serde_json::Value;

use super::doc::{Doc, long_time, text};
use crate::{
    cli::context::{Call, Context},
    printers::table::age,
};

/// A node.
pub async fn describe(context: &Context, doc: &mut Doc, node: &Value) {
    let (meta, spec, status) = (&node["metadata"], &node["spec"], &node["status"]);
    let name = text(&meta["name"]);
    doc.pair(0, "Name", &name);
    let mut roles: Vec<String> = meta["labels"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) if !role.is_empty() => Some(role.to_owned()),
            _ => (key == "kubernetes.io/role").then(|| text(value)),
        })
        .collect();
    roles.sort();
    doc.pair(0, "Roles", &if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") });
    doc.labels("Labels", &meta["labels"]);
    doc.annotations("Annotations", &meta["annotations"]);
    doc.pair(0, "CreationTimestamp", &long_time(&meta["creationTimestamp"]));
    doc.raw("Taints:\t");
    if spec.list("taints").is_empty() {
        doc.raw("<none>\n");
    }
    let mut taints: Vec<&Value> = spec.list("taints").iter().collect();
    taints.sort_by_key(|taint| text(&taint["effect"]) + "," + &text(&taint["key"]));
    for (index, taint) in taints.into_iter().enumerate() {
        let value = match text(&taint["value"]) {
            value if value.is_empty() => String::new(),
            value => format!("={value}"),
        };
        let indent = if index == 0 { "" } else { "\t" };
        doc.raw(&format!("{indent}{}{value}:{}\n", text(&taint["key"]), text(&taint["effect"])));
    }
    doc.pair(0, "Unschedulable", &(spec["unschedulable"] == true).to_string());
    match context
        .json(Call::get(format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}")))
        .await
    {
        Ok(lease) => {
            let time = |key: &str| {
                if lease["spec"][key].is_null() { "<unset>".to_owned() } else { long_time(&lease["spec"][key]) }
            };
            doc.line(0, "Lease:");
            doc.pair(1, "HolderIdentity", lease["spec"]["holderIdentity"].as_str().unwrap_or("<unset>"));
            doc.pair(1, "AcquireTime", &time("acquireTime"));
            doc.pair(1, "RenewTime", &time("renewTime"));
        }
        Err(failure) => doc.pair(0, "Lease", &format!("Failed to get lease: {}", failure.bare())),
    }
    if !status.list("conditions").is_empty() {
        doc.line(0, "Conditions:\n  Type\tStatus\tLastHeartbeatTime\tLastTransitionTime\tReason\tMessage");
        doc.line(1, "----\t------\t-----------------\t------------------\t------\t-------");
        for condition in status.list("conditions") {
            let of = |key: &str| text(&condition[key]);
            doc.line(
                1,
                &format!(
                    "{} \t{} \t{} \t{} \t{} \t{}",
                    of("type"),
                    of("status"),
                    long_time(&condition["lastHeartbeatTime"]),
                    long_time(&condition["lastTransitionTime"]),
                    of("reason"),
                    of("message")
                ),
            );
        }
    }
    doc.line(0, "Addresses:");
    for address in status.list("addresses") {
        doc.pair(1, &text(&address["type"]), &text(&address["address"]));
    }
    for (title, key) in [("Capacity", "capacity"), ("Allocatable", "allocatable")] {
        let Some(map) = status[key].as_object().filter(|map| !map.is_empty()) else { continue };
        doc.line(0, &format!("{title}:"));
        for (name, quantity) in map {
            doc.pair(1, name, &text(quantity));
        }
    }
    doc.line(0, "System Info:");
    for (title, key) in [
        ("Machine ID", "machineID"),
        ("System UUID", "systemUUID"),
        ("Boot ID", "bootID"),
        ("Kernel Version", "kernelVersion"),
        ("OS Image", "osImage"),
        ("Operating System", "operatingSystem"),
        ("Architecture", "architecture"),
        ("Container Runtime Version", "containerRuntimeVersion"),
        ("Kubelet Version", "kubeletVersion"),
    ] {
        doc.pair(1, title, &text(&status["nodeInfo"][key]));
    }
    doc.pair_if(0, "PodCIDR", &text(&spec["podCIDR"]));
    let cidrs: Vec<String> = spec.list("podCIDRs").iter().map(text).collect();
    doc.pair_if(0, "PodCIDRs", &cidrs.join(","));
    doc.pair_if(0, "ProviderID", &text(&spec["providerID"]));
    let call = Call::get("/api/v1/pods")
        .query("fieldSelector", format!("spec.nodeName={name},status.phase!=Failed,status.phase!=Succeeded"));
    match context.json(call).await {
        Ok(list) => pods(doc, list.list("items"), status),
        Err(_) => doc.pair(0, "Pods", "not authorized"),
    }
}

fn zero() -> Quantity {
    Quantity::parse("0").expect("zero is a quantity")
}

/// What a pod asks for, or may use, of a resource.
fn total(pod: &Value, kind: &str, resource: &str) -> Quantity {
    let of = |container: &Value| {
        Quantity::parse(container["resources"][kind][resource].as_str().unwrap_or("0")).unwrap_or_else(|_| zero())
    };
    let (mut sum, mut sidecars, mut peak) = (zero(), zero(), zero());
    for container in pod["spec"].list("containers") {
        sum = sum.add(&of(container));
    }
    for container in pod["spec"].list("initContainers") {
        let mut wanted = of(container);
        if container["restartPolicy"] == "Always" {
            sum = sum.add(&wanted);
            sidecars = sidecars.add(&wanted);
            wanted = sidecars.clone();
        } else {
            wanted = wanted.add(&sidecars);
        }
        if wanted.milli_value() > peak.milli_value() {
            peak = wanted;
        }
    }
    if peak.milli_value() > sum.milli_value() { peak } else { sum }
}

fn share(part: &Quantity, whole: &Value) -> i64 {
    let whole = Quantity::parse(whole.as_str().unwrap_or("0")).map_or(0, |whole| whole.milli_value());
    if whole == 0 { 0 } else { (part.milli_value() as f64 / whole as f64 * 100.0) as i64 }
}

fn pods(doc: &mut Doc, pods: &[Value], status: &Value) {
    let room = if status["allocatable"].is_null() { &status["capacity"] } else { &status["allocatable"] };
    doc.pair(0, "Non-terminated Pods", &format!("({} in total)", pods.len()));
    doc.line(1, "Namespace\tName\t\tCPU Requests\tCPU Limits\tMemory Requests\tMemory Limits\tAge");
    doc.line(1, "---------\t----\t\t------------\t----------\t---------------\t-------------\t---");
    const WHAT: [(&str, &str); 4] =
        [("requests", "cpu"), ("limits", "cpu"), ("requests", "memory"), ("limits", "memory")];
    for pod in pods {
        let meta = &pod["metadata"];
        let mut line = format!("{}\t{}\t", text(&meta["namespace"]), text(&meta["name"]));
        for (kind, resource) in WHAT {
            let amount = total(pod, kind, resource);
            line.push_str(&format!("\t{} ({}%)", amount.canonical(), share(&amount, &room[resource])));
        }
        doc.line(1, &format!("{line}\t{}", age(&text(&meta["creationTimestamp"]))));
    }
    doc.line(0, "Allocated resources:\n  (Total limits may be over 100 percent, i.e., overcommitted.)");
    doc.line(1, "Resource\tRequests\tLimits");
    doc.line(1, "--------\t--------\t------");
    let all = |kind: &str, resource: &str| pods.iter().fold(zero(), |sum, pod| sum.add(&total(pod, kind, resource)));
    for resource in ["cpu", "memory", "ephemeral-storage"] {
        let (requests, limits) = (all("requests", resource), all("limits", resource));
        doc.line(
            1,
            &format!(
                "{resource}\t{} ({}%)\t{} ({}%)",
                requests.canonical(),
                share(&requests, &room[resource]),
                limits.canonical(),
                share(&limits, &room[resource])
            ),
        );
    }
    let others = room.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    let (pages, extended): (Vec<&str>, Vec<&str>) = others
        .filter(|name| !matches!(*name, "cpu" | "memory" | "ephemeral-storage" | "pods"))
        .partition(|name| name.starts_with("hugepages-"));
    for name in pages {
        let (requests, limits) = (all("requests", name), all("limits", name));
        doc.line(
            1,
            &format!(
                "{name}\t{} ({}%)\t{} ({}%)",
                requests.canonical(),
                share(&requests, &room[name]),
                limits.canonical(),
                share(&limits, &room[name])
            ),
        );
    }
    for name in extended {
        doc.line(1, &format!("{name}\t{}\t{}", all("requests", name).canonical(), all("limits", name).canonical()));
    }
}
