//! Exponential back-off by key, with the clock passed in. Upstream: client-go util/flowcontrol/backoff.go.

use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;

#[derive(Debug, Clone)]
struct Entry {
    backoff: SignedDuration,
    updated: Timestamp,
}

#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    initial: SignedDuration,
    limit: SignedDuration,
    entries: HashMap<String, Entry>,
}

impl Backoff {
    pub(crate) fn new(initial_secs: i64, limit_secs: i64) -> Self {
        Self {
            initial: SignedDuration::from_secs(initial_secs),
            limit: SignedDuration::from_secs(limit_secs),
            entries: HashMap::new(),
        }
    }

    /// The current wait of the key, zero if there is none.
    pub(crate) fn get(&self, key: &str) -> SignedDuration {
        self.entries.get(key).map_or(SignedDuration::ZERO, |e| e.backoff)
    }

    /// A further failure at `at`: doubled, or from the start if all was well for twice the limit.
    pub(crate) fn next(&mut self, key: &str, at: Timestamp) {
        let (initial, limit) = (self.initial, self.limit);
        let expired = self.entries.get(key).is_none_or(|e| at.duration_since(e.updated) > limit * 2);
        let entry = self.entries.entry(key.to_owned()).or_insert(Entry { backoff: initial, updated: at });
        entry.backoff = if expired { initial } else { (entry.backoff * 2).min(limit) };
        entry.updated = at;
    }

    /// Until when a key whose event was at `event` has to wait; `None`: not at all.
    pub(crate) fn until_since(&self, key: &str, event: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let entry = self.entries.get(key)?;
        if event.duration_since(entry.updated) > self.limit * 2 {
            return None;
        }
        let until = event.checked_add(entry.backoff).ok()?;
        (now < until).then_some(until)
    }

    /// The same, counted from the last failure.
    pub(crate) fn until(&self, key: &str, now: Timestamp) -> Option<Timestamp> {
        self.until_since(key, self.entries.get(key)?.updated, now)
    }

    pub(crate) fn forget_prefix(&mut self, prefix: &str) {
        self.entries.retain(|key, _| !key.starts_with(prefix));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("small")
    }

    #[test]
    fn doubles_to_its_limit_and_starts_again_after_twice_the_limit() {
        let mut backoff = Backoff::new(10, 300);
        assert_eq!(backoff.until_since("k", at(0), at(0)), None);
        let mut waits = Vec::new();
        for i in 0..7 {
            backoff.next("k", at(i * 300));
            waits.push(backoff.get("k").as_secs());
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300]);
        backoff.next("k", at(6 * 300 + 601));
        assert_eq!(backoff.get("k").as_secs(), 10);
        assert_eq!(backoff.until_since("k", at(2500), at(2505)), Some(at(2510)));
        assert_eq!(backoff.until_since("k", at(2500), at(2510)), None);
    }
}
