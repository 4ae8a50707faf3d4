//! Validation of a pod's update: what it may change are images, deadlines, tolerations (added), gates (removed); by their own
//! subresources ephemeral containers (added) and resources.

use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::{meta, names};
use model::check::{Faults, keep, same};
use serde_json::{Value, json};
use usage::qos;

use super::{annotations, metadata_and_spec, scheduling};

const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// ValidatePodUpdate.
pub fn update(pod: &Value, old: &Value) -> ErrorList {
    let mut errors = metadata_and_spec(pod);
    errors.extend(annotations::check_update(pod, old, &Path::new("metadata").child("annotations")));
    let at = Path::new("spec");
    let (spec, before) = (&pod["spec"], &old["spec"]);
    for list in ["containers", "initContainers"] {
        if spec.list(list).len() != before.list(list).len() {
            errors.forbidden(&at.child(list), "pod updates may not add or remove containers");
            return errors;
        }
    }
    if !deadline(spec, before, &at.child("activeDeadlineSeconds"), &mut errors) {
        return errors;
    }
    only_added_tolerations(spec, before, &at.child("tolerations"), &mut errors);
    only_removed_gates(spec, before, &at.child("schedulingGates"), &mut errors);
    if same(Some(spec), Some(before)) {
        return errors;
    }
    let mut munged = spec.clone();
    for list in ["containers", "initContainers"] {
        for (i, container) in before.list(list).iter().enumerate() {
            keep(&mut munged[list][i], container, "image");
        }
    }
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        keep(&mut munged, before, field);
    }
    let grace = "terminationGracePeriodSeconds";
    if before.int(grace).is_some_and(|g| g < 0) && munged.int(grace) == Some(1) {
        keep(&mut munged, before, grace);
    }
    if !before.list("schedulingGates").is_empty() {
        gated_changes(&mut munged, before, &at, &mut errors);
    }
    if !same(Some(&munged), Some(before)) {
        let difference = difference(before, &munged);
        errors.forbidden(&at, format!("pod updates may not change fields other than {UPDATABLE}\n{difference}"));
    }
    errors
}

// Says whether the checks go on.
fn deadline(spec: &Value, before: &Value, at: &Path, errors: &mut ErrorList) -> bool {
    match (spec.int("activeDeadlineSeconds"), before.int("activeDeadlineSeconds")) {
        (Some(new), _) if !(0..=i64::from(i32::MAX)).contains(&new) => {
            errors.invalid(at, new, names::inclusive_range_error(0, i32::MAX.into()));
            false
        }
        (Some(new), Some(old)) if old < new => {
            errors.invalid(at, new, "must be less than or equal to previous value");
            false
        }
        (None, Some(_)) => {
            errors.invalid(at, Value::Null, "must not update from a positive integer to nil value");
            true
        }
        _ => true,
    }
}

fn only_added_tolerations(spec: &Value, before: &Value, at: &Path, errors: &mut ErrorList) {
    let bare = |toleration: &Value| {
        let mut bare = toleration.clone();
        bare.as_object_mut().map(|t| t.remove("tolerationSeconds"));
        bare
    };
    let new: Vec<Value> = spec.list("tolerations").iter().map(bare).collect();
    if before.list("tolerations").iter().any(|t| !new.contains(&bare(t))) {
        return errors.forbidden(at, "existing toleration can not be modified except its tolerationSeconds");
    }
    scheduling::tolerations(spec.list("tolerations"), at, errors);
}

fn only_removed_gates(spec: &Value, before: &Value, at: &Path, errors: &mut ErrorList) {
    for (i, gate) in spec.list("schedulingGates").iter().enumerate() {
        let name = gate.text("name");
        if !before.list("schedulingGates").iter().any(|g| g.text("name") == name) {
            let detail = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.forbidden(&at.index(i).child("name"), detail);
        }
    }
}

// A gated pod may still be told more exactly where to go.
fn gated_changes(munged: &mut Value, before: &Value, at: &Path, errors: &mut ErrorList) {
    if !same(munged.sub("nodeSelector"), before.sub("nodeSelector")) {
        let lost = before.entries("nodeSelector").any(|(k, v)| munged.sub("nodeSelector").sub(k) != Some(v));
        if lost {
            let shown = munged.sub("nodeSelector").cloned();
            errors.invalid(&at.child("nodeSelector"), shown, "only additions are allowed (no mutations or deletions)");
        }
        keep(munged, before, "nodeSelector");
    }
    let node = |spec: &Value| spec.sub("affinity").sub("nodeAffinity").cloned();
    let (new, old) = (node(munged), node(before));
    if same(new.as_ref(), old.as_ref()) {
        return;
    }
    let at = at.child("affinity").child("nodeAffinity").child("requiredDuringSchedulingIgnoredDuringExecution");
    let terms = |affinity: &Option<Value>| {
        affinity.as_ref().sub("requiredDuringSchedulingIgnoredDuringExecution").list("nodeSelectorTerms").to_vec()
    };
    let (new, old_terms) = (terms(&new), terms(&old));
    if !old_terms.is_empty() {
        let at = at.child("nodeSelectorTerms");
        if new.len() != old_terms.len() {
            errors.invalid(&at, new, "no additions/deletions to non-empty NodeSelectorTerms list are allowed");
        } else {
            for (i, (new, old)) in new.iter().zip(&old_terms).enumerate() {
                let kept = ["matchExpressions", "matchFields"]
                    .iter()
                    .all(|l| old.list(l).iter().enumerate().all(|(j, r)| new.list(l).get(j) == Some(r)));
                if !kept {
                    errors.invalid(&at.index(i), new.clone(), "only additions are allowed (no mutations or deletions)");
                }
            }
        }
    }
    match old {
        Some(old) => munged["affinity"]["nodeAffinity"] = old,
        None => {
            munged["affinity"].as_object_mut().map(|a| a.remove("nodeAffinity"));
        }
    }
}

// What upstream shows as a Go diff: the changed fields, line by line.
fn difference(old: &Value, new: &Value) -> String {
    let mut out = String::new();
    let empty = serde_json::Map::new();
    let (old, new) = (old.as_object().unwrap_or(&empty), new.as_object().unwrap_or(&empty));
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let (a, b) = (old.get(key), new.get(key));
        if same(a, b) {
            continue;
        }
        for (sign, value) in [("-", a), ("+", b)] {
            if let Some(value) = value {
                out.push_str(&format!("{sign}\t{key}: {value},\n"));
            }
        }
    }
    out
}

/// ValidatePodEphemeralContainersUpdate.
pub fn ephemeral_containers_update(pod: &Value, old: &Value) -> ErrorList {
    if meta::annotation(old, annotations::MIRROR).is_some() {
        let mut errors = ErrorList::new();
        errors.forbidden(&Path::new(""), "static pods do not support ephemeral containers");
        return errors;
    }
    let mut errors = metadata_and_spec(pod);
    let at = Path::new("spec").child("ephemeralContainers");
    let new = pod["spec"].list("ephemeralContainers");
    for before in old["spec"].list("ephemeralContainers") {
        let name = before.text("name");
        match new.iter().find(|c| c.text("name") == name) {
            None => errors.forbidden(&at, format!("existing ephemeral containers \"{name}\" may not be removed\n")),
            Some(now) if !same(Some(now), Some(before)) => {
                let difference = difference(before, now);
                errors.forbidden(
                    &at,
                    format!("existing ephemeral containers \"{name}\" may not be changed\n{difference}"),
                );
            }
            Some(_) => {}
        }
    }
    errors
}

/// ValidatePodResize, as far as the API alone can say.
pub fn resize(pod: &Value, old: &Value) -> ErrorList {
    let mut errors = metadata_and_spec(pod);
    let at = Path::new("spec");
    if meta::annotation(old, annotations::MIRROR).is_some() {
        errors.forbidden(&Path::new(""), "static pods cannot be resized");
        return errors;
    }
    if old["spec"].sub("os").text("name") == "windows" {
        errors.forbidden(&Path::new(""), "windows pods cannot be resized");
        return errors;
    }
    let class = |pod: &Value| json!(qos::class(pod));
    if class(pod) != class(old) {
        errors.invalid(&at, class(pod), "Pod QOS Class may not change as a result of resizing");
    }
    let mut munged = pod["spec"].clone();
    for list in ["containers", "initContainers"] {
        if munged.list(list).len() != old["spec"].list(list).len() {
            errors.forbidden(&at.child(list), format!("{list} may not be added or removed on resize"));
            return errors;
        }
        for (i, before) in old["spec"].list(list).iter().enumerate() {
            removed_resources(&munged[list][i], before, &at.child(list).index(i).child("resources"), &mut errors);
            for field in ["resources", "resizePolicy"] {
                keep(&mut munged[list][i], before, field);
            }
        }
    }
    keep(&mut munged, &old["spec"], "resources");
    if !same(Some(&munged), Some(&old["spec"])) {
        let difference = difference(&old["spec"], &munged);
        errors.forbidden(&at, format!("only cpu and memory resources are mutable\n{difference}"));
    }
    errors
}

fn removed_resources(container: &Value, before: &Value, at: &Path, errors: &mut ErrorList) {
    for (list, word) in [("limits", "limits"), ("requests", "requests")] {
        for (name, amount) in before.sub("resources").entries(list) {
            let now = container.sub("resources").sub(list).sub(name);
            if !matches!(name, "cpu" | "memory") {
                if now != Some(amount) {
                    errors.forbidden(&at.child(list), "only cpu and memory resources are mutable");
                }
            } else if now.is_none() {
                errors.forbidden(&at.child(list), format!("resource {word} cannot be removed"));
            }
        }
    }
}
