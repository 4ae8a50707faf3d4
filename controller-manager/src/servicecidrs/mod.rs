//! ServiceCIDRs: the ranges that cluster IPs come from are ready, and stay as long as a Service has an address of theirs.
//!
//! Upstream: `pkg/controller/servicecidrs`. The API server allocates from ranges that are neither deleted nor unready.

mod sync;

use std::net::IpAddr;

use client::{Change, Informer};
use controller::{Queue, object_reference, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::{
    api::networking::v1::{IPAddress, ServiceCIDR},
    jiff::Timestamp,
};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    context::Context,
    util::{cidr, key},
};
use sync::{Action, FINALIZER, Ready};

const WORKERS: usize = 5;

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

async fn run(context: Context) -> anyhow::Result<()> {
    let ranges: Informer<ServiceCIDR> = context.informers.of();
    let addresses: Informer<IPAddress> = context.informers.of();
    let queue: Queue<String> = Queue::new();
    let (wake, all) = (queue.clone(), ranges.clone());
    ranges.on_change(move |change| {
        wake.add(key::name(&change.object().metadata).to_owned());
        // A new range may be what a deleted one waits for.
        if let Change::Added(new) = change {
            let all = all.list();
            let near = sync::ranges(new).flat_map(|new| sync::having(&all, |r| cidr::overlap(r, &new)));
            near.for_each(|name| wake.add(name.to_owned()));
        }
    });
    let (wake, all) = (queue.clone(), ranges.clone());
    addresses.on_change(move |change| {
        if let Change::Added(address) | Change::Deleted(address) = change
            && let Some(ip) = of_service(address)
        {
            let all = all.list();
            sync::having(&all, |r| cidr::allocates(r, &ip)).into_iter().for_each(|name| wake.add(name.to_owned()));
        }
    });
    ranges.synced().await;
    addresses.synced().await;
    let shell = &Shell { api: Api::all(context.client.clone()), context: &context, ranges, addresses, queue: &queue };
    run_workers(context.name, &queue, WORKERS, context.cancel.clone(), |name| shell.reconcile(name)).await;
    Ok(())
}

/// The address, if the API server's allocator made the object.
fn of_service(address: &IPAddress) -> Option<IpAddr> {
    let labels = address.metadata.labels.as_ref()?;
    let managed = labels.get("ipaddress.kubernetes.io/managed-by").is_some_and(|by| by == "ipallocator.k8s.io");
    managed.then(|| key::name(&address.metadata).parse().ok()).flatten()
}

struct Shell<'a> {
    context: &'a Context,
    ranges: Informer<ServiceCIDR>,
    addresses: Informer<IPAddress>,
    queue: &'a Queue<String>,
    api: Api<ServiceCIDR>,
}

impl Shell<'_> {
    async fn reconcile(&self, name: String) -> anyhow::Result<()> {
        let Some(range) = self.ranges.get(None, &name) else { return Ok(()) };
        let taken = || self.addresses.list().iter().filter_map(|a| of_service(a)).collect();
        let now = Timestamp::now();
        for action in sync::sync(&range, &self.ranges.list(), taken, now) {
            match action {
                Action::Protect => self.patch(&name, json!({"finalizers": [FINALIZER]})).await?,
                Action::Unprotect => {
                    self.patch(&name, json!({"$deleteFromPrimitiveList/finalizers": [FINALIZER]})).await?;
                }
                Action::Condition(ready) => self.say(&range, ready, now).await?,
                Action::Wait(left) => self.queue.add_after(name.clone(), left),
            }
        }
        Ok(())
    }

    async fn patch(&self, name: &str, metadata: Value) -> anyhow::Result<()> {
        let patch = Patch::Strategic(json!({ "metadata": metadata }));
        match self.api.patch(name, &PatchParams::default(), &patch).await {
            Err(e) if !client::is_not_found(&e) => Err(e.into()),
            _ => Ok(()),
        }
    }

    async fn say(&self, range: &ServiceCIDR, ready: Ready, now: Timestamp) -> anyhow::Result<()> {
        let Ready { status, reason, message } = ready;
        let condition = json!({
            "type": "Ready", "status": status, "reason": reason, "message": message,
            "lastTransitionTime": machinery::time::rfc3339(now),
        });
        let name = key::name(&range.metadata);
        let apply = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": name},
            "status": {"conditions": [condition]},
        });
        let params = PatchParams::apply(self.context.name).force();
        let Err(error) = self.api.patch_status(name, &params, &Patch::Apply(apply)).await else { return Ok(()) };
        if status == "True" {
            let said = "The ServiceCIDR Status can not be set to Ready=True";
            self.context.recorder.event(&object_reference(range), "Warning", "KubernetesServiceCIDRError", said);
        }
        Err(error.into())
    }
}
