//! Time zones by name, as Go's `time.LoadLocation` finds them.

use jiff::tz::TimeZone;

/// The time zone of this name: the empty one is UTC, `Local` is none. Asked is the system's database, or the one in the
/// program where the system has none. Names are taken as they are spelled there.
///
/// # Errors
/// Go's sentence: there is none.
pub fn location(name: &str) -> Result<Option<TimeZone>, String> {
    match name {
        "" | "UTC" => return Ok(Some(TimeZone::UTC)),
        "Local" => return Ok(None),
        _ if name.contains("..") || name.starts_with(['/', '\\']) => return Err("time: invalid location name".into()),
        _ => {}
    }
    match TimeZone::get(name) {
        // Found in any spelling; Go looks for a file.
        Ok(zone) if zone.iana_name() == Some(name) && !zone.is_unknown() => Ok(Some(zone)),
        _ => Err(format!("unknown time zone {name}")),
    }
}
