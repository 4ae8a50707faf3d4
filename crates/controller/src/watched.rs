//! What queues count, under upstream's names (`component-base/metrics/prometheus/workqueue`), by the name of their
//! workers.
//!
//! A name stays when a controller runs again: what it has counted goes on, and its latest queues say how long they are.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use component::metrics::{Counter, Histogram, Series, Text};
use parking_lot::Mutex;

/// From ten nanoseconds to ten seconds.
const BOUNDS: [f64; 10] = [1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0];

/// What is counted of queues with one name.
pub(crate) struct Counts {
    pub(crate) adds: Counter,
    pub(crate) retries: Counter,
    /// Seconds from when a key was added to when it was taken.
    pub(crate) waited: Histogram,
    /// Seconds that the work on a key took.
    pub(crate) worked: Histogram,
}

impl Default for Counts {
    fn default() -> Self {
        let (waited, worked) = (Histogram::new(&BOUNDS), Histogram::new(&BOUNDS));
        Self { adds: Counter::default(), retries: Counter::default(), waited, worked }
    }
}

/// What a queue is doing.
#[derive(Default)]
pub(crate) struct Doing {
    /// Keys that wait.
    pub(crate) depth: usize,
    /// How long all keys in work have been so, together.
    pub(crate) unfinished: Duration,
    /// How long the one that takes longest has been in work.
    pub(crate) longest: Duration,
}

/// A queue that says what it is doing.
pub(crate) trait Busy: Send + Sync {
    fn doing(&self) -> Doing;
}

#[derive(Default)]
struct Named {
    counts: Arc<Counts>,
    queues: Vec<Weak<dyn Busy>>,
}

impl Named {
    fn doing(&self) -> Doing {
        let add = |sum: Doing, one: Doing| Doing {
            depth: sum.depth + one.depth,
            unfinished: sum.unfinished + one.unfinished,
            longest: sum.longest.max(one.longest),
        };
        self.queues.iter().filter_map(Weak::upgrade).map(|queue| queue.doing()).fold(Doing::default(), add)
    }
}

/// The queues of this process that have workers, or had some.
static NAMED: Mutex<BTreeMap<String, Named>> = Mutex::new(BTreeMap::new());

/// Puts a queue under a name, and gives what is counted of it from now on.
pub(crate) fn name(name: &str, queue: Weak<dyn Busy>) -> Arc<Counts> {
    let mut all = NAMED.lock();
    let named = all.entry(name.to_owned()).or_default();
    named.queues.retain(|queue| queue.strong_count() > 0);
    named.queues.push(queue);
    named.counts.clone()
}

/// Writes what all queues with workers count and do. `shown` is what each name is shown as; no two may be shown alike.
pub fn write_queues(out: &mut Text, shown: impl Fn(&str) -> &str) {
    let all = NAMED.lock();
    let rows: Vec<_> = all.iter().map(|(name, named)| (shown(name), named, named.doing())).collect();
    let mut gauge = |name: &str, help: &str, value: &dyn Fn(&Doing) -> f64| {
        out.head(name, help, "gauge");
        rows.iter().for_each(|(shown, _, doing)| out.line(name, &["name"], &[shown], value(doing)));
    };
    gauge("workqueue_depth", "[BETA] Current depth of workqueue", &|doing| doing.depth as f64);
    let help = "[BETA] How many seconds of work has done that is in progress and hasn't been observed by work_duration. \
                Large values indicate stuck threads. One can deduce the number of stuck threads by observing the rate at \
                which this increases.";
    gauge("workqueue_unfinished_work_seconds", help, &|doing| doing.unfinished.as_secs_f64());
    let help = "[BETA] How many seconds has the longest running processor for workqueue been running.";
    gauge("workqueue_longest_running_processor_seconds", help, &|doing| doing.longest.as_secs_f64());
    let counts: Vec<_> = rows.iter().map(|(shown, named, _)| (*shown, &*named.counts)).collect();
    let adds = "[BETA] Total number of adds handled by workqueue";
    series(out, "workqueue_adds_total", adds, &counts, |counts| &counts.adds);
    let retries = "[BETA] Total number of retries handled by workqueue";
    series(out, "workqueue_retries_total", retries, &counts, |counts| &counts.retries);
    let waited = "[BETA] How long in seconds an item stays in workqueue before being requested.";
    series(out, "workqueue_queue_duration_seconds", waited, &counts, |counts| &counts.waited);
    let worked = "[BETA] How long in seconds processing an item from workqueue takes.";
    series(out, "workqueue_work_duration_seconds", worked, &counts, |counts| &counts.worked);
}

fn series<S: Series>(out: &mut Text, name: &str, help: &str, all: &[(&str, &Counts)], of: impl Fn(&Counts) -> &S) {
    out.head(name, help, S::KIND);
    all.iter().for_each(|(shown, counts)| of(counts).write(name, &["name"], &[shown], out));
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{Queue, run_workers};

    /// The lines of one name, without those of buckets.
    fn lines(name: &str) -> Vec<String> {
        let mut out = Text::default();
        write_queues(&mut out, |name| name.strip_suffix("-controller").unwrap_or(name));
        let of = format!("{{name=\"{name}\"}} ");
        let text = out.finish();
        text.lines()
            .filter_map(|line| line.split_once(&of))
            .map(|(metric, value)| format!("{metric} {value}"))
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn queues_count_by_the_name_of_their_workers() {
        let cancel = CancellationToken::new();
        let queue = Queue::new();
        queue.add("a");
        queue.add("a");
        queue.add("b");
        assert!(lines("watched").is_empty(), "nobody works on it");
        tokio::time::advance(Duration::from_secs(3)).await;
        let seen = Mutex::new(vec![]);
        run_workers("watched-controller", &queue, 1, cancel.clone(), |key| {
            let (queue, seen, cancel) = (&queue, &seen, &cancel);
            async move {
                tokio::time::advance(Duration::from_secs(2)).await;
                if key == "b" {
                    queue.add("b");
                    *seen.lock() = lines("watched");
                    cancel.cancel();
                    // The queue is shut down meanwhile.
                    tokio::task::yield_now().await;
                }
                anyhow::ensure!(key == "b", "failed");
                Ok(())
            }
        })
        .await;
        let want = [
            "workqueue_depth 1",
            "workqueue_unfinished_work_seconds 2",
            "workqueue_longest_running_processor_seconds 2",
            "workqueue_adds_total 3",
            "workqueue_retries_total 1",
            "workqueue_queue_duration_seconds_sum 8",
            "workqueue_queue_duration_seconds_count 2",
            "workqueue_work_duration_seconds_sum 2",
            "workqueue_work_duration_seconds_count 1",
        ];
        assert_eq!(*seen.lock(), want);
        drop(queue);
        // What was counted stays, and goes on with the next queue.
        let queue = Queue::new();
        queue.add("c");
        cancel_at_once(&queue).await;
        let after = lines("watched");
        assert!(after.contains(&"workqueue_adds_total 4".into()), "{after:?}");
        assert!(after.contains(&"workqueue_unfinished_work_seconds 0".into()), "{after:?}");
    }

    async fn cancel_at_once(queue: &Queue<&'static str>) {
        let cancel = CancellationToken::new();
        cancel.cancel();
        run_workers("watched-controller", queue, 1, cancel, |_| async { Ok(()) }).await;
    }
}
