//! PersistentVolumes and claims, lightly: their first phase, the access modes, and that a claim's wishes do not change.
//! What each storage system's volume source must hold is not checked.

use machinery::field::{ErrorList, Path};
use machinery::quantity::Quantity;
use machinery::{meta, names};
use model::check::{Faults, Fields, keep, same};
use serde_json::{Value, json};
use writes::strategy::{Strategy, WriteContext};

use crate::core::node_labels;

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

    fn warnings(&self, cx: &WriteContext<'_>, volume: &Value, _: Option<&Value>) -> Vec<String> {
        if cx.subresource.is_some() { Vec::new() } else { volume_warnings(volume) }
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

const CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const CLASS_WORDS: &str = "deprecated since v1.8; use \"storageClassName\" attribute instead";

/// What a client is warned of in a volume that is accepted (`pkg/api/persistentvolume/util.go`).
fn volume_warnings(volume: &Value) -> Vec<String> {
    const MOUNT: &str = "volume.beta.kubernetes.io/mount-options";
    const MOUNT_WORDS: &str = "deprecated since v1.31; use \"mountOptions\" attribute instead";
    const SOURCES: [(&str, &str, &str); 6] = [
        ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
        ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
        ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
        ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
        ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
        ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
    ];
    let (spec, at) = (&volume["spec"], Path::new("spec"));
    let mut out: Vec<String> = annotation_warnings(volume, &[(CLASS, CLASS_WORDS), (MOUNT, MOUNT_WORDS)]);
    if spec.text("persistentVolumeReclaimPolicy") == "Recycle" {
        let words = "The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic \
                     provisioning.";
        out.push(format!("{}: {words}", at.child("persistentVolumeReclaimPolicy")));
    }
    let terms = at.child("nodeAffinity").child("required").child("nodeSelectorTerms");
    for (i, term) in spec.sub("nodeAffinity").sub("required").list("nodeSelectorTerms").iter().enumerate() {
        out.extend(node_labels::of_term(term, false, &terms.index(i)));
    }
    let sources = SOURCES.iter().filter(|(field, ..)| spec.has(field));
    out.extend(sources.map(|(_, shown, words)| format!("{}: {words}", at.child(shown))));
    out
}

fn annotation_warnings(object: &Value, known: &[(&str, &str)]) -> Vec<String> {
    let at = Path::new("metadata").child("annotations");
    let given = known.iter().filter(|(key, _)| meta::annotation(object, key).is_some());
    given.map(|(key, words)| format!("{}: {words}", at.key(key))).collect()
}

/// What a client is warned of in a claim's spec at that path.
pub fn claim_warnings(spec: &Value, at: &Path) -> Vec<String> {
    let mut out = Vec::new();
    for list in ["requests", "limits"] {
        if let Some(amount) = spec.sub("resources").sub(list).quantity("storage")
            && amount.milli_value() % 1000 != 0
        {
            let at = at.child("resources").child(list).key("storage");
            out.push(format!("{at}: fractional byte value \"{amount}\" is invalid, must be an integer"));
        }
    }
    out
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
    fn warnings(&self, cx: &WriteContext<'_>, claim: &Value, _: Option<&Value>) -> Vec<String> {
        if cx.subresource.is_some() {
            return Vec::new();
        }
        let mut out = annotation_warnings(claim, &[(CLASS, CLASS_WORDS)]);
        out.extend(claim_warnings(&claim["spec"], &Path::new("spec")));
        out
    }

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
