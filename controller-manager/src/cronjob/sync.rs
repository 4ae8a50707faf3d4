//! The decisions about a CronJob: which of its jobs are told of, which are too many, and whether one starts now.

use std::{collections::HashSet, sync::Arc, time::Duration};

use controller::controller_ref;
use k8s_openapi::{
    api::{
        batch::v1::{CronJob, CronJobStatus, Job},
        core::v1::ObjectReference,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
    jiff::{Timestamp, tz::TimeZone},
};
use machinery::{cron, go};

use super::schedule::{self, Missed};
use crate::util::{jobs, key};

const SCHEDULED_AT: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// Something to tell of the CronJob: type, reason and message of an event.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Said(pub(super) &'static str, pub(super) &'static str, pub(super) String);

/// What is seen of a CronJob.
pub(super) struct Observed<'a> {
    pub(super) cron: &'a CronJob,
    /// Those that it controls.
    pub(super) jobs: &'a [Arc<Job>],
    /// UIDs of active jobs that the server does not have either.
    pub(super) missing: HashSet<String>,
    pub(super) now: Timestamp,
    /// The time zone of a schedule without one.
    pub(super) local: TimeZone,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Decision {
    pub(super) status: CronJobStatus,
    pub(super) changed: bool,
    pub(super) said: Vec<Said>,
    /// Start the job of this time.
    pub(super) start: Option<Timestamp>,
    /// Delete the active jobs first.
    pub(super) replace: bool,
    /// Look again, if it succeeds.
    pub(super) look_in: Option<Duration>,
}

fn active(status: &CronJobStatus) -> impl Iterator<Item = &ObjectReference> {
    status.active.iter().flatten()
}

pub(super) fn is_active(status: &CronJobStatus, uid: &str) -> bool {
    active(status).any(|r| r.uid.as_deref() == Some(uid))
}

/// Takes a job from the list of active ones.
pub(super) fn deactivate(status: &mut CronJobStatus, uid: &str) {
    let mut active = status.active.take().unwrap_or_default();
    active.retain(|r| r.uid.as_deref() != Some(uid));
    status.active = (!active.is_empty()).then_some(active);
}

/// Jobs that run, and are not known to be active: the status may be behind.
pub(super) fn unknown<'a>(cron: &CronJob, jobs: &'a [Arc<Job>]) -> impl Iterator<Item = &'a Arc<Job>> {
    let status = cron.status.clone().unwrap_or_default();
    jobs.iter().filter(move |j| !jobs::is_finished(j) && !is_active(&status, key::uid(&j.metadata)))
}

/// Active jobs that are not seen.
pub(super) fn unseen<'a>(cron: &'a CronJob, jobs: &'a [Arc<Job>]) -> impl Iterator<Item = &'a ObjectReference> {
    let seen = |r: &ObjectReference| jobs.iter().any(|j| j.metadata.uid == r.uid);
    cron.status.iter().flat_map(active).filter(move |r| !seen(r))
}

/// Finished jobs beyond what the history keeps, the oldest first.
pub(super) fn beyond_history(cron: &CronJob, jobs: &[Arc<Job>]) -> Vec<Arc<Job>> {
    let spec = &cron.spec;
    let limits = [("Complete", spec.successful_jobs_history_limit), ("Failed", spec.failed_jobs_history_limit)];
    let oldest = |(kind, limit): (&str, Option<i32>)| {
        let is = |j: &&Arc<Job>| jobs::finished(j).is_some_and(|c| c.type_ == kind);
        let mut ended: Vec<&Arc<Job>> = jobs.iter().filter(is).collect();
        let start = |j: &Job| j.status.as_ref().and_then(|s| s.start_time.as_ref()).map(|t| t.0);
        ended.sort_by_key(|j| (start(j).is_none(), start(j), j.metadata.name.clone()));
        let kept = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(0));
        let surplus = ended.len().saturating_sub(kept);
        ended.into_iter().take(surplus).cloned().collect::<Vec<_>>()
    };
    limits.into_iter().flat_map(oldest).collect()
}

/// Decides, once the surplus of the history was deleted.
pub(super) fn sync(observed: &Observed<'_>) -> Decision {
    let mut decision = Decision { status: observed.cron.status.clone().unwrap_or_default(), ..Decision::default() };
    look_at_jobs(observed, &mut decision);
    if observed.cron.metadata.deletion_timestamp.is_none() {
        look_at_time(observed, &mut decision);
    }
    decision
}

fn look_at_jobs(observed: &Observed<'_>, decision: &mut Decision) {
    let Decision { status, changed, said, .. } = decision;
    for job in observed.jobs {
        let (uid, name) = (key::uid(&job.metadata), key::name(&job.metadata));
        let known = is_active(status, uid);
        let Some(end) = jobs::finished(job) else {
            if !known {
                let why = format!("Saw a job that the controller did not create or forgot: {name}");
                said.push(Said("Warning", "UnexpectedJob", why));
            }
            continue;
        };
        if known {
            deactivate(status, uid);
            let why = format!("Saw completed job: {name}, condition: {}", end.type_);
            said.push(Said("Normal", "SawCompletedJob", why));
            *changed = true;
        }
        let completed = job.status.as_ref().and_then(|s| s.completion_time.as_ref());
        if end.type_ == "Complete" && completed > status.last_successful_time.as_ref() {
            status.last_successful_time = completed.cloned();
            *changed = true;
        }
    }
    let missing = |r: &&ObjectReference| r.uid.as_ref().is_some_and(|uid| observed.missing.contains(uid));
    for reference in active(&status.clone()).filter(missing) {
        let name = reference.name.as_deref().unwrap_or_default();
        said.push(Said("Normal", "MissingJob", format!("Active job went missing: {name}")));
        deactivate(status, reference.uid.as_deref().unwrap_or_default());
        *changed = true;
    }
}

fn look_at_time(observed: &Observed<'_>, decision: &mut Decision) {
    let Observed { cron, now, local, .. } = observed;
    let spec = &cron.spec;
    let mut warn = |reason, why: String| decision.said.push(Said("Warning", reason, why));
    if let Some(zone) = &spec.time_zone
        && let Err(why) = cron::location(zone)
    {
        return warn("UnknownTimeZone", format!("invalid timeZone: {}: {why}", go::quote(zone)));
    }
    if spec.suspend == Some(true) {
        return;
    }
    if spec.schedule.contains("TZ") {
        let why = format!(
            "CRON_TZ or TZ used in schedule {} is not officially supported, see \
             https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details",
            go::quote(&spec.schedule)
        );
        warn("UnsupportedSchedule", why);
    }
    let schedule = match cron::parse(&schedule::text(cron)) {
        Ok(schedule) => schedule,
        Err(why) => {
            let why = format!("unparseable schedule: {} : {why}", go::quote(&spec.schedule));
            return warn("UnparseableSchedule", why);
        }
    };
    let due = match schedule::due(cron, *now, &schedule, local, true) {
        Ok(due) => due,
        Err(why) => return warn("InvalidSchedule", format!("invalid schedule: {} : {why}", spec.schedule)),
    };
    decision.look_in = schedule::next_look(cron, *now, &schedule, local);
    let Some(at) = due.newest else { return };
    if due.missed == Missed::Many {
        let why =
            "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew".to_owned();
        warn("TooManyMissedTimes", why);
    }
    let status = &decision.status;
    let name = job_name(cron, at);
    let same = |r: &ObjectReference| r.name.as_ref() == Some(&name) && r.namespace == cron.metadata.namespace;
    if active(status).any(same) || status.last_schedule_time.as_ref().is_some_and(|last| last.0 == at) {
        return;
    }
    let policy = spec.concurrency_policy.as_deref();
    let running = active(status).next().is_some();
    if running && policy == Some("Forbid") {
        let why = "Not starting job because prior execution is running and concurrency policy is Forbid".to_owned();
        return decision.said.push(Said("Normal", "JobAlreadyActive", why));
    }
    decision.replace = running && policy == Some("Replace");
    decision.start = Some(at);
}

/// One name for one start: it can't be made twice.
pub(super) fn job_name(cron: &CronJob, at: Timestamp) -> String {
    format!("{}-{}", key::name(&cron.metadata), at.as_second().div_euclid(60))
}

/// The job of that time.
pub(super) fn new_job(cron: &CronJob, at: Timestamp) -> Job {
    let spec = cron.spec.clone();
    let template = spec.job_template.metadata.unwrap_or_default();
    let zone = spec.time_zone.and_then(|zone| cron::location(&zone).ok().flatten()).unwrap_or(TimeZone::UTC);
    let local = at.to_zoned(zone);
    let offset = if local.offset().is_zero() { "Z".into() } else { local.strftime("%:z").to_string() };
    let mut annotations = template.annotations.unwrap_or_default();
    annotations.insert(SCHEDULED_AT.into(), format!("{}{offset}", local.strftime("%Y-%m-%dT%H:%M:%S")));
    Job {
        metadata: ObjectMeta {
            name: Some(job_name(cron, at)),
            namespace: cron.metadata.namespace.clone(),
            labels: template.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![controller_ref(cron)]),
            ..Default::default()
        },
        spec: spec.job_template.spec,
        status: None,
    }
}
