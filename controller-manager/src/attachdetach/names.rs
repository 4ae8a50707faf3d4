//! The names of what is attached: of a volume in a node's status, and of the attachment of a volume to a node.
//!
//! Upstream: `pkg/volume/csi`. Drivers, kubelets and other controllers make the same names.

use k8s_openapi::api::core::v1::{AttachedVolume, PersistentVolume};
use sha2::{Digest, Sha256};

const PREFIX: &str = "kubernetes.io/csi/";

/// A volume as its driver knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Volume {
    pub(super) driver: String,
    pub(super) handle: String,
}

impl Volume {
    /// What the PersistentVolume stands for; nothing if it is no CSI volume.
    pub(super) fn of(volume: &PersistentVolume) -> Option<Self> {
        let source = volume.spec.as_ref()?.csi.as_ref()?;
        Some(Self { driver: source.driver.clone(), handle: source.volume_handle.clone() })
    }

    /// The volume of that name in a node's status; nothing if it is no CSI volume's.
    pub(super) fn named(name: &str) -> Option<Self> {
        let (driver, handle) = name.strip_prefix(PREFIX)?.split_once('^')?;
        Some(Self { driver: driver.to_owned(), handle: handle.to_owned() })
    }

    /// Its name in a node's status.
    pub(super) fn name(&self) -> String {
        format!("{PREFIX}{}^{}", self.driver, self.handle)
    }

    /// The name of its VolumeAttachment to that node.
    pub(super) fn attachment(&self, node: &str) -> String {
        let digest = Sha256::digest(format!("{}{}{node}", self.handle, self.driver));
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("csi-{hex}")
    }
}

/// The volumes that a node's status says are attached, given those that are; nothing if it says so already. What is no CSI
/// volume stays.
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
    use super::*;

    fn volume(handle: &str) -> Volume {
        Volume { driver: "d.example.com".into(), handle: handle.into() }
    }

    #[test]
    fn names_are_upstreams() {
        let v = volume("vol-1");
        assert_eq!(v.name(), "kubernetes.io/csi/d.example.com^vol-1");
        assert_eq!(Volume::named(&v.name()), Some(v.clone()));
        assert_eq!(Volume::named("kubernetes.io/iscsi/x"), None);
        // The digest is that of "vol-1d.example.comn1".
        let want = "csi-30f6d22005837af41fef7d63fe7b3970943d7d3f3347148ba9b313bbaab0f238";
        assert_eq!(v.attachment("n1"), want);
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
        check(&["kubernetes.io/iscsi/x", &a], &[], Some(&["kubernetes.io/iscsi/x"]));
        check(&[&b], &["a", "b"], Some(&[&b, &a]));
    }
}
