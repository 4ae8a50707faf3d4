//! Deployment: ReplicaSets, one a revision of the pod template, scaled so that the newest takes over.
//!
//! Upstream: `pkg/controller/deployment`. [`sync::sync`] decides on the whole of what is seen and returns what to do in
//! order; this shell does it and stops at the first failure, which is then seen again. Nothing is remembered.

mod math;
mod replica_sets;
mod rollback;
mod status;
mod sync;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

use anyhow::{Context as _, bail};
use client::{Change, Informer};
use controller::{Queue, controller_of, controller_ref, object_reference, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
    jiff::Timestamp,
};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};

use crate::{
    context::Context,
    util::{
        key::{self, Key},
        owners, pods,
        selector::Selector,
    },
};
use sync::{Action, Observed};

/// Runs the deployment controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

/// The resourceVersions, by name, of the sets that a pass has written: a second write of a set goes on from the first.
type Written = HashMap<String, String>;

struct Shell {
    context: Context,
    deployments: Informer<Deployment>,
    sets: Informer<ReplicaSet>,
    pods: Informer<Pod>,
    queue: Queue<Key>,
}

async fn run(context: Context) -> anyhow::Result<()> {
    let informers = context.informers.clone();
    let (deployments, sets, pods) = (informers.of(), informers.of(), informers.of());
    let (workers, cancel) = (context.config.concurrent_deployment_syncs, context.cancel.clone());
    let shell = Arc::new(Shell { context, deployments, sets, pods, queue: Queue::new() });
    let s = shell.clone();
    shell.deployments.on_change(move |change| s.queue.add(Key::of(&change.object().metadata)));
    let s = shell.clone();
    shell.sets.on_change(move |change| s.set_changed(change));
    let s = shell.clone();
    shell.pods.on_change(move |change| {
        if let Change::Deleted(pod) = change {
            s.pod_deleted(pod);
        }
    });
    shell.deployments.synced().await;
    shell.sets.synced().await;
    shell.pods.synced().await;
    run_workers(shell.context.name, &shell.queue, workers, cancel, |key| shell.reconcile(key)).await;
    Ok(())
}

impl Shell {
    fn set_changed(&self, change: &Change<ReplicaSet>) {
        let set = change.object();
        if let Change::Updated { old, new } = change {
            let (was, is) = (controller_of(&old.metadata), controller_of(&new.metadata));
            if was != is {
                self.wake_owner(&old.metadata, was);
            }
            // An orphan that nothing about changed which could make it anyone's.
            if is.is_none() && was.is_none() && old.metadata.labels == new.metadata.labels {
                return;
            }
        }
        match (controller_of(&set.metadata), change) {
            (owner @ Some(_), _) => self.wake_owner(&set.metadata, owner),
            (None, Change::Deleted(_)) => {}
            (None, _) => {
                let interested = owners::selecting(&self.deployments, &set.metadata, selector);
                interested.into_iter().for_each(|key| self.queue.add(key));
            }
        }
    }

    fn wake_owner(&self, set: &ObjectMeta, owner: Option<&OwnerReference>) {
        let found = owner.and_then(|owner| owners::resolve(&self.deployments, set.namespace.as_deref(), owner));
        found.into_iter().for_each(|(key, _)| self.queue.add(key));
    }

    /// A Deployment that recreates waits for its last old pod to go.
    fn pod_deleted(&self, pod: &Pod) {
        let owner = controller_of(&pod.metadata).filter(|o| o.kind == "ReplicaSet");
        let Some(owner) = owner else { return };
        let Some(set) = self.sets.get(pod.metadata.namespace.as_deref(), &owner.name) else { return };
        let Some(owner) = controller_of(&set.metadata) else { return };
        let Some(d) = self.deployments.get(pod.metadata.namespace.as_deref(), &owner.name) else { return };
        if sync::recreates(&d) {
            self.queue.add(Key::of(&d.metadata));
        }
    }

    fn sets_api(&self, key: &Key) -> Api<ReplicaSet> {
        Api::namespaced(self.context.client.clone(), &key.namespace)
    }

    async fn reconcile(&self, key: Key) -> anyhow::Result<()> {
        let Some(deployment) = self.deployments.get(Some(&key.namespace), &key.name) else { return Ok(()) };
        let api: Api<Deployment> = Api::namespaced(self.context.client.clone(), &key.namespace);
        let Some(selector) = selector(&deployment) else { return Ok(()) };
        let plan = if selector.is_empty() {
            sync::selects_all(&deployment)
        } else {
            let candidates = owners::candidates(&self.sets, &deployment.metadata);
            let claim = owners::claim(&deployment.metadata, &selector, candidates);
            let fresh = || async { Ok(api.get(&key.name).await?.metadata) };
            let reference = controller_ref(&*deployment);
            let sets = owners::carry_out(&self.context.client, &reference, claim, fresh).await?;
            let old_pods = match sync::recreates(&deployment) {
                true => self.unfinished_pods(&key, &sets),
                false => vec![],
            };
            sync::sync(
                &Observed { deployment: deployment.clone(), sets, unfinished_pods_of: old_pods },
                Timestamp::now(),
            )?
        };
        let mut written = Written::new();
        for action in plan.actions {
            self.act(&key, &deployment, action, &api, &mut written).await?;
        }
        if let Some(wait) = plan.check_again {
            self.queue.add_after(key, wait);
        }
        Ok(())
    }

    /// The UIDs of the sets that still have pods which may run.
    fn unfinished_pods(&self, key: &Key, sets: &[Arc<ReplicaSet>]) -> Vec<String> {
        let uids = sets.iter().map(|set| key::uid(&set.metadata));
        let unfinished =
            |uid: &&str| self.pods.controlled_by(&key.namespace, uid).iter().any(|p| !pods::is_finished(p));
        uids.filter(unfinished).map(str::to_owned).collect()
    }

    async fn act(
        &self,
        key: &Key,
        d: &Deployment,
        action: Action,
        api: &Api<Deployment>,
        written: &mut Written,
    ) -> anyhow::Result<()> {
        let say = |kind: &str, reason: &str, message: String| {
            self.context.recorder.event(&object_reference(d), kind, reason, message);
        };
        let sets = self.sets_api(key);
        match action {
            Action::Create(set) => {
                if let Err(e) = sets.create(&PostParams::default(), &set).await {
                    return self.create_failed(key, d, &set, e, api).await;
                }
                let n = replica_sets::replicas(&set);
                if n > 0 {
                    let name = key::name(&set.metadata);
                    say("Normal", "ScalingReplicaSet", format!("Scaled up replica set {name} from 0 to {n}"));
                }
            }
            Action::Update { mut set, scaled_from } => {
                if let Some(version) = written.get(key::name(&set.metadata)) {
                    set.metadata.resource_version = Some(version.clone());
                }
                let name = key::name(&set.metadata);
                let stored = sets.replace(name, &PostParams::default(), &set).await?;
                written.extend(stored.metadata.resource_version.map(|version| (name.to_owned(), version)));
                let to = replica_sets::replicas(&set);
                if let Some(from) = scaled_from {
                    let direction = if from < to { "up" } else { "down" };
                    let message = format!("Scaled {direction} replica set {name} from {from} to {to}");
                    say("Normal", "ScalingReplicaSet", message);
                }
            }
            Action::Delete(name) => match sets.delete(&name, &DeleteParams::default()).await {
                Err(e) if !client::is_not_found(&e) => return Err(e.into()),
                _ => {}
            },
            Action::UpdateStatus(new) => {
                api.replace_status(&key.name, &PostParams::default(), &new).await?;
            }
            Action::Replace(new) => {
                api.replace(&key.name, &PostParams::default(), &new).await?;
            }
            Action::Say { kind, reason, message } => say(kind, reason, message),
        }
        Ok(())
    }

    /// A set of that name exists, or the server refused. The former is either this template's own set that the
    /// informer has not shown yet, or another's: then the next hash is made with a higher collision count.
    async fn create_failed(
        &self,
        key: &Key,
        d: &Deployment,
        set: &ReplicaSet,
        error: kube::Error,
        api: &Api<Deployment>,
    ) -> anyhow::Result<()> {
        let name = key::name(&set.metadata);
        let mut d = d.clone();
        if client::is_already_exists(&error) {
            let existing = self.sets_api(key).get(name).await?;
            let ours = controller_of(&existing.metadata).is_some_and(|o| Some(&o.uid) == d.metadata.uid.as_ref());
            if !ours || !replica_sets::same_template(&existing, &d) {
                *d.status.get_or_insert_default().collision_count.get_or_insert(0) += 1;
                api.replace_status(&key.name, &PostParams::default(), &d).await?;
            }
            // Either way the decision is made anew on what is there.
            bail!("replica set {name:?} already exists");
        }
        if !client::is_namespace_terminating(&error) {
            let message = format!("Failed to create new replica set {name:?}: {}", client::message(&error));
            if status::has_progress_deadline(&d) {
                let c = status::condition(
                    "Progressing",
                    "False",
                    "ReplicaSetCreateError",
                    message.clone(),
                    Timestamp::now(),
                );
                status::set(d.status.get_or_insert_default(), c);
                // The creation's failure is what is reported; this write is best effort.
                let _ = api.replace_status(&key.name, &PostParams::default(), &d).await;
            }
            self.context.recorder.event(&object_reference(&d), "Warning", "ReplicaSetCreateError", message);
        }
        Err(error).context("creating a replica set")
    }
}

fn selector(d: &Deployment) -> Option<Selector> {
    Selector::new(&d.spec.as_ref()?.selector)
}
