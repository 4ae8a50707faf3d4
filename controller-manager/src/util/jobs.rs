//! Questions about jobs that several controllers ask.

use k8s_openapi::api::batch::v1::{Job, JobCondition};

/// The condition that says that the job is over, successfully or not.
pub(crate) fn finished(job: &Job) -> Option<&JobCondition> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|c| matches!(c.type_.as_str(), "Complete" | "Failed") && c.status == "True")
}

pub(crate) fn is_finished(job: &Job) -> bool {
    finished(job).is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_job_is_over_once_a_last_condition_is_true() {
        for (kind, status, want) in [
            ("Complete", "True", true),
            ("Failed", "True", true),
            ("Complete", "False", false),
            ("Failed", "Unknown", false),
            ("SuccessCriteriaMet", "True", false),
            ("FailureTarget", "True", false),
            ("Suspended", "True", false),
        ] {
            let conditions = json!([{"type": "X", "status": "True"}, {"type": kind, "status": status}]);
            let job: Job = serde_json::from_value(json!({"status": {"conditions": conditions}})).unwrap();
            assert_eq!(is_finished(&job), want, "{kind} {status}");
        }
    }
}
