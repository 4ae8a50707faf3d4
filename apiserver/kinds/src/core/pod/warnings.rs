//! Warnings about a pod or a template that is nevertheless accepted (`pkg/api/pod/warnings.go`).

use std::collections::{BTreeMap, BTreeSet};

use machinery::field::Path;
use machinery::json::Fields;
use machinery::quantity::Quantity;
use machinery::{go, meta, names};
use serde_json::Value;

use super::validation::each_container;
use crate::core::{node_labels, volume as volumes};

const VOLUMES: [(&str, &str); 9] = [
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

const ANNOTATIONS: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
];

const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// Of a pod.
pub fn of_pod(pod: &Value) -> Vec<String> {
    collect(pod, &Path::nil(), false)
}

/// Of a template at a path.
pub fn of_template(template: &Value, at: &Path) -> Vec<String> {
    collect(template, at, true)
}

fn collect(pod: &Value, at: &Path, is_template: bool) -> Vec<String> {
    let mut out = Vec::new();
    let spec = &pod["spec"];
    let at_spec = at.child("spec");
    selected_nodes(spec, &at_spec, &mut out);
    for (i, constraint) in spec.list("topologySpreadConstraints").iter().enumerate() {
        let at = at_spec.child("topologySpreadConstraints").index(i);
        let key = constraint.text("topologyKey");
        out.extend(node_labels::deprecated(key).map(|words| format!("{}: {key} is {words}", at.child("topologyKey"))));
        selects_nothing(constraint, &at, &mut out);
    }
    for (key, message) in ANNOTATIONS.iter().filter(|(key, _)| meta::annotation(pod, key).is_some()) {
        out.push(format!("{}: {message}", at.child("metadata").child("annotations").key(key)));
    }
    for (i, volume) in spec.list("volumes").iter().enumerate() {
        for (kind, message) in VOLUMES.iter().filter(|(kind, _)| volume.has(kind)) {
            let shown = if *kind == "storageos" { "storageOS" } else { kind };
            out.push(format!("{}: {message}", at_spec.child("volumes").index(i).child(shown)));
        }
        if let Some(claim) = volume.sub("ephemeral").sub("volumeClaimTemplate") {
            let at = at_spec.child("volumes").index(i).child("ephemeral").child("volumeClaimTemplate").child("spec");
            out.extend(volumes::claim_warnings(&claim["spec"], &at));
        }
    }
    for (list, field, word) in [("hostAliases", "ip", "ip"), ("imagePullSecrets", "name", "name")] {
        let mut seen = BTreeSet::new();
        for (i, item) in spec.list(list).iter().enumerate() {
            if !seen.insert(item.text(field)) {
                let at = at_spec.child(list).index(i).child(field);
                out.push(format!("{at}: duplicate {word} {}", go::quote(item.text(field))));
            }
        }
    }
    for (i, secret) in spec.list("imagePullSecrets").iter().enumerate() {
        if secret.text("name").is_empty() {
            let at = at_spec.child("imagePullSecrets").index(i).child("name");
            out.push(format!("{at}: invalid empty name \"\""));
        }
    }
    for name in ["memory", "ephemeral-storage"] {
        fraction(spec.sub("overhead"), name, &at_spec.child("overhead"), &mut out);
    }
    if !spec.sub("securityContext").has("seccompProfile") && meta::annotation(pod, SECCOMP_POD).is_some() {
        let at = at.child("metadata").child("annotations").key(SECCOMP_POD);
        out.push(format!("{at}: non-functional in v1.27+; use the \"seccompProfile\" field instead"));
    }
    each_container(spec, &at_spec, |container, path| {
        let key = format!("{SECCOMP_CONTAINER}{}", container.text("name"));
        if !container.sub("securityContext").has("seccompProfile") && meta::annotation(pod, &key).is_some() {
            let at = at.child("metadata").child("annotations").key(&key);
            out.push(format!("{at}: non-functional in v1.27+; use the \"seccompProfile\" field instead"));
        }
        fractions(container, path, &mut out);
        hidden_variables(container, path, &mut out);
    });
    ports(spec, &at_spec, &mut out);
    // A pod's own is made 1 before anybody looks at it.
    if is_template && spec.int("terminationGracePeriodSeconds").is_some_and(|s| s < 0) {
        let at = at_spec.child("terminationGracePeriodSeconds");
        out.push(format!("{at}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let (affinity, at) = (spec.sub("affinity").sub(kind), at_spec.child("affinity").child(kind));
        let required = "requiredDuringSchedulingIgnoredDuringExecution";
        for (i, term) in affinity.list(required).iter().enumerate() {
            selects_nothing(term, &at.child(required).index(i), &mut out);
        }
        let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
        for (i, term) in affinity.list(preferred).iter().enumerate() {
            let at = at.child(preferred).index(i).child("podAffinityTerm");
            selects_nothing(&term["podAffinityTerm"], &at, &mut out);
        }
    }
    for (i, server) in spec.sub("dnsConfig").texts("nameservers").enumerate() {
        out.extend(names::ip_warnings(&at_spec.child("dnsConfig").child("nameservers").index(i), server));
    }
    for (i, alias) in spec.list("hostAliases").iter().enumerate() {
        out.extend(names::ip_warnings(&at_spec.child("hostAliases").index(i).child("ip"), alias.text("ip")));
    }
    out
}

fn selected_nodes(spec: &Value, at: &Path, out: &mut Vec<String>) {
    for (key, _) in spec.entries("nodeSelector") {
        out.extend(node_labels::deprecated(key).map(|words| format!("{}: {words}", at.child("nodeSelector").key(key))));
    }
    let (affinity, at) = (spec.sub("affinity").sub("nodeAffinity"), at.child("affinity").child("nodeAffinity"));
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    for (i, term) in affinity.sub(required).list("nodeSelectorTerms").iter().enumerate() {
        out.extend(node_labels::of_term(term, false, &at.child(required).child("nodeSelectorTerms").index(i)));
    }
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    for (i, term) in affinity.list(preferred).iter().enumerate() {
        let at = at.child(preferred).index(i).child("preference");
        out.extend(node_labels::of_term(&term["preference"], true, &at));
    }
}

fn selects_nothing(term: &Value, at: &Path, out: &mut Vec<String>) {
    if !term.has("labelSelector") {
        out.push(format!("{}: a null labelSelector results in matching no pod", at.child("labelSelector")));
    }
}

fn fraction(amounts: Option<&Value>, name: &str, at: &Path, out: &mut Vec<String>) {
    let amount = amounts.sub(name).and_then(Quantity::from_value);
    if let Some(amount) = amount.filter(|q| q.milli_value() % 1000 != 0) {
        let at = at.key(name);
        out.push(format!("{at}: fractional byte value \"{amount}\" is invalid, must be an integer"));
    }
}

fn fractions(container: &Value, at: &Path, out: &mut Vec<String>) {
    for name in ["memory", "ephemeral-storage"] {
        for list in ["limits", "requests"] {
            fraction(container.sub("resources").sub(list), name, &at.child("resources").child(list), out);
        }
    }
}

// A variable defined again, unless the second makes use of the first.
fn hidden_variables(container: &Value, at: &Path, out: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (i, var) in container.list("env").iter().enumerate() {
        let name = var.text("name");
        if seen.insert(name) {
            continue;
        }
        let reference = format!("$({name})");
        let value = var.text("value");
        if var.has("valueFrom") || value == reference || !value.contains(&reference) {
            let at = at.child("env").index(i);
            let name = go::quote(name);
            out.push(format!("{at}: hides previous definition of {name}, which may be dropped when using apply"));
        }
    }
}

fn ports(spec: &Value, at: &Path, out: &mut Vec<String>) {
    let mut known: BTreeMap<(i64, &str), Vec<(Path, &Value)>> = BTreeMap::new();
    let mut named: BTreeMap<&str, Path> = BTreeMap::new();
    let mut names = Vec::new();
    each_container(spec, at, |container, path| {
        for (i, port) in container.list("ports").iter().enumerate() {
            let at = path.child("ports").index(i);
            if !port.text("hostIP").is_empty() && port.int("hostPort").unwrap_or(0) == 0 {
                out.push(format!(
                    "{at}: hostIP set without hostPort: {{Name:{} HostPort:0 ContainerPort:{} Protocol:{} HostIP:{}}}",
                    port.text("name"),
                    port.int("containerPort").unwrap_or(0),
                    port.text("protocol"),
                    port.text("hostIP")
                ));
            }
            let host = |p: &Value| (p.text("hostIP").to_owned(), p.int("hostPort").unwrap_or(0));
            let others = known.entry((port.int("containerPort").unwrap_or(0), port.text("protocol"))).or_default();
            for (other_at, other) in others.iter() {
                let ((ip, number), (other_ip, other_number)) = (host(port), host(other));
                if ip == other_ip && number == other_number {
                    out.push(format!("{at}: duplicate port definition with {other_at}"));
                } else if number == 0 || other_number == 0 {
                    out.push(format!("{at}: overlapping port definition with {other_at}"));
                } else if number == other_number && ip.is_empty() != other_ip.is_empty() {
                    out.push(format!("{at}: dangerously ambiguous port definition with {other_at}"));
                }
            }
            others.push((at.clone(), port));
            let name = port.text("name");
            if name.is_empty() {
                continue;
            }
            match named.get(name) {
                Some(first) => names.push(format!(
                    "{at}: duplicate port name {} with {first}, services and probes that select ports by name will use {first}",
                    go::quote(name)
                )),
                None => {
                    named.insert(name, at);
                }
            }
        }
    });
    out.extend(names);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn warns_as_upstream() {
        let pod = json!({"spec": {
            "terminationGracePeriodSeconds": -1,
            "volumes": [{"name": "v", "gitRepo": {}}],
            "containers": [
                {"name": "a", "env": [{"name": "X", "value": "1"}, {"name": "X", "value": "2"}, {"name": "X", "value": "$(X):3"}],
                 "ports": [{"containerPort": 80, "protocol": "TCP", "name": "http"}],
                 "resources": {"limits": {"memory": "1500m"}}},
                {"name": "b", "ports": [{"containerPort": 80, "protocol": "TCP", "name": "http"}]},
            ],
        }});
        assert_eq!(
            of_template(&pod, &Path::nil()),
            [
                "spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+",
                "spec.containers[0].resources.limits[memory]: fractional byte value \"1500m\" is invalid, must be an integer",
                "spec.containers[0].env[1]: hides previous definition of \"X\", which may be dropped when using apply",
                "spec.containers[1].ports[0]: duplicate port definition with spec.containers[0].ports[0]",
                "spec.containers[1].ports[0]: duplicate port name \"http\" with spec.containers[0].ports[0], services and probes that select ports by name will use spec.containers[0].ports[0]",
                "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1",
            ]
        );
    }
}
