//! Jobs: pods that run to their end, so many times or once for each index.
//!
//! Upstream: `pkg/controller/job`. Decisions are in `sync`, `manage` and `track`; this is what observes and wakes. Pod events
//! wake a job a second later, so that one pass takes many of them.

mod backoff;
mod indexes;
mod manage;
mod member;
mod memory;
mod orphans;
mod pass;
mod policies;
mod sync;
#[cfg(test)]
mod tests;
mod track;
mod wanted;

use std::{sync::Arc, time::Duration};

use client::{Change, Informer};
use controller::{Queue, controller_of, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::{
    api::{batch::v1::Job, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
    jiff::{SignedDuration, Timestamp},
};
use kube::Resource;

use crate::{
    context::Context,
    metrics,
    util::{
        doubts::Doubts,
        expectations::Expectations,
        freshness::Freshness,
        jobs,
        key::{self, Key},
        owners, pods,
        selector::Selector,
    },
};
use memory::Memory;
use orphans::Orphans;

/// How long pod events are gathered.
const BATCH: Duration = Duration::from_secs(1);
/// How long a failed pass waits for the next one, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Runs the job controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

struct Shell {
    context: Context,
    jobs: Informer<Job>,
    pods: Informer<Pod>,
    queue: Queue<Key>,
    orphans: Queue<Orphans>,
    expectations: Expectations,
    memory: Memory,
    doubts: Doubts,
    /// Of its status.
    written: Freshness<1>,
}

async fn run(context: Context) -> anyhow::Result<()> {
    let (jobs, pods) = (context.informers.of::<Job>(), context.informers.of::<Pod>());
    let (cancel, workers) = (context.cancel.clone(), context.config.concurrent_job_syncs);
    let shell = Arc::new(Shell {
        context,
        jobs,
        pods,
        queue: Queue::with_retries(RETRY.0, RETRY.1),
        orphans: Queue::with_retries(RETRY.0, RETRY.1),
        expectations: Expectations::default(),
        memory: Memory::default(),
        doubts: Doubts::default(),
        written: Freshness::default(),
    });
    let on_job = shell.clone();
    shell.jobs.on_change(move |change| on_job.job_changed(change));
    let on_pod = shell.clone();
    shell.pods.on_change(move |change| on_pod.pod_changed(change));
    shell.jobs.synced().await;
    shell.pods.synced().await;
    let reconcile = |key| shell.reconcile(key);
    let release = |orphans| shell.release_orphans(orphans);
    futures::join!(
        run_workers(shell.context.name, &shell.queue, workers, cancel.clone(), reconcile),
        run_workers("job-orphan-pods", &shell.orphans, workers, cancel.clone(), release),
    );
    Ok(())
}

impl Shell {
    fn job_changed(&self, change: &Change<Job>) {
        let job = change.object();
        let key = Key::of(job.meta());
        match change {
            Change::Added(_) => {
                if let Some(other) = wanted::manager_elsewhere(job) {
                    metrics::JOBS_ELSEWHERE.with(&[other]).add(1);
                }
                self.queue.add(key);
            }
            Change::Deleted(_) => {
                self.forget(&key);
                self.wake_orphans(job);
                self.queue.add(key);
            }
            Change::Updated { .. } if jobs::is_finished(job) => {
                self.forget(&key);
                // All its pods should have been released before.
                self.wake_orphans(job);
            }
            Change::Updated { old, new } => {
                let delay = if old.metadata.generation == new.metadata.generation { BATCH } else { Duration::ZERO };
                self.queue.add_after(key.clone(), delay);
                let deadline = |job: &Job| job.spec.as_ref().and_then(|s| s.active_deadline_seconds);
                let start = new.status.as_ref().and_then(|s| s.start_time.as_ref());
                if let (Some(start), Some(seconds)) = (start, deadline(new))
                    && deadline(old) != Some(seconds)
                {
                    let passed = Timestamp::now().duration_since(start.0);
                    let left = SignedDuration::from_secs(seconds).saturating_sub(passed);
                    self.queue.add_after(key, Duration::try_from(left).unwrap_or_default());
                }
            }
        }
    }

    fn pod_changed(&self, change: &Change<Pod>) {
        member::tally_tracked(change);
        match change {
            Change::Added(pod) if pods::is_terminating(pod) => self.pod_going(pod, false),
            Change::Added(pod) => match controller_of(&pod.metadata) {
                Some(owner) => {
                    if let Some((key, _)) = self.resolve(pod, owner) {
                        self.expectations.creation_observed(&key);
                        self.queue.add_after(key, BATCH);
                    }
                }
                None => self.orphan_seen(pod, true),
            },
            Change::Updated { old, new } => self.pod_updated(old, new),
            Change::Deleted(pod) => self.pod_going(pod, true),
        }
    }

    fn pod_updated(&self, old: &Pod, new: &Pod) {
        if pods::is_terminating(new) {
            return self.pod_going(new, false);
        }
        let released = !member::has_finalizer(new);
        let (was, is) = (controller_of(&old.metadata), controller_of(&new.metadata));
        let changed = was != is;
        for owner in was.filter(|_| changed).into_iter().chain(is) {
            if let Some((key, _)) = self.resolve(new, owner) {
                if released {
                    self.memory.released(&key, key::uid(&new.metadata));
                }
                self.queue.add_after(key, BATCH);
            }
        }
        if is.is_none() {
            self.orphan_seen(new, changed || old.metadata.labels != new.metadata.labels);
        }
    }

    /// A pod is being deleted, or is gone.
    fn pod_going(&self, pod: &Pod, gone: bool) {
        let finalizer = member::has_finalizer(pod);
        let job = controller_of(&pod.metadata).and_then(|owner| self.resolve(pod, owner));
        match job.filter(|(_, job)| !jobs::is_finished(job)) {
            Some((key, _)) => {
                let uid = key::uid(&pod.metadata);
                self.expectations.deletion_observed(&key, uid);
                if gone || !finalizer {
                    self.memory.released(&key, uid);
                }
                self.queue.add_after(key, BATCH);
            }
            // No job will remove it.
            None if finalizer && !gone => self.orphans.add(Orphans::Pod(Key::of(&pod.metadata))),
            None => {}
        }
    }

    /// A pod that nobody controls keeps no finalizer, and interests every job that selects it.
    fn orphan_seen(&self, pod: &Pod, adoptable: bool) {
        if member::has_finalizer(pod) {
            self.orphans.add(Orphans::Pod(Key::of(&pod.metadata)));
        }
        if !adoptable || pod.metadata.labels.is_none() {
            return;
        }
        let interested = owners::selecting(&self.jobs, &pod.metadata, selector);
        interested.into_iter().for_each(|key| self.queue.add_after(key, BATCH));
    }

    fn forget(&self, job: &Key) {
        self.memory.forget(job);
        self.doubts.forget(job);
        self.written.forget(job);
    }

    fn wake_orphans(&self, job: &Job) {
        self.orphans.add(Orphans::of(job));
    }

    fn resolve(&self, pod: &Pod, owner: &OwnerReference) -> Option<(Key, Arc<Job>)> {
        owners::resolve(&self.jobs, pod.metadata.namespace.as_deref(), owner)
    }
}

/// Nothing if the selector is invalid, or empty: it would select every pod.
fn selector(job: &Job) -> Option<Selector> {
    let selector = Selector::new(job.spec.as_ref()?.selector.as_ref()?)?;
    (!selector.is_empty()).then_some(selector)
}
