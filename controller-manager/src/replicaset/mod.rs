//! ReplicaSet and ReplicationController: as many pods as wanted.
//!
//! Upstream: `pkg/controller/replicaset`. One controller for both kinds; [`Replicas`] is what they differ in.

mod kinds;
mod members;
mod sync;

use std::{collections::BTreeMap, fmt::Debug, sync::Arc};

use client::{Change, Index, Informer};
use controller::{Queue, controller_of, controller_ref, object_reference, run_workers};
use futures::future::{BoxFuture, join_all};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::ReplicaSet,
        core::v1::{Pod, PodTemplateSpec, ReplicationController},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
    jiff::Timestamp,
};
use kube::{Api, Resource, api::PostParams};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    context::Context,
    metrics,
    util::{
        doubts::Doubts,
        expectations::Expectations,
        freshness::STALE_WAIT,
        key::{self, Key},
        owners,
        pod_control::{PodControl, pod_from_template, slow_start},
        pods,
        selector::Selector,
    },
};
use members::{Member, Members, matching};
use sync::{Manage, Status};

/// Most pods created or deleted in one go.
const BURST: usize = 500;
/// How often a status is written on a fresh copy before the key is retried.
const STATUS_TRIES: usize = 2;

/// A kind that wants a number of pods.
pub(crate) trait Replicas:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize + DeserializeOwned + Clone + Debug + Send + Sync
{
    /// Whether the status counts terminating pods.
    const COUNTS_TERMINATING: bool;
    /// Nothing if the selector is invalid.
    fn selector(&self) -> Option<Selector>;
    fn replicas(&self) -> i32;
    fn min_ready_seconds(&self) -> i32;
    fn template(&self) -> PodTemplateSpec;
    fn status(&self) -> Status;
    fn set_status(&mut self, status: Status);
}

/// Runs the ReplicaSet controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    let workers = context.config.concurrent_replicaset_syncs;
    Box::pin(run::<ReplicaSet>(context, workers))
}

/// Runs the ReplicationController controller.
pub(crate) fn start_replication_controller(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    let workers = context.config.concurrent_rc_syncs;
    Box::pin(run::<ReplicationController>(context, workers))
}

/// The pods of a set, in one pass.
struct Pods {
    /// The active ones.
    counted: Vec<Member>,
    /// How many are on their way out.
    terminating: usize,
    /// The active ones themselves, or none where a number is enough.
    read: Vec<Arc<Pod>>,
}

struct Shell<R> {
    context: Context,
    sets: Informer<R>,
    pods: Informer<Pod>,
    members: Members,
    queue: Queue<Key>,
    expectations: Expectations,
    doubts: Doubts,
}

async fn run<R: Replicas + 'static>(context: Context, workers: usize) -> anyhow::Result<()> {
    let (sets, pods) = (context.informers.of::<R>(), context.informers.of::<Pod>());
    pods.index(Index::CONTROLLER);
    let cancel = context.cancel.clone();
    let (expectations, doubts) = (Expectations::default(), Doubts::default());
    let members = Members::new(R::kind(&()).into_owned());
    let shell = Arc::new(Shell { context, sets, pods, members, queue: Queue::new(), expectations, doubts });
    let on_set = shell.clone();
    shell.sets.on_change(move |change| on_set.set_changed(change));
    let on_pod = shell.clone();
    shell.pods.on_change(move |change| on_pod.pod_changed(change));
    shell.sets.synced().await;
    shell.pods.synced().await;
    run_workers(shell.context.name, &shell.queue, workers, cancel, |key| shell.reconcile(key)).await;
    Ok(())
}

impl<R: Replicas + 'static> Shell<R> {
    fn set_changed(&self, change: &Change<R>) {
        let key = Key::of(change.object().meta());
        if matches!(change, Change::Deleted(_)) {
            self.expectations.forget(&key);
            self.doubts.forget(&key);
        }
        self.queue.add(key);
    }

    fn pod_changed(&self, change: &Change<Pod>) {
        // First: what was expected is counted once it was seen.
        self.members.note(change);
        match change {
            Change::Added(pod) if pods::is_terminating(pod) => self.pod_gone(pod),
            Change::Added(pod) => match controller_of(&pod.metadata) {
                Some(owner) => {
                    if let Some((key, _)) = self.resolve(pod, owner) {
                        self.expectations.creation_observed(&key);
                        self.queue.add(key);
                    }
                }
                None => self.wake_candidates(pod),
            },
            Change::Updated { old, new } => self.pod_updated(old, new),
            Change::Deleted(pod) => self.pod_gone(pod),
        }
    }

    fn pod_updated(&self, old: &Pod, new: &Pod) {
        let labels_changed = old.metadata.labels != new.metadata.labels;
        if pods::is_terminating(new) {
            self.pod_gone(new);
            if labels_changed {
                self.pod_gone(old);
            }
            return;
        }
        let (was, is) = (controller_of(&old.metadata), controller_of(&new.metadata));
        if was != is
            && let Some((key, _)) = was.and_then(|o| self.resolve(old, o))
        {
            self.queue.add(key);
        }
        if let Some(owner) = is {
            let Some((key, set)) = self.resolve(new, owner) else { return };
            let wait = set.min_ready_seconds();
            if wait > 0 && !pods::is_ready(old) && pods::is_ready(new) {
                self.queue.add_after(key.clone(), std::time::Duration::from_secs(wait as u64));
            }
            self.queue.add(key);
        } else if labels_changed || was != is {
            self.wake_candidates(new);
        }
    }

    fn pod_gone(&self, pod: &Pod) {
        let Some(owner) = controller_of(&pod.metadata) else { return };
        let Some((key, _)) = self.resolve(pod, owner) else { return };
        self.expectations.deletion_observed(&key, key::uid(&pod.metadata));
        self.queue.add(key);
    }

    /// An orphan interests every set that selects it.
    fn wake_candidates(&self, pod: &Pod) {
        let interested = owners::selecting(&self.sets, &pod.metadata, R::selector);
        interested.into_iter().for_each(|key| self.queue.add(key));
    }

    fn resolve(&self, pod: &Pod, owner: &OwnerReference) -> Option<(Key, Arc<R>)> {
        owners::resolve(&self.sets, pod.metadata.namespace.as_deref(), owner)
    }

    fn api(&self, key: &Key) -> Api<R> {
        Api::namespaced(self.context.client.clone(), &key.namespace)
    }

    async fn reconcile(&self, key: Key) -> anyhow::Result<()> {
        let Some(set) = self.sets.get(Some(&key.namespace), &key.name) else {
            self.expectations.forget(&key);
            return Ok(());
        };
        // The informer may have a pod a moment before this controller is told of it.
        let uid = key::uid(set.meta());
        let shown = |pod: &ObjectMeta| self.members.has(uid, key::uid(pod));
        if !self.doubts.settled_where::<Pod>(&key, uid, &self.context.client, shown).await? {
            self.queue.add_after(key, STALE_WAIT);
            return Ok(());
        }
        let satisfied = self.expectations.satisfied(&key, &self.queue);
        let Some(selector) = set.selector() else { return Ok(()) };
        let Pods { counted, terminating, read } = self.pods_of(&key, &set, &selector).await?;

        let failure = match satisfied && set.meta().deletion_timestamp.is_none() {
            true => self.manage(&key, &set, counted.len(), &read).await.err(),
            false => None,
        };
        let now = Timestamp::now();
        let status = sync::status(&*set, &counted, terminating, failure.as_deref(), now);
        let next = sync::next_check(&*set, &counted, &status, now);
        self.write_status(&key, &set, status).await?;
        if let Some(why) = failure {
            anyhow::bail!(why);
        }
        if let Some(wait) = next {
            self.queue.add_after(key, wait);
        }
        Ok(())
    }

    /// What the set has, after it took up orphans and let go of strays. The pods themselves are read only where something is
    /// to be done to them.
    async fn pods_of(&self, key: &Key, set: &Arc<R>, selector: &Selector) -> anyhow::Result<Pods> {
        let (meta, mut matches) = (set.meta(), matching(selector));
        let (mut counted, mut terminating, mut strays) = (vec![], 0, false);
        for member in self.members.of(key::uid(meta)) {
            let (active, matches) = (member.is_active(), matches(&member));
            terminating += usize::from(member.is_leaving() && matches);
            strays |= active && !matches;
            if active && matches {
                counted.push(member);
            }
        }
        let active = |mut pods: Vec<Arc<Pod>>| {
            pods.retain(|pod| pods::is_active(pod));
            pods
        };
        let orphans = active(self.pods.uncontrolled(&key.namespace));
        let adopts = !owners::claim(meta, selector, orphans).adopt.is_empty();
        let releases = strays && meta.deletion_timestamp.is_none();
        if !adopts && !releases && !matches!(sync::manage(set.replicas(), counted.len(), BURST), Manage::Delete(_)) {
            return Ok(Pods { counted, terminating, read: vec![] });
        }
        let claim = owners::claim(meta, selector, active(owners::candidates(&self.pods, meta)));
        let fresh = || async { Ok(self.api(key).get(&key.name).await?.meta().clone()) };
        let read = owners::carry_out(&self.context.client, &controller_ref(&**set), claim, fresh).await?;
        Ok(Pods { counted: read.iter().map(|pod| Member::of(pod)).collect(), terminating, read })
    }

    /// Creates or deletes what is missing or too much. The error is what the ReplicaFailure condition says.
    async fn manage(&self, key: &Key, set: &Arc<R>, there: usize, mine: &[Arc<Pod>]) -> Result<(), String> {
        let (client, recorder) = (&self.context.client, &self.context.recorder);
        let reference = object_reference(&**set);
        let control = PodControl { client, recorder, owner: &reference };
        match sync::manage(set.replicas(), there, BURST) {
            Manage::Nothing => Ok(()),
            Manage::Create(n) => {
                self.expectations.expect_creations(key, n);
                let pod = pod_from_template(&set.template(), &key.name, controller_ref(&**set));
                let create = |_| async {
                    let created = control.create_expected(&pod).await;
                    created.map(drop).inspect_err(|error| self.doubts.note(key, error))
                };
                let (created, error) = slow_start(n, create).await;
                (created..n).for_each(|_| self.expectations.creation_observed(key));
                error.map_or(Ok(()), |e| Err(client::message(&e)))
            }
            Manage::Delete(n) => {
                let related = self.related_pods(set);
                let now = Timestamp::now();
                let doomed = sync::pods_to_delete(mine, &related, n, now);
                for ratio in sync::age_ratios(mine, &doomed, now) {
                    metrics::REPLICAS_AGE_RATIO.with(&[]).observe(ratio);
                }
                self.expectations.expect_deletions(key, doomed.iter().map(|p| key::uid(&p.metadata).to_owned()));
                let delete = |pod| control.delete_expected(pod, &self.expectations, key);
                let results = join_all(doomed.iter().map(|pod| delete(pod))).await;
                let first = results.into_iter().find_map(Result::err);
                first.map_or(Ok(()), |e| Err(format!("unable to delete pods: {}", client::message(&e))))
            }
        }
    }

    /// The pods of all sets with the same controller: a rolled Deployment is thinned out where it is thickest.
    fn related_pods(&self, set: &R) -> Vec<Arc<Pod>> {
        let Some(owner) = controller_of(set.meta()) else { return vec![] };
        let siblings = self.sets.list_namespace(key::namespace(set.meta()));
        let same = |s: &&Arc<R>| controller_of(s.meta()).is_some_and(|o| o.uid == owner.uid);
        let selectors: Vec<_> = siblings.iter().filter(same).filter_map(|s| s.selector()).collect();
        let selected = selectors.iter().flat_map(|s| s.select(&self.pods, key::namespace(set.meta())));
        let by_name: BTreeMap<_, _> = selected.map(|pod| (key::name(&pod.metadata).to_owned(), pod)).collect();
        by_name.into_values().collect()
    }

    async fn write_status(&self, key: &Key, set: &Arc<R>, mut status: Status) -> anyhow::Result<()> {
        let generation = set.meta().generation.unwrap_or(0);
        if status == set.status() && set.status().observed_generation == generation {
            return Ok(());
        }
        status.observed_generation = generation;
        let (api, mut current) = (self.api(key), (**set).clone());
        for attempt in 1.. {
            current.set_status(status.clone());
            match api.replace_status(&key.name, &PostParams::default(), &current).await {
                Ok(_) => break,
                Err(e) if attempt < STATUS_TRIES && client::is_conflict(&e) => current = api.get(&key.name).await?,
                Err(e) if client::is_not_found(&e) => break,
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }
}
