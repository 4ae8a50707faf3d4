//! Backoff, order and timeouts of the queue, on a clock of the test's own.

use super::*;
use crate::{cache::Cache, config::Config};

struct Fixture {
    queue: Queue,
    cache: Cache,
    start: Instant,
}

impl Fixture {
    fn new() -> Self {
        let mut cache = Cache::default();
        let profiles = Config::default().frameworks(cache.interner()).unwrap();
        let queue = Queue::new(profiles.into(), Duration::from_secs(1), Duration::from_secs(10));
        Self { queue, cache, start: Instant::now() }
    }

    fn add(&mut self, name: &str, priority: i32, at_ms: u64) {
        let pod = serde_json::json!({
            "metadata": {"name": name, "namespace": "default", "uid": name},
            "spec": {"containers": [], "priority": priority},
        });
        let pod = self.cache.read_pod(&serde_json::from_value(pod).unwrap());
        self.queue.add(pod, 0, self.start + Duration::from_millis(at_ms));
    }

    fn pop(&mut self, at_ms: u64) -> Option<QueuedPod> {
        self.queue.pop(self.start + Duration::from_millis(at_ms))
    }

    fn names(&mut self) -> String {
        let mut names = Vec::new();
        while let Some(queued) = self.pop(0) {
            names.push(queued.pod.name.to_string());
        }
        names.join(" ")
    }
}

fn rejected() -> PluginSet {
    let mut set = PluginSet::default();
    set.insert(7);
    set
}

#[test]
fn higher_priority_first_then_who_came_first() {
    let mut f = Fixture::new();
    for (name, priority, at) in [("late", 0, 2), ("early", 0, 1), ("high", 9, 3), ("low", -5, 0)] {
        f.add(name, priority, at);
    }
    assert_eq!(f.names(), "high early late low");
}

#[test]
fn errors_back_off_a_second_doubling_to_ten() {
    let mut f = Fixture::new();
    f.add("p", 0, 0);
    let mut now = 0;
    for wait in [1000, 2000, 4000, 8000, 10_000, 10_000] {
        let queued = f.pop(now).expect("its backoff is over");
        f.queue.failed(queued, PluginSet::default(), f.start + Duration::from_millis(now));
        assert_eq!(f.queue.next_due(), Some(f.start + Duration::from_millis(now + wait)));
        assert!(f.pop(now + wait - 1).is_none(), "after {wait}");
        now += wait;
    }
}

#[test]
fn an_unschedulable_pod_sleeps_until_woken_or_for_five_minutes() {
    let mut f = Fixture::new();
    f.add("p", 0, 0);
    let queued = f.pop(0).unwrap();
    f.queue.failed(queued, rejected(), f.start);
    assert!(f.pop(200_000).is_none());
    f.queue.flush(f.start + Duration::from_secs(299));
    assert!(f.pop(299_000).is_none());
    f.queue.flush(f.start + Duration::from_secs(301));
    assert_eq!(f.pop(301_000).map(|queued| queued.attempts), Some(2));
}

#[test]
fn a_woken_pod_in_backoff_is_tried_early_only_when_nothing_else_is_ready() {
    let mut f = Fixture::new();
    f.add("p", 5, 0);
    let queued = f.pop(0).unwrap();
    f.queue.failed(queued, rejected(), f.start);
    f.queue.wake("p", f.start);
    f.add("ready", 0, 1);
    assert_eq!(f.pop(10).map(|queued| queued.pod.name.to_string()).as_deref(), Some("ready"));
    assert_eq!(f.pop(10).map(|queued| queued.pod.name.to_string()).as_deref(), Some("p"));
}

#[test]
fn deleted_pods_leave_nothing() {
    let mut f = Fixture::new();
    for round in 0..5000 {
        f.add("p", round, 0);
        f.queue.delete("p");
    }
    assert!(f.pop(0).is_none());
    assert!(f.queue.active.len() <= 1026, "leftovers are swept");
    assert_eq!(f.queue.lengths(), (0, 0, 0));
}
