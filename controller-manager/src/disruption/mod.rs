//! Disruption budgets: how many of its pods a budget lets be evicted now. The eviction itself takes one of these, in the
//! budget's status, and so is refused when none is left.
//!
//! Upstream: `pkg/controller/disruption`. Pods that say for long that they are about to be evicted, and are not, are put
//! right too.

mod scale;
mod sync;

use std::{sync::Arc, time::Duration};

use client::{Change, Informer};
use controller::{Queue, object_reference, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::{
    api::{
        core::v1::Pod,
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus},
    },
    jiff::Timestamp,
};
use kube::{Api, api::PostParams};

use crate::{
    context::Context,
    util::{
        conditions::quote,
        key::{self, Key},
        pods::disrupt,
        selector::Selector,
    },
};
use scale::{Scales, Sizes};

/// A pod is given up the moment after its time is over, not at it.
const RECHECK_AFTER: Duration = Duration::from_millis(10);

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

struct Shell {
    context: Context,
    budgets: Informer<PodDisruptionBudget>,
    pods: Informer<Pod>,
    scales: Scales,
    queue: Queue<Key>,
    /// Pods that say that they are about to be taken away.
    stale: Queue<Key>,
}

async fn run(context: Context) -> anyhow::Result<()> {
    let (i, cancel) = (context.informers.clone(), context.cancel.clone());
    let scales = Scales::new(&i, context.client.clone());
    let (queue, stale) = (Queue::new(), Queue::new());
    let shell = Arc::new(Shell { context, budgets: i.of(), pods: i.of(), scales, queue, stale });
    let s = shell.clone();
    shell.budgets.on_change(move |change| s.queue.add(Key::of(&change.object().metadata)));
    let s = shell.clone();
    shell.pods.on_change(move |change| s.pod_changed(change));
    shell.budgets.synced().await;
    shell.pods.synced().await;
    shell.scales.synced().await;
    let name = shell.context.name;
    tokio::join!(
        run_workers(name, &shell.queue, 1, cancel.clone(), |key| shell.reconcile(key)),
        run_workers("disruption-stale-pods", &shell.stale, 1, cancel.clone(), |key| shell.clear_stale(key)),
    );
    Ok(())
}

/// The pods that a budget selects; none if it has no selector. A budget with an empty one selects all.
fn selector(budget: &PodDisruptionBudget) -> Result<Option<Selector>, String> {
    let Some(selector) = budget.spec.as_ref().and_then(|s| s.selector.as_ref()) else { return Ok(None) };
    Selector::new(selector).map(Some).ok_or_else(|| "not a valid label selector".to_owned())
}

impl Shell {
    fn pod_changed(&self, change: &Change<Pod>) {
        let pod = change.object();
        match change {
            Change::Updated { old, new } if !sync::matters(old, new) => {}
            Change::Updated { old, new } => {
                if old.metadata.labels != new.metadata.labels {
                    self.wake(old);
                }
                self.wake(new);
            }
            Change::Added(pod) | Change::Deleted(pod) => self.wake(pod),
        }
        if !matches!(change, Change::Deleted(_))
            && let Some(wait) = sync::stale_in(pod, Timestamp::now())
        {
            self.stale.add_after(Key::of(&pod.metadata), wait);
        }
    }

    fn wake(&self, pod: &Pod) {
        let labels = pod.metadata.labels.as_ref();
        let mut budgets = self.budgets.list_namespace(key::namespace(&pod.metadata));
        budgets.retain(|budget| matches!(selector(budget), Ok(Some(s)) if s.matches(labels)));
        budgets.iter().for_each(|budget| self.queue.add(Key::of(&budget.metadata)));
        if let [first, _, ..] = &budgets[..] {
            let meta = &pod.metadata;
            let (namespace, name) = (quote(key::namespace(meta)), quote(key::name(meta)));
            let chosen = quote(key::name(&first.metadata));
            let message =
                format!("Pod {namespace}/{name} matches multiple PodDisruptionBudgets.  Chose {chosen} arbitrarily.");
            self.context.recorder.event(&object_reference(pod), "Warning", "MultiplePodDisruptionBudgets", message);
        }
    }

    async fn reconcile(&self, key: Key) -> anyhow::Result<()> {
        let Some(budget) = self.budgets.get(Some(&key.namespace), &key.name) else { return Ok(()) };
        let failed = match self.status(&key, &budget).await {
            Ok(None) => return Ok(()),
            Ok(Some(status)) => match self.write(&key, &budget, status).await {
                Ok(()) => return Ok(()),
                // Somebody evicted meanwhile: all is to be thought of again.
                Err(e) if client::is_conflict(&e) => return Err(e.into()),
                Err(e) => client::message(&e),
            },
            Err(error) => error.downcast_ref().map_or_else(|| format!("{error:#}"), client::message),
        };
        tracing::info!(?key, error = failed, "disruption budget not calculated: nothing may be evicted");
        self.write(&key, &budget, sync::fail_safe(&budget, &failed, Timestamp::now())).await?;
        Ok(())
    }

    /// The status as it should be, or nothing if it is.
    async fn status(
        &self,
        key: &Key,
        budget: &PodDisruptionBudget,
    ) -> anyhow::Result<Option<PodDisruptionBudgetStatus>> {
        let say = |kind: &str, reason: &str, message: String| {
            self.context.recorder.event(&object_reference(budget), kind, reason, message);
        };
        let pods = match selector(budget) {
            Err(why) => {
                say("Warning", "NoPods", format!("Failed to get pods: {why}"));
                anyhow::bail!(why);
            }
            Ok(None) => vec![],
            Ok(Some(selector)) => selector.select(&self.pods, &key.namespace),
        };
        if pods.is_empty() {
            say("Normal", "NoPods", "No matching pods found".into());
        }
        let scale = match sync::needs_scale(budget) {
            true => self.scales.of(&pods).await.inspect_err(|error| {
                let why = format!("Failed to calculate the number of expected pods: {error:#}");
                say("Warning", "CalculateExpectedPodCountFailed", why);
            })?,
            false => Sizes::default(),
        };
        if !scale.unmanaged.is_empty() {
            let selector = sync::printed(budget.spec.as_ref().and_then(|s| s.selector.as_ref()));
            say(
                "Warning",
                "UnmanagedPods",
                format!(
                    "Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. As a result, \
                 the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account \
                 for these pods please set \".spec.minAvailable\" field of the PDB to an integer value."
                ),
            );
        }
        let plan = sync::sync(budget, &pods, scale.total, Timestamp::now());
        for pod in &plan.not_deleted {
            // Upstream gives the namespace twice and no name; who reads it compares.
            let of = format!("{0}/{0}", key.namespace);
            let message = format!("Pod was expected by PDB {of} to be deleted but it wasn't");
            self.context.recorder.event(&object_reference(&**pod), "Warning", "NotDeleted", message);
        }
        if let Some(wait) = plan.recheck {
            self.queue.add_after(key.clone(), wait + RECHECK_AFTER);
        }
        Ok(plan.status)
    }

    async fn write(
        &self,
        key: &Key,
        budget: &PodDisruptionBudget,
        status: PodDisruptionBudgetStatus,
    ) -> kube::Result<()> {
        let new = PodDisruptionBudget { status: Some(status), ..budget.clone() };
        let api: Api<PodDisruptionBudget> = Api::namespaced(self.context.client.clone(), &key.namespace);
        match api.replace_status(&key.name, &PostParams::default(), &new).await {
            Err(e) if !client::is_not_found(&e) => Err(e),
            _ => Ok(()),
        }
    }

    async fn clear_stale(&self, key: Key) -> anyhow::Result<()> {
        let Some(pod) = self.pods.get(Some(&key.namespace), &key.name) else { return Ok(()) };
        match sync::stale_in(&pod, Timestamp::now()) {
            None => {}
            Some(wait) if wait.is_zero() => {
                disrupt::clear(&Api::namespaced(self.context.client.clone(), &key.namespace), &pod).await?;
            }
            Some(wait) => self.stale.add_after(key, wait),
        }
        Ok(())
    }
}
