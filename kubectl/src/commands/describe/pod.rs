//! Pods and pod templates: containers, volumes, tolerations.

use machinery::json::Fields;
use serde_json::Value;

use super::doc::{Doc, long_time, text};

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A pod.
pub fn describe(doc: &mut Doc, pod: &Value) {
    let (meta, spec, status) = (&pod["metadata"], &pod["spec"], &pod["status"]);
    doc.pair(0, "Name", &text(&meta["name"]));
    doc.pair(0, "Namespace", &text(&meta["namespace"]));
    doc.pair_if(0, "Priority", &text(&spec["priority"]));
    doc.pair_if(0, "Priority Class Name", &text(&spec["priorityClassName"]));
    doc.pair_if(0, "Runtime Class Name", &text(&spec["runtimeClassName"]));
    doc.pair_if(0, "Service Account", &text(&spec["serviceAccountName"]));
    match spec.text("nodeName") {
        "" => doc.pair(0, "Node", "<none>"),
        node => doc.pair(0, "Node", &format!("{node}/{}", text(&status["hostIP"]))),
    }
    if !status["startTime"].is_null() {
        doc.pair(0, "Start Time", &long_time(&status["startTime"]));
    }
    doc.labels("Labels", &meta["labels"]);
    doc.annotations("Annotations", &meta["annotations"]);
    let phase = text(&status["phase"]);
    if !meta["deletionTimestamp"].is_null() && phase != "Failed" && phase != "Succeeded" {
        let since = crate::printers::table::age(&text(&meta["deletionTimestamp"]));
        doc.pair(0, "Status", &format!("Terminating (lasts {since})"));
        doc.pair(0, "Termination Grace Period", &format!("{}s", text(&meta["deletionGracePeriodSeconds"])));
    } else {
        doc.pair(0, "Status", &phase);
    }
    doc.pair_if(0, "Reason", &text(&status["reason"]));
    doc.pair_if(0, "Message", &text(&status["message"]));
    doc.pair_if(0, "SeccompProfile", &text(&spec["securityContext"]["seccompProfile"]["type"]));
    doc.pair(0, "IP", &text(&status["podIP"]));
    if status.list("podIPs").is_empty() {
        doc.pair(0, "IPs", "<none>");
    } else {
        doc.line(0, "IPs:");
        for ip in status.list("podIPs") {
            doc.pair(1, "IP", &text(&ip["ip"]));
        }
    }
    doc.pair_if(0, "Controlled By", &super::controller(meta));
    doc.pair_if(0, "NominatedNodeName", &text(&status["nominatedNodeName"]));
    if !spec["resources"].is_null() {
        doc.line(0, "Resources:");
        resources(doc, &spec["resources"], 1);
    }
    if !spec.list("initContainers").is_empty() {
        containers(doc, "Init Containers", &spec["initContainers"], &status["initContainerStatuses"], Some(pod), "");
    }
    containers(doc, "Containers", &spec["containers"], &status["containerStatuses"], Some(pod), "");
    if !spec.list("ephemeralContainers").is_empty() {
        containers(
            doc,
            "Ephemeral Containers",
            &spec["ephemeralContainers"],
            &status["ephemeralContainerStatuses"],
            Some(pod),
            "",
        );
    }
    if !status.list("conditions").is_empty() {
        doc.line(0, "Conditions:\n  Type\tStatus");
        for condition in status.list("conditions") {
            doc.line(1, &format!("{} \t{} ", text(&condition["type"]), text(&condition["status"])));
        }
    }
    volumes(doc, &spec["volumes"], "");
    doc.pair(0, "QoS Class", &text(&status["qosClass"]));
    doc.labels("Node-Selectors", &spec["nodeSelector"]);
    tolerations(doc, "Tolerations", &spec["tolerations"]);
    spread(doc, &spec["topologySpreadConstraints"], "");
}

/// `Pod Template:` of a workload.
pub fn template(doc: &mut Doc, template: &Value) {
    let spec = &template["spec"];
    doc.line(0, "Pod Template:");
    doc.labels("  Labels", &template["metadata"]["labels"]);
    if template["metadata"]["annotations"].as_object().is_some_and(|map| !map.is_empty()) {
        doc.annotations("  Annotations", &template["metadata"]["annotations"]);
    }
    doc.pair_if(1, "Service Account", &text(&spec["serviceAccountName"]));
    if !spec.list("initContainers").is_empty() {
        containers(doc, "Init Containers", &spec["initContainers"], &Value::Null, None, "  ");
    }
    containers(doc, "Containers", &spec["containers"], &Value::Null, None, "  ");
    volumes(doc, &spec["volumes"], "  ");
    spread(doc, &spec["topologySpreadConstraints"], "  ");
    doc.pair_if(1, "Priority Class Name", &text(&spec["priorityClassName"]));
    doc.labels("  Node-Selectors", &spec["nodeSelector"]);
    tolerations(doc, "  Tolerations", &spec["tolerations"]);
}

fn resources(doc: &mut Doc, resources: &Value, level: usize) {
    for (title, key) in [("Limits", "limits"), ("Requests", "requests")] {
        let Some(map) = resources[key].as_object().filter(|map| !map.is_empty()) else { continue };
        doc.line(level, &format!("{title}:"));
        for (name, quantity) in map {
            doc.pair(level + 1, name, &text(quantity));
        }
    }
}

fn containers(doc: &mut Doc, label: &str, all: &Value, statuses: &Value, pod: Option<&Value>, space: &str) {
    let none = if items(all).is_empty() { " <none>" } else { "" };
    doc.line(0, &format!("{space}{label}:{none}"));
    for container in items(all) {
        let status = items(statuses).iter().find(|status| status["name"] == container["name"]);
        let indent = if space.is_empty() { "" } else { " " };
        doc.line(1, &format!("{indent}{}:", text(&container["name"])));
        if let Some(status) = status {
            doc.pair(2, "Container ID", &text(&status["containerID"]));
        }
        doc.pair(2, "Image", &text(&container["image"]));
        if let Some(status) = status {
            doc.pair(2, "Image ID", &text(&status["imageID"]));
        }
        for (name, key) in [("Port", "containerPort"), ("Host Port", "hostPort")] {
            let ports: Vec<String> = container
                .list("ports")
                .iter()
                .map(|port| {
                    let number = port[key].as_i64().unwrap_or(0);
                    let plain = format!("{number}/{}", port["protocol"].as_str().unwrap_or("TCP"));
                    match port["name"].as_str() {
                        Some(name) => format!("{plain} ({name})"),
                        None => plain,
                    }
                })
                .collect();
            match ports.len() {
                0 => doc.pair(2, name, "<none>"),
                1 => doc.pair(2, name, &ports[0]),
                _ => doc.pair(2, &format!("{name}s"), &ports.join(", ")),
            }
        }
        doc.pair_if(2, "SeccompProfile", &text(&container["securityContext"]["seccompProfile"]["type"]));
        for (title, key) in [("Command", "command"), ("Args", "args")] {
            if !container.list(key).is_empty() {
                doc.line(2, &format!("{title}:"));
                for word in container.list(key) {
                    text(word).split('\n').for_each(|line| doc.line(3, line));
                }
            }
        }
        if let Some(status) = status {
            state(doc, "State", &status["state"]);
            if !status["lastState"]["terminated"].is_null() {
                state(doc, "Last State", &status["lastState"]);
            }
            doc.pair(2, "Ready", if status["ready"] == true { "True" } else { "False" });
            doc.pair(2, "Restart Count", &status["restartCount"].as_i64().unwrap_or(0).to_string());
        }
        resources(doc, &container["resources"], 2);
        for (title, key) in
            [("Liveness", "livenessProbe"), ("Readiness", "readinessProbe"), ("Startup", "startupProbe")]
        {
            if !container[key].is_null() {
                doc.pair(2, title, &probe(&container[key]));
            }
        }
        env_from(doc, &container["envFrom"]);
        env(doc, container, pod);
        mounts(doc, container);
    }
}

fn state(doc: &mut Doc, title: &str, state: &Value) {
    if !state["running"].is_null() {
        doc.pair(2, title, "Running");
        doc.pair(3, "Started", &long_time(&state["running"]["startedAt"]));
    } else if !state["terminated"].is_null() {
        let of = &state["terminated"];
        doc.pair(2, title, "Terminated");
        doc.pair_if(3, "Reason", &text(&of["reason"]));
        doc.pair_if(3, "Message", &text(&of["message"]));
        doc.pair(3, "Exit Code", &of["exitCode"].as_i64().unwrap_or(0).to_string());
        if of["signal"].as_i64().unwrap_or(0) > 0 {
            doc.pair(3, "Signal", &text(&of["signal"]));
        }
        doc.pair(3, "Started", &long_time(&of["startedAt"]));
        doc.pair(3, "Finished", &long_time(&of["finishedAt"]));
    } else {
        doc.pair(2, title, "Waiting");
        doc.pair_if(3, "Reason", &text(&state["waiting"]["reason"]));
    }
}

/// A probe in one line.
fn probe(probe: &Value) -> String {
    let attributes = format!(
        "delay={}s timeout={}s period={}s #success={} #failure={}",
        probe.int("initialDelaySeconds").unwrap_or(0),
        probe.int("timeoutSeconds").unwrap_or(0),
        probe.int("periodSeconds").unwrap_or(0),
        probe.int("successThreshold").unwrap_or(0),
        probe.int("failureThreshold").unwrap_or(0)
    );
    if !probe["exec"].is_null() {
        let words: Vec<String> = probe["exec"].list("command").iter().map(text).collect();
        return format!("exec [{}] {attributes}", words.join(" "));
    }
    if !probe["httpGet"].is_null() {
        let get = &probe["httpGet"];
        let scheme = text(&get["scheme"]).to_lowercase();
        let scheme = if scheme.is_empty() { String::new() } else { format!("{scheme}:") };
        return format!(
            "http-get {scheme}//{}:{}{} {attributes}",
            text(&get["host"]),
            text(&get["port"]),
            text(&get["path"])
        );
    }
    if !probe["tcpSocket"].is_null() {
        let socket = &probe["tcpSocket"];
        return format!("tcp-socket {}:{} {attributes}", text(&socket["host"]), text(&socket["port"]));
    }
    if !probe["grpc"].is_null() {
        return format!("grpc <pod>:{} {} {attributes}", text(&probe["grpc"]["port"]), text(&probe["grpc"]["service"]));
    }
    format!("unknown {attributes}")
}

fn env_from(doc: &mut Doc, all: &Value) {
    if items(all).is_empty() {
        return;
    }
    doc.line(2, "Environment Variables from:");
    for from in items(all) {
        let (kind, source) = if from["configMapRef"].is_null() {
            ("Secret", &from["secretRef"])
        } else {
            ("ConfigMap", &from["configMapRef"])
        };
        let prefix = match from.text("prefix") {
            "" => String::new(),
            prefix => format!(" with prefix '{prefix}'"),
        };
        doc.line(3, &format!("{}\t{kind}{prefix}\tOptional: {}", text(&source["name"]), source["optional"] == true));
    }
}

fn field_of(pod: Option<&Value>, path: &str) -> String {
    let Some(pod) = pod else { return String::new() };
    if let Some(key) = path.strip_prefix("metadata.annotations['").or_else(|| path.strip_prefix("metadata.labels['")) {
        let map = if path.starts_with("metadata.labels") { "labels" } else { "annotations" };
        return text(&pod["metadata"][map][key.trim_end_matches("']")]);
    }
    text(path.split('.').fold(pod, |value, key| &value[key]))
}

fn env(doc: &mut Doc, container: &Value, pod: Option<&Value>) {
    let all = container.list("env");
    doc.line(2, if all.is_empty() { "Environment:\t<none>" } else { "Environment:" });
    for variable in all {
        let name = text(&variable["name"]);
        let from = &variable["valueFrom"];
        let line = if from.is_null() {
            for (index, part) in text(&variable["value"]).split('\n').enumerate() {
                doc.line(3, &if index == 0 { format!("{name}:\t{part}") } else { format!("\t{part}") });
            }
            continue;
        } else if !from["fieldRef"].is_null() {
            let field = &from["fieldRef"];
            let path = text(&field["fieldPath"]);
            format!("{name}:\t{} ({}:{path})", field_of(pod, &path), text(&field["apiVersion"]))
        } else if !from["resourceFieldRef"].is_null() {
            let resource = text(&from["resourceFieldRef"]["resource"]);
            let value = resource
                .split_once('.')
                .map_or(String::new(), |(kind, what)| text(&container["resources"][kind][what]));
            let value =
                if value.is_empty() && resource.starts_with("limits.") { "node allocatable".to_owned() } else { value };
            format!("{name}:\t{value} ({resource})")
        } else if !from["secretKeyRef"].is_null() {
            let key = &from["secretKeyRef"];
            format!(
                "{name}:\t<set to the key '{}' in secret '{}'>\tOptional: {}",
                text(&key["key"]),
                text(&key["name"]),
                key["optional"] == true
            )
        } else {
            let key = &from["configMapKeyRef"];
            format!(
                "{name}:\t<set to the key '{}' of config map '{}'>\tOptional: {}",
                text(&key["key"]),
                text(&key["name"]),
                key["optional"] == true
            )
        };
        doc.line(3, &line);
    }
}

fn mounts(doc: &mut Doc, container: &Value) {
    let mut all: Vec<&Value> = container.list("volumeMounts").iter().collect();
    doc.line(2, if all.is_empty() { "Mounts:\t<none>" } else { "Mounts:" });
    all.sort_by_key(|mount| text(&mount["mountPath"]));
    for mount in all {
        let mut flags = if mount["readOnly"] == true { "ro".to_owned() } else { "rw".to_owned() };
        if let Some(path) = mount["subPath"].as_str().filter(|path| !path.is_empty()) {
            flags = format!("{flags},path={path:?}");
        }
        doc.line(3, &format!("{} from {} ({flags})", text(&mount["mountPath"]), text(&mount["name"])));
    }
}

fn volumes(doc: &mut Doc, all: &Value, space: &str) {
    if items(all).is_empty() {
        doc.line(0, &format!("{space}Volumes:\t<none>"));
        return;
    }
    doc.line(0, &format!("{space}Volumes:"));
    for volume in items(all) {
        let indent = if space.is_empty() { "" } else { " " };
        doc.line(1, &format!("{indent}{}:", text(&volume["name"])));
        let Some((kind, source)) = volume.as_object().into_iter().flatten().find(|(key, _)| *key != "name") else {
            // A volume without a source is an empty directory.
            continue;
        };
        let optional = |of: &Value| (of["optional"] == true).to_string();
        match kind.as_str() {
            "hostPath" => {
                doc.pair(2, "Type", "HostPath (bare host directory volume)");
                doc.pair(2, "Path", &text(&source["path"]));
                doc.pair(2, "HostPathType", source["type"].as_str().unwrap_or("<none>"));
            }
            "emptyDir" => {
                doc.pair(2, "Type", "EmptyDir (a temporary directory that shares a pod's lifetime)");
                doc.pair(2, "Medium", &text(&source["medium"]));
                doc.pair(2, "SizeLimit", source["sizeLimit"].as_str().unwrap_or("<unset>"));
            }
            "secret" => {
                doc.pair(2, "Type", "Secret (a volume populated by a Secret)");
                doc.pair(2, "SecretName", &text(&source["secretName"]));
                doc.pair(2, "Optional", &optional(source));
            }
            "configMap" => {
                doc.pair(2, "Type", "ConfigMap (a volume populated by a ConfigMap)");
                doc.pair(2, "Name", &text(&source["name"]));
                doc.pair(2, "Optional", &optional(source));
            }
            "persistentVolumeClaim" => {
                doc.pair(
                    2,
                    "Type",
                    "PersistentVolumeClaim (a reference to a PersistentVolumeClaim in the same namespace)",
                );
                doc.pair(2, "ClaimName", &text(&source["claimName"]));
                doc.pair(2, "ReadOnly", &(source["readOnly"] == true).to_string());
            }
            "downwardAPI" => {
                doc.pair(2, "Type", "DownwardAPI (a volume populated by information about the pod)");
                doc.line(2, "Items:");
                for item in source.list("items") {
                    let from = if item["fieldRef"].is_null() {
                        &item["resourceFieldRef"]["resource"]
                    } else {
                        &item["fieldRef"]["fieldPath"]
                    };
                    doc.line(3, &format!("{} -> {}", text(from), text(&item["path"])));
                }
            }
            "projected" => {
                doc.pair(2, "Type", "Projected (a volume that contains injected data from multiple sources)");
                for source in source.list("sources") {
                    if !source["secret"].is_null() {
                        doc.pair(2, "SecretName", &text(&source["secret"]["name"]));
                        doc.pair(2, "Optional", &optional(&source["secret"]));
                    } else if !source["downwardAPI"].is_null() {
                        doc.pair(2, "DownwardAPI", "true");
                    } else if !source["configMap"].is_null() {
                        doc.pair(2, "ConfigMapName", &text(&source["configMap"]["name"]));
                        doc.pair(2, "Optional", &optional(&source["configMap"]));
                    } else if !source["serviceAccountToken"].is_null() {
                        doc.pair(
                            2,
                            "TokenExpirationSeconds",
                            &text(&source["serviceAccountToken"]["expirationSeconds"]),
                        );
                    }
                }
            }
            "nfs" => {
                doc.pair(2, "Type", "NFS (an NFS mount that lasts the lifetime of a pod)");
                doc.pair(2, "Server", &text(&source["server"]));
                doc.pair(2, "Path", &text(&source["path"]));
                doc.pair(2, "ReadOnly", &(source["readOnly"] == true).to_string());
            }
            _ => doc.line(1, "<unknown>"),
        }
    }
}

fn tolerations(doc: &mut Doc, title: &str, all: &Value) {
    doc.raw(&format!("{title}:\t"));
    let mut all: Vec<&Value> = items(all).iter().collect();
    if all.is_empty() {
        doc.raw("<none>\n");
        return;
    }
    all.sort_by_key(|toleration| text(&toleration["key"]));
    for (index, toleration) in all.into_iter().enumerate() {
        let of = |key: &str| text(&toleration[key]);
        let mut line = if index == 0 { String::new() } else { "\t".to_owned() };
        line.push_str(&of("key"));
        if !of("value").is_empty() {
            line.push_str(&format!("={}", of("value")));
        }
        if !of("effect").is_empty() {
            line.push_str(&format!(":{}", of("effect")));
        }
        if of("operator") == "Exists" && of("value").is_empty() {
            line.push_str(if of("key").is_empty() && of("effect").is_empty() { "op=Exists" } else { " op=Exists" });
        }
        if !toleration["tolerationSeconds"].is_null() {
            line.push_str(&format!(" for {}s", of("tolerationSeconds")));
        }
        doc.raw(&format!("{line}\n"));
    }
}

fn spread(doc: &mut Doc, all: &Value, space: &str) {
    let mut all: Vec<&Value> = items(all).iter().collect();
    if all.is_empty() {
        return;
    }
    all.sort_by_key(|constraint| text(&constraint["topologyKey"]));
    doc.raw(&format!("{space}Topology Spread Constraints:\t"));
    for (index, constraint) in all.into_iter().enumerate() {
        if index > 0 {
            doc.raw(&format!("{space}\t"));
        }
        let selector = match super::selector_text(&constraint["labelSelector"]) {
            text if text.is_empty() => String::new(),
            text => format!(" for selector {text}"),
        };
        doc.raw(&format!(
            "{}:{} when max skew {} is exceeded{selector}\n",
            text(&constraint["topologyKey"]),
            text(&constraint["whenUnsatisfiable"]),
            text(&constraint["maxSkew"])
        ));
    }
}
