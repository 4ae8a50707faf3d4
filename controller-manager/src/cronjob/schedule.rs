//! When a CronJob is due: the newest time that was missed, and the next one. Upstream: `utils.go`.

use std::time::Duration;

use k8s_openapi::{
    api::batch::v1::CronJob,
    jiff::{SignedDuration, Timestamp, tz::TimeZone},
};
use machinery::cron::{self, Schedule};

/// The next look is a little late, for clocks that differ.
const PADDING: SignedDuration = SignedDuration::from_millis(100);
/// More missed starts than that are worth a warning.
const MANY: i64 = 100;

/// How many starts were missed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Missed {
    None,
    Few,
    Many,
}

/// What is due of a schedule.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Due {
    /// From when on starts are looked for.
    earliest: Timestamp,
    /// The newest start that was missed, as far as can be said.
    pub(super) newest: Option<Timestamp>,
    pub(super) missed: Missed,
}

/// The schedule with its time zone, as one text. A zone that there is not is left out.
pub(super) fn text(cron: &CronJob) -> String {
    let spec = &cron.spec;
    match &spec.time_zone {
        Some(zone) if !spec.schedule.contains("TZ") && cron::location(zone).is_ok() => {
            format!("TZ={zone} {}", spec.schedule)
        }
        _ => spec.schedule.clone(),
    }
}

/// What is due now. With `deadline` no start is looked for that is too late by `startingDeadlineSeconds`, so that none has to
/// be refused for that (nor is there upstream, which has an event for it, MissSchedule). `local` is the time zone of a
/// schedule without one.
///
/// # Errors
/// The schedule names days that there are not.
pub(super) fn due(
    cron: &CronJob,
    now: Timestamp,
    schedule: &Schedule,
    local: &TimeZone,
    deadline: bool,
) -> Result<Due, String> {
    let next = |after: Timestamp| schedule.next(after, local);
    let earliest = earliest(cron, now, deadline);
    let impossible = || "time difference between two schedules is less than 1 second".to_owned();
    let first = next(earliest).ok_or_else(impossible)?;
    if now < first {
        return Ok(Due { earliest, newest: None, missed: Missed::None });
    }
    let second = next(first).ok_or_else(impossible)?;
    if now < second {
        return Ok(Due { earliest, newest: Some(first), missed: Missed::None });
    }
    let between = second.as_second() - first.as_second();
    if between < 1 {
        return Err(impossible());
    }
    // Near enough, where the schedule is not regular: from about the last but one on, all are looked at.
    let count = now.duration_since(first).as_secs() / between + 1;
    let about = first.saturating_add(SignedDuration::from_secs((count - 2).saturating_mul(between)));
    let mut newest = None;
    let mut at = next(about.map_err(|e| e.to_string())?);
    while let Some(start) = at.filter(|start| *start <= now) {
        newest = Some(start);
        at = next(start);
    }
    Ok(Due { earliest, newest, missed: if count > MANY { Missed::Many } else { Missed::Few } })
}

/// The last start, or when the CronJob was made; or the oldest start that would not be too late.
fn earliest(cron: &CronJob, now: Timestamp, deadline: bool) -> Timestamp {
    let last = cron.status.as_ref().and_then(|s| s.last_schedule_time.as_ref());
    let earliest = last.or(cron.metadata.creation_timestamp.as_ref()).map_or(now, |t| t.0);
    let seconds = cron.spec.starting_deadline_seconds.filter(|_| deadline);
    let oldest = seconds.and_then(|seconds| now.checked_sub(SignedDuration::from_secs(seconds)).ok());
    oldest.map_or(earliest, |oldest| oldest.max(earliest))
}

/// In how long to look again; none if nothing will ever be due.
pub(super) fn next_look(cron: &CronJob, now: Timestamp, schedule: &Schedule, local: &TimeZone) -> Option<Duration> {
    let from = match due(cron, now, schedule, local, false) {
        Ok(Due { newest: Some(newest), .. }) => newest,
        Ok(Due { earliest, missed: Missed::None, .. }) => earliest,
        _ => now,
    };
    let wait = schedule.next(from, local)?.duration_since(now) + PADDING;
    Some(Duration::try_from(wait).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MINUTE: i64 = 60;
    const HOUR: i64 = 3600;

    /// Seconds after ten o'clock, on a Thursday.
    fn at(seconds: i64) -> Timestamp {
        "2016-05-19T10:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
    }

    fn cron(schedule: &str, created: i64, last: Option<i64>, deadline: Option<i64>) -> CronJob {
        let text = |seconds: i64| machinery::time::rfc3339(at(seconds));
        serde_json::from_value(json!({
            "metadata": {"creationTimestamp": text(created)},
            "spec": {"schedule": schedule, "startingDeadlineSeconds": deadline, "jobTemplate": {}},
            "status": {"lastScheduleTime": last.map(text)},
        }))
        .unwrap()
    }

    fn parsed(cron: &CronJob) -> Schedule {
        cron::parse(&text(cron)).unwrap()
    }

    // The cases of upstream's TestMostRecentScheduleTime and TestNextScheduleTime.
    #[test]
    fn the_newest_missed_start() {
        for (schedule, created, last, deadline, now, earliest, newest, missed) in [
            ("0 * * * *", 0, None, None, 30, 0, None, Missed::None),
            ("0 * * * *", 0, None, None, 61 * MINUTE, 0, Some(HOUR), Missed::None),
            ("0 * * * *", 10, None, None, 301 * MINUTE, 10, Some(5 * HOUR), Missed::Few),
            ("30 6-16/4 * * 1-5", 0, Some(1800), None, 24 * HOUR + 1860, 1800, Some(24 * HOUR + 1800), Missed::Few),
            ("30 10,11,12 * * 1-5", 0, Some(1800), None, 30 * HOUR + 1800, 1800, None, Missed::Few),
            ("30 6-16/4 * * 1-5", 0, Some(1800), None, 96 * HOUR + 1860, 1800, Some(96 * HOUR + 1800), Missed::Few),
            ("30 6-16/4 * * 1-5", 0, None, None, 24 * HOUR + 1860, 0, Some(24 * HOUR + 1800), Missed::Few),
            (
                "@every 1h",
                -59 * MINUTE,
                Some(MINUTE),
                Some(10),
                168 * HOUR,
                MINUTE,
                Some(167 * HOUR + MINUTE),
                Missed::Many,
            ),
            ("0 * * * *", 0, Some(0), None, 30, 0, None, Missed::None),
            ("*/5 * * * *", 0, Some(1800), None, 1860, 1800, None, Missed::None),
            ("*/5 * * * *", 0, Some(1800), Some(60), 1860, 1800, None, Missed::None),
            ("0 * * * ?", -600, None, None, -420, -600, None, Missed::None),
            ("0 * * * ?", -600, None, None, 2, -600, Some(0), Missed::None),
            ("0 * * * ?", -600, Some(0), None, HOUR + 300, 0, Some(HOUR), Missed::None),
            ("0 * * * ?", -2 * HOUR, Some(-HOUR), None, HOUR + 300, -HOUR, Some(HOUR), Missed::Few),
            ("0 * * * ?", -2 * HOUR, Some(-HOUR), None, 241 * HOUR, -HOUR, Some(241 * HOUR), Missed::Many),
        ] {
            let cron = cron(schedule, created, last, deadline);
            let got = due(&cron, at(now), &parsed(&cron), &TimeZone::UTC, false).unwrap();
            let want = Due { earliest: at(earliest), newest: newest.map(at), missed };
            assert_eq!(got, want, "{schedule} {now}");
        }
    }

    #[test]
    fn what_is_too_late_is_not_looked_for() {
        for (deadline, now, earliest, newest) in
            [(60, 1920, 1860, None), (2 * HOUR, 1920, 1800, None), (301, 2100, 1800, Some(2100)), (0, 2101, 2101, None)]
        {
            let cron = cron("*/5 * * * *", 0, Some(1800), Some(deadline));
            let got = due(&cron, at(now), &parsed(&cron), &TimeZone::UTC, true).unwrap();
            assert_eq!((got.earliest, got.newest), (at(earliest), newest.map(at)), "{deadline}");
        }
        // A short deadline makes few of many.
        let cron = cron("0 * * * ?", -2 * HOUR, Some(-HOUR), Some(2 * HOUR));
        let got = due(&cron, at(241 * HOUR + 1), &parsed(&cron), &TimeZone::UTC, true).unwrap();
        assert_eq!((got.newest, got.missed), (Some(at(241 * HOUR)), Missed::Few));
    }

    #[test]
    fn a_thousand_missed_starts_are_many() {
        let warned = |minutes: i64| {
            let cron = cron("* * * * *", 0, Some(0), None);
            due(&cron, at(minutes * MINUTE), &parsed(&cron), &TimeZone::UTC, true).unwrap().missed
        };
        assert_eq!([warned(100), warned(101), warned(100_000)], [Missed::Few, Missed::Many, Missed::Many]);
    }

    #[test]
    fn a_day_that_there_is_not() {
        let cron = cron("59 23 31 2 *", 10, None, None);
        let got = due(&cron, at(HOUR), &parsed(&cron), &TimeZone::UTC, true);
        assert_eq!(got, Err("time difference between two schedules is less than 1 second".into()));
        assert_eq!(next_look(&cron, at(HOUR), &parsed(&cron), &TimeZone::UTC), None);
    }

    // The cases of upstream's TestNextScheduleTimeDuration.
    #[test]
    fn the_next_look() {
        for (schedule, last, now, want) in [
            ("30 6-16/4 * * 1-5", Some(1800), 24 * HOUR + 1860, 3 * HOUR + 59 * MINUTE),
            ("30 10,11,12 * * 1-5", Some(1800), 30 * HOUR + 1800, 66 * HOUR),
            ("0 12 * * 4", Some(2 * HOUR), 457 * HOUR + 1800, 48 * HOUR + 1800),
            ("0 12 * * 5", None, 6 * HOUR, 20 * HOUR),
        ] {
            let cron = cron(schedule, 0, last, None);
            let got = next_look(&cron, at(now), &parsed(&cron), &TimeZone::UTC);
            assert_eq!(got, Some(Duration::from_secs(want as u64) + Duration::from_millis(100)), "{schedule}");
        }
    }

    #[test]
    fn a_time_zone_changes_what_a_schedule_means() {
        let in_zone = |schedule: &str, zone: Option<&str>| {
            let mut cron = cron(schedule, 0, None, None);
            cron.spec.time_zone = zone.map(str::to_owned);
            cron
        };
        assert_eq!(text(&in_zone("0 12 * * *", None)), "0 12 * * *");
        assert_eq!(text(&in_zone("0 12 * * *", Some("Europe/Berlin"))), "TZ=Europe/Berlin 0 12 * * *");
        assert_eq!(text(&in_zone("0 12 * * *", Some("Mars/Base"))), "0 12 * * *");
        assert_eq!(text(&in_zone("TZ=UTC 0 12 * * *", Some("Europe/Berlin"))), "TZ=UTC 0 12 * * *");
        // Noon of Berlin's summer.
        let cron = in_zone("0 12 * * *", Some("Europe/Berlin"));
        let got = due(&cron, at(HOUR), &parsed(&cron), &TimeZone::UTC, true).unwrap();
        assert_eq!(got.newest, None);
        let next = next_look(&cron, at(HOUR), &parsed(&cron), &TimeZone::UTC);
        assert_eq!(next, Some(Duration::from_secs(23 * HOUR as u64) + Duration::from_millis(100)));
    }
}
