//! Pods that wait for a node that they made room on.

use super::*;

/// A node of two CPUs, of which `low` had one; `high` made it go and waits for the two.
fn waiting_for_a(now: Instant) -> Core {
    let mut core = core();
    core.node_changed(&node("a", "2", json!({})), now);
    core.pod_changed(&pod("low", "1", on("a")), now);
    core.pod_changed(&pod("high", "2", json!({"spec": {"priority": 10}})), now);
    expect![[r#"
        evict low from a
        high Unschedulable waits for a: 0/1 nodes are available: 1 Insufficient cpu."#]]
    .assert_eq(&drain(&mut core, now));
    core
}

/// All of the node's room is free for a pod of the least priority.
fn has_room(core: &mut Core, on: &str, now: Instant) {
    core.pod_changed(&pod("next", "2", json!({})), now);
    assert_eq!(drain(core, now), format!("next -> {on}"));
}

#[test]
fn older_news_of_a_bound_pod_do_not_try_it_again() {
    let now = Instant::now();
    let mut core = waiting_for_a(now);
    core.pod_deleted("low", now);
    core.evicted("high", now);
    expect!["high -> a"].assert_eq(&drain(&mut core, now));
    // The scheduler's own write of before the binding arrives after it.
    let nominated = json!({"metadata": {"resourceVersion": "2"}, "status": {"nominatedNodeName": "a"}});
    core.pod_changed(&pod("high", "2", nominated), now);
    expect![""].assert_eq(&drain(&mut core, now));
    core.pod_changed(&pod("high", "2", on("a")), now);
    core.pod_deleted("high", now);
    has_room(&mut core, "a", now);
}

#[test]
fn a_nomination_ends_with_its_pod_wherever_it_is() {
    let now = Instant::now();
    let later = now + Duration::from_secs(2);

    // Others are still being evicted for it.
    let mut core = waiting_for_a(now);
    core.pod_deleted("low", now);
    core.pod_changed(&pod("high", "2", on("a")), now);
    core.pod_deleted("high", now);
    has_room(&mut core, "a", now);

    // It was being deleted when its turn came, so it is in no line.
    let mut core = waiting_for_a(now);
    let going = json!({"metadata": {"resourceVersion": "2", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
    core.pod_changed(&pod("high", "2", going), now);
    core.pod_deleted("low", now);
    core.evicted("high", now);
    expect!["high skipped"].assert_eq(&drain(&mut core, later));
    assert!(core.known_pods().iter().any(|uid| &**uid == "high"), "a list without it tells that it is gone");
    core.pod_deleted("high", later);
    has_room(&mut core, "a", later);
}

#[test]
fn a_nomination_is_for_a_node_by_name() {
    let now = Instant::now();
    // Another node in the place of the one that is gone is not waited for.
    let mut core = waiting_for_a(now);
    core.pod_deleted("low", now);
    core.node_deleted("a", now);
    core.node_changed(&node("b", "2", json!({})), now);
    has_room(&mut core, "b", now);

    // The pod is seen before the node, as after a restart of the scheduler.
    let mut core = super::core();
    let gated = json!({"spec": {"priority": 10, "schedulingGates": [{"name": "example.com/wait"}]},
        "status": {"nominatedNodeName": "a"}});
    core.pod_changed(&pod("high", "2", gated), now);
    core.node_changed(&node("a", "2", json!({})), now);
    core.pod_changed(&pod("next", "2", json!({})), now);
    assert!(drain(&mut core, now).starts_with("next Unschedulable: 0/1 nodes are available: 1 Insufficient cpu."));
}
