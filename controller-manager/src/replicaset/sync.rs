//! The decisions: how many pods to make or delete, which, and what the status says.

use std::{collections::HashMap, sync::Arc, time::Duration};

use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};

use super::{
    Replicas,
    members::{Member, matching},
};
use crate::util::{pods, selector::Selector};

/// The status of either kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Status {
    pub(crate) replicas: i32,
    pub(crate) fully_labeled: i32,
    pub(crate) ready: i32,
    pub(crate) available: i32,
    pub(crate) terminating: Option<i32>,
    pub(crate) observed_generation: i64,
    pub(crate) conditions: Vec<Condition>,
}

/// A condition of either kind.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Condition {
    pub(crate) kind: String,
    pub(crate) status: String,
    pub(crate) reason: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) since: Option<Timestamp>,
}

/// What to do about the number of pods.
#[derive(Debug, PartialEq)]
pub(crate) enum Manage {
    Nothing,
    Create(usize),
    Delete(usize),
}

/// Compares what is wanted with what is there; never more than `burst` at once.
pub(crate) fn manage(wanted: i32, there: usize, burst: usize) -> Manage {
    let wanted = wanted.max(0) as usize;
    match there {
        n if n < wanted => Manage::Create((wanted - n).min(burst)),
        n if n > wanted => Manage::Delete((n - wanted).min(burst)),
        _ => Manage::Nothing,
    }
}

/// The `n` pods to give up. `related` are those by whose nodes crowding is judged.
pub(crate) fn pods_to_delete(mine: &[Arc<Pod>], related: &[Arc<Pod>], n: usize, now: Timestamp) -> Vec<Arc<Pod>> {
    let mut on_node: HashMap<&str, usize> = HashMap::new();
    for pod in related.iter().filter(|p| pods::is_active(p)) {
        *on_node.entry(pods::node_name(pod)).or_default() += 1;
    }
    let rank = |p: &Pod| on_node.get(pods::node_name(p)).copied().unwrap_or(0);
    let mut ordered = mine.to_vec();
    if n < mine.len() {
        ordered.sort_by(|a, b| pods::deletion_order((a, rank(a)), (b, rank(b)), now));
    }
    ordered.truncate(n);
    ordered
}

/// The ages of the ready ones of those that are given up, in whole ages of the youngest ready pod. Where all go, none was
/// chosen.
pub(crate) fn age_ratios(mine: &[Arc<Pod>], doomed: &[Arc<Pod>], now: Timestamp) -> Vec<f64> {
    let age = |pod: &Pod| {
        let made = pod.metadata.creation_timestamp.as_ref().map_or(now, |t| t.0);
        i64::try_from(now.duration_since(made).as_millis()).unwrap_or(i64::MAX)
    };
    let ready = |pod: &&Arc<Pod>| pods::is_ready(pod);
    let youngest = mine.iter().filter(ready).map(|pod| age(pod)).min().filter(|_| doomed.len() < mine.len());
    let Some(youngest) = youngest.filter(|age| *age > 0) else { return vec![] };
    doomed.iter().filter(ready).map(|pod| (age(pod) / youngest) as f64).collect()
}

/// The new status, but for the observed generation.
pub(crate) fn status<R: Replicas>(
    set: &R,
    mine: &[Member],
    terminating: usize,
    failure: Option<&str>,
    now: Timestamp,
) -> Status {
    let mut status = set.status();
    let template = set.template().metadata.and_then(|m| m.labels).unwrap_or_default();
    let template = Selector::of_labels(template);
    let count = |f: &mut dyn FnMut(&Member) -> bool| mine.iter().filter(|member| f(member)).count() as i32;
    let wait = set.min_ready_seconds();
    status.replicas = mine.len() as i32;
    status.fully_labeled = count(&mut matching(&template));
    status.ready = count(&mut |member| member.is_ready());
    status.available = count(&mut |member| member.is_available(wait, now));
    status.terminating = R::COUNTS_TERMINATING.then_some(terminating as i32);
    let known = status.conditions.iter().any(|c| c.kind == "ReplicaFailure");
    match failure {
        Some(why) if !known => status.conditions.push(Condition {
            kind: "ReplicaFailure".into(),
            status: "True".into(),
            reason: Some(if (mine.len() as i32) < set.replicas() { "FailedCreate" } else { "FailedDelete" }.into()),
            message: Some(why.into()),
            since: Some(now),
        }),
        None if known => status.conditions.retain(|c| c.kind != "ReplicaFailure"),
        _ => {}
    }
    status
}

/// When a ready pod will next become available, if the set waits for that.
pub(crate) fn next_check<R: Replicas>(set: &R, mine: &[Member], status: &Status, now: Timestamp) -> Option<Duration> {
    let wait = set.min_ready_seconds();
    if wait <= 0 || status.ready == status.available {
        return None;
    }
    let next = mine.iter().filter_map(|member| member.next_availability(wait, now).flatten()).min();
    Some(next.and_then(|d| Duration::try_from(d).ok()).unwrap_or(Duration::from_secs(wait as u64)))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::ReplicaSet;
    use serde_json::json;

    use super::*;

    fn pod(name: &str, label: &str, ready: bool) -> Arc<Pod> {
        let status = if ready { "True" } else { "False" };
        let condition = json!({"type": "Ready", "status": status, "lastTransitionTime": "2026-01-01T12:00:00Z"});
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name, "labels": {"app": label}},
                "status": {"phase": "Running", "conditions": [condition]},
            }))
            .unwrap(),
        )
    }

    fn set(replicas: i32, min_ready: i32) -> ReplicaSet {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "generation": 2},
            "spec": {
                "replicas": replicas, "minReadySeconds": min_ready, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}},
            },
        }))
        .unwrap()
    }

    #[test]
    fn the_difference_is_made_up_within_the_burst() {
        assert_eq!(manage(3, 3, 500), Manage::Nothing);
        assert_eq!(manage(3, 1, 500), Manage::Create(2));
        assert_eq!(manage(1000, 1, 500), Manage::Create(500));
        assert_eq!(manage(0, 2, 500), Manage::Delete(2));
        assert_eq!(manage(0, 3, 2), Manage::Delete(2));
    }

    #[test]
    fn the_unready_pod_is_given_up_first() {
        let mine = [pod("a", "web", true), pod("b", "web", false), pod("c", "web", true)];
        let doomed = pods_to_delete(&mine, &mine, 1, Timestamp::now());
        assert_eq!(doomed[0].metadata.name.as_deref(), Some("b"));
    }

    #[test]
    fn the_status_counts_and_a_failure_comes_and_goes() {
        let now: Timestamp = "2026-01-01T12:00:05Z".parse().unwrap();
        let mine = [pod("a", "web", true), pod("b", "other", false)].map(|pod| Member::of(&pod));
        let s = status(&set(3, 10), &mine, 1, Some("no quota"), now);
        assert_eq!((s.replicas, s.fully_labeled, s.ready, s.available, s.terminating), (2, 1, 1, 0, Some(1)));
        assert_eq!(s.conditions[0].reason.as_deref(), Some("FailedCreate"));
        assert_eq!(s.conditions[0].message.as_deref(), Some("no quota"));
        assert_eq!(next_check(&set(3, 10), &mine, &s, now), Some(Duration::from_secs(5)));
        let mut failed = set(3, 0);
        failed.set_status(s);
        let s = status(&failed, &mine, 0, None, now);
        assert!(s.conditions.is_empty());
        assert_eq!((s.available, next_check(&failed, &mine, &s, now)), (1, None));
    }
}
