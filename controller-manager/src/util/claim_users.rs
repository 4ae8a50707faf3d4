//! Which pods use which claims: those that they name, and those that are made for their ephemeral volumes.
//!
//! Upstream: `pkg/controller/volume/common`. An index, so that nobody walks over all pods to find the few of a claim.

use std::{collections::HashMap, sync::Arc};

use client::{Change, Informer};
use k8s_openapi::api::core::v1::{Pod, Volume};
use parking_lot::RwLock;

use super::key::{self, Key};

/// Pods by the claims that they use, kept up to date. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct ClaimUsers(Arc<RwLock<HashMap<Key, Vec<Arc<Pod>>>>>);

impl ClaimUsers {
    /// Follows the pods of the informer.
    pub(crate) fn of(pods: &Informer<Pod>) -> Self {
        let users = Self::default();
        let follower = users.clone();
        pods.on_change(move |change| follower.apply(change));
        users
    }

    fn apply(&self, change: &Change<Pod>) {
        let (before, now) = match change {
            Change::Added(pod) => (None, Some(pod)),
            Change::Updated { old, new } => (Some(old), Some(new)),
            Change::Deleted(pod) => (Some(pod), None),
        };
        if [before, now].into_iter().flatten().all(|pod| claims(pod).is_empty()) {
            return;
        }
        let mut users = self.0.write();
        for (pod, claim) in before.into_iter().flat_map(|pod| claims(pod).into_iter().map(move |claim| (pod, claim))) {
            if let Some(pods) = users.get_mut(&claim) {
                pods.retain(|user| user.metadata.name != pod.metadata.name);
                if pods.is_empty() {
                    users.remove(&claim);
                }
            }
        }
        for (pod, claim) in now.into_iter().flat_map(|pod| claims(pod).into_iter().map(move |claim| (pod, claim))) {
            let pods = users.entry(claim).or_default();
            pods.retain(|user| user.metadata.name != pod.metadata.name);
            pods.push(pod.clone());
        }
    }

    /// The pods that use the claim, by name.
    pub(crate) fn get(&self, claim: &Key) -> Vec<Arc<Pod>> {
        let mut pods = self.0.read().get(claim).cloned().unwrap_or_default();
        pods.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        pods
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
        let users = ClaimUsers::default();
        let check = |claim: &str, want: &[&str]| {
            let names: Vec<_> =
                users.get(&Key::new("ns", claim)).iter().map(|p| key::name(&p.metadata).to_owned()).collect();
            assert_eq!(names, want, "{claim}");
        };
        let (b, a) = (pod("b", own), pod("a", named.clone()));
        users.apply(&Change::Added(b.clone()));
        users.apply(&Change::Added(a.clone()));
        users.apply(&Change::Added(pod("c", json!([]))));
        check("b-v", &["a", "b"]);
        check("a-v", &[]);
        users.apply(&Change::Updated { old: a.clone(), new: pod("a", named) });
        check("b-v", &["a", "b"]);
        users.apply(&Change::Deleted(b));
        check("b-v", &["a"]);
        users.apply(&Change::Deleted(a));
        check("b-v", &[]);
        assert!(users.0.read().is_empty());
    }
}
