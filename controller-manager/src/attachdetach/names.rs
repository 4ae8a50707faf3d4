//! The names of what is attached: of a volume in a node's status, and of the attachment of a volume to a node.
//!
//! Upstream: `pkg/volume/{csi,iscsi,fc}`. Drivers, kubelets and other controllers make the same names.

use k8s_openapi::api::core::v1::{AttachedVolume, FCVolumeSource, PersistentVolume, Pod};
use sha2::{Digest, Sha256};

const CSI: &str = "kubernetes.io/csi/";
const ISCSI: &str = "kubernetes.io/iscsi/";
const FIBRE_CHANNEL: &str = "kubernetes.io/fc/";

/// A volume that is attached.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Volume {
    /// As its driver, which does the attaching, knows it.
    Csi { driver: String, handle: String },
    /// One that its node reaches by itself, by its name in a node's status: there is nothing to do but to say that it is
    /// attached, and its kubelet waits for that.
    Reached(String),
}

impl Volume {
    /// What the PersistentVolume stands for; nothing if it is none that is attached.
    pub(super) fn of(volume: &PersistentVolume) -> Option<Self> {
        let spec = volume.spec.as_ref()?;
        if let Some(source) = &spec.csi {
            return Some(Self::csi(&source.driver, &source.volume_handle));
        }
        let iscsi = spec.iscsi.as_ref().map(|source| iscsi(&source.target_portal, &source.iqn, source.lun));
        iscsi.or_else(|| fibre_channel(spec.fc.as_ref()?))
    }

    /// Those that a pod names itself, and what it calls them.
    pub(super) fn inline(pod: &Pod) -> Vec<(Self, String)> {
        let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        let of = |volume: &k8s_openapi::api::core::v1::Volume| {
            let iscsi = volume.iscsi.as_ref().map(|source| iscsi(&source.target_portal, &source.iqn, source.lun));
            Some((iscsi.or_else(|| fibre_channel(volume.fc.as_ref()?))?, volume.name.clone()))
        };
        volumes.filter_map(of).collect()
    }

    pub(super) fn csi(driver: &str, handle: &str) -> Self {
        Self::Csi { driver: driver.to_owned(), handle: handle.to_owned() }
    }

    /// The volume of that name in a node's status; nothing if it is of a kind that is not attached.
    pub(super) fn named(name: &str) -> Option<Self> {
        if let Some(csi) = name.strip_prefix(CSI) {
            let (driver, handle) = csi.split_once('^')?;
            return Some(Self::csi(driver, handle));
        }
        let reached = [ISCSI, FIBRE_CHANNEL].iter().any(|prefix| name.starts_with(prefix));
        reached.then(|| Self::Reached(name.to_owned()))
    }

    /// Its name in a node's status.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Csi { driver, handle } => format!("{CSI}{driver}^{handle}"),
            Self::Reached(name) => name.clone(),
        }
    }

    /// Its driver and what that calls it, if it has one.
    pub(super) fn driver(&self) -> Option<(&str, &str)> {
        match self {
            Self::Csi { driver, handle } => Some((driver, handle)),
            Self::Reached(_) => None,
        }
    }

    /// The name of its VolumeAttachment to that node, if it has one.
    pub(super) fn attachment(&self, node: &str) -> Option<String> {
        let (driver, handle) = self.driver()?;
        let digest = Sha256::digest(format!("{handle}{driver}{node}"));
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(format!("csi-{hex}"))
    }
}

fn iscsi(portal: &str, name: &str, lun: i32) -> Volume {
    Volume::Reached(format!("{ISCSI}{portal}:{name}:{lun}"))
}

/// Nothing if it says neither targets and a number nor identifiers.
fn fibre_channel(source: &FCVolumeSource) -> Option<Volume> {
    let list =
        |names: &Option<Vec<String>>| names.as_ref().filter(|names| !names.is_empty()).map(|names| names.join(" "));
    let by_target = list(&source.target_wwns).zip(source.lun).map(|(names, lun)| format!("[{names}]:{lun}"));
    let name = by_target.or_else(|| list(&source.wwids).map(|names| format!("[{names}]")))?;
    Some(Volume::Reached(format!("{FIBRE_CHANNEL}{name}")))
}

/// The volumes that a node's status says are attached, given those that are; nothing if it says so already. What is of a kind
/// that is not attached stays.
pub(super) fn report(said: &[AttachedVolume], attached: &[Volume]) -> Option<Vec<AttachedVolume>> {
    let names: Vec<String> = attached.iter().map(Volume::name).collect();
    let kept = said.iter().filter(|volume| Volume::named(&volume.name).is_none() || names.contains(&volume.name));
    let new = names.iter().filter(|name| !said.iter().any(|volume| volume.name == **name));
    let new = new.map(|name| AttachedVolume { name: name.clone(), device_path: String::new() });
    let all: Vec<AttachedVolume> = kept.cloned().chain(new).collect();
    (all != said).then_some(all)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn volume(handle: &str) -> Volume {
        Volume::csi("d.example.com", handle)
    }

    #[test]
    fn names_are_upstreams() {
        let v = volume("vol-1");
        assert_eq!(v.name(), "kubernetes.io/csi/d.example.com^vol-1");
        assert_eq!(Volume::named(&v.name()), Some(v.clone()));
        assert_eq!(Volume::named("kubernetes.io/nfs/x"), None);
        // The digest is that of "vol-1d.example.comn1".
        let want = "csi-30f6d22005837af41fef7d63fe7b3970943d7d3f3347148ba9b313bbaab0f238";
        assert_eq!(v.attachment("n1").as_deref(), Some(want));
    }

    #[test]
    fn what_nodes_reach_by_themselves_has_names_as_well() {
        let check = |source: serde_json::Value, want: Option<&str>| {
            let volume = json!({"metadata": {"name": "v"}, "spec": source});
            let of = Volume::of(&serde_json::from_value(volume).unwrap());
            assert_eq!(of.as_ref().map(Volume::name).as_deref(), want);
            assert_eq!(of, want.and_then(Volume::named));
            assert_eq!(of.and_then(|volume| volume.attachment("n1")), None);
            let mut volume = source;
            volume["name"] = json!("mine");
            let pod =
                json!({"metadata": {}, "spec": {"containers": [], "volumes": [{"name": "x", "emptyDir": {}}, volume]}});
            let inline = Volume::inline(&serde_json::from_value(pod).unwrap());
            let inline: Vec<_> = inline.iter().map(|(volume, name)| (volume.name(), name.as_str())).collect();
            assert_eq!(inline, want.into_iter().map(|name| (name.to_owned(), "mine")).collect::<Vec<_>>());
        };
        let iscsi = json!({"iscsi": {"targetPortal": "10.0.0.1:3260", "iqn": "iqn.2026-01.com.example:s", "lun": 2}});
        check(iscsi, Some("kubernetes.io/iscsi/10.0.0.1:3260:iqn.2026-01.com.example:s:2"));
        let targets = json!({"fc": {"targetWWNs": ["50060e", "50060f"], "lun": 0, "wwids": ["w"]}});
        check(targets, Some("kubernetes.io/fc/[50060e 50060f]:0"));
        check(json!({"fc": {"wwids": ["36", "37"]}}), Some("kubernetes.io/fc/[36 37]"));
        check(json!({"fc": {"targetWWNs": ["50060e"]}}), None);
        check(json!({"nfs": {"server": "s", "path": "/"}}), None);
    }

    #[test]
    fn a_status_says_what_is_attached() {
        let said = |names: &[&str]| -> Vec<AttachedVolume> {
            names.iter().map(|name| AttachedVolume { name: (*name).into(), device_path: String::new() }).collect()
        };
        let (a, b) = (volume("a").name(), volume("b").name());
        let check = |before: &[&str], attached: &[&str], want: Option<&[&str]>| {
            let attached: Vec<_> = attached.iter().map(|handle| volume(handle)).collect();
            assert_eq!(report(&said(before), &attached), want.map(said), "{before:?}");
        };
        check(&[], &[], None);
        check(&[], &["a"], Some(&[&a]));
        check(&[&a], &["a"], None);
        check(&[&a, &b], &["b"], Some(&[&b]));
        check(&["kubernetes.io/nfs/x", &a, "kubernetes.io/iscsi/x"], &[], Some(&["kubernetes.io/nfs/x"]));
        check(&[&b], &["a", "b"], Some(&[&b, &a]));
    }
}
