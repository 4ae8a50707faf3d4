//! Volumes and their sources. Those that a pod and a PersistentVolume have in common are examined by the rows of their types.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use api::schema::{self, Type};
use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::{meta, names};
use model::check::Faults;
use serde_json::Value;

use super::Options;
use super::containers::Volumes;
use super::env::{field_ref, resource_ref};
use crate::rules;

const MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";

// In upstream's order, on which it depends which of two sources is the surplus one.
const SOURCES: [&str; 30] = [
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

/// Checks all; gives the good ones by name.
pub(super) fn check<'a>(
    volumes: &'a [Value],
    pod_name: Option<&str>,
    at: &Path,
    options: Options,
    errors: &mut ErrorList,
) -> Volumes<'a> {
    let pod_name = pod_name.unwrap_or_default();
    let created: BTreeSet<String> = volumes
        .iter()
        .filter(|v| !pod_name.is_empty() && v.has("ephemeral"))
        .map(|v| format!("{pod_name}-{}", v.text("name")))
        .collect();
    let mut good = Volumes::new();
    for (i, volume) in volumes.iter().enumerate() {
        let at = at.index(i);
        let name = volume.text("name");
        let mut faults = source(volume, name, pod_name, &at, options);
        if name.is_empty() {
            faults.required(&at.child("name"), "");
        } else {
            faults.each(&at.child("name"), name, names::dns1123_label(name));
        }
        if good.contains_key(name) {
            faults.duplicate(&at.child("name"), name);
        }
        if faults.is_empty() {
            good.insert(name, volume);
        }
        errors.extend(faults);
        let claim = volume.sub("persistentVolumeClaim").text("claimName");
        if created.contains(claim) {
            let at = at.child("persistentVolumeClaim").child("claimName");
            errors.invalid(&at, claim, "must not reference a PVC that gets created for an ephemeral volume");
        }
    }
    good
}

fn source(volume: &Value, name: &str, pod_name: &str, at: &Path, options: Options) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut found = false;
    for kind in SOURCES {
        let Some(source) = volume.sub(kind) else { continue };
        let path = at.child(kind);
        if found {
            errors.forbidden(&at.child(surplus(kind)), "may not specify more than 1 volume type");
            errors.extend(session(source, name, at).into_iter().filter(|_| kind == "iscsi"));
            continue;
        }
        found = true;
        match kind {
            "emptyDir" if source.quantity("sizeLimit").is_some_and(|q| q.sign() < 0) => {
                let detail = "SizeLimit field must be a valid resource quantity";
                errors.forbidden(&path.child("sizeLimit"), detail);
            }
            "gitRepo" => {
                if source.text("repository").is_empty() {
                    errors.required(&path.child("repository"), "");
                }
                descending_or_empty(source.text("directory"), &path.child("directory"), &mut errors);
            }
            "secret" => items(source, "secretName", &path, &mut errors),
            "configMap" => items(source, "name", &path, &mut errors),
            "persistentVolumeClaim" if source.text("claimName").is_empty() => {
                errors.required(&path.child("claimName"), "");
            }
            "downwardAPI" => {
                mode(source.int("defaultMode"), &path.child("defaultMode"), &mut errors);
                for file in source.list("items") {
                    downward_file(file, &path, &mut errors);
                }
            }
            "projected" => projected(source, &path, &mut errors),
            "csi" => csi(source, &path, &mut errors),
            "ephemeral" => {
                errors.extend(by_type(kind, source, &path));
                if !pod_name.is_empty() && !name.is_empty() {
                    let claim = format!("{pod_name}-{name}");
                    for message in names::dns1123_subdomain(&claim) {
                        errors.invalid(&at.child("name"), name, format!("PVC name \"{claim}\": {message}"));
                    }
                }
            }
            "image" => {
                if options.is_pod && source.text("reference").is_empty() {
                    errors.required(&path.child("reference"), "");
                }
                let known = ["Always", "IfNotPresent", "Never"];
                errors.one_of(&path.child("pullPolicy"), source.text("pullPolicy"), &known);
            }
            "iscsi" => {
                errors.extend(by_type(kind, source, &path));
                errors.extend(session(source, name, at));
            }
            "gcePersistentDisk" => errors.extend(by_type(kind, source, &at.child("persistentDisk"))),
            _ => errors.extend(by_type(kind, source, &path)),
        }
    }
    if !found {
        errors.required(at, "must specify a volume type");
    }
    errors
}

/// By the row of the source's type.
fn by_type(kind: &str, source: &Value, at: &Path) -> ErrorList {
    static VOLUME: LazyLock<&Type> =
        LazyLock::new(|| schema::named("core.v1", "Volume").expect("the table has volumes"));
    let ty = VOLUME.field(kind).and_then(|field| field.shape.object());
    ty.map(|ty| rules::of_type(ty, source, None, at)).unwrap_or_default()
}

/// Under which name upstream shows a source that is one too many.
fn surplus(kind: &str) -> &str {
    match kind {
        "cephfs" => "cephFS",
        "downwardAPI" => "downwarAPI",
        kind => kind,
    }
}

/// The initiator's name makes an iSCSI session's, of the volume's name and the portal.
fn session(source: &Value, name: &str, at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if source.has("initiatorName") && name.len() + 1 + source.text("targetPortal").len() > 64 {
        let detail = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if \
                      iscsi.initiatorName is specified.";
        errors.invalid(&at.child("name"), name, detail);
    }
    errors
}

fn csi(source: &Value, at: &Path, errors: &mut ErrorList) {
    csi_driver_name(source.text("driver"), &at.child("driver"), errors);
    if let Some(secret) = source.sub("nodePublishSecretRef") {
        let name = secret.text("name");
        if name.is_empty() {
            errors.required(&at.child("nodePublishSecretRef").child("name"), "");
        } else {
            errors.each(&at.child("name"), name, names::dns1123_subdomain(name));
        }
    }
}

fn csi_driver_name(name: &str, at: &Path, errors: &mut ErrorList) {
    if name.is_empty() {
        return errors.required(at, "");
    }
    if name.len() > 63 {
        errors.push(machinery::field::Error::too_long(at, 63));
    }
    errors.each(at, name, names::dns1123_subdomain(&name.to_lowercase()));
}

fn mode(mode: Option<i64>, at: &Path, errors: &mut ErrorList) {
    if let Some(mode) = mode.filter(|m| !(0..=0o777).contains(m)) {
        errors.invalid(at, mode, MODE);
    }
}

fn items(source: &Value, name: &str, at: &Path, errors: &mut ErrorList) {
    if source.text(name).is_empty() {
        errors.required(&at.child(name), "");
    }
    mode(source.int("defaultMode"), &at.child("defaultMode"), errors);
    for (i, item) in source.list("items").iter().enumerate() {
        key_to_path(item, &at.child("items").index(i), errors);
    }
}

fn key_to_path(item: &Value, at: &Path, errors: &mut ErrorList) {
    for field in ["key", "path"] {
        if item.text(field).is_empty() {
            errors.required(&at.child(field), "");
        }
    }
    local_non_reserved_path(item.text("path"), &at.child("path"), errors);
    mode(item.int("mode"), &at.child("mode"), errors);
}

fn downward_file(file: &Value, at: &Path, errors: &mut ErrorList) {
    const FIELDS: [&str; 5] =
        ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
    let path = file.text("path");
    if path.is_empty() {
        errors.required(&at.child("path"), "");
    }
    local_non_reserved_path(path, &at.child("path"), errors);
    match (file.sub("fieldRef"), file.sub("resourceFieldRef")) {
        (Some(reference), other) => {
            field_ref(reference, &FIELDS, &at.child("fieldRef"), errors);
            if other.is_some() {
                let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.invalid(at, "resource", detail);
            }
        }
        (None, Some(reference)) => resource_ref(reference, true, &at.child("resourceFieldRef"), errors),
        (None, None) => errors.required(at, "one of fieldRef and resourceFieldRef is required"),
    }
    mode(file.int("mode"), &at.child("mode"), errors);
}

fn projected(projection: &Value, at: &Path, errors: &mut ErrorList) {
    mode(projection.int("defaultMode"), &at.child("defaultMode"), errors);
    let mut paths = BTreeSet::new();
    // Upstream shows the source's name here, not the path.
    let mut once = |path: &str, shown: &str, errors: &mut ErrorList| {
        if !path.is_empty() && !paths.insert(path.to_owned()) {
            errors.invalid(at, shown, "conflicting duplicate paths");
        }
    };
    for (i, source) in projection.list("sources").iter().enumerate() {
        let path = at.child("sources").index(i);
        let mut sources = 0;
        for kind in ["secret", "configMap"] {
            let Some(inner) = source.sub(kind) else { continue };
            sources += 1;
            let path = path.child(kind);
            let name = inner.text("name");
            if name.is_empty() {
                errors.required(&path.child("name"), "");
            }
            for (j, item) in inner.list("items").iter().enumerate() {
                key_to_path(item, &path.child("items").index(j), errors);
                once(item.text("path"), name, errors);
            }
        }
        if let Some(inner) = source.sub("downwardAPI") {
            sources += 1;
            for file in inner.list("items") {
                downward_file(file, &path.child("downwardAPI"), errors);
                once(file.text("path"), file.text("path"), errors);
            }
        }
        if let Some(token) = source.sub("serviceAccountToken") {
            sources += 1;
            let seconds = token.int("expirationSeconds").unwrap_or(0);
            let path = path.child("serviceAccountToken").child("expirationSeconds");
            if seconds < 600 {
                errors.invalid(&path, seconds, "may not specify a duration less than 10 minutes");
            }
            if seconds > 1 << 32 {
                errors.invalid(&path, seconds, "may not specify a duration larger than 2^32 seconds");
            }
            match token.text("path") {
                "" => errors.required(&at.child("path"), ""),
                file => local_non_reserved_path(file, &at.child("path"), errors),
            }
        }
        if let Some(bundle) = source.sub("clusterTrustBundle") {
            sources += 1;
            trust_bundle(bundle, &path.child("clusterTrustBundle"), errors);
            once(bundle.text("path"), bundle.text("path"), errors);
        }
        if let Some(certificate) = source.sub("podCertificate") {
            sources += 1;
            let fields = ["credentialBundlePath", "keyPath", "certificateChainPath"];
            let path = path.child("podCertificate");
            for field in fields {
                let file = certificate.text(field);
                if !file.is_empty() {
                    local_non_reserved_path(file, &path.child(field), errors);
                    once(file, file, errors);
                }
            }
            if fields.iter().all(|f| certificate.text(f).is_empty()) {
                let detail = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
                errors.required(&path, detail);
            }
        }
        if sources > 1 {
            errors.forbidden(&path, "may not specify more than 1 volume type per source");
        }
    }
}

fn trust_bundle(bundle: &Value, at: &Path, errors: &mut ErrorList) {
    match (bundle.sub("name"), bundle.sub("signerName")) {
        (Some(_), Some(_)) => {
            errors.invalid(at, bundle.clone(), "only one of name and signerName may be used");
        }
        (Some(_), None) => {
            if bundle.text("name").is_empty() {
                errors.required(&at.child("name"), "must be a valid object name");
            }
            if let Some(selector) = bundle.sub("labelSelector") {
                let detail = "labelSelector must be unset if name is specified";
                errors.invalid(&at.child("labelSelector"), selector.clone(), detail);
            }
        }
        (None, Some(_)) => {
            if bundle.text("signerName").is_empty() {
                errors.required(&at.child("signerName"), "must be a valid signer name");
            }
            let selector = bundle.sub("labelSelector");
            errors.extend(meta::validate_label_selector(selector, false, &at.child("labelSelector")));
        }
        (None, None) => errors.required(at, "either name or signerName must be specified"),
    }
    let path = bundle.text("path");
    if path.is_empty() {
        errors.required(&at.child("path"), "");
    }
    local_non_reserved_path(path, &at.child("path"), errors);
}

fn descending_or_empty(path: &str, at: &Path, errors: &mut ErrorList) {
    if !path.is_empty() {
        descending_path(path, at, errors);
    }
}

/// A relative path that stays below.
pub(super) fn descending_path(path: &str, at: &Path, errors: &mut ErrorList) {
    if path.starts_with('/') {
        errors.invalid(at, path, "must be a relative path");
    }
    no_backsteps(path, at, errors);
}

/// A path without `..`.
pub fn no_backsteps(path: &str, at: &Path, errors: &mut ErrorList) {
    if path.split('/').any(|p| p == "..") {
        errors.invalid(at, path, "must not contain '..'");
    }
}

/// A relative path that stays below, in a name that the kubelet does not use itself.
pub fn local_non_reserved_path(path: &str, at: &Path, errors: &mut ErrorList) {
    descending_path(path, at, errors);
    if path.starts_with("..") && !path.starts_with("../") {
        errors.invalid(at, path, "must not start with '..'");
    }
}
