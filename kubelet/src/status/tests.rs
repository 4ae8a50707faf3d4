use super::*;
use crate::cri::observe::{Container, Sandbox, State};
use serde_json::{Value, json};

fn container(name: &str, state: State, code: i32) -> Container {
    Container {
        id: format!("id-{name}"),
        name: name.into(),
        sandbox: "s".into(),
        state,
        created_at_ns: 1,
        started_at_ns: 1_000_000_000,
        finished_at_ns: 2_000_000_000,
        exit_code: code,
        reason: if state == State::Exited {
            if code == 0 { "Completed".into() } else { "Error".into() }
        } else {
            String::new()
        },
        message: String::new(),
        image: "busybox:latest".into(),
        image_ref: "busybox@sha256:1".into(),
        restart_count: 0,
        hash: String::new(),
        user: None,
    }
}

fn status_of(spec: Value, containers: Vec<Container>, holds: &[(&str, &str)], ready: bool) -> Value {
    let pod = serde_json::from_value(
        json!({"metadata": {"name": "p", "namespace": "n", "uid": "u", "generation": 1}, "spec": spec}),
    )
    .expect("a pod");
    let sandbox = Sandbox {
        id: "s".into(),
        ready: true,
        attempt: 0,
        host_network: false,
        created_at_ns: 0,
        ips: vec!["10.1.0.2".into()],
    };
    let observed = ObservedPod { sandboxes: vec![sandbox], containers };
    let now = Timestamp::from_second(10).expect("small");
    let hold = |reason: &str| Hold { reason: reason.into(), message: "why".into(), until: now };
    let holds = holds.iter().map(|(name, reason)| ((*name).to_owned(), hold(reason))).collect();
    let inputs = Inputs {
        pod: &pod,
        observed: &observed,
        old: &PodStatus::default(),
        holds: &holds,
        probes: &|_, _| Readiness { started: true, ready },
        terminal: false,
        verdict: None,
        host_ips: &["10.0.0.1".into()],
        runtime: "containerd",
        now,
    };
    serde_json::to_value(generate(&inputs)).expect("a status")
}

fn conditions_of(status: &Value) -> String {
    let list = status["conditions"].as_array().expect("conditions");
    let word = |c: &Value| {
        let reason = c["reason"].as_str().map(|r| format!("({r})")).unwrap_or_default();
        format!("{}={}{reason}", c["type"].as_str().unwrap_or_default(), c["status"].as_str().unwrap_or_default())
    };
    list.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_running_pod() {
    let status = status_of(json!({"containers": [{"name": "c"}]}), vec![container("c", State::Running, 0)], &[], true);
    assert_eq!(status["phase"], "Running");
    assert_eq!(status["podIP"], "10.1.0.2");
    assert_eq!(status["hostIPs"], json!([{"ip": "10.0.0.1"}]));
    assert_eq!(status["qosClass"], "BestEffort");
    assert_eq!(status["containerStatuses"][0]["state"], json!({"running": {"startedAt": "1970-01-01T00:00:01Z"}}));
    assert_eq!(status["containerStatuses"][0]["containerID"], "containerd://id-c");
    assert_eq!(
        conditions_of(&status),
        "PodReadyToStartContainers=True Initialized=True Ready=True ContainersReady=True PodScheduled=True"
    );
}

#[test]
fn a_pod_that_is_not_ready() {
    let status = status_of(json!({"containers": [{"name": "c"}]}), vec![container("c", State::Running, 0)], &[], false);
    assert_eq!(status["phase"], "Running");
    let words = "PodReadyToStartContainers=True Initialized=True Ready=False(ContainersNotReady) ContainersReady=False(ContainersNotReady) PodScheduled=True";
    assert_eq!(conditions_of(&status), words);
    assert_eq!(status["conditions"][2]["message"], "containers with unready status: [c]");
}

#[test]
fn a_pod_whose_image_cannot_be_pulled() {
    let status =
        status_of(json!({"containers": [{"name": "c", "image": "x"}]}), vec![], &[("c", "ErrImagePull")], true);
    assert_eq!(status["phase"], "Pending");
    assert_eq!(
        status["containerStatuses"][0]["state"],
        json!({"waiting": {"reason": "ErrImagePull", "message": "why"}})
    );
    assert_eq!(status["containerStatuses"][0]["image"], "x");
}

#[test]
fn a_crash_loop_shows_the_last_end() {
    let spec = json!({"restartPolicy": "Always", "containers": [{"name": "c"}]});
    let status = status_of(spec, vec![container("c", State::Exited, 3)], &[("c", "CrashLoopBackOff")], true);
    assert_eq!(status["phase"], "Running");
    assert_eq!(status["containerStatuses"][0]["state"]["waiting"]["reason"], "CrashLoopBackOff");
    assert_eq!(status["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 3);
}

#[test]
fn ends_by_policy() {
    for (policy, code, phase, ready) in [
        ("Never", 0, "Succeeded", "Ready=False(PodCompleted)"),
        ("Never", 1, "Failed", "Ready=False(PodFailed)"),
        ("OnFailure", 1, "Running", "Ready=False(ContainersNotReady)"),
        ("Always", 0, "Running", "Ready=False(ContainersNotReady)"),
    ] {
        let spec = json!({"restartPolicy": policy, "containers": [{"name": "c"}]});
        let status = status_of(spec, vec![container("c", State::Exited, code)], &[], true);
        assert_eq!(status["phase"], phase, "{policy} {code}");
        assert!(conditions_of(&status).contains(ready), "{policy} {code}: {}", conditions_of(&status));
    }
}

#[test]
fn init_containers_hold_the_rest() {
    let spec = json!({"initContainers": [{"name": "i"}], "containers": [{"name": "c"}]});
    let status = status_of(spec, vec![container("i", State::Running, 0)], &[], true);
    assert_eq!(status["phase"], "Pending");
    assert_eq!(status["containerStatuses"][0]["state"]["waiting"]["reason"], "PodInitializing");
    assert!(conditions_of(&status).contains("Initialized=False(ContainersNotInitialized)"));
    assert_eq!(status["conditions"][1]["message"], "containers with incomplete status: [i]");
}
