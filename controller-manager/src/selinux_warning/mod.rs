//! Warnings of SELinux: pods that use one volume with labels, or ways to label it, that can't be on one node.
//!
//! Upstream: `pkg/controller/volume/selinuxwarning`; it is off by default. Volumes of claims are looked at, as in-line
//! ones are no two pods'.

mod label;
mod volumes;

use std::sync::Arc;

use client::{Change, Informer};
use controller::{Queue, object_reference, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Volume},
    storage::v1::CSIDriver,
};
use parking_lot::Mutex;

use crate::{
    context::Context,
    metrics,
    util::{
        claim_users::ClaimUsers,
        key::{self, Key},
        pods,
    },
};
use volumes::{Use, Volumes};

const RECURSIVE: &str = "Recursive";
const MOUNT_OPTION: &str = "MountOption";

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

struct Shell {
    context: Context,
    pods: Informer<Pod>,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    drivers: Informer<CSIDriver>,
    queue: Queue<Key>,
    known: Mutex<Volumes>,
    users: ClaimUsers,
}

async fn run(context: Context) -> anyhow::Result<()> {
    let (i, cancel, name) = (context.informers.clone(), context.cancel.clone(), context.name);
    let pods: Informer<Pod> = i.of();
    let shell = Arc::new(Shell {
        context,
        users: ClaimUsers::of(&pods),
        pods,
        claims: i.of(),
        volumes: i.of(),
        drivers: i.of(),
        queue: Queue::new(),
        known: Mutex::default(),
    });
    let s = shell.clone();
    shell.pods.on_change(move |change| s.queue.add(Key::of(&change.object().metadata)));
    let s = shell.clone();
    // Claims and volumes matter when they come to be bound.
    shell.claims.on_change(move |change| {
        if !matches!(change, Change::Deleted(_)) {
            s.wake_users(&Key::of(&change.object().metadata));
        }
    });
    let s = shell.clone();
    shell.volumes.on_change(move |change| {
        let claim = change.object().spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
        if let Some(claim) = claim.filter(|_| !matches!(change, Change::Deleted(_))) {
            let part = |part: &Option<String>| part.clone().unwrap_or_default();
            s.wake_users(&Key { namespace: part(&claim.namespace), name: part(&claim.name) });
        }
    });
    let s = shell.clone();
    shell.drivers.on_change(move |change| {
        let users = s.known.lock().of_driver(key::name(&change.object().metadata));
        users.into_iter().for_each(|pod| s.queue.add(pod));
    });
    shell.pods.synced().await;
    shell.claims.synced().await;
    shell.volumes.synced().await;
    shell.drivers.synced().await;
    let asked = shell.clone();
    let _collected = metrics::collect(name, move |out| {
        let of = (
            "selinux_warning_controller_selinux_volume_conflict",
            "[ALPHA] Two pods that use one volume in ways that do not go together on one node.",
        );
        let labels =
            ["property", "pod1_namespace", "pod1_name", "pod1_value", "pod2_namespace", "pod2_name", "pod2_value"];
        let conflicts = asked.known.lock().conflicts();
        metrics::gauge(out, of, labels, conflicts.into_iter().map(|conflict| (conflict, 1.0)));
    });
    run_workers(name, &shell.queue, 1, cancel, |key| shell.reconcile(key)).await;
    Ok(())
}

/// The claims of a pod, each with the name of its volume in the pod.
fn claims_of(pod: &Pod) -> Vec<(&str, String)> {
    let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    let claim = |volume: &Volume| match &volume.persistent_volume_claim {
        Some(claim) => Some(claim.claim_name.clone()),
        None => volume.ephemeral.as_ref().map(|_| ::volumes::claim_name(pod, &volume.name)),
    };
    volumes.filter_map(|volume| Some((volume.name.as_str(), claim(volume)?))).collect()
}

impl Shell {
    /// Wakes the pods that use a claim.
    fn wake_users(&self, claim: &Key) {
        self.users.get(claim).iter().for_each(|pod| self.queue.add(Key::of(&pod.metadata)));
    }

    async fn reconcile(&self, key: Key) -> anyhow::Result<()> {
        let pod = self.pods.get(Some(&key.namespace), &key.name).filter(|pod| !pods::is_finished(pod));
        let Some(pod) = pod else {
            self.known.lock().remove(&key);
            return Ok(());
        };
        for (name, claim) in claims_of(&pod) {
            // What is not bound comes again when it is.
            let Some((volume, driver, mounts)) = self.volume_of(&key.namespace, &claim) else { continue };
            match label::of_volume(&pod, name) {
                Ok(None) => {}
                Ok(Some(label)) => self.put(&key, &pod, &volume, &driver, how(&pod, label, mounts)),
                Err(()) => {
                    let why = format!("Volume {name:?} is mounted twice with different SELinux labels inside this pod");
                    self.context.recorder.event(&object_reference(&*pod), "Warning", "MultipleSELinuxLabels", why);
                }
            }
        }
        Ok(())
    }

    fn put(&self, key: &Key, pod: &Pod, volume: &str, driver: &str, how: Use) {
        let conflicts = self.known.lock().put(volume, driver, key, how);
        for conflict in conflicts {
            let other = self.pods.get(Some(&conflict.pod.namespace), &conflict.pod.name);
            let about = if conflict.pod == *key {
                object_reference(pod)
            } else {
                // One that is gone is in nobody's way.
                let Some(other) = other else { return };
                object_reference(&*other)
            };
            self.context.recorder.event(&about, "Normal", conflict.reason, conflict.message);
        }
    }

    /// What tells a claim's volume from others, its CSI driver, and whether it can be mounted with a label.
    fn volume_of(&self, namespace: &str, claim: &str) -> Option<(String, String, bool)> {
        let claim = self.claims.get(Some(namespace), claim)?;
        let name = claim.spec.as_ref()?.volume_name.as_ref().filter(|name| !name.is_empty())?;
        let volume = self.volumes.get(None, name)?;
        let spec = volume.spec.as_ref()?;
        let Some(csi) = &spec.csi else {
            return Some((name.clone(), String::new(), spec.iscsi.is_some() || spec.fc.is_some()));
        };
        let driver = self.drivers.get(None, &csi.driver);
        let mounts = driver.is_some_and(|driver| driver.spec.se_linux_mount == Some(true));
        Some((format!("kubernetes.io/csi/{}^{}", csi.driver, csi.volume_handle), csi.driver.clone(), mounts))
    }
}

/// How a pod with that label uses a volume: only with a label, and where the volume can be mounted with one, is it not
/// labelled file by file.
fn how(pod: &Pod, label: String, mounts: bool) -> Use {
    let chosen = pod.spec.as_ref().and_then(|s| s.security_context.as_ref()?.se_linux_change_policy.as_deref());
    let recursive = chosen == Some(RECURSIVE);
    let label = if recursive || !mounts { String::new() } else { label };
    let policy = if recursive || !mounts || label.is_empty() { RECURSIVE } else { chosen.unwrap_or(MOUNT_OPTION) };
    Use { label, policy: policy.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_volume_is_labelled_at_its_mount_or_file_by_file() {
        let check = |policy: Value, label: &str, mounts: bool, want: (&str, &str)| {
            let spec = json!({"containers": [], "securityContext": {"seLinuxChangePolicy": policy}});
            let pod = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
            let got = how(&pod, label.to_owned(), mounts);
            assert_eq!((got.label.as_str(), got.policy.as_str()), want);
        };
        check(Value::Null, ":::s0", true, (":::s0", MOUNT_OPTION));
        check(json!("MountOption"), ":::s0", true, (":::s0", MOUNT_OPTION));
        check(json!("Recursive"), ":::s0", true, ("", RECURSIVE));
        check(Value::Null, ":::s0", false, ("", RECURSIVE));
        check(Value::Null, "", true, ("", RECURSIVE));
    }
}
