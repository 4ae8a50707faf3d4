//! Which node an object belongs to: pods to the node they run on, and what pods refer to likewise, volumes through
//! their claims included.
//!
//! Upstream walks a general graph; here are only the paths that exist, each a look-up: references are counted by node,
//! so that a question costs the same with ten pods as with a hundred thousand.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use machinery::json::Fields;
use machinery::meta;
use serde_json::Value;

use crate::pod_refs;

/// What can belong to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Kind {
    Claim,
    ConfigMap,
    Pod,
    PodCertificateRequest,
    ResourceClaim,
    ResourceSlice,
    Secret,
    ServiceAccount,
    Volume,
    VolumeAttachment,
}

/// Namespace and name.
type Key = (String, String);

#[derive(Debug)]
struct Pod {
    node: Arc<str>,
    refers: Vec<(Kind, String)>,
}

#[derive(Debug, Default)]
struct Volume {
    claim: Key,
    secrets: HashSet<Key>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Graph {
    pods: HashMap<Key, Pod>,
    /// How many pods of which node refer to an object.
    referred: HashMap<(Kind, Key), HashMap<Arc<str>, u32>>,
    volumes: HashMap<String, Volume>,
    /// Volumes that name a Secret.
    volumes_by_secret: HashMap<Key, HashSet<String>>,
    /// Objects that name their node.
    owned: HashMap<(Kind, Key), String>,
}

fn key(namespace: &str, name: &str) -> Key {
    (namespace.to_owned(), name.to_owned())
}

impl Graph {
    /// Forgets all objects of the kind, before they are told anew.
    pub fn clear(&mut self, kind: Kind) {
        match kind {
            Kind::Pod => {
                self.pods.clear();
                self.referred.clear();
            }
            Kind::Volume => {
                self.volumes.clear();
                self.volumes_by_secret.clear();
            }
            kind => self.owned.retain(|(k, _), _| *k != kind),
        }
    }

    /// Takes an object as it is now: a pod, a volume, or one that names its node.
    pub fn put(&mut self, kind: Kind, object: &Value) {
        let (namespace, name) = (meta::namespace(object), meta::name(object));
        self.remove(kind, namespace, name);
        match kind {
            Kind::Pod => self.put_pod(key(namespace, name), object),
            Kind::Volume => self.put_volume(name, object),
            kind => {
                let node = object.sub("spec").text("nodeName");
                if !node.is_empty() {
                    self.owned.insert((kind, key(namespace, name)), node.to_owned());
                }
            }
        }
    }

    fn put_pod(&mut self, pod: Key, object: &Value) {
        let node = object.sub("spec").text("nodeName");
        if node.is_empty() {
            return;
        }
        let mut refers: Vec<(Kind, String)> = Vec::new();
        if !pod_refs::is_mirror(object) {
            let mut refer = |kind: Kind, name: &str| refers.push((kind, name.to_owned()));
            let account = object.sub("spec").text("serviceAccountName");
            Some(account).filter(|a| !a.is_empty()).into_iter().for_each(|name| refer(Kind::ServiceAccount, name));
            pod_refs::secrets(object).into_iter().for_each(|name| refer(Kind::Secret, name));
            pod_refs::config_maps(object).into_iter().for_each(|name| refer(Kind::ConfigMap, name));
            pod_refs::claims(object).iter().for_each(|name| refer(Kind::Claim, name));
            pod_refs::resource_claims(object).into_iter().for_each(|name| refer(Kind::ResourceClaim, name));
        }
        let node: Arc<str> = node.into();
        for (kind, name) in &refers {
            *self.referred.entry((*kind, key(&pod.0, name))).or_default().entry(node.clone()).or_default() += 1;
        }
        self.pods.insert(pod, Pod { node, refers });
    }

    fn put_volume(&mut self, name: &str, object: &Value) {
        let Some(claim) = object.at("/spec/claimRef") else { return };
        let claim = key(claim.text("namespace"), claim.text("name"));
        let mut secrets = HashSet::new();
        let own_or_claims = |namespace: &str| if namespace.is_empty() { claim.0.clone() } else { namespace.to_owned() };
        let spec = &object["spec"];
        let mut add = |namespace: String, secret: &str| {
            if !secret.is_empty() {
                secrets.insert((namespace, secret.to_owned()));
            }
        };
        add(own_or_claims(spec.sub("azureFile").text("secretNamespace")), spec.sub("azureFile").text("secretName"));
        for source in ["cephfs", "flexVolume", "rbd", "scaleIO", "iscsi"] {
            let secret = &spec[source]["secretRef"];
            add(own_or_claims(secret.text("namespace")), secret.text("name"));
        }
        for secret in [
            &spec["cinder"]["secretRef"],
            &spec["storageos"]["secretRef"],
            &spec["csi"]["nodePublishSecretRef"],
            &spec["csi"]["nodeStageSecretRef"],
            &spec["csi"]["nodeExpandSecretRef"],
        ] {
            add(secret.text("namespace").to_owned(), secret.text("name"));
        }
        for secret in &secrets {
            self.volumes_by_secret.entry(secret.clone()).or_default().insert(name.to_owned());
        }
        self.volumes.insert(name.to_owned(), Volume { claim, secrets });
    }

    /// Forgets an object that is gone.
    pub fn remove(&mut self, kind: Kind, namespace: &str, name: &str) {
        match kind {
            Kind::Pod => {
                let Some(pod) = self.pods.remove(&key(namespace, name)) else { return };
                for (kind, name) in pod.refers {
                    let at = (kind, key(namespace, &name));
                    let Some(nodes) = self.referred.get_mut(&at) else { continue };
                    if let Some(count) = nodes.get_mut(&pod.node) {
                        *count -= 1;
                        if *count == 0 {
                            nodes.remove(&pod.node);
                        }
                    }
                    if nodes.is_empty() {
                        self.referred.remove(&at);
                    }
                }
            }
            Kind::Volume => {
                let Some(volume) = self.volumes.remove(name) else { return };
                for secret in volume.secrets {
                    if let Some(volumes) = self.volumes_by_secret.get_mut(&secret) {
                        volumes.remove(name);
                        if volumes.is_empty() {
                            self.volumes_by_secret.remove(&secret);
                        }
                    }
                }
            }
            kind => drop(self.owned.remove(&(kind, key(namespace, name)))),
        }
    }

    /// Whether the object belongs to the node.
    pub fn reaches(&self, node: &str, kind: Kind, namespace: &str, name: &str) -> bool {
        let at = key(namespace, name);
        match kind {
            Kind::Pod => self.pods.get(&at).is_some_and(|pod| &*pod.node == node),
            Kind::Volume => self.volume_reaches(node, name),
            Kind::VolumeAttachment | Kind::ResourceSlice | Kind::PodCertificateRequest => {
                self.owned.get(&(kind, at)).is_some_and(|owner| owner == node)
            }
            Kind::Secret
                if self.volumes_by_secret.get(&at).is_some_and(|v| v.iter().any(|v| self.volume_reaches(node, v))) =>
            {
                true
            }
            kind => self.referred.get(&(kind, at)).is_some_and(|nodes| nodes.contains_key(node)),
        }
    }

    fn volume_reaches(&self, node: &str, volume: &str) -> bool {
        let Some(volume) = self.volumes.get(volume) else { return false };
        self.referred.get(&(Kind::Claim, volume.claim.clone())).is_some_and(|nodes| nodes.contains_key(node))
    }
}
