//! Namespaces: one that is deleted is emptied of everything that the server serves, and then let go.
//!
//! Upstream: `pkg/controller/namespace`. Pods go first; what remains, and why, is said in the conditions.

mod conditions;

use std::{collections::BTreeMap, time::Duration};

use client::Informer;
use controller::{Queue, run_workers};
use futures::future::BoxFuture;
use http::{Method, Request};
use k8s_openapi::{
    api::core::v1::{Namespace, Pod},
    jiff::{SignedDuration, Timestamp},
};
use kube::{Api, Client, api::PostParams};
use serde::Deserialize;
use serde_json::json;

use crate::{
    context::Context,
    util::{
        discovery::{self, Resource},
        key, pods,
    },
};
use conditions::Findings;

const FINALIZER: &str = "kubernetes";
/// How long finalizers of the content are given before it is looked at again.
const FINALIZER_SECONDS: i64 = 15;

/// Runs the namespace controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

async fn run(context: Context) -> anyhow::Result<()> {
    let namespaces: Informer<Namespace> = context.informers.of();
    let queue: Queue<String> = Queue::new();
    let wake = queue.clone();
    namespaces.on_change(move |change| {
        let meta = &change.object().metadata;
        if meta.deletion_timestamp.is_some() {
            wake.add(key::name(meta).to_owned());
        }
    });
    namespaces.synced().await;
    let (shell, queue) = (&Shell { client: context.client.clone() }, &queue);
    run_workers(
        context.name,
        queue,
        context.config.concurrent_namespace_syncs,
        context.cancel.clone(),
        |name: String| async move {
            match shell.delete(&name).await? {
                0 => {}
                estimate => queue.add_after(name, Duration::from_secs((estimate / 2 + 1) as u64)),
            }
            Ok(())
        },
    )
    .await;
    Ok(())
}

struct Shell {
    client: Client,
}

#[derive(Deserialize)]
struct List {
    /// Go writes an empty list as null.
    items: Option<Vec<Item>>,
}

#[derive(Deserialize)]
struct Item {
    metadata: ItemMeta,
}

#[derive(Deserialize)]
struct ItemMeta {
    #[serde(default)]
    name: String,
    #[serde(default)]
    finalizers: Vec<String>,
}

/// What is left of one kind.
#[derive(Default)]
struct Left {
    estimate: i64,
    count: usize,
    finalizers: BTreeMap<String, usize>,
}

impl Shell {
    /// Goes as far as it can. The answer is the seconds after which it is worth going on; 0: done.
    async fn delete(&self, name: &str) -> anyhow::Result<i64> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let Some(mut namespace) = api.get_opt(name).await? else { return Ok(0) };
        let Some(deleted_at) = namespace.metadata.deletion_timestamp.clone() else { return Ok(0) };
        let phase = namespace.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default();
        if phase != "Terminating" {
            namespace.status.get_or_insert_default().phase = Some("Terminating".into());
            namespace = api.replace_status(name, &PostParams::default(), &namespace).await?;
        }
        if namespace.spec.as_ref().and_then(|s| s.finalizers.as_ref()).is_none_or(Vec::is_empty) {
            return Ok(0);
        }
        let mut findings = Findings::default();
        let estimate = self.delete_content(name, deleted_at.0, &mut findings).await;
        let mut changed = namespace.clone();
        if findings.update(changed.status.get_or_insert_default(), Timestamp::now()) {
            // What could not be said now is said the next time; the deletion does not depend on it.
            match api.replace_status(name, &PostParams::default(), &changed).await {
                Ok(updated) => namespace = updated,
                Err(error) => tracing::info!(name, %error, "namespace conditions not written"),
            }
        }
        anyhow::ensure!(
            findings.errors.is_empty(),
            "deleting the content of namespace {name}: {}",
            findings.errors.join(", ")
        );
        if estimate > 0 {
            return Ok(estimate);
        }
        self.finalize(name, namespace).await?;
        Ok(0)
    }

    async fn delete_content(&self, name: &str, deleted_at: Timestamp, findings: &mut Findings) -> i64 {
        let resources = match discovery::discover(&self.client).await {
            Ok(found) => {
                if !found.failed.is_empty() {
                    let message = found.failed.join(", ");
                    let n = found.failed.len();
                    findings.discovery = Some(format!("Discovery failed for some groups, {n} failing: {message}"));
                    findings.errors.push(message);
                }
                found.resources
            }
            Err(error) => {
                findings.discovery = Some(client::message(&error));
                findings.errors.push(client::message(&error));
                return 0;
            }
        };
        let content = resources.iter().filter(|r| r.namespaced && r.preferred && r.can(&["delete"]));
        let (pods, others): (Vec<_>, Vec<_>) = content.partition(|r| r.group.is_empty() && r.plural == "pods");
        let mut estimate = 0;
        for resource in pods {
            let grace = self.pods_grace(name, deleted_at).await;
            let left = self.delete_all(resource, name, grace, findings).await;
            estimate = estimate.max(left.estimate);
            findings.add(resource, left.count, left.finalizers);
            // Nothing that a pod may still use goes before it.
            if left.count > 0 {
                return estimate.max(1);
            }
        }
        let work = others.into_iter().map(|resource| async move {
            let mut own = Findings::default();
            let left = self.delete_all(resource, name, 0, &mut own).await;
            (resource, left, own)
        });
        for (resource, left, own) in futures::future::join_all(work).await {
            estimate = estimate.max(left.estimate);
            findings.content.extend(own.content);
            findings.errors.extend(own.errors);
            findings.add(resource, left.count, left.finalizers);
        }
        estimate
    }

    /// How long the pods that still run may take, since the namespace was deleted.
    async fn pods_grace(&self, name: &str, deleted_at: Timestamp) -> i64 {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), name);
        let Ok(all) = api.list(&kube::api::ListParams::default()).await else { return 0 };
        let running = all.items.iter().filter(|p| !pods::is_finished(p));
        let grace = running.filter_map(|p| p.spec.as_ref()?.termination_grace_period_seconds).max().unwrap_or(0);
        let passed = Timestamp::now().duration_since(deleted_at);
        if passed >= SignedDuration::from_secs(grace) { 0 } else { grace }
    }

    async fn delete_all(&self, resource: &Resource, namespace: &str, grace: i64, findings: &mut Findings) -> Left {
        match self.try_delete_all(resource, namespace, grace).await {
            Ok(left) => left,
            Err(error) => {
                findings.content.push(error.to_string());
                findings.errors.push(error.to_string());
                Left { estimate: grace, ..Default::default() }
            }
        }
    }

    async fn try_delete_all(&self, resource: &Resource, namespace: &str, grace: i64) -> anyhow::Result<Left> {
        let path = resource.path(namespace);
        let can_list = resource.can(&["list"]);
        // Most kinds of most namespaces are empty: one list then, instead of a deletion and a list.
        if can_list && self.list(&path).await?.is_empty() {
            return Ok(Left::default());
        }
        let deleted = match resource.can(&["deletecollection"]) {
            true => self.send(Method::DELETE, &path).await,
            false => Ok(false),
        };
        if !deleted? {
            if !can_list {
                return Ok(Left { estimate: grace, ..Default::default() });
            }
            for item in self.list(&path).await? {
                self.send(Method::DELETE, &format!("{path}/{}", item.metadata.name)).await?;
            }
        }
        if !can_list {
            return Ok(Left { estimate: grace, ..Default::default() });
        }
        let items = self.list(&path).await?;
        let mut left = Left { estimate: 0, count: items.len(), finalizers: BTreeMap::new() };
        for finalizer in items.into_iter().flat_map(|i| i.metadata.finalizers) {
            *left.finalizers.entry(finalizer).or_insert(0) += 1;
        }
        left.estimate = match (left.count, grace, left.finalizers.is_empty()) {
            (0, ..) => 0,
            (_, 1.., _) => grace,
            (_, _, false) => FINALIZER_SECONDS,
            _ => {
                let Resource { group, version, plural, .. } = resource;
                anyhow::bail!(
                    "unexpected items still remain in namespace: {namespace} for gvr: {group}/{version}, Resource={plural}"
                );
            }
        };
        Ok(left)
    }

    async fn list(&self, path: &str) -> anyhow::Result<Vec<Item>> {
        let accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
        let request = Request::get(path).header(http::header::ACCEPT, accept).body(vec![])?;
        match self.client.request::<List>(request).await {
            Err(e) if client::is_not_found(&e) || is_not_supported(&e) => Ok(vec![]),
            Ok(list) => Ok(list.items.unwrap_or_default()),
            Err(e) => Err(anyhow::anyhow!(client::message(&e))),
        }
    }

    /// Deletes in the background. False if the server can't, or there is nothing.
    async fn send(&self, method: Method, path: &str) -> anyhow::Result<bool> {
        let body = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"});
        let request =
            Request::builder().method(method).uri(path).header(http::header::CONTENT_TYPE, "application/json");
        match self.client.request_text(request.body(serde_json::to_vec(&body)?)?).await {
            Ok(_) => Ok(true),
            Err(e) if client::is_not_found(&e) || is_not_supported(&e) => Ok(false),
            Err(e) => Err(anyhow::anyhow!(client::message(&e))),
        }
    }

    async fn finalize(&self, name: &str, mut namespace: Namespace) -> anyhow::Result<()> {
        if let Some(finalizers) = namespace.spec.as_mut().and_then(|s| s.finalizers.as_mut()) {
            finalizers.retain(|f| f != FINALIZER);
        }
        let path = format!("/api/v1/namespaces/{name}/finalize");
        let request = Request::put(path).header(http::header::CONTENT_TYPE, "application/json");
        match self.client.request_text(request.body(serde_json::to_vec(&namespace)?)?).await {
            Err(e) if !client::is_not_found(&e) => Err(e.into()),
            _ => Ok(()),
        }
    }
}

fn is_not_supported(error: &kube::Error) -> bool {
    client::reason(error) == Some("MethodNotAllowed")
}
