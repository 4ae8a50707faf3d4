//! `schedulinggates/scheduling_gates_test.go`.

use expect_test::expect;
use k8s_openapi::api::core::v1::Pod as ApiPod;
use serde_json::json;

use super::{World, added, check, node, pod, shown, updated};

fn gated(name: &str, gates: &[&str]) -> ApiPod {
    let gates: Vec<_> = gates.iter().map(|name| json!({"name": name})).collect();
    pod(name, json!({"schedulingGates": gates}))
}

#[test]
fn pre_enqueue() {
    let mut world = World::new("SchedulingGates", json!(null));
    let mut status = |pod: &ApiPod| {
        let pod = world.cache.read_pod(pod);
        shown(&world.plugin.pre_enqueue().expect("it gates").pre_enqueue(&pod))
    };
    check(status(&gated("p", &[])), expect!["Success"]);
    check(
        status(&gated("p", &["foo", "bar"])),
        expect!["UnschedulableAndUnresolvable waiting for scheduling gates: [foo bar]"],
    );
}

#[test]
fn hints() {
    World::new("SchedulingGates", json!(null)).check_hints(
        &gated("p", &["foo"]),
        vec![
            ("the pod's last gate goes", updated(gated("p", &["foo"]), gated("p", &[]))),
            ("one of the pod's gates goes", updated(gated("p", &["foo", "bar"]), gated("p", &["foo"]))),
            ("another pod's last gate goes", updated(gated("q", &["foo"]), gated("q", &[]))),
            ("a node comes", added(node("a", json!({})))),
        ],
        expect![[r#"
            Queue: the pod's last gate goes
            unregistered: one of the pod's gates goes
            Skip: another pod's last gate goes
            unregistered: a node comes"#]],
    );
}
