use crate::testing::TestNode;
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use testkit_cri::Exec;
use tokio::time::{Instant, sleep};

fn exec(command: &str, more: Value) -> Value {
    let mut probe = more;
    probe["exec"] = json!({"command": [command]});
    probe
}

/// A node on which each command says what its flag says: a probe of that name passes or fails.
fn flags(node: &TestNode, names: &[&'static str]) -> Vec<Arc<AtomicBool>> {
    let flags: Vec<_> = names.iter().map(|_| Arc::new(AtomicBool::new(false))).collect();
    let table: Vec<(&'static str, Arc<AtomicBool>)> = names.iter().copied().zip(flags.iter().cloned()).collect();
    node.runtime.world().on_command(move |_, command| {
        let passes = table.iter().any(|(name, flag)| *name == command[0] && flag.load(Ordering::Relaxed));
        Exec { exit_code: i32::from(!passes), stdout: format!("{} says no", command[0]), ..Exec::default() }
    });
    flags
}

#[tokio::test(start_paused = true)]
async fn readiness_is_asked_as_soon_as_the_container_is_started() {
    let node = TestNode::new().await;
    let flags = flags(&node, &["startup", "readiness"]);
    flags[1].store(true, Ordering::Relaxed);
    let container = json!({
        "name": "c",
        "startupProbe": exec("startup", json!({"periodSeconds": 10, "failureThreshold": 100})),
        "readinessProbe": exec("readiness", json!({"periodSeconds": 300})),
    });
    node.pod("p", json!({"containers": [container]}));
    node.until("it runs", |n| n.runtime.world().runs("p", "c")).await;
    sleep(Duration::from_secs(65)).await;
    assert_eq!(node.container("p", "c")["started"], false);
    // Nothing is asked about readiness before.
    assert!(!node.runtime.world().calls.iter().any(|c| c == "ExecSync c readiness"));
    flags[0].store(true, Ordering::Relaxed);
    let begin = Instant::now();
    node.until("it is ready", |n| n.ready("p", "c")).await;
    assert!(begin.elapsed() < Duration::from_secs(12), "{:?}", begin.elapsed());
    // And a startup probe that has passed asks no more.
    let asked = node.runtime.world().calls_of("ExecSync").iter().filter(|c| c.ends_with("startup")).count();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(node.runtime.world().calls_of("ExecSync").iter().filter(|c| c.ends_with("startup")).count(), asked);
}

#[tokio::test(start_paused = true)]
async fn a_container_is_ready_as_long_as_its_probe_says_so() {
    let node = TestNode::new().await;
    let flags = flags(&node, &["ready"]);
    let probe = exec(
        "ready",
        json!({"periodSeconds": 5, "failureThreshold": 3, "successThreshold": 2, "initialDelaySeconds": 20}),
    );
    node.pod("p", json!({"containers": [{"name": "c", "readinessProbe": probe}]}));
    flags[0].store(true, Ordering::Relaxed);
    node.until("it is ready", |n| n.ready("p", "c")).await;
    assert!((25..35).contains(&node.seconds()), "the delay and two answers: {}", node.seconds());
    flags[0].store(false, Ordering::Relaxed);
    let begin = Instant::now();
    node.until("it is not ready", |n| !n.ready("p", "c")).await;
    assert!((10..17).contains(&begin.elapsed().as_secs()), "three answers: {:?}", begin.elapsed());
    node.until("that is told", |n| n.api.events().iter().any(|e| e.contains("Unhealthy"))).await;
    assert!(node.api.events().contains(&"Warning Unhealthy: Readiness probe failed: ready says no".to_owned()));
    assert!(node.runtime.world().calls_of("StopContainer").is_empty());
    let conditions = node.status("p")["conditions"].clone();
    let ready = conditions.as_array().and_then(|l| l.iter().find(|c| c["type"] == "Ready")).cloned();
    assert_eq!(ready.expect("a condition")["message"], "containers with unready status: [c]");
}

#[tokio::test(start_paused = true)]
async fn a_container_that_is_not_alive_is_replaced() {
    let node = TestNode::new().await;
    let flags = flags(&node, &["alive"]);
    flags[0].store(true, Ordering::Relaxed);
    let probe = exec("alive", json!({"periodSeconds": 5, "failureThreshold": 2, "terminationGracePeriodSeconds": 7}));
    node.pod("p", json!({"terminationGracePeriodSeconds": 60, "containers": [{"name": "c", "livenessProbe": probe}]}));
    node.until("it is ready", |n| n.ready("p", "c")).await;
    sleep(Duration::from_secs(60)).await;
    flags[0].store(false, Ordering::Relaxed);
    node.until("it is stopped", |n| !n.runtime.world().calls_of("StopContainer").is_empty()).await;
    flags[0].store(true, Ordering::Relaxed);
    assert_eq!(node.runtime.world().calls_of("StopContainer"), ["StopContainer c 7"]);
    node.until("it is replaced", |n| n.ready("p", "c") && n.container("p", "c")["restartCount"] == 1).await;
    let events = node.api.events();
    assert!(events.contains(&"Warning Unhealthy: Liveness probe failed: alive says no".to_owned()), "{events:?}");
    let killing = "Normal Killing: Container c failed liveness probe, will be restarted";
    assert!(events.contains(&killing.to_owned()), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn a_container_that_does_not_start_is_replaced_and_a_silent_probe_failed() {
    let node = TestNode::new().await;
    node.runtime.world().on_command(|_, _| Exec { takes: Duration::from_secs(60), ..Exec::default() });
    let probe = exec("slow", json!({"periodSeconds": 10, "failureThreshold": 3, "timeoutSeconds": 2}));
    node.pod("p", json!({"containers": [{"name": "c", "startupProbe": probe}]}));
    node.until("it is replaced", |n| n.container("p", "c")["restartCount"] == 1).await;
    let events = node.api.events();
    let failed = "Warning Unhealthy: Startup probe failed: command timed out: \"slow\" timed out after 2s";
    assert!(events.contains(&failed.to_owned()), "{events:?}");
    // Events are written by a task of their own.
    let killing = "Normal Killing: Container c failed startup probe, will be restarted";
    node.until("its end is told", |n| n.api.events().contains(&killing.to_owned())).await;
}

#[tokio::test(start_paused = true)]
async fn while_a_pod_ends_its_readiness_is_asked_and_nothing_else() {
    let node = TestNode::new().await;
    let flags = flags(&node, &["alive", "ready"]);
    flags.iter().for_each(|flag| flag.store(true, Ordering::Relaxed));
    let probes = json!({
        "name": "c",
        "livenessProbe": exec("alive", json!({"periodSeconds": 1, "failureThreshold": 1})),
        "readinessProbe": exec("ready", json!({"periodSeconds": 1, "failureThreshold": 1})),
    });
    node.runtime.world().programs.insert("image:latest".into(), testkit_cri::Program::stubborn());
    node.pod("p", json!({"containers": [probes]}));
    node.until("it is ready", |n| n.ready("p", "c")).await;
    node.api.delete_pod("p", 60);
    node.until("it is told to stop", |n| !n.runtime.world().calls_of("StopContainer").is_empty()).await;
    let asked = |node: &TestNode, what: &str| {
        node.runtime.world().calls_of("ExecSync").iter().filter(|c| c.ends_with(what)).count()
    };
    let (alive, ready) = (asked(&node, "alive"), asked(&node, "ready"));
    flags.iter().for_each(|flag| flag.store(false, Ordering::Relaxed));
    node.until("it is not ready", |n| !n.ready("p", "c")).await;
    sleep(Duration::from_secs(20)).await;
    assert!(asked(&node, "alive") <= alive + 1, "one may have been on its way");
    assert!(asked(&node, "ready") > ready + 10);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_panics_knows_nothing_and_is_asked_again() {
    let node = TestNode::new().await;
    let flags = flags(&node, &["ready", "alive"]);
    flags.iter().for_each(|flag| flag.store(true, Ordering::Relaxed));
    let container = json!({
        "name": "c",
        "readinessProbe": exec("ready", json!({"periodSeconds": 5, "failureThreshold": 1})),
        "livenessProbe": exec("alive", json!({"periodSeconds": 5, "failureThreshold": 1})),
    });
    node.pod("p", json!({"containers": [container]}));
    node.until("it is ready", |n| n.ready("p", "c")).await;
    node.traps.set("exec_sync", 10);
    node.until("both have panicked", |n| n.traps.left("exec_sync") == 0).await;
    let said = |kind: &str| {
        format!(
            "Warning Unhealthy: {kind} probe errored and resulted in unknown state: the kubelet panicked, its log says where"
        )
    };
    for kind in ["Readiness", "Liveness"] {
        node.until("that is told", |n| n.api.events().contains(&said(kind))).await;
    }
    assert!(node.ready("p", "c"), "what is unknown changes nothing");
    assert!(node.runtime.world().calls_of("StopContainer").is_empty());
    flags[0].store(false, Ordering::Relaxed);
    node.until("it is asked again", |n| !n.ready("p", "c")).await;
}

/// Over the network, with real time: a socket of the test's own.
#[tokio::test]
async fn http_probes_judge_by_the_status() {
    use crate::{http, probes::check};
    use axum::{Router, response::Redirect, routing::get};
    let routes = Router::new()
        .route("/ok", get(|| async { "fine" }))
        .route("/moved", get(|| async { Redirect::temporary("/ok") }))
        .route("/away", get(|| async { Redirect::temporary("http://example.com/") }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let port = listener.local_addr().expect("an address").port();
    let _server =
        tokio_util::task::AbortOnDropHandle::new(tokio::spawn(
            async move { drop(axum::serve(listener, routes).await) },
        ));
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = crate::cri::grpc::Grpc::connect(&format!("{}/none", folder.path().display()), Duration::from_secs(1));
    let runtime = runtime.expect("a client");
    let ask = async |path: &str| {
        let probe = serde_json::from_value(json!({"httpGet": {"path": path, "port": port}, "timeoutSeconds": 10}));
        let (pod, container) = (Default::default(), Default::default());
        check::run(&runtime, &pod, &container, &probe.expect("a probe"), "id", "127.0.0.1").await
    };
    assert_eq!(ask("/ok").await, check::Outcome::Passed);
    assert_eq!(ask("/moved").await, check::Outcome::Passed);
    assert!(matches!(ask("/away").await, check::Outcome::Warned(_)));
    let missing = check::Outcome::Failed("HTTP probe failed with statuscode: 404".into());
    assert_eq!(ask("/none").await, missing);
    let refused = http::get(
        &http::Target {
            scheme: "http".into(),
            host: "127.0.0.1".into(),
            port: 1,
            path: "/".into(),
            headers: Vec::new(),
            agent: "probe",
        },
        Duration::from_secs(5),
    )
    .await;
    assert_eq!(
        refused.expect_err("nobody listens"),
        "Get \"http://127.0.0.1:1/\": dial tcp 127.0.0.1:1: connect: connection refused"
    );
}
