//! Which images to remove when the disk fills up. Upstream: pkg/kubelet/images/image_gc_manager.go.

use jiff::{SignedDuration, Timestamp};
use std::collections::{HashMap, HashSet};

/// `imageGCHighThresholdPercent`, `imageGCLowThresholdPercent`, `imageMinimumGCAge`, `imageMaximumGCAge` (zero: none).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    pub(crate) high_percent: u64,
    pub(crate) low_percent: u64,
    pub(crate) minimum_age: SignedDuration,
    pub(crate) maximum_age: SignedDuration,
}

#[derive(Debug, Clone)]
struct Record {
    first_seen: Timestamp,
    last_used: Option<Timestamp>,
    size: u64,
    pinned: bool,
}

/// When each image was first and last seen.
#[derive(Debug, Default)]
pub(crate) struct Records(HashMap<String, Record>);

/// Disk numbers in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Disk {
    pub(crate) capacity: u64,
    pub(crate) available: u64,
}

impl Policy {
    /// How many bytes to free: none below the high threshold, from there on so many that the low one is reached.
    pub(crate) fn excess(&self, disk: Disk) -> u64 {
        let percent = 100 - (disk.available * 100).checked_div(disk.capacity).unwrap_or(100).min(100);
        if percent < self.high_percent {
            return 0;
        }
        (disk.capacity * 100u64.saturating_sub(self.low_percent) / 100).saturating_sub(disk.available)
    }
}

impl Records {
    /// `images`: id, size, pinned.
    pub(crate) fn update(
        &mut self,
        images: impl Iterator<Item = (String, u64, bool)>,
        used: &HashSet<String>,
        now: Timestamp,
    ) {
        let mut fresh = HashMap::new();
        for (id, size, pinned) in images {
            let mut record = self.0.remove(&id).unwrap_or(Record { first_seen: now, last_used: None, size, pinned });
            if used.contains(&id) {
                record.last_used = Some(now);
            }
            (record.size, record.pinned) = (size, pinned);
            fresh.insert(id, record);
        }
        self.0 = fresh;
    }

    /// Images to remove, the longest unused first, until `wanted` bytes are free.
    pub(crate) fn victims(&self, policy: Policy, wanted: u64, used: &HashSet<String>, now: Timestamp) -> Vec<String> {
        let mut candidates: Vec<(&String, &Record)> =
            self.0.iter().filter(|(id, r)| !r.pinned && !used.contains(*id)).collect();
        candidates.sort_by_key(|(id, r)| (r.last_used, r.first_seen, (*id).clone()));
        let mut victims: Vec<String> = Vec::new();
        let mut wanted = wanted;
        for (id, record) in candidates {
            let unused_for = now.duration_since(record.last_used.unwrap_or(record.first_seen));
            let too_old = !policy.maximum_age.is_zero() && unused_for > policy.maximum_age;
            if too_old || (wanted > 0 && now.duration_since(record.first_seen) >= policy.minimum_age) {
                wanted = wanted.saturating_sub(record.size);
                victims.push(id.clone());
            }
        }
        victims
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_unused_go_first_and_no_more_than_needed() {
        let at = |s: i64| Timestamp::from_second(s).expect("small");
        let all = || ["a", "b", "c", "p"].into_iter().map(|id| (id.to_owned(), 10, id == "p"));
        let mut records = Records::default();
        records.update(all(), &["b".to_owned()].into(), at(0));
        let none = HashSet::new();
        let policy = Policy {
            high_percent: 85,
            low_percent: 80,
            minimum_age: SignedDuration::from_secs(120),
            maximum_age: SignedDuration::ZERO,
        };
        let full = Disk { capacity: 100, available: 5 };
        let wanted = policy.excess(full);
        assert_eq!(wanted, 15);
        assert_eq!(policy.excess(Disk { capacity: 100, available: 50 }), 0);
        assert_eq!(records.victims(policy, wanted, &none, at(300)), ["a", "c"]);
        assert_eq!(records.victims(policy, wanted, &["a".to_owned()].into(), at(300)), ["c", "b"]);
        assert!(records.victims(policy, wanted, &none, at(60)).is_empty());
        assert!(records.victims(policy, 0, &none, at(300)).is_empty());
    }
}
