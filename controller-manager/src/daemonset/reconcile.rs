//! One pass over a DaemonSet: observes, lets decide, does it, and says how it stands.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use controller::{controller_ref, object_reference};
use futures::future::join_all;
use k8s_openapi::{
    api::{
        apps::v1::{ControllerRevision, DaemonSet},
        core::v1::Pod,
    },
    jiff::Timestamp,
};
use kube::{Api, api::PostParams};
use tokio::time::Instant;

use super::{
    Shell, Written, nodes,
    revisions::Keeper,
    rolling, selector,
    sync::{self, Observed, Plan},
};
use crate::{
    metrics,
    util::{
        freshness::STALE_WAIT,
        key::{self, Key},
        owners::{self, Claim},
        pod_control::{PodControl, pod_from_template, slow_start},
        selector::Selector,
    },
};

/// Most pods created, and most deleted, in one go.
const BURST: usize = 250;
/// How often a status is written on a fresh copy before the key is retried.
const STATUS_TRIES: usize = 2;

impl Shell {
    pub(super) async fn reconcile(&self, key: Key) -> anyhow::Result<()> {
        if let Some(kind) = self.written.behind(&key, || [self.sets.version(), self.pods.version()]) {
            metrics::STALE_DAEMONS.with(&[["apps", "daemonsets"], ["", "pods"]][kind]).add(1);
            self.queue.add_after(key, STALE_WAIT);
            return Ok(());
        }
        let Some(set) = self.sets.get(Some(&key.namespace), &key.name) else {
            self.expectations.forget(&key);
            return Ok(());
        };
        let Some(selector) = selector(&set) else { return Ok(()) };
        if selector.is_empty() {
            let message = "This daemon set is selecting all pods. A non-empty selector is required.";
            self.context.recorder.event(&object_reference(&*set), "Warning", "SelectingAll", message);
            return Ok(());
        }
        // Its history may be gone already, and without it nothing right can be said.
        if set.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        if !self.doubts.settled(&key, key::uid(&set.metadata), &self.context.client, &self.pods).await? {
            self.queue.add_after(key, STALE_WAIT);
            return Ok(());
        }
        let revisions =
            self.owned_revisions(&key, &set, &selector).await.context("failed to construct revisions of DaemonSet")?;
        // Before the pods are looked at: what is seen later than that is not among them.
        let satisfied = self.expectations.satisfied(&key, &self.queue);
        let mine = self.owned_pods(&key, &set, &selector).await?;
        let keeper = Keeper { client: &self.context.client, set: &set, pods: &mine };
        let kept = keeper.keep(revisions).await.context("failed to construct revisions of DaemonSet")?;
        // Relabelled pods come back as changes; as they are here, they would pass for old ones.
        let Some((hash, old)) = kept else { return Ok(()) };
        let seen = Observed::new(set.clone(), &self.nodes.list(), &mine, hash, Timestamp::now());
        let done = match satisfied {
            true => self.update(&key, &seen, &keeper, old).await,
            false => Ok(()),
        };
        let said = self.write_status(&key, &seen, satisfied).await;
        done.and(said)
    }

    async fn owned_revisions(
        &self,
        key: &Key,
        set: &Arc<DaemonSet>,
        selector: &Selector,
    ) -> anyhow::Result<Vec<Arc<ControllerRevision>>> {
        let candidates = owners::candidates(&self.revisions, &set.metadata);
        self.take(key, set, owners::claim(&set.metadata, selector, candidates)).await
    }

    async fn owned_pods(&self, key: &Key, set: &Arc<DaemonSet>, selector: &Selector) -> anyhow::Result<Vec<Arc<Pod>>> {
        let candidates = owners::candidates(&self.pods, &set.metadata);
        self.take(key, set, owners::claim(&set.metadata, selector, candidates)).await
    }

    async fn take<K>(&self, key: &Key, set: &Arc<DaemonSet>, claim: Claim<K>) -> anyhow::Result<Vec<Arc<K>>>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug,
    {
        let fresh = || async { Ok(self.api(key).get(&key.name).await?.metadata) };
        owners::carry_out(&self.context.client, &controller_ref(&**set), claim, fresh).await
    }

    fn api(&self, key: &Key) -> Api<DaemonSet> {
        Api::namespaced(self.context.client.clone(), &key.namespace)
    }

    /// Nodes get their pods; where that is so already, old pods are replaced; then the history is cut to its limit.
    async fn update(
        &self,
        key: &Key,
        seen: &Observed,
        keeper: &Keeper<'_>,
        old: Vec<Arc<ControllerRevision>>,
    ) -> anyhow::Result<()> {
        let mut plan = sync::manage(seen, &mut self.failures.lock(), Instant::now());
        if plan.is_empty() && sync::rolls(&seen.set) {
            let check_again = plan.check_again;
            plan = Plan { check_again, ..rolling::roll(seen)? };
        }
        self.carry_out(key, seen, plan).await?;
        keeper.clean_up(old).await.context("failed to clean up revisions of DaemonSet")
    }

    async fn carry_out(&self, key: &Key, seen: &Observed, mut plan: Plan) -> anyhow::Result<()> {
        let (client, recorder) = (&self.context.client, &self.context.recorder);
        let reference = object_reference(&*seen.set);
        for said in plan.say {
            recorder.event(&reference, said.kind, said.reason, said.message);
        }
        if let Some(wait) = plan.check_again {
            self.queue.add_after(key.clone(), wait);
        }
        plan.create.truncate(BURST);
        plan.delete.truncate(BURST);
        let doomed = plan.delete.iter().map(|p| key::uid(&p.metadata).to_owned());
        self.expectations.expect(key, plan.create.len(), doomed);
        let control = PodControl { client, recorder, owner: &reference };
        let template = nodes::pod_template(&seen.set, &seen.hash);
        let pod = pod_from_template(&template, &key.name, controller_ref(&*seen.set));
        let (create, control) = (&plan.create, &control);
        let on_node = |i: usize| {
            let mut pod = pod.clone();
            nodes::pin(&mut pod, &create[i]);
            async move {
                let created = control.create_expected(&pod).await;
                if let Some(created) = created.inspect_err(|error| self.doubts.note(key, error))? {
                    self.written.note(key, Written::Pod as usize, &created);
                }
                Ok(())
            }
        };
        let (created, failure) = slow_start(create.len(), on_node).await;
        (created..create.len()).for_each(|_| self.expectations.creation_observed(key));
        let delete = |pod| control.delete_expected(pod, &self.expectations, key);
        let deleted = join_all(plan.delete.iter().map(|pod| delete(pod))).await;
        match failure.or_else(|| deleted.into_iter().find_map(Result::err)) {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    /// `processed`: the pods were looked at for what the set says now, and not only counted.
    async fn write_status(&self, key: &Key, seen: &Observed, processed: bool) -> anyhow::Result<()> {
        let generation = seen.set.metadata.generation;
        let before = seen.set.status.clone().unwrap_or_default();
        let now = sync::status(seen, before.clone());
        let wait = sync::min_ready_seconds(&seen.set);
        let waiting = wait > 0 && now.number_ready != now.number_available.unwrap_or(0);
        if now != before || before.observed_generation < generation {
            let (api, mut set) = (self.api(key), (*seen.set).clone());
            for attempt in 1.. {
                let mut status = sync::status(seen, set.status.take().unwrap_or_default());
                if processed {
                    status.observed_generation = generation;
                }
                set.status = Some(status);
                match api.replace_status(&key.name, &PostParams::default(), &set).await {
                    Ok(written) => {
                        self.written.note(key, Written::Set as usize, &written.metadata);
                        break;
                    }
                    Err(_) if attempt < STATUS_TRIES => set = api.get(&key.name).await?,
                    Err(e) => return Err(e).context("error storing status for daemon set"),
                }
            }
        }
        if waiting {
            self.queue.add_after(key.clone(), Duration::from_secs(wait.unsigned_abs().into()));
        }
        Ok(())
    }
}
