//! The whole agent on a node: the API server is the real one, in this process, and shows it no more than its role may see.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::JoinHandle;
use std::time::Duration;

use ferry_policies::{Config, REASON};
use http::Method;
use testkit::{Caller, Cluster};
use tokio_util::sync::CancellationToken;

use super::*;

/// An agent that runs in the node's network namespace.
struct Running {
    cancel: CancellationToken,
    thread: JoinHandle<()>,
}

impl Running {
    fn start(net: &Net, cluster: &Cluster) -> Running {
        let (cancel, client) = (CancellationToken::new(), cluster.caller("ferry:policies", &[]).kube());
        let config = Config {
            node_name: "n".into(),
            healthz_bind_address: Some(([127, 0, 0, 1], 10246).into()),
            metrics_bind_address: Some(([127, 0, 0, 1], 10247).into()),
            ..Config::default()
        };
        let stop = cancel.clone();
        let thread = net.on("node", move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(ferry_policies::run(config, client, stop)).unwrap();
        });
        Running { cancel, thread }
    }

    fn stop(self) {
        self.cancel.cancel();
        self.thread.join().unwrap();
    }
}

/// What a server on the node's loopback answers, behind the headers.
fn get(net: &Net, port: u16, path: &'static str) -> String {
    let ask = move || {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    let answer = net.on("node", ask).join().unwrap().unwrap_or_default();
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}

async fn create(admin: &Caller, path: &str, object: Value) {
    let answer = admin.send(Method::POST, path, Some(&object)).await.unwrap();
    assert_eq!(answer.code, 201, "{path}: {}", answer.body);
}

/// A pod that runs on the node.
async fn run_pod(admin: &Caller, number: u8, label: &str) {
    let pods = "/api/v1/namespaces/x/pods";
    let name = format!("pod-{number}");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": label}},
        "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}});
    create(admin, pods, pod).await;
    let mut pod = admin.get(&format!("{pods}/{name}")).await.unwrap().body;
    pod["status"] = json!({"phase": "Running", "podIP": format!("10.1.0.{number}"), "podIPs": [{"ip": format!("10.1.0.{number}")}]});
    let answer = admin.send(Method::PUT, &format!("{pods}/{name}/status"), Some(&pod)).await.unwrap();
    assert_eq!(answer.code, 200, "{}", answer.body);
}

/// A cluster with a node, a namespace and what the agent may do.
async fn cluster() -> (Cluster, Caller) {
    let cluster = Cluster::start().await.unwrap();
    let admin = cluster.admin();
    for document in machinery::yaml::documents(include_str!("../../../deploy/policies.yaml")) {
        let object = machinery::yaml::to_json(document.as_bytes()).unwrap();
        let kind = object["kind"].as_str().unwrap().to_lowercase();
        let namespace =
            object["metadata"]["namespace"].as_str().map(|of| format!("namespaces/{of}/")).unwrap_or_default();
        create(&admin, &format!("/apis/rbac.authorization.k8s.io/v1/{namespace}{kind}s"), object).await;
    }
    create(&admin, "/api/v1/namespaces", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}}))
        .await;
    create(
        &admin,
        "/api/v1/namespaces/x/serviceaccounts",
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}),
    )
    .await;
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}, "spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24"]}});
    create(&admin, "/api/v1/nodes", node).await;
    (cluster, admin)
}

#[test]
fn the_api_is_followed_and_rules_outlive_the_agent() {
    let Some(net) = Net::new(3) else { return };
    net.serve(&[8080]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (cluster, admin) = runtime.block_on(cluster());
    runtime.block_on(run_pod(&admin, 1, "server"));
    runtime.block_on(run_pod(&admin, 2, "client"));
    let _inside = runtime.enter();
    let agent = Running::start(&net, &cluster);
    wait(|| get(&net, 10246, "/healthz") == "ok");
    assert!(net.reaches("2", "10.1.0.1:8080") && net.reaches("3", "10.1.0.1:8080"));
    let policies = "/apis/networking.k8s.io/v1/namespaces/x/networkpolicies";
    let policy = |label: &str| {
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "p"},
            "spec": {"podSelector": app("server"), "ingress": [{"from": [{"podSelector": app(label)}]}]}})
    };
    runtime.block_on(create(&admin, policies, policy("friend")));
    wait(|| !net.reaches("2", "10.1.0.1:8080"));
    assert!(!net.reaches("3", "10.1.0.2:8080"), "nobody knows that pod");
    // Whose policies did not allow it is told.
    let mut said = Vec::new();
    wait(|| {
        let events = runtime.block_on(admin.get("/api/v1/namespaces/x/events")).unwrap().body;
        let all = events["items"].as_array().cloned().unwrap_or_default();
        said = all.into_iter().filter(|event| event["reason"] == REASON).collect();
        std::thread::sleep(Duration::from_millis(20));
        !said.is_empty()
    });
    assert_eq!(said[0]["involvedObject"]["name"], "pod-1");
    let words = "Dropped TCP from 10.1.0.2 (pod x/pod-2) to port 8080: policy p has no ingress rule that allows it";
    assert_eq!(said[0]["message"], words);
    let metrics = get(&net, 10247, "/metrics");
    let dropped = "ferry_policies_dropped_packets_total{direction=\"ingress\",namespace=\"x\",policies=\"p\"} ";
    assert!(metrics.contains(dropped) && metrics.contains("ferry_policies_pods 2"), "{metrics}");
    // Without an agent the rules stay; the next one finds that the policy has changed.
    agent.stop();
    assert!(!net.reaches("2", "10.1.0.1:8080"));
    let answer = runtime.block_on(admin.send(Method::DELETE, &format!("{policies}/p"), None)).unwrap();
    assert_eq!(answer.code, 200);
    runtime.block_on(create(&admin, policies, policy("client")));
    assert!(!net.reaches("2", "10.1.0.1:8080"));
    let agent = Running::start(&net, &cluster);
    wait(|| net.reaches("2", "10.1.0.1:8080"));
    runtime.block_on(run_pod(&admin, 3, "other"));
    wait(|| net.reaches("3", "10.1.0.2:8080"));
    assert!(!net.reaches("3", "10.1.0.1:8080"));
    // Somebody removes the rules: they are made anew.
    net.run("node", "nft flush ruleset");
    wait(|| !net.reaches("3", "10.1.0.1:8080"));
    agent.stop();
}
