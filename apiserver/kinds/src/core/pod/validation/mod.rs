//! Validation of a pod's spec (`pkg/apis/core/validation/validation.go`), with upstream's paths and messages. Also used by
//! every kind with a pod template.

mod annotations;
mod containers;
mod env;
mod mounts;
mod probes;
pub(crate) mod resources;
pub(crate) mod scheduling;
mod security;
mod status;
mod update;
pub(crate) mod volumes;

pub use resources::{resource_name, resource_quantity};
pub use scheduling::{node_selector, taint_effect, tolerations};
pub use status::status_update;
pub use update::{ephemeral_containers_update, resize, update};
pub use volumes::local_non_reserved_path;

use machinery::field::{ErrorList, Path};
use machinery::{meta, names};
use serde_json::Value;

use machinery::json::Fields;
use model::check::Faults;

/// What the checks of a spec depend on.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether it is a pod's, not a template's.
    pub is_pod: bool,
}

/// A pod to be created.
pub fn create(pod: &Value) -> ErrorList {
    let mut errors = metadata_and_spec(pod);
    let at = Path::new("spec");
    let spec = &pod["spec"];
    if !spec.list("ephemeralContainers").is_empty() {
        errors.forbidden(&at.child("ephemeralContainers"), "cannot be set on create");
    }
    if !spec.text("nodeName").is_empty() && !spec.list("schedulingGates").is_empty() {
        errors.forbidden(&at.child("nodeName"), "cannot be set until all schedulingGates have been cleared");
    }
    errors
}

/// Metadata (what is a pod's own) and spec, as create and update check them.
fn metadata_and_spec(pod: &Value) -> ErrorList {
    let at = Path::new("spec");
    let spec = &pod["spec"];
    let mut errors = annotations::check(pod, &Path::new("metadata").child("annotations"));
    errors.extend(check_spec(spec, Some(meta::name(pod)), &at, Options { is_pod: true }));
    if spec.text("serviceAccountName").is_empty() {
        for (i, volume) in spec.list("volumes").iter().enumerate() {
            for (j, source) in volume.sub("projected").list("sources").iter().enumerate() {
                if source.has("serviceAccountToken") {
                    let at = at.child("volumes").index(i).child("projected").child("sources").index(j);
                    errors.forbidden(
                        &at.child("serviceAccountToken"),
                        "must not be specified when serviceAccountName is not set",
                    );
                }
            }
        }
    }
    for list in ["containers", "initContainers"] {
        for (i, container) in spec.list(list).iter().enumerate() {
            containers::image_untrimmed(container, &at.child(list).index(i), &mut errors);
        }
    }
    errors
}

/// A `PodTemplateSpec`.
pub fn check_template(template: &Value, at: &Path) -> ErrorList {
    let metadata = at.child("metadata");
    let mut errors = meta::validate_labels(meta::labels(template), &metadata.child("labels"));
    errors.extend(meta::validate_annotations(meta::annotations(template), &metadata.child("annotations")));
    errors.extend(annotations::check(template, &at.child("annotations")));
    errors.extend(check_spec(&template["spec"], None, &at.child("spec"), Options { is_pod: false }));
    let spec = &template["spec"];
    if !spec.list("ephemeralContainers").is_empty() {
        errors.forbidden(
            &at.child("spec").child("ephemeralContainers"),
            "ephemeral containers not allowed in pod template",
        );
    }
    errors
}

/// ValidatePodSpec. `pod_name` is the pod's own, where it has one already.
pub fn check_spec(spec: &Value, pod_name: Option<&str>, at: &Path, options: Options) -> ErrorList {
    let mut errors = ErrorList::new();
    let grace = spec.int("terminationGracePeriodSeconds");
    if grace.is_none() {
        errors.required(&at.child("terminationGracePeriodSeconds"), "");
    }
    let volumes = volumes::check(spec.list("volumes"), pod_name, &at.child("volumes"), options, &mut errors);
    resources::pod_claims(spec.list("resourceClaims"), &at.child("resourceClaims"), &mut errors);
    containers::check(spec, &volumes, at, options, &mut errors);
    resources::pod_level(spec, at, &mut errors);
    host_network_ports(spec, at, options, &mut errors);
    errors.one_of(&at.child("restartPolicy"), spec.text("restartPolicy"), &["Always", "OnFailure", "Never"]);
    errors.one_of(
        &at.child("dnsPolicy"),
        spec.text("dnsPolicy"),
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
    );
    errors.extend(meta::validate_labels(spec.object("nodeSelector"), &at.child("nodeSelector")));
    security::pod(spec, at, &mut errors);
    scheduling::affinity(spec.sub("affinity"), &at.child("affinity"), &mut errors);
    dns_config(spec, &at.child("dnsConfig"), &mut errors);
    for (i, gate) in spec.list("readinessGates").iter().enumerate() {
        let name = gate.text("conditionType");
        errors.each(&at.child("readinessGates").index(i).child("conditionType"), name, names::qualified_name(name));
    }
    scheduling::gates(spec.list("schedulingGates"), &at.child("schedulingGates"), &mut errors);
    scheduling::spread(spec.list("topologySpreadConstraints"), &at.child("topologySpreadConstraints"), &mut errors);
    security::host_users(spec, at, &mut errors);
    host_name(spec, at, &mut errors);
    named(spec, at, &mut errors);
    tolerations(spec.list("tolerations"), &at.child("tolerations"), &mut errors);
    for (i, alias) in spec.list("hostAliases").iter().enumerate() {
        let at = at.child("hostAliases").index(i);
        errors.extend(names::ip_for_legacy_field(&at.child("ip"), alias.text("ip"), &[]));
        for (j, host) in alias.texts("hostnames").enumerate() {
            errors.each(&at.child("hostnames").index(j), host, names::dns1123_subdomain(host));
        }
    }
    if let Some(policy) = spec.sub("preemptionPolicy").and_then(Value::as_str) {
        errors.one_of(&at.child("preemptionPolicy"), policy, &["PreemptLowerPriority", "Never"]);
    }
    resources::overhead(spec, &at.child("overhead"), &mut errors);
    security::os(spec, at, &mut errors);
    errors
}

// Names of other objects, and numbers.
fn named(spec: &Value, at: &Path, errors: &mut ErrorList) {
    for field in ["serviceAccountName", "nodeName", "priorityClassName", "runtimeClassName"] {
        let name = spec.text(field);
        if !name.is_empty() {
            errors.each(&at.child(field), name, names::dns1123_subdomain(name));
        }
    }
    if let Some(seconds) = spec.int("activeDeadlineSeconds").filter(|s| !(1..=i64::from(i32::MAX)).contains(s)) {
        let detail = names::inclusive_range_error(1, i32::MAX.into());
        errors.invalid(&at.child("activeDeadlineSeconds"), seconds, detail);
    }
    for field in ["hostname", "subdomain"] {
        let name = spec.text(field);
        if !name.is_empty() {
            errors.each(&at.child(field), name, names::dns1123_label(name));
        }
    }
}

fn host_name(spec: &Value, at: &Path, errors: &mut ErrorList) {
    let Some(name) = spec.sub("hostnameOverride").and_then(Value::as_str) else { return };
    let at = at.child("hostnameOverride");
    if spec.flag("setHostnameAsFQDN") == Some(true) {
        errors.forbidden(&at, "may not be specified when setHostnameAsFQDN is true");
    }
    if spec.flag("hostNetwork") == Some(true) {
        errors.forbidden(&at, "may not be specified when hostNetwork is true");
    }
    if name.len() > 64 {
        errors.push(machinery::field::Error::too_long(&at, 64));
    }
    errors.each(&at, name, names::dns1123_subdomain(name));
}

fn host_network_ports(spec: &Value, at: &Path, options: Options, errors: &mut ErrorList) {
    if spec.flag("hostNetwork") != Some(true) {
        return;
    }
    for (i, container) in spec.list("containers").iter().enumerate() {
        for (j, port) in container.list("ports").iter().enumerate() {
            let (host, own) = (port.int("hostPort").unwrap_or(0), port.int("containerPort").unwrap_or(0));
            if (options.is_pod || host != 0) && host != own {
                let at = at.child("containers").index(i).child("ports").index(j).child("hostPort");
                errors.invalid(&at, host, "must match `containerPort` when `hostNetwork` is true");
            }
        }
    }
}

fn dns_config(spec: &Value, at: &Path, errors: &mut ErrorList) {
    let config = spec.sub("dnsConfig");
    let servers = config.list("nameservers");
    if spec.text("dnsPolicy") == "None" {
        if config.is_none() {
            return errors.required(at, "must provide `dnsConfig` when `dnsPolicy` is None");
        }
        if servers.is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            return errors.required(&at.child("nameservers"), detail);
        }
    }
    let Some(config) = config else { return };
    if servers.len() > 3 {
        errors.invalid(&at.child("nameservers"), servers.to_vec(), "must not have more than 3 nameservers");
    }
    for (i, server) in config.texts("nameservers").enumerate() {
        errors.extend(names::ip_for_legacy_field(&at.child("nameservers").index(i), server, &[]));
    }
    let searches: Vec<&str> = config.texts("searches").collect();
    let path = at.child("searches");
    if searches.len() > 32 {
        errors.invalid(&path, searches.clone(), "must not have more than 32 search paths");
    }
    if searches.join(" ").len() > 2048 {
        let detail = "must not have more than 2048 characters (including spaces) in the search list";
        errors.invalid(&path, searches.clone(), detail);
    }
    for (i, search) in searches.into_iter().enumerate().filter(|(_, s)| *s != ".") {
        let search = search.strip_suffix('.').unwrap_or(search);
        errors.each(&path.index(i), search, names::dns1123_subdomain_with_underscore(search));
    }
    for (i, option) in config.list("options").iter().enumerate() {
        if option.text("name").is_empty() {
            errors.required(&at.child("options").index(i), "must not be empty");
        }
    }
}

/// All containers of a spec with their paths.
pub fn each_container<'a>(spec: &'a Value, at: &Path, mut visit: impl FnMut(&'a Value, &Path)) {
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (i, container) in spec.list(list).iter().enumerate() {
            visit(container, &at.child(list).index(i));
        }
    }
}

#[cfg(test)]
mod tests;
