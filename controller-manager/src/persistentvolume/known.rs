//! What the controller knows of volumes and claims: the newest state of each, be it what an informer showed or what the
//! controller itself wrote, found by whom it concerns.
//!
//! A binding is several writes. Who looked at informers alone between two of them would decide on the past: bind a second
//! volume to a claim, or a volume to a second claim.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    sync::Arc,
};

use k8s_openapi::{
    api::core::v1::{PersistentVolume, PersistentVolumeClaim},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use volumes::{
    Fit, Wanted,
    annotations::{self, BIND_COMPLETED},
};

use super::steps::Step;
use crate::util::key::{self, Key};

/// Names under what they have in common.
struct Index<K, V>(HashMap<K, BTreeSet<V>>);

impl<K, V> Default for Index<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq, V: Ord + Clone> Index<K, V> {
    fn add(&mut self, under: Option<K>, name: &V) {
        if let Some(under) = under {
            self.0.entry(under).or_default().insert(name.clone());
        }
    }

    fn remove(&mut self, under: Option<K>, name: &V) {
        if let Some(under) = under
            && let Some(names) = self.0.get_mut(&under)
        {
            names.remove(name);
            if names.is_empty() {
                self.0.remove(&under);
            }
        }
    }

    fn get<'a>(&'a self, under: &K) -> impl Iterator<Item = &'a V> + use<'a, K, V> {
        self.0.get(under).into_iter().flatten()
    }
}

#[derive(Default)]
pub(super) struct Known {
    volumes: HashMap<String, Arc<PersistentVolume>>,
    claims: HashMap<Key, Arc<PersistentVolumeClaim>>,
    /// Volumes by the claim in their claimRef.
    by_claim: Index<Key, String>,
    /// Volumes without a claimRef, by class.
    free: Index<String, String>,
    /// Claims by the volume that they name.
    by_volume: Index<String, Key>,
    /// Claims whose binding is not completed, by class.
    unbound: Index<String, Key>,
}

/// The claim in a volume's claimRef.
pub(super) fn claim_of(volume: &PersistentVolume) -> Option<Key> {
    let reference = volume.spec.as_ref()?.claim_ref.as_ref()?;
    let [namespace, name] = [&reference.namespace, &reference.name].map(|part| part.as_deref().unwrap_or_default());
    Some(Key::new(namespace, name))
}

/// The volume that a claim names; none if it names none.
pub(super) fn volume_of(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.volume_name.as_deref().filter(|name| !name.is_empty())
}

pub(super) fn is_bind_completed(claim: &PersistentVolumeClaim) -> bool {
    annotations::has(&claim.metadata, BIND_COMPLETED)
}

fn free_class(volume: &PersistentVolume) -> Option<String> {
    claim_of(volume).is_none().then(|| volumes::volume_class(volume).to_owned())
}

fn unbound_class(claim: &PersistentVolumeClaim) -> Option<String> {
    (!is_bind_completed(claim)).then(|| volumes::claim_class(claim).to_owned())
}

/// Whether one state of an object is newer than another. Versions are the server's, which counts up.
fn is_newer(new: &ObjectMeta, old: &ObjectMeta) -> bool {
    let version = |meta: &ObjectMeta| meta.resource_version.as_deref().and_then(|v| v.parse::<u64>().ok());
    match (version(new), version(old)) {
        (Some(new), Some(old)) => new > old,
        _ => new.resource_version != old.resource_version,
    }
}

impl Known {
    pub(super) fn volume(&self, name: &str) -> Option<&Arc<PersistentVolume>> {
        self.volumes.get(name)
    }

    pub(super) fn claim(&self, key: &Key) -> Option<&Arc<PersistentVolumeClaim>> {
        self.claims.get(key)
    }

    /// Takes the state of a volume, if it is newer than what is known.
    pub(super) fn see_volume(&mut self, volume: Arc<PersistentVolume>) {
        let known = self.volumes.get(key::name(&volume.metadata));
        if known.is_none_or(|known| is_newer(&volume.metadata, &known.metadata)) {
            self.put_volume(volume);
        }
    }

    fn put_volume(&mut self, volume: Arc<PersistentVolume>) {
        let name = key::name(&volume.metadata).to_owned();
        self.forget_volume(&name);
        self.by_claim.add(claim_of(&volume), &name);
        self.free.add(free_class(&volume), &name);
        self.volumes.insert(name, volume);
    }

    pub(super) fn forget_volume(&mut self, name: &str) {
        let Some((name, volume)) = self.volumes.remove_entry(name) else { return };
        self.by_claim.remove(claim_of(&volume), &name);
        self.free.remove(free_class(&volume), &name);
    }

    /// Takes the state of a claim, if it is newer than what is known.
    pub(super) fn see_claim(&mut self, claim: Arc<PersistentVolumeClaim>) {
        let key = Key::of(&claim.metadata);
        let known = self.claims.get(&key);
        if known.is_none_or(|known| is_newer(&claim.metadata, &known.metadata)) {
            self.forget_claim(&key);
            self.by_volume.add(volume_of(&claim).map(str::to_owned), &key);
            self.unbound.add(unbound_class(&claim), &key);
            self.claims.insert(key, claim);
        }
    }

    pub(super) fn forget_claim(&mut self, key: &Key) {
        let Some(claim) = self.claims.remove(key) else { return };
        self.by_volume.remove(volume_of(&claim).map(str::to_owned), key);
        self.unbound.remove(unbound_class(&claim), key);
    }

    /// The volume to bind to the claim, if there is one. If `delayed`, only one that is reserved for it.
    pub(super) fn best(&self, wanted: &Wanted, delayed: bool) -> Option<Arc<PersistentVolume>> {
        let claim = wanted.claim();
        let reserved = self.by_claim.get(&Key::of(&claim.metadata));
        let class = volumes::claim_class(claim).to_owned();
        let free = self.free.get(&class).take_while(|_| !delayed);
        let candidates = reserved.chain(free).filter_map(|name| self.volumes.get(name));
        wanted.best(candidates, delayed).cloned()
    }

    /// From now on the volume that the steps bind is the claim's, for all who look: it is being written.
    ///
    /// What was known before is handed out, for [`Known::restore`].
    pub(super) fn reserve(&mut self, steps: &[Step]) -> Option<Arc<PersistentVolume>> {
        let bound = steps.iter().find_map(|step| match step {
            Step::Volume(volume) => Some(volume),
            _ => None,
        })?;
        let before = self.volumes.get(key::name(&bound.metadata)).cloned()?;
        self.put_volume(Arc::new((**bound).clone()));
        Some(before)
    }

    /// The steps failed: the volume is as it was, unless something newer was seen.
    pub(super) fn restore(&mut self, before: Arc<PersistentVolume>) {
        let known = self.volumes.get(key::name(&before.metadata));
        if known.is_some_and(|known| known.metadata.resource_version == before.metadata.resource_version) {
            self.put_volume(before);
        }
    }

    /// The volumes that name the claim, or are named by it.
    pub(super) fn volumes_of(&self, key: &Key, claim: &PersistentVolumeClaim) -> BTreeSet<String> {
        self.by_claim.get(key).cloned().chain(volume_of(claim).map(str::to_owned)).collect()
    }

    /// The claims that a change of this volume concerns: those that name it, and the one that it names.
    pub(super) fn claims_of(&self, volume: &PersistentVolume) -> BTreeSet<Key> {
        let named = self.by_volume.get(&key::name(&volume.metadata).to_owned()).cloned();
        named.chain(claim_of(volume)).collect()
    }

    /// The claims that are not bound and could have this volume, which nobody has.
    pub(super) fn waiting_for(&self, volume: &PersistentVolume) -> Vec<Key> {
        let waiting = free_class(volume).map(|class| self.unbound_of(&class)).unwrap_or_default();
        let fits = |claim: &Arc<PersistentVolumeClaim>| {
            Wanted::new(claim.clone()).is_ok_and(|wanted| matches!(wanted.fit(volume), Some(Fit::Free(_))))
        };
        waiting.into_iter().filter(|key| self.claims.get(key).is_some_and(fits)).collect()
    }

    /// The claims of a class that are not bound.
    pub(super) fn unbound_of(&self, class: &str) -> Vec<Key> {
        self.unbound.get(&class.to_owned()).cloned().collect()
    }

    /// Whose turn it is now and then, whatever happens: claims that are not bound, and volumes that have no phase yet or
    /// are to be reclaimed.
    pub(super) fn unsettled(&self) -> (Vec<Key>, Vec<String>) {
        let claims = self.unbound.0.values().flatten().cloned().collect();
        let settled = |volume: &PersistentVolume| {
            let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
            matches!(phase, Some("Available" | "Bound"))
        };
        let volumes = self.volumes.iter().filter(|(_, volume)| !settled(volume)).map(|(name, _)| name.clone());
        (claims, volumes.collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn volume(name: &str, version: &str, spec: Value) -> Arc<PersistentVolume> {
        let mut all = json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]});
        all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let phase = json!({"phase": "Available"});
        let volume = json!({"metadata": {"name": name, "resourceVersion": version}, "spec": all, "status": phase});
        Arc::new(serde_json::from_value(volume).unwrap())
    }

    fn claim(name: &str, version: &str, more: Value) -> Arc<PersistentVolumeClaim> {
        let meta =
            json!({"name": name, "namespace": "ns", "resourceVersion": version, "annotations": more["annotations"]});
        let mut spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
        spec.as_object_mut().unwrap().extend(more["spec"].as_object().cloned().unwrap_or_default());
        Arc::new(serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap())
    }

    fn wanted(claim: &Arc<PersistentVolumeClaim>) -> Wanted {
        Wanted::new(claim.clone()).unwrap()
    }

    fn bound(to: &str) -> Value {
        json!({"claimRef": {"namespace": "ns", "name": to}})
    }

    #[test]
    fn the_newest_state_is_kept() {
        let mut known = Known::default();
        let name = |known: &Known| known.volume("v").and_then(|v| claim_of(v)).map(|key| key.name);
        known.see_volume(volume("v", "10", bound("a")));
        known.see_volume(volume("v", "9", bound("old")));
        known.see_volume(volume("v", "10", bound("same")));
        assert_eq!(name(&known).as_deref(), Some("a"));
        known.see_volume(volume("v", "11", bound("b")));
        assert_eq!(name(&known).as_deref(), Some("b"));
        known.forget_volume("v");
        known.see_volume(volume("v", "1", bound("c")));
        assert_eq!(name(&known).as_deref(), Some("c"));
        let key = Key::new("ns", "c");
        known.see_claim(claim("c", "5", json!({"spec": {"volumeName": "v"}})));
        known.see_claim(claim("c", "4", json!({})));
        assert_eq!(known.claim(&key).and_then(|claim| volume_of(claim)), Some("v"));
    }

    #[test]
    fn a_volume_is_given_to_one_claim_while_it_is_written() {
        let mut known = Known::default();
        let (a, b) = (claim("a", "1", json!({})), claim("b", "2", json!({})));
        known.see_volume(volume("v", "3", json!({})));
        let chosen = known.best(&wanted(&a), false).unwrap();
        assert!(known.best(&wanted(&a), true).is_none());
        let steps = [Step::Volume(Box::new(volumes::bind_volume(&chosen, &a).unwrap()))];
        let before = known.reserve(&steps).unwrap();
        assert!(known.best(&wanted(&b), false).is_none());
        assert!(known.best(&wanted(&a), true).is_some());
        // The write failed.
        known.restore(before.clone());
        assert!(known.best(&wanted(&b), false).is_some());
        // The write failed, and someone else's was seen meanwhile.
        known.reserve(&steps);
        known.see_volume(volume("v", "4", bound("other")));
        known.restore(before);
        assert!(known.best(&wanted(&a), false).is_none() && known.best(&wanted(&b), false).is_none());
    }

    #[test]
    fn a_change_concerns_who_names_it_and_who_waits_for_it() {
        let mut known = Known::default();
        known.see_claim(claim("waits", "1", json!({})));
        known.see_claim(claim("large", "2", json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}})));
        known.see_claim(claim("other", "3", json!({"spec": {"storageClassName": "gold"}})));
        known.see_claim(claim("bound", "4", json!({"annotations": {BIND_COMPLETED: "yes"}})));
        known.see_claim(claim("names", "5", json!({"spec": {"volumeName": "v", "storageClassName": "gold"}})));
        let check = |volume: &PersistentVolume, concerned: &[&str], waiting: &[&str]| {
            let names: Vec<_> = known.claims_of(volume).into_iter().map(|key| key.name).collect();
            assert_eq!(names, concerned);
            let names: Vec<_> = known.waiting_for(volume).into_iter().map(|key| key.name).collect();
            assert_eq!(names, waiting);
        };
        check(&volume("v", "1", json!({})), &["names"], &["waits"]);
        check(&volume("w", "1", json!({})), &[], &["waits"]);
        check(&volume("w", "1", bound("bound")), &["bound"], &[]);
        check(&volume("w", "1", json!({"storageClassName": "gold"})), &[], &["names", "other"]);
        known.see_volume(volume("w", "1", bound("names")));
        let key = Key::new("ns", "names");
        let named = known.volumes_of(&key, known.claim(&key).unwrap());
        assert_eq!(named.into_iter().collect::<Vec<_>>(), ["v", "w"]);
        assert_eq!(known.unbound_of("gold").len(), 2);
        known.forget_claim(&key);
        assert_eq!(known.unbound_of("gold"), [Key::new("ns", "other")]);
        let (claims, volumes) = known.unsettled();
        assert_eq!((claims.len(), volumes.len()), (3, 0));
    }
}
