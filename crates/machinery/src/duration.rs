//! Durations as Go writes and reads them (`time.Duration`): a signed number of nanoseconds, `1h2m3.5s` in text.
//!
//! The text stands in flags, in configuration files, in fields of type `metav1.Duration`, in CEL and in formats of OpenAPI.

use std::time::Duration;

/// The units that text may have, in nanoseconds. Both signs for micro are read, the first is written.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3_600 * SECOND),
];
const SECOND: u64 = 1_000_000_000;

/// Nanoseconds of a text, as Go's `time.ParseDuration`.
///
/// # Errors
/// Go's sentence: the text is no duration, lacks a unit, or does not fit into 64 bits.
pub fn parse(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = after.strip_prefix('.').map_or(("", after), digits);
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let Some((_, size)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("time: unknown unit {unit:?} in duration {text:?}"));
        };
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        let part = whole.checked_mul(*size).and_then(|part| part.checked_add(fraction_of(fraction, *size)));
        total = part.and_then(|part| total.checked_add(part)).filter(|t| *t <= 1 << 63).ok_or_else(invalid)?;
        rest = after;
    }
    if negative { Ok(0_i64.wrapping_sub_unsigned(total)) } else { i64::try_from(total).map_err(|_| invalid()) }
}

/// The same as a length of time, as settings have one.
///
/// # Errors
/// As [`parse`], or it is negative.
pub fn length(text: &str) -> Result<Duration, String> {
    let nanoseconds = parse(text)?;
    let length = u64::try_from(nanoseconds).map_err(|_| format!("must not be negative: {text:?}"))?;
    Ok(Duration::from_nanos(length))
}

/// The same as a time-out of a request or a wait: a negative one is over at once.
///
/// # Errors
/// As [`parse`].
pub fn timeout(text: &str) -> Result<Duration, String> {
    parse(text).map(|nanoseconds| Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0)))
}

/// Nanoseconds as Go prints them: `1.5ms`, `1m30s`, `1h0m0s`.
pub fn text(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let all = nanoseconds.unsigned_abs();
    let decimal = |value: u64, unit: u64| {
        let (whole, fraction) = (value / unit, value % unit);
        let digits = unit.ilog10() as usize;
        let fraction = format!("{fraction:0digits$}");
        let fraction = fraction.trim_end_matches('0');
        if fraction.is_empty() { whole.to_string() } else { format!("{whole}.{fraction}") }
    };
    let seconds = all / SECOND;
    let rest = format!("{}s", decimal(all % (60 * SECOND), SECOND));
    match (all, seconds / 3600, seconds / 60 % 60) {
        (0, ..) => "0s".into(),
        (1..1_000, ..) => format!("{sign}{all}ns"),
        (1_000..1_000_000, ..) => format!("{sign}{}\u{b5}s", decimal(all, 1_000)),
        (1_000_000..SECOND, ..) => format!("{sign}{}ms", decimal(all, 1_000_000)),
        (_, 0, 0) => format!("{sign}{rest}"),
        (_, 0, minutes) => format!("{sign}{minutes}m{rest}"),
        (_, hours, minutes) => format!("{sign}{hours}h{minutes}m{rest}"),
    }
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// What digits after the point are of a unit. Go computes it in floating point, and reads no more digits than 64 bits hold.
fn fraction_of(digits: &str, unit: u64) -> u64 {
    let (mut value, mut scale) = (0_u64, 1_f64);
    for digit in digits.bytes() {
        let next = value.checked_mul(10).and_then(|v| v.checked_add(u64::from(digit - b'0')));
        let Some(next) = next.filter(|v| *v <= i64::MAX as u64) else { break };
        (value, scale) = (next, scale * 10.0);
    }
    (value as f64 * (unit as f64 / scale)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read() {
        for (nanoseconds, shown) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1\u{b5}s"),
            (2_200_000, "2.2ms"),
            (1_000_000_000, "1s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (245_000_000_000, "4m5s"),
            (-5_250_000_000, "-5.25s"),
            (i64::MAX, "2562047h47m16.854775807s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ] {
            assert_eq!((text(nanoseconds).as_str(), parse(shown)), (shown, Ok(nanoseconds)));
        }
    }

    // The values are those of Go's own test of `time.ParseDuration`.
    #[test]
    fn what_people_write_is_read() {
        for (text, nanoseconds) in [
            ("0", 0),
            ("+0", 0),
            ("-0", 0),
            ("+5s", 5 * SECOND as i64),
            ("5.0s", 5 * SECOND as i64),
            ("5.s", 5 * SECOND as i64),
            (".5s", SECOND as i64 / 2),
            ("1.004s", 1_004_000_000),
            ("100.00100s", 100_001_000_000),
            ("13\u{3bc}s", 13_000),
            ("10.5s4m", 250_500_000_000),
            ("1h2m3s4ms5us6ns", 3_723_004_005_006),
            ("52763797000ns", 52_763_797_000),
            ("0.3333333333333333333h", 1_200_000_000_000),
            ("9007199254740993ns", (1 << 53) + 1),
            ("0.9223372036854775807h", 3_320_413_933_267),
            ("0.9223372036854775808h", 3_320_413_933_267),
            ("0.830103483285477580700h", 2_988_372_539_827),
        ] {
            assert_eq!(parse(text), Ok(nanoseconds), "{text}");
        }
    }

    #[test]
    fn a_negative_length_is_refused_and_a_negative_timeout_is_over() {
        assert_eq!(length("1.5s"), Ok(Duration::from_millis(1_500)));
        assert_eq!(length("-5s"), Err("must not be negative: \"-5s\"".into()));
        assert_eq!((timeout("1.5s"), timeout("-5s")), (Ok(Duration::from_millis(1_500)), Ok(Duration::ZERO)));
    }

    #[test]
    fn the_longest_that_fits_is_read_and_one_hour_more_is_not() {
        assert_eq!(parse("2562047h"), Ok(2_562_047 * 3_600 * SECOND as i64));
        assert_eq!(parse("-2562047h47m16.854775808s"), Ok(i64::MIN));
        assert_eq!(parse("2562048h"), Err("time: invalid duration \"2562048h\"".into()));
    }

    #[test]
    fn what_is_no_duration_is_refused_in_gos_words() {
        for wrong in
            ["", "-", "s", ".", "-.", ".s", "+.s", "x", "9223372036854775808ns", "3000000h", "99999999999999999999h"]
        {
            assert_eq!(parse(wrong), Err(format!("time: invalid duration {wrong:?}")));
        }
        for bare in ["3", "1h5", "1.5"] {
            assert_eq!(parse(bare), Err(format!("time: missing unit in duration {bare:?}")));
        }
        assert_eq!(parse("1x"), Err("time: unknown unit \"x\" in duration \"1x\"".into()));
        assert_eq!(parse("1 h"), Err("time: unknown unit \" h\" in duration \"1 h\"".into()));
    }
}
