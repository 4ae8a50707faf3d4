//! How fast processor time is spent: the difference of two measurements.

use std::collections::HashMap;

/// Measurements closer than this say too little of the speed.
const LEAST_NS: i64 = 5_000_000_000;
/// What was not asked for so long is gone.
const FORGOTTEN_NS: i64 = 600_000_000_000;

struct Point {
    at_ns: i64,
    total_ns: u64,
    rate: Option<u64>,
}

/// The last measurement of each container, pod and of the node.
#[derive(Default)]
pub(crate) struct Rates(HashMap<String, Point>);

impl Rates {
    /// The speed in billionths of a processor, from what `id` had used in all at a time; `None` at the first.
    pub(crate) fn observe(&mut self, id: &str, at_ns: i64, total_ns: u64) -> Option<u64> {
        let fresh = Point { at_ns, total_ns, rate: None };
        let Some(last) = self.0.get_mut(id) else {
            self.0.insert(id.to_owned(), fresh);
            return None;
        };
        let span = at_ns.saturating_sub(last.at_ns);
        if total_ns < last.total_ns || span < 0 {
            // It was started anew.
            *last = fresh;
            return None;
        }
        if span > 0 && (span >= LEAST_NS || last.rate.is_none()) {
            let rate = u128::from(total_ns - last.total_ns) * 1_000_000_000 / span.unsigned_abs() as u128;
            *last = Point { rate: Some(rate as u64), ..fresh };
        }
        last.rate
    }

    /// Forgets what nobody measures any more.
    pub(crate) fn forget(&mut self, now_ns: i64) {
        self.0.retain(|_, point| now_ns.saturating_sub(point.at_ns) < FORGOTTEN_NS);
    }
}
