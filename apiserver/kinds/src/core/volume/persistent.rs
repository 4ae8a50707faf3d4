//! PersistentVolumes: one source, a capacity, and where it can be reached; and those that are described in a
//! VolumeAttachment.

use api::internal;
use api::rules::{self, Here};
use api::schema;
use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::names;
use machinery::quantity::Quantity;
use serde_json::{Value, json};

use super::{BETA_CLASS, BETA_CLASS_WORDS, annotation_warnings};
use crate::core::node_labels;
use crate::core::pod::validation::scheduling::{invalid_values, node_selector};
use crate::rules as table;
use model::check::Faults;
use writes::strategy::{Strategy, WriteContext};

/// PersistentVolumes.
pub struct PersistentVolumes;

const MOUNT: &str = "volume.beta.kubernetes.io/mount-options";

/// The sources in upstream's order, on which it depends which of two is the surplus one; under which name its faults
/// are shown, and under which the surplus itself.
const SOURCES: [(&str, &str, &str); 22] = [
    ("hostPath", "hostPath", "hostPath"),
    ("gcePersistentDisk", "persistentDisk", "gcePersistentDisk"),
    ("awsElasticBlockStore", "awsElasticBlockStore", "awsElasticBlockStore"),
    ("glusterfs", "glusterfs", "glusterfs"),
    ("flocker", "flocker", "flocker"),
    ("nfs", "nfs", "nfs"),
    ("rbd", "rbd", "rbd"),
    ("quobyte", "quobyte", "quobyte"),
    ("cephfs", "cephfs", "cephFS"),
    ("iscsi", "iscsi", "iscsi"),
    ("cinder", "cinder", "cinder"),
    ("fc", "fc", "fc"),
    ("flexVolume", "flexVolume", ""),
    ("azureFile", "azureFile", "azureFile"),
    ("vsphereVolume", "vsphereVolume", "vsphereVolume"),
    ("photonPersistentDisk", "photonPersistentDisk", "photonPersistentDisk"),
    ("portworxVolume", "portworxVolume", "portworxVolume"),
    ("azureDisk", "azureDisk", "azureDisk"),
    ("scaleIO", "scaleIO", "scaleIO"),
    ("local", "local", "local"),
    ("storageos", "storageos", "storageos"),
    ("csi", "csi", "csi"),
];

pub(super) fn capacity(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let amounts = here.value.as_object();
    if here.value.get("storage").is_none() || amounts.is_some_and(|amounts| amounts.len() > 1) {
        errors.unsupported(&here.path(), here.value.clone(), &["storage"]);
    }
    for (name, amount) in amounts.into_iter().flatten() {
        let Some(amount) = Quantity::from_value(amount) else { continue };
        let at = here.path().key(name);
        if amount.value() < 0 {
            errors.invalid(&at, amount.value(), "must be a valid resource quantity");
        }
        if amount.sign() <= 0 {
            errors.invalid(&at, amount.to_string(), "must be greater than zero");
        }
    }
}

/// The nodes that reach it. Label values that were invalid may stay so.
pub(super) fn required_nodes(here: &Here<'_, '_>, errors: &mut ErrorList) {
    node_selector(here.value, here.old.is_some_and(invalid_values), &here.path(), errors);
}

pub(super) fn one_source(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let mut found = false;
    for (field, shown, surplus) in SOURCES.iter().filter(|(field, ..)| here.value.has(field)) {
        if found && !surplus.is_empty() {
            errors.forbidden(&here.child(surplus), "may not specify more than 1 volume type");
            continue;
        }
        found = true;
        here.at_shown(field, shown).walk(errors);
        if *field == "local" && !here.value.has("nodeAffinity") {
            errors.required(&here.child("nodeAffinity"), "Local volume requires node affinity");
        }
    }
    if !found {
        errors.required(&here.path(), "must specify a volume type");
    }
}

pub(super) fn no_recycling_of_the_host(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let Some(path) = here.value.sub("hostPath").map(|host| host.text("path")) else { return };
    if is_root(path) && here.value.text("persistentVolumeReclaimPolicy") == "Recycle" {
        let detail = "may not be 'recycle' for a hostPath mount of '/'";
        errors.forbidden(&here.child("persistentVolumeReclaimPolicy"), detail);
    }
}

/// Whether Go's `path.Clean` makes it `/`.
fn is_root(path: &str) -> bool {
    let mut depth = 0_usize;
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => depth = depth.saturating_sub(1),
            _ => depth += 1,
        }
    }
    path.starts_with('/') && depth == 0
}

pub(super) fn attributes_class(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let Some(class) = here.value.sub("volumeAttributesClassName").and_then(Value::as_str) else { return };
    let at = here.child("volumeAttributesClassName");
    if class.is_empty() {
        errors.required(&at, "an empty string is disallowed");
    } else {
        errors.each(&at, class, names::dns1123_subdomain(class));
    }
    if !here.value.has("csi") {
        errors.required(&here.child("csi"), "has to be specified when using volumeAttributesClassName");
    }
}

/// The spec of a volume that a VolumeAttachment describes.
pub fn inline(here: &Here<'_, '_>, errors: &mut ErrorList) {
    const INLINE: &str = "may not be specified in the context of inline volumes";
    let spec = here.value;
    if spec.has("claimRef") {
        errors.forbidden(&here.child("claimRef"), INLINE);
    }
    if spec.object("capacity").is_some_and(|amounts| !amounts.is_empty()) {
        errors.forbidden(&here.child("capacity"), INLINE);
    }
    if !spec.has("csi") {
        errors.required(&here.child("csi"), "has to be specified in the context of inline volumes");
    }
    if spec.list("accessModes").is_empty() {
        errors.required(&here.child("accessModes"), "");
    }
    super::access_modes(&here.at("accessModes"), errors);
    if !matches!(spec.text("persistentVolumeReclaimPolicy"), "" | "Retain") {
        let detail = "may only be Retain in the context of inline volumes";
        errors.forbidden(&here.child("persistentVolumeReclaimPolicy"), detail);
    }
    if spec.has("nodeAffinity") {
        errors.forbidden(&here.child("nodeAffinity"), INLINE);
    }
    one_source(here, errors);
    no_recycling_of_the_host(here, errors);
    if !spec.text("storageClassName").is_empty() {
        errors.forbidden(&here.child("storageClassName"), INLINE);
    }
    if spec.has("volumeMode") && spec.text("volumeMode") != "Filesystem" {
        let detail = "may not specify volumeMode other than Filesystem in the context of inline volumes";
        errors.forbidden(&here.child("volumeMode"), detail);
    }
    attributes_class(here, errors);
}

/// What stays: the source, but for a secret to expand it by, and how it is used.
pub(super) fn change(here: &Here<'_, '_>, errors: &mut ErrorList) {
    const SECRET: &str = "controllerExpandSecretRef";
    let spec = schema::named("core.v1", "PersistentVolumeSpec").expect("the table has volumes");
    let (new, old) = (&here.value["spec"], here.old.map_or(&Value::Null, |old| &old["spec"]));
    let sources = |spec: &Value| {
        let given = SOURCES.iter().filter_map(|(field, ..)| Some(((*field).to_owned(), spec.sub(field)?.clone())));
        Value::Object(given.collect())
    };
    let (mut now, before) = (sources(new), sources(old));
    if old.has("csi")
        && !old["csi"].has(SECRET)
        && let Some(csi) = now.get_mut("csi").and_then(Value::as_object_mut)
    {
        csi.remove(SECRET);
    }
    if !rules::equal(spec, &now, &before) {
        let at = Path::new("spec").child("persistentvolumesource");
        errors.forbidden(&at, "spec.persistentvolumesource is immutable after creation");
    }
    if new.sub("volumeMode") != old.sub("volumeMode") {
        errors.invalid(&Path::new("volumeMode"), new.sub("volumeMode").cloned(), "field is immutable");
    }
    let terms = |spec: &Value| spec.sub("nodeAffinity").sub("required").list("nodeSelectorTerms").to_vec();
    if old.has("nodeAffinity") && !(new.has("nodeAffinity") && same_nodes(&terms(new), &terms(old))) {
        let detail = "field is immutable, except for updating from beta label to GA";
        let field = spec.field("nodeAffinity").expect("volumes have a node affinity");
        errors.push(internal::invalid(&Path::new("nodeAffinity"), new.sub("nodeAffinity"), field, detail));
    }
    if old.has("volumeAttributesClassName") && !new.has("volumeAttributesClassName") {
        let at = Path::new("spec").child("volumeAttributesClassName");
        errors.forbidden(&at, "update from non-nil value to nil is forbidden");
    }
}

/// Whether terms are the same, but for labels whose older name gave way to the newer.
fn same_nodes(new: &[Value], old: &[Value]) -> bool {
    const NEWER: [(&str, &str); 5] = [
        ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
        ("beta.kubernetes.io/os", "kubernetes.io/os"),
        ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
        ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
        ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
    ];
    let same = |new: &Value, old: &Value| {
        let (key, before) = (new.text("key"), old.text("key"));
        (key == before || NEWER.contains(&(before, key)))
            && new.text("operator") == old.text("operator")
            && new.list("values") == old.list("values")
    };
    new.len() == old.len()
        && new.iter().zip(old).all(|(new, old)| {
            ["matchExpressions", "matchFields"].into_iter().all(|list| {
                let (new, old) = (new.list(list), old.list(list));
                new.len() == old.len() && new.iter().zip(old).all(|(new, old)| same(new, old))
            })
        })
}

/// Of some sources, mount options may be in an annotation; of all others they may not.
pub(super) fn mount_options(volume: &Value) -> ErrorList {
    const SOURCES: [&str; 13] = [
        "gcePersistentDisk",
        "awsElasticBlockStore",
        "glusterfs",
        "nfs",
        "rbd",
        "quobyte",
        "iscsi",
        "cinder",
        "cephfs",
        "azureFile",
        "vsphereVolume",
        "azureDisk",
        "photonPersistentDisk",
    ];
    let mut errors = ErrorList::new();
    let given = volume["metadata"].sub("annotations").has(MOUNT);
    if given && !SOURCES.iter().any(|source| volume["spec"].has(source)) {
        let at = Path::new("metadata").child("annotations").child(MOUNT);
        errors.forbidden(&at, "may not specify mount options for this volume type");
    }
    errors
}

impl Strategy for PersistentVolumes {
    fn prepare_for_create(&self, cx: &WriteContext<'_>, volume: &mut Value) {
        volume["status"] = json!({
            "phase": "Pending", "lastPhaseTransitionTime": machinery::time::rfc3339(cx.now),
        });
    }

    fn prepare_for_update(&self, cx: &WriteContext<'_>, volume: &mut Value, old: &Value) {
        if cx.subresource != Some("status") {
            return;
        }
        let (given, before) = (volume["status"].sub(SINCE), old["status"].sub(SINCE));
        if volume["status"].text("phase") != old["status"].text("phase") {
            if given.is_none() || given == before {
                volume["status"][SINCE] = machinery::time::rfc3339(cx.now).into();
            }
        } else if let (None, Some(before)) = (given, before) {
            volume["status"][SINCE] = before.clone();
        }
    }

    fn validate(&self, cx: &WriteContext<'_>, volume: &Value) -> ErrorList {
        [table::object(cx.resource, volume, None), mount_options(volume)].concat()
    }

    /// Upstream examines the volume twice.
    fn validate_update(&self, cx: &WriteContext<'_>, volume: &Value, old: &Value) -> ErrorList {
        if cx.subresource.is_some() {
            return ErrorList::new();
        }
        let object = table::object(cx.resource, volume, Some(old));
        [object.clone(), mount_options(volume), object, table::change(cx.resource, volume, old)].concat()
    }

    fn warnings(&self, cx: &WriteContext<'_>, volume: &Value, _: Option<&Value>) -> Vec<String> {
        if cx.subresource.is_some() { Vec::new() } else { warnings(volume) }
    }
}

const SINCE: &str = "lastPhaseTransitionTime";

/// What a client is warned of in a volume that is accepted (`pkg/api/persistentvolume/util.go`).
fn warnings(volume: &Value) -> Vec<String> {
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
    let mut out: Vec<String> = annotation_warnings(volume, &[(BETA_CLASS, BETA_CLASS_WORDS), (MOUNT, MOUNT_WORDS)]);
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
