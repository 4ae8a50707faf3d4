//! Which pods use which claims: those that they name, and those that are made for their ephemeral volumes.
//!
//! Upstream: `pkg/controller/volume/common`. An index, so that nobody walks over all pods to find the few of a claim.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use client::{Change, Informer};
use k8s_openapi::api::core::v1::{Pod, Volume};
use parking_lot::RwLock;

use super::key::{self, Key};

/// Names of pods by the claims that they use, which are in their namespace.
#[derive(Default)]
struct Users(HashMap<Key, BTreeSet<String>>);

impl Users {
    fn apply(&mut self, change: &Change<Pod>) {
        let (before, now) = match change {
            Change::Added(pod) => (None, Some(pod)),
            Change::Updated { old, new } => (Some(old), Some(new)),
            Change::Deleted(pod) => (Some(pod), None),
        };
        let name = key::name(&change.object().metadata);
        for claim in before.into_iter().flat_map(|pod| claims(pod)) {
            if let Some(names) = self.0.get_mut(&claim) {
                names.remove(name);
                if names.is_empty() {
                    self.0.remove(&claim);
                }
            }
        }
        for claim in now.into_iter().flat_map(|pod| claims(pod)) {
            self.0.entry(claim).or_default().insert(name.to_owned());
        }
    }
}

/// Pods by the claims that they use, kept up to date. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ClaimUsers {
    pods: Informer<Pod>,
    users: Arc<RwLock<Users>>,
}

impl ClaimUsers {
    /// Follows the pods of the informer.
    pub(crate) fn of(pods: &Informer<Pod>) -> Self {
        let users = Arc::<RwLock<Users>>::default();
        let follower = users.clone();
        pods.on_change(move |change| follower.write().apply(change));
        Self { pods: pods.clone(), users }
    }

    /// The pods that use the claim, by name.
    pub(crate) fn get(&self, claim: &Key) -> Vec<Arc<Pod>> {
        let names = self.users.read().0.get(claim).cloned().unwrap_or_default();
        names.iter().filter_map(|name| self.pods.get(Some(&claim.namespace), name)).collect()
    }
}

/// The claims that a pod uses, made or not.
pub(crate) fn claims(pod: &Pod) -> Vec<Key> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let name = |volume: &Volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(source), _) => Some(source.claim_name.clone()),
        (None, Some(_)) => Some(volumes::claim_name(pod, &volume.name)),
        (None, None) => None,
    };
    volumes.filter_map(name).map(|name| Key::new(key::namespace(&pod.metadata), &name)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, volumes: Value) -> Arc<Pod> {
        let meta = json!({"name": name, "namespace": "ns"});
        let pod = json!({"metadata": meta, "spec": {"containers": [], "volumes": volumes}});
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn a_claim_is_used_by_pods_that_name_it_or_that_it_is_made_for() {
        let named =
            json!([{"name": "v", "persistentVolumeClaim": {"claimName": "b-v"}}, {"name": "x", "emptyDir": {}}]);
        let own = json!([{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}]);
        let mut users = Users::default();
        let check = |users: &Users, claim: &str, want: &[&str]| {
            let names: Vec<_> = users.0.get(&Key::new("ns", claim)).into_iter().flatten().collect();
            assert_eq!(names, want, "{claim}");
        };
        let (b, a) = (pod("b", own), pod("a", named.clone()));
        users.apply(&Change::Added(b.clone()));
        users.apply(&Change::Added(a.clone()));
        users.apply(&Change::Added(pod("c", json!([]))));
        check(&users, "b-v", &["a", "b"]);
        check(&users, "a-v", &[]);
        users.apply(&Change::Updated { old: a.clone(), new: pod("a", named) });
        check(&users, "b-v", &["a", "b"]);
        users.apply(&Change::Deleted(b));
        check(&users, "b-v", &["a"]);
        users.apply(&Change::Deleted(a));
        check(&users, "b-v", &[]);
        assert!(users.0.is_empty());
    }
}
