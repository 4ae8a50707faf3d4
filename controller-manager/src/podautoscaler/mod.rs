//! Autoscalers: each target gets as many pods as its metrics ask for.
//!
//! Upstream: `pkg/controller/podautoscaler`. Every autoscaler has its turn once in a sync period, whatever changes meanwhile;
//! what its turn comes to is decided in `sync` and the files that it asks, of what was asked before: the target's size,
//! its pods, and the metrics of each of its specs. Sizes of workloads and pods come from the informers, and the metrics of
//! a namespace are asked for once for all of its autoscalers: a turn in which nothing changes costs no request of its own.

mod memory;
mod metrics;
mod normalize;
mod proposals;
mod replicas;
mod requests;
mod scale;
mod selected;
mod sync;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

use client::{Change, Informer};
use controller::{Queue, object_reference, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::{
    api::autoscaling::v2::{HorizontalPodAutoscaler, MetricStatus},
    jiff::{SignedDuration, Timestamp},
};
use kube::{Api, api::PostParams};
use machinery::selector::LabelSelector;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    context::Context,
    metrics as counted,
    util::key::{self, Key},
};
use memory::Memory;
use metrics::{Metrics, Of};
use proposals::{Invalid, Proposal};
use replicas::{Tolerances, Workload};
use requests::Patience;
use scale::{Scales, Target};
use selected::Selected;
use sync::{Need, Plan, Turn};

/// The feature of tolerances of autoscalers' own.
pub(crate) const TOLERANCE: &str = "HPAConfigurableTolerance";

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

struct Shell {
    context: Context,
    hpas: Informer<HorizontalPodAutoscaler>,
    selected: Arc<Selected>,
    scales: Scales,
    metrics: Metrics,
    memories: Mutex<HashMap<Key, Memory>>,
}

async fn run(context: Context) -> anyhow::Result<()> {
    let i = context.informers.clone();
    let (name, cancel) = (context.name, context.cancel.clone());
    let workers = context.config.concurrent_horizontal_pod_autoscaler_syncs;
    let period = context.config.horizontal_pod_autoscaler.sync_period;
    let shell = Shell {
        hpas: i.of(),
        selected: Selected::new(i.of()),
        scales: Scales::new(&i, context.client.clone()),
        metrics: Metrics::new(context.client.clone(), period),
        memories: Mutex::default(),
        context,
    };
    let queue: Queue<Key> = Queue::new();
    let (wake, selected) = (queue.clone(), shell.selected.clone());
    shell.hpas.on_change(move |change| {
        let key = Key::of(&change.object().metadata);
        if matches!(change, Change::Deleted(_)) {
            selected.forget(&key);
        } else {
            selected.known(&key);
        }
        // A change does not bring the turn forward; one that waits already adds nothing.
        wake.add_after(key, period);
    });
    shell.hpas.synced().await;
    shell.selected.synced().await;
    shell.scales.synced().await;
    let hpas = shell.hpas.clone();
    let _collected = collected(name, move || hpas.list());
    let (shell, queue) = (&shell, &queue);
    run_workers(name, queue, workers, cancel, |key: Key| async move {
        let Some(hpa) = shell.hpas.get(Some(&key.namespace), &key.name) else {
            shell.memories.lock().remove(&key);
            return Ok(());
        };
        // It comes back also where its turn ends in a panic.
        queue.add_after(key.clone(), period);
        if let Err(error) = shell.turn(&key, &hpa).await {
            tracing::info!(?key, error, "an autoscaler's turn failed");
        }
        Ok(())
    })
    .await;
    Ok(())
}

/// How many autoscalers there are, and the sizes that they want.
fn collected(
    controller: &'static str,
    all: impl Fn() -> Vec<Arc<HorizontalPodAutoscaler>> + Send + Sync + 'static,
) -> counted::Collected {
    counted::collect(controller, move |out| {
        let all = all();
        let name = "horizontal_pod_autoscaler_controller_num_horizontal_pod_autoscalers";
        counted::gauge(out, (name, "[ALPHA] Autoscalers that are looked after."), [], [([], all.len() as f64)]);
        let wanted = all.iter().map(|hpa| {
            let wanted = hpa.status.as_ref().map_or(0, |status| status.desired_replicas);
            ([key::namespace(&hpa.metadata).to_owned(), key::name(&hpa.metadata).to_owned()], f64::from(wanted))
        });
        let name = "horizontal_pod_autoscaler_controller_desired_replicas";
        counted::gauge(out, (name, "[ALPHA] The size that an autoscaler wants."), ["namespace", "hpa_name"], wanted);
    })
}

impl Shell {
    /// One autoscaler's turn.
    async fn turn(&self, key: &Key, hpa: &HorizontalPodAutoscaler) -> Result<(), String> {
        let mut turn = Turn::new(hpa, Timestamp::now());
        // What is remembered is the turn's own until it is over: no two workers have the same key.
        let mut memory = self.memories.lock().get(key).cloned().unwrap_or_default();
        let begun = Instant::now();
        let done = self.decide(key, &mut turn, &mut memory).await;
        self.memories.lock().insert(key.clone(), memory);
        let written = if turn.has_changed() { self.write(key, &mut turn).await } else { Ok(()) };
        let labels = [turn.action, if written.is_ok() && done.is_ok() { "none" } else { "internal" }];
        counted::HPA_RECONCILIATIONS.with(&labels).add(1);
        counted::HPA_SECONDS.with(&labels).observe(begun.elapsed().as_secs_f64());
        let reference = object_reference(hpa);
        for (kind, reason, message) in turn.events {
            self.context.recorder.event(&reference, kind, reason, message);
        }
        written.and(done)
    }

    async fn write(&self, key: &Key, turn: &mut Turn) -> Result<(), String> {
        let api: Api<HorizontalPodAutoscaler> = Api::namespaced(self.context.client.clone(), &key.namespace);
        let Err(error) = api.replace_status(&key.name, &PostParams::default(), &turn.hpa).await else { return Ok(()) };
        let error = client::message(&error);
        turn.warn("FailedUpdateStatus", error.clone());
        Err(format!("failed to update status for {}: {error}", key.name))
    }

    async fn decide(&self, key: &Key, turn: &mut Turn, memory: &mut Memory) -> Result<(), String> {
        let reference = turn.hpa.spec.scale_target_ref.clone();
        let about = format!("{}/{}/{}", reference.kind, key.namespace, reference.name);
        let target = match self.scales.get(&key.namespace, &reference).await {
            Ok(target) => target,
            Err(error) => {
                turn.no_scale(&error);
                return Err(format!("failed to query scale subresource for {about}: {error}"));
            }
        };
        let current = target.wanted();
        memory.begin(current, turn.now);
        let window_secs = self.window_secs();
        let (plan, statuses, error) = match turn.need(current) {
            Need::Disabled => (Plan { desired: 0, reason: String::new(), rescale: false }, Vec::new(), None),
            Need::Bounds(desired, why) => (Plan { desired, reason: why.into(), rescale: true }, Vec::new(), None),
            Need::Metrics => {
                let (chosen, statuses, error) = self.measured(key, turn, &target).await;
                match chosen {
                    Ok(chosen) => (turn.plan(&chosen, current, window_secs, memory), statuses, error),
                    Err(error) => {
                        turn.sizes(current, None, statuses, false);
                        turn.warn("FailedComputeMetricsReplicas", error.clone());
                        let words = "failed to compute desired number of replicas based on listed metrics for";
                        return Err(format!("{words} {about}: {error}"));
                    }
                }
            }
        };
        if plan.rescale {
            if let Err(error) = self.scales.set(target, plan.desired).await {
                turn.not_rescaled(&plan, &error);
                turn.sizes(current, None, statuses, false);
                return Err(format!("failed to rescale {about}: {error}"));
            }
            turn.rescaled(&plan, current, window_secs, memory);
        }
        turn.sizes(current, Some(if plan.rescale { plan.desired } else { current }), statuses, plan.rescale);
        error.map_or(Ok(()), Err)
    }

    fn window_secs(&self) -> i32 {
        let window = self.context.config.horizontal_pod_autoscaler.downscale_stabilization;
        i32::try_from(window.as_secs()).unwrap_or(i32::MAX)
    }

    /// What all metrics together propose.
    async fn measured(
        &self,
        key: &Key,
        turn: &mut Turn,
        target: &Target,
    ) -> (Result<sync::Chosen, String>, Vec<MetricStatus>, Option<String>) {
        let text = target.selector();
        if text.is_empty() {
            let condition = "the HPA target's scale is missing a selector";
            let error = turn.bad_selector("SelectorRequired", "InvalidSelector", "selector is required", condition);
            return (Err(error), Vec::new(), None);
        }
        let selector = match LabelSelector::parse(text) {
            Ok(selector) => selector,
            Err(why) => {
                let error = format!("couldn't convert selector into a corresponding internal selector object: {why}");
                let error = turn.bad_selector("InvalidSelector", "InvalidSelector", &error, &error);
                return (Err(error), Vec::new(), None);
            }
        };
        let pods = self.selected.pods(key, &selector);
        let controlling = self.selected.controlling(&key.namespace, &pods);
        if controlling.len() > 1 {
            let keys: Vec<String> = controlling.iter().map(|key| format!("{key:?}")).collect();
            let error = format!("pods by selector {text} are controlled by multiple HPAs: [{}]", keys.join(" "));
            let error = turn.bad_selector("AmbiguousSelector", "AmbiguousSelector", &error, &error);
            return (Err(error), Vec::new(), None);
        }
        let own = &self.context.config.horizontal_pod_autoscaler;
        let span = |span| SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
        let workload = Workload {
            pods: &pods,
            current: target.wanted(),
            tolerances: if self.context.config.feature_gates.enabled(TOLERANCE) {
                sync::tolerances(&turn.hpa, own.tolerance)
            } else {
                Tolerances { down: own.tolerance, up: own.tolerance }
            },
            patience: Patience {
                cpu_initialization: span(own.cpu_initialization_period),
                initial_readiness: span(own.initial_readiness_delay),
            },
            now: turn.now,
        };
        let of = Of { namespace: &key.namespace, selector: &selector, pods: &pods };
        let specs = turn.hpa.spec.metrics.clone().unwrap_or_default();
        let mut proposals: Vec<Result<Proposal, Invalid>> = Vec::with_capacity(specs.len());
        for spec in &specs {
            let begun = Instant::now();
            let reading = self.metrics.read(spec, of, &self.selected, &self.scales).await;
            let proposal = proposals::proposal(spec, workload, target.there_are(), reading);
            let current = turn.hpa.status.as_ref().and_then(|status| status.current_replicas).unwrap_or(0);
            let labels = [sync::proposed(&proposal, current), sync::fault(&proposal), &spec.type_];
            counted::HPA_METRICS.with(&labels).add(1);
            counted::HPA_METRIC_SECONDS.with(&labels).observe(begun.elapsed().as_secs_f64());
            proposals.push(proposal);
        }
        turn.choose(proposals, target.wanted())
    }
}
