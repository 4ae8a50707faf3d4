//! Upstream's tables (`binder_test.go`, `provision_test.go`, `delete_test.go`, `recycle_test.go`), on objects as lines of
//! text: `v 1Gi Available claim=c`, what is not said being nothing.

mod of_claims;
mod of_volumes;

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::StorageClass,
};
use serde_json::{Map, Value, json};
use volumes::annotations::{
    BETA_STORAGE_PROVISIONER, BIND_COMPLETED, BOUND_BY_CONTROLLER, MIGRATED_TO, PROVISIONED_BY, SELECTED_NODE,
    STORAGE_PROVISIONER,
};

use super::{
    claim::{self, World},
    known::{Known, claim_of},
    steps::Step,
    volume,
};
use crate::util::key::Key;

/// What lines say in a word of an annotation.
const ANNOTATIONS: &[(&str, &str)] = &[
    ("by-us", BOUND_BY_CONTROLLER),
    ("completed", BIND_COMPLETED),
    ("node", SELECTED_NODE),
    ("asked", STORAGE_PROVISIONER),
    ("asked-beta", BETA_STORAGE_PROVISIONER),
    ("migrated", MIGRATED_TO),
    ("made-by", PROVISIONED_BY),
];

/// What lines say in a word of a field, by its path, of a volume and of a claim.
const OF_VOLUME: &[(&str, &str)] = &[
    ("claim", "/spec/claimRef/name"),
    ("uid", "/spec/claimRef/uid"),
    ("policy", "/spec/persistentVolumeReclaimPolicy"),
    ("class", "/spec/storageClassName"),
    ("mode", "/spec/volumeMode"),
    ("attributes", "/spec/volumeAttributesClassName"),
    ("label", "/metadata/labels/l"),
    ("path", "/spec/hostPath/path"),
    ("driver", "/spec/csi/driver"),
    ("message", "/status/message"),
    ("leaving", "/metadata/deletionTimestamp"),
];
const OF_CLAIM: &[(&str, &str)] = &[
    ("volume", "/spec/volumeName"),
    ("class", "/spec/storageClassName"),
    ("mode", "/spec/volumeMode"),
    ("attributes", "/spec/volumeAttributesClassName"),
    ("has-attributes", "/status/currentVolumeAttributesClassName"),
    ("label", "/spec/selector/matchLabels/l"),
    ("access", "/spec/accessModes/0"),
    ("has", "/status/capacity/storage"),
];

fn put(object: &mut Value, path: &str, value: Value) {
    let mut at = object;
    for part in path.split('/').skip(1) {
        at = match part.parse::<usize>() {
            Ok(_) => {
                *at = json!([null]);
                &mut at[0]
            }
            Err(_) => {
                if !at.is_object() {
                    *at = Value::Object(Map::new());
                }
                &mut at[part]
            }
        };
    }
    *at = value;
}

/// The object that a line says, in which `size` is at that path.
fn object(line: &str, size_at: &str, words: &[(&str, &str)], base: Value) -> Value {
    let mut parts = line.split_whitespace();
    let (name, size, phase) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    let mut object = base;
    put(&mut object, "/metadata/name", json!(name));
    put(&mut object, "/metadata/resourceVersion", json!("1"));
    put(&mut object, size_at, json!(size));
    put(&mut object, "/status/phase", json!(phase));
    for part in parts {
        let (word, value) = part.split_once('=').unwrap_or((part, "yes"));
        let value = value.replace('_', " ");
        if let Some((_, annotation)) = ANNOTATIONS.iter().find(|(name, _)| *name == word) {
            object["metadata"]["annotations"][annotation] = json!(value);
        } else if word == "finalizers" {
            object["metadata"]["finalizers"] = value.split(',').collect();
        } else {
            let (_, path) = words.iter().find(|(name, _)| *name == word).unwrap_or_else(|| panic!("{part}"));
            put(&mut object, path, json!(value));
        }
    }
    object
}

fn volume_of(line: &str) -> PersistentVolume {
    let base =
        json!({"spec": {"accessModes": ["ReadWriteOnce", "ReadOnlyMany"], "persistentVolumeReclaimPolicy": "Retain"}});
    let mut object = object(line, "/spec/capacity/storage", OF_VOLUME, base);
    if !object["spec"]["claimRef"].is_null() {
        object["spec"]["claimRef"]["namespace"] = json!("ns");
    }
    if !object["spec"]["csi"].is_null() {
        object["spec"]["csi"]["volumeHandle"] = json!("h");
    }
    serde_json::from_value(object).unwrap()
}

/// A claim's UID is its name and `-uid`; one that is Bound has the volume's modes.
fn claim_from(line: &str) -> PersistentVolumeClaim {
    let base = json!({"metadata": {"namespace": "ns"}, "spec": {"accessModes": ["ReadWriteOnce", "ReadOnlyMany"]}});
    let mut object = object(line, "/spec/resources/requests/storage", OF_CLAIM, base);
    object["metadata"]["uid"] = json!(format!("{}-uid", object["metadata"]["name"].as_str().unwrap()));
    serde_json::from_value(object).unwrap()
}

/// The line that says the object.
fn line(object: &Value, size_at: &str, words: &[(&str, &str)]) -> String {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().replace(' ', "_");
    let mut line = format!("{} {} {}", text("/metadata/name"), text(size_at), text("/status/phase"));
    let defaults = ["policy=Retain", "access=ReadWriteOnce"];
    for (word, path) in words {
        let part = format!("{word}={}", text(path));
        if !part.ends_with('=') && !defaults.contains(&part.as_str()) {
            line += &format!(" {part}");
        }
    }
    for (word, annotation) in ANNOTATIONS {
        match object["metadata"]["annotations"][annotation].as_str() {
            Some("yes") => line += &format!(" {word}"),
            Some(value) => line += &format!(" {word}={value}"),
            None => {}
        }
    }
    if let Some(finalizers) = object["metadata"]["finalizers"].as_array() {
        let all: Vec<_> = finalizers.iter().filter_map(Value::as_str).collect();
        line += &format!(" finalizers={}", all.join(","));
    }
    line
}

/// Volumes and claims as a server has them.
#[derive(Default)]
struct Server {
    volumes: BTreeMap<String, PersistentVolume>,
    claims: BTreeMap<String, PersistentVolumeClaim>,
    classes: Vec<Arc<StorageClass>>,
    waiting_pods: Vec<String>,
    /// Kind and reason of each, and what else was done.
    said: Vec<String>,
    messages: Vec<String>,
}

impl Server {
    /// Volumes and claims, a line each; the first word of a line is what it is.
    fn new(lines: &str) -> Self {
        let mut server = Self::default();
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            match line.split_once(' ').unwrap() {
                ("volume", line) => {
                    let volume = volume_of(line);
                    server.volumes.insert(volume.metadata.name.clone().unwrap(), volume);
                }
                ("claim", line) => {
                    let claim = claim_from(line);
                    server.claims.insert(claim.metadata.name.clone().unwrap(), claim);
                }
                _ => panic!("{line}"),
            }
        }
        server
    }

    fn known(&self) -> Known {
        let mut known = Known::default();
        self.volumes.values().for_each(|volume| known.see_volume(Arc::new(volume.clone())));
        self.claims.values().for_each(|claim| known.see_claim(Arc::new(claim.clone())));
        known
    }

    fn sync_claim(&mut self, name: &str) {
        let (known, waiting) = (self.known(), self.waiting_pods.clone());
        let world = World {
            known: &known,
            classes: &self.classes,
            dynamic_provisioning: true,
            waiting_pods: &|_| waiting.clone(),
        };
        let steps = claim::sync(&world, known.claim(&Key::new("ns", name)).unwrap());
        self.carry_out(steps);
    }

    fn sync_volume(&mut self, name: &str) {
        let volume = &self.volumes[name];
        let claim = claim_of(volume).and_then(|key| self.claims.get(&key.name));
        self.carry_out(volume::sync(volume, claim));
    }

    fn carry_out(&mut self, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Volume(new) => {
                    let old = self.volumes.get_mut(new.metadata.name.as_deref().unwrap()).unwrap();
                    *old = PersistentVolume { status: old.status.clone(), ..*new };
                }
                Step::VolumeStatus(new) => {
                    self.volumes.get_mut(new.metadata.name.as_deref().unwrap()).unwrap().status = new.status;
                }
                Step::Claim(new) | Step::DefaultClass(new) => {
                    let old = self.claims.get_mut(new.metadata.name.as_deref().unwrap()).unwrap();
                    *old = PersistentVolumeClaim { status: old.status.clone(), ..*new };
                }
                Step::ClaimStatus(new) => {
                    self.claims.get_mut(new.metadata.name.as_deref().unwrap()).unwrap().status = new.status;
                }
                Step::Event(event) => {
                    self.said.push(format!("{} {}", event.kind, event.reason));
                    self.messages.push(event.message);
                }
                Step::Wake(claim) => self.said.push(format!("wakes {}", claim.name)),
                Step::Delete(_, path) => self.said.push(format!("deletes {path}")),
                Step::Recycle(_) => self.said.push("recycles".to_owned()),
                Step::Fail(why) => self.said.push(format!("fails: {why}")),
            }
        }
    }

    fn lines(&self) -> String {
        let volumes = self.volumes.values().map(|volume| {
            let object = serde_json::to_value(volume).unwrap();
            format!("volume {}\n", line(&object, "/spec/capacity/storage", OF_VOLUME))
        });
        let claims = self.claims.values().map(|claim| {
            let object = serde_json::to_value(claim).unwrap();
            format!("claim {}\n", line(&object, "/spec/resources/requests/storage", OF_CLAIM))
        });
        volumes.chain(claims).collect()
    }

    /// Asserts what there is, and what was said and done beside it.
    fn is(&self, lines: &str, said: &[&str]) {
        let trimmed: String =
            lines.lines().map(str::trim).filter(|line| !line.is_empty()).map(|l| format!("{l}\n")).collect();
        assert_eq!(
            (self.lines().as_str(), &self.said),
            (trimmed.as_str(), &said.iter().map(|s| (*s).to_owned()).collect())
        );
    }
}

fn class(name: &str, provisioner: &str, more: Value) -> Arc<StorageClass> {
    let mut class = json!({"metadata": {"name": name}, "provisioner": provisioner, "volumeBindingMode": "Immediate"});
    class.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Arc::new(serde_json::from_value(class).unwrap())
}
