//! Which pods use which volumes with which labels, and who is in whose way.
//!
//! Upstream: `pkg/controller/volume/selinuxwarning/cache`.

use std::collections::{BTreeMap, BTreeSet};

use super::label;
use crate::util::key::Key;

/// How a pod uses a volume.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Use {
    pub(super) label: String,
    /// `MountOption` or `Recursive`.
    pub(super) policy: String,
}

/// What is to be told of a pod.
#[derive(Debug, PartialEq)]
pub(super) struct Conflict {
    pub(super) pod: Key,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

#[derive(Default)]
struct Volume {
    /// Its CSI driver, if it has one.
    driver: String,
    pods: BTreeMap<Key, Use>,
}

/// The volumes of all pods.
#[derive(Default)]
pub(super) struct Volumes {
    all: BTreeMap<String, Volume>,
    /// The volumes of each pod.
    of_pod: BTreeMap<Key, BTreeSet<String>>,
}

impl Volumes {
    /// A pod uses a volume like that; told once is who is in the way of whom.
    pub(super) fn put(&mut self, volume: &str, driver: &str, pod: &Key, new: Use) -> Vec<Conflict> {
        let known = self.all.entry(volume.to_owned()).or_default();
        driver.clone_into(&mut known.driver);
        if known.pods.get(pod) == Some(&new) {
            return vec![];
        }
        self.of_pod.entry(pod.clone()).or_default().insert(volume.to_owned());
        let mut conflicts = vec![];
        for (other, theirs) in known.pods.iter().filter(|(other, _)| *other != pod) {
            let mut both = |property, reason, ours: &str, theirs: &str| {
                conflicts.push(told((pod, ours), (other, theirs), property, reason));
                conflicts.push(told((other, theirs), (pod, ours), property, reason));
            };
            if theirs.policy != new.policy {
                both("SELinuxChangePolicy", "SELinuxChangePolicyConflict", &new.policy, &theirs.policy);
            }
            if label::conflict(&theirs.label, &new.label) {
                both("SELinuxLabel", "SELinuxLabelConflict", &new.label, &theirs.label);
            }
        }
        known.pods.insert(pod.clone(), new);
        conflicts
    }

    /// All conflicts there are, as the labels of their metric: the property, and of each of both pods its namespace, its name
    /// and its value.
    pub(super) fn conflicts(&self) -> Vec<[String; 7]> {
        let mut all = vec![];
        for volume in self.all.values() {
            for (one, ours) in &volume.pods {
                for (other, theirs) in volume.pods.iter().filter(|(other, _)| *other != one) {
                    let mut add = |property: &str, ours: &str, theirs: &str| {
                        all.push(
                            [property, &one.namespace, &one.name, ours, &other.namespace, &other.name, theirs]
                                .map(str::to_owned),
                        );
                    };
                    if theirs.policy != ours.policy {
                        add("SELinuxChangePolicy", &ours.policy, &theirs.policy);
                    }
                    if label::conflict(&theirs.label, &ours.label) {
                        add("SELinuxLabel", &ours.label, &theirs.label);
                    }
                }
            }
        }
        all
    }

    /// A pod uses nothing any more.
    pub(super) fn remove(&mut self, pod: &Key) {
        for volume in self.of_pod.remove(pod).unwrap_or_default() {
            let Some(known) = self.all.get_mut(&volume) else { continue };
            known.pods.remove(pod);
            if known.pods.is_empty() {
                self.all.remove(&volume);
            }
        }
    }

    /// The pods with volumes of a CSI driver.
    pub(super) fn of_driver(&self, driver: &str) -> BTreeSet<Key> {
        let volumes = self.all.values().filter(|volume| volume.driver == driver);
        volumes.flat_map(|volume| volume.pods.keys().cloned()).collect()
    }
}

/// A pod of another namespace is not named.
fn told((pod, ours): (&Key, &str), (other, theirs): (&Key, &str), property: &str, reason: &'static str) -> Conflict {
    let fate = "If both pods land on the same node, only one of them may access the volume.";
    let message = if pod.namespace == other.namespace {
        let name = &other.name;
        format!(
            "{property} \"{ours}\" conflicts with pod {name} that uses the same volume as this pod with {property} \
             \"{theirs}\". {fate}"
        )
    } else {
        format!(
            "{property}\"{ours}\" conflicts with another pod that uses the same volume as this pod with a different \
             {property}. {fate}"
        )
    };
    Conflict { pod: pod.clone(), reason, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(label: &str, policy: &str) -> Use {
        Use { label: label.into(), policy: policy.into() }
    }

    /// The pods that are told something, and the reasons.
    fn reasons(conflicts: &[Conflict]) -> Vec<String> {
        conflicts.iter().map(|c| format!("{:?} {}", c.pod, c.reason)).collect()
    }

    #[test]
    fn both_pods_are_told_once() {
        let (a, b, c) = (Key::new("n", "a"), Key::new("n", "b"), Key::new("m", "c"));
        let mut volumes = Volumes::default();
        assert_eq!(volumes.put("v", "d", &a, used(":::s0", "MountOption")), []);
        assert_eq!(volumes.put("v", "d", &b, used(":::s0", "MountOption")), []);
        assert_eq!(volumes.put("w", "d", &b, used(":::s1", "Recursive")), [], "another volume");
        let labels = volumes.put("v", "d", &b, used(":::s1", "MountOption"));
        assert_eq!(reasons(&labels), ["n/b SELinuxLabelConflict", "n/a SELinuxLabelConflict"]);
        let said = "SELinuxLabel \":::s1\" conflicts with pod a that uses the same volume as this pod with SELinuxLabel \
            \":::s0\". If both pods land on the same node, only one of them may access the volume.";
        assert_eq!(labels[0].message, said);
        assert_eq!(volumes.put("v", "d", &b, used(":::s1", "MountOption")), []);
        let both = volumes.put("v", "d", &c, used(":::s0", "Recursive"));
        let policies = ["m/c SELinuxChangePolicyConflict", "n/a SELinuxChangePolicyConflict"];
        assert_eq!(reasons(&both)[..2], policies);
        assert_eq!(reasons(&both).len(), 6, "with a by policy, with b by policy and label");
        assert!(!both[0].message.contains("pod a") && both[0].message.contains("another pod"));
        assert_eq!(volumes.of_driver("d").len(), 3);
        [&a, &b].into_iter().for_each(|pod| volumes.remove(pod));
        assert_eq!(volumes.put("v", "d", &c, used(":::s2", "Recursive")), []);
        assert_eq!((volumes.of_driver("d"), volumes.of_driver("x")), ([c].into(), [].into()));
    }
}
