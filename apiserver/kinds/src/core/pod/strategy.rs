//! The strategy of pods: what a write resets and keeps, by subresource; the QoS class; the grace period of a deletion.
//! Follows `pkg/registry/core/pod/strategy.go`.

use machinery::field::ErrorList;
use machinery::json::Fields;
use machinery::{meta, names};
use model::check::keep;
use serde_json::{Value, json};
use usage::qos;
use writes::strategy::{Grace, Strategy, WriteContext};

use super::{label_keys, validation, warnings};

/// Pods.
pub struct Pods;

impl Strategy for Pods {
    fn prepare_for_create(&self, cx: &WriteContext<'_>, pod: &mut Value) {
        pod["status"] = json!({ "phase": "Pending", "qosClass": qos::class(pod) });
        if !pod["spec"].list("schedulingGates").is_empty() {
            pod["status"]["conditions"] = json!([{
                "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
                "lastProbeTime": null, "lastTransitionTime": machinery::time::rfc3339(cx.now),
            }]);
        }
        label_keys::merge(pod);
    }

    fn prepare_for_update(&self, cx: &WriteContext<'_>, pod: &mut Value, old: &Value) {
        match cx.subresource {
            Some("status") => {
                for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "ownerReferences"] {
                    keep(&mut pod["metadata"], &old["metadata"], field);
                }
                if pod["status"].text("qosClass").is_empty() {
                    let class = old["status"].text("qosClass");
                    if !class.is_empty() {
                        pod["status"]["qosClass"] = class.into();
                    }
                }
                preserve_observed_generation(pod, old);
            }
            Some("ephemeralcontainers") => {
                let given = pod["spec"].sub("ephemeralContainers").cloned();
                only_spec(pod, old);
                match given {
                    Some(containers) => pod["spec"]["ephemeralContainers"] = containers,
                    None => {
                        pod["spec"].as_object_mut().map(|spec| spec.remove("ephemeralContainers"));
                    }
                }
            }
            Some("resize") => resize(pod, old),
            Some("binding") => {}
            _ => keep(pod, old, "status"),
        }
    }

    fn validate(&self, _: &WriteContext<'_>, pod: &Value) -> ErrorList {
        validation::create(pod)
    }

    fn validate_update(&self, cx: &WriteContext<'_>, pod: &Value, old: &Value) -> ErrorList {
        match cx.subresource {
            Some("status") => validation::status_update(pod, old),
            Some("ephemeralcontainers") => validation::ephemeral_containers_update(pod, old),
            Some("resize") => validation::resize(pod, old),
            // Upstream's binding is no update that is validated.
            Some("binding") => ErrorList::new(),
            _ => validation::update(pod, old),
        }
    }

    fn warnings(&self, cx: &WriteContext<'_>, pod: &Value, old: Option<&Value>) -> Vec<String> {
        if cx.subresource.is_some() || old.is_some() {
            return Vec::new();
        }
        let mut out = Vec::new();
        let name = meta::name(pod);
        let faults = if name.is_empty() { Vec::new() } else { names::dns1123_label(name) };
        if !faults.is_empty() {
            out.push(format!(
                "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [{}]",
                faults.join(" ")
            ));
        }
        out.extend(warnings::of_pod(pod));
        out
    }

    fn grace(&self, pod: &Value, requested: Option<i64>) -> Grace {
        let period = requested.or_else(|| pod["spec"].int("terminationGracePeriodSeconds")).unwrap_or(0);
        let over = matches!(pod["status"].text("phase"), "Failed" | "Succeeded");
        if pod["spec"].text("nodeName").is_empty() || over {
            return Grace::Seconds(0);
        }
        Grace::Seconds(if period < 0 { 1 } else { period })
    }
}

// The old pod, but for labels and annotations that status writes may change: nothing else of the metadata passes.
fn only_spec(pod: &mut Value, old: &Value) {
    keep(pod, old, "spec");
    keep(pod, old, "status");
    for field in
        ["deletionTimestamp", "deletionGracePeriodSeconds", "ownerReferences", "labels", "annotations", "finalizers"]
    {
        keep(&mut pod["metadata"], &old["metadata"], field);
    }
}

// Resources and resize policies pass, where the containers are the same ones.
fn resize(pod: &mut Value, old: &Value) {
    for list in ["containers", "initContainers"] {
        let (new, old) = (pod["spec"].list(list), old["spec"].list(list));
        if new.len() != old.len() || new.iter().zip(old).any(|(n, o)| n.text("name") != o.text("name")) {
            return;
        }
    }
    let new = pod["spec"].take();
    only_spec(pod, old);
    for list in ["containers", "initContainers"] {
        for (i, container) in new.list(list).iter().enumerate() {
            for field in ["resources", "resizePolicy"] {
                keep(&mut pod["spec"][list][i], container, field);
            }
        }
    }
    keep(&mut pod["spec"], &new, "resources");
}

// A client that does not know of observedGeneration must not erase it.
fn preserve_observed_generation(pod: &mut Value, old: &Value) {
    if pod["status"].int("observedGeneration").unwrap_or(0) == 0
        && let Some(generation) = old["status"].int("observedGeneration")
    {
        pod["status"]["observedGeneration"] = generation.into();
    }
    let generation = |kind: &str| {
        old["status"].list("conditions").iter().find(|c| c.text("type") == kind)?.int("observedGeneration")
    };
    let Some(Value::Array(conditions)) = pod["status"].get_mut("conditions") else { return };
    for condition in conditions {
        if condition.int("observedGeneration").unwrap_or(0) == 0
            && let Some(generation) = generation(condition.text("type"))
        {
            condition["observedGeneration"] = generation.into();
        }
    }
}
