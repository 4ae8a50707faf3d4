//! Volume mounts and devices of a container.

use std::collections::{BTreeMap, BTreeSet};

use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use model::check::Faults;
use serde_json::Value;

use super::containers::Volumes;
use super::volumes::{descending_path, no_backsteps};

pub(super) fn check(container: &Value, volumes: &Volumes<'_>, at: &Path, errors: &mut ErrorList) {
    let (mounts, devices) = (container.list("volumeMounts"), container.list("volumeDevices"));
    let mounted: BTreeMap<&str, &str> = mounts.iter().map(|m| (m.text("name"), m.text("mountPath"))).collect();
    let attached: BTreeMap<&str, &str> = devices.iter().map(|d| (d.text("name"), d.text("devicePath"))).collect();
    let list = at.child("volumeMounts");
    let mut seen = BTreeSet::new();
    for (i, mount) in mounts.iter().enumerate() {
        let at = list.index(i);
        let (name, path) = (mount.text("name"), mount.text("mountPath"));
        if name.is_empty() {
            errors.required(&at.child("name"), "");
        }
        if !volumes.contains_key(name) {
            errors.not_found(&at.child("name"), name);
        }
        if path.is_empty() {
            errors.required(&at.child("mountPath"), "");
        }
        if !seen.insert(path) {
            errors.invalid(&at.child("mountPath"), path, "must be unique");
        }
        if attached.contains_key(name) {
            errors.invalid(&at.child("name"), name, "must not already exist in volumeDevices");
        }
        if attached.values().any(|d| *d == path) {
            errors.invalid(&at.child("mountPath"), path, "must not already exist as a path in volumeDevices");
        }
        let (sub, expression) = (mount.text("subPath"), mount.text("subPathExpr"));
        // From here on upstream's paths lack the index.
        if !sub.is_empty() {
            descending_path(sub, &list.child("subPath"), errors);
        }
        if !expression.is_empty() {
            if !sub.is_empty() {
                let detail = "subPathExpr and subPath are mutually exclusive";
                errors.invalid(&at.child("subPathExpr"), expression, detail);
            }
            descending_path(expression, &list.child("subPathExpr"), errors);
        }
        propagation(mount, container, &list.child("mountPropagation"), errors);
        recursive_read_only(mount, &list.child("recursiveReadOnly"), errors);
    }
    check_devices(devices, &mounted, volumes, &at.child("volumeDevices"), errors);
}

fn propagation(mount: &Value, container: &Value, at: &Path, errors: &mut ErrorList) {
    let Some(mode) = mount.sub("mountPropagation").and_then(Value::as_str) else { return };
    let known = ["Bidirectional", "HostToContainer", "None"];
    if !known.contains(&mode) {
        errors.unsupported(at, mode, &known);
    }
    if mode == "Bidirectional" && container.sub("securityContext").flag("privileged") != Some(true) {
        let detail = "Bidirectional mount propagation is available only to privileged containers";
        errors.forbidden(at, detail);
    }
}

fn recursive_read_only(mount: &Value, at: &Path, errors: &mut ErrorList) {
    match mount.sub("recursiveReadOnly").and_then(Value::as_str) {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if mount.flag("readOnly") != Some(true) {
                errors.forbidden(at, "may only be specified when readOnly is true");
            }
            if !matches!(mount.text("mountPropagation"), "" | "None") {
                errors.forbidden(at, "may only be specified when mountPropagation is None or not specified");
            }
        }
        Some(other) => errors.unsupported(at, other, &["Disabled", "Enabled", "IfPossible"]),
    }
}

fn check_devices(
    devices: &[Value],
    mounted: &BTreeMap<&str, &str>,
    volumes: &Volumes<'_>,
    list: &Path,
    errors: &mut ErrorList,
) {
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for (i, device) in devices.iter().enumerate() {
        let at = list.index(i);
        let (name, path) = (device.text("name"), device.text("devicePath"));
        if name.is_empty() {
            errors.required(&at.child("name"), "");
        }
        if names.contains(name) {
            errors.invalid(&at.child("name"), name, "must be unique");
        }
        match volumes.get(name) {
            None => errors.not_found(&at.child("name"), name),
            Some(volume) if !volume.has("persistentVolumeClaim") && !volume.has("ephemeral") => {
                let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.invalid(&at.child("name"), name, detail);
            }
            Some(_) => {}
        }
        if path.is_empty() {
            errors.required(&at.child("devicePath"), "");
        }
        if paths.contains(path) {
            errors.invalid(&at.child("devicePath"), path, "must be unique");
        }
        let mut steps = ErrorList::new();
        no_backsteps(path, &at, &mut steps);
        if steps.is_empty() {
            paths.insert(path);
        } else {
            errors.invalid(&at.child("devicePath"), path, "can not contain backsteps ('..')");
        }
        if mounted.contains_key(name) {
            errors.invalid(&at.child("name"), name, "must not already exist in volumeMounts");
        }
        if mounted.values().any(|m| *m == path) {
            errors.invalid(&at.child("devicePath"), path, "must not already exist as a path in volumeMounts");
        }
        if !name.is_empty() {
            names.insert(name);
        }
    }
}
