//! Device taint eviction: pods leave devices whose NoExecute taints their claims do not, or no longer, tolerate.
//!
//! Upstream: `pkg/controller/devicetainteviction`. A stay is counted from when the driver set the taint. Taints that users
//! set by rules are a feature of upstream's that is off by default.

mod pools;
mod sync;
#[cfg(test)]
mod tests;

use std::{collections::HashSet, sync::Arc, time::Duration};

use client::{Change, Informer};
use controller::{Queue, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::{
    api::{
        core::v1::{ObjectReference, Pod},
        resource::v1::{ResourceClaim, ResourceSlice},
    },
    jiff::{Timestamp, Unit},
};
use kube::{
    Api,
    api::{DeleteParams, Preconditions},
};
use parking_lot::Mutex;

use crate::{
    context::Context,
    metrics,
    util::{
        gone::Gone,
        key::{self, Key},
        pod_claims,
        pods::{self, disrupt},
    },
};
use pools::Pools;

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

struct Shell {
    context: Context,
    pods: Informer<Pod>,
    claims: Informer<ResourceClaim>,
    queue: Queue<Key>,
    pools: Mutex<Pools>,
    /// UIDs of pods that will be evicted.
    doomed: Mutex<HashSet<String>>,
    /// Pods that were evicted.
    evicted: Mutex<Gone>,
}

async fn run(context: Context) -> anyhow::Result<()> {
    let (i, cancel) = (context.informers.clone(), context.cancel.clone());
    let workers = context.config.concurrent_device_taint_eviction_syncs;
    let slices = i.of::<ResourceSlice>();
    let shell = Arc::new(Shell {
        context,
        pods: i.of(),
        claims: i.of(),
        queue: Queue::new(),
        pools: Mutex::default(),
        doomed: Mutex::default(),
        evicted: Mutex::default(),
    });
    let s = shell.clone();
    slices.on_change(move |change| {
        let concerned = s.pools.lock().slice_changed(change);
        concerned.iter().filter_map(|claim| s.claim(claim)).for_each(|claim| s.wake_consumers(&claim));
    });
    let s = shell.clone();
    shell.claims.on_change(move |change| {
        s.pools.lock().claim_changed(change);
        if let Change::Updated { old, new } = change
            && pod_claims::consumers(old) != pod_claims::consumers(new)
        {
            s.wake_consumers(old);
        }
        s.wake_consumers(change.object());
    });
    let s = shell.clone();
    shell.pods.on_change(move |change| s.pod_changed(change));
    slices.synced().await;
    shell.claims.synced().await;
    shell.pods.synced().await;
    run_workers(shell.context.name, &shell.queue, workers, cancel, |key| shell.reconcile(key)).await;
    Ok(())
}

impl Shell {
    fn claim(&self, key: &Key) -> Option<Arc<ResourceClaim>> {
        self.claims.get(Some(&key.namespace), &key.name)
    }

    fn pod_changed(&self, change: &Change<Pod>) {
        let pod = change.object();
        let claims = |pod: &Pod| pod.status.as_ref().and_then(|s| s.resource_claim_statuses.clone());
        let matters = match change {
            Change::Added(_) => true,
            Change::Updated { old, new } => pods::node_name(old) != pods::node_name(new) || claims(old) != claims(new),
            Change::Deleted(_) => {
                self.doomed.lock().remove(key::uid(&pod.metadata));
                false
            }
        };
        if matters && !pod_claims::entries(pod).is_empty() {
            self.queue.add(Key::of(&pod.metadata));
        }
    }

    fn wake_consumers(&self, claim: &ResourceClaim) {
        let namespace = key::namespace(&claim.metadata);
        let of_pods = pod_claims::consumers(claim).iter();
        let of_pods = of_pods.filter(|c| c.resource == "pods" && c.api_group.as_deref().unwrap_or_default().is_empty());
        of_pods.for_each(|consumer| self.queue.add(Key::new(namespace, &consumer.name)));
    }

    async fn reconcile(&self, key: Key) -> anyhow::Result<()> {
        let Some(pod) = self.pods.get(Some(&key.namespace), &key.name) else { return Ok(()) };
        let uid = key::uid(&pod.metadata);
        if pods::is_terminating(&pod) || self.evicted.lock().has(uid) {
            self.doomed.lock().remove(uid);
            return Ok(());
        }
        let claim = |name: &str| self.claims.get(Some(&key.namespace), name);
        let leaves = {
            let pools = self.pools.lock();
            sync::of_pod(&pod, claim, |device| pools.taints(device))
        };
        let Some(at) = leaves else {
            if self.doomed.lock().remove(uid) {
                self.say(&pod, "Cancelling deletion");
            }
            return Ok(());
        };
        self.doomed.lock().insert(uid.to_owned());
        let left = Duration::try_from(at - Timestamp::now()).unwrap_or(Duration::ZERO);
        if !left.is_zero() {
            self.queue.add_after(key, left);
            return Ok(());
        }
        if self.evict(&key, &pod).await? {
            metrics::DEVICE_DELETIONS.with(&[]).add(1);
            metrics::DEVICE_DELETION_SECONDS.with(&[]).observe((Timestamp::now() - at).total(Unit::Second)?);
        }
        self.doomed.lock().remove(uid);
        self.evicted.lock().add(uid);
        Ok(())
    }

    fn say(&self, pod: &Pod, message: &str) {
        let about = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
            uid: pod.metadata.uid.clone(),
            ..Default::default()
        };
        self.context.recorder.event(&about, "Normal", "DeviceTaintManagerEviction", message);
    }

    /// Whether it was this that deleted the pod.
    async fn evict(&self, key: &Key, known: &Pod) -> anyhow::Result<bool> {
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), &key.namespace);
        let pod = api.get_opt(&key.name).await?;
        let same = |pod: &Pod| pod.metadata.uid == known.metadata.uid && !pods::is_terminating(pod);
        let Some(pod) = pod.filter(same) else { return Ok(false) };
        self.say(&pod, "Marking for deletion");
        let why = ("DeletionByDeviceTaintManager", "Device Taint manager: deleting due to NoExecute taint");
        disrupt::mark(&api, &pod, Some(why), None).await?;
        let this = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
        match api.delete(&key.name, &DeleteParams { preconditions: Some(this), ..Default::default() }).await {
            Err(e) if !client::is_not_found(&e) => Err(e.into()),
            deleted => Ok(deleted.is_ok()),
        }
    }
}
