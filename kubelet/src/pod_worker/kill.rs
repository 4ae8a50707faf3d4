//! Ending containers: preStop, the stop signal, and after the grace period the kill. Upstream: kuberuntime_container.go,
//! killContainer.

use super::{Desired, Ending, Worker, step::KillReason};
use crate::{
    cri::{self, observe},
    hooks,
    node_agent::Agent,
    pod,
};
use k8s_openapi::api::core::v1::{Container, Pod};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// The least that a container is given.
const MINIMUM_GRACE_SECS: i64 = 2;

/// What ending a container needs; owns all of it, so that it can go on while its pod's worker looks around.
#[derive(Clone)]
pub(super) struct Kill {
    pub(super) agent: Arc<Agent>,
    pub(super) pod: Arc<Pod>,
    pub(super) pod_ip: String,
}

/// No more than this is waited for anything: what a client may write is beyond what clocks can add.
const LONGEST_SECS: i64 = 10 * 365 * 24 * 3600;

/// How long a pod that ends is given, in seconds: what the API says, or less if the kubelet wants it sooner, or else what the
/// pod's spec says; never less than one. Upstream: pod_workers.go, calculateEffectiveGracePeriod.
pub(super) fn effective(pod: &Pod, given: Option<i64>) -> i64 {
    let deletion = pod.metadata.deletion_grace_period_seconds;
    let least = match (deletion, given) {
        (Some(deletion), Some(given)) if deletion != 0 => Some(deletion.min(given)),
        (deletion, given) => given.or(deletion),
    };
    least.or(pod::spec(pod).termination_grace_period_seconds).unwrap_or(0).clamp(1, LONGEST_SECS)
}

/// How long one container of a pod that goes on is given, in seconds. Upstream: kuberuntime_container.go,
/// setTerminationGracePeriod.
fn grace(pod: &Pod, container: Option<&Container>, reason: KillReason) -> i64 {
    if let Some(seconds) = pod.metadata.deletion_grace_period_seconds {
        return seconds.min(LONGEST_SECS);
    }
    let probe = match reason {
        KillReason::StartupProbe => container.and_then(|c| c.startup_probe.as_ref()),
        KillReason::LivenessProbe => container.and_then(|c| c.liveness_probe.as_ref()),
        KillReason::Other => None,
    };
    let own = probe.and_then(|p| p.termination_grace_period_seconds);
    own.or(pod::spec(pod).termination_grace_period_seconds).unwrap_or(MINIMUM_GRACE_SECS).min(LONGEST_SECS)
}

impl Kill {
    /// Returns when the container has ended.
    pub(super) async fn container(
        &self,
        id: &str,
        name: &str,
        message: &str,
        reason: KillReason,
        given: Option<i64>,
    ) -> cri::Result<()> {
        let found = pod::find(&self.pod, name).map(|f| f.1.into_owned());
        let started = Instant::now();
        let mut seconds = given.unwrap_or_else(|| grace(&self.pod, found.as_ref(), reason));
        let message = if message.is_empty() { format!("Stopping container {name}") } else { message.to_owned() };
        self.agent.events.pod(&self.pod, Some(name), "Normal", "Killing", &message);
        let hook = found.as_ref().and_then(|c| c.lifecycle.as_ref()).and_then(|l| l.pre_stop.as_ref());
        if let (Some(hook), Some(container)) = (hook, found.as_ref())
            && seconds > 0
        {
            let run = hooks::run(self.agent.runtime.as_ref(), &self.pod, container, id, &self.pod_ip, hook);
            match tokio::time::timeout(Duration::from_secs(seconds as u64), run).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(pod = pod::format(&self.pod), container = name, error, "preStop hook failed");
                    self.agent.events.pod(&self.pod, Some(name), "Warning", "FailedPreStopHook", "PreStopHook failed");
                }
                Err(_) => tracing::info!(
                    pod = pod::format(&self.pod),
                    container = name,
                    "preStop hook did not end in its grace period"
                ),
            }
            seconds -= started.elapsed().as_secs() as i64;
        }
        let seconds = seconds.max(MINIMUM_GRACE_SECS);
        match self.agent.runtime.stop_container(id, Duration::from_secs(seconds as u64)).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    /// All containers at once, sidecars after the others and in reverse order, then the sandboxes. The ids of those that stopped.
    pub(super) async fn pod(self, observed: observe::Pod, seconds: i64, message: String) -> (Vec<String>, bool) {
        let mut clean = true;
        let sidecars: Vec<String> =
            pod::init_containers(&self.pod).iter().filter(|c| pod::is_sidecar(c)).map(|c| c.name.clone()).collect();
        let deadline = Instant::now() + Duration::from_secs(seconds.unsigned_abs());
        let (late, first): (Vec<_>, Vec<_>) = observed.running().partition(|c| sidecars.contains(&c.name));
        clean &= self.together(&first, Some(seconds), &message).await;
        for name in sidecars.iter().rev() {
            let left = deadline.saturating_duration_since(Instant::now()).as_secs() as i64;
            let now: Vec<_> = late.iter().filter(|c| c.name == *name).copied().collect();
            clean &= self.together(&now, Some(left.max(MINIMUM_GRACE_SECS)), &message).await;
        }
        let mut stopped = Vec::new();
        if clean {
            for sandbox in &observed.sandboxes {
                match self.agent.runtime.stop_sandbox(&sandbox.id).await {
                    Err(error) if !error.is_not_found() => {
                        tracing::warn!(pod = pod::format(&self.pod), %error, "cannot stop a sandbox");
                        self.agent.events.pod(&self.pod, None, "Warning", "FailedKillPod", &format!("error killing pod: failed to \"KillPodSandbox\" for {:?} with KillPodSandboxError: {:?}", pod::uid(&self.pod), error.to_string()));
                        clean = false;
                    }
                    _ => stopped.push(sandbox.id.clone()),
                }
            }
        }
        (stopped, clean)
    }

    async fn together(&self, containers: &[&observe::Container], given: Option<i64>, message: &str) -> bool {
        let kills = containers.iter().map(|c| self.container(&c.id, &c.name, message, KillReason::Other, given));
        let outcomes = futures::future::join_all(kills).await;
        for error in outcomes.iter().filter_map(|o| o.as_ref().err()) {
            tracing::warn!(pod = pod::format(&self.pod), %error, "cannot kill a container");
        }
        outcomes.iter().all(Result::is_ok)
    }
}

impl Worker {
    /// Ends the pod's containers and sandboxes, and tells of each one that ended. A grace period that became shorter meanwhile
    /// starts it over. True if all of it is done.
    pub(super) async fn kill(
        &mut self,
        desired: &Desired,
        observed: &observe::Pod,
        given: Option<i64>,
        message: &str,
    ) -> bool {
        let kill =
            Kill { agent: self.agent.clone(), pod: desired.pod.clone(), pod_ip: self.pod_ip(&desired.pod, observed) };
        let planned = effective(&desired.pod, given);
        let mut work = std::pin::pin!(kill.pod(observed.clone(), planned, message.to_owned()));
        let (stopped, clean) = loop {
            tokio::select! {
                done = &mut work => break done,
                changed = self.desired.changed() => {
                    let next = self.desired.borrow().clone();
                    let ending = self.ending(&next, &self.old);
                    let shorter = |ending: &Ending| effective(&next.pod, ending.grace) < planned;
                    if changed.is_err() || ending.as_ref().is_some_and(shorter) {
                        return false;
                    }
                }
                () = self.wake.notified() => {
                    let next = self.desired.borrow().clone();
                    if let Ok(now) = observe::observe(self.agent.runtime.as_ref(), pod::uid(&next.pod), &mut self.ended).await {
                        self.look(&next.pod, &now);
                        self.publish(&next, &now, false);
                    }
                }
            }
        };
        self.memory.stopped.extend(stopped);
        if !clean {
            tokio::time::sleep(super::RETRY).await;
        }
        clean
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn periods() {
        for (deletion, spec, given, expected) in [
            (None, Some(30), None, 30),
            (None, Some(-1), None, 1),
            (None, None, None, 1),
            (Some(5), Some(30), None, 5),
            (Some(0), Some(30), None, 1),
            (Some(30), Some(30), Some(1), 1),
            (Some(1), Some(30), Some(20), 1),
            (Some(0), Some(30), Some(20), 20),
            (None, Some(30), Some(20), 20),
            (None, Some(i64::MAX), None, LONGEST_SECS),
        ] {
            let pod: Pod = serde_json::from_value(json!({
                "metadata": {"deletionGracePeriodSeconds": deletion},
                "spec": {"terminationGracePeriodSeconds": spec, "containers": []}
            }))
            .expect("a pod");
            assert_eq!(effective(&pod, given), expected, "{deletion:?} {spec:?} {given:?}");
        }
    }
}
