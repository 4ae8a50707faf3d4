//! One pass over a job: observes it, and carries out what `sync` and `track` decide.

use std::{collections::HashSet, sync::Arc, time::Instant};

use controller::{controller_ref, object_reference};
use futures::future::join_all;
use k8s_openapi::{
    api::{
        batch::v1::{Job, JobStatus},
        core::v1::Pod,
    },
    jiff::Timestamp,
};
use kube::{Api, api::PostParams};

use super::{
    BATCH, Shell,
    indexes::Indexes,
    member::{self, FINALIZER},
    sync::{Done, Observed, Pass, Plan, Said},
    track::Count,
    wanted,
};
use crate::{
    metrics,
    util::{
        freshness::STALE_WAIT,
        jobs,
        key::{self, Key},
        owners,
        pod_control::{PodControl, slow_start},
        pods,
        selector::Selector,
    },
};

impl Shell {
    pub(super) async fn reconcile(&self, key: Key) -> anyhow::Result<()> {
        // What is decided by a job that is seen older than it was written could be wrong. Its change will wake it.
        if !self.written.is_fresh(&key, || [self.jobs.version()]) {
            metrics::STALE_JOBS.with(&["batch", "jobs"]).add(1);
            self.queue.add_after(key, STALE_WAIT);
            return Ok(());
        }
        let Some(job) = self.jobs.get(Some(&key.namespace), &key.name) else {
            self.expectations.forget(&key);
            self.forget(&key);
            return Ok(());
        };
        if wanted::is_managed_elsewhere(&job) {
            return Ok(());
        }
        if jobs::is_finished(&job) {
            self.forget(&key);
            return Ok(());
        }
        if wanted::is_of_unknown_mode(&job) {
            let message = "Skipped Job sync because completion mode is unknown";
            self.say(&job, vec![Said("Warning", "UnknownCompletionMode".into(), message.into())]);
            return Ok(());
        }
        if !self.doubts.settled(&key, key::uid(&job.metadata), &self.context.client, &self.pods).await? {
            self.queue.add_after(key, STALE_WAIT);
            return Ok(());
        }
        let begun = Instant::now();
        let mut action = "reconciling";
        let outcome = self.pass(&key, &job, &mut action).await;
        let labels = [wanted::mode(&job), if outcome.is_ok() { "success" } else { "error" }, action];
        metrics::JOB_SYNCS.with(&labels).add(1);
        metrics::JOB_SYNC_SECONDS.with(&labels).observe(begun.elapsed().as_secs_f64());
        outcome
    }

    /// One pass; says what it did about pods.
    async fn pass(&self, key: &Key, job: &Job, action: &mut &'static str) -> anyhow::Result<()> {
        // Before the pods are listed: one more that is seen in between makes the next pass, and one whose finalizer is seen
        // to be gone in between, but is listed with it, must not be counted again.
        let satisfied = self.expectations.satisfied(key, &self.queue);
        let removing = self.memory.removing(key);
        let pods = self.pods_of(key, job).await?;
        let failures = self.memory.failures(key);
        let now = Timestamp::now();
        let observed = Observed { job, pods, removing: &removing, satisfied, failures, now };
        let (mut pass, plan) = Pass::begin(observed);
        if let Some(wait) = pass.check_in {
            self.queue.add_after(key.clone(), wait);
        }
        *action = match &plan {
            Plan::Create(_) => "pods_created",
            Plan::Remove(_) => "pods_deleted",
            Plan::Nothing => "tracking",
            Plan::End(_) | Plan::Later(_) | Plan::Wait => "reconciling",
        };
        let (done, failure) = self.carry_out(key, job, &pass, &plan).await;
        let said = pass.conclude(&plan, done);
        self.say(job, said);
        self.track(key, job, pass).await?;
        failure.map_or(Ok(()), Err)
    }

    /// Those that the job controls, and those that it takes up now.
    async fn pods_of(&self, key: &Key, job: &Job) -> anyhow::Result<Vec<Arc<Pod>>> {
        let selector = job.spec.as_ref().and_then(|s| s.selector.as_ref()).map(Selector::new);
        let Some(selector) = selector.unwrap_or_default() else {
            anyhow::bail!("couldn't convert Job selector of {key:?}");
        };
        let mut candidates = self.pods.controlled_by(&key.namespace, key::uid(&job.metadata));
        if !selector.is_empty() {
            candidates.extend(self.pods.uncontrolled(&key.namespace));
        }
        let claim = owners::claim(&job.metadata, &selector, candidates);
        let fresh = || async { Ok(self.api(key).get(&key.name).await?.metadata) };
        owners::carry_out_with(&self.context.client, &controller_ref(job), &[FINALIZER], claim, fresh).await
    }

    fn api(&self, key: &Key) -> Api<Job> {
        Api::namespaced(self.context.client.clone(), &key.namespace)
    }

    fn say(&self, job: &Job, said: Vec<Said>) {
        for Said(kind, reason, message) in said {
            self.context.recorder.event(&object_reference(job), kind, &reason, message);
        }
    }

    async fn carry_out(&self, key: &Key, job: &Job, pass: &Pass, plan: &Plan) -> (Done, Option<anyhow::Error>) {
        match plan {
            Plan::End(pods) => self.delete(job, pods, |_| {}, false).await,
            Plan::Remove(pods) => {
                self.expectations.expect_deletions(key, pods.iter().map(|p| key::uid(&p.metadata).to_owned()));
                // The informer will not see it go.
                let not_deleted = |pod: &Pod| self.expectations.deletion_observed(key, key::uid(&pod.metadata));
                self.delete(job, pods, not_deleted, true).await
            }
            Plan::Create(indexes) => self.create(key, job, pass, indexes).await,
            Plan::Later(wait) => {
                self.queue.add_after(key.clone(), (*wait).max(BATCH));
                Default::default()
            }
            Plan::Wait | Plan::Nothing => Default::default(),
        }
    }

    /// Deletes pods, with their finalizers if they are not to be counted. One that is gone already counts as deleted.
    async fn delete(
        &self,
        job: &Job,
        pods: &[Arc<Pod>],
        not_deleted: impl Fn(&Pod),
        release: bool,
    ) -> (Done, Option<anyhow::Error>) {
        let owner = object_reference(job);
        let (client, recorder) = (&self.context.client, &self.context.recorder);
        let control = &PodControl { client, recorder, owner: &owner };
        let delete = |pod: Arc<Pod>| async move {
            if release && member::has_finalizer(&pod) {
                self.remove_finalizer(&pod).await?;
            }
            control.delete(key::name(&pod.metadata)).await
        };
        let results = join_all(pods.iter().cloned().map(delete)).await;
        let (mut done, mut failure) = (Done::default(), None);
        for (pod, result) in pods.iter().zip(results) {
            if result.is_err() {
                not_deleted(pod);
            }
            match result {
                Err(e) if !client::is_not_found(&e) => {
                    let why = anyhow::anyhow!("unable to delete pods: {}", client::message(&e));
                    failure.get_or_insert(why);
                }
                _ => {
                    done.deleted += 1;
                    done.ready += i32::from(pods::is_ready(pod));
                }
            }
        }
        (done, failure)
    }

    async fn create(
        &self,
        key: &Key,
        job: &Job,
        pass: &Pass,
        indexes: &[Option<i32>],
    ) -> (Done, Option<anyhow::Error>) {
        let owner = object_reference(job);
        let (client, recorder) = (&self.context.client, &self.context.recorder);
        let control = &PodControl { client, recorder, owner: &owner };
        self.expectations.expect_creations(key, indexes.len());
        let create = |i: usize| {
            let index = indexes.get(i).copied().flatten();
            let replaced = index.and_then(|index| pass.indexes.awaiting_successor.get(&index));
            let pod = member::new_pod(job, &pass.wanted, index, replaced);
            async move {
                let created = control.create_expected(&pod).await;
                created.map(drop).inspect_err(|error| self.doubts.note(key, error))
            }
        };
        let (created, error) = slow_start(indexes.len(), create).await;
        (created..indexes.len()).for_each(|_| self.expectations.creation_observed(key));
        let reason = pass.wanted.why_created(pass.status.failed.unwrap_or(0) > 0, pass.terminating > 0);
        for (status, pods) in [("succeeded", created), ("failed", usize::from(error.is_some()))] {
            metrics::JOB_PODS_CREATED.with(&[reason, status]).add(pods as u64);
        }
        (Done { created: created as i32, ..Done::default() }, error.map(Into::into))
    }

    /// Counts what has ended. The order of the writes is what makes each pod count once.
    async fn track(&self, key: &Key, job: &Job, mut pass: Pass) -> anyhow::Result<()> {
        let mut current = job.clone();
        let mut count = pass.count();
        if pass.changed {
            self.write_status(key, &mut current, &mut pass).await?;
            self.memory.set_failures(key, pass.failures.clone());
        }
        let failure = self.release(key, &mut count).await;
        pass.settle(&count.with_finalizer);
        if let Some(e) = failure {
            // What was achieved is kept.
            if pass.changed {
                self.write_status(key, &mut current, &mut pass).await?;
            }
            return Err(e.into());
        }
        let said = pass.finish(&count);
        if pass.changed {
            self.write_status(key, &mut current, &mut pass).await?;
        }
        self.say(&current, said.unwrap_or_default());
        Ok(())
    }

    async fn write_status(&self, key: &Key, job: &mut Job, pass: &mut Pass) -> anyhow::Result<()> {
        let was_finished = jobs::is_finished(job);
        let before = job.status.replace(pass.status.clone()).unwrap_or_default();
        let written = self.api(key).replace_status(&key.name, &PostParams::default(), job).await?;
        self.written.note(key, 0, &written.metadata);
        tally(job, &before, was_finished);
        for action in pass.handled.drain(..) {
            metrics::JOB_FAILURES_HANDLED.with(&[action]).add(1);
        }
        job.metadata.resource_version = written.metadata.resource_version;
        pass.changed = false;
        Ok(())
    }

    /// Removes finalizers, and returns the first failure. A pod that is gone has none any more.
    async fn release(&self, key: &Key, count: &mut Count) -> Option<kube::Error> {
        let uids: HashSet<String> = count.release.iter().map(|p| key::uid(&p.metadata).to_owned()).collect();
        if uids.is_empty() {
            return None;
        }
        self.memory.expect_released(key, uids);
        let results = join_all(count.release.iter().map(|pod| self.remove_finalizer(pod))).await;
        let mut failure = None;
        for (pod, result) in count.release.iter().zip(results) {
            let uid = key::uid(&pod.metadata);
            if result.is_err() {
                self.memory.released(key, uid);
            }
            match result {
                Err(e) if !client::is_not_found(&e) => {
                    failure.get_or_insert(e);
                }
                _ => {
                    count.with_finalizer.remove(uid);
                }
            }
        }
        failure
    }
}

/// Counts what a status that was written has more than the one before.
fn tally(job: &Job, before: &JobStatus, was_finished: bool) {
    let mode = wanted::mode(job);
    let now = job.status.as_ref();
    let pods = [
        ("succeeded", before.succeeded, now.and_then(|s| s.succeeded)),
        ("failed", before.failed, now.and_then(|s| s.failed)),
    ];
    for (result, before, now) in pods {
        let more = u64::try_from(now.unwrap_or(0) - before.unwrap_or(0)).unwrap_or(0);
        if more > 0 {
            metrics::JOB_PODS_FINISHED.with(&[mode, result]).add(more);
        }
    }
    if mode == "Indexed" {
        let spec = job.spec.as_ref();
        let most = spec.and_then(|spec| spec.completions).unwrap_or(0);
        let limit = spec.and_then(|spec| spec.backoff_limit_per_index).map_or("global", |_| "perIndex");
        let total = |text: Option<&String>| Indexes::parse(text.map_or("", String::as_str), most).total();
        for (status, before, now) in [
            ("succeeded", before.completed_indexes.as_ref(), now.and_then(|s| s.completed_indexes.as_ref())),
            ("failed", before.failed_indexes.as_ref(), now.and_then(|s| s.failed_indexes.as_ref())),
        ] {
            let more = u64::try_from(total(now) - total(before)).unwrap_or(0);
            if more > 0 {
                metrics::JOB_INDEXES.with(&[status, limit]).add(more);
            }
        }
    }
    if let Some(end) = jobs::finished(job).filter(|_| !was_finished) {
        let result = if end.type_ == "Complete" { "succeeded" } else { "failed" };
        metrics::JOBS_FINISHED.with(&[mode, result, end.reason.as_deref().unwrap_or_default()]).add(1);
    }
}
