use machinery::gvk::GroupVersionKind;
use serde_json::{Value, json};

fn there_and_back(object: &Value, from: (&str, &str), to: (&str, &str), kind: &str) -> Value {
    let (from, to) = (GroupVersionKind::new(from.0, from.1, kind), GroupVersionKind::new(to.0, to.1, kind));
    assert!(super::needed(&from, &to));
    let other = super::convert(object, &from, &to);
    assert_eq!(&super::convert(&other, &to, &from), object);
    other
}

#[test]
fn events_have_two_names_for_their_fields() {
    let core = json!({"apiVersion": "v1", "kind": "Event", "involvedObject": {"name": "a"}, "message": "m", "count": 2, "source": {"component": "k"}, "reportingComponent": "c", "reportingInstance": "i", "firstTimestamp": "2026-01-02T03:04:05Z"});
    let events = there_and_back(&core, ("", "v1"), ("events.k8s.io", "v1"), "Event");
    assert_eq!(
        events,
        json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "regarding": {"name": "a"}, "note": "m", "deprecatedCount": 2, "deprecatedSource": {"component": "k"}, "reportingController": "c", "reportingInstance": "i", "deprecatedFirstTimestamp": "2026-01-02T03:04:05Z"})
    );
}

#[test]
fn a_cpu_target_is_a_metric() {
    let v2 = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"}, "spec": {"maxReplicas": 3, "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}]}});
    let v1 = there_and_back(&v2, ("autoscaling", "v2"), ("autoscaling", "v1"), "HorizontalPodAutoscaler");
    assert_eq!(
        v1,
        json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"}, "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 70}})
    );
}

#[test]
fn what_v1_lacks_travels_in_annotations() {
    let v2 = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"annotations": {"x": "y"}}, "spec": {
        "behavior": {"scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]}},
        "metrics": [
            {"type": "Pods", "pods": {"metric": {"name": "rps"}, "target": {"type": "AverageValue", "averageValue": "10"}}},
            {"type": "Object", "object": {"metric": {"name": "q", "selector": {"matchLabels": {"a": "b"}}}, "describedObject": {"kind": "Service", "name": "s"}, "target": {"type": "Value", "value": "3"}}},
            {"type": "External", "external": {"metric": {"name": "e"}, "target": {"type": "AverageValue", "averageValue": "1"}}},
            {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c", "target": {"type": "Utilization", "averageUtilization": 5}}}
        ]},
        "status": {"currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageValue": "5m", "averageUtilization": 9}}}], "conditions": [{"type": "AbleToScale", "status": "True", "lastTransitionTime": null}]}});
    let v1 = there_and_back(&v2, ("autoscaling", "v2"), ("autoscaling", "v1"), "HorizontalPodAutoscaler");
    let annotations = &v1["metadata"]["annotations"];
    assert_eq!(
        annotations["autoscaling.alpha.kubernetes.io/behavior"],
        r#"{"ScaleUp":{"StabilizationWindowSeconds":0,"SelectPolicy":"Max","Policies":[{"Type":"Pods","Value":4,"PeriodSeconds":15}],"Tolerance":null},"ScaleDown":null}"#
    );
    assert_eq!(
        annotations["autoscaling.alpha.kubernetes.io/current-metrics"],
        r#"[{"type":"Resource","resource":{"name":"cpu","currentAverageUtilization":9,"currentAverageValue":"5m"}}]"#
    );
    assert!(
        annotations["autoscaling.alpha.kubernetes.io/metrics"]
            .as_str()
            .unwrap()
            .starts_with(r#"[{"type":"Pods","pods":{"metricName":"rps","targetAverageValue":"10"}}"#)
    );
    assert_eq!(v1["status"]["currentCPUUtilizationPercentage"], 9);
}

#[test]
fn nothing_else_is_converted() {
    let (v1, v2) = (GroupVersionKind::new("", "v1", "Pod"), GroupVersionKind::new("", "v2", "Pod"));
    assert!(!super::needed(&v1, &v2));
    assert_eq!(super::convert(&json!({"kind": "Pod"}), &v1, &v2), json!({"kind": "Pod"}));
}
