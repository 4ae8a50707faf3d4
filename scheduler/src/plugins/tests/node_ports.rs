//! `nodeports/node_ports_test.go`.

use expect_test::expect;
use k8s_openapi::api::core::v1::Pod as ApiPod;
use serde_json::{Value, json};

use super::{World, added, check, deleted, node, pod, updated};

/// Container ports as `protocol/hostIP/hostPort`.
fn ports(list: &[&str]) -> Vec<Value> {
    let port = |text: &&str| {
        let [protocol, ip, number] = text.split('/').collect::<Vec<_>>()[..] else { panic!("{text}") };
        let number: u16 = number.parse().expect("a port");
        json!({"protocol": protocol, "hostIP": ip, "hostPort": number, "containerPort": 1})
    };
    list.iter().map(port).collect()
}

fn wanting(name: &str, list: &[&str]) -> ApiPod {
    pod(name, json!({"containers": [{"name": "c", "ports": ports(list)}]}))
}

fn on(node: &str, list: &[&str]) -> ApiPod {
    pod("there", json!({"nodeName": node, "containers": [{"name": "c", "ports": ports(list)}]}))
}

#[test]
fn filter() {
    let check = |wanted: &[&str], used: &[&str], fits: bool| {
        let nodes = [node("a", json!({}))];
        let mut world = World::new("NodePorts", json!(null)).with(&nodes, &[on("a", used)]);
        let expected = if fits {
            "a Success"
        } else {
            "a Unschedulable node(s) didn't have free ports for the requested pod ports"
        };
        assert_eq!(world.filter(&wanting("p", wanted)), expected, "{wanted:?} beside {used:?}");
    };
    check(&["UDP/127.0.0.1/8080"], &[], true);
    check(&["UDP/127.0.0.1/8080"], &["UDP/127.0.0.1/9090"], true);
    check(&["UDP/127.0.0.1/8080"], &["UDP/127.0.0.1/8080"], false);
    check(&["TCP/127.0.0.1/8080"], &["TCP/127.0.0.1/8080"], false);
    check(&["TCP/127.0.0.1/8080"], &["TCP/127.0.0.2/8080"], true);
    check(&["UDP/127.0.0.1/8080"], &["TCP/127.0.0.1/8080"], true);
    check(&["UDP/127.0.0.1/8000", "UDP/127.0.0.1/8080"], &["UDP/127.0.0.1/8080"], false);
    check(&["TCP/127.0.0.1/8001", "UDP/127.0.0.1/8080"], &["TCP/127.0.0.1/8001", "UDP/127.0.0.1/8081"], false);
    // 0.0.0.0, and no address at all, is every address.
    check(&["TCP/0.0.0.0/8001"], &["TCP/127.0.0.1/8001"], false);
    check(&["TCP//8001"], &["TCP/127.0.0.1/8001"], false);
    check(&["TCP/10.0.10.10/8001", "TCP/0.0.0.0/8001"], &["TCP/127.0.0.1/8001"], false);
    check(&["TCP/127.0.0.1/8001"], &["TCP/0.0.0.0/8001"], false);
    check(&["UDP/127.0.0.1/8001"], &["TCP/0.0.0.0/8001"], true);
    check(&["UDP/127.0.0.1/8001"], &["TCP/0.0.0.0/8001", "UDP/0.0.0.0/8001"], false);
}

#[test]
fn which_ports_count() {
    let nodes = [node("a", json!({})), node("b", json!({}))];
    let mut world = World::new("NodePorts", json!(null)).with(&nodes, &[on("a", &["TCP/0.0.0.0/8001"])]);
    let init = |restart: Value| {
        let port = json!([{"containerPort": 8001, "hostPort": 8001, "protocol": "TCP"}]);
        pod("p", json!({"initContainers": [{"name": "i", "restartPolicy": restart, "ports": port}]}))
    };
    check(world.filter(&pod("p", json!({}))), expect!["PreFilter Skip"]);
    check(world.filter(&wanting("p", &["TCP//0"])), expect!["PreFilter Skip"]);
    check(world.filter(&init(json!(null))), expect!["PreFilter Skip"]);
    check(
        world.filter(&init(json!("Always"))),
        expect![[r#"
            a Unschedulable node(s) didn't have free ports for the requested pod ports
            b Success"#]],
    );
}

#[test]
fn hints() {
    let pending = |list: &[&str]| pod("other", json!({"containers": [{"name": "c", "ports": ports(list)}]}));
    let nominated =
        pod("other", json!({"nominatedNodeName": "a", "containers": [{"name": "c", "ports": ports(&["TCP//8080"])}]}));
    World::new("NodePorts", json!(null)).check_hints(
        &wanting("p", &["TCP//8080"]),
        vec![
            ("a pod without a node goes", deleted(pending(&["TCP//8080"]))),
            ("a pod without host ports goes", deleted(on("a", &[]))),
            ("a pod with another port goes", deleted(on("a", &["TCP//8081"]))),
            ("a pod with the port goes", deleted(on("a", &["TCP//8080"]))),
            ("a pod with the port of one address goes", deleted(on("a", &["TCP/10.0.0.1/8080"]))),
            ("a pod nominated for a node goes", deleted(nominated)),
            ("a pod with the port comes", added(on("a", &["TCP//8080"]))),
            ("a node comes", added(node("a", json!({})))),
            ("a node changes", updated(node("a", json!({})), node("a", json!({"labels": {"x": "y"}})))),
        ],
        expect![[r#"
            Skip: a pod without a node goes
            Skip: a pod without host ports goes
            Skip: a pod with another port goes
            Queue: a pod with the port goes
            Queue: a pod with the port of one address goes
            Queue: a pod nominated for a node goes
            unregistered: a pod with the port comes
            Queue: a node comes
            unregistered: a node changes"#]],
    );
}
