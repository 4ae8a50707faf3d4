//! Decoding by the schema table: values, faults and their words.

use expect_test::{Expect, expect};
use serde_json::json;

use crate::schema;

fn check(api_version: &str, kind: &str, input: &str, expected: Expect) {
    let ty = schema::of_object(api_version, kind).unwrap();
    let from_bytes = super::json(input.as_bytes(), ty);
    let shown = match &from_bytes {
        Ok(d) => format!("{}\n{}", d.value, d.strict.join("\n")),
        Err(e) => e.of_request(kind, "v1", kind),
    };
    expected.assert_eq(shown.trim_end());
}

#[test]
fn unknown_and_duplicate_fields_are_named_and_dropped() {
    check(
        "apps/v1",
        "Deployment",
        r#"{"apiVersion":"apps/v1","kind":"Deployment","foo":1,"spec":{"replicas":1,"replicas":2,"bar":{"x":[1]},"template":{"spec":{"containers":[{"name":"a","imagee":"b","env":[{"name":"x","name":"y"}]}]}}},"metadata":{"labels":{"a":"b","a":"c"}}}"#,
        expect![[r#"
            {"apiVersion":"apps/v1","kind":"Deployment","metadata":{"labels":{"a":"c"}},"spec":{"replicas":2,"template":{"spec":{"containers":[{"env":[{"name":"y"}],"name":"a"}]}}}}
            unknown field "foo"
            duplicate field "spec.replicas"
            unknown field "spec.bar"
            unknown field "spec.template.spec.containers[0].imagee"
            duplicate field "spec.template.spec.containers[0].env[0].name"
            duplicate field "metadata.labels.a""#]],
    );
}

#[test]
fn nulls_are_as_if_not_given() {
    check(
        "v1",
        "Pod",
        r#"{"kind":"Pod","apiVersion":"v1","metadata":{"creationTimestamp":null,"labels":null,"annotations":{"a":null}},"spec":{"containers":[null]},"status":null}"#,
        expect![[r#"{"apiVersion":"v1","kind":"Pod","metadata":{"annotations":{"a":""}},"spec":{"containers":[{}]}}"#]],
    );
}

#[test]
fn type_errors_are_worded_as_upstream_does() {
    let cases = [
        (
            r#"{"spec":{"replicas":"3"}}"#,
            expect![[
                r#"Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"#
            ]],
        ),
        (
            r#"{"spec":{"replicas":1.5}}"#,
            expect![[
                r#"Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32"#
            ]],
        ),
        (
            r#"{"spec":{"replicas":3000000000}}"#,
            expect![[
                r#"Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32"#
            ]],
        ),
        (
            r#"{"spec":[]}"#,
            expect![[
                r#"Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal array into Go struct field Deployment.spec of type v1.DeploymentSpec"#
            ]],
        ),
        (
            r#"{"spec":{"template":{"spec":{"containers":{}}}}}"#,
            expect![[
                r#"Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container"#
            ]],
        ),
        (
            r#"{"metadata":{"labels":{"a":1}}}"#,
            expect![[
                r#"Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string"#
            ]],
        ),
        (
            r#"{"metadata":{"creationTimestamp":"yesterday"}}"#,
            expect![[
                r#"Deployment in version "v1" cannot be handled as a Deployment: parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006""#
            ]],
        ),
        (
            r#"{"spec":{"template":{"spec":{"volumes":[{"name":"a","hostPath":1}]}}}}"#,
            expect![[
                r#"Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal number into Go struct field Volume.spec.template.spec.volumes.VolumeSource.hostPath of type v1.HostPathVolumeSource"#
            ]],
        ),
        (
            r#"{"spec":{"strategy":{"rollingUpdate":{"maxSurge":true}}}}"#,
            expect![[
                r#"Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal bool into Go struct field RollingUpdateDeployment.spec.strategy.rollingUpdate.maxSurge of type int32"#
            ]],
        ),
        (
            r#"[1]"#,
            expect![[
                r#"Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal array into Go value of type v1.Deployment"#
            ]],
        ),
    ];
    for (input, expected) in cases {
        check("apps/v1", "Deployment", input, expected);
    }
}

#[test]
fn syntax_errors_come_first_and_in_gos_words() {
    let cases = [
        (r#"{"spec":{"replicas":"x"},"#, expect!["unexpected end of JSON input"]),
        (r#"{"a":1}}"#, expect!["invalid character '}' after top-level value"]),
        (r#"{a:1}"#, expect!["invalid character 'a' looking for beginning of object key string"]),
        (r#"{"a":tru}"#, expect!["invalid character '}' in literal true (expecting 'e')"]),
        (r#"{"a" 1}"#, expect!["invalid character '1' after object key"]),
        (r#"[1 2]"#, expect!["invalid character '2' after array element"]),
        ("{\"a\":\"\n\"}", expect![[r"invalid character '\n' in string literal"]]),
        ("", expect!["unexpected end of JSON input"]),
    ];
    for (input, expected) in cases {
        let error = super::json(input.as_bytes(), schema::kind("apps", "v1", "Deployment").unwrap()).unwrap_err();
        expected.assert_eq(&error.to_string());
    }
    let deep = format!("{{\"data\":{}1{}}}", "[".repeat(5000), "]".repeat(5000));
    assert_eq!(
        super::json(deep.as_bytes(), schema::kind("apps", "v1", "ControllerRevision").unwrap()).unwrap_err().0,
        "exceeded max depth"
    );
    // What can be stored can be read again.
    let ty = schema::kind("apps", "v1", "ControllerRevision").unwrap();
    let nested = |depth| (0..depth).fold(json!(1), |inner, _| json!([inner]));
    let both = |depth| {
        let object = json!({ "data": nested(depth) });
        (super::value(object.clone(), ty).is_ok(), super::json(object.to_string().as_bytes(), ty).is_ok())
    };
    assert_eq!([both(126), both(127)], [(true, true), (false, false)]);
}

#[test]
fn values_come_in_canonical_form() {
    check(
        "v1",
        "Pod",
        r#"{"metadata":{"creationTimestamp":"2026-01-02T03:04:05.678+01:00"},"spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":0.5,"memory":"1024Mi"}},"ports":[{"containerPort":80}],"livenessProbe":{"httpGet":{"port":"http"}}}]}}"#,
        expect![[
            r#"{"metadata":{"creationTimestamp":"2026-01-02T02:04:05Z"},"spec":{"containers":[{"livenessProbe":{"httpGet":{"port":"http"}},"name":"c","ports":[{"containerPort":80}],"resources":{"limits":{"cpu":"500m","memory":"1Gi"}}}]}}"#
        ]],
    );
    check(
        "coordination.k8s.io/v1",
        "Lease",
        r#"{"spec":{"renewTime":"2026-01-02T03:04:05Z"}}"#,
        expect![[r#"{"spec":{"renewTime":"2026-01-02T03:04:05.000000Z"}}"#]],
    );
    assert!(super::scalar::time("2026-02-30T00:00:00Z").unwrap_err().ends_with("day out of range"));
    for (input, output) in
        [("90m", "1h30m0s"), ("1.5s", "1.5s"), ("-2ms", "-2ms"), ("1500us", "1.5ms"), ("0", "0s"), ("100h", "100h0m0s")]
    {
        assert_eq!(super::scalar::duration(input).unwrap(), output);
    }
    assert!(super::scalar::duration("5").is_err());
}

#[test]
fn values_read_before_are_checked_alike() {
    let ty = schema::kind("", "v1", "ConfigMap").unwrap();
    let decoded = super::value(json!({"kind": "ConfigMap", "data": {"a": "b"}, "dota": {}}), ty).unwrap();
    assert_eq!(decoded.value, json!({"kind": "ConfigMap", "data": {"a": "b"}}));
    assert_eq!(decoded.strict_error().unwrap(), r#"strict decoding error: unknown field "dota""#);
    let error = super::value(json!({"data": {"a": 1}}), ty).unwrap_err();
    assert_eq!(error.0, "json: cannot unmarshal number into Go struct field ConfigMap.data of type string");
}

#[test]
fn of_a_patched_object_what_the_patch_names_is_decoded() {
    let ty = schema::kind("", "v1", "Pod").unwrap();
    let merged = || {
        json!({
            "metadata": {"name": "a", "labels": {"app": "a"}, "finalizers": null, "lables": {}},
            "spec": {"nodeName": "n", "containers": [{"name": "c", "restartCount": 1}]},
            "status": {"phase": "Running", "qosClass": "Burstable", "containerStatuses": [{"name": "c", "restartCount": 2.0, "started": true, "no": 1}]},
        })
    };
    let patched = |patch| super::patched(merged(), &patch, ty).unwrap();
    // The faults of the spec are older than the patch, which is not told of them.
    let decoded = patched(json!({
        "metadata": {"lables": {}, "finalizers": []},
        "status": {"containerStatuses": [{"name": "c", "restartCount": 2}]},
    }));
    assert_eq!(
        decoded.value,
        json!({
            "metadata": {"name": "a", "labels": {"app": "a"}},
            "spec": {"nodeName": "n", "containers": [{"name": "c", "restartCount": 1}]},
            "status": {"phase": "Running", "qosClass": "Burstable", "containerStatuses": [{"name": "c", "restartCount": 2, "started": true}]},
        })
    );
    assert_eq!(
        decoded.strict,
        [r#"unknown field "metadata.lables""#, r#"unknown field "status.containerStatuses[0].no""#]
    );
    // A directive may be about any member beside it.
    let strict = patched(json!({"$retainKeys": ["spec", "metadata"]})).strict;
    assert!(strict.contains(&r#"unknown field "spec.containers[0].restartCount""#.to_owned()), "{strict:?}");
    // What the patch took away needs no decoding, and what it got wrong is refused as in a whole object.
    assert_eq!(patched(json!({"status": {"reason": null}})).value["status"]["phase"], "Running");
    let wrong = json!({"spec": {"containers": "none"}});
    assert_eq!(
        super::patched(wrong.clone(), &wrong, ty).unwrap_err().0,
        super::unstructured(wrong.clone(), ty).unwrap_err().0
    );
}
