//! CronJobs. The schedule and the time zone are read by what the controller reads them with.

use machinery::cron;
use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::meta;
use model::check::Faults;
use serde_json::Value;
use writes::strategy::{Strategy, WriteContext};

use crate::core::pod::warnings;
use crate::rules;

/// CronJobs.
pub struct CronJobs;

impl Strategy for CronJobs {
    fn validate(&self, _: &WriteContext<'_>, cron: &Value) -> ErrorList {
        let mut errors = spec(&cron["spec"], None, &Path::new("spec"));
        // Eleven characters are left for the time in the names of its jobs.
        let name = meta::name(cron);
        if name.len() > 52 {
            errors.invalid(&Path::new("metadata").child("name"), name, "must be no more than 52 characters");
        }
        errors
    }

    fn validate_update(&self, cx: &WriteContext<'_>, cron: &Value, old: &Value) -> ErrorList {
        if cx.subresource == Some("status") {
            return ErrorList::new();
        }
        spec(&cron["spec"], Some(&old["spec"]), &Path::new("spec"))
    }

    fn warnings(&self, cx: &WriteContext<'_>, cron: &Value, _: Option<&Value>) -> Vec<String> {
        if cx.subresource.is_some() {
            return Vec::new();
        }
        let at = Path::new("spec").child("jobTemplate").child("spec").child("template");
        warnings::of_template(&cron["spec"]["jobTemplate"]["spec"]["template"], &at)
    }
}

pub(super) fn spec(spec: &Value, old: Option<&Value>, at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let schedule = spec.text("schedule");
    let path = at.child("schedule");
    if schedule.is_empty() {
        errors.required(&path, "");
    } else {
        if let Err(fault) = cron::parse(schedule) {
            errors.invalid(&path, schedule, fault);
        }
        let allowed = old.is_some_and(|o| o.text("schedule").contains("TZ"));
        if schedule.contains("TZ") && !allowed {
            let detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
            errors.invalid(&path, schedule, detail);
        } else if schedule.contains("TZ") && spec.has("timeZone") {
            let detail = "cannot use both timeZone field and TZ or CRON_TZ in schedule";
            errors.invalid(&path, schedule, detail);
        }
    }
    errors.nonnegative(&at.child("startingDeadlineSeconds"), spec.int("startingDeadlineSeconds").unwrap_or(0));
    if old.is_none_or(|o| o.sub("timeZone") != spec.sub("timeZone")) {
        time_zone(spec, &at.child("timeZone"), &mut errors);
    }
    let policy = spec.text("concurrencyPolicy");
    errors.one_of(&at.child("concurrencyPolicy"), policy, &["Allow", "Forbid", "Replace"]);
    let template = ("batch.v1", "JobTemplateSpec");
    errors.extend(rules::part(template, &spec["jobTemplate"], None, &at.child("jobTemplate")));
    for field in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        errors.nonnegative(&at.child(field), spec.int(field).unwrap_or(0));
    }
    errors
}

fn time_zone(spec: &Value, at: &Path, errors: &mut ErrorList) {
    let Some(zone) = spec.sub("timeZone").and_then(Value::as_str) else { return };
    if zone.is_empty() {
        return errors.invalid(at, zone, "timeZone must be nil or non-empty string");
    }
    let good = |part: &str| {
        (1..=14).contains(&part.len())
            && part != "."
            && part != ".."
            && !part.starts_with('-')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_+".contains(&b))
    };
    if !zone.split('/').all(good) {
        return errors.invalid(at, zone, format!("unknown time zone {zone}"));
    }
    if zone.eq_ignore_ascii_case("local") {
        let detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.invalid(at, zone, detail);
    }
    if let Err(fault) = cron::location(zone) {
        errors.invalid(at, zone, fault);
    }
}
