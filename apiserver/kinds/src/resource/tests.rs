//! The faults of upstream's tests of devices (`pkg/apis/resource/validation/validation_*_test.go`).

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::strategies::{prepare_slice, slice_warnings};
use crate::rules::{said, said_of, with};

mod slices;

type Kind = (&'static str, &'static str, &'static str);

const CLAIM: Kind = ("resource.k8s.io", "v1", "ResourceClaim");
const TEMPLATE: Kind = ("resource.k8s.io", "v1", "ResourceClaimTemplate");
const CLASS: Kind = ("resource.k8s.io", "v1", "DeviceClass");
const SLICE: Kind = ("resource.k8s.io", "v1", "ResourceSlice");

fn check(kind: Kind, base: &Value, places: &[(&str, Value)], expected: Expect) {
    expected.assert_eq(&said(kind, &with(base, places), None));
}

fn update(kind: Kind, base: &Value, places: &[(&str, Value)], expected: Expect) {
    expected.assert_eq(&said(kind, &with(base, places), Some(base)));
}

fn slice() -> Value {
    json!({"metadata": {"name": "s"}, "spec": {"nodeName": "worker", "driver": "test.example.com",
        "pool": {"name": "pool", "resourceSliceCount": 1, "generation": 0},
        "devices": [{"name": "dev-0", "attributes": {"foo": {"string": "a"}}, "capacity": {"memory": {"value": "1Gi"}}}]}})
}

fn exactly() -> Value {
    json!({"deviceClassName": "class", "allocationMode": "ExactCount", "count": 1})
}

fn claim() -> Value {
    json!({"metadata": {"name": "c", "namespace": "ns"}, "spec": {"devices": {"requests": [{"name": "req-0", "exactly": exactly()}]}}})
}

fn many<T: Into<Value>>(count: usize, of: impl Fn(usize) -> T) -> Value {
    (0..count).map(|i| of(i).into()).collect::<Vec<Value>>().into()
}

#[test]
fn requests() {
    let claim = claim();
    let request = "/spec/devices/requests/0";
    let at = |rest: &str| format!("{request}{rest}");
    check(CLAIM, &claim, &[], expect![[""]]);
    check(CLAIM, &json!({}), &[], expect![[""]]);
    check(
        CLAIM,
        &claim,
        &[(request, json!({"name": "-x-"}))],
        expect![[r#"
        spec.devices.requests[0].name: Invalid value: "-x-": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
        spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required
    "#]],
    );
    check(
        CLAIM,
        &claim,
        &[(&at("/firstAvailable"), json!([{}]))],
        expect![[r#"
        spec.devices.requests[0]: Invalid value: null: exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set
    "#]],
    );
    check(
        CLAIM,
        &claim,
        &[(&at("/exactly"), json!({"allocationMode": "Some"}))],
        expect![[r#"
        spec.devices.requests[0].exactly.deviceClassName: Required value
        spec.devices.requests[0].exactly.allocationMode: Unsupported value: "Some": supported values: "All", "ExactCount"
    "#]],
    );
    check(
        CLAIM,
        &claim,
        &[(&at("/exactly/allocationMode"), json!("All"))],
        expect![[r#"
        spec.devices.requests[0].exactly.count: Invalid value: 1: must not be specified when allocationMode is 'All'
    "#]],
    );
    check(
        CLAIM,
        &claim,
        &[(&at("/exactly/count"), json!(-1)), (&at("/exactly/deviceClassName"), json!("-x-"))],
        expect![[r#"
        spec.devices.requests[0].exactly.deviceClassName: Invalid value: "-x-": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        spec.devices.requests[0].exactly.count: Invalid value: -1: must be greater than zero
    "#]],
    );
    check(
        CLAIM,
        &claim,
        &[(
            "/spec/devices/requests",
            json!([{"name": "a", "exactly": exactly()}, {"name": "a", "exactly": exactly()}]),
        )],
        expect![[r#"
        spec.devices.requests[1]: Duplicate value: "a"
    "#]],
    );
    check(
        CLAIM,
        &claim,
        &[("/spec/devices/requests", many(33, |i| json!({"name": format!("r{i}"), "exactly": exactly()})))],
        expect![[r#"
        spec.devices.requests: Too many: 33: must have at most 32 items
    "#]],
    );
    let sub = |name: &str| with(&exactly(), &[("/name", json!(name))]);
    check(CLAIM, &claim, &[(request, json!({"name": "r", "firstAvailable": [sub("a"), sub("b")]}))], expect![[""]]);
    check(
        CLAIM,
        &claim,
        &[(request, json!({"name": "r", "firstAvailable": [sub("a"), sub("a"), {"name": "-"}]}))],
        expect![[r#"
        spec.devices.requests[0].firstAvailable[2].name: Invalid value: "-": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
        spec.devices.requests[0].firstAvailable[2].deviceClassName: Required value
        spec.devices.requests[0].firstAvailable[2].allocationMode: Unsupported value: "": supported values: "All", "ExactCount"
        spec.devices.requests[0].firstAvailable[1]: Duplicate value: "a"
    "#]],
    );
    check(
        CLAIM,
        &claim,
        &[(request, json!({"name": "r", "firstAvailable": many(9, |i| sub(&format!("s{i}")))}))],
        expect![[r#"
        spec.devices.requests[0].firstAvailable: Too many: 9: must have at most 8 items
    "#]],
    );
}

#[test]
fn selectors() {
    let claim = claim();
    let selectors = |list: Value| [("/spec/devices/requests/0/exactly/selectors", list)];
    let cel = |text: &str| json!([{"cel": {"expression": text}}]);
    for good in [
        r#"device.driver == "dra.example.com""#,
        r#"device.attributes["dra.example.com"].family == "gpu" && device.capacity["dra.example.com"].memory.isGreaterThan(quantity("1Gi"))"#,
        r#"device.attributes["dra.example.com"].someBool"#,
        r#"device.allowMultipleAllocations == true"#,
        r#"cel.bind(dra, device.attributes["dra.example.com"], dra.oneBool && dra.anotherBool)"#,
        r#"device.attributes["dra.example.com"].version.isGreaterThan(semver("1.0.0"))"#,
    ] {
        assert_eq!(said(CLAIM, &with(&claim, &selectors(cel(good))), None), "", "{good}");
    }
    check(
        CLAIM,
        &claim,
        &selectors(json!([{}])),
        expect![[r#"
        spec.devices.requests[0].exactly.selectors[0].cel: Required value
    "#]],
    );
    check(
        CLAIM,
        &claim,
        &selectors(cel("noSuchVar")),
        expect![[r#"
        spec.devices.requests[0].exactly.selectors[0].cel.expression: Invalid value: "noSuchVar": compilation failed: ERROR: <input>:1:1: undeclared reference to 'noSuchVar' (in container '')
         | noSuchVar
         | ^
    "#]],
    );
    check(
        CLAIM,
        &claim,
        &selectors(cel("device.driver")),
        expect![[r#"
        spec.devices.requests[0].exactly.selectors[0].cel.expression: Invalid value: "device.driver": must evaluate to bool or the unknown type, not string
    "#]],
    );
    check(
        CLAIM,
        &claim,
        &selectors(cel("")),
        expect![[r#"
        spec.devices.requests[0].exactly.selectors[0].cel.expression: Invalid value: "": compilation failed: ERROR: <input>:1:1: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}
         | 
         | ^
    "#]],
    );
    check(
        CLAIM,
        &claim,
        &selectors(cel(&format!("true{}", " ".repeat(10 << 10)))),
        expect![[r#"
        spec.devices.requests[0].exactly.selectors[0].cel.expression: Too long: may not be more than 10240 bytes
    "#]],
    );
    let costly = r#"device.attributes["dra.example.com"].map(s, s.lowerAscii()).map(s, s.size()).sum() == 0 && device.attributes["dra.example.com"].all(a, device.attributes["dra.example.com"].all(b, device.attributes["dra.example.com"].all(c, a == b && b == c)))"#;
    check(CLAIM, &claim, &selectors(cel(costly)), expect![[""]]);
    check(
        CLAIM,
        &claim,
        &selectors(many(33, |_| json!({"cel": {"expression": "true"}}))),
        expect![[r#"
        spec.devices.requests[0].exactly.selectors: Too many: 33: must have at most 32 items
    "#]],
    );
}

#[test]
fn tolerations() {
    let claim = claim();
    let tolerations = |list: Value| [("/spec/devices/requests/0/exactly/tolerations", list)];
    check(
        CLAIM,
        &claim,
        &tolerations(
            json!([{"operator": "Exists"}, {"key": "a.b/c", "operator": "Equal", "value": "x", "effect": "NoExecute"}]),
        ),
        expect![[""]],
    );
    check(
        CLAIM,
        &claim,
        &tolerations(
            json!([{"key": "-x", "operator": "Exists", "value": "y"}, {"operator": "Equal", "value": "-"}, {"effect": "Other"}, {"operator": "Other"}]),
        ),
        expect![[r#"
            spec.devices.requests[0].exactly.tolerations[0].key: Invalid value: "-x": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.devices.requests[0].exactly.tolerations[0].value: Invalid value: "y": must be empty for operator `Exists`
            spec.devices.requests[0].exactly.tolerations[1].value: Invalid value: "-": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
            spec.devices.requests[0].exactly.tolerations[2].operator: Required value
            spec.devices.requests[0].exactly.tolerations[2].effect: Unsupported value: "Other": supported values: "NoExecute", "NoSchedule", "None"
            spec.devices.requests[0].exactly.tolerations[3].operator: Unsupported value: "Other": supported values: "Equal", "Exists"
        "#]],
    );
}

#[test]
fn constraints_and_configurations() {
    let claim = claim();
    let devices = |constraints: Value, config: Value| {
        [("/spec/devices/constraints", constraints), ("/spec/devices/config", config)]
    };
    let opaque = |parameters: Value| json!({"driver": "dra.example.com", "parameters": parameters});
    check(
        CLAIM,
        &claim,
        &devices(
            json!([{"requests": ["req-0"], "matchAttribute": "dra.example.com/numa"}]),
            json!([{"opaque": opaque(json!({"a": 1}))}]),
        ),
        expect![[""]],
    );
    check(
        CLAIM,
        &claim,
        &devices(
            json!([{"requests": ["nope", "-x", "a/b/c", "req-0", "req-0"]}, {"matchAttribute": "missing-domain"}, {"distinctAttribute": "a/"}, {"matchAttribute": "/b"}]),
            json!([{"requests": ["req-0/sub"]}, {"opaque": {}}, {"opaque": opaque(json!([1]))}, {"opaque": opaque(json!({"a": "x".repeat(10 << 10)}))}]),
        ),
        expect![[r#"
            spec.devices.constraints[0].requests[0]: Invalid value: "nope": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'
            spec.devices.constraints[0].requests[1]: Invalid value: "-x": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.devices.constraints[0].requests[1]: Invalid value: "-x": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'
            spec.devices.constraints[0].requests[2]: Invalid value: "a/b/c": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'
            spec.devices.constraints[0].requests[4]: Duplicate value: "req-0"
            spec.devices.constraints[0]: Required value: exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set
            spec.devices.constraints[1].matchAttribute: Invalid value: "missing-domain": a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')
            spec.devices.constraints[1].matchAttribute: Invalid value: "missing-domain": a fully qualified name must be a domain and a name separated by a slash
            spec.devices.constraints[2].distinctAttribute: Invalid value: "": the name must not be empty
            spec.devices.constraints[3].matchAttribute: Invalid value: "": the domain must not be empty
            spec.devices.config[0].requests[0]: Invalid value: "req-0/sub": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'
            spec.devices.config[0].opaque: Required value
            spec.devices.config[1].opaque.driver: Required value
            spec.devices.config[1].opaque.parameters: Required value
            spec.devices.config[2].opaque.parameters: Invalid value: "<value omitted>": must be a valid JSON object
            spec.devices.config[3].opaque.parameters: Too long: may not be more than 10240 bytes
        "#]],
    );
    check(
        CLAIM,
        &claim,
        &devices(many(33, |_| json!({"matchAttribute": "a/b"})), many(33, |_| json!({"opaque": opaque(json!({}))}))),
        expect![[r#"
            spec.devices.constraints: Too many: 33: must have at most 32 items
            spec.devices.config: Too many: 33: must have at most 32 items
        "#]],
    );
}

#[test]
fn claims_and_templates_stay() {
    update(CLAIM, &claim(), &[("/metadata/labels", json!({"a": "b"}))], expect![[""]]);
    update(
        CLAIM,
        &claim(),
        &[("/spec/devices/requests/0/name", json!("other"))],
        expect![[r#"
            spec: Invalid value: {"Devices":{"Requests":[{"Name":"other","Exactly":{"DeviceClassName":"class","Selectors":null,"AllocationMode":"ExactCount","Count":1,"AdminAccess":null,"Tolerations":null,"Capacity":null},"FirstAvailable":null}],"Constraints":null,"Config":null}}: field is immutable
        "#]],
    );
    let template = json!({"metadata": {"name": "t", "namespace": "ns"}, "spec": {"metadata": {"labels": {"a": "b"}}, "spec": claim()["spec"]}});
    check(TEMPLATE, &template, &[], expect![[""]]);
    check(
        TEMPLATE,
        &template,
        &[
            ("/spec/metadata", json!({"name": "x", "labels": {"-a": "b"}, "annotations": {"b c": ""}, "uid": "u"})),
            ("/spec/spec/devices/requests/0/name", json!("")),
        ],
        expect![[r#"
            spec.metadata.annotations: Invalid value: "b c": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.metadata.labels: Invalid value: "-a": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.metadata.name: Forbidden: cannot be set
            spec.metadata.uID: Forbidden: cannot be set
            spec.spec.devices.requests[0].name: Invalid value: "": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
        "#]],
    );
    update(
        TEMPLATE,
        &template,
        &[("/spec/spec/devices/requests/0/exactly/count", json!(2))],
        expect![[r#"
            spec: Invalid value: {"labels":{"a":"b"},"Spec":{"Devices":{"Requests":[{"Name":"req-0","Exactly":{"DeviceClassName":"class","Selectors":null,"AllocationMode":"ExactCount","Count":2,"AdminAccess":null,"Tolerations":null,"Capacity":null},"FirstAvailable":null}],"Constraints":null,"Config":null}}}: field is immutable
        "#]],
    );
}

#[test]
fn classes() {
    let opaque = |parameters: Value| json!({"opaque": {"driver": "dra.example.com", "parameters": parameters}});
    let class = json!({"metadata": {"name": "c"}, "spec": {"config": [opaque(json!({"a": 1}))], "extendedResourceName": "example.com/gpu"}});
    check(CLASS, &class, &[], expect![[""]]);
    check(
        CLASS,
        &class,
        &[(
            "/spec",
            json!({"selectors": [{}], "config": [{}, {"opaque": {"driver": "-"}}], "extendedResourceName": "gpu"}),
        )],
        expect![[r#"
            spec.selectors[0].cel: Required value
            spec.config[0].opaque: Required value
            spec.config[1].opaque.driver: Invalid value: "-": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.config[1].opaque.parameters: Required value
            spec.extendedResourceName: Invalid value: "gpu": must be a valid extended resource name
        "#]],
    );
    // Larger parameters of an older server may stay.
    let large = with(&class, &[("/spec/config", json!([opaque(json!({"a": "x".repeat(10 << 10)}))]))]);
    update(CLASS, &large, &[("/metadata/labels", json!({"a": "b"}))], expect![[""]]);
    update(
        CLASS,
        &large,
        &[("/spec/config/0/opaque/driver", json!("other.example.com"))],
        expect![[r#"
        spec.config[0].opaque.parameters: Too long: may not be more than 10240 bytes
    "#]],
    );
}

#[test]
fn what_is_not_enabled_is_dropped() {
    let device = json!({"name": "d", "attributes": {"a": {"int": 1, "ints": [1]}}, "nodeAllocatableResourceMappings": {"cpu": {}}});
    let slice = with(&slice(), &[("/spec/devices", json!([device]))]);
    let mut new = slice.clone();
    prepare_slice(&mut new, None);
    assert_eq!(new["spec"]["devices"], json!([{"name": "d", "attributes": {"a": {"int": 1}}}]));
    let mut again = slice.clone();
    prepare_slice(&mut again, Some(&slice));
    assert_eq!(again, slice);
}

#[test]
fn what_a_claim_was_given() {
    let claim = claim();
    let allocation = json!({"devices": {"results": [{"request": "req-0", "driver": "dra.example.com", "pool": "p", "device": "d"}]}});
    let allocated = with(&claim, &[("/status", json!({"allocation": allocation}))]);
    let user = |uid: &str| json!({"resource": "pods", "name": "a", "uid": uid});
    let check = |old: &Value, places: &[(&str, Value)], expected: Expect| {
        expected.assert_eq(&said_of(CLAIM, "status", &with(old, places), old));
    };
    check(&claim, &[("/status", allocated["status"].clone())], expect![[""]]);
    check(
        &claim,
        &[("/status/reservedFor", json!([user("1")]))],
        expect![[r#"
        status.reservedFor: Forbidden: may not be specified when `allocated` is not set
    "#]],
    );
    check(
        &allocated,
        &[("/status/reservedFor", json!([user("1"), user("1"), {}]))],
        expect![[r#"
        status.reservedFor[2].resource: Required value
        status.reservedFor[2].name: Required value
        status.reservedFor[2].uid: Required value
        status.reservedFor[1]: Duplicate value: "1"
    "#]],
    );
    check(
        &allocated,
        &[("/status/reservedFor", many(257, |i| user(&i.to_string())))],
        expect![[r#"
        status.reservedFor: Too many: 257: must have at most 256 items
    "#]],
    );
    check(
        &with(&allocated, &[("/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z"))]),
        &[("/status/reservedFor", json!([user("1")]))],
        expect![[r#"
            status.reservedFor: Forbidden: new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set
        "#]],
    );
    check(
        &allocated,
        &[("/status/allocation/devices/results/0/device", json!("e"))],
        expect![[r#"
            status.allocation: Invalid value: {"Devices":{"Results":[{"Request":"req-0","Driver":"dra.example.com","Pool":"p","Device":"e","AdminAccess":null,"Tolerations":null,"BindingConditions":null,"BindingFailureConditions":null,"ShareID":null,"ConsumedCapacity":null}],"Config":null},"NodeSelector":null,"AllocationTimestamp":null}: field is immutable
        "#]],
    );
    check(&allocated, &[("/status/allocation", Value::Null)], expect![[""]]);
    let bad = json!({"devices": {
        "results": [{"request": "nope", "driver": "", "pool": "", "device": "-", "shareID": "x", "bindingConditions": ["a"]},
            {"request": "req-0", "driver": "d", "pool": "p", "device": "d", "shareID": "6BA7B810-9DAD-11D1-80B4-00C04FD430C8"}],
        "config": [{}, {"source": "Other", "requests": ["req-0", "req-0"], "opaque": {"driver": "d", "parameters": {}}}]},
        "nodeSelector": {}});
    check(
        &claim,
        &[("/status/allocation", bad)],
        expect![[r#"
        status.allocation.devices.results[0].request: Invalid value: "nope": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'
        status.allocation.devices.results[0].driver: Required value
        status.allocation.devices.results[0].pool: Required value
        status.allocation.devices.results[0].device: Invalid value: "-": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
        status.allocation.devices.results[0].bindingFailureConditions: Invalid value: null: bindingFailureConditions are required to use bindingConditions
        status.allocation.devices.results[0].shareID: Invalid value: "x": error validating uid: invalid UUID length: 1
        status.allocation.devices.results[1].shareID: Invalid value: "6BA7B810-9DAD-11D1-80B4-00C04FD430C8": uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters
        status.allocation.devices.config[0].source: Required value
        status.allocation.devices.config[0].opaque: Required value
        status.allocation.devices.config[1].source: Unsupported value: "Other": supported values: "FromClaim", "FromClass"
        status.allocation.devices.config[1].requests[1]: Duplicate value: "req-0"
        status.allocation.nodeSelector.nodeSelectorTerms: Required value: must have at least one node selector term
    "#]],
    );
}

#[test]
fn what_drivers_say() {
    let device = json!({"driver": "dra.example.com", "pool": "p", "device": "d"});
    let allocation = json!({"devices": {"results": [{"request": "req-0", "driver": "dra.example.com", "pool": "p", "device": "d"}]}});
    let allocated = with(&claim(), &[("/status", json!({"allocation": allocation}))]);
    let check = |devices: Value, expected: Expect| {
        expected.assert_eq(&said_of(CLAIM, "status", &with(&allocated, &[("/status/devices", devices)]), &allocated));
    };
    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    check(
        json!([with(
            &device,
            &[
                ("/conditions", json!([condition("Ready")])),
                ("/data", json!({"a": 1})),
                (
                    "/networkData",
                    json!({"interfaceName": "eth0", "ips": ["10.9.8.0/24", "2001:db8::/64"], "hardwareAddress": "ea:9f:cb:40:b7:11"})
                )
            ]
        )]),
        expect![[""]],
    );
    check(
        json!([device, device]),
        expect![[r#"
        status.devices[1]: Duplicate value: {"Device":{},"Driver":{},"Pool":{},"ShareID":{}}
    "#]],
    );
    check(
        json!([
            {"driver": "other", "pool": "", "device": ""},
            with(&device, &[("/conditions", many(9, |i| condition(&format!("c{i}")))), ("/data", json!(1)),
                ("/networkData", json!({"interfaceName": "x".repeat(257), "hardwareAddress": "x".repeat(129), "ips": ["300.9.8.0/24", "10.9.8.0/24", "10.9.8.0/24", "10.9.8.7/-1"]}))]),
        ]),
        expect![[r#"
            status.devices[0].pool: Required value
            status.devices[0].device: Invalid value: "": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            status.devices[0]: Invalid value: {"Device":{},"Driver":{},"Pool":{},"ShareID":{}}: must be an allocated device in the claim
            status.devices[1].conditions: Too many: 9: must have at most 8 items
            status.devices[1].data: Invalid value: "<value omitted>": must be a valid JSON object
            status.devices[1].networkData.interfaceName: Too long: may not be more than 256 bytes
            status.devices[1].networkData.hardwareAddress: Too long: may not be more than 128 bytes
            status.devices[1].networkData.ips[0]: Invalid value: "300.9.8.0/24": must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)
            status.devices[1].networkData.ips[3]: Invalid value: "10.9.8.7/-1": must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)
            status.devices[1].networkData.ips[2]: Duplicate value: "10.9.8.0/24"
        "#]],
    );
}
