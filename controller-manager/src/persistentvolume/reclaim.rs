//! Reclaiming a volume that nobody needs any more, where no provisioner does it: its directory is removed, or a pod
//! empties it.
//!
//! Upstream: `deleteVolumeOperation` and `recycleVolumeOperation` in `pkg/controller/volume/persistentvolume`,
//! `pkg/volume/hostpath`, `pkg/volume/util/recyclerclient`. A recycler pod is not waited for: its changes have the volume
//! looked at again.

use std::path::{Component, Path};

use component::supervisor::AbortOnDrop;
use controller::object_reference;
use k8s_openapi::{
    api::core::v1::{
        Container, HostPathVolumeSource, NFSVolumeSource, PersistentVolume, Pod, PodSpec, Volume, VolumeMount,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use volumes::annotations::IN_TREE_FINALIZER;

use super::{
    Shell,
    known::claim_of,
    recycler_events,
    steps::{Event, Step, unbind},
    volume::{self, failed},
};
use crate::{
    metrics,
    util::{
        key::{self, Key},
        pods,
    },
};

/// Where recycler pods run.
pub(super) const RECYCLERS: &str = "default";
/// What their names begin with; the volume's name follows.
pub(super) const RECYCLER: &str = "recycler-for-";
const IMAGE: &str = "registry.k8s.io/build-image/debian-base:bookworm-v1.0.6";
const SCRUB: &str = "test -e /scrub && find /scrub -mindepth 1 -delete && test -z \"$(ls -A /scrub)\" || exit 1";
/// How many seconds a recycler has for each gibibyte.
const SECONDS_PER_GI: i64 = 30;

/// Removes the directory of a hostPath volume. That it is gone already is no error.
///
/// # Errors
/// It does not lie under /tmp, or can't be removed.
async fn remove(path: &str) -> Result<(), String> {
    let walked: Vec<Component<'_>> = Path::new(path).components().collect();
    let below = matches!(walked.as_slice(), [Component::RootDir, Component::Normal(tmp), _, ..] if *tmp == "tmp");
    if !below || walked.contains(&Component::ParentDir) {
        return Err(format!("host_path deleter only supports /tmp/.+ but received provided {path}"));
    }
    let done = match tokio::fs::symlink_metadata(path).await {
        Ok(found) if found.is_dir() => tokio::fs::remove_dir_all(path).await,
        Ok(_) => tokio::fs::remove_file(path).await,
        Err(error) => Err(error),
    };
    match done {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.to_string()),
        _ => Ok(()),
    }
}

/// The pod that empties a volume.
fn recycler(volume: &PersistentVolume) -> Pod {
    let spec = volume.spec.as_ref();
    let host_path = spec.and_then(|spec| spec.host_path.as_ref());
    let nfs = spec.and_then(|spec| spec.nfs.as_ref());
    let source = Volume {
        name: "vol".to_owned(),
        host_path: host_path.map(|source| HostPathVolumeSource { path: source.path.clone(), type_: None }),
        nfs: nfs.map(|source| NFSVolumeSource {
            path: source.path.clone(),
            server: source.server.clone(),
            read_only: None,
        }),
        ..Default::default()
    };
    let least = if nfs.is_some() { 300 } else { 60 };
    let scrubber = Container {
        name: "pv-recycler".to_owned(),
        image: Some(IMAGE.to_owned()),
        command: Some(vec!["/bin/sh".to_owned()]),
        args: Some(vec!["-c".to_owned(), SCRUB.to_owned()]),
        volume_mounts: Some(vec![VolumeMount {
            name: "vol".to_owned(),
            mount_path: "/scrub".to_owned(),
            ..Default::default()
        }]),
        ..Default::default()
    };
    let name = format!("{RECYCLER}{}", key::name(&volume.metadata));
    Pod {
        metadata: ObjectMeta { name: Some(name), namespace: Some(RECYCLERS.to_owned()), ..Default::default() },
        spec: Some(PodSpec {
            active_deadline_seconds: Some(least.max(volumes::capacity(volume).value() / (1 << 30) * SECONDS_PER_GI)),
            restart_policy: Some("Never".to_owned()),
            volumes: Some(vec![source]),
            containers: vec![scrubber],
            ..Default::default()
        }),
        status: None,
    }
}

/// A recycler that was made in this run.
pub(super) struct Recycler {
    uid: String,
    /// Its events are the volume's, as long as it is there.
    _events: AbortOnDrop<()>,
}

/// How far a recycler is.
#[derive(Debug, PartialEq)]
enum Progress {
    /// There is none.
    Missing,
    /// It is not known whether it is one: it was not made in this run.
    Foreign,
    Running,
    Done,
    /// And why.
    Failed(String),
}

/// `own` is the UID of the one that was made.
fn progress(pod: Option<&Pod>, own: Option<&str>) -> Progress {
    let Some(pod) = pod else { return Progress::Missing };
    if own != pod.metadata.uid.as_deref() {
        return Progress::Foreign;
    }
    match pods::phase(pod) {
        "Succeeded" => Progress::Done,
        "Failed" => {
            let said = pod.status.as_ref().and_then(|status| status.message.clone());
            Progress::Failed(said.unwrap_or_else(|| "pod failed, pod.Status.Message unknown".to_owned()))
        }
        _ if pods::is_terminating(pod) => Progress::Failed("recycler pod was deleted".to_owned()),
        _ => Progress::Running,
    }
}

impl Shell {
    /// The volume as it is now, if it is still to be reclaimed.
    async fn still_released(&self, volume: &PersistentVolume) -> anyhow::Result<Option<PersistentVolume>> {
        let api: Api<PersistentVolume> = Api::all(self.context.client.clone());
        let live = api.get_opt(key::name(&volume.metadata)).await?;
        let known = self.known.lock();
        Ok(live.filter(|live| {
            let claim = claim_of(live).and_then(|key| known.claim(&key).cloned());
            live.metadata.uid == volume.metadata.uid && volume::is_released(live, claim.as_deref())
        }))
    }

    /// Removes what the volume stands for, and then the volume. A failure makes it Failed; it is tried again now and then.
    pub(super) async fn delete(&self, volume: &PersistentVolume, path: &str) -> anyhow::Result<()> {
        let Some(mut volume) = self.still_released(volume).await? else { return Ok(()) };
        if let Err(why) = remove(path).await {
            for counted in [&metrics::VOLUME_ERRORS_TOTAL, &metrics::VOLUME_TOTAL_ERRORS] {
                counted.with(&["kubernetes.io/host-path", "delete"]).add(1);
            }
            return self.carry_out_writes(failed(&volume, "VolumeFailedDelete", &why)).await;
        }
        let api: Api<PersistentVolume> = Api::all(self.context.client.clone());
        let name = key::name(&volume.metadata).to_owned();
        if let Some(finalizers) = &mut volume.metadata.finalizers
            && finalizers.iter().any(|finalizer| finalizer == IN_TREE_FINALIZER)
        {
            finalizers.retain(|finalizer| finalizer != IN_TREE_FINALIZER);
            api.replace(&name, &PostParams::default(), &volume).await?;
        }
        match api.delete(&name, &DeleteParams::default()).await {
            Err(error) if !client::is_not_found(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Has a pod empty the volume, or goes on where it has.
    pub(super) async fn recycle(&self, volume: &PersistentVolume) -> anyhow::Result<()> {
        let Some(volume) = self.still_released(volume).await? else { return Ok(()) };
        let name = key::name(&volume.metadata).to_owned();
        let key = claim_of(&volume).unwrap_or_else(|| Key::new("", ""));
        let users: Vec<String> = self
            .users
            .get(&key)
            .iter()
            .filter(|pod| !pods::is_terminated(pod))
            .map(|pod| format!("{:?}", Key::of(&pod.metadata)))
            .collect();
        // A claim of that name is another one, and what uses it uses another volume.
        if !users.is_empty() && self.known.lock().claim(&key).is_none() {
            let said = format!("Volume is used by pods: {}", users.join(","));
            let said = Event::normal(object_reference(&volume), "VolumeFailedRecycle", said);
            return self.carry_out_writes(vec![Step::Event(said)]).await;
        }
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), RECYCLERS);
        let pod = self.pods.get(Some(RECYCLERS), &format!("{RECYCLER}{name}"));
        let own = self.recyclers.lock().get(&name).map(|recycler| recycler.uid.clone());
        match progress(pod.as_deref(), own.as_deref()) {
            Progress::Running => Ok(()),
            // It was made, and is not shown yet; or it is gone.
            Progress::Missing if own.is_some() => {
                if api.get_opt(&format!("{RECYCLER}{name}")).await?.is_some() {
                    return Ok(());
                }
                self.recyclers.lock().remove(&name);
                anyhow::bail!("the recycler pod of volume {name} is gone")
            }
            Progress::Missing => {
                let events = recycler_events::follow(&self.context, &volume);
                let made = api.create(&PostParams::default(), &recycler(&volume)).await?;
                let uid = made.metadata.uid.unwrap_or_default();
                self.recyclers.lock().insert(name, Recycler { uid, _events: events });
                Ok(())
            }
            Progress::Foreign => {
                self.end_recycler(&api, &name).await?;
                anyhow::bail!("old recycler pod found, will retry later")
            }
            Progress::Done => {
                self.end_recycler(&api, &name).await?;
                let said = Event::normal(object_reference(&volume), "VolumeRecycled", "Volume recycled");
                self.carry_out_writes([Step::Event(said)].into_iter().chain(unbind(&volume)).collect()).await
            }
            Progress::Failed(why) => {
                self.end_recycler(&api, &name).await?;
                let why = format!("Recycle failed: failed to recycle volume: {why}");
                self.carry_out_writes(failed(&volume, "VolumeFailedRecycle", &why)).await
            }
        }
    }

    async fn end_recycler(&self, api: &Api<Pod>, volume: &str) -> anyhow::Result<()> {
        self.recyclers.lock().remove(volume);
        match api.delete(&format!("{RECYCLER}{volume}"), &DeleteParams::default()).await {
            Err(error) if !client::is_not_found(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[tokio::test]
    async fn only_what_lies_under_tmp_is_removed() {
        let refused = |path: &str| Err(format!("host_path deleter only supports /tmp/.+ but received provided {path}"));
        for path in ["/tmp", "/tmp/", "/", "", "tmp/x", "/var/tmp/x", "/tmp/../etc", "/tmp/x/../../etc", "/tmpx/y"] {
            assert_eq!(remove(path).await, refused(path), "{path}");
        }
        let dir = tempfile::Builder::new().prefix("ferry-reclaim").tempdir_in("/tmp").unwrap();
        let path = dir.path().join("a/b");
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("file"), "x").unwrap();
        let parent = dir.path().join("a").display().to_string();
        assert_eq!(remove(&parent).await, Ok(()));
        assert!(!path.exists() && dir.path().exists());
        assert_eq!(remove(&parent).await, Ok(()));
    }

    #[test]
    fn a_recycler_has_time_for_the_size_of_its_volume() {
        let check = |source: Value, size: &str, seconds: i64| {
            let mut spec = source;
            spec["capacity"] = json!({"storage": size});
            let volume = serde_json::from_value(json!({"metadata": {"name": "v"}, "spec": spec.clone()})).unwrap();
            let pod = serde_json::to_value(recycler(&volume)).unwrap();
            assert_eq!(pod["metadata"]["name"], "recycler-for-v");
            assert_eq!(pod["spec"]["activeDeadlineSeconds"], seconds, "{size}");
            for kind in ["hostPath", "nfs"] {
                assert_eq!(pod["spec"]["volumes"][0][kind], spec[kind]);
            }
        };
        let path = || json!({"hostPath": {"path": "/tmp/x"}});
        let nfs = || json!({"nfs": {"server": "s", "path": "/x"}});
        check(path(), "1Gi", 60);
        check(path(), "3Gi", 90);
        check(path(), "1G", 60);
        check(nfs(), "1Gi", 300);
        check(nfs(), "11Gi", 330);
    }

    #[test]
    fn a_recycler_is_trusted_only_if_it_was_made_here() {
        let pod = |more: Value| {
            let mut pod = json!({"metadata": {"name": "p", "uid": "u"}, "status": {"phase": "Running"}});
            for (part, fields) in more.as_object().unwrap() {
                pod[part].as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            }
            serde_json::from_value::<Pod>(pod).unwrap()
        };
        let phase = |phase: &str| json!({"status": {"phase": phase}});
        let failed = |why: &str| Progress::Failed(why.to_owned());
        let check = |more: Value, own: Option<&str>, want: Progress| assert_eq!(progress(Some(&pod(more)), own), want);
        assert_eq!(progress(None, Some("u")), Progress::Missing);
        check(phase("Succeeded"), None, Progress::Foreign);
        check(phase("Succeeded"), Some("other"), Progress::Foreign);
        check(phase("Pending"), Some("u"), Progress::Running);
        check(phase("Succeeded"), Some("u"), Progress::Done);
        check(phase("Failed"), Some("u"), failed("pod failed, pod.Status.Message unknown"));
        check(json!({"status": {"phase": "Failed", "message": "late"}}), Some("u"), failed("late"));
        let leaving = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
        check(leaving, Some("u"), failed("recycler pod was deleted"));
    }
}
