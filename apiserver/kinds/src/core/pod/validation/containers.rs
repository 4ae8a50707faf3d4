//! Containers of the three sorts.

use std::collections::{BTreeMap, BTreeSet};

use machinery::field::{Error, ErrorList, Path};
use machinery::json::Fields;
use machinery::names;
use model::check::Faults;
use serde_json::Value;

use super::{Options, env, mounts, probes, resources, security};

pub(super) type Volumes<'a> = BTreeMap<&'a str, &'a Value>;

struct Pod<'a> {
    volumes: &'a Volumes<'a>,
    claims: BTreeSet<&'a str>,
    grace: Option<i64>,
    os: &'a str,
    restart_policy: &'a str,
    host_users: bool,
}

pub(super) fn check(spec: &Value, volumes: &Volumes<'_>, at: &Path, _: Options, errors: &mut ErrorList) {
    let pod = Pod {
        volumes,
        claims: spec.list("resourceClaims").iter().map(|c| c.text("name")).filter(|n| !n.is_empty()).collect(),
        grace: spec.int("terminationGracePeriodSeconds"),
        os: spec.sub("os").text("name"),
        restart_policy: spec.text("restartPolicy"),
        host_users: spec.flag("hostUsers") != Some(false),
    };
    regular(spec, &pod, &at.child("containers"), errors);
    init(spec, &pod, &at.child("initContainers"), errors);
    ephemeral(spec, &pod, &at.child("ephemeralContainers"), errors);
}

fn regular(spec: &Value, pod: &Pod<'_>, at: &Path, errors: &mut ErrorList) {
    let containers = spec.list("containers");
    if containers.is_empty() {
        return errors.required(at, "");
    }
    let mut seen = BTreeSet::new();
    for (i, container) in containers.iter().enumerate() {
        let at = at.index(i);
        common(container, pod, &at, errors);
        if !seen.insert(container.text("name")) {
            errors.duplicate(&at.child("name"), container.text("name"));
        }
        running(container, pod, &at, errors);
        restart_rules(container, &at, errors);
    }
    host_port_conflicts(containers, at, errors);
}

fn init(spec: &Value, pod: &Pod<'_>, at: &Path, errors: &mut ErrorList) {
    let mut seen: BTreeSet<&str> = spec.list("containers").iter().map(|c| c.text("name")).collect();
    for (i, container) in spec.list("initContainers").iter().enumerate() {
        let path = at.index(i);
        common(container, pod, &path, errors);
        restart_rules(container, &path, errors);
        let name = container.text("name");
        if seen.contains(name) {
            errors.duplicate(&path.child("name"), name);
        } else if !name.is_empty() {
            seen.insert(name);
        }
        host_port_conflicts(std::slice::from_ref(container), at, errors);
        if container.text("restartPolicy") == "Always" {
            running(container, pod, &path, errors);
            continue;
        }
        for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if container.has(field) {
                let detail = "may not be set for init containers without restartPolicy=Always";
                errors.forbidden(&path.child(field), detail);
            }
        }
        for (j, policy) in container.list("resizePolicy").iter().enumerate() {
            if policy.text("restartPolicy") == "RestartContainer" {
                let path = path.child("resizePolicy").index(j).child("restartPolicy");
                let detail = "must not be set to 'RestartContainer' for non-sidecar initContainers";
                errors.invalid(&path, "RestartContainer", detail);
            }
        }
    }
}

const EPHEMERAL_MAY_NOT: [&str; 9] = [
    "ports",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
];

fn ephemeral(spec: &Value, pod: &Pod<'_>, at: &Path, errors: &mut ErrorList) {
    let others: BTreeSet<&str> =
        spec.list("containers").iter().chain(spec.list("initContainers")).map(|c| c.text("name")).collect();
    let mut seen = others.clone();
    for (i, container) in spec.list("ephemeralContainers").iter().enumerate() {
        let at = at.index(i);
        common(container, pod, &at, errors);
        image_untrimmed(container, &at, errors);
        if !seen.insert(container.text("name")) {
            errors.duplicate(&at.child("name"), container.text("name"));
        }
        let target = container.text("targetContainerName");
        if !target.is_empty() && !others.contains(target) {
            errors.not_found(&at.child("targetContainerName"), target);
        }
        for field in EPHEMERAL_MAY_NOT {
            let given = container.sub(field).is_some_and(|v| v.as_object().is_none_or(|m| !m.is_empty()));
            if given && container.sub(field).and_then(Value::as_array).is_none_or(|l| !l.is_empty()) {
                errors.forbidden(&at.child(field), "cannot be set for an Ephemeral Container");
            }
        }
        for (j, mount) in container.list("volumeMounts").iter().enumerate() {
            for field in ["subPath", "subPathExpr"] {
                if !mount.text(field).is_empty() {
                    let at = at.child("volumeMounts").index(j).child(field);
                    errors.forbidden(&at, "cannot be set for an Ephemeral Container");
                }
            }
        }
    }
}

// Of a container that runs beside others: hooks and probes.
fn running(container: &Value, pod: &Pod<'_>, at: &Path, errors: &mut ErrorList) {
    if let Some(lifecycle) = container.sub("lifecycle") {
        probes::lifecycle(lifecycle, pod.grace, pod.os, &at.child("lifecycle"), errors);
    }
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.sub(kind) {
            probes::probe(probe, kind, pod.grace, &at.child(kind), errors);
        }
    }
}

fn common(container: &Value, pod: &Pod<'_>, at: &Path, errors: &mut ErrorList) {
    let name = container.text("name");
    if name.is_empty() {
        errors.required(&at.child("name"), "");
    } else {
        errors.each(&at.child("name"), name, names::dns1123_label(name));
    }
    if container.text("image").is_empty() {
        errors.required(&at.child("image"), "");
    }
    errors.one_of(
        &at.child("terminationMessagePolicy"),
        container.text("terminationMessagePolicy"),
        &["File", "FallbackToLogsOnError"],
    );
    ports(container.list("ports"), &at.child("ports"), errors);
    env::check(container, at, errors);
    mounts::check(container, pod.volumes, at, errors);
    errors.one_of(
        &at.child("imagePullPolicy"),
        container.text("imagePullPolicy"),
        &["Always", "IfNotPresent", "Never"],
    );
    resources::container(container.sub("resources"), &pod.claims, &at.child("resources"), errors);
    resize_policy(container.list("resizePolicy"), pod.restart_policy, &at.child("resizePolicy"), errors);
    security::container(container.sub("securityContext"), pod.host_users, &at.child("securityContext"), errors);
}

pub(super) fn image_untrimmed(container: &Value, at: &Path, errors: &mut ErrorList) {
    let image = container.text("image");
    if image.trim() != image {
        errors.invalid(&at.child("image"), image, "must not have leading or trailing whitespace");
    }
}

fn ports(ports: &[Value], at: &Path, errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let at = at.index(i);
        let name = port.text("name");
        if !name.is_empty() {
            let faults = names::port_name(name);
            if !faults.is_empty() {
                errors.each(&at.child("name"), name, faults);
            } else if !seen.insert(name) {
                errors.duplicate(&at.child("name"), name);
            }
        }
        match port.int("containerPort").unwrap_or(0) {
            0 => errors.required(&at.child("containerPort"), ""),
            number => port_number(number, &at.child("containerPort"), errors),
        }
        if let Some(number) = port.int("hostPort").filter(|n| *n != 0) {
            port_number(number, &at.child("hostPort"), errors);
        }
        errors.one_of(&at.child("protocol"), port.text("protocol"), &["SCTP", "TCP", "UDP"]);
    }
}

/// A port's number in range.
pub(super) fn port_number(number: i64, at: &Path, errors: &mut ErrorList) {
    for message in names::port_num(number) {
        errors.invalid(at, number, message);
    }
}

fn host_port_conflicts(containers: &[Value], at: &Path, errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (i, container) in containers.iter().enumerate() {
        for (j, port) in container.list("ports").iter().enumerate() {
            let number = port.int("hostPort").unwrap_or(0);
            if number == 0 {
                continue;
            }
            let key = format!("{}/{}/{number}", port.text("protocol"), port.text("hostIP"));
            if !seen.insert(key.clone()) {
                errors.duplicate(&at.index(i).child("ports").index(j).child("hostPort"), key);
            }
        }
    }
}

fn resize_policy(policies: &[Value], pod_restart: &str, at: &Path, errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (i, policy) in policies.iter().enumerate() {
        let resource = policy.text("resourceName");
        if !seen.insert(resource) {
            errors.duplicate(&at.index(i), resource);
        }
        errors.one_of(at, resource, &["cpu", "memory"]);
        let restart = policy.text("restartPolicy");
        errors.one_of(at, restart, &["NotRequired", "RestartContainer"]);
        if pod_restart == "Never" && restart != "NotRequired" {
            errors.invalid(at, restart, "must be 'NotRequired' when pod `restartPolicy` is 'Never'");
        }
    }
}

fn restart_rules(container: &Value, at: &Path, errors: &mut ErrorList) {
    let rules = container.list("restartPolicyRules");
    match container.sub("restartPolicy").and_then(Value::as_str) {
        None if rules.is_empty() => return,
        None => {
            let detail = "must specify restartPolicy when restart rules are used";
            errors.required(&at.child("restartPolicy"), detail);
        }
        Some(policy) if !["Always", "Never", "OnFailure"].contains(&policy) => {
            errors.unsupported(&at.child("restartPolicy"), policy, &["Always", "Never", "OnFailure"]);
        }
        Some(_) => {}
    }
    let at = at.child("restartPolicyRules");
    if rules.len() > 20 {
        errors.push(Error::too_many(&at, rules.len(), 20));
    }
    for (i, rule) in rules.iter().enumerate() {
        let at = at.index(i);
        let action = rule.text("action");
        if !["Restart", "RestartAllContainers"].contains(&action) {
            errors.unsupported(&at.child("action"), action, &["Restart", "RestartAllContainers"]);
        }
        let Some(codes) = rule.sub("exitCodes") else {
            errors.required(&at.child("exitCodes"), "must be specified");
            continue;
        };
        let at = at.child("exitCodes");
        let operator = codes.text("operator");
        if !["In", "NotIn"].contains(&operator) {
            errors.unsupported(&at.child("operator"), operator, &["In", "NotIn"]);
        }
        let values = codes.list("values").len();
        if values > 255 {
            errors.push(Error::too_many(&at.child("values"), values, 255));
        }
    }
}
