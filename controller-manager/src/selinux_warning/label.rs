//! SELinux labels of volumes in pods, and when two of them can't be on one node.
//!
//! Upstream: `pkg/controller/volume/selinuxwarning/translator`. What a label leaves open is the node's to fill in, but for
//! the level.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, Pod, SELinuxOptions, SecurityContext};

/// User, role, type and level, with colons between; empty if nothing is said.
pub(super) fn of(options: Option<&SELinuxOptions>) -> String {
    let Some(options) = options else { return String::new() };
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    let parts = [part(&options.user), part(&options.role), part(&options.type_), part(&options.level)];
    if parts.iter().all(String::is_empty) { String::new() } else { parts.join(":") }
}

/// The level may have colons of its own.
fn parts(label: &str) -> [&str; 4] {
    let mut parts = label.splitn(4, ':');
    [(); 4].map(|()| parts.next().unwrap_or_default())
}

/// Whether no node can make the two the same.
pub(super) fn conflict(a: &str, b: &str) -> bool {
    let ([a @ .., level_a], [b @ .., level_b]) = (parts(a), parts(b));
    level_a != level_b || a.iter().zip(b).any(|(a, b)| *a != b && !a.is_empty() && !b.is_empty())
}

fn containers(pod: &Pod) -> impl Iterator<Item = (&Container, Option<&SecurityContext>)> {
    let spec = pod.spec.iter();
    let all = spec.flat_map(|s| s.init_containers.iter().flatten().chain(&s.containers));
    all.map(|c| (c, c.security_context.as_ref()))
}

/// The label that the pod's containers give a volume; none if they don't mount it.
///
/// # Errors
/// They give it different ones.
pub(super) fn of_volume(pod: &Pod, volume: &str) -> Result<Option<String>, ()> {
    let of_pod = pod.spec.as_ref().and_then(|s| s.security_context.as_ref()?.se_linux_options.as_ref());
    let mounted = containers(pod).filter(|(c, _)| c.volume_mounts.iter().flatten().any(|m| m.name == volume));
    let mut labels = BTreeSet::new();
    let mut mounts = false;
    for (_, own) in mounted {
        mounts = true;
        if let Some(options) = own.and_then(|s| s.se_linux_options.as_ref()).or(of_pod) {
            labels.insert(of(Some(options)));
        }
    }
    if labels.len() > 1 {
        return Err(());
    }
    Ok(mounts.then(|| labels.pop_first().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn open_parts_do_not_conflict_but_for_the_level() {
        let check =
            |a: &str, b: &str, want: bool| assert_eq!((conflict(a, b), conflict(b, a)), (want, want), "{a} {b}");
        check("", "", false);
        check("", ":::", false);
        check("system_u:system_r:container_t:s0:c1,c2", "system_u:system_r:container_t:s0:c1,c2", false);
        check("system_u:system_r:container_t:s0:c1,c2", ":::s0:c1,c2", false);
        check("system_u:system_r:container_t:s0:c1,c2", ":::s0:c98,c99", true);
        check("system_u:system_r:container_t:s0:c1,c2", "::other_t:s0:c1,c2", true);
        check("system_u:::s0", ":system_r::s0", false);
        check(":::s0:c1,c2", "", true);
    }

    fn pod(pod: Value, containers: &[(Value, &str)]) -> Pod {
        let container = |(own, volume): &(Value, &str)| {
            let mounts = json!([{"name": volume, "mountPath": "/x"}]);
            json!({"name": "c", "securityContext": {"seLinuxOptions": own}, "volumeMounts": mounts})
        };
        let containers: Vec<Value> = containers.iter().map(container).collect();
        let spec = json!({"containers": containers, "securityContext": {"seLinuxOptions": pod}});
        serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap()
    }

    #[test]
    fn a_volume_has_the_label_of_the_containers_that_mount_it() {
        let level = |level: &str| json!({"level": level});
        let check = |of_pod: Value, containers: &[(Value, &str)], want: Result<Option<&str>, ()>| {
            assert_eq!(of_volume(&pod(of_pod, containers), "v"), want.map(|label| label.map(Into::into)));
        };
        check(Value::Null, &[(Value::Null, "v")], Ok(Some("")));
        check(Value::Null, &[(Value::Null, "other")], Ok(None));
        check(level("s0"), &[(Value::Null, "v")], Ok(Some(":::s0")));
        check(level("s0"), &[(level("s1"), "v"), (level("s2"), "other")], Ok(Some(":::s1")));
        check(level("s0"), &[(level("s1"), "v"), (Value::Null, "v")], Err(()));
        check(json!({}), &[(Value::Null, "v")], Ok(Some("")));
    }
}
