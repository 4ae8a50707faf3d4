//! Texts with a form: times, durations, quantities, base64. Each comes back in the form in which upstream writes it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::tz::TimeZone;

const RFC3339: &str = "2006-01-02T15:04:05Z07:00";
const RFC3339_MICRO: &str = "2006-01-02T15:04:05.000000Z07:00";

/// RFC 3339, to the second, UTC.
pub(super) fn time(text: &str) -> Result<String, String> {
    if canonical_time(text.as_bytes()) {
        return Ok(text.to_owned());
    }
    let at = parse_time(text, RFC3339)?;
    Ok(at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// RFC 3339, to the microsecond, UTC.
pub(super) fn micro_time(text: &str) -> Result<String, String> {
    let at = parse_time(text, RFC3339_MICRO)?;
    Ok(at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string())
}

/// The usual case, told without arithmetic: `2026-11-23T22:10:00Z` with a day that every month has.
fn canonical_time(b: &[u8]) -> bool {
    let pattern = b"0000-00-00T00:00:00Z";
    let formed = b.len() == pattern.len()
        && b.iter().zip(pattern).all(|(b, p)| if *p == b'0' { b.is_ascii_digit() } else { b == p });
    let two = |at: usize| (b[at] - b'0') * 10 + b[at + 1] - b'0';
    formed && (1..=12).contains(&two(5)) && (1..=28).contains(&two(8)) && two(11) < 24 && two(14) < 60 && two(17) < 60
}

/// Go's `time.Parse` for RFC 3339, with its message: what could not be read, and as what.
fn parse_time(text: &str, layout: &str) -> Result<Timestamp, String> {
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

/// A duration as Go prints it: `90m` is `1h30m0s`.
pub(super) fn duration(text: &str) -> Result<String, String> {
    machinery::duration::parse(text).map(machinery::duration::text)
}

/// A quantity in canonical form.
pub(super) fn quantity(text: &str) -> Result<String, String> {
    text.trim().parse::<machinery::quantity::Quantity>().map(|q| q.canonical()).map_err(|e| e.to_string())
}

/// Whether it is base64; the text without line breaks where it had some.
pub(super) fn bytes(text: &str) -> Result<Option<String>, String> {
    let cleaned = text.contains(['\n', '\r']).then(|| text.replace(['\n', '\r'], ""));
    let checked = cleaned.as_deref().unwrap_or(text);
    match STANDARD.decode(checked) {
        Ok(_) => Ok(cleaned),
        Err(error) => {
            let at = match error {
                base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
                base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => checked.len(),
            };
            Err(format!("illegal base64 data at input byte {at}"))
        }
    }
}
