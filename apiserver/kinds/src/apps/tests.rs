//! What upstream says to each way of spoiling a workload.

use model::check::said;
use serde_json::json;

use super::*;

fn spec() -> Value {
    json!({
        "replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 10,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}, "podManagementPolicy": "OrderedReady",
        "template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {
                "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "terminationGracePeriodSeconds": 30,
                "containers": [{"name": "c", "image": "i", "imagePullPolicy": "Always", "terminationMessagePolicy": "File"}],
            },
        },
    })
}

fn check(rule: fn(&Value) -> ErrorList, change: fn(&mut Value), want: &[&str]) {
    let mut spec = spec();
    change(&mut spec);
    assert_eq!(said(&rule(&spec)), want);
}

#[test]
fn deployments() {
    let rule = |s: &Value| deployment::spec(s, &Path::new("spec"));
    check(rule, |_| {}, &[]);
    check(
        rule,
        |s| s["replicas"] = json!(-1),
        &["spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
    );
    check(
        rule,
        |s| s["selector"] = json!({}),
        &["spec.selector: Invalid value: {}: empty selector is invalid for deployment"],
    );
    check(
        rule,
        |s| s["selector"] = Value::Null,
        &[
            "spec.selector: Required value",
            "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`",
        ],
    );
    check(
        rule,
        |s| s["selector"]["matchLabels"] = json!({"x": "y"}),
        &["spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`"],
    );
    check(
        rule,
        |s| s["template"]["spec"]["restartPolicy"] = json!("Never"),
        &["spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""],
    );
    check(
        rule,
        |s| s["template"]["spec"]["containers"] = json!([]),
        &["spec.template.spec.containers: Required value"],
    );
    check(
        rule,
        |s| s["strategy"] = json!({"type": "Recreate", "rollingUpdate": {}}),
        &["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"],
    );
    check(
        rule,
        |s| s["strategy"]["rollingUpdate"] = json!({"maxUnavailable": "0%", "maxSurge": 0}),
        &["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": may not be 0 when `maxSurge` is 0"],
    );
    check(
        rule,
        |s| s["strategy"]["rollingUpdate"]["maxUnavailable"] = json!("110%"),
        &["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"110%\": must not be greater than 100%"],
    );
    check(
        rule,
        |s| s["progressDeadlineSeconds"] = json!(0),
        &["spec.progressDeadlineSeconds: Invalid value: 0: must be greater than minReadySeconds"],
    );
}

#[test]
fn statuses() {
    let status = json!({"replicas": 1, "readyReplicas": 2, "availableReplicas": 3});
    assert_eq!(
        said(&replicaset::status(&status, &Path::new("status"))),
        [
            "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas",
            "status.availableReplicas: Invalid value: 3: cannot be greater than status.replicas",
            "status.availableReplicas: Invalid value: 3: cannot be greater than readyReplicas",
        ]
    );
}
