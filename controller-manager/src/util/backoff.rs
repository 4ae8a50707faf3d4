//! Back-off by key: how long to leave alone what has just been dealt with (client-go's `flowcontrol.Backoff`).
//!
//! Each time doubles the wait up to a limit; who had twice the longest wait of peace begins anew.

use std::{collections::HashMap, hash::Hash, time::Duration};

use tokio::time::Instant;

/// How often keys that had peace are dropped.
const SWEEP: Duration = Duration::from_secs(60);

struct Entry {
    wait: Duration,
    since: Instant,
}

/// The waits of all keys.
pub(crate) struct Backoff<T> {
    first: Duration,
    longest: Duration,
    entries: HashMap<T, Entry>,
    swept: Option<Instant>,
}

impl<T: Hash + Eq> Backoff<T> {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, entries: HashMap::new(), swept: None }
    }

    /// The length of the wait that `key` is in; none if it is in none.
    pub(crate) fn waiting(&self, key: &T, now: Instant) -> Option<Duration> {
        let entry = self.entries.get(key)?;
        (now - entry.since < entry.wait).then_some(entry.wait)
    }

    /// Begins the next wait of `key`.
    pub(crate) fn next(&mut self, key: T, now: Instant) {
        if self.swept.is_none_or(|swept| now - swept > SWEEP) {
            self.swept = Some(now);
            self.entries.retain(|_, e| now - e.since <= self.longest * 2);
        }
        let entry = self.entries.entry(key).or_insert(Entry { wait: Duration::ZERO, since: now });
        let anew = entry.wait.is_zero() || now - entry.since > self.longest * 2;
        entry.wait = if anew { self.first } else { (entry.wait * 2).min(self.longest) };
        entry.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_begin_anew_after_peace() {
        let seconds = Duration::from_secs;
        let mut backoff = Backoff::new(seconds(1), seconds(4));
        let mut now = Instant::now();
        assert_eq!(backoff.waiting(&"a", now), None);
        for wait in [1, 2, 4, 4] {
            backoff.next("a", now);
            assert_eq!(backoff.waiting(&"a", now + seconds(wait) - Duration::from_millis(1)), Some(seconds(wait)));
            assert_eq!(backoff.waiting(&"b", now), None);
            now += seconds(wait);
            assert_eq!(backoff.waiting(&"a", now), None, "it is over");
        }
        now += seconds(5);
        backoff.next("a", now);
        assert_eq!(backoff.waiting(&"a", now), Some(seconds(1)));
    }
}
