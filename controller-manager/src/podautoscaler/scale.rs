//! The target's size: of the workloads that every cluster has from the informers, of any other from its scale subresource,
//! to which all of them are written.

use std::time::Duration;

use client::{Informer, Informers};
use http::{Method, Request};
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet, StatefulSet},
        autoscaling::{
            v1::{Scale, ScaleSpec, ScaleStatus},
            v2::CrossVersionObjectReference,
        },
        core::v1::ReplicationController,
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector as ApiSelector, ObjectMeta},
};
use kube::Client;
use machinery::selector::LabelSelector;

use super::metrics::told;
use crate::util::discovery::{Resource, Served};

/// How often a write that lost against another is tried, and how long is waited before (client-go's `DefaultRetry`).
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(10);

/// A target, and where its scale is.
#[derive(Clone, Debug)]
pub(super) struct Target {
    path: String,
    scale: Scale,
}

impl Target {
    pub(super) fn wanted(&self) -> i32 {
        self.scale.spec.as_ref().and_then(|s| s.replicas).unwrap_or(0)
    }

    /// How many there are.
    pub(super) fn there_are(&self) -> i32 {
        self.scale.status.as_ref().map_or(0, |s| s.replicas)
    }

    pub(super) fn selector(&self) -> &str {
        self.scale.status.as_ref().and_then(|s| s.selector.as_deref()).unwrap_or_default()
    }
}

/// See the module.
pub(super) struct Scales {
    client: Client,
    served: Served,
    deployments: Informer<Deployment>,
    sets: Informer<ReplicaSet>,
    stateful_sets: Informer<StatefulSet>,
    controllers: Informer<ReplicationController>,
}

impl Scales {
    /// `client` reads and writes scales.
    pub(super) fn new(i: &Informers, client: Client) -> Self {
        Self {
            served: Served::new(client.clone()),
            client,
            deployments: i.of(),
            sets: i.of(),
            stateful_sets: i.of(),
            controllers: i.of(),
        }
    }

    pub(super) async fn synced(&self) {
        self.deployments.synced().await;
        self.sets.synced().await;
        self.stateful_sets.synced().await;
        self.controllers.synced().await;
    }

    /// The resource of a kind, as the server prefers it.
    ///
    /// # Errors
    /// The server has none, or can't be asked.
    pub(super) async fn resource(&self, group: &str, kind: &str) -> Result<Resource, String> {
        let is = |r: &Resource| r.group == group && r.kind == kind && r.preferred;
        let found =
            self.served.find(is).await.map_err(|e| e.downcast_ref().map_or_else(|| e.to_string(), client::message))?;
        found.ok_or_else(|| format!("no matches for kind {kind:?} in group {group:?}"))
    }

    /// The target, at present.
    ///
    /// # Errors
    /// As upstream words them: what is no version, a kind that is not served, a target that is not there.
    pub(super) async fn get(&self, namespace: &str, target: &CrossVersionObjectReference) -> Result<Target, String> {
        let group = group(target.api_version.as_deref().unwrap_or_default())?;
        if let Some(found) = self.known(namespace, group, target) {
            return Ok(found);
        }
        let resource = self.resource(group, &target.kind).await?;
        let path = format!("{}/{}/scale", resource.path(namespace), target.name);
        // Its client of scales is of no group.
        let asked = format!("get {} {}", resource.plural, target.name);
        let scale = self.read(&path).await.map_err(|e| told(&e, &asked))?;
        Ok(Target { path, scale })
    }

    async fn read(&self, path: &str) -> kube::Result<Scale> {
        self.client.request(Request::get(path).body(vec![]).map_err(kube::Error::HttpError)?).await
    }

    fn known(&self, namespace: &str, group: &str, target: &CrossVersionObjectReference) -> Option<Target> {
        let (ns, name) = (Some(namespace), target.name.as_str());
        let made = |plural: &str, meta: &ObjectMeta, wanted: Option<i32>, there_are: i32, selector: String| {
            let root = if group.is_empty() { "/api/v1" } else { "/apis/apps/v1" };
            let metadata = ObjectMeta {
                name: meta.name.clone(),
                namespace: meta.namespace.clone(),
                uid: meta.uid.clone(),
                resource_version: meta.resource_version.clone(),
                creation_timestamp: meta.creation_timestamp.clone(),
                ..Default::default()
            };
            Target {
                path: format!("{root}/namespaces/{namespace}/{plural}/{name}/scale"),
                scale: Scale {
                    metadata,
                    spec: Some(ScaleSpec { replicas: Some(wanted.unwrap_or(1)) }),
                    status: Some(ScaleStatus { replicas: there_are, selector: Some(selector) }),
                },
            }
        };
        match (group, target.kind.as_str()) {
            ("apps", "Deployment") => {
                let found = self.deployments.get(ns, name)?;
                let spec = found.spec.as_ref()?;
                let there_are = found.status.as_ref().and_then(|s| s.replicas).unwrap_or(0);
                Some(made("deployments", &found.metadata, spec.replicas, there_are, text(&spec.selector)?))
            }
            ("apps", "ReplicaSet") => {
                let found = self.sets.get(ns, name)?;
                let spec = found.spec.as_ref()?;
                let there_are = found.status.as_ref().map_or(0, |s| s.replicas);
                Some(made("replicasets", &found.metadata, spec.replicas, there_are, text(&spec.selector)?))
            }
            ("apps", "StatefulSet") => {
                let found = self.stateful_sets.get(ns, name)?;
                let spec = found.spec.as_ref()?;
                let there_are = found.status.as_ref().map_or(0, |s| s.replicas);
                Some(made("statefulsets", &found.metadata, spec.replicas, there_are, text(&spec.selector)?))
            }
            ("", "ReplicationController") => {
                let found = self.controllers.get(ns, name)?;
                let spec = found.spec.as_ref()?;
                let there_are = found.status.as_ref().map_or(0, |s| s.replicas);
                let selector = LabelSelector::from_set(spec.selector.clone().unwrap_or_default()).to_string();
                Some(made("replicationcontrollers", &found.metadata, spec.replicas, there_are, selector))
            }
            _ => None,
        }
    }

    /// Gives the target another size; where somebody else has changed it meanwhile, too.
    ///
    /// # Errors
    /// The server refuses it, or others change it all the time.
    pub(super) async fn set(&self, mut target: Target, replicas: i32) -> Result<(), String> {
        let mut tries = 1;
        loop {
            target.scale.spec = Some(ScaleSpec { replicas: Some(replicas) });
            let error = match self.write(&target).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if !client::is_conflict(&error) || tries == TRIES {
                return Err(client::message(&error));
            }
            match self.read(&target.path).await {
                Ok(latest) => target.scale = latest,
                Err(error) => tracing::info!(error = client::message(&error), "error getting latest scale"),
            }
            tries += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn write(&self, target: &Target) -> kube::Result<()> {
        let body = serde_json::to_vec(&target.scale).map_err(kube::Error::SerdeError)?;
        let request = Request::builder().method(Method::PUT).uri(&target.path);
        let request = request.header(http::header::CONTENT_TYPE, "application/json").body(body);
        self.client.request::<Scale>(request.map_err(kube::Error::HttpError)?).await.map(drop)
    }
}

/// A selector as a scale has it; `None` where it is wrong, which the server then says.
fn text(selector: &ApiSelector) -> Option<String> {
    let value = serde_json::to_value(selector).ok()?;
    Some(LabelSelector::from_value(Some(&value)).ok()?.to_string())
}

/// The group of a version.
pub(super) fn group(version: &str) -> Result<&str, String> {
    match version.matches('/').count() {
        0 => Ok(""),
        1 => Ok(version.split_once('/').map_or("", |(group, _)| group)),
        _ => Err(format!("unexpected GroupVersion string: {version}")),
    }
}
