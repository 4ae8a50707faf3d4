//! PersistentVolumes and claims, lightly: their first phase, the access modes, and that a claim's wishes do not change.
//! What each storage system's volume source must hold is not checked.

use machinery::field::{ErrorList, Path};
use machinery::names;
use machinery::quantity::Quantity;
use serde_json::{Value, json};

use crate::registry::check::{Faults, Fields, keep, same};
use crate::registry::strategy::{Strategy, WriteContext};

/// PersistentVolumes.
pub struct PersistentVolumes;
/// PersistentVolumeClaims.
pub struct PersistentVolumeClaims;

const MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

impl Strategy for PersistentVolumes {
    fn prepare_for_create(&self, cx: &WriteContext<'_>, volume: &mut Value) {
        volume["status"] = json!({
            "phase": "Pending", "lastPhaseTransitionTime": machinery::time::rfc3339(cx.now),
        });
    }

    fn prepare_for_update(&self, cx: &WriteContext<'_>, volume: &mut Value, old: &Value) {
        let phase = volume["status"].text("phase");
        if cx.subresource == Some("status") && phase != old["status"].text("phase") {
            let given = volume["status"].sub("lastPhaseTransitionTime");
            if given == old["status"].sub("lastPhaseTransitionTime") {
                volume["status"]["lastPhaseTransitionTime"] = machinery::time::rfc3339(cx.now).into();
            }
        }
    }

    fn validate(&self, _: &WriteContext<'_>, volume: &Value) -> ErrorList {
        volume_spec(&volume["spec"], &Path::new("spec"))
    }

    fn validate_update(&self, cx: &WriteContext<'_>, volume: &Value, old: &Value) -> ErrorList {
        if cx.subresource.is_some() {
            return ErrorList::new();
        }
        let mut errors = volume_spec(&volume["spec"], &Path::new("spec"));
        if !same(volume["spec"].sub("volumeMode"), old["spec"].sub("volumeMode")) {
            let mode = volume["spec"].sub("volumeMode").cloned();
            errors.invalid(&Path::new("volumeMode"), mode, "field is immutable");
        }
        errors
    }
}

fn access_modes(spec: &Value, at: &Path, missing: &str, errors: &mut ErrorList) {
    let at = at.child("accessModes");
    let modes: Vec<&str> = spec.texts("accessModes").collect();
    if modes.is_empty() {
        errors.required(&at, missing);
    }
    for mode in modes.iter().filter(|m| !MODES.contains(m)) {
        errors.unsupported(&at, *mode, &MODES);
    }
    if modes.contains(&"ReadWriteOncePod") && modes.len() > 1 {
        errors.forbidden(&at, "may not use ReadWriteOncePod with other access modes");
    }
}

fn storage(amount: Option<Quantity>, at: &Path, errors: &mut ErrorList) {
    match amount {
        None => errors.required(at, ""),
        Some(amount) if amount.sign() <= 0 => errors.invalid(at, amount.to_string(), "must be greater than zero"),
        Some(_) => {}
    }
}

fn volume_spec(spec: &Value, at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    access_modes(spec, at, "", &mut errors);
    let capacity = spec.sub("capacity");
    if capacity.is_none() {
        errors.required(&at.child("capacity"), "");
    } else {
        storage(capacity.quantity("storage"), &at.child("capacity").key("storage"), &mut errors);
    }
    let policy = spec.text("persistentVolumeReclaimPolicy");
    if !policy.is_empty() && !["Delete", "Recycle", "Retain"].contains(&policy) {
        let at = at.child("persistentVolumeReclaimPolicy");
        errors.unsupported(&at, policy, &["Delete", "Recycle", "Retain"]);
    }
    if let Some(path) = spec.sub("hostPath").map(|h| h.text("path")) {
        let at = at.child("hostPath").child("path");
        if path.is_empty() {
            errors.required(&at, "");
        }
        if path.split('/').any(|p| p == "..") {
            errors.invalid(&at, path, "must not contain '..'");
        }
    }
    mode_and_class(spec, at, &mut errors);
    errors
}

fn mode_and_class(spec: &Value, at: &Path, errors: &mut ErrorList) {
    if let Some(mode) = spec.sub("volumeMode").and_then(Value::as_str)
        && !["Block", "Filesystem"].contains(&mode)
    {
        errors.unsupported(&at.child("volumeMode"), mode, &["Block", "Filesystem"]);
    }
    let class = spec.text("storageClassName");
    if !class.is_empty() {
        errors.each(&at.child("storageClassName"), class, names::dns1123_subdomain(class));
    }
}

impl Strategy for PersistentVolumeClaims {
    fn prepare_for_create(&self, _: &WriteContext<'_>, claim: &mut Value) {
        claim["status"] = json!({ "phase": "Pending" });
    }

    fn validate(&self, _: &WriteContext<'_>, claim: &Value) -> ErrorList {
        claim_spec(&claim["spec"], &Path::new("spec"))
    }

    fn validate_update(&self, cx: &WriteContext<'_>, claim: &Value, old: &Value) -> ErrorList {
        if cx.subresource.is_some() {
            return ErrorList::new();
        }
        let at = Path::new("spec");
        let mut errors = claim_spec(&claim["spec"], &at);
        let (new, before) = (&claim["spec"], &old["spec"]);
        let bound = old["status"].text("phase") == "Bound";
        let mut munged = new.clone();
        if before.text("volumeName").is_empty() {
            keep(&mut munged, before, "volumeName");
        }
        if !before.has("storageClassName") {
            keep(&mut munged, before, "storageClassName");
        }
        keep(&mut munged, before, "volumeAttributesClassName");
        if bound {
            keep(&mut munged, before, "resources");
        }
        if !same(Some(&munged), Some(before)) {
            errors.forbidden(&at, "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims");
        }
        let asked = |spec: &Value| spec.sub("resources").sub("requests").quantity("storage");
        if let (Some(now), Some(then)) = (asked(new), asked(before))
            && now < then
        {
            let at = at.child("resources").child("requests").child("storage");
            errors.forbidden(&at, "field can not be less than previous value");
        }
        errors
    }
}

fn claim_spec(spec: &Value, at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    access_modes(spec, at, "at least 1 access mode is required", &mut errors);
    let selector = spec.sub("selector");
    errors.extend(machinery::meta::validate_label_selector(selector, false, &at.child("selector")));
    let asked = spec.sub("resources").sub("requests").quantity("storage");
    storage(asked, &at.child("resources").key("storage"), &mut errors);
    mode_and_class(spec, at, &mut errors);
    errors
}
