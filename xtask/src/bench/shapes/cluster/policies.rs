//! The agent for policies alone: policies and pods are there before it starts, and one more pod comes at a time. What is counted is
//! when it says that the kernel has the rules, from the start of its process, and from the answer to what the pod's kubelet tells.
//!
//! It runs in a network namespace of the bench's own (`bench::network`): the rules of this machine are not touched.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hyper::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{NAMESPACE, Sizes, body, collection};
use crate::bench::cluster::{Cluster, PATIENCE};
use crate::bench::connection::JSON;
use crate::bench::launch::Launcher;
use crate::bench::load::load;
use crate::bench::network;
use crate::bench::nodes::{Conduct, Setup};
use crate::bench::objects::pods;
use crate::bench::report::{Report, UPSTREAM, bytes, seconds};

/// Where the agent answers, as it does by default.
const HEALTH: u16 = 10_246;
const METRICS: u16 = 10_247;
/// One in so many pods is on the agent's node.
const NODES: usize = 10;
/// Labels that pods have, each as many, and policies select by.
const APPS: usize = 50;
/// How often one more comes.
const MORE: usize = 20;

fn name(number: usize) -> String {
    format!("pod-{number:05}")
}

fn pod(number: usize, status: bool) -> Value {
    let [.., high, low] = (number as u32).to_be_bytes();
    let ip = format!("10.244.{high}.{low}");
    let node = if number.is_multiple_of(NODES) { "node-00000" } else { "another" };
    let labels = json!({"app": format!("app-{}", number % APPS), "tier": format!("tier-{}", number % 3)});
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name(number), "namespace": NAMESPACE, "labels": labels},
        "spec": {"nodeName": node, "automountServiceAccountToken": false, "containers": [
            {"name": "web", "image": "registry.example/web:1", "ports": [{"name": "http", "containerPort": 8080}]}]},
    });
    if status {
        pod["status"] = json!({"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]});
    }
    pod
}

/// Each is about the pods of an app, lets in those of the next one and of a namespace, and lets out to a tier and the world.
fn policy(number: usize) -> Value {
    let app = |number: usize| json!({"matchLabels": {"app": format!("app-{}", number % APPS)}});
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": format!("policy-{number:05}"), "namespace": NAMESPACE},
        "spec": {"podSelector": app(number), "policyTypes": ["Ingress", "Egress"],
            "ingress": [{
                "from": [{"podSelector": app(number + 1)},
                    {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}],
                "ports": [{"port": 8000 + number % 1000}, {"port": "http"}]}],
            "egress": [
                {"to": [{"podSelector": {"matchLabels": {"tier": format!("tier-{}", number % 3)}}}]},
                {"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}]}]},
    })
}

/// What the agent answers; nothing, while it does not.
async fn ask(port: u16, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

async fn until(port: u16, path: &str, is: impl Fn(&str) -> bool) -> anyhow::Result<Instant> {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        match ask(port, path).await {
            Ok(answer) if is(&answer) => return Ok(Instant::now()),
            _ => tokio::time::sleep(Duration::from_micros(500)).await,
        }
    }
    bail!("127.0.0.1:{port}{path} does not say what it should in {PATIENCE:?}")
}

/// All of them, and then one more pod, again and again.
pub(super) async fn policies(launcher: &Launcher, sizes: &Sizes, report: &mut Report) -> anyhow::Result<()> {
    // Upstream has no such agent.
    if launcher.name == UPSTREAM {
        return Ok(());
    }
    let (count, policies) = (sizes.policy_pods, sizes.policies);
    network::clean()?;
    let setup = Setup { count: 1, conduct: Conduct::Leave, kubelets: false };
    let mut cluster = Cluster::start(launcher, setup, NAMESPACE).await?;
    for document in include_str!("../../../../../deploy/policies.yaml").split("\n---\n") {
        let object: Value = serde_saphyr::from_str(document).context("deploy/policies.yaml")?;
        let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
        let namespace = object["metadata"]["namespace"].as_str().map(|of| format!("namespaces/{of}/"));
        let path = format!("/apis/rbac.authorization.k8s.io/v1/{}{kind}s", namespace.unwrap_or_default());
        cluster.create(&path, 1, |_| body(&object)).await?;
    }
    let status = |number: usize| format!("{}/{}/status", pods(NAMESPACE), name(number));
    cluster.create(&pods(NAMESPACE), count, |number| body(&pod(number, false))).await?;
    let told = |number: usize| (Method::PUT, status(number), Some((JSON, body(&pod(number, true)))));
    load(&cluster.access, 16, 0..count, told).await?;
    let all = collection("networking.k8s.io/v1", "networkpolicies");
    cluster.create(&all, policies, |number| body(&policy(number))).await?;
    cluster.settle().await?;
    let costs = cluster.begin();
    cluster.policies()?;
    let ready = until(HEALTH, "/healthz", |answer| answer.starts_with("HTTP/1.1 200")).await?;
    let mut values = vec![seconds("all rules are there", ready - costs.begin)];
    values.extend(cluster.costs(&costs));
    cluster.settle().await?;
    let (mut times, mut connection) = (Vec::new(), cluster.access.http1().await?);
    for more in 0..MORE {
        // Of this node.
        let number = count.next_multiple_of(NODES) + more * NODES;
        connection.call(Method::POST, &pods(NAMESPACE), Some((JSON, body(&pod(number, false))))).await?;
        connection.call(Method::PUT, &status(number), Some((JSON, body(&pod(number, true))))).await?;
        let (begin, known) = (Instant::now(), format!("\nferry_policies_pods {}\n", count + more + 1));
        times.push(until(METRICS, "/metrics", |answer| answer.contains(&known)).await? - begin);
    }
    times.sort_unstable();
    values.extend([seconds("one more pod", times[MORE / 2]), seconds("slowest one more", times[MORE - 1])]);
    values.push(bytes("the agent's memory with all", cluster.process("policies")?.resident()));
    report.line(&launcher.name, &format!("{policies} policies on {count} pods"), values);
    Ok(())
}
