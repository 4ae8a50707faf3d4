use crate::testing::TestNode;
use serde_json::{Value, json};
use std::time::Duration;
use testkit_cri::{Exec, Program, Rule};
use tokio::time::Instant;
use tonic::Code;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// When each container of that name was started, in seconds from the first.
fn starts(node: &TestNode, name: &str) -> Vec<i64> {
    let world = node.runtime.world();
    let times: Vec<i64> = world.containers.iter().filter(|c| c.name() == name).map(|c| c.started_at).collect();
    times.iter().map(|at| (at - times[0]) / 1_000_000_000).collect()
}

fn told(node: &TestNode, reason: &str) -> Vec<String> {
    let word = format!(" {reason}: ");
    node.api.events().into_iter().filter(|e| e.contains(&word)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_pod_starts_and_says_so() {
    let node = TestNode::new().await;
    node.pod("p", json!({"initContainers": [{"name": "i", "image": "short"}], "containers": [{"name": "c"}]}));
    {
        let mut world = node.runtime.world();
        world.images.insert("short:latest".into(), 1);
        world.programs.insert("short".into(), Program::ends(secs(3), 0));
    }
    node.until("the pod is ready", |n| n.ready("p", "c")).await;
    let expected =
        ["RunPodSandbox p", "CreateContainer i", "StartContainer i", "CreateContainer c", "StartContainer c"];
    let calls = node.runtime.world().calls.clone();
    assert_eq!(calls.iter().filter(|c| *c != "Status ").collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
    assert_eq!(node.phase("p"), "Running");
    let status = node.status("p");
    assert_eq!((&status["podIP"], &status["hostIP"]), (&json!("10.88.0.2"), &json!("192.0.2.10")));
    let events: Vec<String> =
        node.api.events().into_iter().filter(|e| e.contains("tarted") || e.contains("reated")).collect();
    assert_eq!(
        events,
        [
            "Normal Created: Container created",
            "Normal Started: Container started",
            "Normal Created: Container created",
            "Normal Started: Container started"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_container_that_fails_is_started_ever_more_seldom() {
    let node = TestNode::new().await;
    node.runtime.world().programs.insert("image:latest".into(), Program::ends(secs(1), 7));
    node.simple_pod("p");
    node.until("it was started five times", |n| starts(n, "c").len() == 5).await;
    // A second's run and up to two seconds of the runtime's news lie between two starts beside the back-off.
    let times = starts(&node, "c");
    for (pair, wait) in times.windows(2).zip([0, 10, 20, 40]) {
        let gap = pair[1] - pair[0];
        assert!((wait + 1..=wait + 4).contains(&gap), "{times:?}");
    }
    node.until("it says why it waits", |n| n.container("p", "c")["state"]["waiting"]["reason"] == "CrashLoopBackOff")
        .await;
    let container = node.container("p", "c");
    assert_eq!(container["state"]["waiting"]["message"], "back-off 1m20s restarting failed container=c pod=p_n(p)");
    assert_eq!((&container["restartCount"], &container["lastState"]["terminated"]["exitCode"]), (&json!(4), &json!(7)));
    assert_eq!(told(&node, "BackOff")[0], "Warning BackOff: Back-off restarting failed container c in pod p_n(p)");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_deleted_gets_its_time_and_leaves_nothing() {
    let node = TestNode::new().await;
    node.runtime.world().programs.insert("image:latest".into(), Program::stubborn());
    node.simple_pod("p");
    node.until("it runs", |n| n.runtime.world().runs("p", "c")).await;
    let folder = node.agent.config.root_dir.join("pods/p");
    let logs = node.folder.path().join("pods/n_p_p");
    assert!(folder.exists() && logs.exists());
    let begin = Instant::now();
    node.api.delete_pod("p", 30);
    node.until("the API server is told to forget it", |n| n.api.pod("p").is_none()).await;
    assert!((30..35).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
    node.until("nothing is left", |n| n.runtime.world().sandboxes.is_empty() && !folder.exists() && !logs.exists())
        .await;
    assert_eq!(node.runtime.world().calls_of("StopContainer"), ["StopContainer c 30"]);
    assert!(node.agent.pods.lock().is_empty() && node.agent.admitted.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn mounts_are_not_taken_off_by_the_thread_that_runs_tasks() {
    let node = TestNode::new().await;
    node.simple_pod("p");
    node.until("it runs", |n| n.runtime.world().runs("p", "c")).await;
    let folder = node.agent.config.root_dir.join("pods/p");
    node.api.delete_pod("p", 0);
    node.until("nothing is left", |_| !folder.exists()).await;
    let removers = crate::volumes::tests::removers(&folder);
    assert!(!removers.is_empty() && !removers.contains(&std::thread::current().id()), "{removers:?}");
}

#[tokio::test(start_paused = true)]
async fn a_deletion_may_become_more_urgent() {
    let node = TestNode::new().await;
    node.runtime.world().programs.insert("image:latest".into(), Program::stubborn());
    node.simple_pod("p");
    node.until("it runs", |n| n.runtime.world().runs("p", "c")).await;
    let begin = Instant::now();
    node.api.delete_pod("p", 600);
    node.until("it is told to stop", |n| !n.runtime.world().calls_of("StopContainer").is_empty()).await;
    node.api.delete_pod("p", 5);
    node.until("it is gone", |n| n.api.pod("p").is_none()).await;
    assert!(begin.elapsed() < secs(20), "{:?}", begin.elapsed());
    assert_eq!(node.runtime.world().calls_of("StopContainer"), ["StopContainer c 600", "StopContainer c 5"]);
}

#[tokio::test(start_paused = true)]
async fn a_period_that_makes_no_sense_is_a_second_or_some_years() {
    let node = TestNode::new().await;
    let hook = json!({"preStop": {"exec": {"command": ["bye"]}}});
    let spec = |period: i64| json!({"terminationGracePeriodSeconds": period, "containers": [{"name": "c", "lifecycle": hook}]});
    node.pod("negative", spec(-1));
    node.pod("endless", spec(i64::MAX));
    node.until("both run", |n| n.ready("negative", "c") && n.ready("endless", "c")).await;
    for pod in ["negative", "endless"] {
        // Forgotten by the API server, whose own period is none then.
        node.api.remove(&format!("/api/v1/namespaces/n/pods/{pod}"));
        node.until("it has ended", |n| !n.runtime.world().runs(pod, "c")).await;
    }
    let world = node.runtime.world();
    // The hook has its second, the container the least there is.
    assert_eq!(world.calls_of("ExecSync"), ["ExecSync c bye", "ExecSync c bye"]);
    assert_eq!(world.calls_of("StopContainer"), ["StopContainer c 2", "StopContainer c 315360000"]);
}

#[tokio::test(start_paused = true)]
async fn hooks_run_and_their_failures_are_told() {
    let node = TestNode::new().await;
    node.runtime.world().on_command(|_, command| match command[0].as_str() {
        "fail" => Exec { exit_code: 3, ..Exec::default() },
        "long" => Exec { takes: secs(1000), ..Exec::default() },
        _ => Exec::default(),
    });
    let exec = |command: &str| json!({"exec": {"command": [command]}});
    node.pod("start", json!({"containers": [{"name": "c", "lifecycle": {"postStart": exec("fail")}}]}));
    node.until("its start failed", |n| n.container("start", "c")["state"]["waiting"]["reason"] == "PostStartHookError")
        .await;
    assert_eq!(told(&node, "FailedPostStartHook")[0], "Warning FailedPostStartHook: PostStartHook failed");
    assert!(!node.runtime.world().runs("start", "c"));

    node.pod("stop", json!({"containers": [{"name": "c", "lifecycle": {"preStop": exec("long")}}]}));
    node.until("it runs", |n| n.ready("stop", "c")).await;
    let begin = Instant::now();
    node.api.delete_pod("stop", 20);
    node.until("it is gone", |n| n.api.pod("stop").is_none()).await;
    // The hook uses all of the period; the container still gets the least there is.
    assert!((20..25).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
    assert_eq!(*node.runtime.world().calls_of("StopContainer").last().expect("a call"), "StopContainer c 2");
}

#[tokio::test(start_paused = true)]
async fn sidecars_end_after_the_others_in_their_reverse_order() {
    let node = TestNode::new().await;
    let sidecar = |name: &str| json!({"name": name, "restartPolicy": "Always"});
    node.pod("p", json!({"initContainers": [sidecar("s1"), sidecar("s2")], "containers": [{"name": "c"}]}));
    node.until("it runs", |n| n.ready("p", "c")).await;
    node.api.delete_pod("p", 30);
    node.until("it is gone", |n| n.api.pod("p").is_none()).await;
    let world = node.runtime.world();
    let order: Vec<&str> = world.calls_of("StopContainer").iter().filter_map(|c| c.split(' ').nth(1)).collect();
    assert_eq!(order, ["c", "s2", "s1"]);
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_cannot_be_made_is_tried_again() {
    let node = TestNode::new().await;
    node.runtime.world().rule(Rule::on("RunPodSandbox").fails(Code::Unknown, "no address left").times(2));
    let begin = Instant::now();
    node.simple_pod("p");
    node.until("it runs", |n| n.ready("p", "c")).await;
    assert!((10..16).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
    let expected = "Warning FailedCreatePodSandBox: Failed to create pod sandbox: rpc error: code = Unknown desc = no address left";
    assert_eq!(told(&node, "FailedCreatePodSandBox")[0], expected);
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_died_is_made_again_with_all_in_it() {
    let node = TestNode::new().await;
    node.simple_pod("p");
    node.until("it runs", |n| n.ready("p", "c")).await;
    {
        let mut world = node.runtime.world();
        world.exit("p", "c", 137);
        world.sandboxes[0].ready = false;
    }
    node.until("it runs again", |n| n.runtime.world().runs("p", "c") && n.container("p", "c")["restartCount"] == 1)
        .await;
    assert_eq!(told(&node, "SandboxChanged").len(), 1);
    let attempts: Vec<u32> =
        node.runtime.world().sandboxes.iter().filter_map(|s| s.config.metadata.as_ref().map(|m| m.attempt)).collect();
    assert_eq!(attempts, [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn what_a_container_lacks_is_told_and_tried_again() {
    let node = TestNode::new().await;
    let env = json!([{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "a"}}}]);
    node.pod("p", json!({"containers": [{"name": "c", "env": env}]}));
    node.until("it says what it lacks", |n| {
        n.container("p", "c")["state"]["waiting"]["reason"] == "CreateContainerConfigError"
    })
    .await;
    assert_eq!(node.container("p", "c")["state"]["waiting"]["message"], "configmap \"settings\" not found");
    let metadata = json!({"name": "settings", "namespace": "n"});
    node.api.put(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "1"}}));
    node.until("it runs", |n| n.ready("p", "c")).await;

    node.runtime.world().rule(Rule::on("CreateContainer").about("d").fails(Code::Unknown, "no such device"));
    node.pod("q", json!({"containers": [{"name": "d"}]}));
    node.until("it says so", |n| n.container("q", "d")["state"]["waiting"]["reason"] == "CreateContainerError").await;
    assert_eq!(node.container("q", "d")["state"]["waiting"]["message"], "no such device");
}

#[tokio::test(start_paused = true)]
async fn volumes_come_before_containers_and_a_changed_object_ends_the_wait() {
    let node = TestNode::new().await;
    let volumes = json!([{"name": "v", "configMap": {"name": "files"}}]);
    let mounts = json!([{"name": "v", "mountPath": "/v"}]);
    node.pod("p", json!({"volumes": volumes, "containers": [{"name": "c", "volumeMounts": mounts}]}));
    node.until("the missing volume is told", |n| !told(n, "FailedMount").is_empty()).await;
    assert_eq!(
        told(&node, "FailedMount")[0],
        "Warning FailedMount: MountVolume.SetUp failed for volume \"v\" : configmap \"files\" not found"
    );
    assert!(node.runtime.world().calls_of("RunPodSandbox").is_empty());
    tokio::time::sleep(secs(200)).await;
    let metadata = json!({"name": "files", "namespace": "n"});
    node.api.put(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "1"}}));
    let begin = Instant::now();
    node.until("it runs", |n| n.ready("p", "c")).await;
    assert!(begin.elapsed() < secs(5), "{:?}", begin.elapsed());
    let file = node.agent.config.root_dir.join("pods/p/volumes/kubernetes.io~configmap/v/a");
    assert_eq!(std::fs::read_to_string(&file).expect("a file"), "1");
    let metadata = json!({"name": "files", "namespace": "n"});
    node.api.put(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "2"}}));
    node.until("it is refreshed", |_| std::fs::read_to_string(&file).is_ok_and(|text| text == "2")).await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_past_its_deadline_is_ended() {
    let node = TestNode::new().await;
    node.pod(
        "p",
        json!({"activeDeadlineSeconds": 60, "terminationGracePeriodSeconds": 5, "containers": [{"name": "c"}]}),
    );
    node.until("it runs", |n| n.ready("p", "c")).await;
    node.until("it failed", |n| n.phase("p") == "Failed" && !n.runtime.world().runs("p", "c")).await;
    assert!((60..66).contains(&node.seconds()), "{}", node.seconds());
    assert_eq!(node.status("p")["reason"], "DeadlineExceeded");
}

fn cpu(amount: &str) -> Value {
    json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": amount}}}]})
}

/// The pods that were refused, with the reason, once all of them have started or were refused.
async fn settled(node: &TestNode, pods: &[&str]) -> Vec<String> {
    node.until("all are decided", |n| pods.iter().all(|p| n.phase(p) == "Failed" || n.ready(p, "c"))).await;
    let failed = pods.iter().filter(|p| node.phase(p) == "Failed");
    failed.map(|p| format!("{p} {}", node.status(p)["reason"].as_str().unwrap_or_default())).collect()
}

#[tokio::test(start_paused = true)]
async fn of_pods_that_race_for_the_same_room_one_stays() {
    let node = TestNode::new().await;
    // Both workers look at the runtime before either is admitted.
    node.pod("a", cpu("1500m"));
    node.pod("b", cpu("1500m"));
    let refused = settled(&node, &["a", "b"]).await;
    assert!(matches!(refused.as_slice(), [one] if one.ends_with("OutOfcpu")), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_taken_port_of_the_node_refuses_the_second_pod_until_the_first_is_gone() {
    let node = TestNode::new().await;
    let spec = || json!({"hostNetwork": true, "containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]});
    node.pod("a", spec());
    node.until("it runs", |n| n.ready("a", "c")).await;
    node.pod("b", spec());
    assert_eq!(settled(&node, &["a", "b"]).await, ["b NodePorts"]);
    let message = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
    assert_eq!(node.status("b")["message"], format!("Pod was rejected: {message}"));
    assert_eq!(told(&node, "NodePorts"), [format!("Warning NodePorts: {message}")]);
    // The refused one, though the API still has it, takes no room; nor does one that has ended.
    node.api.delete_pod("a", 1);
    node.until("it is gone", |n| n.api.pod("a").is_none()).await;
    node.pod("c", spec());
    node.until("the next one runs", |n| n.ready("c", "c")).await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_of_another_operating_system_is_refused() {
    let node = TestNode::new().await;
    node.pod("p", json!({"os": {"name": "windows"}, "containers": [{"name": "c"}]}));
    assert_eq!(settled(&node, &["p"]).await, ["p PodOSNotSupported"]);
    assert!(node.runtime.world().calls_of("RunPodSandbox").is_empty());
}

#[tokio::test(start_paused = true)]
async fn without_a_network_only_pods_on_the_nodes_network_start() {
    let node = TestNode::new().await;
    node.agent.health.write().network = Some("cni config uninitialized".into());
    node.simple_pod("p");
    node.pod("h", json!({"hostNetwork": true, "containers": [{"name": "c"}]}));
    node.until("the one on the node's network runs", |n| n.ready("h", "c")).await;
    assert_eq!(
        told(&node, "NetworkNotReady")[0],
        "Warning NetworkNotReady: network is not ready: cni config uninitialized"
    );
    assert_eq!(node.runtime.world().calls_of("RunPodSandbox"), ["RunPodSandbox h"]);
    node.agent.health.write().network = None;
    node.until("the other too", |n| n.ready("p", "c")).await;
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_does_not_answer_is_waited_for() {
    let node = TestNode::new().await;
    node.simple_pod("p");
    node.until("it runs", |n| n.ready("p", "c")).await;
    node.runtime.world().rule(Rule::on("StopContainer").fails(Code::Unavailable, "down").times(3));
    node.api.delete_pod("p", 1);
    node.until("it is gone all the same", |n| n.api.pod("p").is_none()).await;
    assert_eq!(node.runtime.world().calls_of("StopContainer").len(), 4);
}

/// How often tasks of that name have panicked.
fn panics(task: &str) -> u64 {
    let line = format!("ferry_task_panics_total{{task=\"{task}\"}} ");
    component::supervisor::metrics().lines().find_map(|l| l.strip_prefix(&line)?.parse().ok()).unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn a_pod_whose_worker_panics_is_synced_again_ever_more_seldom() {
    let node = TestNode::new().await;
    let before = panics("pod worker");
    node.traps.set("image_status", 4);
    node.simple_pod("p");
    node.until("it runs all the same", |n| n.ready("p", "c")).await;
    assert_eq!((node.traps.left("image_status"), panics("pod worker") - before), (0, 4));
    assert!((1 + 2 + 4 + 8..20).contains(&node.seconds()), "{}", node.seconds());
    assert_eq!(
        told(&node, "FailedSync")[0],
        "Warning FailedSync: error syncing pod: the kubelet panicked, its log says where; trying again in 1s"
    );
    // Not even so many fail the health of the node.
    assert_eq!(component::supervisor::troubled(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_panics_loses_nothing_of_a_pod_that_runs_or_ends() {
    let node = TestNode::new().await;
    let probe = json!({"exec": {"command": ["ready"]}, "periodSeconds": 3600});
    node.pod("p", json!({"containers": [{"name": "c", "readinessProbe": probe}]}));
    node.until("it is ready", |n| n.ready("p", "c")).await;
    let id = node.container("p", "c")["containerID"].clone();
    // What runs goes on, and is as ready as it was.
    node.traps.set("sandbox_status", 1);
    node.until("the worker panicked", |n| !told(n, "FailedSync").is_empty()).await;
    tokio::time::sleep(secs(90)).await;
    assert!(node.ready("p", "c") && node.container("p", "c")["containerID"] == id);
    assert_eq!(node.runtime.world().calls_of("StartContainer").len(), 1);
    // What ends goes on to end: after the containers, after the sandbox, and when only its remains are left.
    node.traps.set("stop_container", 1);
    node.traps.set("stop_sandbox", 1);
    node.traps.set("remove_sandbox", 1);
    node.api.delete_pod("p", 5);
    node.until("it is gone", |n| n.api.pod("p").is_none() && n.runtime.world().sandboxes.is_empty()).await;
    for call in ["stop_container", "stop_sandbox", "remove_sandbox"] {
        assert_eq!(node.traps.left(call), 0, "{call}");
    }
    node.until("nothing is left", |n| n.agent.pods.lock().is_empty() && n.agent.admitted.lock().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn a_status_that_could_not_be_written_for_a_panic_is_written_later() {
    let node = TestNode::new().await;
    node.simple_pod("p");
    node.until("it runs", |n| n.ready("p", "c")).await;
    let before = panics("pod status");
    node.api.panics(1);
    node.runtime.world().exit("p", "c", 7);
    node.until("its end is told", |n| n.container("p", "c")["lastState"]["terminated"]["exitCode"] == 7).await;
    assert_eq!(panics("pod status") - before, 1);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_has_begun_ends_though_the_kubelet_stops_or_the_pod_is_deleted() {
    for stop in [true, false] {
        let node = TestNode::new().await;
        node.runtime.world().rule(Rule::on("CreateContainer").takes(secs(10)));
        node.runtime.world().rule(Rule::on("StartContainer").takes(secs(10)));
        node.simple_pod("p");
        node.until("it is being made", |n| !n.runtime.world().calls_of("CreateContainer").is_empty()).await;
        let begin = Instant::now();
        if stop {
            node.agent.tasks.stop();
            node.agent.tasks.finish().await.expect("no vital task");
            assert!((18..25).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
            assert!(node.runtime.world().runs("p", "c"));
            assert!(node.runtime.world().calls_of("StopContainer").is_empty(), "containers go on running");
        } else {
            node.api.delete_pod("p", 5);
            node.until("it is gone", |n| n.api.pod("p").is_none()).await;
            assert_eq!(node.runtime.world().calls_of("StopContainer"), ["StopContainer c 5"]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_that_panics_is_tried_again() {
    let node = TestNode::new().await;
    node.traps.set("create_container", 1);
    node.simple_pod("p");
    node.until("it says so", |n| n.container("p", "c")["state"]["waiting"]["reason"] == "RunContainerError").await;
    let message = node.container("p", "c")["state"]["waiting"]["message"].clone();
    assert_eq!(message, "the kubelet panicked, its log says where");
    node.until("it runs", |n| n.ready("p", "c")).await;
}

#[tokio::test(start_paused = true)]
async fn pods_that_went_while_nobody_followed_are_ended() {
    let node = TestNode::new().await;
    node.simple_pod("p");
    node.simple_pod("q");
    node.until("both run", |n| n.ready("p", "c") && n.ready("q", "c")).await;
    node.agent.pods_listed(&[node.agent.find("n", "q").expect("a pod")]);
    node.until("it is gone", |n| n.runtime.world().sandboxes.len() == 1).await;
    assert!(node.runtime.world().runs("q", "c"));
}
