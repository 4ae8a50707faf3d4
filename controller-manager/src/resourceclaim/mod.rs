//! Resource claims: pods get theirs from templates, and a claim that no pod uses any more is let go and, if it was made
//! for a pod, deleted.
//!
//! Upstream: `pkg/controller/resourceclaim`. A claim is allocated and reserved by the scheduler; here it is reserved only
//! for a pod that came by its node without one. Claims for groups of pods are a feature of upstream's that is off by
//! default.

mod sync;
#[cfg(test)]
mod tests;
mod uses;

use std::sync::Arc;

use client::{Change, Informer};
use controller::{Queue, object_reference, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::api::{
    core::v1::{Pod, PodResourceClaim, PodResourceClaimStatus},
    resource::v1::{ResourceClaim, ResourceClaimConsumerReference, ResourceClaimTemplate},
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
};
use parking_lot::Mutex;
use serde_json::json;

use crate::{
    context::Context,
    metrics,
    util::{
        doubts::Doubts,
        freshness::{Freshness, STALE_WAIT},
        gone::Gone,
        key::{self, Key},
        pod_claims, pods,
    },
};
use sync::{Reserved, Step};
use uses::Uses;

/// As which it owns what it applies to a pod's status.
const FIELD_MANAGER: &str = "ResourceClaimController";

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

/// What is worked on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Item {
    Pod(Key),
    Claim(Key),
}

struct Shell {
    context: Context,
    pods: Informer<Pod>,
    claims: Informer<ResourceClaim>,
    templates: Informer<ResourceClaimTemplate>,
    queue: Queue<Item>,
    uses: Mutex<Uses>,
    /// Pods that were seen to go, so that the server needs not be asked about them.
    gone: Mutex<Gone>,
    /// Claims that were made for a pod, and which the informer may not have shown yet.
    written: Freshness<1>,
    doubts: Doubts,
}

async fn run(context: Context) -> anyhow::Result<()> {
    let (i, cancel) = (context.informers.clone(), context.cancel.clone());
    let workers = context.config.concurrent_resourceclaim_syncs;
    let shell = Arc::new(Shell {
        context,
        pods: i.of(),
        claims: i.of(),
        templates: i.of(),
        queue: Queue::new(),
        uses: Mutex::default(),
        gone: Mutex::default(),
        written: Freshness::default(),
        doubts: Doubts::default(),
    });
    let s = shell.clone();
    shell.pods.on_change(move |change| s.pod_changed(change));
    let s = shell.clone();
    shell.claims.on_change(move |change| s.claim_changed(change));
    let s = shell.clone();
    shell.templates.on_change(move |change| {
        if !matches!(change, Change::Deleted(_)) {
            let users = s.uses.lock().of_template(&Key::of(&change.object().metadata));
            users.iter().for_each(|pod| s.wake_user(pod));
        }
    });
    shell.pods.synced().await;
    shell.claims.synced().await;
    shell.templates.synced().await;
    let claims = shell.claims.clone();
    let _collected = metrics::collect(shell.context.name, move |out| {
        let help = "[ALPHA] Claims of devices, by whether they have them, and where they come from.";
        let counted = metrics::tally(claims.list().iter().map(|claim| sync::sort(claim)));
        let labels = ["allocated", "admin_access", "source"];
        metrics::gauge(out, ("resourceclaim_controller_resource_claims", help), labels, counted);
    });
    run_workers(shell.context.name, &shell.queue, workers, cancel, |item| shell.reconcile(item)).await;
    Ok(())
}

impl Shell {
    fn pod_changed(&self, change: &Change<Pod>) {
        let pod = change.object();
        if !sync::has_claims(pod) {
            return;
        }
        self.uses.lock().note(change);
        let deleted = matches!(change, Change::Deleted(_));
        if deleted {
            self.gone.lock().add(key::uid(&pod.metadata));
            self.written.forget(&Key::of(&pod.metadata));
            self.doubts.forget(&Key::of(&pod.metadata));
        }
        self.wake(pod, deleted);
    }

    fn claim_changed(&self, change: &Change<ResourceClaim>) {
        let key = Key::of(&change.object().metadata);
        if !matches!(change, Change::Deleted(_)) {
            self.queue.add(Item::Claim(key.clone()));
        }
        let users = self.uses.lock().of_claim(&key);
        users.iter().for_each(|pod| self.wake_user(pod));
        self.written.waiting().into_iter().for_each(|pod| self.queue.add(Item::Pod(pod)));
    }

    fn wake_user(&self, pod: &Key) {
        if let Some(pod) = self.pods.get(Some(&pod.namespace), &pod.name) {
            self.wake(&pod, false);
        }
    }

    /// Queues the pod if there is something to do for it, and the claims that it does not need any more.
    fn wake(&self, pod: &Pod, deleted: bool) {
        let namespace = key::namespace(&pod.metadata);
        if deleted || sync::is_done(pod) {
            let claims = sync::claims_of(pod).map(|name| Item::Claim(Key::new(namespace, name)));
            claims.for_each(|claim| self.queue.add(claim));
        }
        if sync::needs_work(pod, |name| self.claim(namespace, name)) {
            self.queue.add(Item::Pod(Key::of(&pod.metadata)));
        }
    }

    fn claim(&self, namespace: &str, name: &str) -> Option<Arc<ResourceClaim>> {
        self.claims.get(Some(namespace), name)
    }

    async fn reconcile(&self, item: Item) -> anyhow::Result<()> {
        match item {
            Item::Pod(key) => self.reconcile_pod(key).await,
            Item::Claim(key) => self.reconcile_claim(key).await,
        }
    }

    async fn reconcile_pod(&self, key: Key) -> anyhow::Result<()> {
        let pod = self.pods.get(Some(&key.namespace), &key.name);
        let Some(pod) = pod.filter(|p| !pods::is_terminating(p)) else { return Ok(()) };
        if !self.written.is_fresh(&key, || [self.claims.version()]) {
            self.queue.add_after(Item::Pod(key), STALE_WAIT);
            return Ok(());
        }
        if !self.doubts.settled(&key, key::uid(&pod.metadata), &self.context.client, &self.claims).await? {
            self.queue.add_after(Item::Pod(key), STALE_WAIT);
            return Ok(());
        }
        let mut found = vec![];
        for entry in pod_claims::entries(&pod) {
            let name = match self.claim_for(&key, &pod, entry).await {
                Ok(name) => name,
                Err(why) => {
                    let what = format!("PodResourceClaim {}: {why}", entry.name);
                    let about = object_reference(&*pod);
                    self.context.recorder.event(&about, "Warning", "FailedResourceClaimCreation", what.clone());
                    anyhow::bail!("pod {key:?}, {what}");
                }
            };
            found.extend(name.map(|name| (entry.name.as_str(), name)));
        }
        if !found.is_empty() {
            return self.tell(&key, &pod, sync::statuses(&pod, &found)).await;
        }
        if pods::node_name(&pod).is_empty() {
            // The scheduler reserves.
            return Ok(());
        }
        self.reserve(&key, &pod).await
    }

    /// The name of the claim that the pod's status does not tell yet; made if there is none.
    async fn claim_for(&self, key: &Key, pod: &Pod, entry: &PodResourceClaim) -> Result<Option<String>, String> {
        let known = |name: &str| self.claim(&key.namespace, name);
        let owned = || self.claims.controlled_by(&key.namespace, key::uid(&pod.metadata));
        match sync::step(pod, entry, known, owned)? {
            Step::Nothing => Ok(None),
            Step::Tell(name) => Ok(Some(name)),
            Step::Make(template) => {
                let found = self.templates.get(Some(&key.namespace), template);
                let found = found.ok_or_else(|| {
                    let not_found = format!("resourceclaimtemplate.resource.k8s.io {template:?} not found");
                    format!("resource claim template {template:?}: {not_found}")
                })?;
                let claim = sync::generate(pod, &entry.name, &found);
                let made = self.api(key).create(&PostParams::default(), &claim).await;
                let status = if made.is_ok() { "success" } else { "failure" };
                metrics::CLAIM_CREATES.with(&[status, sync::admin_access(&claim)]).add(1);
                let made = made.inspect_err(|error| self.doubts.note(key, error));
                let made = made.map_err(|e| format!("create ResourceClaim : {}", client::message(&e)))?;
                self.written.note(key, 0, &made.metadata);
                Ok(made.metadata.name)
            }
        }
    }

    async fn tell(&self, key: &Key, pod: &Pod, statuses: Vec<PodResourceClaimStatus>) -> anyhow::Result<()> {
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), &key.namespace);
        let apply = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": key.name, "namespace": key.namespace, "uid": pod.metadata.uid},
            "status": {"resourceClaimStatuses": statuses},
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let why = |e| anyhow::anyhow!("update pod {key:?} ResourceClaimStatuses: {}", client::message(&e));
        api.patch_status(&key.name, &params, &Patch::Apply(apply)).await.map_err(why)?;
        Ok(())
    }

    /// Reserves the allocated claims of a pod that has its node already, and did not get it from the scheduler.
    async fn reserve(&self, key: &Key, pod: &Pod) -> anyhow::Result<()> {
        for entry in pod_claims::entries(pod) {
            let named = pod_claims::named(pod, entry)
                .map_err(|missing| anyhow::anyhow!(missing.told(&pod_claims::full_name(pod), &entry.name)))?;
            let Some(named) = named else { continue };
            let Some(claim) = self.claim(&key.namespace, named.name) else { return Ok(()) };
            if named.generated {
                pod_claims::is_for(pod, &claim).map_err(anyhow::Error::msg)?;
            }
            if sync::must_reserve(pod, &claim) {
                let mut reserved = (*claim).clone();
                let list = reserved.status.get_or_insert_default().reserved_for.get_or_insert_default();
                list.push(sync::consumer(pod));
                self.api(key).replace_status(key::name(&claim.metadata), &PostParams::default(), &reserved).await?;
            }
        }
        Ok(())
    }

    async fn reconcile_claim(&self, key: Key) -> anyhow::Result<()> {
        let Some(claim) = self.claim(&key.namespace, &key.name) else { return Ok(()) };
        let mut remaining = vec![];
        for consumer in pod_claims::consumers(&claim) {
            if self.still_reserved(&key, consumer).await? {
                remaining.push(consumer.clone());
            }
        }
        let unused = remaining.is_empty();
        let api = self.api(&key);
        let settled = sync::settle(&claim, remaining);
        let mut current = (*claim).clone();
        if let Some(status) = settled.status {
            current.status = Some(status);
            current = api.replace_status(&key.name, &PostParams::default(), &current).await?;
        }
        if settled.unprotect {
            sync::unprotect(&mut current);
            api.replace(&key.name, &PostParams::default(), &current).await?;
        }
        let owner = sync::owning_pod(&claim).and_then(|o| self.pods.get(Some(&key.namespace), &o.name));
        if unused && owner.is_some_and(|pod| sync::is_useless(&claim, &pod)) {
            // Whether a pod has gone is the garbage collector's to find out; one that is there and has ended is not.
            let this = Preconditions { uid: claim.metadata.uid.clone(), resource_version: None };
            match api.delete(&key.name, &DeleteParams { preconditions: Some(this), ..Default::default() }).await {
                Err(e) if !client::is_not_found(&e) && !client::is_conflict(&e) => {
                    anyhow::bail!("delete unused generated claim {key:?}: {}", client::message(&e))
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn still_reserved(&self, claim: &Key, consumer: &ResourceClaimConsumerReference) -> anyhow::Result<bool> {
        let gone = self.gone.lock().has(&consumer.uid);
        let cached = self.pods.get(Some(&claim.namespace), &consumer.name);
        match sync::reserved(consumer, gone, cached.as_deref()) {
            Reserved::Still => Ok(true),
            Reserved::NoMore => Ok(false),
            Reserved::Unknown => {
                // The informer may be behind the scheduler: only the server knows.
                let api: Api<Pod> = Api::namespaced(self.context.client.clone(), &claim.namespace);
                let pod = api.get_opt(&consumer.name).await?;
                Ok(pod.is_some_and(|pod| key::uid(&pod.metadata) == consumer.uid))
            }
        }
    }

    fn api(&self, key: &Key) -> Api<ResourceClaim> {
        Api::namespaced(self.context.client.clone(), &key.namespace)
    }
}
