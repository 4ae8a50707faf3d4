//! Cron schedules, as upstream's parser (`github.com/robfig/cron/v3`) reads them: five fields, or a descriptor such as
//! `@daily` or `@every 1h30m`, after a time zone (`TZ=Europe/Berlin `) if there is one.
//!
//! The API server refuses what can't be read, in that parser's words; the CronJob controller asks when a schedule is due.

mod next;
mod zone;

use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use crate::{duration, go};
pub use zone::location;

/// Set in a field that was written as a star: then a day must fit both of its fields, otherwise one is enough.
const STAR: u64 = 1 << 63;

/// When something is due.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// At all times that fit the fields.
    Fields(Fields),
    /// So many seconds after the last time.
    Every(SignedDuration),
}

/// The numbers that fit each field, as bits.
#[derive(Clone, Debug, PartialEq)]
pub struct Fields {
    minute: u64,
    hour: u64,
    day: u64,
    month: u64,
    weekday: u64,
    /// None: the local one.
    zone: Option<TimeZone>,
}

impl Schedule {
    /// The first time after this one when it is due; none if there is none within five years. `local` is the time zone of
    /// a schedule that names none.
    pub fn next(&self, after: Timestamp, local: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Fields(fields) => next::next(fields, after, fields.zone.as_ref().unwrap_or(local)),
            Self::Every(delay) => {
                let fraction = SignedDuration::from_nanos(i64::from(after.subsec_nanosecond()));
                after.checked_add(delay.checked_sub(fraction)?).ok()
            }
        }
    }
}

struct Bounds {
    low: u64,
    high: u64,
    names: &'static [&'static str],
}

const MINUTES: Bounds = Bounds { low: 0, high: 59, names: &[] };
const HOURS: Bounds = Bounds { low: 0, high: 23, names: &[] };
const DAYS: Bounds = Bounds { low: 1, high: 31, names: &[] };
const MONTHS: Bounds = Bounds {
    low: 1,
    high: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAYS: Bounds = Bounds { low: 0, high: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

/// Reads a schedule.
///
/// # Errors
/// What is wrong with it, in upstream's words.
pub fn parse(schedule: &str) -> Result<Schedule, String> {
    if schedule.is_empty() {
        return Err("empty spec string".into());
    }
    let (zone, text) = if schedule.starts_with("TZ=") || schedule.starts_with("CRON_TZ=") {
        let Some((zone, rest)) = schedule.split_once(' ') else {
            // Upstream's parser panics here, and its caller tells of the panic.
            return Err("invalid schedule format: runtime error: slice bounds out of range [:-1]".into());
        };
        let name = zone.split_once('=').map_or("", |(_, name)| name);
        (location(name).map_err(|why| format!("provided bad location {name}: {why}"))?, rest.trim())
    } else {
        (None, schedule)
    };
    if text.starts_with('@') {
        return descriptor(text, zone);
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields[..] else {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    };
    Ok(Schedule::Fields(Fields {
        minute: field(minute, &MINUTES)?,
        hour: field(hour, &HOURS)?,
        day: field(day, &DAYS)?,
        month: field(month, &MONTHS)?,
        weekday: field(weekday, &WEEKDAYS)?,
        zone,
    }))
}

fn descriptor(text: &str, zone: Option<TimeZone>) -> Result<Schedule, String> {
    if let Some(delay) = text.strip_prefix("@every ") {
        let nanoseconds = duration::parse(delay).map_err(|why| format!("failed to parse duration {text}: {why}"))?;
        let delay = SignedDuration::from_nanos(nanoseconds).as_secs().max(1);
        return Ok(Schedule::Every(SignedDuration::from_secs(delay)));
    }
    let all = |bounds: &Bounds| bits(bounds.low, bounds.high, 1) | STAR;
    let first = |bounds: &Bounds| 1 << bounds.low;
    let (hour, day, month, weekday) = match text {
        "@yearly" | "@annually" => (first(&HOURS), first(&DAYS), first(&MONTHS), all(&WEEKDAYS)),
        "@monthly" => (first(&HOURS), first(&DAYS), all(&MONTHS), all(&WEEKDAYS)),
        "@weekly" => (first(&HOURS), all(&DAYS), all(&MONTHS), first(&WEEKDAYS)),
        "@daily" | "@midnight" => (first(&HOURS), all(&DAYS), all(&MONTHS), all(&WEEKDAYS)),
        "@hourly" => (all(&HOURS), all(&DAYS), all(&MONTHS), all(&WEEKDAYS)),
        _ => return Err(format!("unrecognized descriptor: {text}")),
    };
    Ok(Schedule::Fields(Fields { minute: first(&MINUTES), hour, day, month, weekday, zone }))
}

/// Ranges between commas; what is empty between two of them does not count.
fn field(text: &str, bounds: &Bounds) -> Result<u64, String> {
    text.split(',').filter(|part| !part.is_empty()).try_fold(0, |all, part| Ok(all | range(part, bounds)?))
}

fn range(text: &str, bounds: &Bounds) -> Result<u64, String> {
    let (ends, steps): (&str, Vec<&str>) = match text.split_once('/') {
        Some((ends, step)) => (ends, step.split('/').collect()),
        None => (text, vec![]),
    };
    let ends: Vec<&str> = ends.split('-').collect();
    let (start, mut end, mut star) = match ends[..] {
        ["*" | "?", ..] => (bounds.low, bounds.high, STAR),
        [only] => {
            let n = number_or_name(only, bounds)?;
            (n, n, 0)
        }
        [first, last] => (number_or_name(first, bounds)?, number_or_name(last, bounds)?, 0),
        [first, ..] => {
            number_or_name(first, bounds)?;
            return Err(format!("too many hyphens: {text}"));
        }
        [] => (bounds.low, bounds.high, 0),
    };
    let step = match steps[..] {
        [] => 1,
        [step] => {
            let step = number(step)?;
            // "5/15" is "5-59/15".
            if ends.len() == 1 {
                end = bounds.high;
            }
            if step > 1 {
                star = 0;
            }
            step
        }
        _ => return Err(format!("too many slashes: {text}")),
    };
    let (low, high) = (bounds.low, bounds.high);
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
    Ok(bits(start, end, step) | star)
}

fn number_or_name(text: &str, bounds: &Bounds) -> Result<u64, String> {
    match (bounds.low..).zip(bounds.names).find(|(_, name)| name.eq_ignore_ascii_case(text)) {
        Some((n, _)) => Ok(n),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u64, String> {
    let n = go::atoi(text).map_err(|why| format!("failed to parse int from {text}: {why}"))?;
    u64::try_from(n).map_err(|_| format!("negative number ({n}) not allowed: {text}"))
}

/// `start` and every `step`th after it up to `end`, which is below 63.
fn bits(start: u64, end: u64, step: u64) -> u64 {
    (start..=end).filter(|n| (n - start).is_multiple_of(step)).fold(0, |all, n| all | 1 << n)
}

#[cfg(test)]
mod tests;
