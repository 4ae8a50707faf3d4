//! VolumeAttributesClass protection: a deleted class stays while a claim or a volume names it.
//!
//! Upstream: `pkg/controller/volume/vacprotection`. Only informers are asked, as upstream: a claim that is made at the
//! moment in which its class is deleted may find the class gone.

mod sync;

use client::{Change, Informer};
use controller::{Queue, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::VolumeAttributesClass,
};
use kube::Api;

use crate::{
    context::Context,
    util::{key, protection},
};

const FINALIZER: &str = "kubernetes.io/vac-protection";

/// Runs the class protection controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

async fn run(context: Context) -> anyhow::Result<()> {
    let i = &context.informers;
    let classes: Informer<VolumeAttributesClass> = i.of();
    let (claims, volumes) = (i.of::<PersistentVolumeClaim>(), i.of::<PersistentVolume>());
    let queue: Queue<String> = Queue::new();
    let wake = queue.clone();
    protection::on_concern(&classes, FINALIZER, move |meta| wake.add(key::name(meta).to_owned()));
    let wake = queue.clone();
    claims.on_change(move |change| released(change, sync::of_claim).into_iter().for_each(|name| wake.add(name)));
    let wake = queue.clone();
    volumes.on_change(move |change| released(change, sync::of_volume).into_iter().for_each(|name| wake.add(name)));
    classes.synced().await;
    claims.synced().await;
    volumes.synced().await;
    let api: Api<VolumeAttributesClass> = Api::all(context.client.clone());
    let (classes, claims, volumes, api) = (&classes, &claims, &volumes, &api);
    run_workers(context.name, &queue, 1, context.cancel.clone(), |name: String| async move {
        let Some(class) = classes.get(None, &name) else { return Ok(()) };
        match sync::sync(&class, || volumes.list(), || claims.list()) {
            Some(action) => protection::carry_out(api, &*class, FINALIZER, action).await,
            None => Ok(()),
        }
    })
    .await;
    Ok(())
}

/// The classes that are named no longer after a change.
fn released<K>(change: &Change<K>, names: impl Fn(&K) -> Vec<&str>) -> Vec<String> {
    let (before, now) = match change {
        Change::Added(_) => return vec![],
        Change::Updated { old, new } => (names(old), names(new)),
        Change::Deleted(last) => (names(last), vec![]),
    };
    before.into_iter().filter(|name| !now.contains(name)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    struct Names(&'static str);

    fn names(of: &Names) -> Vec<&str> {
        of.0.split_whitespace().collect()
    }

    #[test]
    fn what_is_named_no_longer_is_looked_at() {
        let check = |change: Change<Names>, want: &[&str]| assert_eq!(released(&change, names), want);
        let named = |text| Arc::new(Names(text));
        check(Change::Added(named("a b")), &[]);
        check(Change::Updated { old: named("a b c"), new: named("b") }, &["a", "c"]);
        check(Change::Deleted(named("b c")), &["b", "c"]);
    }
}
