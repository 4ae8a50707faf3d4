//! `noderesources/{fit,least_allocated,most_allocated,requested_to_capacity_ratio}_test.go`.

use expect_test::{Expect, expect};
use k8s_openapi::api::core::v1::{Node as ApiNode, Pod as ApiPod};
use serde_json::{Value, json};

use super::{World, added, container, deleted, node, pod, updated};

/// The node of upstream's tests: 10m of CPU, 20 bytes of memory and of storage, 5 of the others, 32 pods.
fn small(fields: Value) -> ApiNode {
    let mut allocatable = json!({
        "cpu": "10m",
        "memory": "20",
        "pods": "32",
        "ephemeral-storage": "20",
        "example.com/aaa": "5",
        "hugepages-2Mi": "5",
    });
    for (key, value) in fields.as_object().expect("amounts") {
        allocatable[key] = value.clone();
    }
    node("a", json!({"allocatable": allocatable}))
}

fn containers(all: &[Value]) -> Value {
    all.iter().cloned().map(container).collect()
}

fn wanting(requests: &[Value]) -> ApiPod {
    pod("p", json!({"containers": containers(requests)}))
}

fn on(name: &str, node: &str, requests: Value) -> ApiPod {
    pod(name, json!({"nodeName": node, "containers": [container(requests)]}))
}

/// A pod on a node where one asks for `used` already.
fn fits(args: Value, used: Value, pod: &ApiPod) -> String {
    World::new("NodeResourcesFit", args).with(&[small(json!({}))], &[on("there", "a", used)]).filter(pod)
}

#[test]
fn filter() {
    let check = |used: Value, pod: ApiPod, expected: Expect| {
        let answer = fits(json!(null), used, &pod);
        expected.assert_eq(answer.strip_prefix("a ").expect("the node's name"));
    };
    let of = |cpu: u32, memory: u32| json!({"cpu": format!("{cpu}m"), "memory": memory.to_string()});
    let with_init = |own: Value, init: &[Value]| {
        pod("p", json!({"containers": containers(&[own]), "initContainers": containers(init)}))
    };
    check(of(10, 20), wanting(&[]), expect!["Success"]);
    check(of(10, 20), wanting(&[of(1, 1)]), expect!["Unschedulable Insufficient cpu, Insufficient memory"]);
    check(of(5, 5), wanting(&[of(1, 1)]), expect!["Success"]);
    check(of(9, 5), wanting(&[of(2, 1)]), expect!["Unschedulable Insufficient cpu"]);
    check(of(5, 19), wanting(&[of(1, 2)]), expect!["Unschedulable Insufficient memory"]);
    check(of(5, 19), wanting(&[of(5, 1)]), expect!["Success"]);
    // Init containers run one after the other: the largest counts, and the containers if they are larger together.
    check(of(8, 19), with_init(of(1, 1), &[of(3, 1)]), expect!["Unschedulable Insufficient cpu"]);
    check(of(8, 19), with_init(of(1, 1), &[of(3, 1), of(2, 1)]), expect!["Unschedulable Insufficient cpu"]);
    check(of(9, 19), with_init(of(1, 1), &[of(1, 3), of(1, 2)]), expect!["Unschedulable Insufficient memory"]);
    check(of(9, 19), with_init(of(1, 1), &[of(1, 1), of(1, 1)]), expect!["Success"]);
    check(of(5, 19), with_init(of(4, 1), &[of(5, 1)]), expect!["Success"]);
    // Storage, also of a node that has enough of everything else.
    check(
        json!({"ephemeral-storage": "10"}),
        wanting(&[json!({"ephemeral-storage": "11"})]),
        expect!["Unschedulable Insufficient ephemeral-storage"],
    );
    check(json!({"ephemeral-storage": "10"}), wanting(&[json!({"ephemeral-storage": "10"})]), expect!["Success"]);
    check(
        json!({}),
        wanting(&[json!({"ephemeral-storage": "25"})]),
        expect!["UnschedulableAndUnresolvable Insufficient ephemeral-storage"],
    );
    // Overhead and requests of the pod as a whole.
    let with = |field: &str, value: Value| {
        let mut fields = json!({"containers": containers(&[of(1, 1)])});
        fields[field] = value;
        pod("p", fields)
    };
    check(of(5, 5), with("overhead", of(3, 13)), expect!["Success"]);
    check(of(5, 5), with("overhead", of(1, 15)), expect!["Unschedulable Insufficient memory"]);
    check(of(5, 5), with("resources", json!({"requests": of(1, 2)})), expect!["Success"]);
    check(of(5, 5), with("resources", json!({"requests": of(7, 2)})), expect!["Unschedulable Insufficient cpu"]);
    check(of(5, 19), with("resources", json!({"requests": of(3, 2)})), expect!["Unschedulable Insufficient memory"]);
    check(
        json!({}),
        with("resources", json!({"requests": {"hugepages-2Mi": "10"}})),
        expect!["UnschedulableAndUnresolvable Insufficient hugepages-2Mi"],
    );
}

#[test]
fn extended_resources_and_huge_pages() {
    let no = "Insufficient";
    for name in ["example.com/aaa", "hugepages-2Mi"] {
        let of = |amount: u32| json!({name: amount.to_string()});
        let check = |used: u32, pod: ApiPod, expected: &str| {
            let expected = format!("a {expected}").replace(no, &format!("{no} {name}"));
            assert_eq!(fits(json!(null), of(used), &pod), expected, "{name} {:?}", pod.spec);
        };
        let init = |requests: &[Value]| pod("p", json!({"initContainers": containers(requests)}));
        check(0, wanting(&[of(1)]), "Success");
        check(0, init(&[of(1)]), "Success");
        // More than the node has at all can't be helped by sending pods away.
        check(0, wanting(&[of(10)]), "UnschedulableAndUnresolvable Insufficient");
        check(0, init(&[of(10)]), "UnschedulableAndUnresolvable Insufficient");
        check(5, wanting(&[of(1)]), "Unschedulable Insufficient");
        check(5, init(&[of(1)]), "Unschedulable Insufficient");
        check(2, wanting(&[of(3), of(3)]), "UnschedulableAndUnresolvable Insufficient");
        check(2, init(&[of(3), of(3)]), "Success");
        check(2, init(&[of(6), of(3)]), "UnschedulableAndUnresolvable Insufficient");
        check(6, wanting(&[of(0)]), "Success");
    }
    let check = |args: Value, requests: Value, expected: Expect| {
        expected.assert_eq(&fits(args, json!({}), &wanting(&[requests])));
    };
    let unknown = || json!({"example.com/bbb": "1", "kubernetes.io/something": "1"});
    check(
        json!(null),
        unknown(),
        expect!["a UnschedulableAndUnresolvable Insufficient example.com/bbb, Insufficient kubernetes.io/something"],
    );
    check(json!({"ignoredResources": ["example.com/bbb"]}), json!({"example.com/bbb": "1"}), expect!["a Success"]);
    check(
        json!({"ignoredResourceGroups": ["example.com"]}),
        unknown(),
        expect!["a UnschedulableAndUnresolvable Insufficient kubernetes.io/something"],
    );
    check(
        json!({"ignoredResources": ["kubernetes.io/something"], "ignoredResourceGroups": ["kubernetes.io"]}),
        json!({"kubernetes.io/something": "1"}),
        expect!["a UnschedulableAndUnresolvable Insufficient kubernetes.io/something"],
    );
}

#[test]
fn the_number_of_pods() {
    let nodes = [small(json!({"pods": "1"}))];
    let mut world = World::new("NodeResourcesFit", json!(null)).with(&nodes, &[on("there", "a", json!({}))]);
    let check = |world: &mut World, requests: Value, expected: Expect| {
        expected.assert_eq(&world.filter(&wanting(&[requests])));
    };
    check(&mut world, json!({}), expect!["a Unschedulable Too many pods"]);
    check(&mut world, json!({"cpu": "10m", "memory": "20"}), expect!["a Unschedulable Too many pods"]);
    check(
        &mut world,
        json!({"cpu": "11m", "memory": "20"}),
        expect!["a UnschedulableAndUnresolvable Too many pods, Insufficient cpu"],
    );
    let mut world = World::new("NodeResourcesFit", json!(null)).with(&[small(json!({"pods": "0"}))], &[]);
    check(&mut world, json!({}), expect!["a Unschedulable Too many pods"]);
}

/// Sidecars run beside the containers, and beside the init containers after them.
#[test]
fn sidecars() {
    let of = |cpu: &str, restart: Value| json!({"name": "i", "restartPolicy": restart, "resources": {"requests": {"cpu": cpu}}});
    let check = |init: &[Value], own: &str, expected: Expect| {
        let pod = pod("p", json!({"initContainers": init, "containers": containers(&[json!({"cpu": own})])}));
        expected.assert_eq(&fits(json!(null), json!({}), &pod));
    };
    let (once, always) = (|cpu: &str| of(cpu, json!(null)), |cpu: &str| of(cpu, json!("Always")));
    check(&[once("6m")], "6m", expect!["a Success"]);
    check(&[always("6m")], "6m", expect!["a UnschedulableAndUnresolvable Insufficient cpu"]);
    check(&[always("5m"), once("6m")], "1m", expect!["a UnschedulableAndUnresolvable Insufficient cpu"]);
    check(&[once("6m"), always("5m")], "1m", expect!["a Success"]);
}

/// A node with whole CPUs and bytes, and more.
fn has(name: &str, cpu: &str, memory: &str, more: Value) -> ApiNode {
    let mut allocatable = json!({"cpu": cpu, "memory": memory});
    for (key, value) in more.as_object().expect("amounts") {
        allocatable[key] = value.clone();
    }
    node(name, json!({"allocatable": allocatable}))
}

fn strategy(kind: &str, resources: Value) -> Value {
    json!({"scoringStrategy": {"type": kind, "resources": resources}})
}

fn score(args: Value, nodes: &[ApiNode], pods: &[ApiPod], requests: &[Value]) -> String {
    World::new("NodeResourcesFit", args).with(nodes, pods).score(&wanting(requests))
}

#[test]
fn least_and_most_allocated() {
    let check =
        |nodes: &[ApiNode], pods: &[ApiPod], requests: &[Value], resources: &Value, least: Expect, most: Expect| {
            least.assert_eq(&score(strategy("LeastAllocated", resources.clone()), nodes, pods, requests));
            most.assert_eq(&score(strategy("MostAllocated", resources.clone()), nodes, pods, requests));
        };
    let default = json!([{"name": "cpu", "weight": 1}, {"name": "memory", "weight": 1}]);
    let weighted = json!([{"name": "memory", "weight": 2}, {"name": "cpu", "weight": 1}]);
    let extended = json!([{"name": "cpu"}, {"name": "memory"}, {"name": "abc.com/xyz"}]);
    let plain = |name: &str, cpu: &str, memory: &str| has(name, cpu, memory, json!({}));
    let of = |cpu: &str, memory: &str| json!({"cpu": cpu, "memory": memory});
    let two = [of("1000", "2000"), of("2000", "3000")];
    let unequal = [plain("a", "4000", "10000"), plain("b", "6000", "10000")];
    check(&unequal, &[], &[], &default, expect!["a 100, b 100"], expect!["a 0, b 0"]);
    check(&unequal, &[], &two, &default, expect!["a 37, b 50"], expect!["a 62, b 50"]);
    check(&unequal, &[], &two, &weighted, expect!["a 41, b 50"], expect!["a 58, b 50"]);
    let large = [plain("a", "10000", "20000"), plain("b", "10000", "20000")];
    let used = [
        on("1", "a", of("3000", "0")),
        on("2", "a", of("3000", "0")),
        on("3", "b", of("3000", "0")),
        on("4", "b", of("3000", "5000")),
    ];
    check(&large, &used, &[], &default, expect!["a 70, b 57"], expect!["a 30, b 42"]);
    let used = [on("1", "a", of("3000", "0")), on("2", "b", of("3000", "5000"))];
    check(&large, &used, &two, &default, expect!["a 57, b 45"], expect!["a 42, b 55"]);
    check(
        &[plain("a", "10000", "20000"), plain("b", "10000", "50000")],
        &used,
        &two,
        &default,
        expect!["a 57, b 60"],
        expect!["a 42, b 40"],
    );
    // Asked for more than there is.
    check(
        &[plain("a", "4000", "10000"), plain("b", "4000", "10000")],
        &used,
        &[of("3000", "0")],
        &default,
        expect!["a 50, b 25"],
        expect!["a 50, b 75"],
    );
    check(
        &[plain("a", "5000", "10000"), plain("b", "10000", "9000")],
        &[],
        &[of("2000", "4000"), of("3000", "5000")],
        &default,
        expect!["a 5, b 25"],
        expect!["a 95, b 75"],
    );
    // A node that says nothing of its resources.
    check(&[node("a", json!({}))], &used[..1], &[], &default, expect!["a 0"], expect!["a 0"]);
    // An extended resource counts where the pod asks for it and the node has it.
    let xyz = |name: &str, amount: &str| has(name, "6000", "10000", json!({"abc.com/xyz": amount}));
    check(
        &[plain("a", "6000", "10000"), xyz("b", "4")],
        &[],
        &two,
        &extended,
        expect!["a 50, b 50"],
        expect!["a 50, b 50"],
    );
    let asking = [json!({"cpu": "3000", "memory": "5000", "abc.com/xyz": "2"})];
    check(&[xyz("a", "4"), xyz("b", "10")], &[], &asking, &extended, expect!["a 50, b 60"], expect!["a 50, b 40"]);
    // Containers that ask for nothing count as 100m and 200Mi.
    check(
        &[plain("a", "250m", "1000Mi"), plain("b", "250m", "1000Mi")],
        &[on("1", "a", json!({})), on("2", "a", json!({}))],
        &[json!({})],
        &default,
        expect!["a 20, b 70"],
        expect!["a 80, b 30"],
    );
}

#[test]
fn requested_to_capacity_ratio() {
    let args = |shape: &[(u8, u8)], resources: Value| {
        let point = |(utilization, score): &(u8, u8)| json!({"utilization": utilization, "score": score});
        let shape: Vec<_> = shape.iter().map(point).collect();
        json!({"scoringStrategy": {
            "type": "RequestedToCapacityRatio",
            "resources": resources,
            "requestedToCapacityRatio": {"shape": shape},
        }})
    };
    let default = json!([{"name": "cpu", "weight": 1}, {"name": "memory", "weight": 1}]);
    let of = |cpu: &str, memory: &str| json!({"cpu": cpu, "memory": memory});
    let two = [of("1000", "2000"), of("2000", "3000")];
    let unequal = [has("a", "4000", "10000", json!({})), has("b", "6000", "10000", json!({}))];
    let check = |shape: &[(u8, u8)],
                 resources: Value,
                 nodes: &[ApiNode],
                 pods: &[ApiPod],
                 requests: &[Value],
                 expected: Expect| {
        expected.assert_eq(&score(args(shape, resources), nodes, pods, requests));
    };
    // Falling: like LeastAllocated, rounded instead of cut.
    let falling = [(0, 10), (100, 0)];
    check(&falling, default.clone(), &unequal, &[], &[], expect!["a 100, b 100"]);
    check(&falling, default.clone(), &unequal, &[], &two, expect!["a 38, b 50"]);
    let used = [on("1", "a", of("3000", "5000")), on("2", "b", of("3000", "5000"))];
    check(&falling, default.clone(), &unequal, &used, &[], expect!["a 38, b 50"]);

    // Rising, of one extended resource and of two: bin packing.
    let rising = [(0, 0), (100, 1)];
    let foo = json!([{"name": "intel.com/foo", "weight": 1}]);
    let foos = |name: &str, amount: &str| has(name, "4", "10000Mi", json!({"intel.com/foo": amount}));
    let nodes = [foos("a", "8"), foos("b", "4")];
    let wants = |amount: &str| json!({"intel.com/foo": amount});
    check(&rising, foo.clone(), &nodes, &[], &[], expect!["a 0, b 0"]);
    check(&rising, foo.clone(), &nodes, &[], &[wants("2")], expect!["a 2, b 5"]);
    check(&rising, foo.clone(), &nodes, &[on("1", "b", wants("2"))], &[wants("2")], expect!["a 2, b 10"]);
    check(&rising, foo, &nodes, &[], &[wants("4")], expect!["a 5, b 10"]);
    let both = json!([{"name": "intel.com/foo", "weight": 3}, {"name": "intel.com/bar", "weight": 5}]);
    let has_both = |name: &str, foo: &str, bar: &str| {
        has(name, "4", "10000Mi", json!({"intel.com/foo": foo, "intel.com/bar": bar}))
    };
    let nodes = [has_both("a", "8", "4"), has_both("b", "4", "8")];
    let wants = |foo: &str, bar: &str| json!({"intel.com/foo": foo, "intel.com/bar": bar});
    check(&rising, both.clone(), &nodes, &[], &[wants("2", "2")], expect!["a 4, b 3"]);
    check(&rising, both.clone(), &nodes, &[on("1", "b", wants("4", "2"))], &[wants("2", "2")], expect!["a 4, b 7"]);
    check(&rising, both, &nodes, &[], &[wants("4", "2")], expect!["a 5, b 5"]);

    // A line broken at its points, and flat before the first and after the last.
    for (shape, values) in [
        (&[(10, 1), (90, 9)][..], &[(0, 10), (9, 10), (10, 10), (15, 15), (20, 20), (89, 89), (90, 90), (100, 90)][..]),
        (&[(0, 2), (40, 10), (100, 0)], &[(0, 20), (20, 60), (30, 80), (40, 100), (70, 50), (100, 0), (110, 0)]),
        (&[(0, 2), (40, 2), (100, 2)], &[(0, 20), (20, 20), (40, 20), (70, 20), (110, 20)]),
    ] {
        for (used, expected) in values {
            let cpu = json!([{"name": "cpu", "weight": 1}]);
            let nodes = [has("a", "100", "1", json!({}))];
            let got = score(args(shape, cpu), &nodes, &[on("1", "a", json!({"cpu": used.to_string()}))], &[]);
            assert_eq!(got, format!("a {expected}"), "{shape:?} at {used}");
        }
    }
}

#[test]
fn hints_of_pods() {
    let of = |name: &str, node: &str, requests: Value| on(name, node, requests);
    let both = |cpu: &str| json!({"cpu": cpu, "memory": "2"});
    let gpu = |amount: &str| json!({"cpu": "1", "example.com/aaa": amount});
    let pending = || pod("other", json!({"containers": [container(both("1"))]}));
    let nominated = pod("other", json!({"nominatedNodeName": "a", "containers": [container(both("1"))]}));
    World::new("NodeResourcesFit", json!(null)).check_hints(
        &wanting(&[json!({"cpu": "1", "example.com/aaa": "0"})]),
        vec![
            ("a pod without a node goes", deleted(pending())),
            ("a pod nominated for a node goes", deleted(nominated)),
            ("a pod on a node goes", deleted(of("other", "a", both("1")))),
            ("a pod comes", added(of("other", "a", both("1")))),
            ("a pod without a node is scaled down", updated(of("other", "", both("2")), of("other", "", both("1")))),
            ("a pod is scaled up", updated(of("other", "a", both("1")), of("other", "a", both("2")))),
            ("a pod is scaled down", updated(of("other", "a", both("2")), of("other", "a", both("1")))),
            (
                "a pod is scaled down in what is not asked for",
                updated(of("other", "a", json!({"memory": "2"})), of("other", "a", json!({"memory": "1"}))),
            ),
            (
                "a pod is scaled down in what is asked for with 0",
                updated(of("other", "a", gpu("2")), of("other", "a", gpu("1"))),
            ),
            ("the pod itself is scaled down", updated(of("p", "", both("2")), of("p", "", both("1")))),
        ],
        expect![[r#"
            Skip: a pod without a node goes
            Queue: a pod nominated for a node goes
            Queue: a pod on a node goes
            unregistered: a pod comes
            Skip: a pod without a node is scaled down
            unregistered: a pod is scaled up
            Queue: a pod is scaled down
            Skip: a pod is scaled down in what is not asked for
            Skip: a pod is scaled down in what is asked for with 0
            Queue: the pod itself is scaled down"#]],
    );
}

#[test]
fn hints_of_nodes() {
    let is = |allocatable: Value| {
        let mut allocatable = allocatable;
        if allocatable.get("pods").is_none() {
            allocatable["pods"] = json!("32");
        }
        node("a", json!({"allocatable": allocatable}))
    };
    let of = |memory: &str, aaa: &str| is(json!({"memory": memory, "example.com/aaa": aaa}));
    World::new("NodeResourcesFit", json!(null)).check_hints(
        &wanting(&[json!({"memory": "2", "example.com/aaa": "1"})]),
        vec![
            ("a node with too little comes", added(is(json!({"memory": "1", "example.com/aaa": "1"})))),
            ("a node without the resource comes", added(is(json!({"memory": "4", "example.com/bbb": "1"})))),
            ("a node with enough comes", added(of("4", "2"))),
            (
                "a node without room for a pod comes",
                added(is(json!({"memory": "4", "example.com/aaa": "2", "pods": "0"}))),
            ),
            (
                "a node gets less of one and more of another",
                updated(of("2", "2"), is(json!({"memory": "2", "example.com/aaa": "1", "example.com/bbb": "2"}))),
            ),
            ("a node gets more", updated(of("2", "1"), of("2", "2"))),
            ("a node gets too little", updated(of("4", "2"), of("1", "2"))),
            ("a node gets enough", updated(of("1", "2"), of("4", "2"))),
            (
                "a node gets room for more pods",
                updated(of("4", "2"), is(json!({"memory": "4", "example.com/aaa": "2", "pods": "33"}))),
            ),
            ("a node goes", deleted(of("4", "2"))),
        ],
        expect![[r#"
            Skip: a node with too little comes
            Skip: a node without the resource comes
            Queue: a node with enough comes
            Skip: a node without room for a pod comes
            Skip: a node gets less of one and more of another
            Queue: a node gets more
            Skip: a node gets too little
            Queue: a node gets enough
            Queue: a node gets room for more pods
            unregistered: a node goes"#]],
    );
}
