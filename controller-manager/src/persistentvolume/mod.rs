//! Binding of claims and volumes, and what becomes of volumes that are given back.
//!
//! Upstream: `pkg/controller/volume/persistentvolume`. A binding is two pointers, the volume's claimRef and the claim's
//! volumeName, and whoever dies between the two writes leaves what the next one completes. Volumes are made by provisioners
//! elsewhere, which are asked by an annotation on the claim.
//!
//! Whatever makes a binding possible has the claim looked at at once: a volume that is offered, named or reserved, a class
//! that comes. What upstream does at its next resync only events are repeated by, and reclaims that failed.

mod claim;
mod counts;
mod known;
mod plugins;
mod reclaim;
mod recycler_events;
mod steps;
mod volume;

use std::{collections::HashMap, sync::Arc};

use client::{Change, Informer};
use controller::{Queue, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim, Pod},
    storage::v1::StorageClass,
};
use kube::{Api, api::PostParams};
use parking_lot::Mutex;

use self::{
    claim::World,
    known::{Known, claim_of},
    reclaim::Recycler,
    steps::{Step, volume_phase},
};
use crate::{
    context::Context,
    metrics,
    util::{
        claim_users::ClaimUsers,
        key::{self, Key},
        pods,
    },
};

/// As many bindings are written at a time. Which volume is whose is decided by one at a time.
const WORKERS: usize = 10;

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

/// What is looked at: a claim, or a volume by its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Item {
    Claim(Key),
    Volume(String),
}

struct Shell {
    context: Context,
    classes: Informer<StorageClass>,
    pods: Informer<Pod>,
    users: ClaimUsers,
    known: Mutex<Known>,
    /// The pods that empty volumes, by volume.
    recyclers: Mutex<HashMap<String, Recycler>>,
    queue: Queue<Item>,
}

async fn run(context: Context) -> anyhow::Result<()> {
    let i = context.informers.clone();
    let (volumes, claims) = (i.of::<PersistentVolume>(), i.of::<PersistentVolumeClaim>());
    let pods = i.of::<Pod>();
    let (name, cancel) = (context.name, context.cancel.clone());
    let shell = Arc::new(Shell {
        context,
        classes: i.of(),
        users: ClaimUsers::of(&pods),
        pods,
        known: Mutex::default(),
        recyclers: Mutex::default(),
        queue: Queue::new(),
    });
    let s = shell.clone();
    shell.pods.on_change(move |change| s.pod_changed(change));
    // What is there is known before anything is decided.
    shell.classes.synced().await;
    shell.pods.synced().await;
    volumes.synced().await;
    claims.synced().await;
    let s = shell.clone();
    claims.on_change(move |change| s.claim_changed(change));
    let s = shell.clone();
    volumes.on_change(move |change| s.volume_changed(change));
    let s = shell.clone();
    shell.classes.on_change(move |change| s.class_changed(change));
    let s = shell.clone();
    shell.context.tasks.restarting("persistentvolume_resync", move |run| {
        let shell = s.clone();
        async move {
            run.until_stopped(shell.resync()).await;
        }
    });
    let _collected = metrics::collect(name, move |out| counts::write(out, &volumes.list(), &claims.list()));
    run_workers(name, &shell.queue, WORKERS, cancel, |item| shell.reconcile(item)).await;
    Ok(())
}

/// A volume that is promised to a claim for as long as this is held, or for good if it was written meanwhile.
struct Reservation<'a>(&'a Mutex<Known>, Option<Arc<PersistentVolume>>);

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if let Some(before) = self.1.take() {
            self.0.lock().restore(before);
        }
    }
}

impl Shell {
    fn claim_changed(&self, change: &Change<PersistentVolumeClaim>) {
        let (claim, mut known) = (change.object(), self.known.lock());
        let key = Key::of(&claim.metadata);
        if matches!(change, Change::Deleted(_)) {
            known.forget_claim(&key);
            known.volumes_of(&key, claim).into_iter().for_each(|name| self.queue.add(Item::Volume(name)));
        } else {
            known.see_claim(claim.clone());
            self.queue.add(Item::Claim(key));
        }
    }

    fn volume_changed(&self, change: &Change<PersistentVolume>) {
        let (volume, mut known) = (change.object(), self.known.lock());
        let name = key::name(&volume.metadata).to_owned();
        let mut concerned = known.claims_of(volume);
        if matches!(change, Change::Deleted(_)) {
            known.forget_volume(&name);
        } else {
            known.see_volume(volume.clone());
            self.queue.add(Item::Volume(name));
            let delayed = self.classes.get(None, volumes::volume_class(volume));
            if volume_phase(volume) == "Available" && !delayed.is_some_and(|class| volumes::waits_for_consumer(&class))
            {
                concerned.extend(known.waiting_for(volume));
            }
        }
        concerned.into_iter().for_each(|key| self.queue.add(Item::Claim(key)));
    }

    fn class_changed(&self, change: &Change<StorageClass>) {
        let known = self.known.lock();
        // Those that name none may get it by default.
        let concerned = known.unbound_of(key::name(&change.object().metadata)).into_iter().chain(known.unbound_of(""));
        concerned.for_each(|key| self.queue.add(Item::Claim(key)));
    }

    fn pod_changed(&self, change: &Change<Pod>) {
        let meta = &change.object().metadata;
        if let Some(volume) = key::name(meta).strip_prefix(reclaim::RECYCLER)
            && key::namespace(meta) == reclaim::RECYCLERS
        {
            self.queue.add(Item::Volume(volume.to_owned()));
        }
    }

    /// Looks at what is not settled, now and then: to say again what it waits for, and to try again what failed.
    async fn resync(&self) {
        loop {
            tokio::time::sleep(self.context.config.pvclaimbinder_sync_period).await;
            let (claims, volumes) = self.known.lock().unsettled();
            claims.into_iter().for_each(|key| self.queue.add(Item::Claim(key)));
            volumes.into_iter().for_each(|name| self.queue.add(Item::Volume(name)));
        }
    }

    async fn reconcile(&self, item: Item) -> anyhow::Result<()> {
        match item {
            Item::Claim(key) => self.reconcile_claim(&key).await,
            Item::Volume(name) => self.reconcile_volume(&name).await,
        }
    }

    async fn reconcile_claim(&self, key: &Key) -> anyhow::Result<()> {
        let classes = self.classes.list();
        let (steps, _reserved) = {
            let mut known = self.known.lock();
            let Some(claim) = known.claim(key).cloned() else { return Ok(()) };
            let world = World {
                known: &known,
                classes: &classes,
                dynamic_provisioning: self.context.config.enable_dynamic_provisioning,
                waiting_pods: &|claim| self.waiting_pods(claim),
            };
            let steps = claim::sync(&world, &claim);
            let before = known.reserve(&steps);
            (steps, Reservation(&self.known, before))
        };
        self.carry_out(steps).await
    }

    /// The pods that use the claim and have no node.
    fn waiting_pods(&self, claim: &Key) -> Vec<String> {
        let pods = self.users.get(claim);
        let waiting = pods.iter().filter(|pod| !pods::is_terminated(pod) && pods::node_name(pod).is_empty());
        waiting.map(|pod| key::name(&pod.metadata).to_owned()).collect()
    }

    async fn reconcile_volume(&self, name: &str) -> anyhow::Result<()> {
        let Some(volume) = self.known.lock().volume(name).cloned() else { return Ok(()) };
        let claim = self.claim_of(&volume).await?;
        self.carry_out(volume::sync(&volume, claim.as_deref())).await
    }

    /// What has the name in the volume's claimRef. Before a volume is given back the server is asked: a claim may be newer
    /// than what is known.
    async fn claim_of(&self, volume: &PersistentVolume) -> anyhow::Result<Option<Arc<PersistentVolumeClaim>>> {
        let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
        let uid = reference.and_then(|reference| reference.uid.as_deref()).filter(|uid| !uid.is_empty());
        let (Some(key), Some(uid)) = (claim_of(volume), uid) else { return Ok(None) };
        let known = self.known.lock().claim(&key).cloned();
        let asked = match &known {
            Some(claim) => claim.metadata.uid.as_deref() != Some(uid),
            None => !matches!(volume_phase(volume), "Released" | "Failed"),
        };
        if !asked {
            return Ok(known);
        }
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.context.client.clone(), &key.namespace);
        Ok(api.get_opt(&key.name).await?.map(Arc::new))
    }

    async fn carry_out(&self, mut steps: Vec<Step>) -> anyhow::Result<()> {
        let reclaims = |step: &Step| matches!(step, Step::Delete(..) | Step::Recycle(_));
        let last = steps.pop_if(|step| reclaims(step));
        self.carry_out_writes(steps).await?;
        match last {
            Some(Step::Delete(volume, path)) => self.delete(&volume, &path).await,
            Some(Step::Recycle(volume)) => self.recycle(&volume).await,
            _ => Ok(()),
        }
    }

    /// Each write of an object is made on what came back of the one before, and what comes back is known from then on.
    async fn carry_out_writes(&self, steps: Vec<Step>) -> anyhow::Result<()> {
        let volumes: Api<PersistentVolume> = Api::all(self.context.client.clone());
        let claims = |claim: &PersistentVolumeClaim| -> Api<PersistentVolumeClaim> {
            Api::namespaced(self.context.client.clone(), key::namespace(&claim.metadata))
        };
        let params = PostParams::default();
        let (mut volume_version, mut claim_version) = (None, None);
        for step in steps {
            match step {
                Step::Volume(mut volume) => {
                    volume.metadata.resource_version = volume_version.or(volume.metadata.resource_version);
                    let written = volumes.replace(key::name(&volume.metadata), &params, &volume).await?;
                    volume_version = self.saw_volume(written);
                }
                Step::VolumeStatus(mut volume) => {
                    volume.metadata.resource_version = volume_version.or(volume.metadata.resource_version);
                    let written = volumes.replace_status(key::name(&volume.metadata), &params, &volume).await?;
                    volume_version = self.saw_volume(written);
                }
                Step::Claim(mut claim) => {
                    claim.metadata.resource_version = claim_version.or(claim.metadata.resource_version);
                    let written = claims(&claim).replace(key::name(&claim.metadata), &params, &claim).await?;
                    claim_version = self.saw_claim(written);
                }
                Step::DefaultClass(claim) => {
                    let written = claims(&claim).replace(key::name(&claim.metadata), &params, &claim).await;
                    metrics::RETROACTIVE_CLASSES.with(&[]).add(1);
                    if written.is_err() {
                        metrics::RETROACTIVE_CLASS_ERRORS.with(&[]).add(1);
                    }
                    claim_version = self.saw_claim(written?);
                }
                Step::ClaimStatus(mut claim) => {
                    claim.metadata.resource_version = claim_version.or(claim.metadata.resource_version);
                    let written = claims(&claim).replace_status(key::name(&claim.metadata), &params, &claim).await?;
                    claim_version = self.saw_claim(written);
                }
                Step::Event(event) => {
                    self.context.recorder.event(&event.about, event.kind, event.reason, event.message);
                }
                Step::Wake(claim) => self.queue.add(Item::Claim(claim)),
                Step::Fail(why) => anyhow::bail!(why),
                // They come last, and are no writes: whoever decided it carries it out.
                Step::Delete(..) | Step::Recycle(_) => {}
            }
        }
        Ok(())
    }

    fn saw_volume(&self, mut volume: PersistentVolume) -> Option<String> {
        volume.metadata.managed_fields = None;
        let version = volume.metadata.resource_version.clone();
        self.known.lock().see_volume(Arc::new(volume));
        version
    }

    fn saw_claim(&self, mut claim: PersistentVolumeClaim) -> Option<String> {
        claim.metadata.managed_fields = None;
        let version = claim.metadata.resource_version.clone();
        self.known.lock().see_claim(Arc::new(claim));
        version
    }
}

#[cfg(test)]
mod tests;
