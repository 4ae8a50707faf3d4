//! Texts with a form: times, durations, quantities, base64. Each comes back in the form in which upstream writes it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::tz::TimeZone;

/// RFC 3339, to the second, UTC.
pub(super) fn time(text: &str) -> Result<String, String> {
    if canonical_time(text.as_bytes()) {
        return Ok(text.to_owned());
    }
    let at = machinery::time::parse(text)?;
    Ok(at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// RFC 3339, to the microsecond, UTC.
pub(super) fn micro_time(text: &str) -> Result<String, String> {
    let at = machinery::time::parse_micro(text)?;
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
