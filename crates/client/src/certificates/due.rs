//! When a certificate is renewed, and how long is waited after an attempt that failed.

use std::time::Duration;

use component::tls::Facts;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// The share of its life after which a certificate is renewed, given a number from 0 to 1: 70 to 90 percent, so that
/// machines that came at the same time do not ask at the same time for ever.
pub(super) fn share(random: f64) -> f64 {
    0.7 + 0.2 * random
}

/// When a certificate is renewed of which `share` of its life is used, given when it was obtained, where that is known.
///
/// Its life begins when it became valid, as upstream's. Signers have that be minutes ago; where by this count its time is
/// over as soon as it has come (one of half a minute from a signer that dates it back by five), its life began when it was
/// obtained.
pub(super) fn due(facts: &Facts, obtained: Option<Timestamp>, share: f64) -> Timestamp {
    let after = |start: Timestamp| {
        let life = facts.not_after.duration_since(start).as_secs_f64().max(0.0);
        start + SignedDuration::try_from_secs_f64(life * share).unwrap_or_default()
    };
    let due = after(facts.not_before);
    match obtained {
        Some(obtained) if due <= obtained => after(obtained),
        _ => due,
    }
}

/// How long to wait after so many attempts in a row that failed: upstream's 2, 4, 8, 16 and then 32 seconds, but no more than
/// a quarter of what is left of the certificate in use.
pub(super) fn pause(failed: u32, left: Option<Duration>) -> Duration {
    let usual = Duration::from_secs(2 << failed.saturating_sub(1).min(4));
    let most = left.filter(|left| !left.is_zero()).map_or(usual, |left| left / 4);
    usual.min(most.max(Duration::from_millis(500)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        format!("2026-01-01T{text}Z").parse().unwrap()
    }

    fn facts(not_before: &str, not_after: &str) -> Facts {
        Facts {
            not_before: at(not_before),
            not_after: at(not_after),
            common_name: String::new(),
            organizations: vec![],
            dns_names: vec![],
            ips: vec![],
        }
    }

    #[test]
    fn it_is_renewed_at_70_to_90_percent_of_its_life() {
        let hours = facts("00:00:00", "10:00:00");
        for (random, want) in [(0.0, "07:00:00"), (0.5, "08:00:00"), (1.0, "09:00:00")] {
            let due = due(&hours, Some(at("00:05:00")), share(random));
            assert!(due.duration_since(at(want)).abs() < SignedDuration::from_millis(1), "{random}: {due}");
        }
        // Three minutes, dated back by five.
        let minutes = facts("00:00:00", "00:08:00");
        assert_eq!(due(&minutes, Some(at("00:05:00")), 0.75), at("00:06:00"));
        // Of a minute the time would be over when it comes.
        let minute = facts("00:00:00", "00:06:00");
        assert_eq!(due(&minute, None, 0.75), at("00:04:30"));
        assert_eq!(due(&minute, Some(at("00:05:00")), 0.75), at("00:05:45"));
    }

    #[test]
    fn pauses_grow_but_not_beyond_what_is_left() {
        let seconds = |failed, left| pause(failed, left).as_secs_f64();
        for (failed, want) in [(1, 2.0), (2, 4.0), (4, 16.0), (5, 32.0), (50, 32.0)] {
            assert_eq!(seconds(failed, None), want);
        }
        assert_eq!(seconds(5, Some(Duration::from_secs(40))), 10.0);
        assert_eq!(seconds(5, Some(Duration::from_millis(40))), 0.5);
        assert_eq!(seconds(5, Some(Duration::ZERO)), 32.0, "it has expired");
    }
}
