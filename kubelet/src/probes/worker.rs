//! One probe's task: asks every period, counts answers in a row, and gives its verdict at the threshold.

use super::{Kind, Seen, Shared, Verdict, check};
use crate::{cri::Runtime, events::Events, pod};
use component::{Clock, supervisor::guarded_future};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tokio::{sync::Notify, time};

pub(super) struct Worker {
    pub(super) pod: Arc<Pod>,
    pub(super) container: Container,
    pub(super) kind: Kind,
    pub(super) probe: Probe,
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) events: Events,
    pub(super) clock: Clock,
    pub(super) shared: Arc<Mutex<Shared>>,
    pub(super) changed: Arc<Notify>,
    pub(super) trigger: Arc<Notify>,
    /// Has the container's readiness asked at once.
    pub(super) readiness: Arc<Notify>,
}

/// Answers of the same sort in a row.
struct Run {
    id: String,
    last: Verdict,
    length: i32,
    /// After a failure the container is replaced, after a startup it is started: nothing more to ask of this one.
    done: bool,
}

impl Worker {
    /// The task's name.
    pub(super) fn name(&self) -> (&'static str, String) {
        ("probe", format!("{}/{} {}", pod::format(&self.pod), self.container.name, self.kind.name()))
    }

    pub(super) async fn run(self) {
        let period = Duration::from_secs(self.probe.period_seconds.unwrap_or(10).max(1) as u64);
        let mut tick = time::interval(period);
        tick.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        let mut run = Run { id: String::new(), last: Verdict::Unknown, length: 0, done: false };
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.trigger.notified() => tick.reset(),
            }
            if guarded_future(self.name(), self.turn(&mut run)).await.is_err() {
                self.unknown("the kubelet panicked, its log says where");
            }
        }
    }

    /// Asks if it is time to.
    async fn turn(&self, run: &mut Run) {
        let (seen, pod_ip, started, ending) = {
            let shared = self.shared.lock();
            let Some(seen) = shared.containers.get(&self.container.name).cloned() else { return };
            let started = shared.verdicts.get(&(Kind::Startup, seen.id.clone())).is_none_or(|v| *v == Verdict::Success);
            (seen, shared.pod_ip.clone(), started, shared.ending)
        };
        if run.id != seen.id {
            *run = Run { id: seen.id.clone(), last: Verdict::Unknown, length: 0, done: false };
        }
        let due = self.due(&seen, started, self.clock.now());
        if run.done || !due || (ending && self.kind != Kind::Readiness) {
            return;
        }
        self.ask(&seen, &pod_ip, run).await;
    }

    /// Nobody's fault that can be counted: the question was not asked.
    fn unknown(&self, error: &str) {
        let message = format!("{} probe errored and resulted in unknown state: {error}", self.kind.name());
        self.events.pod(&self.pod, Some(&self.container.name), "Warning", "Unhealthy", &message);
    }

    /// Startup probes come before all others; each waits for its initial delay.
    fn due(&self, seen: &Seen, started: bool, now: Timestamp) -> bool {
        let Some(at) = seen.started_at else { return false };
        let delay = i64::from(self.probe.initial_delay_seconds.unwrap_or(0));
        started != (self.kind == Kind::Startup) && now.duration_since(at).as_secs() >= delay
    }

    async fn ask(&self, seen: &Seen, pod_ip: &str, run: &mut Run) {
        let mut outcome = check::Outcome::Errored(String::new());
        for _ in 0..3 {
            outcome =
                check::run(self.runtime.as_ref(), &self.pod, &self.container, &self.probe, &seen.id, pod_ip).await;
            if !matches!(outcome, check::Outcome::Errored(_)) {
                break;
            }
        }
        let tell = |reason: &str, message: String| {
            self.events.pod(&self.pod, Some(&self.container.name), "Warning", reason, &message)
        };
        let name = self.kind.name();
        let verdict = match outcome {
            check::Outcome::Passed => Verdict::Success,
            check::Outcome::Warned(output) => {
                tell("ProbeWarning", format!("{name} probe warning: {output}"));
                Verdict::Success
            }
            check::Outcome::Failed(output) => {
                tell("Unhealthy", format!("{name} probe failed: {output}"));
                Verdict::Failure
            }
            check::Outcome::Errored(error) => return self.unknown(&error),
        };
        if run.last == verdict {
            run.length += 1;
        } else {
            (run.last, run.length) = (verdict, 1);
        }
        let threshold = match verdict {
            Verdict::Failure => self.probe.failure_threshold.unwrap_or(3),
            _ => self.probe.success_threshold.unwrap_or(1),
        };
        if run.length < threshold {
            return;
        }
        let before = {
            let mut shared = self.shared.lock();
            if shared.containers.get(&self.container.name).is_none_or(|now| now != seen) {
                return;
            }
            shared.verdicts.insert((self.kind, seen.id.clone()), verdict)
        };
        if self.kind == Kind::Startup || (self.kind == Kind::Liveness && verdict == Verdict::Failure) {
            run.done = true;
        }
        if before != Some(verdict) {
            self.changed.notify_one();
            // A container that is started may well be ready: it need not wait for the probe's next turn.
            if self.kind == Kind::Startup && verdict == Verdict::Success {
                self.readiness.notify_one();
            }
        }
    }
}
