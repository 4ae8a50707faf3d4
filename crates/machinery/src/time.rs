//! metav1.Time and metav1.MicroTime as JSON has them: UTC, whole seconds or six digits; and durations as tables have them.

use jiff::Timestamp;

/// `2026-11-23T22:00:00Z`; the fraction is cut off.
pub fn rfc3339(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `2026-11-23T22:00:00.123456Z`.
pub fn rfc3339_micro(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Upstream's `duration.HumanDuration`: two units at most, the finer one only while it matters.
pub fn human_duration(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        s if s < -1 => "<invalid>".into(),
        s if s < 0 => "0s".into(),
        s if s < 120 => format!("{s}s"),
        s if s < 600 => pair(minutes, "m", s % 60, "s"),
        s if s < 10_800 => format!("{minutes}m"),
        s if s < 28_800 => pair(hours, "h", minutes % 60, "m"),
        s if s < 172_800 => format!("{hours}h"),
        s if s < 691_200 => pair(days, "d", hours % 24, "h"),
        s if s < 63_072_000 => format!("{days}d"),
        s if s < 252_288_000 => pair(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

fn pair(large: i64, large_unit: &str, small: i64, small_unit: &str) -> String {
    if small == 0 { format!("{large}{large_unit}") } else { format!("{large}{large_unit}{small}{small_unit}") }
}

/// Go's `time.Parse` for RFC 3339.
///
/// # Errors
/// Go's message: what could not be read, and as what.
pub fn parse(text: &str) -> Result<Timestamp, String> {
    parse_layout(text, "2006-01-02T15:04:05Z07:00")
}

/// The same where upstream reads a time to the microsecond; only the layout in the message differs.
///
/// # Errors
/// As for [`parse`].
pub fn parse_micro(text: &str) -> Result<Timestamp, String> {
    parse_layout(text, "2006-01-02T15:04:05.000000Z07:00")
}

fn parse_layout(text: &str, layout: &str) -> Result<Timestamp, String> {
    let fail =
        |rest: &str, part: &str| format!("parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {part:?}");
    let mut rest = text;
    let shape: [(usize, &str); 11] = [
        (4, "2006"),
        (0, "-"),
        (2, "01"),
        (0, "-"),
        (2, "02"),
        (0, "T"),
        (2, "15"),
        (0, ":"),
        (2, "04"),
        (0, ":"),
        (2, "05"),
    ];
    for (digits, part) in shape {
        let (length, good) = match digits {
            0 => (1, rest.starts_with(part)),
            n => (n, rest.len() >= n && rest.as_bytes()[..n].iter().all(u8::is_ascii_digit)),
        };
        if !good {
            return Err(fail(rest, part));
        }
        rest = &rest[length..];
    }
    let fraction = rest.strip_prefix(['.', ',']).map_or(0, |f| f.bytes().take_while(u8::is_ascii_digit).count());
    let zone = if fraction > 0 { &rest[fraction + 1..] } else { rest };
    let offset = zone.as_bytes();
    let good = zone == "Z"
        || (offset.len() == 6
            && matches!(offset[0], b'+' | b'-')
            && offset[3] == b':'
            && [1, 2, 4, 5].iter().all(|i| offset[*i].is_ascii_digit()));
    if !good {
        return Err(match zone.strip_prefix('Z') {
            Some(extra) => format!("parsing time {text:?}: extra text: {extra:?}"),
            None => fail(zone, "Z07:00"),
        });
    }
    text.parse().map_err(|_| format!("parsing time {text:?}: {}", out_of_range(text)))
}

fn out_of_range(text: &str) -> &'static str {
    let two = |at: usize| text.get(at..at + 2).and_then(|t| t.parse::<u8>().ok()).unwrap_or(0);
    match () {
        () if !(1..=12).contains(&two(5)) => "month out of range",
        () if two(11) > 23 => "hour out of range",
        () if two(14) > 59 => "minute out of range",
        () if two(17) > 59 => "second out of range",
        () => "day out of range",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_with_a_fixed_fraction() {
        let at: Timestamp = "2026-11-23T22:00:00.1239999Z".parse().expect("valid");
        assert_eq!(rfc3339(at), "2026-11-23T22:00:00Z");
        assert_eq!(rfc3339_micro(at), "2026-11-23T22:00:00.123999Z");
    }

    #[test]
    fn durations_are_short() {
        for (seconds, text) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (10_800, "3h"),
            (11_000, "3h3m"),
            (100_000, "27h"),
            (172_800, "2d"),
            (180_000, "2d2h"),
            (864_000, "10d"),
            (63_072_000, "2y"),
            (70_000_000, "2y80d"),
            (300_000_000, "9y"),
        ] {
            assert_eq!(human_duration(seconds), text, "{seconds}");
        }
    }
}
