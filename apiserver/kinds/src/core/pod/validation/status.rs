//! Writes of a pod's status.

use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::names;
use model::check::Faults;
use serde_json::Value;

use super::annotations;

/// ValidatePodStatusUpdate.
pub fn status_update(pod: &Value, old: &Value) -> ErrorList {
    let mut errors = annotations::check_update(pod, old, &Path::new("metadata").child("annotations"));
    let at = Path::new("status");
    let (status, before, spec) = (&pod["status"], &old["status"], &old["spec"]);
    for (i, condition) in status.list("conditions").iter().enumerate() {
        let at = at.child("conditions").index(i);
        let generation = condition.int("observedGeneration").unwrap_or(0);
        if generation < 0 {
            errors.invalid(&at.child("observedGeneration"), generation, "must be a non-negative integer");
        }
        let kind = condition.text("type");
        if !["PodScheduled", "Ready", "Initialized"].contains(&kind) {
            errors.each(&at.child("Type"), kind, names::qualified_name(kind));
        }
    }
    let nominated = status.text("nominatedNodeName");
    if nominated != before.text("nominatedNodeName") && !nominated.is_empty() {
        errors.each(&at.child("nominatedNodeName"), nominated, names::dns1123_subdomain(nominated));
        if !spec.text("nodeName").is_empty() {
            let detail = "may not be set on pods that are already bound to a node";
            errors.forbidden(&at.child("nominatedNodeName"), detail);
        }
    }
    let generation = status.int("observedGeneration").unwrap_or(0);
    if generation < 0 {
        errors.invalid(&at.child("observedGeneration"), generation, "must be a non-negative integer");
    }
    if status.text("qosClass") != before.text("qosClass") {
        errors.invalid(&at.child("qosClass"), status.text("qosClass"), "field is immutable");
    }
    for (field, containers) in [
        ("containerStatuses", "containers"),
        ("initContainerStatuses", "initContainers"),
        ("ephemeralContainerStatuses", "ephemeralContainers"),
    ] {
        transitions(status.list(field), before.list(field), spec, containers, &at.child(field), &mut errors);
    }
    addresses(status, before, "podIPs", &at, &mut errors);
    let hosts = status.list("hostIPs");
    if let Some(first) = hosts.first() {
        if status.text("hostIP") != first.text("ip") {
            let at = at.child("hostIPs").index(0).child("ip");
            errors.invalid(&at, first.text("ip"), "must be equal to `hostIP`");
        }
        addresses(status, before, "hostIPs", &at, &mut errors);
    }
    errors
}

fn addresses(status: &Value, before: &Value, field: &str, at: &Path, errors: &mut ErrorList) {
    let at = at.child(field);
    let known: Vec<&str> = before.list(field).iter().map(|ip| ip.text("ip")).collect();
    let list = status.list(field);
    for (i, ip) in list.iter().enumerate() {
        errors.extend(names::ip_for_legacy_field(&at.index(i), ip.text("ip"), &known));
    }
    if list.len() > 1 {
        let v6 = list.iter().filter(|ip| ip.text("ip").contains(':')).count();
        if list.len() > 2 || v6 != 1 {
            errors.invalid(&at, list.to_vec(), "may specify no more than one IP for each IP family");
        }
    }
}

// What has ended stays so, unless its policy restarts it.
fn transitions(new: &[Value], old: &[Value], spec: &Value, containers: &str, at: &Path, errors: &mut ErrorList) {
    for (i, before) in old.iter().enumerate() {
        let Some(terminated) = before.sub("state").sub("terminated") else { continue };
        let name = before.text("name");
        let Some(after) = new.iter().find(|s| s.text("name") == name) else { continue };
        if after.sub("state").has("terminated") {
            continue;
        }
        let container = spec.list(containers).iter().find(|c| c.text("name") == name);
        let code = terminated.int("exitCode").unwrap_or(0);
        if containers != "ephemeralContainers"
            && (restarts_all(spec) || container.is_some_and(|c| restarts(c, spec, code)))
        {
            continue;
        }
        errors.forbidden(&at.index(i).child("state"), "may not be transitioned to non-terminated state");
    }
}

fn rule_matches(rule: &Value, code: i64) -> bool {
    let codes = rule.sub("exitCodes");
    let among = codes.list("values").iter().any(|v| v.as_i64() == Some(code));
    match codes.text("operator") {
        "In" => among,
        "NotIn" => !among,
        _ => false,
    }
}

fn restarts(container: &Value, spec: &Value, code: i64) -> bool {
    if container.list("restartPolicyRules").iter().any(|r| rule_matches(r, code)) {
        return true;
    }
    let policy = match container.text("restartPolicy") {
        "" => spec.text("restartPolicy"),
        own => own,
    };
    policy == "Always" || (policy == "OnFailure" && code != 0)
}

fn restarts_all(spec: &Value) -> bool {
    ["containers", "initContainers"]
        .iter()
        .flat_map(|l| spec.list(l))
        .any(|c| c.list("restartPolicyRules").iter().any(|r| r.text("action") == "RestartAllContainers"))
}
