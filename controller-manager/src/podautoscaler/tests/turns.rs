//! What turns say: conditions, events, statuses of metrics.

use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, MetricSpec};

use super::*;
use crate::podautoscaler::{
    memory::Memory,
    proposals::{self, Invalid, Proposal, Reading, Unread},
    replicas::{Tolerances, Workload},
    requests::{Sample, Samples},
    sync::{self, Chosen, Need, Plan, Turn},
};

fn hpa(spec: Value) -> HorizontalPodAutoscaler {
    let mut whole =
        json!({"scaleTargetRef": {"kind": "Deployment", "name": "web", "apiVersion": "apps/v1"}, "maxReplicas": 10});
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "n"}, "spec": whole})).unwrap()
}

fn turn(spec: Value) -> Turn {
    Turn::new(&hpa(spec), now())
}

/// Each condition in a line.
fn conditions(turn: &Turn) -> Vec<String> {
    let all = turn.hpa.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
    let line = |c: &k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerCondition| {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        format!("{}={} {}: {}", c.type_, c.status, text(&c.reason), text(&c.message))
    };
    all.iter().map(line).collect()
}

const GOT: &str = "AbleToScale=True SucceededGetScale: the HPA controller was able to get the target's current scale";

#[test]
fn a_target_that_cannot_be_had() {
    let mut turn = turn(json!({}));
    turn.no_scale("deployments.apps \"web\" not found");
    let text = "the HPA controller was unable to get the target's current scale: deployments.apps \"web\" not found";
    assert_eq!(conditions(&turn), [format!("AbleToScale=False FailedGetScale: {text}")]);
    assert_eq!(turn.events, [("Warning", "FailedGetScale", "deployments.apps \"web\" not found".to_owned())]);
    assert!(turn.has_changed());
}

#[test]
fn sizes_that_need_no_metrics() {
    let spec = json!({"minReplicas": 3, "maxReplicas": 5});
    let above = Need::Bounds(5, "Current number of replicas above Spec.MaxReplicas");
    let below = Need::Bounds(3, "Current number of replicas below Spec.MinReplicas");
    for (current, need) in [(2, below), (3, Need::Metrics), (5, Need::Metrics), (6, above)] {
        let mut turn = turn(spec.clone());
        assert_eq!((turn.need(current), conditions(&turn)), (need, vec![GOT.to_owned()]), "{current}");
    }
    // An alpha feature's condition goes.
    let mut before = hpa(json!({}));
    before.status = serde_json::from_value(json!({
        "desiredReplicas": 0, "conditions": [{"type": "ScaledToZero", "status": "True"}],
    }))
    .unwrap();
    let mut turn = Turn::new(&before, now());
    assert_eq!(turn.need(0), Need::Disabled);
    let off = "ScalingActive=False ScalingDisabled: scaling is disabled since the replica count of the target is zero";
    assert_eq!(conditions(&turn), [GOT, off]);
}

fn proposes(replicas: i32, metric: &str) -> Result<Proposal, Invalid> {
    Ok(Proposal { replicas, metric: metric.into(), status: Default::default() })
}

fn invalid(reason: &'static str, message: &str) -> Result<Proposal, Invalid> {
    Err(Invalid { reason, message: message.into(), summary: format!("failed: {message}") })
}

#[test]
fn the_largest_proposal_is_chosen_and_a_fault_allows_no_less() {
    let found = |metric| {
        format!(
            "ScalingActive=True ValidMetricFound: the HPA was able to successfully calculate a replica count from {metric}"
        )
    };
    let chosen = |replicas, metric: &str| Ok(Chosen { replicas, metric: metric.into() });
    let fault = "ScalingActive=False FailedGetPodsMetric: the HPA was unable to compute the replica count: no";
    let one_of_two = "invalid metrics (1 invalid out of 2), first error is: failed: no";
    let two_of_two = "invalid metrics (2 invalid out of 2), first error is: failed: no";
    let bad = || invalid("FailedGetPodsMetric", "no");
    let other = || invalid("FailedGetObjectMetric", "neither");
    for (what, proposals, outcome, condition) in [
        ("the largest", vec![proposes(2, "a"), proposes(4, "b"), proposes(3, "c")], (chosen(4, "b"), None), found("b")),
        ("of equal ones the first", vec![proposes(4, "a"), proposes(4, "b")], (chosen(4, "a"), None), found("a")),
        ("more, though one is wrong", vec![bad(), proposes(4, "b")], (chosen(4, "b"), Some(one_of_two)), found("b")),
        ("as many, though one is wrong", vec![proposes(3, "b"), bad()], (chosen(3, "b"), Some(one_of_two)), found("b")),
        ("less, and one is wrong", vec![bad(), proposes(2, "b")], (Err(one_of_two), None), fault.into()),
        ("all wrong", vec![bad(), other()], (Err(two_of_two), None), fault.into()),
    ] {
        let (mut turn, number) = (turn(json!({})), proposals.len());
        let wrong = proposals.iter().filter(|p| p.is_err()).count();
        let (got, statuses, error) = turn.choose(proposals, 3);
        assert_eq!((got, error.as_deref()), (outcome.0.map_err(str::to_owned), outcome.1), "{what}");
        assert_eq!((statuses.len(), turn.events.len()), (number, wrong), "{what}");
        assert_eq!(conditions(&turn), [condition], "{what}");
    }
}

#[test]
fn a_plan_is_made_carried_out_or_refused() {
    let mut memory = Memory::default();
    memory.begin(3, now());
    let mut turn = turn(json!({"behavior": {"scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max",
        "policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]}}}));
    let chosen = Chosen { replicas: 9, metric: "cpu resource".into() };
    let plan = turn.plan(&chosen, 3, 300, &mut memory);
    let want = Plan { desired: 5, reason: "cpu resource above target".into(), rescale: true };
    assert_eq!(plan, want);
    turn.rescaled(&plan, 3, 300, &mut memory);
    turn.sizes(3, Some(5), Vec::new(), true);
    let limited =
        "ScalingLimited=True ScaleUpLimit: the desired replica count is increasing faster than the maximum scale rate";
    let able = "AbleToScale=True SucceededRescale: the HPA controller was able to update the target scale to 5";
    assert_eq!(conditions(&turn), [able, limited]);
    assert_eq!(
        turn.events,
        [("Normal", "SuccessfulRescale", "New size: 5; reason: cpu resource above target".to_owned())]
    );
    let status = turn.hpa.status.clone().unwrap();
    assert_eq!((status.current_replicas, status.desired_replicas), (Some(3), 5));
    assert_eq!(status.last_scale_time.map(|t| t.0), Some(now()));
    assert_eq!(memory.ups.len(), 1);
    // Two were added a moment ago: no more in this minute.
    let again = turn.plan(&chosen, 5, 300, &mut memory);
    assert_eq!((again.desired, again.rescale), (5, false));

    let mut turn = super::turns::turn(json!({}));
    let plan = Plan { desired: 2, reason: "All metrics below target".into(), rescale: true };
    turn.not_rescaled(&plan, "no");
    let text = "the HPA controller was unable to update the target scale: no";
    assert_eq!(conditions(&turn), [format!("AbleToScale=False FailedUpdateScale: {text}")]);
    let event = "New size: 2; reason: All metrics below target; error: no";
    assert_eq!(turn.events, [("Warning", "FailedRescale", event.to_owned())]);
}

#[test]
fn less_is_done_once_nothing_more_was_recommended_for_a_while() {
    let mut memory = Memory::default();
    memory.recommendations.push((5, secs_ago(200)));
    let chosen = Chosen { replicas: 2, metric: "m".into() };
    let mut turn = turn(json!({}));
    assert_eq!(turn.plan(&chosen, 5, 300, &mut memory).desired, 5);
    let kept = "AbleToScale=True ScaleDownStabilized: recent recommendations were higher than current one, applying the highest recent recommendation";
    assert_eq!(conditions(&turn)[0], kept);
    memory.recommendations = vec![(5, secs_ago(301))];
    let plan = turn.plan(&chosen, 5, 300, &mut memory);
    assert_eq!(plan, Plan { desired: 2, reason: "All metrics below target".into(), rescale: true });
    let able = "AbleToScale=True ReadyForNewScale: recommended size matches current size";
    let range = "ScalingLimited=False DesiredWithinRange: the desired count is within the acceptable range";
    assert_eq!(conditions(&turn), [able, range]);
}

#[test]
fn a_turn_that_changes_nothing_writes_nothing() {
    let mut first = turn(json!({}));
    first.need(3);
    first.sizes(3, Some(3), Vec::new(), false);
    assert!(first.has_changed());
    // As it comes back from the server.
    let before: HorizontalPodAutoscaler = serde_json::from_value(serde_json::to_value(&first.hpa).unwrap()).unwrap();
    let later = now() + SignedDuration::from_secs(15);
    let mut second = Turn::new(&before, later);
    second.need(3);
    second.sizes(3, Some(3), Vec::new(), false);
    assert!(!second.has_changed());
    second.condition("AbleToScale", true, "Other", "");
    assert!(second.has_changed());
    let of =
        |turn: &Turn| turn.hpa.status.as_ref().unwrap().conditions.as_ref().unwrap()[0].last_transition_time.clone();
    assert_eq!(of(&second), of(&first), "the status is the same");
    second.condition("AbleToScale", false, "Other", "");
    assert_eq!(of(&second).unwrap().0, later);
}

#[test]
fn tolerances_are_the_autoscalers_or_the_controllers() {
    let own = json!({"behavior": {"scaleDown": {"tolerance": "50m"}, "scaleUp": {"tolerance": "0"}}});
    assert_eq!(sync::tolerances(&hpa(own), 0.1), Tolerances { down: 0.05, up: 0.0 });
    let half = json!({"behavior": {"scaleUp": {"tolerance": "1"}}});
    assert_eq!(sync::tolerances(&hpa(half), 0.1), Tolerances { down: 0.1, up: 1.0 });
    assert_eq!(sync::tolerances(&hpa(json!({})), 0.1), Tolerances { down: 0.1, up: 0.1 });
}

/// What a metric proposes for three pods that request half a processor and 1 GiB each.
fn proposal(spec: Value, reading: Result<Reading, Unread>) -> Result<Proposal, Invalid> {
    let pods: Vec<Arc<Pod>> =
        ["a", "b", "c"].iter().map(|name| requesting(name, json!({"cpu": "500m", "memory": "1Gi"}))).collect();
    let tolerances = Tolerances { down: 0.1, up: 0.1 };
    let workload = Workload { pods: &pods, current: 3, tolerances, patience: PATIENCE, now: now() };
    let spec: MetricSpec = serde_json::from_value(spec).unwrap();
    proposals::proposal(&spec, workload, 3, reading)
}

fn of_pods(value: i64) -> Result<Reading, Unread> {
    let sample = |name: &str| (name.to_owned(), Sample { at: now(), window: SignedDuration::from_secs(15), value });
    Ok(Reading::Pods(["a", "b", "c"].into_iter().map(sample).collect::<Samples>()))
}

fn resource(name: &str, target: Value) -> Value {
    json!({"type": "Resource", "resource": {"name": name, "target": target}})
}

#[test]
fn each_sort_of_metric_proposes() {
    let utilization = json!({"type": "Utilization", "averageUtilization": 50});
    let identified = json!({"name": "qps", "selector": {"matchLabels": {"k": "v"}}});
    let object = json!({"kind": "Ingress", "name": "i", "apiVersion": "networking.k8s.io/v1"});
    let in_go = "&LabelSelector{MatchLabels:map[string]string{k: v,},MatchExpressions:[]LabelSelectorRequirement{},}";
    let external_name = format!("external metric qps({in_go})");
    let container = json!({"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c", "target": utilization}});
    for (spec, reading, replicas, metric, status) in [
        (
            resource("cpu", utilization.clone()),
            of_pods(500),
            6,
            "cpu resource utilization (percentage of request)",
            json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 100, "averageValue": "500m"}}}),
        ),
        (
            resource("memory", json!({"type": "AverageValue", "averageValue": "512Mi"})),
            of_pods((256 << 20) * 1000),
            2,
            "memory resource",
            json!({"type": "Resource", "resource": {"name": "memory", "current": {"averageValue": "256Mi"}}}),
        ),
        (
            container,
            of_pods(250),
            3,
            "cpu container resource utilization (percentage of request)",
            json!({"type": "ContainerResource", "containerResource": {
                "name": "cpu", "container": "c", "current": {"averageUtilization": 50, "averageValue": "250m"},
            }}),
        ),
        (
            json!({"type": "Pods", "pods": {"metric": {"name": "qps"}, "target": {"type": "AverageValue", "averageValue": "10"}}}),
            of_pods(20_000),
            6,
            "pods metric qps",
            json!({"type": "Pods", "pods": {"metric": {"name": "qps"}, "current": {"averageValue": "20"}}}),
        ),
        (
            json!({"type": "Object", "object": {"metric": {"name": "qps"}, "describedObject": object, "target": {"type": "Value", "value": "10"}}}),
            Ok(Reading::Object(20_000)),
            6,
            "Ingress metric qps",
            json!({"type": "Object", "object": {"metric": {"name": "qps"}, "describedObject": object, "current": {"value": "20"}}}),
        ),
        (
            json!({"type": "Object", "object": {"metric": {"name": "qps"}, "describedObject": object, "target": {"type": "AverageValue", "averageValue": "5"}}}),
            Ok(Reading::Object(20_000)),
            4,
            "external metric qps(nil)",
            json!({"type": "Object", "object": {"metric": {"name": "qps"}, "describedObject": object, "current": {"averageValue": "6667m"}}}),
        ),
        (
            json!({"type": "External", "external": {"metric": identified, "target": {"type": "Value", "value": "10"}}}),
            Ok(Reading::External(vec![15_000, 5_000])),
            6,
            external_name.as_str(),
            json!({"type": "External", "external": {"metric": identified, "current": {"value": "20"}}}),
        ),
        (
            json!({"type": "External", "external": {"metric": identified, "target": {"type": "AverageValue", "averageValue": "5"}}}),
            Ok(Reading::External(vec![20_000])),
            4,
            external_name.as_str(),
            json!({"type": "External", "external": {"metric": identified, "current": {"averageValue": "6667m"}}}),
        ),
    ] {
        let got = proposal(spec.clone(), reading).unwrap_or_else(|wrong| panic!("{spec}: {wrong:?}"));
        assert_eq!((got.replicas, got.metric.as_str()), (replicas, metric), "{spec}");
        assert_eq!(serde_json::to_value(got.status).unwrap(), status, "{spec}");
    }
}

#[test]
fn faults_are_worded_as_upstream() {
    let asked = |why: &str| Err(Unread::Asked(why.into()));
    let utilization = json!({"type": "Utilization", "averageUtilization": 50});
    let average = json!({"type": "AverageValue", "averageValue": "1"});
    let object = |target: Value| {
        let described = json!({"kind": "Ingress", "name": "i"});
        json!({"type": "Object", "object": {"metric": {"name": "qps"}, "describedObject": described, "target": target}})
    };
    let external = |target: Value| json!({"type": "External", "external": {"metric": {"name": "q"}, "target": target}});
    let container = json!({"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "x", "target": utilization}});
    let pods = json!({"type": "Pods", "pods": {"metric": {"name": "qps"}, "target": average}});
    for (spec, reading, reason, message, before) in [
        (
            resource("cpu", utilization.clone()),
            asked("E"),
            "FailedGetResourceMetric",
            "failed to get cpu utilization: unable to get metrics for resource cpu: E",
            "failed to get cpu resource metric value: ",
        ),
        (
            resource("cpu", average.clone()),
            asked("E"),
            "FailedGetResourceMetric",
            "failed to get cpu usage: unable to get metrics for resource cpu: E",
            "failed to get cpu resource metric value: ",
        ),
        (
            resource("cpu", json!({"type": "Utilization"})),
            of_pods(1),
            "FailedGetResourceMetric",
            "invalid resource metric source: neither an average utilization target nor an average value (usage) target was set",
            "failed to get cpu resource metric value: ",
        ),
        (
            container,
            of_pods(1),
            "FailedGetContainerResourceMetric",
            "failed to get cpu utilization: container x not found in Pod a",
            "failed to get x container metric value: ",
        ),
        (
            pods.clone(),
            asked("E"),
            "FailedGetPodsMetric",
            "unable to get metric qps: E",
            "failed to get pods metric value: ",
        ),
        (pods, Err(Unread::Selector("S".into())), "FailedGetPodsMetric", "S", "failed to get pods metric value: "),
        (
            object(json!({"type": "Value", "value": "1"})),
            asked("E"),
            "FailedGetObjectMetric",
            "E",
            "failed to get object metric value: ",
        ),
        (
            object(average.clone()),
            asked("E"),
            "FailedGetObjectMetric",
            "E",
            "failed to get object metric value: failed to get qps object metric: ",
        ),
        (
            external(json!({"type": "Value", "value": "1"})),
            asked("E"),
            "FailedGetExternalMetric",
            "E",
            "failed to get q external metric value: failed to get external metric q: ",
        ),
        (
            external(average),
            asked("E"),
            "FailedGetExternalMetric",
            "E",
            "failed to get q external metric value: failed to get q external metric: ",
        ),
        (json!({"type": "Other"}), asked("E"), "InvalidMetricSourceType", "unknown metric source type \"Other\"", ""),
    ] {
        let got = proposal(spec.clone(), reading).expect_err("a fault");
        let summary = format!("{before}{message}");
        assert_eq!((got.reason, got.message.as_str(), got.summary), (reason, message, summary), "{spec}");
    }
}
