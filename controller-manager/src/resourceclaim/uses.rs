//! Which pods use a claim or a template: so that a change of one of these asks for no look at all pods.

use std::collections::{BTreeSet, HashMap};

use client::Change;
use k8s_openapi::api::core::v1::Pod;

use crate::util::{
    key::{self, Key},
    pod_claims,
};

/// Pods by what they name.
#[derive(Default)]
pub(crate) struct Uses {
    claims: HashMap<Key, BTreeSet<Key>>,
    templates: HashMap<Key, BTreeSet<Key>>,
}

impl Uses {
    /// Takes a change of a pod up.
    pub(crate) fn note(&mut self, change: &Change<Pod>) {
        match change {
            Change::Added(pod) => self.add(pod),
            Change::Deleted(pod) => self.remove(pod),
            Change::Updated { old, new } => {
                self.remove(old);
                self.add(new);
            }
        }
    }

    /// The pods that use a claim, directly or because it was made for them.
    pub(crate) fn of_claim(&self, claim: &Key) -> Vec<Key> {
        self.claims.get(claim).into_iter().flatten().cloned().collect()
    }

    /// The pods that want a claim of a template.
    pub(crate) fn of_template(&self, template: &Key) -> Vec<Key> {
        self.templates.get(template).into_iter().flatten().cloned().collect()
    }

    fn add(&mut self, pod: &Pod) {
        let (claims, templates) = named(pod);
        for (of, names) in [(&mut self.claims, claims), (&mut self.templates, templates)] {
            for name in names {
                of.entry(name).or_default().insert(Key::of(&pod.metadata));
            }
        }
    }

    fn remove(&mut self, pod: &Pod) {
        let (claims, templates) = named(pod);
        for (of, names) in [(&mut self.claims, claims), (&mut self.templates, templates)] {
            for name in names {
                if let Some(pods) = of.get_mut(&name) {
                    pods.remove(&Key::of(&pod.metadata));
                    if pods.is_empty() {
                        of.remove(&name);
                    }
                }
            }
        }
    }
}

fn named(pod: &Pod) -> (Vec<Key>, Vec<Key>) {
    let namespace = key::namespace(&pod.metadata);
    let claims = pod_claims::entries(pod).iter().filter_map(|entry| pod_claims::named(pod, entry).ok().flatten());
    let templates = pod_claims::entries(pod).iter().filter_map(|entry| entry.resource_claim_template_name.as_deref());
    let keys = |names: &mut dyn Iterator<Item = &str>| names.map(|name| Key::new(namespace, name)).collect();
    (keys(&mut claims.map(|named| named.name)), keys(&mut templates.into_iter()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_claim_knows_its_pods_as_long_as_they_name_it() {
        let pod = |claim: Option<&str>| {
            let status = claim.map(|c| json!([{"name": "b", "resourceClaimName": c}]));
            let entries =
                json!([{"name": "a", "resourceClaimName": "shared"}, {"name": "b", "resourceClaimTemplateName": "t"}]);
            let pod = json!({"metadata": {"namespace": "ns", "name": "p"}, "spec": {"containers": [], "resourceClaims": entries},
                "status": {"resourceClaimStatuses": status}});
            Arc::new(serde_json::from_value::<Pod>(pod).unwrap())
        };
        let (mut uses, key) = (Uses::default(), |name: &str| Key::new("ns", name));
        let (before, after) = (pod(None), pod(Some("p-b-x")));
        uses.note(&Change::Added(before.clone()));
        assert_eq!((uses.of_claim(&key("shared")), uses.of_claim(&key("p-b-x"))), (vec![key("p")], vec![]));
        uses.note(&Change::Updated { old: before, new: after.clone() });
        assert_eq!((uses.of_template(&key("t")), uses.of_claim(&key("p-b-x"))), (vec![key("p")], vec![key("p")]));
        uses.note(&Change::Deleted(after));
        assert!(uses.claims.is_empty() && uses.templates.is_empty());
    }
}
