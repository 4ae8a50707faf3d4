//! `nodename/node_name_test.go`.

use expect_test::expect;
use serde_json::json;

use super::{World, added, check, deleted, node, pod, updated};

#[test]
fn filter() {
    let nodes = [node("foo", json!({})), node("bar", json!({}))];
    let mut world = World::new("NodeName", json!(null)).with(&nodes, &[]);
    check(
        world.filter(&pod("any", json!({}))),
        expect![[r#"
            foo Success
            bar Success"#]],
    );
    check(
        world.filter(&pod("p", json!({"nodeName": "foo"}))),
        expect![[r#"
            foo Success
            bar UnschedulableAndUnresolvable node(s) didn't match the requested node name"#]],
    );
}

#[test]
fn hints() {
    let labelled = || node("a", json!({"labels": {"x": "y"}}));
    World::new("NodeName", json!(null)).check_hints(
        &pod("p", json!({"nodeName": "a"})),
        vec![
            ("a node comes", added(node("a", json!({})))),
            ("a node changes", updated(node("a", json!({})), labelled())),
            ("a pod goes", deleted(pod("other", json!({"nodeName": "a"})))),
        ],
        expect![[r#"
            Queue: a node comes
            unregistered: a node changes
            unregistered: a pod goes"#]],
    );
}
