//! How long a finished job has to live.

use std::time::Duration;

use k8s_openapi::{
    api::batch::v1::Job,
    jiff::{SignedDuration, Timestamp},
};

use crate::util::{jobs, key};

/// What is left of a job's life.
#[derive(Debug, PartialEq)]
pub(super) enum Life {
    /// It does not end by time: the job runs, has no time to live, or is being deleted.
    Endless,
    Left(Duration),
    Over,
}

fn seconds(job: &Job) -> Option<i32> {
    job.spec.as_ref()?.ttl_seconds_after_finished
}

/// Finished, and with a time to live.
pub(super) fn is_mortal(job: &Job) -> bool {
    job.metadata.deletion_timestamp.is_none() && seconds(job).is_some() && jobs::is_finished(job)
}

/// When its life was over.
pub(super) fn end(job: &Job) -> Option<Timestamp> {
    let finished = jobs::finished(job)?.last_transition_time.as_ref()?.0;
    finished.checked_add(SignedDuration::from_secs(seconds(job)?.into())).ok()
}

/// What is left of it.
///
/// # Errors
/// The job does not say when it finished.
pub(super) fn life(job: &Job, now: Timestamp) -> Result<Life, String> {
    let (true, Some(seconds), Some(end)) = (is_mortal(job), seconds(job), jobs::finished(job)) else {
        return Ok(Life::Endless);
    };
    // Go's time that was never set is far before any job.
    let Some(end) = end.last_transition_time.as_ref().map(|t| t.0).filter(|t| *t > Timestamp::UNIX_EPOCH) else {
        let (namespace, name) = (key::namespace(&job.metadata), key::name(&job.metadata));
        return Err(format!("unable to find the time when the Job {namespace}/{name} finished"));
    };
    let left = SignedDuration::from_secs(i64::from(seconds)) - now.duration_since(end);
    match Duration::try_from(left) {
        Ok(left) if !left.is_zero() => Ok(Life::Left(left)),
        _ => Ok(Life::Over),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn job(ttl: Value, conditions: Value) -> Job {
        let spec = json!({"ttlSecondsAfterFinished": ttl, "template": {}});
        let meta = json!({"name": "j", "namespace": "n"});
        serde_json::from_value(json!({"metadata": meta, "spec": spec, "status": {"conditions": conditions}})).unwrap()
    }

    fn ended(kind: &str) -> Value {
        json!([{"type": "X", "status": "True"},
            {"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T12:00:00Z"}])
    }

    #[test]
    fn a_job_goes_when_its_time_is_over() {
        let left = |seconds| Ok(Life::Left(Duration::from_secs(seconds)));
        for (ttl, conditions, now, want) in [
            (Value::Null, ended("Complete"), "2026-01-02T00:00:00Z", Ok(Life::Endless)),
            (json!(10), json!([]), "2026-01-02T00:00:00Z", Ok(Life::Endless)),
            (json!(10), ended("Suspended"), "2026-01-02T00:00:00Z", Ok(Life::Endless)),
            (json!(10), ended("Complete"), "2026-01-01T12:00:00Z", left(10)),
            (json!(10), ended("Failed"), "2026-01-01T12:00:09Z", left(1)),
            (json!(10), ended("Failed"), "2026-01-01T12:00:10Z", Ok(Life::Over)),
            (json!(10), ended("Complete"), "2026-01-01T12:00:11Z", Ok(Life::Over)),
            (json!(0), ended("Complete"), "2026-01-01T12:00:00Z", Ok(Life::Over)),
            // Finished in the future, by another clock.
            (json!(10), ended("Complete"), "2026-01-01T11:59:00Z", left(70)),
        ] {
            assert_eq!(
                life(&job(ttl.clone(), conditions.clone()), now.parse().unwrap()),
                want,
                "{ttl} {conditions} {now}"
            );
        }
        let mut deleted = job(json!(0), ended("Complete"));
        deleted.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T12:00:00Z")).unwrap();
        assert_eq!(life(&deleted, "2026-01-02T00:00:00Z".parse().unwrap()), Ok(Life::Endless));
    }

    #[test]
    fn a_job_that_does_not_say_when_it_finished_stays() {
        for time in [Value::Null, json!("0001-01-01T00:00:00Z")] {
            let conditions = json!([{"type": "Failed", "status": "True", "lastTransitionTime": time}]);
            let got = life(&job(json!(1), conditions), "2026-01-02T00:00:00Z".parse().unwrap());
            assert_eq!(got, Err("unable to find the time when the Job n/j finished".to_owned()));
        }
    }
}
