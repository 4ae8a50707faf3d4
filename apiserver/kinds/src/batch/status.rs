//! What a job's status may become. Rules that an old status broke already are applied to what changes alone: a status is
//! behind its spec for a while, and other programs than the controller may write it (`spec.managedBy`).

use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use serde_json::Value;

use super::indexes;
use super::policies::unseen;
use model::check::Faults;

fn is(job: &Value, condition: &str, status: &str) -> bool {
    let conditions = job["status"].list("conditions");
    conditions.iter().any(|c| c.text("type") == condition && c.text("status") == status)
}

fn holds(job: &Value, condition: &str) -> bool {
    is(job, condition, "True")
}

fn finished(job: &Value) -> bool {
    holds(job, "Complete") || holds(job, "Failed")
}

/// A write of a job's status, in place of `old`'s.
pub(super) fn update(job: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("status");
    counters(&job["status"], &at, &mut errors);
    let changes = Changes { job, old };
    completion(&changes, &at, &mut errors);
    end(&changes, &at, &mut errors);
    index_lists(&changes, &at, &mut errors);
    pods(&changes, &at, &mut errors);
    success(job, &at, &mut errors);
    transition(&changes, &at, &mut errors);
    errors
}

/// The two of which it is asked what changes.
struct Changes<'a> {
    job: &'a Value,
    old: &'a Value,
}

impl Changes<'_> {
    fn field(&self, name: &str) -> bool {
        let of = |job: &Value| job["status"].sub(name).cloned();
        of(self.job) != of(self.old)
    }

    fn number(&self, name: &str) -> bool {
        let of = |job: &Value| job["status"].int(name).unwrap_or(0);
        of(self.job) != of(self.old)
    }

    fn condition(&self, name: &str) -> bool {
        holds(self.job, name) != holds(self.old, name)
    }

    fn finished(&self) -> bool {
        finished(self.job) != finished(self.old)
    }
}

fn counters(status: &Value, at: &Path, errors: &mut ErrorList) {
    for field in ["active", "succeeded", "failed", "ready", "terminating"] {
        errors.nonnegative(&at.child(field), status.int(field).unwrap_or(0));
    }
    let uncounted = status.sub("uncountedTerminatedPods");
    let mut seen = Vec::new();
    for list in ["succeeded", "failed"] {
        for (i, uid) in uncounted.texts(list).enumerate() {
            let at = at.child("uncountedTerminatedPods").child(list).index(i);
            if uid.is_empty() {
                errors.invalid(&at, uid, "must not be empty");
            } else if seen.contains(&uid) {
                errors.duplicate(&at, uid);
            } else {
                seen.push(uid);
            }
        }
    }
}

/// What a complete job has, and no other.
fn completion(changes: &Changes<'_>, at: &Path, errors: &mut ErrorList) {
    let (job, status) = (changes.job, &changes.job["status"]);
    let complete = holds(job, "Complete");
    let conditions = at.child("conditions");
    let completed = changes.condition("Complete");
    if (completed || changes.condition("Failed")) && complete && holds(job, "Failed") {
        errors.push(unseen(&conditions, "cannot set Complete=True and Failed=true conditions"));
    }
    if (completed || changes.condition("FailureTarget")) && complete && holds(job, "FailureTarget") {
        errors.push(unseen(&conditions, "cannot set Complete=True and FailureTarget=true conditions"));
    }
    let at = at.child("completionTime");
    let time = status.sub("completionTime");
    let timed = changes.field("completionTime");
    if completed || timed {
        match time {
            Some(time) if !complete => {
                let detail = "cannot set completionTime when there is no Complete=True condition";
                errors.invalid(&at, time.clone(), detail);
            }
            None if complete => errors.required(&at, "completionTime is required for Complete jobs"),
            _ => {}
        }
    }
    if let (true, Some(time), Some(start)) = (timed || changes.field("startTime"), time, status.sub("startTime"))
        && moment(time) < moment(start)
    {
        errors.invalid(&at, time.clone(), "must be equal to or after `startTime`");
    }
}

fn moment(time: &Value) -> Option<jiff::Timestamp> {
    time.as_str()?.parse().ok()
}

/// What a job that ended has been through, and has no more.
fn end(changes: &Changes<'_>, at: &Path, errors: &mut ErrorList) {
    let (job, status) = (changes.job, &changes.job["status"]);
    let conditions = at.child("conditions");
    if (changes.condition("Failed") || changes.field("failedIndexes"))
        && holds(job, "Failed")
        && !holds(job, "FailureTarget")
    {
        errors.push(unseen(&conditions, "cannot set Failed=True condition without the FailureTarget=true condition"));
    }
    if (changes.condition("Complete") || changes.condition("SuccessCriteriaMet"))
        && holds(job, "Complete")
        && !holds(job, "SuccessCriteriaMet")
    {
        let detail = "cannot set Complete=True condition without the SuccessCriteriaMet=true condition";
        errors.push(unseen(&conditions, detail));
    }
    if !finished(job) {
        return;
    }
    let active = status.int("active").unwrap_or(0);
    if (changes.finished() || changes.number("active")) && active > 0 {
        errors.invalid(&at.child("active"), active, "active>0 is invalid for finished job");
    }
    let nothing_to_do = job["spec"].flag("suspend") == Some(true) && job["spec"].int("completions") == Some(0);
    if (changes.finished() || changes.field("startTime")) && !nothing_to_do && !status.has("startTime") {
        errors.required(&at.child("startTime"), "startTime is required for finished job");
    }
    if let Some(uncounted) = status.sub("uncountedTerminatedPods")
        && (changes.finished() || changes.field("uncountedTerminatedPods"))
        && ["failed", "succeeded"].iter().any(|list| !uncounted.list(list).is_empty())
    {
        errors.invalid(&at.child("uncountedTerminatedPods"), uncounted.clone(), "must be empty for finished job");
    }
}

fn index_lists(changes: &Changes<'_>, at: &Path, errors: &mut ErrorList) {
    let (spec, status) = (&changes.job["spec"], &changes.job["status"]);
    let completed = status.text("completedIndexes");
    let failed = status.sub("failedIndexes").and_then(Value::as_str);
    let now_completed = completed != changes.old["status"].text("completedIndexes");
    let now_failed = changes.field("failedIndexes");
    let completions = spec.int("completions");
    if let (true, Some(all)) = (now_completed, completions)
        && let Err(why) = indexes::count(completed, all)
    {
        let detail = format!("error parsing completedIndexes: {why}");
        errors.invalid(&at.child("completedIndexes"), completed, detail);
    }
    if let (true, Some(all), Some(failed)) = (now_failed && spec.has("backoffLimitPerIndex"), completions, failed)
        && let Err(why) = indexes::count(failed, all)
    {
        errors.invalid(&at.child("failedIndexes"), failed, format!("error parsing failedIndexes: {why}"));
    }
    if now_completed && !completed.is_empty() && spec.text("completionMode") != "Indexed" {
        let detail = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.invalid(&at.child("completedIndexes"), completed, detail);
    }
    let Some(failed) = failed else { return };
    let at = at.child("failedIndexes");
    if now_failed && !spec.has("backoffLimitPerIndex") {
        errors.invalid(&at, failed, "cannot set non-null failedIndexes when backoffLimitPerIndex is null");
    }
    if let (true, Some(all)) = (now_failed || now_completed, completions)
        && let Some(both) = indexes::overlap(completed, failed, all)
    {
        let detail = format!("failedIndexes and completedIndexes overlap at index: {both}");
        errors.invalid(&at, failed, detail);
    }
}

fn pods(changes: &Changes<'_>, at: &Path, errors: &mut ErrorList) {
    let status = &changes.job["status"];
    let terminating = status.int("terminating").unwrap_or(0);
    if (changes.finished() || changes.field("terminating")) && terminating > 0 && finished(changes.job) {
        errors.invalid(&at.child("terminating"), terminating, "terminating>0 is invalid for finished job");
    }
    let ready = status.int("ready").unwrap_or(0);
    if (changes.field("ready") || changes.number("active")) && ready > status.int("active").unwrap_or(0) {
        errors.invalid(&at.child("ready"), ready, "cannot set more ready pods than active");
    }
}

fn success(job: &Value, at: &Path, errors: &mut ErrorList) {
    let at = at.child("conditions");
    let met = holds(job, "SuccessCriteriaMet");
    if met && holds(job, "Failed") {
        errors.push(unseen(&at, "cannot set SuccessCriteriaMet=True and Failed=true conditions"));
    }
    if met && holds(job, "FailureTarget") {
        errors.push(unseen(&at, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"));
    }
    if job["spec"].has("successPolicy") && !met && holds(job, "Complete") {
        let detail = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True";
        errors.push(unseen(&at, detail));
    }
}

/// What can't be taken back.
fn transition(changes: &Changes<'_>, at: &Path, errors: &mut ErrorList) {
    let (job, old) = (changes.job, changes.old);
    let (status, before) = (&job["status"], &old["status"]);
    let conditions = at.child("conditions");
    for condition in ["Failed", "Complete", "FailureTarget"] {
        if holds(old, condition) && !holds(job, condition) {
            errors.push(unseen(&conditions, &format!("cannot disable the terminal {condition}=True condition")));
        }
    }
    let spec = &job["spec"];
    // Such a job can be made smaller.
    let elastic = spec.text("completionMode") == "Indexed" && spec.int("completions") == spec.int("parallelism");
    for (field, checked) in [("failed", true), ("succeeded", !elastic)] {
        let (now, then) = (status.int(field).unwrap_or(0), before.int(field).unwrap_or(0));
        if checked && now < then {
            errors.invalid(&at.child(field), now, format!("cannot decrease the {field} counter"));
        }
    }
    if let (Some(now), Some(then)) = (status.sub("completionTime"), before.sub("completionTime"))
        && now != then
    {
        errors.invalid(&at.child("completionTime"), now.clone(), "field is immutable");
    }
    let resuming = holds(old, "Suspended") && is(job, "Suspended", "False");
    if before.has("startTime") && changes.field("startTime") && !resuming && spec.flag("suspend") != Some(true) {
        let detail = "field is immutable for unsuspended job once set";
        errors.invalid(&at.child("startTime"), status.sub("startTime").cloned(), detail);
    }
    let (was_met, met) = (holds(old, "SuccessCriteriaMet"), holds(job, "SuccessCriteriaMet"));
    if was_met && !met {
        errors.push(unseen(&conditions, "cannot disable the SuccessCriteriaMet=True condition"));
    }
    if holds(old, "Complete") && !was_met && met {
        let detail = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        errors.push(unseen(&conditions, detail));
    }
}
