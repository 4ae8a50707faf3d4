//! What is counted, under upstream's names (`scheduler/metrics/metrics.go`).
//!
//! Series that a cycle touches are looked up once a profile and kept ([`OfProfile`]); how long single plugins take is
//! measured for one pod in ten.

use std::{
    array,
    sync::{Arc, OnceLock},
    time::Duration,
};

use component::metrics::{Counter, Family, Gauge, Histogram, Series, Text};

use crate::framework::status::Code;

/// One pod in so many has its plugins measured.
pub const SAMPLE: u64 = 10;

const fn doubling<const N: usize>(first: f64) -> [f64; N] {
    let mut bounds = [first; N];
    let mut at = 1;
    while at < N {
        bounds[at] = bounds[at - 1] * 2.0;
        at += 1;
    }
    bounds
}

const fn growing<const N: usize>(first: f64, factor: f64) -> [f64; N] {
    let mut bounds = [first; N];
    let mut at = 1;
    while at < N {
        bounds[at] = bounds[at - 1] * factor;
        at += 1;
    }
    bounds
}

static ATTEMPT_SECONDS: [f64; 15] = doubling(0.001);
static POINT_SECONDS: [f64; 12] = doubling(0.0001);
static PLUGIN_SECONDS: [f64; 20] = growing(0.00001, 1.5);
static SLI_SECONDS: [f64; 20] = doubling(0.01);
static VICTIMS: [f64; 7] = doubling(1.0);
static ATTEMPTS: [f64; 5] = doubling(1.0);
static EVICTION_SECONDS: [f64; 20] = doubling(0.01);
static CONDITION_SECONDS: [f64; 14] = doubling(0.1);

/// Where plugins are run, under upstream's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "upstream's names of extension points")]
pub enum Point {
    PreFilter,
    Filter,
    PostFilter,
    PreScore,
    Score,
    Reserve,
    Permit,
    PreBind,
    Bind,
    PostBind,
}

impl Point {
    const COUNT: usize = 10;

    fn name(self) -> &'static str {
        match self {
            Self::PreFilter => "PreFilter",
            Self::Filter => "Filter",
            Self::PostFilter => "PostFilter",
            Self::PreScore => "PreScore",
            Self::Score => "Score",
            Self::Reserve => "Reserve",
            Self::Permit => "Permit",
            Self::PreBind => "PreBind",
            Self::Bind => "Bind",
            Self::PostBind => "PostBind",
        }
    }
}

/// What came of an attempt to place a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is bound.
    Scheduled,
    /// Plugins turned it away.
    Unschedulable,
    /// Something went wrong.
    Error,
}

impl Outcome {
    /// Of a reason of the PodScheduled condition.
    pub fn of(reason: &str) -> Self {
        if reason == "Unschedulable" { Self::Unschedulable } else { Self::Error }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Unschedulable => "unschedulable",
            Self::Error => "error",
        }
    }
}

/// Upstream's name of a code.
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Success => "Success",
        Code::Error => "Error",
        Code::Unschedulable => "Unschedulable",
        Code::UnschedulableAndUnresolvable => "UnschedulableAndUnresolvable",
        Code::Skip => "Skip",
    }
}

/// All families.
pub struct Metrics {
    attempts: Family<Counter>,
    attempt_seconds: Family<Histogram>,
    algorithm_seconds: Histogram,
    victims: Histogram,
    preemptions: Counter,
    pending: Family<Gauge>,
    sli_seconds: Family<Histogram>,
    pod_attempts: Histogram,
    point_seconds: Family<Histogram>,
    plugin_seconds: Family<Histogram>,
    incoming: Family<Counter>,
    permit_wait_seconds: Family<Histogram>,
    cache_size: Family<Gauge>,
    unschedulable: Family<Gauge>,
    evaluations: Family<Counter>,
    running: Family<Gauge>,
    flushed: Counter,
    evictions: Family<Counter>,
    eviction_seconds: Family<Histogram>,
    claims_made: Family<Counter>,
    conditioned: Family<Counter>,
    condition_seconds: Family<Histogram>,
    /// Pods waiting, by the line they wait in: active, backoff, unschedulable, gated.
    pub lines: [Arc<Gauge>; 4],
    /// Nodes, pods and assumed pods in the cache.
    pub cached: [Arc<Gauge>; 3],
    /// Bindings under way.
    pub bindings: Arc<Gauge>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let pending = Family::new(
            "scheduler_pending_pods",
            "[STABLE] Pods that wait: to be tried now (active), for their backoff to end (backoff), for something to change after a try (unschedulable) or before any (gated).",
            &["queue"],
            Gauge::default,
        );
        let cache_size = Family::new(
            "scheduler_cache_size",
            "[ALPHA] Nodes, pods, and pods given a node that is not written yet, of which the scheduler knows.",
            &["type"],
            Gauge::default,
        );
        let running = Family::new(
            "scheduler_goroutines",
            "[BETA] Tasks that run beside the cycle, by what they do.",
            &["operation"],
            Gauge::default,
        );
        Self {
            attempts: Family::new(
                "scheduler_schedule_attempts_total",
                "[STABLE] Attempts to place a pod: it got a node, no node could have it, or something went wrong.",
                &["profile", "result"],
                Counter::default,
            ),
            attempt_seconds: Family::new(
                "scheduler_scheduling_attempt_duration_seconds",
                "[STABLE] How long an attempt took, with its binding.",
                &["profile", "result"],
                || Histogram::new(&ATTEMPT_SECONDS),
            ),
            algorithm_seconds: Histogram::new(&ATTEMPT_SECONDS),
            victims: Histogram::new(&VICTIMS),
            preemptions: Counter::default(),
            lines: ["active", "backoff", "unschedulable", "gated"].map(|line| pending.with(&[line])),
            pending,
            sli_seconds: Family::new(
                "scheduler_pod_scheduling_sli_duration_seconds",
                "[BETA] How long a pod took from its first attempt until it was bound.",
                &["attempts"],
                || Histogram::new(&SLI_SECONDS),
            ),
            pod_attempts: Histogram::new(&ATTEMPTS),
            point_seconds: Family::new(
                "scheduler_framework_extension_point_duration_seconds",
                "[STABLE] How long all plugins of an extension point took.",
                &["extension_point", "profile", "status"],
                || Histogram::new(&POINT_SECONDS),
            ),
            plugin_seconds: Family::new(
                "scheduler_plugin_execution_duration_seconds",
                "[ALPHA] How long one plugin took at an extension point.",
                &["extension_point", "plugin", "status"],
                || Histogram::new(&PLUGIN_SECONDS),
            ),
            incoming: Family::new(
                "scheduler_queue_incoming_pods_total",
                "[STABLE] Pods that came to wait, by why and where.",
                &["event", "queue"],
                Counter::default,
            ),
            permit_wait_seconds: Family::new(
                "scheduler_permit_wait_duration_seconds",
                "[BETA] How long a pod waited for permission.",
                &["result"],
                || Histogram::new(&ATTEMPT_SECONDS),
            ),
            cached: ["nodes", "pods", "assumed_pods"].map(|what| cache_size.with(&[what])),
            cache_size,
            unschedulable: Family::new(
                "scheduler_unschedulable_pods",
                "[BETA] Pods that wait because of a plugin; one that several turned away counts for each.",
                &["plugin", "profile"],
                Gauge::default,
            ),
            evaluations: Family::new(
                "scheduler_plugin_evaluation_total",
                "[BETA] Attempts in which a plugin had something to do.",
                &["extension_point", "plugin", "profile"],
                Counter::default,
            ),
            bindings: running.with(&["binding"]),
            running,
            flushed: Counter::default(),
            evictions: Family::new(
                "scheduler_preemption_goroutines_execution_total",
                "[ALPHA] Evictions that made room for another pod.",
                &["result"],
                Counter::default,
            ),
            eviction_seconds: Family::new(
                "scheduler_preemption_goroutines_duration_seconds",
                "[ALPHA] How long an eviction took that made room for another pod.",
                &["result"],
                || Histogram::new(&EVICTION_SECONDS),
            ),
            claims_made: Family::new(
                "scheduler_resourceclaim_creates_total",
                "[ALPHA] Claims that were to be made for extended resources that devices stand for.",
                &["status"],
                Counter::default,
            ),
            conditioned: Family::new(
                "scheduler_dra_bindingconditions_allocations_total",
                "[ALPHA] Devices with binding conditions that a pod waited for, by what came of it.",
                &["driver", "profile", "status"],
                Counter::default,
            ),
            condition_seconds: Family::new(
                "scheduler_dra_bindingconditions_wait_duration_seconds",
                "[ALPHA] How long a pod waited for the binding conditions of its devices.",
                &["driver", "profile", "status"],
                || Histogram::new(&CONDITION_SECONDS),
            ),
        }
    }
}

impl Metrics {
    /// The time that the decision on one pod took.
    pub fn decided(&self, took: Duration) {
        self.algorithm_seconds.observe(took.as_secs_f64());
    }

    /// A preemption was tried; with victims it came to something.
    pub fn preempted(&self, victims: usize) {
        self.preemptions.add(1);
        if victims > 0 {
            self.victims.observe(victims as f64);
        }
    }

    /// A victim was evicted, or could not be.
    pub fn evicted(&self, done: bool, took: Duration) {
        let labels = [if done { "success" } else { "error" }];
        self.evictions.with(&labels).add(1);
        self.eviction_seconds.with(&labels).observe(took.as_secs_f64());
    }

    /// A claim for extended resources was made, or could not be.
    pub fn claim_made(&self, done: bool) {
        self.claims_made.with(&[if done { "success" } else { "failure" }]).add(1);
    }

    /// A pod waited for its devices: `drivers` are those of its allocated devices, `conditioned` those of devices with
    /// conditions.
    pub fn prepared<'a>(
        &self,
        (profile, status): (&str, &str),
        drivers: impl Iterator<Item = &'a str>,
        conditioned: impl Iterator<Item = &'a str>,
        took: Duration,
    ) {
        drivers.for_each(|driver| {
            self.condition_seconds.with(&[driver, profile, status]).observe(took.as_secs_f64());
        });
        conditioned.for_each(|driver| self.conditioned.with(&[driver, profile, status]).add(1));
    }

    /// A pod is bound after so many attempts and so long; `flushed`: only time had it tried again.
    pub fn bound(&self, attempts: u32, since_queued: Duration, flushed: bool) {
        self.flushed.add(u64::from(flushed));
        self.pod_attempts.observe(f64::from(attempts));
        let label = if attempts >= 15 { "15+".to_owned() } else { attempts.to_string() };
        self.sli_seconds.with(&[&label]).observe(since_queued.as_secs_f64());
    }

    /// How many pods got into a line of the queue because of that.
    pub fn incoming(&self, event: &str, line: &str) -> Arc<Counter> {
        self.incoming.with(&[event, line])
    }

    /// A pod waited so long for permission, and that came of it.
    pub fn permit_waited(&self, result: Code, took: Duration) {
        self.permit_wait_seconds.with(&[code_name(result)]).observe(took.as_secs_f64());
    }

    /// Writes everything.
    pub fn write(&self, out: &mut Text) {
        fn alone<T: Series>(series: &T, name: &str, help: &str, out: &mut Text) {
            out.head(name, help, T::KIND);
            series.write(name, &[], &[], out);
        }
        self.attempts.write(out);
        self.attempt_seconds.write(out);
        let name = "scheduler_scheduling_algorithm_duration_seconds";
        alone(&self.algorithm_seconds, name, "[ALPHA] How long the decision took.", out);
        let name = "scheduler_preemption_victims";
        alone(&self.victims, name, "[STABLE] Victims of one preemption.", out);
        let name = "scheduler_preemption_attempts_total";
        alone(&self.preemptions, name, "[STABLE] Attempts to make room for a pod.", out);
        self.pending.write(out);
        self.sli_seconds.write(out);
        let name = "scheduler_pod_scheduling_attempts";
        alone(&self.pod_attempts, name, "[STABLE] Attempts that a pod needed until it was bound.", out);
        self.point_seconds.write(out);
        self.plugin_seconds.write(out);
        self.incoming.write(out);
        self.permit_wait_seconds.write(out);
        self.cache_size.write(out);
        self.unschedulable.write(out);
        self.evaluations.write(out);
        self.running.write(out);
        let name = "scheduler_pod_scheduled_after_flush_total";
        alone(
            &self.flushed,
            name,
            "[ALPHA] Pods that got a node after no change, but time, had them tried again.",
            out,
        );
        self.evictions.write(out);
        self.eviction_seconds.write(out);
        self.claims_made.write(out);
        self.conditioned.write(out);
        self.condition_seconds.write(out);
    }
}

/// A series that is looked up when it is first touched.
struct Kept<T>(OnceLock<Arc<T>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<T: Series> Kept<T> {
    fn get(&self, family: &Family<T>, labels: &[&str]) -> &T {
        self.0.get_or_init(|| family.with(labels))
    }
}

/// The series of one profile.
pub struct OfProfile {
    all: Arc<Metrics>,
    profile: Arc<str>,
    outcomes: [(Kept<Counter>, Kept<Histogram>); 3],
    points: [[Kept<Histogram>; 5]; Point::COUNT],
    /// By plugin.
    plugins: Vec<OfPlugin>,
}

struct OfPlugin {
    name: &'static str,
    seconds: [[Kept<Histogram>; 5]; Point::COUNT],
    evaluations: [Kept<Counter>; Point::COUNT],
    unschedulable: Kept<Gauge>,
}

impl OfProfile {
    /// Of a profile with plugins of these names.
    pub fn new(all: Arc<Metrics>, profile: Arc<str>, plugins: impl IntoIterator<Item = &'static str>) -> Self {
        let of = |name| OfPlugin {
            name,
            seconds: array::from_fn(|_| array::from_fn(|_| Kept::default())),
            evaluations: array::from_fn(|_| Kept::default()),
            unschedulable: Kept::default(),
        };
        Self {
            all,
            profile,
            outcomes: array::from_fn(|_| (Kept::default(), Kept::default())),
            points: array::from_fn(|_| array::from_fn(|_| Kept::default())),
            plugins: plugins.into_iter().map(of).collect(),
        }
    }

    /// The families.
    pub fn all(&self) -> &Arc<Metrics> {
        &self.all
    }

    /// An attempt came to an end.
    pub fn attempted(&self, outcome: Outcome, took: Duration) {
        let labels = [&*self.profile, outcome.name()];
        let (count, seconds) = &self.outcomes[outcome as usize];
        count.get(&self.all.attempts, &labels).add(1);
        seconds.get(&self.all.attempt_seconds, &labels).observe(took.as_secs_f64());
    }

    /// All plugins of an extension point were run for a pod.
    pub fn ran(&self, point: Point, code: Code, took: Duration) {
        let labels = [point.name(), &*self.profile, code_name(code)];
        let seconds = &self.points[point as usize][code as usize];
        seconds.get(&self.all.point_seconds, &labels).observe(took.as_secs_f64());
    }

    /// A plugin was run for a pod that is measured.
    pub fn plugin_ran(&self, plugin: usize, point: Point, code: Code, took: Duration) {
        let Some(of) = self.plugins.get(plugin) else { return };
        let labels = [point.name(), of.name, code_name(code)];
        let seconds = &of.seconds[point as usize][code as usize];
        seconds.get(&self.all.plugin_seconds, &labels).observe(took.as_secs_f64());
    }

    /// A plugin had something to do for a pod.
    pub fn evaluated(&self, plugin: usize, point: Point) {
        let Some(of) = self.plugins.get(plugin) else { return };
        let labels = [point.name(), of.name, &*self.profile];
        of.evaluations[point as usize].get(&self.all.evaluations, &labels).add(1);
    }

    /// A pod that a plugin turned away waits, or waits no more.
    pub fn turned_away(&self, plugin: usize, waits: bool) {
        let Some(of) = self.plugins.get(plugin) else { return };
        let labels = [of.name, &*self.profile];
        of.unschedulable.get(&self.all.unschedulable, &labels).add(if waits { 1 } else { -1 });
    }
}

#[cfg(test)]
mod tests;
