//! CronJobs: a job at each time of a schedule.
//!
//! Upstream: `pkg/controller/cronjob` (its second version). A job's name is made of the minute it is for, so that it is
//! made once also when the controller is stopped between making it and saying so.

mod schedule;
mod sync;
#[cfg(test)]
mod tests;

use std::{collections::HashSet, sync::Arc};

use client::{Change, Informer};
use controller::{Queue, controller_of, object_reference, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::{
    api::batch::v1::{CronJob, CronJobStatus, Job},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{Timestamp, tz::TimeZone},
};
use kube::{
    Api, Resource,
    api::{DeleteParams, PostParams},
};

use crate::{
    context::Context,
    metrics,
    util::{
        key::{self, Key},
        owners,
    },
};
use machinery::cron;
use sync::{Decision, Observed, Said};

/// Runs the CronJob controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

struct Shell {
    context: Context,
    crons: Informer<CronJob>,
    jobs: Informer<Job>,
    queue: Queue<Key>,
}

async fn run(context: Context) -> anyhow::Result<()> {
    let (crons, jobs) = (context.informers.of::<CronJob>(), context.informers.of::<Job>());
    let (cancel, workers) = (context.cancel.clone(), context.config.concurrent_cron_job_syncs);
    let shell = Arc::new(Shell { context, crons, jobs, queue: Queue::new() });
    let on_cron = shell.clone();
    shell.crons.on_change(move |change| on_cron.cron_changed(change));
    let on_job = shell.clone();
    shell.jobs.on_change(move |change| on_job.job_changed(change));
    shell.crons.synced().await;
    shell.jobs.synced().await;
    run_workers(shell.context.name, &shell.queue, workers, cancel, |key| shell.reconcile(key)).await;
    Ok(())
}

impl Shell {
    fn cron_changed(&self, change: &Change<CronJob>) {
        let key = Key::of(change.object().meta());
        let Change::Updated { old, new } = change else { return self.queue.add(key) };
        let when = |cron: &CronJob| (cron.spec.schedule.clone(), cron.spec.time_zone.clone());
        if when(old) == when(new) {
            return self.queue.add(key);
        }
        // Nothing is missed of a schedule that was not there: the next look is at its next time.
        match cron::parse(&schedule::text(new)) {
            Ok(schedule) => {
                let wait = schedule::next_look(new, Timestamp::now(), &schedule, &TimeZone::system());
                self.queue.add_after(key, wait.unwrap_or_default());
            }
            Err(_) => {
                let why = format!("unparseable schedule for cronjob: {}", new.spec.schedule);
                self.say(new, [Said("Warning", "UnParseableCronJobSchedule", why)]);
            }
        }
    }

    fn job_changed(&self, change: &Change<Job>) {
        let old = match change {
            Change::Updated { old, .. } => Some(old),
            _ => None,
        };
        for job in old.into_iter().chain([change.object()]) {
            let namespace = job.metadata.namespace.as_deref();
            let cron = controller_of(&job.metadata).and_then(|owner| owners::resolve(&self.crons, namespace, owner));
            cron.into_iter().for_each(|(key, _)| self.queue.add(key));
        }
    }

    fn crons_of(&self, key: &Key) -> Api<CronJob> {
        Api::namespaced(self.context.client.clone(), &key.namespace)
    }

    fn jobs_of(&self, key: &Key) -> Api<Job> {
        Api::namespaced(self.context.client.clone(), &key.namespace)
    }

    fn say(&self, cron: &CronJob, said: impl IntoIterator<Item = Said>) {
        for Said(kind, reason, message) in said {
            self.context.recorder.event(&object_reference(cron), kind, reason, message);
        }
    }

    async fn reconcile(&self, key: Key) -> anyhow::Result<()> {
        let Some(cron) = self.crons.get(Some(&key.namespace), &key.name) else { return Ok(()) };
        let mut cron = (*cron).clone();
        let jobs = self.jobs.controlled_by(&key.namespace, key::uid(&cron.metadata));
        if sync::unknown(&cron, &jobs).next().is_some() {
            // Who made it may have said so since.
            cron = self.crons_of(&key).get(&key.name).await?;
        }
        let mut changed = false;
        for job in sync::beyond_history(&cron, &jobs) {
            changed |= self.delete(&key, &mut cron, &job).await;
        }
        let missing = self.missing(&key, &cron, &jobs).await?;
        let observed = Observed { cron: &cron, jobs: &jobs, missing, now: Timestamp::now(), local: TimeZone::system() };
        let Decision { mut status, changed: more, said, start, replace, look_in } = sync::sync(&observed);
        changed |= more;
        self.say(&cron, said);
        let mut outcome = Ok(());
        if let Some(at) = start {
            outcome = self.start(&key, &mut cron, &mut status, at, replace, &mut changed).await;
        }
        if changed {
            cron.status = Some(status);
            self.crons_of(&key).replace_status(&key.name, &PostParams::default(), &cron).await?;
        }
        outcome?;
        if let Some(wait) = look_in {
            self.queue.add_after(key, wait);
        }
        Ok(())
    }

    /// Of the active jobs that are not seen, those that are not on the server either.
    async fn missing(&self, key: &Key, cron: &CronJob, jobs: &[Arc<Job>]) -> anyhow::Result<HashSet<String>> {
        let mut missing = HashSet::new();
        for reference in sync::unseen(cron, jobs) {
            let name = reference.name.as_deref().unwrap_or_default();
            if self.jobs_of(key).get_opt(name).await?.is_none() {
                missing.extend(reference.uid.clone());
            }
        }
        Ok(missing)
    }

    /// Makes the job of that time, in place of the active ones if it replaces them.
    async fn start(
        &self,
        key: &Key,
        cron: &mut CronJob,
        status: &mut CronJobStatus,
        at: Timestamp,
        replace: bool,
        changed: &mut bool,
    ) -> anyhow::Result<()> {
        if replace {
            for reference in status.active.clone().into_iter().flatten() {
                let name = reference.name.as_deref().unwrap_or_default();
                let job = match self.jobs_of(key).get(name).await {
                    Ok(job) => job,
                    Err(e) => {
                        let why = format!("Get job: {}", client::message(&e));
                        self.say(cron, [Said("Warning", "FailedGet", why)]);
                        return Err(e.into());
                    }
                };
                if !self.delete(key, cron, &job).await {
                    anyhow::bail!("could not replace job {}/{name}", key.namespace);
                }
                sync::deactivate(status, key::uid(&job.metadata));
                *changed = true;
            }
        }
        let new = sync::new_job(cron, at);
        let job = match self.jobs_of(key).create(&PostParams::default(), &new).await {
            Ok(job) => {
                let why = format!("Created job {}", key::name(&job.metadata));
                self.say(cron, [Said("Normal", "SuccessfulCreate", why)]);
                if let Some(made) = &job.metadata.creation_timestamp {
                    metrics::CRON_JOB_SKEW.with(&[]).observe(made.0.duration_since(at).as_secs_f64());
                }
                job
            }
            Err(e) if client::is_already_exists(&e) => {
                let job = self.jobs_of(key).get(key::name(&new.metadata)).await?;
                let uid = key::uid(&job.metadata);
                let mine = controller_of(&job.metadata).is_some_and(|o| Some(&o.uid) == cron.metadata.uid.as_ref());
                // Another's job; or one whose start was said already.
                if !mine || sync::is_active(status, uid) {
                    return Ok(());
                }
                job
            }
            Err(e) => {
                if !client::is_namespace_terminating(&e) {
                    let why = format!("Error creating job: {}", client::message(&e));
                    self.say(cron, [Said("Warning", "FailedCreate", why)]);
                }
                return Err(e.into());
            }
        };
        status.active.get_or_insert_default().push(object_reference(&job));
        status.last_schedule_time = Some(Time(at));
        *changed = true;
        Ok(())
    }

    /// Deletes a job and its pods, and takes it from the active ones.
    async fn delete(&self, key: &Key, cron: &mut CronJob, job: &Job) -> bool {
        let name = key::name(&job.metadata);
        match self.jobs_of(key).delete(name, &DeleteParams::background()).await {
            Ok(_) => {
                sync::deactivate(cron.status.get_or_insert_default(), key::uid(&job.metadata));
                self.say(cron, [Said("Normal", "SuccessfulDelete", format!("Deleted job {name}"))]);
                true
            }
            Err(e) => {
                let why = format!("Deleted job: {}", client::message(&e));
                self.say(cron, [Said("Warning", "FailedDelete", why)]);
                false
            }
        }
    }
}
