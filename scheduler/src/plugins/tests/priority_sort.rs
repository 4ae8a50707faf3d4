//! `queuesort/priority_sort_test.go`. That equal pods come in the order of their time is the queue's (`queue/tests.rs`).

use serde_json::json;

use super::{World, pod};

#[test]
fn a_higher_priority_comes_first() {
    let mut world = World::new("PrioritySort", json!(null));
    let mut rank = |priority: i32| {
        let pod = world.cache.read_pod(&pod("p", json!({"priority": priority})));
        world.plugin.queue_sort().expect("it sorts").rank(&pod)
    };
    assert!(rank(100) > rank(10));
    assert!(rank(-1) < rank(0));
    assert!(rank(i32::MAX) > rank(i32::MIN));
    assert_eq!(rank(100), rank(100));
}
