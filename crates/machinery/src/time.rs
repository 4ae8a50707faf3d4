//! metav1.Time and metav1.MicroTime as JSON has them: UTC, whole seconds or six digits.

use jiff::Timestamp;

/// `2026-11-23T22:00:00Z`; the fraction is cut off.
pub fn rfc3339(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `2026-11-23T22:00:00.123456Z`.
pub fn rfc3339_micro(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
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
}
