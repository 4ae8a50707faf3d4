//! Rows of Tables: each kind has its cells, and they say what upstream's printers say.

use expect_test::{Expect, expect};
use ferry_apiserver_negotiation::table::render;
use jiff::Timestamp;
use kinds::catalogue::rows;
use model::resource::{Sort, Verb};
use serde_json::{Value, json};
use writes::strategy::Kind;

fn now() -> Timestamp {
    "2026-01-02T12:00:00Z".parse().expect("a time")
}

fn row(resource: &str) -> Kind {
    rows().into_iter().find(|r| r.resource == resource && r.sort != Sort::Virtual).expect("a row")
}

fn check(resource: &str, object: Value, expected: Expect) {
    let table = render(&row(resource), &[object], json!({}), "None", now());
    let cells: Vec<String> =
        table["rows"][0]["cells"].as_array().expect("cells").iter().map(Value::to_string).collect();
    expected.assert_eq(&cells.join(" "));
}

#[test]
fn annotations_mark_default_classes_and_name_the_class_of_old_volumes() {
    let annotated = |key: &str, value: &str, spec: Value| json!({"metadata": {"name": "a", "annotations": {key: value}}, "spec": spec});
    for key in ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"] {
        let mut class = annotated(key, "true", Value::Null);
        class["provisioner"] = "p".into();
        let expected = expect![[r#""a (default)" "p" "Delete" "Immediate" false "<unknown>""#]];
        check("storageclasses", class, expected);
    }
    check(
        "storageclasses",
        annotated("storageclass.kubernetes.io/is-default-class", "false", Value::Null),
        expect![[r#""a" "" "Delete" "Immediate" false "<unknown>""#]],
    );
    check(
        "ingressclasses",
        annotated("ingressclass.kubernetes.io/is-default-class", "true", json!({"controller": "c"})),
        expect![[r#""a (default)" "c" "<none>" "<unknown>""#]],
    );
    check(
        "persistentvolumeclaims",
        annotated("volume.beta.kubernetes.io/storage-class", "old", json!({"storageClassName": "new"})),
        expect![[r#""a" "" "" "" "" "old" "<unset>" "<unknown>" "<unset>""#]],
    );
}

#[test]
fn every_row_has_a_cell_for_each_column() {
    for row in rows().into_iter().filter(|r| r.verbs.contains(&Verb::List)) {
        let table = render(&row, &[json!({"metadata": {"name": "a"}})], json!({}), "Metadata", now());
        let cells = table["rows"][0]["cells"].as_array().unwrap().len();
        let columns = table["columnDefinitions"].as_array().unwrap().len();
        // Upstream's IPAddress prints an age that it has no column for.
        assert_eq!(cells, columns + usize::from(row.resource == "ipaddresses"), "{}", row.resource);
        assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    }
}

fn pod(spec: Value, status: Value) -> Value {
    json!({"metadata": {"name": "p", "creationTimestamp": "2026-01-02T11:00:00Z"}, "spec": spec, "status": status})
}

#[test]
fn pods_say_what_their_containers_do() {
    let spec = || json!({"containers": [{"name": "a"}, {"name": "b"}], "nodeName": "n"});
    let running =
        |name: &str, ready: bool| json!({"name": name, "ready": ready, "restartCount": 0, "state": {"running": {}}});
    check(
        "pods",
        pod(
            spec(),
            json!({"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}], "containerStatuses": [running("a", true), running("b", false)]}),
        ),
        expect![[r#""p" "1/2" "Running" "0" "60m" "10.0.0.1" "n" "<none>" "<none>""#]],
    );
    check(
        "pods",
        pod(
            spec(),
            json!({"phase": "Running", "containerStatuses": [running("a", true),
            {"name": "b", "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-02T11:58:00Z"}}}]}),
        ),
        expect![[r#""p" "1/2" "CrashLoopBackOff" "3 (2m ago)" "60m" "<none>" "n" "<none>" "<none>""#]],
    );
    check(
        "pods",
        pod(spec(), json!({"phase": "Pending"})),
        expect![[r#""p" "0/2" "Pending" "0" "60m" "<none>" "n" "<none>" "<none>""#]],
    );
    check(
        "pods",
        pod(
            spec(),
            json!({"phase": "Succeeded", "containerStatuses": [{"name": "a", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}]}),
        ),
        expect![[r#""p" "0/2" "Completed" "0" "60m" "<none>" "n" "<none>" "<none>""#]],
    );
    check(
        "pods",
        pod(
            json!({"initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}], "containers": [{"name": "a"}]}),
            json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"terminated": {"exitCode": 2}}}]}),
        ),
        expect![[r#""p" "0/2" "Init:ExitCode:2" "0" "60m" "<none>" "<none>" "<none>" "<none>""#]],
    );
    let mut terminating = pod(spec(), json!({"phase": "Running", "containerStatuses": [running("a", true)]}));
    terminating["metadata"]["deletionTimestamp"] = "2026-01-02T11:59:00Z".into();
    check("pods", terminating, expect![[r#""p" "1/2" "Terminating" "0" "60m" "<none>" "n" "<none>" "<none>""#]]);
    let table = render(&row("pods"), &[pod(spec(), json!({"phase": "Failed"}))], json!({}), "None", now());
    assert_eq!(table["rows"][0]["conditions"][0]["reason"], "Failed");
}

#[test]
fn other_rows() {
    let meta = || json!({"name": "x", "creationTimestamp": "2026-01-01T12:00:00Z"});
    check(
        "deployments",
        json!({"metadata": meta(), "spec": {"replicas": 3, "selector": {"matchLabels": {"a": "b"}}, "template": {"spec": {"containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "j"}]}}}, "status": {"readyReplicas": 1, "updatedReplicas": 2}}),
        expect![[r#""x" "1/3" 2 0 "24h" "c,d" "i,j" "a=b""#]],
    );
    check(
        "services",
        json!({"metadata": meta(), "spec": {"type": "NodePort", "clusterIPs": ["10.0.0.1"], "ports": [{"port": 80, "nodePort": 30000, "protocol": "TCP"}], "selector": {"a": "b"}}}),
        expect![[r#""x" "NodePort" "10.0.0.1" "<none>" "80:30000/TCP" "24h" "a=b""#]],
    );
    check(
        "services",
        json!({"metadata": meta(), "spec": {"type": "LoadBalancer", "clusterIPs": ["10.0.0.1"]}}),
        expect![[r#""x" "LoadBalancer" "10.0.0.1" "<pending>" "<none>" "24h" "<none>""#]],
    );
    check(
        "nodes",
        json!({"metadata": {"name": "n", "creationTimestamp": "2026-01-01T12:00:00Z", "labels": {"node-role.kubernetes.io/control-plane": ""}}, "spec": {"unschedulable": true}, "status": {"conditions": [{"type": "Ready", "status": "True"}], "addresses": [{"type": "InternalIP", "address": "10.0.0.2"}], "nodeInfo": {"kubeletVersion": "v1", "kernelVersion": "6", "architecture": "amd64"}}}),
        expect![[
            r#""n" "Ready,SchedulingDisabled" "control-plane" "24h" "v1" "10.0.0.2" "<none>" "<unknown>" "6 (amd64)" "<unknown>""#
        ]],
    );
    check(
        "events",
        json!({"metadata": meta(), "involvedObject": {"kind": "Pod", "name": "p"}, "type": "Normal", "reason": "R", "message": "m\n", "source": {"component": "c", "host": "h"}, "firstTimestamp": "2026-01-02T11:00:00Z", "lastTimestamp": "2026-01-02T11:59:00Z", "count": 4}),
        expect![[r#""60s" "Normal" "R" "pod/p" "" "c, h" "m" "60m" 4 "x""#]],
    );
    check(
        "jobs",
        json!({"metadata": meta(), "spec": {"completions": 2, "selector": {}}, "status": {"succeeded": 2, "startTime": "2026-01-02T11:00:00Z", "completionTime": "2026-01-02T11:01:30Z", "conditions": [{"type": "Complete", "status": "True"}]}}),
        expect![[r#""x" "Complete" "2/2" "90s" "24h" "" "" "<none>""#]],
    );
    check(
        "endpointslices",
        json!({"metadata": meta(), "addressType": "IPv4", "ports": [{"port": 80}], "endpoints": [{"addresses": ["1", "2"]}, {"addresses": ["3", "4"]}]}),
        expect![[r#""x" "IPv4" "80" "1,2,3 + 1 more..." "24h""#]],
    );
    check("clusterroles", json!({"metadata": meta()}), expect![[r#""x" "2026-01-01T12:00:00Z""#]]);
    check(
        "persistentvolumeclaims",
        json!({"metadata": meta(), "spec": {"volumeName": "v", "storageClassName": "s", "volumeMode": "Filesystem"}, "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}}),
        expect![[r#""x" "Bound" "v" "1Gi" "RWO" "s" "<unset>" "24h" "Filesystem""#]],
    );
    check(
        "horizontalpodautoscalers",
        json!({"metadata": meta(), "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d"}, "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}}]}, "status": {"currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 7}}}]}}),
        expect![[r#""x" "Deployment/d" "cpu: 7%/80%" "<unset>" 3 0 "24h""#]],
    );
}
