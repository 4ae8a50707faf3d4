//! The faults of upstream's own tests of autoscalers.

use serde_json::json;

use super::*;
use model::check::said;

fn of(change: impl FnOnce(&mut Value)) -> Value {
    let mut autoscaler = json!({
        "metadata": {"name": "a", "namespace": "default"},
        "spec": {
            "scaleTargetRef": {"kind": "Deployment", "apiVersion": "apps/v1", "name": "d"},
            "minReplicas": 1,
            "maxReplicas": 5,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}],
        },
    });
    change(&mut autoscaler["spec"]);
    autoscaler
}

fn check(change: impl FnOnce(&mut Value), want: &[&str]) {
    let autoscaler = of(change);
    assert_eq!(said(&validate(&autoscaler, None)), want, "{autoscaler}");
}

#[test]
fn numbers_of_replicas() {
    check(|_| {}, &[]);
    check(|s| s["minReplicas"] = Value::Null, &[]);
    check(
        |s| s["minReplicas"] = json!(0),
        &[
            "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
            "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas",
        ],
    );
    check(
        |s| s["minReplicas"] = json!(7),
        &["spec.maxReplicas: Invalid value: 5: must be greater than or equal to `minReplicas`"],
    );
    check(
        |s| s["maxReplicas"] = json!(0),
        &[
            "spec.maxReplicas: Required value: must be set and greater than 0",
            "spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`",
        ],
    );
    check(
        |s| s["maxReplicas"] = json!(-1),
        &[
            "spec.maxReplicas: Invalid value: -1: must be greater than or equal to 1",
            "spec.maxReplicas: Invalid value: -1: must be greater than or equal to `minReplicas`",
        ],
    );
    // Zero may stay.
    let zero = of(|s| {
        s["minReplicas"] = json!(0);
        s["metrics"] = json!([{"type": "External", "external": {"metric": {"name": "m"}, "target": {"type": "Value", "value": "1"}}}]);
    });
    assert_eq!(validate(&zero, Some(&zero)), []);
    assert_eq!(validate(&zero, Some(&of(|_| {}))).len(), 1);
}

#[test]
fn what_is_scaled() {
    let target = |target: Value, want: &[&str]| {
        let want: Vec<String> = want.iter().map(|fault| format!("spec.scaleTargetRef.{fault}")).collect();
        let want: Vec<&str> = want.iter().map(String::as_str).collect();
        check(|s| s["scaleTargetRef"] = target, &want);
    };
    target(json!({"name": "d", "apiVersion": "apps/v1"}), &["kind: Required value"]);
    target(
        json!({"kind": "..", "name": "d", "apiVersion": "apps/v1"}),
        &[r#"kind: Invalid value: "..": may not be '..'"#],
    );
    target(json!({"kind": "D", "apiVersion": "apps/v1"}), &["name: Required value"]);
    target(
        json!({"kind": "D", "name": "a/b", "apiVersion": "apps/v1"}),
        &[r#"name: Invalid value: "a/b": may not contain '/'"#],
    );
    target(json!({"kind": "D", "name": "d"}), &[r#"apiVersion: Invalid value: "": apiVersion must specify API group"#]);
    target(
        json!({"kind": "D", "name": "d", "apiVersion": "apps/v1/v3"}),
        &[r#"apiVersion: Invalid value: "apps/v1/v3": unexpected GroupVersion string: apps/v1/v3"#],
    );
    target(json!({"kind": "ReplicationController", "name": "d"}), &[]);
    // What was there is not looked at again.
    let old = of(|s| s["scaleTargetRef"]["apiVersion"] = json!("apps/v1/v3"));
    assert_eq!(validate(&old, Some(&old)), []);
    assert_eq!(validate(&old, Some(&of(|_| {}))).len(), 1);
    let described = |version: &str| {
        of(|s| {
            let target = json!({"type": "Value", "value": "1"});
            let object = json!({"describedObject": {"kind": "K", "name": "n", "apiVersion": version}, "metric": {"name": "m"}, "target": target});
            s["metrics"] = json!([{"type": "Object", "object": object}]);
        })
    };
    assert_eq!(validate(&described("v1"), None), []);
    assert_eq!(validate(&described("a/b/d"), Some(&described("a/b/c"))), []);
    assert_eq!(
        said(&validate(&described("a/b/c"), Some(&described("v1")))),
        [
            r#"spec.metrics[0].object.describedObject.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c"#
        ]
    );
}

fn metric(metric: Value, want: &[&str]) {
    let want: Vec<String> = want.iter().map(|fault| format!("spec.metrics[0]{fault}")).collect();
    let want: Vec<&str> = want.iter().map(String::as_str).collect();
    check(|s| s["metrics"] = json!([metric]), &want);
}

#[test]
fn metrics_of_resources() {
    let unset = "must set either a target raw value or a target utilization";
    let both = "may not set both a target raw value and a target utilization";
    let resource = |resource: Value| json!({"type": "Resource", "resource": resource});
    let container = |source: Value| json!({"type": "ContainerResource", "containerResource": source});
    let percent = |n: i64| json!({"type": "Utilization", "averageUtilization": n});
    let value = json!({"type": "AverageValue", "averageValue": "100m"});
    let two = json!({"type": "Utilization", "averageUtilization": 70, "averageValue": "1"});
    metric(resource(json!({"name": "cpu", "target": value})), &[]);
    metric(
        resource(json!({"name": "cpu", "target": two})),
        &[&format!(".resource.target.averageValue: Forbidden: {both}")],
    );
    metric(resource(json!({"target": percent(70)})), &[".resource.name: Required value: must specify a resource name"]);
    metric(
        resource(json!({"name": "cpu", "target": percent(-10)})),
        &[".resource.target.averageUtilization: Invalid value: -10: must be greater than 0"],
    );
    metric(
        resource(json!({"name": "cpu", "target": {"type": "Value"}})),
        &[&format!(".resource.target.averageUtilization: Required value: {unset}")],
    );
    metric(container(json!({"name": "cpu", "container": "c", "target": value})), &[]);
    metric(
        container(json!({"name": "cpu", "container": "c", "target": two})),
        &[&format!(".containerResource.target.averageValue: Forbidden: {both}")],
    );
    metric(
        container(json!({"target": percent(0)})),
        &[
            ".containerResource.name: Required value: must specify a resource name",
            ".containerResource.container: Required value: must specify a container",
            ".containerResource.target.averageUtilization: Invalid value: 0: must be greater than 0",
        ],
    );
    metric(
        container(json!({"name": "InvalidResource", "container": "c", "target": value})),
        &[
            r#".containerResource.name: Invalid value: "InvalidResource": must be a standard resource type or fully qualified"#,
            r#".containerResource.name: Invalid value: "InvalidResource": must be a standard resource for containers"#,
        ],
    );
    let label = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
    metric(
        container(json!({"name": "cpu", "container": "---***", "target": value})),
        &[&format!(".containerResource.container: Invalid value: \"---***\": {label}")],
    );
    metric(
        container(json!({"name": "cpu", "container": "c", "target": {"type": "Value"}})),
        &[&format!(".containerResource.target.averageUtilization: Required value: {unset}")],
    );
}

#[test]
fn metrics_of_objects_pods_and_others() {
    let named = json!({"name": "m"});
    let value = json!({"type": "Value", "value": "1"});
    let pods = |metric: &Value, target: &Value| json!({"type": "Pods", "pods": {"metric": metric, "target": target}});
    let external =
        |metric: &Value, target: &Value| json!({"type": "External", "external": {"metric": metric, "target": target}});
    metric(pods(&named, &json!({"type": "AverageValue", "averageValue": "1"})), &[]);
    metric(
        pods(&json!({}), &value),
        &[
            ".pods.metric.name: Required value: must specify a metric name",
            ".pods.target.averageValue: Required value: must specify a positive target averageValue",
        ],
    );
    metric(external(&named, &value), &[]);
    metric(
        external(&json!({"name": "foo/../"}), &value),
        &[r#".external.metric.name: Invalid value: "foo/../": may not contain '/'"#],
    );
    metric(
        external(&named, &json!({"type": "Value"})),
        &[
            ".external.target.averageValue: Required value: must set either a target value for metric or a per-pod target",
        ],
    );
    metric(
        external(&named, &json!({"type": "Value", "value": "1", "averageValue": "-1"})),
        &[
            r#".external.target.averageValue: Invalid value: "-1": must be positive"#,
            ".external.target.value: Forbidden: may not set both a target value for metric and a per-pod target",
        ],
    );
    metric(
        external(&named, &json!({"value": "0"})),
        &[
            ".external.target.type: Required value: must specify a metric target type",
            r#".external.target.type: Invalid value: "": must be either Utilization, Value, or AverageValue"#,
            r#".external.target.value: Invalid value: "0": must be positive"#,
        ],
    );
    let object =
        json!({"describedObject": {"name": "n", "apiVersion": "v1"}, "metric": {}, "target": {"type": "Value"}});
    metric(
        json!({"type": "Object", "object": object}),
        &[
            ".object.describedObject.kind: Required value",
            ".object.metric.name: Required value: must specify a metric name",
            ".object.target.averageValue: Required value: must set either a target value or averageValue",
        ],
    );
}

#[test]
fn metrics_have_the_source_of_their_type_alone() {
    let supported = r#"supported values: "ContainerResource", "External", "Object", "Pods", "Resource""#;
    let unknown = |kind: &str| format!(".type: Unsupported value: \"{kind}\": {supported}");
    metric(json!({}), &[".type: Required value: must specify a metric source type", &unknown(""), &unknown("")]);
    metric(json!({"type": "InvalidType"}), &[&unknown("InvalidType"), &unknown("InvalidType")]);
    let resource = json!({"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}});
    let pods = json!({"metric": {}, "target": {}});
    metric(
        json!({"type": "Resource", "resource": resource, "pods": pods}),
        &[
            ".pods.metric.name: Required value: must specify a metric name",
            ".pods.target.type: Required value: must specify a metric target type",
            r#".pods.target.type: Invalid value: "": must be either Utilization, Value, or AverageValue"#,
            ".pods.target.averageValue: Required value: must specify a positive target averageValue",
            ".pods: Forbidden: must populate the given metric source only",
        ],
    );
    metric(
        json!({"type": "Pods", "resource": resource}),
        &[".pods: Required value: must populate information for the given metric source"],
    );
}

#[test]
fn behavior_has_policies_within_bounds() {
    for field in ["scaleUp", "scaleDown"] {
        let rules = |change: fn(&mut Value), want: &[&str]| {
            let want: Vec<String> = want.iter().map(|fault| format!("spec.behavior.{field}.{fault}")).collect();
            let want: Vec<&str> = want.iter().map(String::as_str).collect();
            let mut rules = json!({"policies": [{"type": "Pods", "value": 1, "periodSeconds": 1800}]});
            change(&mut rules);
            check(|s| s["behavior"] = json!({field: rules}), &want);
        };
        rules(|_| {}, &[]);
        rules(|r| r["tolerance"] = json!("0.1"), &[]);
        rules(|r| r["policies"] = json!([]), &["policies: Required value: must specify at least one Policy"]);
        rules(
            |r| r["stabilizationWindowSeconds"] = json!(3601),
            &["stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600"],
        );
        rules(
            |r| r["stabilizationWindowSeconds"] = json!(-1),
            &["stabilizationWindowSeconds: Invalid value: -1: must be greater than or equal to zero"],
        );
        rules(
            |r| r["selectPolicy"] = json!("incorrect"),
            &[r#"selectPolicy: Unsupported value: "incorrect": supported values: "Disabled", "Max", "Min""#],
        );
        rules(
            |r| r["policies"][0]["type"] = json!("hm"),
            &[r#"policies[0].type: Unsupported value: "hm": supported values: "Percent", "Pods""#],
        );
        rules(
            |r| r["policies"][0]["periodSeconds"] = json!(1801),
            &["policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800"],
        );
        for (member, value) in [("value", 0), ("value", -1), ("periodSeconds", 0), ("periodSeconds", -1)] {
            let mut bad = json!({"policies": [{"type": "Percent", "value": 1, "periodSeconds": 1}]});
            bad["policies"][0][member] = json!(value);
            let want = format!(
                "spec.behavior.{field}.policies[0].{member}: Invalid value: {value}: must be greater than zero"
            );
            check(|s| s["behavior"] = json!({field: bad}), &[&want]);
        }
        rules(
            |r| r["tolerance"] = json!("-0.01"),
            &[r#"tolerance: Invalid value: "-10m": must be greater than or equal to 0"#],
        );
    }
}

#[test]
fn a_status_counts_nothing_below_zero() {
    assert_eq!(status(&json!({"currentReplicas": 2, "desiredReplicas": 3})), []);
    assert_eq!(
        said(&status(&json!({"currentReplicas": -1, "desiredReplicas": -3}))),
        [
            "status.currentReplicas: Invalid value: -1: must be greater than or equal to 0",
            "status.desiredReplicas: Invalid value: -3: must be greater than or equal to 0",
        ]
    );
}
