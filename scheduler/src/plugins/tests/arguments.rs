//! Which arguments a plugin refuses (`apis/config/validation/validation_pluginargs_test.go`).

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::CATALOGUE;
use crate::cache::labels::Interner;

fn check(plugin: &str, args: Value, expected: Expect) {
    let (.., make) = CATALOGUE.iter().find(|(name, ..)| *name == plugin).expect("a plugin of the catalogue");
    let answer = make(&args, &mut Interner::default()).map_or_else(|why| why, |_| "taken".to_owned());
    expected.assert_eq(&answer);
}

#[test]
fn of_inter_pod_affinity() {
    let weight = |weight: i64, expected| check("InterPodAffinity", json!({"hardPodAffinityWeight": weight}), expected);
    weight(0, expect!["taken"]);
    weight(100, expect!["taken"]);
    weight(-1, expect!["hardPodAffinityWeight: Invalid value: -1: not in valid range [0, 100]"]);
    weight(101, expect!["hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]"]);
}

#[test]
fn of_pod_topology_spread() {
    let of = |kind: &str, constraints: &[Value], expected: Expect| {
        check("PodTopologySpread", json!({"defaultingType": kind, "defaultConstraints": constraints}), expected);
    };
    let constraint =
        |skew: i32, key: &str, action: &str| json!({"maxSkew": skew, "topologyKey": key, "whenUnsatisfiable": action});
    let (node, zone) = (constraint(1, "node", "DoNotSchedule"), constraint(2, "zone", "ScheduleAnyway"));
    of("List", &[node.clone(), zone], expect!["taken"]);
    of("List", &[], expect!["taken"]);
    of("", &[], expect!["taken"]);
    of(
        "System",
        std::slice::from_ref(&node),
        expect![[r#"defaultingType: Invalid value: "System": when .defaultConstraints are not empty"#]],
    );
    of(
        "Unknown",
        &[],
        expect![[r#"defaultingType: Unsupported value: "Unknown": supported values: "System", "List""#]],
    );
    of(
        "List",
        &[constraint(0, "", "")],
        expect![
            "[defaultConstraints[0].maxSkew: Invalid value: 0: not in valid range (0, inf), defaultConstraints[0].topologyKey: Required value: can not be empty, defaultConstraints[0].whenUnsatisfiable: Required value: can not be empty]"
        ],
    );
    of(
        "List",
        &[constraint(1, "node", "Unknown")],
        expect![[
            r#"defaultConstraints[0].whenUnsatisfiable: Unsupported value: "Unknown": supported values: "DoNotSchedule", "ScheduleAnyway""#
        ]],
    );
    of(
        "List",
        &[node.clone(), node.clone()],
        expect![[r#"defaultConstraints[1]: Duplicate value: "{node, DoNotSchedule}""#]],
    );
    let mut selecting = node;
    selecting["labelSelector"] = json!({"matchLabels": {"foo": "bar"}});
    of(
        "List",
        &[selecting],
        expect![
            "defaultConstraints[0].labelSelector: Forbidden: constraint must not define a selector, as they deduced for each pod"
        ],
    );
}

#[test]
fn of_node_resources() {
    let fit = |args: Value, expected| check("NodeResourcesFit", args, expected);
    let strategy = |kind: &str, more: Value| {
        let mut strategy = json!({"type": kind});
        for (field, value) in more.as_object().expect("fields") {
            strategy[field] = value.clone();
        }
        json!({"scoringStrategy": strategy})
    };
    let weights = |all: &[i64]| {
        let resources: Vec<_> = all.iter().map(|weight| json!({"name": "cpu", "weight": weight})).collect();
        json!({"resources": resources})
    };
    // A weight of 0 is one that is not given.
    fit(strategy("LeastAllocated", weights(&[0, 1, 100])), expect!["taken"]);
    fit(
        strategy("MostAllocated", weights(&[-1, 101])),
        expect![
            "[scoringStrategy.resources[0].weight: Invalid value: -1: resource weight of cpu not in valid range (0, 100], scoringStrategy.resources[1].weight: Invalid value: 101: resource weight of cpu not in valid range (0, 100]]"
        ],
    );
    fit(
        strategy("", json!({})),
        expect![[
            r#"scoringStrategy.type: Unsupported value: "": supported values: "LeastAllocated", "MostAllocated", "RequestedToCapacityRatio""#
        ]],
    );
    fit(
        strategy("RequestedToCapacityRatio", json!({})),
        expect![
            "scoringStrategy.requestedToCapacityRatio: Required value: must be specified when type is RequestedToCapacityRatio"
        ],
    );
    let shape = |points: &[(i64, i64)]| {
        let point = |(utilization, score): &(i64, i64)| json!({"utilization": utilization, "score": score});
        json!({"requestedToCapacityRatio": {"shape": points.iter().map(point).collect::<Vec<_>>()}})
    };
    let ratio = |points: &[(i64, i64)], expected| fit(strategy("RequestedToCapacityRatio", shape(points)), expected);
    ratio(&[(0, 0), (30, 3)], expect!["taken"]);
    ratio(
        &[],
        expect!["scoringStrategy.requestedToCapacityRatio.shape: Required value: at least one point must be specified"],
    );
    ratio(
        &[(30, 3), (30, 3)],
        expect![
            "scoringStrategy.requestedToCapacityRatio.shape[1].utilization: Invalid value: 30: values must be sorted in increasing order"
        ],
    );
    ratio(
        &[(-10, 3), (101, 11)],
        expect![
            "[scoringStrategy.requestedToCapacityRatio.shape[0].utilization: Invalid value: -10: not in valid range [0, 100], scoringStrategy.requestedToCapacityRatio.shape[1].utilization: Invalid value: 101: not in valid range [0, 100], scoringStrategy.requestedToCapacityRatio.shape[1].score: Invalid value: 11: not in valid range [0, 10]]"
        ],
    );
    fit(
        strategy("LeastAllocated", shape(&[(0, 0)])),
        expect![
            "scoringStrategy.requestedToCapacityRatio: Forbidden: must be nil when type is not RequestedToCapacityRatio"
        ],
    );
    fit(json!({"ignoredResources": ["example.com/a"], "ignoredResourceGroups": ["example.com"]}), expect!["taken"]);
    fit(
        json!({"ignoredResourceGroups": ["example.com/a"]}),
        expect![[r#"ignoredResourceGroups[0]: Invalid value: "example.com/a": resource group name can't contain '/'"#]],
    );

    let balanced = |args: Value, expected| check("NodeResourcesBalancedAllocation", args, expected);
    balanced(json!({"resources": [{"name": "cpu"}, {"name": "memory", "weight": 1}]}), expect!["taken"]);
    balanced(
        json!({"resources": [{"name": "cpu", "weight": 2}, {"name": "cpu"}]}),
        expect![[r#"[resources[0].weight: Invalid value: 2: must be 1, resources[1].name: Duplicate value: "cpu"]"#]],
    );
}

#[test]
fn of_volume_binding() {
    let of = |args: Value, expected| check("VolumeBinding", args, expected);
    of(json!(null), expect!["taken"]);
    of(json!({"bindTimeoutSeconds": 0}), expect!["taken"]);
    of(
        json!({"bindTimeoutSeconds": -10}),
        expect!["bindTimeoutSeconds: Invalid value: -10: invalid BindTimeoutSeconds, should not be a negative value"],
    );
    of(
        json!({"shape": []}),
        expect![
            "shape: Invalid value: []: unexpected field `shape`, remove it or turn on the feature gate StorageCapacityScoring"
        ],
    );
}
