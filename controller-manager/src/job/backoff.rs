//! How long the successor of a failed pod is waited with: 10 seconds after the first failure, twice as long after each
//! further one, at most ten minutes; a success begins anew. Upstream: `backoff_utils.go`.

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    api::core::v1::{ContainerStatus, Pod},
    jiff::{SignedDuration, Timestamp},
};

use crate::util::pods;

const FIRST: SignedDuration = SignedDuration::from_secs(10);
const MOST: SignedDuration = SignedDuration::from_secs(600);

/// The failures of a job's pods since the last success.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Failures {
    pub(super) count: i32,
    pub(super) last: Option<Timestamp>,
}

impl Failures {
    /// With pods that ended since.
    pub(super) fn after(&self, succeeded: &[Arc<Pod>], failed: &[Arc<Pod>]) -> Self {
        let times = |pods: &[Arc<Pod>]| pods.iter().filter_map(|pod| finished_at(pod)).collect::<Vec<_>>();
        let mut failures = times(failed);
        let since = if succeeded.is_empty() {
            self.clone()
        } else {
            let success = times(succeeded).into_iter().max();
            failures.retain(|failure| success.is_none_or(|success| *failure > success));
            Self::default()
        };
        Self { count: since.count + failures.len() as i32, last: failures.into_iter().max().or(since.last) }
    }

    /// What is left of the wait; nothing if it is over.
    pub(super) fn remaining(&self, now: Timestamp) -> Option<Duration> {
        remaining(self.count, self.last, now)
    }
}

/// The wait of an index whose newest pod has failed as the `count`th.
pub(super) fn remaining(count: i32, last: Option<Timestamp>, now: Timestamp) -> Option<Duration> {
    let doublings = u32::try_from(count.checked_sub(1)?).ok()?.min(10);
    let wait = (FIRST * (1 << doublings)).min(MOST);
    let left = wait.checked_sub(now.duration_since(last?))?;
    Duration::try_from(left).ok().filter(|left| !left.is_zero())
}

/// When the pod ended: its last container; or when it was no more ready; or when its deletion was asked for; or, which
/// does not happen with a kubelet, when it was made.
pub(super) fn finished_at(pod: &Pod) -> Option<Timestamp> {
    let condition = pods::condition(pod, "Ready").filter(|c| c.status == "False");
    let unready = || condition.and_then(|c| c.last_transition_time.as_ref()).map(|t| t.0).filter(|t| !is_zero(*t));
    let grace = SignedDuration::from_secs(pod.metadata.deletion_grace_period_seconds.unwrap_or(0));
    let deleted = || pod.metadata.deletion_timestamp.as_ref().and_then(|t| t.0.checked_sub(grace).ok());
    let made = || pod.metadata.creation_timestamp.as_ref().map(|t| t.0);
    of_containers(pod).or_else(unready).or_else(deleted).or_else(made)
}

/// None unless all containers have ended, the sidecars too.
fn of_containers(pod: &Pod) -> Option<Timestamp> {
    let status = pod.status.as_ref()?;
    let sidecars = pod.spec.iter().flat_map(|s| s.init_containers.iter().flatten());
    let sidecars: Vec<&str> =
        sidecars.filter(|c| c.restart_policy.as_deref() == Some("Always")).map(|c| c.name.as_str()).collect();
    let ended = |container: &ContainerStatus| {
        let at = container.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref()?.0;
        (!is_zero(at)).then_some(at)
    };
    let regular = status.container_statuses.iter().flatten();
    let init = status.init_container_statuses.iter().flatten().filter(|c| sidecars.contains(&c.name.as_str()));
    regular.chain(init).map(ended).collect::<Option<Vec<_>>>()?.into_iter().max()
}

/// Go's time that was never set, which a status can have.
fn is_zero(at: Timestamp) -> bool {
    at.as_second() == -62_135_596_800
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    fn text(seconds: i64) -> String {
        machinery::time::rfc3339(at(seconds))
    }

    fn container(name: &str, finished: Option<i64>) -> Value {
        let state = match finished {
            Some(seconds) => json!({"terminated": {"exitCode": 1, "finishedAt": text(seconds)}}),
            None => json!({"running": {}}),
        };
        json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state})
    }

    fn pod(meta: Value, status: Value) -> Pod {
        let sidecar = json!({"name": "side", "restartPolicy": "Always"});
        let spec = json!({"containers": [], "initContainers": [sidecar, {"name": "init"}]});
        serde_json::from_value(json!({"metadata": meta, "spec": spec, "status": status})).unwrap()
    }

    fn ended(seconds: i64) -> Arc<Pod> {
        Arc::new(pod(json!({}), json!({"containerStatuses": [container("c", Some(seconds))]})))
    }

    #[test]
    fn the_end_of_a_pod() {
        let meta =
            json!({"creationTimestamp": text(1), "deletionTimestamp": text(90), "deletionGracePeriodSeconds": 30});
        let ready = |status: &str, seconds: i64| json!([{"type": "Ready", "status": status, "lastTransitionTime": text(seconds)}]);
        for (meta, status, want) in [
            (json!({}), json!({"containerStatuses": [container("a", Some(5)), container("b", Some(7))]}), 7),
            (
                meta.clone(),
                json!({"containerStatuses": [container("a", Some(5)), container("b", None)], "conditions": ready("False", 8)}),
                8,
            ),
            (
                json!({}),
                json!({"containerStatuses": [container("a", Some(5))], "initContainerStatuses": [container("side", Some(9))]}),
                9,
            ),
            (
                json!({}),
                json!({"containerStatuses": [container("a", Some(5))], "initContainerStatuses": [container("init", Some(9))]}),
                5,
            ),
            (
                meta.clone(),
                json!({"containerStatuses": [container("a", Some(5))], "initContainerStatuses": [container("side", None)]}),
                60,
            ),
            (meta, json!({"conditions": ready("True", 8)}), 60),
            (json!({"creationTimestamp": text(1)}), json!({"conditions": ready("True", 8)}), 1),
        ] {
            assert_eq!(finished_at(&pod(meta, status.clone())), Some(at(want)), "{status}");
        }
    }

    #[test]
    fn failures_count_since_the_last_success() {
        let known = Failures { count: 2, last: Some(at(10)) };
        assert_eq!(known.after(&[], &[]), known);
        assert_eq!(known.after(&[], &[ended(30), ended(20)]), Failures { count: 4, last: Some(at(30)) });
        assert_eq!(known.after(&[ended(15)], &[]), Failures::default());
        let mixed = known.after(&[ended(21), ended(5)], &[ended(20), ended(22), ended(30), ended(21)]);
        assert_eq!(mixed, Failures { count: 2, last: Some(at(30)) });
        assert_eq!(known.after(&[ended(40)], &[ended(30)]), Failures::default());
    }

    #[test]
    fn the_wait_doubles_up_to_ten_minutes() {
        for (count, elapsed, want) in [
            (0, 0, None),
            (1, 0, Some(10)),
            (1, 4, Some(6)),
            (1, 10, None),
            (1, 11, None),
            (2, 0, Some(20)),
            (3, 0, Some(40)),
            (6, 0, Some(320)),
            (7, 0, Some(600)),
            (i32::MAX, 599, Some(1)),
            (1, -5, Some(15)),
        ] {
            let left = Failures { count, last: Some(at(0)) }.remaining(at(elapsed));
            assert_eq!(left, want.map(Duration::from_secs), "{count} {elapsed}");
        }
        assert_eq!(Failures::default().remaining(at(0)), None);
    }
}
