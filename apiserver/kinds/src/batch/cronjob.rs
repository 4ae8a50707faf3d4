//! CronJobs. The schedule's form is checked; the time zone only by its characters.

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
        if let Err(fault) = parse(schedule) {
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
        errors.invalid(at, zone, format!("unknown time zone {zone}"));
    } else if zone.eq_ignore_ascii_case("local") {
        let detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.invalid(at, zone, detail);
    } else if zone != "UTC" && jiff::tz::TimeZone::get(zone).is_err() {
        errors.invalid(at, zone, format!("unknown time zone {zone}"));
    }
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// The standard five fields, or a descriptor, in the words of robfig/cron.
fn parse(schedule: &str) -> Result<(), String> {
    let mut text = schedule;
    if text.starts_with("TZ=") || text.starts_with("CRON_TZ=") {
        text = text.split_once(' ').map_or("", |(_, rest)| rest).trim();
    }
    if let Some(word) = text.strip_prefix('@') {
        return match word {
            "yearly" | "annually" | "monthly" | "weekly" | "daily" | "midnight" | "hourly" => Ok(()),
            _ if word.strip_prefix("every ").is_some_and(|d| d.ends_with(['h', 'm', 's'])) => Ok(()),
            _ => Err(format!("unrecognized descriptor: {text}")),
        };
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() != 5 {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    let bounds: [(u32, u32, &[&str]); 5] = [(0, 59, &[]), (0, 23, &[]), (1, 31, &[]), (1, 12, &MONTHS), (0, 6, &DAYS)];
    for (field, (low, high, words)) in fields.iter().zip(bounds) {
        for part in field.split(',') {
            range(part, low, high, words)?;
        }
    }
    Ok(())
}

fn range(text: &str, low: u32, high: u32, words: &[&str]) -> Result<(), String> {
    let number = |word: &str| -> Result<u32, String> {
        if let Some(i) = words.iter().position(|w| w.eq_ignore_ascii_case(word)) {
            return Ok(low + u32::try_from(i).unwrap_or(0));
        }
        word.parse::<u32>().map_err(|_| {
            format!(
                "failed to parse int from {word}: strconv.Atoi: parsing {}: invalid syntax",
                machinery::go::quote(word)
            )
        })
    };
    let mut halves = text.split('/');
    let (ends, step, more) = (halves.next().unwrap_or(""), halves.next(), halves.next());
    let mut ends = ends.split('-');
    let (first, last, surplus) = (ends.next().unwrap_or(""), ends.next(), ends.next());
    let (start, mut end) = if first == "*" || first == "?" {
        (low, high)
    } else {
        let start = number(first)?;
        (start, last.map(number).transpose()?.unwrap_or(start))
    };
    if surplus.is_some() {
        return Err(format!("too many hyphens: {text}"));
    }
    let step = match (step, more) {
        (_, Some(_)) => return Err(format!("too many slashes: {text}")),
        (None, None) => 1,
        (Some(step), None) => {
            if last.is_none() {
                end = high;
            }
            number(step)?
        }
    };
    if start < low {
        return Err(format!("beginning of range ({start}) below minimum ({low}): {text}"));
    }
    if end > high {
        return Err(format!("end of range ({end}) above maximum ({high}): {text}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    Ok(())
}

#[cfg(test)]
pub(super) fn check_schedule(schedule: &str) -> Result<(), String> {
    parse(schedule)
}
