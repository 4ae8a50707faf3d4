//! Pods, their specs, containers, probes and volumes: shared by Pods and all templates.

use machinery::json::Fields;
use machinery::quantity::Quantity;
use serde_json::{Map, Value, json};

use super::{Row, each, empty, inner, inner_if, or, or_zero};

pub(super) const RULES: &[Row] = &[
    ("core.v1", "Pod", pod),
    ("core.v1", "PodSpec", pod_spec),
    ("core.v1", "Volume", volume),
    ("core.v1", "Container", container),
    ("core.v1", "EphemeralContainer", container),
    ("core.v1", "Probe", probe),
    ("core.v1", "HTTPGetAction", http_get),
    ("core.v1", "HostPathVolumeSource", |m| or(m, "type", "")),
    ("core.v1", "SecretVolumeSource", |m| or(m, "defaultMode", 0o644)),
    ("core.v1", "ConfigMapVolumeSource", |m| or(m, "defaultMode", 0o644)),
    ("core.v1", "DownwardAPIVolumeSource", |m| or(m, "defaultMode", 0o644)),
    ("core.v1", "ProjectedVolumeSource", |m| or(m, "defaultMode", 0o644)),
    ("core.v1", "ServiceAccountTokenProjection", |m| or(m, "expirationSeconds", 3600)),
    ("core.v1", "ObjectFieldSelector", |m| or_zero(m, "apiVersion", "v1")),
];

fn pod(pod: &mut Map<String, Value>) {
    let spec = inner(pod, "spec");
    // Upstream's conversion does this to pods, not to templates: it holds for whatever is written, patched or stored.
    if spec.get("terminationGracePeriodSeconds").and_then(Value::as_i64).is_some_and(|seconds| seconds < 0) {
        spec.insert("terminationGracePeriodSeconds".to_owned(), 1.into());
    }
    for list in ["containers", "initContainers"] {
        for container in each(spec, list) {
            requests_from_limits(container);
        }
    }
    pod_resources(spec);
    or(spec, "enableServiceLinks", true);
    if spec.get("hostNetwork") == Some(&Value::Bool(true)) {
        for list in ["containers", "initContainers"] {
            for container in each(spec, list) {
                for port in each(container, "ports") {
                    if empty(port, "hostPort")
                        && let Some(number) = port.get("containerPort").cloned()
                    {
                        port.insert("hostPort".into(), number);
                    }
                }
            }
        }
    }
}

fn requests_from_limits(container: &mut Map<String, Value>) {
    let Some(resources) = inner_if(container, "resources") else { return };
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else { return };
    let requests = inner(resources, "requests");
    for (name, limit) in limits {
        requests.entry(name).or_insert(limit);
    }
}

/// Pod-level requests (and huge page limits) that follow from the containers', where pod-level resources are set.
fn pod_resources(spec: &mut Map<String, Value>) {
    let Some(resources) = spec.get("resources").and_then(Value::as_object) else { return };
    let mut limits = resources.get("limits").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut requests = resources.get("requests").and_then(Value::as_object).cloned().unwrap_or_default();
    if limits.is_empty() && requests.is_empty() {
        return;
    }
    for (name, total) in aggregate(spec, "limits") {
        if name.starts_with("hugepages-") && !requests.contains_key(&name) {
            limits.entry(name).or_insert(total);
        }
    }
    if !limits.is_empty() {
        for (name, total) in aggregate(spec, "requests") {
            // Huge pages are not overcommitted: their requests follow the limits, below.
            if matches!(name.as_str(), "cpu" | "memory") {
                requests.entry(name).or_insert(total);
            }
        }
        for (name, limit) in &limits {
            if matches!(name.as_str(), "cpu" | "memory") || name.starts_with("hugepages-") {
                requests.entry(name).or_insert_with(|| limit.clone());
            }
        }
    }
    let resources = inner(spec, "resources");
    for (key, list) in [("limits", limits), ("requests", requests)] {
        if !list.is_empty() {
            resources.insert(key.into(), Value::Object(list));
        }
    }
}

/// What all containers of a pod take together: the sum of the containers and sidecars, or the largest step of the
/// initialisation where that is more.
fn aggregate(spec: &Map<String, Value>, which: &str) -> Vec<(String, Value)> {
    let amounts = |container: &Value| -> Vec<(String, Quantity)> {
        let amounts = container["resources"][which].as_object();
        let parse = |(k, v): (&String, &Value)| Some((k.clone(), v.as_str()?.parse().ok()?));
        amounts.into_iter().flatten().filter_map(parse).collect()
    };
    let mut sums = std::collections::BTreeMap::<String, Quantity>::new();
    for container in spec.list("containers") {
        add(&mut sums, amounts(container));
    }
    let (mut sidecars, mut peak) =
        (std::collections::BTreeMap::new(), std::collections::BTreeMap::<String, Quantity>::new());
    for container in spec.list("initContainers") {
        if container["restartPolicy"] == "Always" {
            add(&mut sums, amounts(container));
            add(&mut sidecars, amounts(container));
            larger(&mut peak, sidecars.clone());
        } else {
            let mut step = sidecars.clone();
            add(&mut step, amounts(container));
            larger(&mut peak, step);
        }
    }
    larger(&mut sums, peak);
    sums.into_iter().map(|(name, q)| (name, Value::String(q.to_string()))).collect()
}

type Amounts = std::collections::BTreeMap<String, Quantity>;

fn add(sums: &mut Amounts, more: Vec<(String, Quantity)>) {
    for (name, amount) in more {
        match sums.get_mut(&name) {
            Some(sum) => *sum = sum.add(&amount),
            None => {
                sums.insert(name, amount);
            }
        }
    }
}

fn larger(into: &mut Amounts, other: Amounts) {
    for (name, amount) in other {
        match into.get(&name) {
            Some(have) if *have >= amount => {}
            _ => {
                into.insert(name, amount);
            }
        }
    }
}

fn pod_spec(spec: &mut Map<String, Value>) {
    or_zero(spec, "dnsPolicy", "ClusterFirst");
    or_zero(spec, "restartPolicy", "Always");
    or(spec, "securityContext", json!({}));
    or(spec, "terminationGracePeriodSeconds", 30);
    or_zero(spec, "schedulerName", "default-scheduler");
}

fn volume(volume: &mut Map<String, Value>) {
    if volume.keys().all(|k| k == "name") {
        volume.insert("emptyDir".into(), json!({}));
    }
    if let Some(image) = inner_if(volume, "image") {
        let policy = pull_policy(image.text("reference"));
        or_zero(image, "pullPolicy", policy);
    }
}

fn container(container: &mut Map<String, Value>) {
    let policy = pull_policy(container.text("image"));
    or_zero(container, "imagePullPolicy", policy);
    or_zero(container, "terminationMessagePath", "/dev/termination-log");
    or_zero(container, "terminationMessagePolicy", "File");
}

/// Always for `latest` (also when nothing is said, and no digest), IfNotPresent for all else.
fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = image.split_once('@').map_or((image, false), |(name, _)| (name, true));
    let last = name.rsplit('/').next().unwrap_or(name);
    // What does not parse as an image has no tag, not even the implied one.
    if image.is_empty() || !plausible(name) {
        return "IfNotPresent";
    }
    match last.split_once(':') {
        Some((_, "latest")) => "Always",
        None if !digest => "Always",
        _ => "IfNotPresent",
    }
}

/// The grammar of image references, as far as it decides whether there is a tag.
fn plausible(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':' | '[' | ']');
    let mut parts = name.split('/').peekable();
    // The first part may be a registry, which may have capitals and a port.
    let registry = parts.peek().is_some_and(|first| {
        name.contains('/')
            && (first.contains(['.', ':']) || *first == "localhost" || first.chars().any(|c| c.is_ascii_uppercase()))
    });
    if registry {
        parts.next();
    }
    name.chars().all(allowed)
        && parts.all(|part| {
            let path = part.split(':').next().unwrap_or(part);
            let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
            edge(path.chars().next()) && edge(path.chars().last()) && !path.chars().any(|c| c.is_ascii_uppercase())
        })
}

fn probe(probe: &mut Map<String, Value>) {
    or_zero(probe, "timeoutSeconds", 1);
    or_zero(probe, "periodSeconds", 10);
    or_zero(probe, "successThreshold", 1);
    or_zero(probe, "failureThreshold", 3);
}

fn http_get(action: &mut Map<String, Value>) {
    or_zero(action, "path", "/");
    or_zero(action, "scheme", "HTTP");
}
