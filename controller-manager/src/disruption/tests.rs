//! Disruption budgets by table: how many pods may be evicted, and what the status says of it.

use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-01-01T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn budget(spec: Value, status: Value) -> PodDisruptionBudget {
    serde_json::from_value(
        json!({"metadata": {"name": "b", "namespace": "ns", "generation": 3}, "spec": spec, "status": status}),
    )
    .unwrap()
}

fn status(healthy: i32, desired: i32, expected: i32, allowed: i32) -> Value {
    let (value, reason) = if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let condition = json!({
        "type": "DisruptionAllowed", "status": value, "reason": reason, "message": "", "observedGeneration": 3,
        "lastTransitionTime": NOW,
    });
    json!({
        "currentHealthy": healthy, "desiredHealthy": desired, "expectedPods": expected, "disruptionsAllowed": allowed,
        "observedGeneration": 3, "conditions": [condition],
    })
}

fn pod(name: &str, ready: bool, deleted: bool) -> Arc<Pod> {
    let mut meta = json!({"name": name});
    if deleted {
        meta["deletionTimestamp"] = json!(NOW);
    }
    let ready = json!({"type": "Ready", "status": if ready { "True" } else { "False" }});
    Arc::new(serde_json::from_value(json!({"metadata": meta, "status": {"conditions": [ready]}})).unwrap())
}

fn check(spec: Value, pods: &[Arc<Pod>], scale: i32, want: Value) {
    let plan = sync(&budget(spec.clone(), Value::Null), pods, scale, now());
    assert_eq!(serde_json::to_value(plan.status).unwrap(), want, "{spec}");
    // What says so already is left alone.
    let again = sync(&budget(spec.clone(), want), pods, scale, now() + SignedDuration::from_secs(9));
    assert_eq!(again, Plan::default(), "{spec}");
}

#[test]
fn budgets_by_numbers_and_percentages() {
    let pods = |ready: usize, unready: usize| {
        let all = (0..ready + unready).map(|i| pod(&format!("p{i}"), i < ready, false));
        all.collect::<Vec<_>>()
    };
    check(json!({"minAvailable": 3}), &pods(3, 1), 0, status(3, 3, 4, 0));
    check(json!({"minAvailable": 2}), &pods(3, 1), 0, status(3, 2, 4, 1));
    check(json!({"minAvailable": 0}), &pods(2, 0), 0, status(2, 0, 2, 2));
    check(json!({"minAvailable": 0}), &[], 0, status(0, 0, 0, 0));
    check(json!({"minAvailable": "28%"}), &pods(5, 0), 5, status(5, 2, 5, 3));
    check(json!({"minAvailable": "67%"}), &pods(2, 0), 3, status(2, 3, 3, 0));
    check(json!({"maxUnavailable": 1}), &pods(5, 0), 5, status(5, 4, 5, 1));
    check(json!({"maxUnavailable": 9}), &pods(5, 0), 5, status(5, 0, 5, 5));
    check(json!({"maxUnavailable": "30%"}), &pods(7, 0), 7, status(7, 4, 7, 3));
    check(json!({"maxUnavailable": "30%"}), &pods(3, 0), 7, status(3, 4, 7, 0));
    check(json!({}), &pods(1, 0), 0, status(1, 0, 0, 0));
}

#[test]
fn pods_that_go_are_not_healthy() {
    let pods = [pod("a", true, false), pod("b", true, true), pod("c", false, false)];
    check(json!({"minAvailable": 1}), &pods, 0, status(1, 1, 3, 0));
}

#[test]
fn workloads_are_asked_only_where_their_size_matters() {
    let check = |spec: Value, want: bool| assert_eq!(needs_scale(&budget(spec.clone(), Value::Null)), want, "{spec}");
    check(json!({"minAvailable": 1}), false);
    check(json!({"minAvailable": "1%"}), true);
    check(json!({"maxUnavailable": 1}), true);
    check(json!({}), false);
}

/// An eviction is believed for two minutes.
#[test]
fn evicted_pods_count_again_when_nobody_deletes_them() {
    let pods = ["just", "long", "gone-by-now"].map(|name| pod(name, true, name == "gone-by-now"));
    let evicted = |of: Value| {
        let mut before = status(0, 0, 0, 0);
        before["disruptedPods"] = of;
        budget(json!({"minAvailable": 0}), before)
    };
    let all = json!({
        "just": "2026-01-01T11:58:30Z", "long": "2026-01-01T11:57:59Z", "gone-by-now": "2026-01-01T11:59:00Z",
        "nobody": "2026-01-01T11:59:00Z",
    });
    let plan = sync(&evicted(all), &pods, 0, now());
    let got = plan.status.unwrap();
    let left: Vec<_> = got.disrupted_pods.unwrap().into_keys().collect();
    assert_eq!((left, got.current_healthy, got.disruptions_allowed), (vec!["just".to_owned()], Some(1), Some(1)));
    assert_eq!(plan.recheck, Some(Duration::from_secs(30)));
    let names: Vec<_> = plan.not_deleted.iter().map(|p| key::name(&p.metadata)).collect();
    assert_eq!(names, ["long"]);
    // At the very end it counts again, and is still noted.
    let plan = sync(&evicted(json!({"just": "2026-01-01T11:58:00Z"})), &pods[..1], 0, now());
    let got = plan.status.unwrap();
    assert_eq!(
        (got.disrupted_pods.unwrap().len(), got.current_healthy, plan.recheck),
        (1, Some(1), Some(Duration::ZERO))
    );
}

#[test]
fn a_new_generation_is_observed_and_a_wrong_condition_put_right() {
    let pods = [pod("a", true, false)];
    let spec = json!({"minAvailable": 0});
    let right = status(1, 0, 1, 1);
    let mut old = right.clone();
    old["observedGeneration"] = json!(2);
    let got = sync(&budget(spec.clone(), old), &pods, 0, now() + SignedDuration::from_secs(9)).status.unwrap();
    assert_eq!(serde_json::to_value(got).unwrap(), right, "the transition was then");
    for (key, value) in [("status", "False"), ("reason", "Other")] {
        let mut wrong = right.clone();
        wrong["conditions"][0][key] = json!(value);
        let got = sync(&budget(spec.clone(), wrong), &pods, 0, now()).status.unwrap();
        assert_eq!(serde_json::to_value(got).unwrap(), right, "{key}");
    }
}

#[test]
fn what_can_not_be_calculated_allows_nothing() {
    let got = fail_safe(&budget(json!({}), status(2, 1, 2, 1)), "why", now() + SignedDuration::from_secs(1));
    let mut want = status(2, 1, 2, 1);
    want["disruptionsAllowed"] = json!(0);
    want["conditions"][0] = json!({
        "type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed", "message": "why", "observedGeneration": 3,
        "lastTransitionTime": "2026-01-01T12:00:01Z",
    });
    assert_eq!(serde_json::to_value(got).unwrap(), want);
}

#[test]
fn a_disruption_that_does_not_come_is_stale_after_two_minutes() {
    let check = |condition: Value, phase: &str, deleted: bool, want: Option<u64>| {
        let mut meta = json!({"name": "p"});
        if deleted {
            meta["deletionTimestamp"] = json!(NOW);
        }
        let status = json!({"phase": phase, "conditions": [condition]});
        let pod: Pod = serde_json::from_value(json!({"metadata": meta, "status": status})).unwrap();
        assert_eq!(stale_in(&pod, now()), want.map(Duration::from_secs), "{status}");
    };
    let told = |status: &str, reason: &str, at: &str| json!({"type": "DisruptionTarget", "status": status, "reason": reason, "lastTransitionTime": at});
    let evicted = told("True", "EvictionByEvictionAPI", "2026-01-01T11:59:00Z");
    check(evicted.clone(), "Running", false, Some(60));
    check(told("True", "EvictionByEvictionAPI", "2026-01-01T11:58:00Z"), "Pending", false, Some(0));
    check(told("True", "EvictionByEvictionAPI", "2026-01-01T09:00:00Z"), "Pending", false, Some(0));
    check(evicted.clone(), "Running", true, None);
    check(evicted.clone(), "Failed", false, None);
    check(told("False", "", NOW), "Running", false, None);
    check(told("True", "TerminationByKubelet", "2026-01-01T09:00:00Z"), "Running", false, None);
    check(json!({"type": "Ready", "status": "True"}), "Running", false, None);
}

#[test]
fn selectors_print_as_in_go() {
    let selector = serde_json::from_value(json!({
        "matchLabels": {"b": "2", "a": "1"},
        "matchExpressions": [{"key": "k", "operator": "In", "values": ["x", "y"]}],
    }));
    assert_eq!(
        printed(Some(&selector.unwrap())),
        "&LabelSelector{MatchLabels:map[string]string{a: 1,b: 2,},MatchExpressions:[]LabelSelectorRequirement{\
         LabelSelectorRequirement{Key:k,Operator:In,Values:[x y],},},}"
    );
}
