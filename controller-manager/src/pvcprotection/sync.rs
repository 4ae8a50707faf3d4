//! The decisions: which claims pods use, and what becomes of the claims of a namespace.

use std::{collections::HashSet, sync::Arc};

use controller::controller_of;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Volume};

use super::FINALIZER;
use crate::util::{
    key, pods,
    protection::{self, Action},
};

fn volumes(pod: &Pod) -> impl Iterator<Item = &Volume> {
    pod.spec.iter().flat_map(|s| s.volumes.iter().flatten())
}

/// Whether a pod can use any claim.
pub(crate) fn has_claims(pod: &Pod) -> bool {
    volumes(pod).any(|v| v.persistent_volume_claim.is_some() || v.ephemeral.is_some())
}

/// The kubelet is done with the pod, or it was deleted by force: it waits for its finalizers, if for anything.
pub(crate) fn is_shut_down(pod: &Pod) -> bool {
    pods::is_terminating(pod) && pod.metadata.deletion_grace_period_seconds == Some(0)
}

/// What the pods of a namespace use. A claim that a pod names is used until the pod has gone, even if the pod has
/// ended; one that was made for a pod only until the pod is shut down, so that the two do not wait for each other.
#[derive(Default)]
struct Used<'a> {
    named: HashSet<&'a str>,
    /// Names of claims, and the UIDs of the pods that they must belong to.
    owned: HashSet<(String, &'a str)>,
}

impl<'a> Used<'a> {
    fn by(all: impl IntoIterator<Item = &'a Pod>) -> Self {
        let mut used = Self::default();
        // A kubelet starts no pod on a claim that is being deleted, so only what has a node counts.
        for pod in all.into_iter().filter(|pod| !pods::node_name(pod).is_empty()) {
            for volume in volumes(pod) {
                if let Some(source) = &volume.persistent_volume_claim {
                    used.named.insert(&source.claim_name);
                } else if volume.ephemeral.is_some() && !is_shut_down(pod) {
                    let name = volumes::claim_name(pod, &volume.name);
                    used.owned.insert((name, key::uid(&pod.metadata)));
                }
            }
        }
        used
    }

    fn has(&self, claim: &PersistentVolumeClaim) -> bool {
        let name = key::name(&claim.metadata);
        let own = |owner: &str| self.owned.contains(&(name.to_owned(), owner));
        self.named.contains(name) || controller_of(&claim.metadata).is_some_and(|owner| own(&owner.uid))
    }
}

/// What to do about the claims of one namespace, given its pods.
pub(crate) fn sync<'a>(
    claims: impl IntoIterator<Item = Arc<PersistentVolumeClaim>>,
    pods: impl IntoIterator<Item = &'a Pod>,
) -> Vec<(Arc<PersistentVolumeClaim>, Action)> {
    let used = Used::by(pods);
    let decide = |claim: Arc<PersistentVolumeClaim>| {
        let action = protection::decide(&claim.metadata, FINALIZER, || used.has(&claim))?;
        Some((claim, action))
    };
    claims.into_iter().filter_map(decide).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn claim(name: &str, more: Value) -> Arc<PersistentVolumeClaim> {
        let mut meta = json!({"name": name, "namespace": "ns"});
        meta.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Arc::new(serde_json::from_value(json!({"metadata": meta})).unwrap())
    }

    fn deleted(name: &str) -> Arc<PersistentVolumeClaim> {
        claim(name, json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [FINALIZER]}))
    }

    /// A claim made for the pod `p` with that UID.
    fn made_for(uid: &str) -> Arc<PersistentVolumeClaim> {
        let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid, "controller": true});
        let more = json!({
            "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [FINALIZER], "ownerReferences": [owner],
        });
        claim("p-scratch", more)
    }

    /// Merges `more` over a running pod that names the claim `data` and has one of its own.
    fn pod(more: Value) -> Pod {
        let mut pod = json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
            "spec": {"nodeName": "n", "containers": [], "volumes": [
                {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
                {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}},
                {"name": "config", "configMap": {"name": "other"}},
            ]},
            "status": {"phase": "Running"},
        });
        for (part, fields) in more.as_object().unwrap() {
            pod[part].as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        }
        serde_json::from_value(pod).unwrap()
    }

    fn check(claim: &Arc<PersistentVolumeClaim>, pods: &[Pod], want: Option<Action>) {
        let got = sync([claim.clone()], pods).into_iter().map(|(_, action)| action).next();
        assert_eq!(got, want, "{claim:?} {pods:?}");
    }

    #[test]
    fn a_claim_is_kept_while_a_scheduled_pod_names_it() {
        let shut_down =
            json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 0}});
        check(&deleted("data"), &[], Some(Action::Remove));
        check(&deleted("other"), &[pod(json!({}))], Some(Action::Remove));
        check(&deleted("data"), &[pod(json!({}))], None);
        check(&deleted("data"), &[pod(json!({"status": {"phase": "Succeeded"}}))], None);
        check(&deleted("data"), &[pod(shut_down)], None);
        check(&deleted("data"), &[pod(json!({"spec": {"nodeName": ""}}))], Some(Action::Remove));
    }

    #[test]
    fn a_claim_made_for_a_pod_is_kept_until_the_pod_is_shut_down() {
        let leaving = |grace: i64| json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": grace}});
        check(&made_for("u"), &[pod(json!({}))], None);
        check(&made_for("u"), &[pod(json!({"status": {"phase": "Failed"}}))], None);
        check(&made_for("u"), &[pod(leaving(30))], None);
        check(&made_for("u"), &[pod(leaving(0))], Some(Action::Remove));
        check(&made_for("another"), &[pod(json!({}))], Some(Action::Remove));
        check(&deleted("p-scratch"), &[pod(json!({}))], Some(Action::Remove));
    }

    #[test]
    fn a_living_claim_is_protected_whoever_uses_it() {
        check(&claim("data", json!({})), &[pod(json!({}))], Some(Action::Add));
        check(&claim("data", json!({"finalizers": ["other"]})), &[], Some(Action::Add));
        check(&claim("data", json!({"finalizers": [FINALIZER]})), &[], None);
    }
}
