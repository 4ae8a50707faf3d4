//! One good pod, and what upstream says to each way of spoiling it.

use model::check::said;
use serde_json::json;

use super::*;

fn good() -> Value {
    json!({
        "metadata": {"name": "a", "namespace": "b", "resourceVersion": "1"},
        "spec": {
            "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "terminationGracePeriodSeconds": 30,
            "serviceAccountName": "default", "securityContext": {}, "schedulerName": "default-scheduler",
            "volumes": [
                {"name": "cfg", "configMap": {"name": "c", "defaultMode": 420}},
                {"name": "dir", "emptyDir": {}},
            ],
            "containers": [{
                "name": "c", "image": "i", "imagePullPolicy": "Always", "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File", "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "1"}},
                "ports": [{"containerPort": 80, "protocol": "TCP", "name": "http"}],
                "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}],
                "volumeMounts": [{"name": "cfg", "mountPath": "/c"}],
                "livenessProbe": {"httpGet": {"path": "/", "port": "http", "scheme": "HTTP"}, "successThreshold": 1,
                    "timeoutSeconds": 1, "periodSeconds": 10, "failureThreshold": 3},
                "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
            }],
            "tolerations": [{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
        },
    })
}

fn check(change: fn(&mut Value), want: &[&str]) {
    let mut pod = good();
    change(&mut pod);
    assert_eq!(said(&create(&pod)), want);
}

#[test]
fn the_good_one_is_good() {
    check(|_| {}, &[]);
}

#[test]
fn containers() {
    check(|p| p["spec"]["containers"] = json!([]), &["spec.containers: Required value"]);
    check(
        |p| {
            let c = p["spec"]["containers"][0].clone();
            p["spec"]["containers"] = json!([c, c]);
        },
        &["spec.containers[1].name: Duplicate value: \"c\""],
    );
    check(
        |p| p["spec"]["containers"][0]["name"] = json!("C_1"),
        &[
            "spec.containers[0].name: Invalid value: \"C_1\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
        ],
    );
    check(
        |p| p["spec"]["containers"][0]["image"] = json!(" i"),
        &["spec.containers[0].image: Invalid value: \" i\": must not have leading or trailing whitespace"],
    );
    check(
        |p| p["spec"]["containers"][0]["imagePullPolicy"] = json!("Sometimes"),
        &[
            "spec.containers[0].imagePullPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
        ],
    );
    check(
        |p| {
            p["spec"]["containers"][0]["ports"] =
                json!([{"containerPort": 99999, "protocol": "tcp"}, {"protocol": "TCP"}])
        },
        &[
            "spec.containers[0].ports[0].containerPort: Invalid value: 99999: must be between 1 and 65535, inclusive",
            "spec.containers[0].ports[0].protocol: Unsupported value: \"tcp\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
            "spec.containers[0].ports[1].containerPort: Required value",
        ],
    );
    check(
        |p| {
            p["spec"]["containers"][0]["volumeMounts"] =
                json!([{"name": "nope", "mountPath": "/c"}, {"name": "dir", "mountPath": "/c", "subPath": "../x"}])
        },
        &[
            "spec.containers[0].volumeMounts[0].name: Not found: \"nope\"",
            "spec.containers[0].volumeMounts[1].mountPath: Invalid value: \"/c\": must be unique",
            "spec.containers[0].volumeMounts.subPath: Invalid value: \"../x\": must not contain '..'",
        ],
    );
    check(
        |p| {
            p["spec"]["initContainers"] = json!([{"name": "i", "image": "i", "imagePullPolicy": "Always",
            "terminationMessagePolicy": "File", "lifecycle": {}, "restartPolicy": "Maybe"}])
        },
        &[
            "spec.initContainers[0].restartPolicy: Unsupported value: \"Maybe\": supported values: \"Always\", \"Never\", \"OnFailure\"",
            "spec.initContainers[0].lifecycle: Forbidden: may not be set for init containers without restartPolicy=Always",
        ],
    );
    check(
        |p| {
            p["spec"]["containers"][0]["livenessProbe"] =
                json!({"exec": {}, "tcpSocket": {"port": 1}, "successThreshold": 2})
        },
        &[
            "spec.containers[0].livenessProbe.exec.command: Required value",
            "spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
            "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ],
    );
    check(
        |p| {
            p["spec"]["containers"][0]["env"] = json!([{"name": "a=b"}, {"name": "x", "valueFrom": {}},
            {"name": "y", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.phase"}}}])
        },
        &[
            "spec.containers[0].env[0].name: Invalid value: \"a=b\": a valid environment variable name must consist only of printable ASCII characters other than '='",
            "spec.containers[0].env[1].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
            "spec.containers[0].env[2].valueFrom.fieldRef.fieldPath: Unsupported value: \"status.phase\": supported values: \"metadata.name\", \"metadata.namespace\", \"metadata.uid\", \"spec.nodeName\", \"spec.serviceAccountName\", \"status.hostIP\", \"status.hostIPs\", \"status.podIP\", \"status.podIPs\"",
        ],
    );
    check(
        |p| {
            p["spec"]["containers"][0]["resources"] =
                json!({"requests": {"cpu": "2", "gpu": "1", "a.b/c": "1"}, "limits": {"cpu": "1"}})
        },
        &[
            "spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources",
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
            "spec.containers[0].resources.requests[gpu]: Invalid value: \"gpu\": must be a standard resource type or fully qualified",
            "spec.containers[0].resources.requests[gpu]: Invalid value: \"gpu\": must be a standard resource for containers",
        ],
    );
    check(
        |p| {
            p["spec"]["containers"][0]["securityContext"] =
                json!({"runAsUser": -1, "privileged": true, "allowPrivilegeEscalation": false})
        },
        &[
            "spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
            "spec.containers[0].securityContext: Invalid value: {\"allowPrivilegeEscalation\":false,\"privileged\":true,\"runAsUser\":-1}: cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
        ],
    );
}

#[test]
fn spec() {
    check(
        |p| p["spec"]["restartPolicy"] = json!("Never?"),
        &["spec.restartPolicy: Unsupported value: \"Never?\": supported values: \"Always\", \"OnFailure\", \"Never\""],
    );
    check(
        |p| p["spec"]["volumes"][1] = json!({"name": "dir"}),
        &["spec.volumes[1]: Required value: must specify a volume type"],
    );
    check(
        |p| p["spec"]["volumes"][1] = json!({"name": "cfg", "emptyDir": {}}),
        &["spec.volumes[1].name: Duplicate value: \"cfg\""],
    );
    check(
        |p| p["spec"]["volumes"][1] = json!({"name": "dir", "emptyDir": {}, "hostPath": {"path": "/"}}),
        &["spec.volumes[1].hostPath: Forbidden: may not specify more than 1 volume type"],
    );
    check(
        |p| p["spec"]["volumes"][1] = json!({"name": "dir", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 1}}]}}),
        &[
            "spec.volumes[1].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes",
        ],
    );
    check(
        |p| p["spec"]["activeDeadlineSeconds"] = json!(0),
        &["spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"],
    );
    check(
        |p| {
            p["spec"]["tolerations"] =
                json!([{"operator": "Equal", "value": "x"}, {"key": "a", "tolerationSeconds": 1}])
        },
        &[
            "spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            "spec.tolerations[1].effect: Invalid value: \"\": effect must be 'NoExecute' when `tolerationSeconds` is set",
        ],
    );
    check(
        |p| p["spec"]["hostNetwork"] = json!(true),
        &[
            "spec.containers[0].ports[0].hostPort: Invalid value: 0: must match `containerPort` when `hostNetwork` is true",
        ],
    );
    check(
        |p| {
            p["spec"]["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "a", "operator": "In"}]}]}}})
        },
        &[
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
        ],
    );
    check(
        |p| {
            p["spec"]["topologySpreadConstraints"] =
                json!([{"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "X"}])
        },
        &[
            "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
            "spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: \"X\": supported values: \"DoNotSchedule\", \"ScheduleAnyway\"",
        ],
    );
    check(
        |p| p["spec"]["dnsPolicy"] = json!("None"),
        &["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
    );
    check(
        |p| {
            p["spec"]["ephemeralContainers"] =
                json!([{"name": "e", "image": "i", "imagePullPolicy": "Always", "terminationMessagePolicy": "File"}])
        },
        &["spec.ephemeralContainers: Forbidden: cannot be set on create"],
    );
    check(
        |p| p["spec"]["os"] = json!({"name": "plan9"}),
        &["spec.os: Unsupported value: \"plan9\": supported values: \"linux\", \"windows\""],
    );
}

#[test]
fn updates() {
    let old = good();
    let check = |change: fn(&mut Value), want: &[&str]| {
        let mut new = old.clone();
        change(&mut new);
        let got = said(&update(&new, &old));
        let starts: Vec<&str> = got.iter().map(|m| m.split('\n').next().unwrap_or(m)).collect();
        assert_eq!(starts, want);
    };
    check(|p| p["spec"]["containers"][0]["image"] = json!("j"), &[]);
    check(|p| p["spec"]["activeDeadlineSeconds"] = json!(10), &[]);
    check(|p| p["spec"]["tolerations"][0]["tolerationSeconds"] = json!(10), &[]);
    check(|p| p["metadata"]["labels"] = json!({"a": "b"}), &[]);
    check(
        |p| p["spec"]["tolerations"] = json!([]),
        &["spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"],
    );
    check(
        |p| p["spec"]["containers"][0]["args"] = json!(["x"]),
        &[
            "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        ],
    );
    check(
        |p| {
            let c = p["spec"]["containers"][0].clone();
            p["spec"]["containers"] = json!([c, {"name": "d", "image": "i", "imagePullPolicy": "Always", "terminationMessagePolicy": "File"}]);
        },
        &["spec.containers: Forbidden: pod updates may not add or remove containers"],
    );
}

#[test]
fn status_updates() {
    let mut old = good();
    old["spec"]["restartPolicy"] = json!("Never");
    old["status"] = json!({"qosClass": "Burstable", "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 1}}}]});
    let mut new = old.clone();
    assert!(status_update(&new, &old).is_empty());
    new["status"] = json!({"qosClass": "Guaranteed", "containerStatuses": [{"name": "c", "state": {"running": {}}}],
        "podIPs": [{"ip": "x"}], "hostIP": "1.1.1.1", "hostIPs": [{"ip": "1.1.1.2"}]});
    assert_eq!(
        said(&status_update(&new, &old)),
        [
            "status.qosClass: Invalid value: \"Guaranteed\": field is immutable",
            "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state",
            "status.podIPs[0]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            "status.hostIPs[0].ip: Invalid value: \"1.1.1.2\": must be equal to `hostIP`",
        ]
    );
}

#[test]
fn templates() {
    let mut template = good();
    template["metadata"] = json!({"labels": {"a": "b c"}});
    let at = Path::new("spec").child("template");
    let errors = said(&check_template(&template, &at));
    assert_eq!(errors.len(), 1);
    assert!(
        errors[0].starts_with("spec.template.metadata.labels: Invalid value: \"b c\": a valid label"),
        "{errors:?}"
    );
}

#[test]
fn addresses_are_strict() {
    check(
        |p| {
            p["spec"]["hostAliases"] = json!([{ "ip": "192.0.2.010" }]);
            p["spec"]["dnsConfig"] = json!({ "nameservers": ["::ffff:192.0.2.1"] });
        },
        &[
            "spec.dnsConfig.nameservers[0]: Invalid value: \"::ffff:192.0.2.1\": must not be an IPv4-mapped IPv6 address",
            "spec.hostAliases[0].ip: Invalid value: \"192.0.2.010\": must not have leading 0s",
        ],
    );
}
