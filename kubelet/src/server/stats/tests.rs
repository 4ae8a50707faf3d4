//! What collectors read of a node, from the routes themselves.

use super::*;
use crate::testing::TestNode;
use axum::{body::Body, http::Request};
use serde_json::{Value, json};
use std::time::Duration;
use testkit_cri::{Figures, Rule};
use tower::ServiceExt;

async fn ask(node: &TestNode, path: &str) -> (u16, String) {
    let request = Request::get(path).body(Body::empty()).expect("a request");
    let answer = routes().with_state(node.agent.clone()).oneshot(request).await.expect("an answer");
    let status = answer.status().as_u16();
    let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.expect("a body");
    (status, String::from_utf8_lossy(&body).into_owned())
}

async fn summary(node: &TestNode, query: &str) -> Value {
    let (status, body) = ask(node, &format!("/stats/summary{query}")).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).expect("JSON")
}

fn uses(node: &TestNode, container: &str, cpu_ns: u64, working_set_bytes: u64) {
    let figures = Figures { cpu_ns, working_set_bytes, ..Figures::default() };
    node.runtime.world().figures.insert(container.into(), figures);
}

async fn running() -> TestNode {
    let node = TestNode::new().await;
    let root = node.folder.path().join("cgroup");
    std::fs::create_dir_all(&root).expect("made");
    let stat = format!("anon {}\nfile {}\ninactive_file {}\n", 1 << 29, 3_u64 << 29, 1 << 30);
    std::fs::write(root.join("memory.stat"), stat).expect("written");
    uses(&node, "a", 1_500_000_000, 1 << 20);
    uses(&node, "b", 500_000_000, 2 << 20);
    node.pod("p", json!({"containers": [{"name": "a"}, {"name": "b"}]}));
    node.until("it runs", |n| n.ready("p", "a") && n.ready("p", "b")).await;
    node
}

#[tokio::test(start_paused = true)]
async fn resources_have_upstreams_names_labels_and_times() {
    let node = running().await;
    let before = node.agent.clock.now().as_millisecond();
    let (status, body) = ask(&node, "/metrics/resource").await;
    assert_eq!(status, 200);
    let times = before..=node.agent.clock.now().as_millisecond();
    // Without the time of their measurement, which is now.
    let of = |name: &str| -> Vec<&str> {
        let lines = body.lines().filter(|l| l.starts_with(&format!("{name}{{")) || l.starts_with(&format!("{name} ")));
        lines
            .map(|line| {
                let (line, at) = line.rsplit_once(' ').expect("a time");
                assert!(times.contains(&at.parse().expect("a number")), "{line} at {at}");
                line
            })
            .collect()
    };
    let labels = |c: &str| format!("{{container=\"{c}\",namespace=\"n\",pod=\"p\"}}");
    let want = |c: &str, v: &str| format!("container_cpu_usage_seconds_total{} {v}", labels(c));
    assert_eq!(of("container_cpu_usage_seconds_total"), [want("a", "1.5"), want("b", "0.5")]);
    let want = |c: &str, v: &str| format!("container_memory_working_set_bytes{} {v}", labels(c));
    assert_eq!(of("container_memory_working_set_bytes"), [want("a", "1.048576e+06"), want("b", "2.097152e+06")]);
    // Without a cgroup the pod is its containers together.
    assert_eq!(of("pod_cpu_usage_seconds_total"), ["pod_cpu_usage_seconds_total{namespace=\"n\",pod=\"p\"} 2"]);
    let want = "pod_memory_working_set_bytes{namespace=\"n\",pod=\"p\"} 3.145728e+06";
    assert_eq!(of("pod_memory_working_set_bytes"), [want]);
    // What processes and files have, less the files that nobody has used lately.
    assert_eq!(of("node_memory_working_set_bytes"), ["node_memory_working_set_bytes 1.073741824e+09"]);
    // Whole seconds since 1970, and no time of measurement.
    let started: Vec<&str> = body.lines().filter(|l| l.starts_with("container_start_time_seconds{")).collect();
    assert!(started.len() == 2 && started[0].ends_with("e+09"), "{started:?}");
    for line in ["resource_scrape_error 0", "# TYPE node_cpu_usage_seconds_total counter"] {
        assert!(body.lines().any(|l| l == line), "{line} is not in\n{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_says_nothing_is_an_error_that_is_told() {
    let node = running().await;
    node.runtime.world().rule(Rule::on("ListContainerStats").fails(tonic::Code::Unavailable, "gone"));
    let (status, body) = ask(&node, "/metrics/resource").await;
    assert_eq!((status, body.lines().last()), (200, Some("resource_scrape_error 1")));
    let (status, body) = ask(&node, "/stats/summary").await;
    assert_eq!(status, 500);
    assert!(body.starts_with("Internal Error: failed to list pod stats: rpc error: code = Unavailable"), "{body}");
}

#[tokio::test(start_paused = true)]
async fn a_summary_has_speeds_from_two_measurements() {
    let node = running().await;
    let first = summary(&node, "?only_cpu_and_memory=true").await;
    let container = |summary: &Value, at: usize| summary["pods"][0]["containers"][at].clone();
    assert_eq!(container(&first, 0)["cpu"].get("usageNanoCores"), None);
    tokio::time::advance(Duration::from_secs(10)).await;
    uses(&node, "a", 6_500_000_000, 1 << 20);
    let second = summary(&node, "?only_cpu_and_memory=true").await;
    // Five seconds of a processor's time within some more than ten: the clock goes on while it is asked.
    let speed = container(&second, 0)["cpu"]["usageNanoCores"].as_u64().unwrap_or_default();
    assert!((250_000_000..=500_000_000).contains(&speed), "{speed}");
    assert_eq!(container(&second, 0)["cpu"]["usageCoreNanoSeconds"], 6_500_000_000u64);
    assert_eq!(second["pods"][0]["podRef"], json!({"name": "p", "namespace": "n", "uid": "p"}));
    assert_eq!(second["pods"][0]["cpu"]["usageNanoCores"], speed);
    for whole in ["fs", "runtime", "rlimit", "network"] {
        assert_eq!(second["node"].get(whole), None, "{whole}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_whole_summary_has_disks_processes_and_the_pods_cgroup() {
    let node = running().await;
    let group = node.folder.path().join("cgroup/kubepods/besteffort/podp");
    std::fs::create_dir_all(&group).expect("made");
    let files = [
        ("cpu.stat", "usage_usec 7000000\n"),
        ("memory.current", "5000\n"),
        ("memory.stat", "anon 100\ninactive_file 1000\npgfault 9\npgmajfault 2\n"),
        ("memory.max", "10000\n"),
        ("memory.swap.current", "30\n"),
        ("memory.swap.max", "max\n"),
        ("pids.current", "3\n"),
        ("cgroup.procs", ""),
    ];
    for (file, text) in files {
        std::fs::write(group.join(file), text).expect("written");
    }
    std::fs::create_dir_all(group.join("inner")).expect("made");
    std::fs::write(group.join("inner/cgroup.procs"), format!("{}\n", std::process::id())).expect("written");
    let all = summary(&node, "").await;
    let pod = &all["pods"][0];
    assert_eq!(pod["cpu"]["usageCoreNanoSeconds"], 7_000_000_000u64);
    let memory = &pod["memory"];
    let figures = ["usageBytes", "workingSetBytes", "availableBytes", "rssBytes", "pageFaults", "majorPageFaults"];
    assert_eq!(figures.map(|f| memory[f].as_u64().unwrap_or_default()), [5000, 4000, 6000, 100, 9, 2]);
    assert_eq!((&pod["swap"]["swapUsageBytes"], pod["swap"].get("swapAvailableBytes")), (&json!(30), None));
    assert_eq!(pod["process_stats"]["process_count"], 3);
    // Of a process that there is: the one of this test.
    assert!(pod["network"]["time"].is_string(), "{pod}");
    assert!(pod["containers"][0]["logs"]["capacityBytes"].is_u64(), "{pod}");
    assert!(pod["ephemeral-storage"]["usedBytes"].is_u64(), "{pod}");
    let of_node = &all["node"];
    assert_eq!(of_node["nodeName"], "node");
    assert_eq!(of_node["fs"]["capacityBytes"], 100u64 << 30);
    assert_eq!(of_node["runtime"]["imageFs"]["usedBytes"], 1000);
    assert_eq!((&of_node["rlimit"]["maxpid"], &of_node["rlimit"]["curproc"]), (&json!(32_768), &json!(500)));
    assert_eq!(of_node["systemContainers"][0]["name"], "pods");
}
