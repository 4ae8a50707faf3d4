//! Environment variables and where their values come from.

use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::names;
use machinery::quantity::Quantity;
use model::check::Faults;
use serde_json::Value;

const FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

// Labels of a pod that the conversion of field paths knows.
const KNOWN: [&str; 14] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "spec.schedulerName",
    "status.phase",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

pub(super) fn check(container: &Value, at: &Path, errors: &mut ErrorList) {
    for (i, var) in container.list("env").iter().enumerate() {
        let at = at.child("env").index(i);
        let name = var.text("name");
        if name.is_empty() {
            errors.required(&at.child("name"), "");
        } else {
            errors.each(&at.child("name"), name, names::relaxed_env_var_name(name));
        }
        if let Some(from) = var.sub("valueFrom") {
            value_from(var, from, &at.child("valueFrom"), errors);
        }
    }
    let list = at.child("envFrom");
    for (i, source) in container.list("envFrom").iter().enumerate() {
        let at = list.index(i);
        let prefix = source.text("prefix");
        if !prefix.is_empty() {
            errors.each(&at.child("prefix"), prefix, names::relaxed_env_var_name(prefix));
        }
        let mut sources = 0;
        for kind in ["configMapRef", "secretRef"] {
            let Some(reference) = source.sub(kind) else { continue };
            sources += 1;
            let at = at.child(kind).child("name");
            let name = reference.text("name");
            if name.is_empty() {
                errors.required(&at, "");
            } else {
                errors.each(&at, name, names::name_is_dns_subdomain(name, true));
            }
        }
        match sources {
            0 => errors.invalid(&list, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => errors.invalid(&list, "", "may not have more than one field specified at a time"),
        }
    }
}

fn value_from(var: &Value, from: &Value, at: &Path, errors: &mut ErrorList) {
    let mut sources = 0;
    if let Some(reference) = from.sub("fieldRef") {
        sources += 1;
        field_ref(reference, &FIELDS, &at.child("fieldRef"), errors);
    }
    if let Some(reference) = from.sub("resourceFieldRef") {
        sources += 1;
        resource_ref(reference, false, &at.child("resourceFieldRef"), errors);
    }
    for kind in ["configMapKeyRef", "secretKeyRef"] {
        let Some(reference) = from.sub(kind) else { continue };
        sources += 1;
        let at = at.child(kind);
        let name = reference.text("name");
        errors.each(&at.child("name"), name, names::dns1123_subdomain(name));
        key(reference.text("key"), &at.child("key"), names::config_map_key, errors);
    }
    if let Some(reference) = from.sub("fileKeyRef") {
        sources += 1;
        let at = at.child("fileKeyRef");
        key(reference.text("key"), &at.child("key"), names::relaxed_env_var_name, errors);
        key(reference.text("volumeName"), &at.child("volumeName"), names::dns1123_label, errors);
        let path = reference.text("path");
        if path.is_empty() {
            errors.required(&at.child("path"), "");
        } else {
            super::volumes::no_backsteps(path, &at.child("path"), errors);
        }
    }
    if sources == 0 {
        let detail =
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        errors.invalid(at, "", detail);
    } else if !var.text("value").is_empty() {
        errors.invalid(at, "", "may not be specified when `value` is not empty");
    } else if sources > 1 {
        errors.invalid(at, "", "may not have more than one field specified at a time");
    }
}

fn key(text: &str, at: &Path, rule: fn(&str) -> Vec<String>, errors: &mut ErrorList) {
    if text.is_empty() { errors.required(at, "") } else { errors.each(at, text, rule(text)) }
}

/// A field of the pod itself, of those named, or one label or annotation.
pub(super) fn field_ref(reference: &Value, known: &[&str], at: &Path, errors: &mut ErrorList) {
    let (version, path) = (reference.text("apiVersion"), reference.text("fieldPath"));
    if version.is_empty() {
        return errors.required(&at.child("apiVersion"), "");
    }
    if path.is_empty() {
        return errors.required(&at.child("fieldPath"), "");
    }
    let fail = |why: String, errors: &mut ErrorList| {
        errors.invalid(&at.child("fieldPath"), path, format!("error converting fieldPath: {why}"));
    };
    if version != "v1" {
        return fail(format!("unsupported pod version: {version}"), errors);
    }
    // As in metadata.annotations['a.b/c'].
    let subscript = path.strip_suffix("']").and_then(|p| p.split_once("['")).filter(|(p, _)| !p.is_empty());
    match subscript {
        Some(("metadata.annotations", key)) => {
            errors.each(at, &key.to_lowercase(), names::qualified_name(&key.to_lowercase()))
        }
        Some(("metadata.labels", key)) => errors.each(at, key, names::qualified_name(key)),
        Some(_) => fail(format!("field label does not support subscript: {path}"), errors),
        None if path == "spec.host" => {}
        None if !KNOWN.contains(&path) => fail(format!("field label not supported: {path}"), errors),
        None if !known.contains(&path) => errors.unsupported(&at.child("fieldPath"), path, known),
        None => {}
    }
}

/// A container's own request or limit.
pub(super) fn resource_ref(reference: &Value, in_volume: bool, at: &Path, errors: &mut ErrorList) {
    let resource = reference.text("resource");
    let huge = resource.starts_with("requests.hugepages-") || resource.starts_with("limits.hugepages-");
    if in_volume && reference.text("containerName").is_empty() {
        errors.required(&at.child("containerName"), "");
    } else if resource.is_empty() {
        errors.required(&at.child("resource"), "");
    } else if !RESOURCES.contains(&resource) && !huge {
        errors.unsupported(&at.child("resource"), resource, &RESOURCES);
    }
    let Some(divisor) = reference.sub("divisor").and_then(Quantity::from_value).filter(|q| !q.is_zero()) else {
        return;
    };
    let divisor = divisor.to_string();
    let sizes = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    let at = at.child("divisor");
    let kind = match resource {
        "limits.cpu" | "requests.cpu" => {
            if divisor != "1m" && divisor != "1" {
                errors.invalid(&at, resource, "only divisor's values 1m and 1 are supported with the cpu resource");
            }
            return;
        }
        "limits.memory" | "requests.memory" => "memory",
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => "local ephemeral storage",
        _ if huge => "hugepages",
        _ => return,
    };
    if !sizes.contains(&divisor.as_str()) {
        let list = sizes.join(", ");
        errors.invalid(&at, resource, format!("only divisor's values {list} are supported with the {kind} resource"));
    }
}
