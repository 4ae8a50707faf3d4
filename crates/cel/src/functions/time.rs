//! Times and durations.

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

use super::{NO_OVERLOAD, Outcome};
use crate::value::Value;

const SECOND: i128 = 1_000_000_000;

/// Years 1 to 9999, as Go and protobuf have them.
pub(super) fn checked(nanoseconds: i128) -> Outcome {
    let seconds = nanoseconds.div_euclid(SECOND);
    if (-62_135_596_800..=253_402_300_799).contains(&seconds) {
        Ok(Value::Timestamp(nanoseconds))
    } else {
        Err("timestamp overflow".to_owned())
    }
}

fn jiff(nanoseconds: i128) -> Timestamp {
    Timestamp::from_nanosecond(nanoseconds).unwrap_or_default()
}

pub(super) fn timestamp_text(nanoseconds: i128) -> String {
    jiff(nanoseconds).to_string()
}

pub(super) fn duration_text(nanoseconds: i64) -> String {
    let (whole, part) = (nanoseconds / SECOND as i64, (nanoseconds % SECOND as i64).abs());
    if part == 0 {
        return format!("{whole}s");
    }
    let sign = if nanoseconds < 0 && whole == 0 { "-" } else { "" };
    let fraction = format!("{part:09}");
    format!("{sign}{whole}.{}s", fraction.trim_end_matches('0'))
}

/// RFC 3339.
pub fn parse_timestamp(text: &str) -> Option<Value> {
    let plausible = text.len() >= 20 && text.as_bytes().get(10).is_some_and(|b| matches!(b, b'T' | b't'));
    plausible.then(|| text.parse::<Timestamp>().ok()).flatten().map(|t| Value::Timestamp(t.as_nanosecond()))
}

/// Go's: `1h30m`, `-1.5s`.
pub fn parse_duration(text: &str) -> Option<Value> {
    machinery::duration::parse(text).ok().map(Value::Duration)
}

// `UTC`, `+01:00`, or a name.
fn zone(name: &str) -> Option<TimeZone> {
    let (sign, digits) = match name.as_bytes().first()? {
        b'-' => (-1, &name[1..]),
        b'+' => (1, &name[1..]),
        _ => (1, name),
    };
    if let Some((hours, minutes)) = digits.split_once(':') {
        let seconds = hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60;
        return Offset::from_seconds(sign * seconds).ok().map(TimeZone::fixed);
    }
    TimeZone::get(name).ok()
}

pub(super) fn call(name: &str, args: &[Value]) -> Option<Outcome> {
    use Value::{Duration, Int, String, Timestamp};
    Some(match (name, args) {
        ("timestamp", [v @ Timestamp(_)]) | ("duration", [v @ Duration(_)]) => Ok(v.clone()),
        ("timestamp", [String(s)]) => parse_timestamp(s)
            .ok_or_else(|| format!("parsing time \"{s}\" as \"2006-01-02T15:04:05Z07:00\": cannot parse")),
        ("timestamp", [Int(seconds)]) => checked(i128::from(*seconds) * SECOND),
        ("duration", [String(s)]) => machinery::duration::parse(s).map(Duration),
        ("duration", [Int(n)]) => Ok(Duration(*n)),
        ("getHours", [Duration(d)]) => Ok(Int(d / 3_600_000_000_000)),
        ("getMinutes", [Duration(d)]) => Ok(Int(d / 60_000_000_000)),
        ("getSeconds", [Duration(d)]) => Ok(Int(d / 1_000_000_000)),
        ("getMilliseconds", [Duration(d)]) => Ok(Int(d % 1_000_000_000 / 1_000_000)),
        (_, [Timestamp(t), rest @ ..]) if name.starts_with("get") => {
            let zone = match rest {
                [] => Some(TimeZone::UTC),
                [String(name)] => zone(name),
                _ => return Some(Err(NO_OVERLOAD.to_owned())),
            };
            match zone {
                Some(zone) => part(name, *t, zone),
                None => Err("unknown time zone".to_owned()),
            }
        }
        _ => return None,
    })
}

fn part(name: &str, nanoseconds: i128, zone: TimeZone) -> Outcome {
    let time = jiff(nanoseconds).to_zoned(zone);
    Ok(Value::Int(match name {
        "getFullYear" => i64::from(time.year()),
        "getMonth" => i64::from(time.month()) - 1,
        "getDayOfYear" => i64::from(time.day_of_year()) - 1,
        "getDayOfMonth" => i64::from(time.day()) - 1,
        "getDate" => i64::from(time.day()),
        "getDayOfWeek" => i64::from(time.weekday().to_sunday_zero_offset()),
        "getHours" => i64::from(time.hour()),
        "getMinutes" => i64::from(time.minute()),
        "getSeconds" => i64::from(time.second()),
        "getMilliseconds" => i64::from(time.millisecond()),
        _ => return Err(NO_OVERLOAD.to_owned()),
    }))
}
