//! The next time that fits a schedule's fields, field by field from the month down, as upstream's `SpecSchedule.Next` finds
//! it: what it does where clocks are put forward or back is seen by users, so each step is that of Go's calendar.

use jiff::{Timestamp, ToSpan, civil, tz::TimeZone};

use super::{Fields, STAR};

/// Nothing is found further away than this.
const YEARS: i16 = 5;

const MINUTE: i64 = 60;
const HOUR: i64 = 3600;

pub(super) fn next(fields: &Fields, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let fits = |number: i8, field: u64| field & (1 << number) != 0;
    let mut now = Moment { zone, unix: after.as_nanosecond().div_euclid(1_000_000_000) as i64 }.later(1);
    let last_year = now.local()?.year().checked_add(YEARS)?;
    // Once a field was moved on, all below it begin anew.
    let mut moved = false;
    'fields: loop {
        if now.local()?.year() > last_year {
            return None;
        }
        while !fits(now.local()?.month(), fields.month) {
            if !moved {
                now = now.at(now.local()?.date().first_of_month(), 0)?;
            }
            moved = true;
            now = now.plus_month()?;
            if now.local()?.month() == 1 {
                continue 'fields;
            }
        }
        while !day_fits(fields, now.local()?) {
            if !moved {
                now = now.at(now.local()?.date(), 0)?;
            }
            moved = true;
            now = now.plus_day()?;
            // There are days without a midnight.
            match i64::from(now.local()?.hour()) {
                0 => {}
                hour if hour > 12 => now = now.later((24 - hour) * HOUR),
                hour => now = now.later(-hour * HOUR),
            }
            if now.local()?.day() == 1 {
                continue 'fields;
            }
        }
        while !fits(now.local()?.hour(), fields.hour) {
            if !moved {
                now = now.at(now.local()?.date(), now.local()?.hour())?;
            }
            moved = true;
            now = now.later(HOUR);
            if now.local()?.hour() == 0 {
                continue 'fields;
            }
        }
        while !fits(now.local()?.minute(), fields.minute) {
            if !moved {
                now = now.later(-now.unix.rem_euclid(MINUTE));
            }
            moved = true;
            now = now.later(MINUTE);
            if now.local()?.minute() == 0 {
                continue 'fields;
            }
        }
        match i64::from(now.local()?.second()) {
            0 => return Timestamp::from_second(now.unix).ok(),
            // At the full minute everything is looked at again.
            second => now = now.later(MINUTE - second),
        }
        moved = true;
    }
}

fn day_fits(fields: &Fields, now: civil::DateTime) -> bool {
    let day = fields.day & (1 << now.day()) != 0;
    let weekday = fields.weekday & (1 << now.weekday().to_sunday_zero_offset()) != 0;
    if (fields.day | fields.weekday) & STAR != 0 { day && weekday } else { day || weekday }
}

/// A second of time, seen in a time zone.
#[derive(Clone, Copy)]
struct Moment<'a> {
    zone: &'a TimeZone,
    unix: i64,
}

impl Moment<'_> {
    fn local(&self) -> Option<civil::DateTime> {
        Some(self.zone.to_datetime(Timestamp::from_second(self.unix).ok()?))
    }

    fn later(self, seconds: i64) -> Self {
        Self { unix: self.unix + seconds, ..self }
    }

    fn at(self, date: civil::Date, hour: i8) -> Option<Self> {
        self.at_local(date.at(hour, 0, 0, 0))
    }

    /// Go's `time.Date`. A local time that a change of the clocks skips, or repeats, is taken with the offset that holds at
    /// what it would be with the offset that holds at the same numbers of UTC.
    fn at_local(self, local: civil::DateTime) -> Option<Self> {
        let unix = TimeZone::UTC.to_timestamp(local).ok()?.as_second();
        let offset = |unix: i64| Some(i64::from(self.zone.to_offset(Timestamp::from_second(unix).ok()?).seconds()));
        let first = offset(unix)?;
        Some(Self { unix: unix - offset(unix - first)?, ..self })
    }

    fn plus_month(self) -> Option<Self> {
        let local = self.local()?;
        // Days beyond the month's last are of the next one.
        let month = local.date().first_of_month().checked_add(1.month()).ok()?;
        let date = month.checked_add(i64::from(local.day() - 1).days()).ok()?;
        self.at_local(date.to_datetime(local.time()))
    }

    fn plus_day(self) -> Option<Self> {
        let local = self.local()?;
        self.at_local(local.date().checked_add(1.day()).ok()?.to_datetime(local.time()))
    }
}
