//! Security contexts: the container's own settings over the pod's. Upstream: kuberuntime/security_context.go, pkg/securitycontext.

use crate::pod::{self, Kind};
use k8s_openapi::api::core::v1::{Container, Pod, SeccompProfile};
use proto::cri;
use std::path::Path;

/// The user an image runs as.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ImageUser {
    pub(crate) uid: Option<i64>,
    pub(crate) name: String,
}

impl ImageUser {
    pub(crate) fn of(image: Option<&cri::Image>) -> Self {
        match image {
            Some(cri::Image { uid: Some(uid), .. }) => Self { uid: Some(uid.value), name: String::new() },
            Some(image) if !image.username.is_empty() => Self { uid: None, name: image.username.clone() },
            _ => Self { uid: Some(0), name: String::new() },
        }
    }
}

/// Which of the node's namespaces a pod's processes share; `target` is the container that an ephemeral one joins.
pub(crate) fn namespaces(pod: &Pod, target: Option<&str>) -> cri::NamespaceOption {
    use cri::NamespaceMode::{Container, Node, Pod as PodMode, Target};
    let spec = pod::spec(pod);
    let mode = |host: Option<bool>| if host == Some(true) { Node } else { PodMode };
    let pid = match (spec.host_pid, spec.share_process_namespace, target) {
        (Some(true), ..) => Node,
        (_, Some(true), _) => PodMode,
        (_, _, Some(_)) => Target,
        _ => Container,
    };
    cri::NamespaceOption {
        network: mode(spec.host_network) as i32,
        ipc: mode(spec.host_ipc) as i32,
        pid: pid as i32,
        target_id: if pid == Target { target.unwrap_or_default().to_owned() } else { String::new() },
        userns_options: None,
    }
}

/// Refuses a container that must not run as root and does, or may.
pub(crate) fn verify_non_root(pod: &Pod, container: &Container, image: &ImageUser) -> Result<(), String> {
    let (own, whole) = (container.security_context.as_ref(), pod::spec(pod).security_context.as_ref());
    let non_root = own.and_then(|s| s.run_as_non_root).or_else(|| whole?.run_as_non_root);
    if non_root != Some(true) {
        return Ok(());
    }
    let place = format!("(pod: {:?}, container: {})", pod::format(pod), container.name);
    match (own.and_then(|s| s.run_as_user).or_else(|| whole?.run_as_user), image) {
        (Some(0), _) => Err(format!("container's runAsUser breaks non-root policy {place}")),
        (Some(_), _) => Ok(()),
        (None, ImageUser { uid: None, name }) if !name.is_empty() => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root {place}"
        )),
        (None, ImageUser { uid: Some(0), .. }) => {
            Err(format!("container has runAsNonRoot and image will run as root {place}"))
        }
        (None, _) => Ok(()),
    }
}

/// Groups of a pod: those it asks for, and the one that owns its volumes.
pub(crate) fn groups(pod: &Pod) -> Vec<i64> {
    let Some(context) = &pod::spec(pod).security_context else { return Vec::new() };
    context.fs_group.into_iter().chain(context.supplemental_groups.iter().flatten().copied()).collect()
}

pub(crate) fn groups_policy(pod: &Pod) -> cri::SupplementalGroupsPolicy {
    match pod::spec(pod).security_context.as_ref().and_then(|s| s.supplemental_groups_policy.as_deref()) {
        Some("Strict") => cri::SupplementalGroupsPolicy::Strict,
        _ => cri::SupplementalGroupsPolicy::Merge,
    }
}

fn number(value: Option<i64>) -> Option<cri::Int64Value> {
    value.map(|value| cri::Int64Value { value })
}

fn seccomp(profile: Option<&SeccompProfile>, root: &Path, default: bool) -> Result<cri::SecurityProfile, String> {
    use cri::security_profile::ProfileType;
    let (kind, reference) = match profile {
        None if default => (ProfileType::RuntimeDefault, String::new()),
        None => (ProfileType::Unconfined, String::new()),
        Some(p) if p.type_ == "RuntimeDefault" => (ProfileType::RuntimeDefault, String::new()),
        Some(p) if p.type_ == "Localhost" => match p.localhost_profile.as_deref().filter(|l| !l.is_empty()) {
            Some(file) => (ProfileType::Localhost, root.join(file).to_string_lossy().into_owned()),
            None => return Err("localhostProfile must be set if seccompProfile type is Localhost.".into()),
        },
        Some(_) => (ProfileType::Unconfined, String::new()),
    };
    Ok(cri::SecurityProfile { profile_type: kind as i32, localhost_ref: reference })
}

/// Paths of `/proc` and `/sys` that a container does not see, and those it may only read.
const MASKED: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The node's part of it.
pub(crate) struct Settings<'a> {
    pub(crate) seccomp_root: &'a Path,
    pub(crate) seccomp_default: bool,
}

pub(crate) fn context(
    pod: &Pod,
    kind: Kind,
    container: &Container,
    image: &ImageUser,
    target: Option<&str>,
    settings: &Settings,
) -> Result<cri::LinuxContainerSecurityContext, String> {
    let own = container.security_context.clone().unwrap_or_default();
    let whole = pod::spec(pod).security_context.clone().unwrap_or_default();
    let privileged = own.privileged == Some(true);
    let run_as_user = own.run_as_user.or(whole.run_as_user);
    let (user, username) = match run_as_user {
        Some(uid) => (Some(uid), String::new()),
        None => (image.uid, image.name.clone()),
    };
    let strings = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let capabilities = own.capabilities.as_ref().map(|c| cri::Capability {
        add_capabilities: strings(&c.add),
        drop_capabilities: strings(&c.drop),
        ..Default::default()
    });
    let selinux = own.se_linux_options.as_ref().or(whole.se_linux_options.as_ref());
    let selinux_options = selinux.map(|o| cri::SeLinuxOption {
        user: o.user.clone().unwrap_or_default(),
        role: o.role.clone().unwrap_or_default(),
        r#type: o.type_.clone().unwrap_or_default(),
        level: o.level.clone().unwrap_or_default(),
    });
    let unmasked = own.proc_mount.as_deref() == Some("Unmasked");
    let paths = |list: &[&str]| if unmasked { Vec::new() } else { list.iter().map(|p| (*p).to_owned()).collect() };
    let profile = own.seccomp_profile.as_ref().or(whole.seccomp_profile.as_ref());
    let escalation = own.allow_privilege_escalation;
    Ok(cri::LinuxContainerSecurityContext {
        capabilities,
        privileged,
        namespace_options: Some(namespaces(pod, target.filter(|_| kind == Kind::Ephemeral))),
        selinux_options,
        run_as_user: number(user),
        run_as_group: number(own.run_as_group.or(whole.run_as_group)),
        run_as_username: username,
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        supplemental_groups: groups(pod),
        supplemental_groups_policy: groups_policy(pod) as i32,
        no_new_privs: escalation == Some(false),
        masked_paths: paths(MASKED),
        readonly_paths: paths(READ_ONLY),
        seccomp: Some(seccomp(profile, settings.seccomp_root, settings.seccomp_default)?),
        apparmor: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn non_root_is_verified() {
        let check = |pod_context: serde_json::Value, own: serde_json::Value, image: ImageUser| {
            let pod: Pod = serde_json::from_value(json!({
                "metadata": {"name": "p", "namespace": "n", "uid": "u"},
                "spec": {"securityContext": pod_context, "containers": [{"name": "c", "securityContext": own}]}
            }))
            .expect("a pod");
            verify_non_root(&pod, &pod::spec(&pod).containers[0], &image)
        };
        let root = ImageUser { uid: Some(0), name: String::new() };
        let named = ImageUser { uid: None, name: "www".into() };
        assert_eq!(check(json!({}), json!({}), root.clone()), Ok(()));
        assert_eq!(
            check(json!({"runAsNonRoot": true}), json!({}), root.clone()),
            Err("container has runAsNonRoot and image will run as root (pod: \"p_n(u)\", container: c)".into())
        );
        assert_eq!(
            check(json!({}), json!({"runAsNonRoot": true}), named),
            Err("container has runAsNonRoot and image has non-numeric user (www), cannot verify user is non-root (pod: \"p_n(u)\", container: c)".into())
        );
        assert_eq!(check(json!({"runAsNonRoot": true, "runAsUser": 7}), json!({}), root.clone()), Ok(()));
        assert_eq!(
            check(json!({"runAsNonRoot": true}), json!({"runAsUser": 0}), root),
            Err("container's runAsUser breaks non-root policy (pod: \"p_n(u)\", container: c)".into())
        );
    }
}
