//! Faults of resource slices and their devices.

use super::*;

#[test]
fn slices() {
    let slice = slice();
    check(SLICE, &slice, &[], expect![[""]]);
    check(
        SLICE,
        &json!({}),
        &[],
        expect![[r#"
        spec.driver: Required value
        spec.pool.name: Required value
        spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero
        spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required
    "#]],
    );
    check(
        SLICE,
        &slice,
        &[
            ("/spec/driver", json!("-x-")),
            ("/spec/pool", json!({"name": "a/-b-/c", "resourceSliceCount": -1, "generation": -1})),
            ("/spec/nodeName", json!("")),
        ],
        expect![[r#"
            spec.driver: Invalid value: "-x-": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.pool.name: Invalid value: "-b-": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.pool.resourceSliceCount: Invalid value: -1: must be greater than zero
            spec.pool.generation: Invalid value: -1: must be greater than or equal to zero
            spec.nodeName: Invalid value: "": must be either unset or set to a non-empty string
            spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required
        "#]],
    );
    let selector = |terms: usize| json!({"nodeSelectorTerms": many(terms, |_| json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]}))});
    check(
        SLICE,
        &slice,
        &[("/spec/nodeSelector", selector(2)), ("/spec/allNodes", json!(false))],
        expect![[r#"
        spec.nodeSelector.nodeSelectorTerms: Invalid value: [{"matchExpressions":[{"key":"a","operator":"Exists"}]},{"matchExpressions":[{"key":"a","operator":"Exists"}]}]: must have exactly one node selector term
        spec.allNodes: Invalid value: false: must be either unset or set to true
        spec: Invalid value: "{`nodeName`, `nodeSelector`}": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set
    "#]],
    );
    check(
        SLICE,
        &slice,
        &[("/spec/nodeName", Value::Null), ("/spec/perDeviceNodeSelection", json!(false))],
        expect![[r#"
            spec.perDeviceNodeSelection: Invalid value: false: must be either unset or set to true
            spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required
        "#]],
    );
    check(
        SLICE,
        &slice,
        &[("/spec/sharedCounters", json!([{"name": "a", "counters": {"x": {"value": "1"}}}]))],
        expect![[r#"
            spec: Invalid value: "": only one of `sharedCounters` or `devices` is allowed
        "#]],
    );
    check(
        SLICE,
        &slice,
        &[
            ("/spec/devices", Value::Null),
            (
                "/spec/sharedCounters",
                json!([{"name": "-"}, {"name": "a", "counters": {"-y": {"value": "1"}}}, {"name": "a", "counters": {"x": {}}}]),
            ),
        ],
        expect![[r#"
            spec.sharedCounters[0].name: Invalid value: "-": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.sharedCounters[0].counters: Required value
            spec.sharedCounters[1].counters: Invalid value: "-y": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.sharedCounters[2]: Duplicate value: "a"
        "#]],
    );
    check(
        SLICE,
        &slice,
        &[("/spec/devices", many(129, |i| json!({"name": format!("d{i}")})))],
        expect![[r#"
        spec.devices: Too many: 129: must have at most 128 items
    "#]],
    );
    check(
        SLICE,
        &slice,
        &[(
            "/spec/devices",
            many(65, |i| json!({"name": format!("d{i}"), "taints": [{"key": "a", "effect": "NoExecute"}]})),
        )],
        expect![[r#"
            spec.devices: Too many: 65: must have at most 64 items
        "#]],
    );
    update(SLICE, &slice, &[("/spec/pool/generation", json!(1))], expect![[""]]);
    update(
        SLICE,
        &slice,
        &[("/spec/pool/name", json!("other")), ("/spec/driver", json!("other")), ("/spec/nodeName", json!("other"))],
        expect![[r#"
            spec.pool.name: Invalid value: "other": field is immutable
            spec.driver: Invalid value: "other": field is immutable
            spec.nodeName: Invalid value: "other": field is immutable
        "#]],
    );
}

#[test]
fn devices() {
    let slice = slice();
    let device = |fields: Value| [("/spec/devices", json!([with(&json!({"name": "d"}), &[]), fields]))];
    check(
        SLICE,
        &slice,
        &device(json!({"name": "d"})),
        expect![[r#"
        spec.devices[1]: Duplicate value: "d"
    "#]],
    );
    check(
        SLICE,
        &slice,
        &device(json!({"name": "-"})),
        expect![[r#"
        spec.devices[1].name: Invalid value: "-": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
    "#]],
    );
    check(
        SLICE,
        &slice,
        &device(json!({"name": "e", "attributes": {
            "a/b/c": {"bool": true}, "/x": {"int": 1}, "dra.example.com/": {"version": "1.0"}, "-": {"string": "x".repeat(65)},
            "none": {}, "two": {"int": 1, "bool": false}, "v": {"version": "1.2.3-rc.1+build"}}})),
        expect![[r#"
            spec.devices[1].attributes: Invalid value: "-": a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')
            spec.devices[1].attributes: Invalid value: "": the domain must not be empty
            spec.devices[1].attributes: Invalid value: "": the name must not be empty
            spec.devices[1].attributes[-].string: Too long: may not be more than 64 bytes
            spec.devices[1].attributes[dra.example.com/].version: Invalid value: "1.0": must be a string compatible with semver.org spec 2.0.0
            spec.devices[1].attributes[none]: Invalid value: "": exactly one value must be specified
            spec.devices[1].attributes[two]: Invalid value: {"bool":false,"int":1}: exactly one value must be specified
        "#]],
    );
    check(
        SLICE,
        &slice,
        &device(
            json!({"name": "e", "attributes": (0..33).map(|i| (format!("a{i}"), json!({"int": i}))).collect::<serde_json::Map<_, _>>()}),
        ),
        expect![[r#"
            spec.devices[1]: Invalid value: 33: the total number of attributes and capacities must not exceed 32
        "#]],
    );
    check(
        SLICE,
        &slice,
        &device(json!({"name": "e", "taints": [{"key": "", "value": "-"}, {"key": "a", "effect": "Other"}]})),
        expect![[r#"
            spec.devices[1].taints[0].key: Invalid value: "": name part must be non-empty
            spec.devices[1].taints[0].key: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.devices[1].taints[0].value: Invalid value: "-": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
            spec.devices[1].taints[0].effect: Required value
            spec.devices[1].taints[1].effect: Unsupported value: "Other": supported values: "NoExecute", "NoSchedule", "None"
        "#]],
    );
    check(
        SLICE,
        &slice,
        &device(json!({"name": "e", "consumesCounters": [{}, {"counterSet": "a", "counters": {"-": {"value": "1"}}}]})),
        expect![[r#"
            spec.devices[1].consumesCounters[0].counterSet: Required value
            spec.devices[1].consumesCounters[0].counters: Required value
            spec.devices[1].consumesCounters[1].counters: Invalid value: "-": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
        "#]],
    );
    check(
        SLICE,
        &slice,
        &device(json!({"name": "e", "nodeName": "n"})),
        expect![[r#"
        spec.devices[1]: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec
    "#]],
    );
    check(
        SLICE,
        &slice,
        &device(
            json!({"name": "e", "bindingConditions": ["a", "a", "b c"], "bindingFailureConditions": ["a", "1", "2", "3", "4"]}),
        ),
        expect![[r#"
            spec.devices[1].bindingConditions[2]: Invalid value: "b c": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.devices[1].bindingFailureConditions: Too many: 5: must have at most 4 items
            spec.devices[1].bindingConditions[1]: Duplicate value: "a"
            spec.devices[1].bindingFailureConditions[0]: Invalid value: "a": bindingFailureConditions must not overlap with bindingConditions
        "#]],
    );
    check(
        SLICE,
        &slice,
        &device(json!({"name": "e", "bindingConditions": ["a"]})),
        expect![[r#"
        spec.devices[1].bindingFailureConditions: Invalid value: null: bindingFailureConditions are required to use bindingConditions
    "#]],
    );
    check(
        SLICE,
        &slice,
        &device(json!({"name": "e", "bindingFailureConditions": ["a"]})),
        expect![[r#"
        spec.devices[1].bindingConditions: Invalid value: null: bindingConditions are required to use bindingFailureConditions
    "#]],
    );
    let per_device = with(&slice, &[("/spec/nodeName", Value::Null), ("/spec/perDeviceNodeSelection", json!(true))]);
    check(
        SLICE,
        &per_device,
        &[(
            "/spec/devices",
            json!([{"name": "a"}, {"name": "b", "nodeName": "", "allNodes": false}, {"name": "c", "nodeName": "n", "allNodes": true}, {"name": "d", "nodeName": "n"}]),
        )],
        expect![[r#"
            spec.devices[0]: Required value: exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec
            spec.devices[1].nodeName: Invalid value: "": must not be empty
            spec.devices[1].allNodes: Invalid value: false: must be either unset or set to true
            spec.devices[1]: Required value: exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec
            spec.devices[2]: Invalid value: "{`nodeName`, `allNodes`}": exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec
        "#]],
    );
    let tainted = with(&slice, &[("/spec/devices/0/taints", json!([{"key": "", "effect": "Older"}]))]);
    update(SLICE, &tainted, &[("/spec/devices/0/attributes", json!({}))], expect![""]);
}

#[test]
fn capacities() {
    let policy = |shared: bool, policy: Value| {
        with(
            &slice(),
            &[(
                "/spec/devices",
                json!([{"name": "d", "allowMultipleAllocations": shared, "capacity": {"memory": {"value": "10", "requestPolicy": policy}}}]),
            )],
        )
    };
    let check =
        |shared: bool, given: Value, expected: Expect| expected.assert_eq(&said(SLICE, &policy(shared, given), None));
    check(true, json!({"default": "2", "validValues": ["1", "2"]}), expect![[""]]);
    check(true, json!({"default": "2", "validRange": {"min": "1", "max": "5", "step": "1"}}), expect![[""]]);
    check(
        false,
        json!({"default": "2"}),
        expect![[r#"
        spec.devices[0].capacity[memory].requestPolicy: Forbidden: allowMultipleAllocations must be true
    "#]],
    );
    check(
        true,
        json!({"validValues": ["1"], "validRange": {"min": "1"}}),
        expect![[r#"
        spec.devices[0].capacity[memory].requestPolicy: Forbidden: exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time
    "#]],
    );
    check(
        true,
        json!({"validValues": ["1"]}),
        expect![[r#"
        spec.devices[0].capacity[memory].requestPolicy.default: Required value: required when validValues is defined
    "#]],
    );
    check(
        true,
        json!({"default": "7", "validValues": ["3", "2", "2", "11"]}),
        expect![[r#"
        spec.devices[0].capacity[memory].requestPolicy.validValues[1]: Invalid value: "2": values must be sorted in ascending order
        spec.devices[0].capacity[memory].requestPolicy.validValues[3]: Invalid value: "11": option is larger than capacity value: 10
        spec.devices[0].capacity[memory].requestPolicy.validValues[2]: Duplicate value: "2"
        spec.devices[0].capacity[memory].requestPolicy.validValues: Invalid value: "7": default value is not valid according to the requestPolicy
    "#]],
    );
    check(
        true,
        json!({"default": "1", "validValues": many(11, |i| i.to_string())}),
        expect![[r#"
        spec.devices[0].capacity[memory].requestPolicy.validValues: Too many: 11: must have at most 10 items
        spec.devices[0].capacity[memory].requestPolicy.validValues: Invalid value: "1": default value is not valid according to the requestPolicy
    "#]],
    );
    check(
        true,
        json!({"validRange": {}}),
        expect![[r#"
        spec.devices[0].capacity[memory].requestPolicy.default: Required value: required when validRange is defined
    "#]],
    );
    check(
        true,
        json!({"default": "1", "validRange": {}}),
        expect![[r#"
        spec.devices[0].capacity[memory].requestPolicy.validRange.min: Required value: required when validRange is defined
    "#]],
    );
    check(
        true,
        json!({"default": "1", "validRange": {"min": "11", "max": "3"}}),
        expect![[r#"
        spec.devices[0].capacity[memory].requestPolicy.validRange.min: Invalid value: "11": min is larger than capacity value: 10
        spec.devices[0].capacity[memory].requestPolicy.validRange.min: Invalid value: "1": default is less than min: 11
        spec.devices[0].capacity[memory].requestPolicy.validRange.max: Invalid value: "11": min is larger than max: 3
    "#]],
    );
    check(
        true,
        json!({"default": "9", "validRange": {"min": "2", "max": "12", "step": "20"}}),
        expect![[r#"
        spec.devices[0].capacity[memory].requestPolicy.validRange.max: Invalid value: "12": max is larger than capacity value: 10
        spec.devices[0].capacity[memory].requestPolicy.validRange.step: Invalid value: "20": one step 22 is larger than capacity value: 10
        spec.devices[0].capacity[memory].requestPolicy.validRange.step: Invalid value: "9": value is not a multiple of a given step (20) from (2)
        spec.devices[0].capacity[memory].requestPolicy.validRange.step: Invalid value: "12": value is not a multiple of a given step (20) from (2)
    "#]],
    );
    check(
        true,
        json!({"default": "9", "validRange": {"min": "2", "max": "8", "step": "2"}}),
        expect![[r#"
        spec.devices[0].capacity[memory].requestPolicy.validRange.max: Invalid value: "9": default is more than max: 8
        spec.devices[0].capacity[memory].requestPolicy.validRange.step: Invalid value: "9": value is not a multiple of a given step (2) from (2)
    "#]],
    );
}

#[test]
fn drivers_in_lower_case() {
    assert_eq!(slice_warnings(&slice(), None), [""; 0]);
    assert_eq!(
        slice_warnings(&with(&slice(), &[("/spec/driver", json!("Test.example.com"))]), None),
        [r#"spec.driver: driver names should be lowercase; "Test.example.com" contains uppercase characters"#]
    );
}
