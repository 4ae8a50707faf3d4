//! Security contexts of pods and containers, user namespaces, operating systems.

use std::collections::BTreeSet;

use machinery::field::{Error, ErrorList, Path};
use machinery::json::Fields;
use machinery::names;
use model::check::Faults;
use serde_json::Value;

use super::each_container;
use super::volumes::descending_path;

const SYSCTL: &str = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

fn ids(context: &Value, fields: &[&str], at: &Path, errors: &mut ErrorList) {
    for field in fields {
        let Some(id) = context.int(field) else { continue };
        for message in names::user_id(id) {
            errors.invalid(&at.child(field), id, message);
        }
    }
}

/// `spec.securityContext`.
pub(super) fn pod(spec: &Value, at: &Path, errors: &mut ErrorList) {
    let Some(context) = spec.sub("securityContext") else { return };
    let at = at.child("securityContext");
    ids(context, &["fsGroup", "runAsUser", "runAsGroup"], &at, errors);
    for (i, group) in context.list("supplementalGroups").iter().filter_map(Value::as_i64).enumerate() {
        for message in names::group_id(group) {
            errors.invalid(&at.child("supplementalGroups").index(i), group, message);
        }
    }
    if spec.flag("shareProcessNamespace") == Some(true) && spec.flag("hostPID") == Some(true) {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.invalid(&at.child("shareProcessNamespace"), true, detail);
    }
    sysctls(spec, context.list("sysctls"), &at.child("sysctls"), errors);
    let choices: [(&str, &[&str]); 3] = [
        ("fsGroupChangePolicy", &["Always", "OnRootMismatch"]),
        ("supplementalGroupsPolicy", &["Merge", "Strict"]),
        ("seLinuxChangePolicy", &["MountOption", "Recursive"]),
    ];
    seccomp(context.sub("seccompProfile"), &at.child("seccompProfile"), errors);
    app_armor(context.sub("appArmorProfile"), &at.child("appArmorProfile"), errors);
    for (field, known) in choices {
        if let Some(choice) = context.sub(field).and_then(Value::as_str)
            && !known.contains(&choice)
        {
            errors.unsupported(&at.child(field), choice, known);
        }
    }
}

fn sysctls(spec: &Value, sysctls: &[Value], at: &Path, errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (i, sysctl) in sysctls.iter().enumerate() {
        let at = at.index(i).child("name");
        let name = sysctl.text("name");
        if name.is_empty() {
            errors.required(&at, "");
        } else if !is_sysctl(name) {
            errors.invalid(&at, name, format!("must have at most 253 characters and match regex {SYSCTL}"));
        } else if !seen.insert(name) {
            errors.duplicate(&at, name);
        }
        let dotted = name.replace('/', ".");
        if spec.flag("hostNetwork") == Some(true) && dotted.starts_with("net.") {
            errors.invalid(&at, name, "may not be specified when 'hostNetwork' is true");
        }
        let ipc =
            ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|p| dotted.starts_with(p)) || dotted == "kernel.sem";
        if spec.flag("hostIPC") == Some(true) && ipc {
            errors.invalid(&at, name, "may not be specified when 'hostIPC' is true");
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    name.len() <= 253
        && name.split(['.', '/']).all(|part| {
            let bytes = part.as_bytes();
            let edges = bytes.first().is_some_and(|b| alnum(*b)) && bytes.last().is_some_and(|b| alnum(*b));
            edges && bytes.iter().all(|b| alnum(*b) || matches!(b, b'-' | b'_'))
        })
}

/// A container's `securityContext`.
pub(super) fn container(context: Option<&Value>, host_users: bool, at: &Path, errors: &mut ErrorList) {
    let Some(context) = context else { return };
    ids(context, &["runAsUser", "runAsGroup"], at, errors);
    if let Some(mount) = context.sub("procMount").and_then(Value::as_str) {
        let at = at.child("procMount");
        if !["Default", "Unmasked"].contains(&mount) {
            errors.unsupported(&at, mount, &["Default", "Unmasked"]);
        }
        if host_users && mount == "Unmasked" {
            errors.invalid(&at, mount, "`hostUsers` must be false to use `Unmasked`");
        }
    }
    seccomp(context.sub("seccompProfile"), &at.child("seccompProfile"), errors);
    if context.flag("allowPrivilegeEscalation") == Some(false) {
        if context.flag("privileged") == Some(true) {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.invalid(at, context.clone(), detail);
        }
        if context.sub("capabilities").texts("add").any(|c| c == "CAP_SYS_ADMIN") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.invalid(at, context.clone(), detail);
        }
    }
    app_armor(context.sub("appArmorProfile"), &at.child("appArmorProfile"), errors);
}

fn seccomp(profile: Option<&Value>, at: &Path, errors: &mut ErrorList) {
    let Some(profile) = profile else { return };
    let kind = profile.text("type");
    let known = ["Localhost", "RuntimeDefault", "Unconfined"];
    if kind.is_empty() {
        errors.required(&at.child("type"), "type is required when seccompProfile is set");
    } else if !known.contains(&kind) {
        errors.unsupported(&at.child("type"), kind, &known);
    }
    let at = at.child("localhostProfile");
    match (kind, profile.sub("localhostProfile").and_then(Value::as_str)) {
        ("Localhost", None) => errors.required(&at, "must be set when seccomp type is Localhost"),
        ("Localhost", Some(path)) => descending_path(path, &at, errors),
        (_, Some(_)) => errors.invalid(&at, profile.clone(), "can only be set when seccomp type is Localhost"),
        (_, None) => {}
    }
}

fn app_armor(profile: Option<&Value>, at: &Path, errors: &mut ErrorList) {
    let Some(profile) = profile else { return };
    let path = at.child("localhostProfile");
    let local = profile.sub("localhostProfile").and_then(Value::as_str);
    match profile.text("type") {
        "Localhost" => {
            let missing = "must be set when AppArmor type is Localhost";
            match local {
                None => errors.required(&path, missing),
                Some(name) => {
                    if name.trim() != name {
                        errors.invalid(&path, name, "must not be padded with whitespace");
                    } else if name.is_empty() {
                        errors.required(&path, missing);
                    }
                    if name.len() > 4095 {
                        errors.push(Error::too_long(&path, 4095));
                    }
                }
            }
        }
        "RuntimeDefault" | "Unconfined" => {
            if let Some(name) = local {
                errors.invalid(&path, name, "can only be set when AppArmor type is Localhost");
            }
        }
        "" => errors.required(&at.child("type"), "type is required when appArmorProfile is set"),
        other => errors.unsupported(&at.child("type"), other, &["Localhost", "RuntimeDefault", "Unconfined"]),
    }
}

/// What a pod in a user namespace may not share with the host.
pub(super) fn host_users(spec: &Value, at: &Path, errors: &mut ErrorList) {
    if spec.flag("hostUsers") != Some(false) {
        return;
    }
    let detail = "when `hostUsers` is false";
    for (field, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if spec.flag(field) == Some(true) {
            errors.forbidden(&at.child(shown), detail);
        }
    }
    each_container(spec, at, |container, at| {
        if !container.list("volumeDevices").is_empty() {
            errors.forbidden(&at.child("volumeDevices"), detail);
        }
    });
}

/// `spec.os`, and what it excludes.
pub(super) fn os(spec: &Value, at: &Path, errors: &mut ErrorList) {
    let Some(os) = spec.sub("os") else { return };
    match os.text("name") {
        "" => errors.required(&at.child("os").child("name"), ""),
        "linux" => linux(spec, at, errors),
        "windows" => windows(spec, at, errors),
        other => errors.unsupported(&at.child("os"), other, &["linux", "windows"]),
    }
}

fn linux(spec: &Value, at: &Path, errors: &mut ErrorList) {
    let detail = "windows options cannot be set for a linux pod";
    if spec.sub("securityContext").has("windowsOptions") {
        errors.forbidden(&at.child("securityContext").child("windowsOptions"), detail);
    }
    each_container(spec, at, |container, at| {
        if container.sub("securityContext").has("windowsOptions") {
            errors.forbidden(&at.child("securityContext").child("windowsOptions"), detail);
        }
    });
}

fn windows(spec: &Value, at: &Path, errors: &mut ErrorList) {
    let detail = "cannot be set for a windows pod";
    let context = spec.sub("securityContext");
    for field in ["hostUsers", "shareProcessNamespace"] {
        if spec.has(field) {
            errors.forbidden(&at.child(field), detail);
        }
    }
    for field in ["hostPID", "hostIPC"] {
        if spec.flag(field) == Some(true) {
            errors.forbidden(&at.child(field), detail);
        }
    }
    for field in [
        "appArmorProfile",
        "seLinuxOptions",
        "seccompProfile",
        "fsGroup",
        "fsGroupChangePolicy",
        "sysctls",
        "runAsUser",
        "runAsGroup",
        "supplementalGroups",
        "supplementalGroupsPolicy",
        "seLinuxChangePolicy",
    ] {
        if context.has(field) {
            errors.forbidden(&at.child("securityContext").child(field), detail);
        }
    }
    each_container(spec, at, |container, at| {
        for field in [
            "appArmorProfile",
            "seLinuxOptions",
            "seccompProfile",
            "capabilities",
            "readOnlyRootFilesystem",
            "privileged",
            "allowPrivilegeEscalation",
            "procMount",
            "runAsUser",
            "runAsGroup",
        ] {
            if container.sub("securityContext").has(field) {
                errors.forbidden(&at.child("securityContext").child(field), detail);
            }
        }
    });
}
