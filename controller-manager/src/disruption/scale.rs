//! How large the workloads of pods want to be: of those that every cluster has from the informers, of any other from its
//! scale subresource.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use client::{Informer, Informers};
use controller::controller_of;
use http::Request;
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet, StatefulSet},
        autoscaling::v1::Scale,
        core::v1::{Pod, ReplicationController},
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::Client;

use crate::util::{
    discovery::{self, Served},
    key,
};

/// See the module.
pub(super) struct Scales {
    client: Client,
    served: Served,
    sets: Informer<ReplicaSet>,
    deployments: Informer<Deployment>,
    stateful_sets: Informer<StatefulSet>,
    controllers: Informer<ReplicationController>,
}

/// What the workloads want together, and the pods that belong to none.
#[derive(Default)]
pub(super) struct Sizes {
    pub(super) total: i32,
    pub(super) unmanaged: Vec<String>,
}

/// A workload's UID and size.
type Found = Option<(String, i32)>;

impl Scales {
    /// `client` reads scales.
    pub(super) fn new(i: &Informers, client: Client) -> Self {
        Self {
            served: Served::new(client.clone()),
            client,
            sets: i.of(),
            deployments: i.of(),
            stateful_sets: i.of(),
            controllers: i.of(),
        }
    }

    pub(super) async fn synced(&self) {
        self.sets.synced().await;
        self.deployments.synced().await;
        self.stateful_sets.synced().await;
        self.controllers.synced().await;
    }

    /// Of all controllers of the pods, each once.
    ///
    /// # Errors
    /// A controller that is not there, that has no scale, or that can't be asked.
    pub(super) async fn of(&self, pods: &[Arc<Pod>]) -> anyhow::Result<Sizes> {
        let (mut scale, mut asked) = (Sizes::default(), HashSet::new());
        let mut sizes: BTreeMap<String, i32> = BTreeMap::new();
        for pod in pods {
            let name = key::name(&pod.metadata);
            let Some(owner) = controller_of(&pod.metadata) else {
                scale.unmanaged.push(name.to_owned());
                continue;
            };
            if !asked.insert(owner.uid.as_str()) {
                continue;
            }
            let namespace = key::namespace(&pod.metadata);
            let found = match self.known(owner, namespace) {
                Some(found) => Some(found),
                None => self.asked(owner, namespace).await?,
            };
            let (uid, size) = found.ok_or_else(|| anyhow::anyhow!("found no controllers for pod {name:?}"))?;
            sizes.insert(uid, size);
        }
        scale.total = sizes.values().fold(0, |sum, size| sum.saturating_add(*size));
        Ok(scale)
    }

    /// A ReplicaSet's size is its Deployment's, if it has one.
    fn known(&self, owner: &OwnerReference, namespace: &str) -> Found {
        let group = owner.api_version.rsplit_once('/').map_or("", |(group, _)| group);
        let (ns, uid) = (Some(namespace), Some(&owner.uid));
        let found = |replicas: Option<i32>| Some((owner.uid.clone(), replicas.unwrap_or(1)));
        match (group, owner.kind.as_str()) {
            ("", "ReplicationController") => {
                let own = self.controllers.get(ns, &owner.name).filter(|c| c.metadata.uid.as_ref() == uid)?;
                found(own.spec.as_ref()?.replicas)
            }
            ("apps" | "extensions", "ReplicaSet") => {
                let set = self.sets.get(ns, &owner.name).filter(|s| s.metadata.uid.as_ref() == uid)?;
                let Some(above) = controller_of(&set.metadata).filter(|o| o.kind == "Deployment") else {
                    return found(set.spec.as_ref()?.replicas);
                };
                let deployment = self.deployments.get(ns, &above.name);
                let own = deployment.filter(|d| d.metadata.uid.as_ref() == Some(&above.uid))?;
                Some((above.uid.clone(), own.spec.as_ref()?.replicas.unwrap_or(1)))
            }
            ("apps", "StatefulSet") => {
                let own = self.stateful_sets.get(ns, &owner.name).filter(|s| s.metadata.uid.as_ref() == uid)?;
                found(own.spec.as_ref()?.replicas)
            }
            _ => None,
        }
    }

    async fn asked(&self, owner: &OwnerReference, namespace: &str) -> anyhow::Result<Found> {
        let (group, version) = owner.api_version.rsplit_once('/').unwrap_or(("", &owner.api_version));
        let is = |r: &discovery::Resource| r.group == group && r.version == version && r.kind == owner.kind;
        let resource = self.served.find(is).await?;
        let resource = resource.ok_or_else(|| {
            anyhow::anyhow!("no matches for kind {:?} in version {:?}", owner.kind, owner.api_version)
        })?;
        let path = format!("{}/{}/scale", resource.path(namespace), owner.name);
        match self.client.request::<Scale>(Request::get(path).body(vec![])?).await {
            Ok(scale) if scale.metadata.uid.as_ref() == Some(&owner.uid) => {
                Ok(Some((owner.uid.clone(), scale.spec.and_then(|s| s.replicas).unwrap_or(0))))
            }
            Ok(_) => Ok(None),
            // Either there is no such object, or none of its kind has a scale.
            Err(e) if client::is_not_found(&e) => {
                let scales = discovery::has_subresource(&self.client, &resource, "scale").await?;
                let dot = if group.is_empty() { "" } else { "." };
                anyhow::ensure!(scales, "{}{dot}{group} does not implement the scale subresource", resource.plural);
                Ok(None)
            }
            Err(e) => Err(anyhow::anyhow!(client::message(&e))),
        }
    }
}
