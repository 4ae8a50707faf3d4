//! A stretch of load: how long, how many, how slow the slowest, and what it cost the server.

use std::time::{Duration, Instant};

use super::process::{Processes, own_cpu};

/// A stretch that has begun.
pub(crate) struct Stretch {
    processes: Processes,
    begin: Instant,
    cpu: Option<Vec<Duration>>,
    own: Duration,
}

/// A stretch that has ended.
pub(crate) struct Measured {
    pub(crate) operations: usize,
    pub(crate) elapsed: Duration,
    /// Sorted.
    pub(crate) latencies: Vec<Duration>,
    /// Of each of its processes: itself, then its store where it has one apart.
    pub(crate) server_cpu: Option<Vec<Duration>>,
    pub(crate) own_cpu: Duration,
}

impl Stretch {
    pub(crate) fn begin(processes: &Processes) -> Self {
        Self { processes: processes.clone(), cpu: processes.cpu(), own: own_cpu(), begin: Instant::now() }
    }

    pub(crate) fn end(self, mut latencies: Vec<Duration>) -> Measured {
        let elapsed = self.begin.elapsed();
        latencies.sort_unstable();
        Measured {
            operations: latencies.len(),
            elapsed,
            latencies,
            server_cpu: self.processes.cpu().zip(self.cpu).map(|(now, then)| differences(&now, &then)),
            own_cpu: own_cpu().saturating_sub(self.own),
        }
    }
}

fn differences(now: &[Duration], then: &[Duration]) -> Vec<Duration> {
    now.iter().zip(then).map(|(now, then)| now.saturating_sub(*then)).collect()
}

impl Measured {
    /// The latency that this share of operations did not exceed.
    pub(crate) fn percentile(&self, share: f64) -> Duration {
        let at = (self.latencies.len() as f64 * share) as usize;
        self.latencies.get(at.min(self.latencies.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    pub(crate) fn each(&self, total: Duration) -> Duration {
        total.div_f64(self.operations.max(1) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let ms = Duration::from_millis;
        let stretch = Stretch::begin(&Processes::default());
        let measured = stretch.end((1..=100).rev().map(ms).collect());
        assert_eq!(measured.percentile(0.5), ms(51));
        assert_eq!(measured.percentile(0.99), ms(100));
        assert_eq!(measured.percentile(1.0), ms(100));
        assert_eq!((measured.server_cpu, measured.operations), (None, 100));
        assert_eq!(Stretch::begin(&Processes::default()).end(Vec::new()).percentile(0.5), Duration::ZERO);
    }
}
