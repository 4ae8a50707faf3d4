use super::*;
use crate::cri::observe::Sandbox;
use serde_json::{Value, json};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("small")
}

fn pod(spec: Value) -> Pod {
    let mut spec = spec;
    for list in ["containers", "initContainers"] {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            container["image"] = json!("image");
        }
    }
    if spec["initContainers"].is_null() {
        spec.as_object_mut().expect("an object").remove("initContainers");
    }
    serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec}))
        .expect("a pod")
}

/// `name:state` with the exit code for those that ended: `a:running b:exited=1`. Newest first. `sandbox` is ready, `-sandbox` is not.
fn observed(pod: &Pod, text: &str) -> ObservedPod {
    let mut all = ObservedPod::default();
    for (index, word) in text.split_whitespace().enumerate() {
        if let Some(state) = word.strip_suffix("sandbox") {
            all.sandboxes.push(Sandbox {
                id: format!("s{index}"),
                ready: state.is_empty(),
                attempt: 0,
                host_network: false,
                created_at_ns: 0,
                ips: vec!["10.0.0.1".into()],
            });
            continue;
        }
        let (name, state) = word.split_once(':').expect("name:state");
        let (state, code) = state.split_once('=').unwrap_or((state, "0"));
        let hash = crate::pod::find(pod, name).map(|f| labels::hash(&f.1)).unwrap_or_default();
        all.containers.push(Observed {
            id: format!("{name}{index}"),
            name: name.into(),
            sandbox: "s0".into(),
            state: match state {
                "running" => State::Running,
                "exited" => State::Exited,
                "created" => State::Created,
                _ => State::Unknown,
            },
            created_at_ns: 0,
            started_at_ns: 0,
            finished_at_ns: 1_000_000_000,
            exit_code: code.parse().expect("a number"),
            reason: String::new(),
            message: String::new(),
            image: "image".into(),
            image_ref: "image@x".into(),
            restart_count: 0,
            hash,
            user: None,
        });
    }
    all
}

fn word(action: Action) -> String {
    match action {
        Action::StopPod => "stop".into(),
        Action::CreateSandbox { attempt, replaces } => {
            format!("sandbox {attempt}{}", if replaces { " again" } else { "" })
        }
        Action::KillContainer { name, message, .. } => format!("kill {name}: {message}"),
        Action::RemoveContainer { id } => format!("remove {id}"),
        Action::StartContainer { kind, index } => format!("start {kind:?} {index}"),
        Action::Rest { until, .. } => until.map_or("rest".into(), |until| format!("rest until {}", until.as_second())),
    }
}

fn check(spec: Value, cases: &[(&str, &str)]) {
    let pod = pod(spec);
    for (state, expected) in cases {
        let action = step(&pod, &observed(&pod, state), &Memory::default(), &Backoff::new(10, 300), at(100));
        assert_eq!(word(action), *expected, "{state}");
    }
}

#[test]
fn containers_in_order_and_again() {
    check(
        json!({"restartPolicy": "Always", "containers": [{"name": "a"}, {"name": "b"}]}),
        &[
            ("", "sandbox 0"),
            ("sandbox", "start Regular 0"),
            ("sandbox a:running", "start Regular 1"),
            ("sandbox a:running b:running", "rest"),
            ("sandbox a:exited=0 b:running", "start Regular 0"),
            ("sandbox a:exited=0 b:exited=1", "start Regular 0"),
            ("-sandbox a:exited=0 b:exited=0", "sandbox 1 again"),
            ("sandbox sandbox a:running b:running", "sandbox 1 again"),
            ("sandbox a:unknown b:running", "kill a: Container is in \"unknown\" state, try killing it before restart"),
        ],
    );
}

#[test]
fn policies_that_end() {
    let spec = |policy: &str| json!({"restartPolicy": policy, "containers": [{"name": "a"}]});
    check(
        spec("Never"),
        &[("sandbox a:exited=1", "stop"), ("-sandbox a:exited=1", "stop"), ("-sandbox", "sandbox 1 again")],
    );
    check(
        spec("OnFailure"),
        &[("sandbox a:exited=1", "start Regular 0"), ("sandbox a:exited=0", "stop"), ("-sandbox a:exited=0", "stop")],
    );
}

#[test]
fn init_containers_come_first_one_by_one() {
    let spec = |policy: &str| json!({"restartPolicy": policy, "initContainers": [{"name": "i"}, {"name": "j"}], "containers": [{"name": "a"}]});
    check(
        spec("Always"),
        &[
            ("sandbox", "start Init 0"),
            ("sandbox i:running", "rest"),
            ("sandbox i:exited=0", "start Init 1"),
            ("sandbox i:exited=1", "start Init 0"),
            ("sandbox i:exited=1 i:exited=1", "remove i2"),
            ("sandbox j:exited=0 i:exited=0", "start Regular 0"),
            ("sandbox a:running j:exited=0", "rest"),
            ("sandbox a:exited=1", "start Init 0"),
            ("sandbox a:exited=1 j:exited=0 i:exited=0", "start Regular 0"),
        ],
    );
    check(spec("Never"), &[("sandbox i:exited=1", "stop")]);
}

#[test]
fn sidecars_start_in_their_turn_and_are_kept_running() {
    check(
        json!({"restartPolicy": "Never", "initContainers": [{"name": "s", "restartPolicy": "Always"}, {"name": "j"}], "containers": [{"name": "a"}]}),
        &[
            ("sandbox", "start Init 0"),
            ("sandbox s:running", "start Init 1"),
            ("sandbox s:exited=0 j:running", "start Init 0"),
            ("sandbox s:running j:exited=0", "start Regular 0"),
            ("sandbox s:exited=1 j:exited=0 a:running", "start Init 0"),
            ("sandbox s:running j:exited=0 a:exited=0", "stop"),
        ],
    );
}

#[test]
fn probes_kill() {
    let pod = pod(json!({"restartPolicy": "Always", "containers": [{"name": "a"}]}));
    let seen = observed(&pod, "sandbox a:running");
    let mut memory = Memory::default();
    memory.liveness.insert("a1".into(), Verdict::Failure);
    let action = step(&pod, &seen, &memory, &Backoff::new(10, 300), at(100));
    assert_eq!(word(action), "kill a: Container a failed liveness probe, will be restarted");
}

#[test]
fn crash_loops_wait_and_say_so() {
    let pod = pod(json!({"restartPolicy": "Always", "containers": [{"name": "a"}]}));
    let seen = observed(&pod, "sandbox a:exited=1");
    let mut backoff = Backoff::new(10, 300);
    backoff.next(&backoff_key(&pod, &crate::pod::spec(&pod).containers[0]), at(0));
    let Action::Rest { until, backing_off } = step(&pod, &seen, &Memory::default(), &backoff, at(5)) else {
        panic!("it rests")
    };
    assert_eq!(until, Some(at(11)));
    assert_eq!(backing_off[0].hold.message, "back-off 10s restarting failed container=a pod=p_n(u)");
    assert_eq!(word(step(&pod, &seen, &Memory::default(), &backoff, at(11))), "start Regular 0");
}

#[test]
fn a_stopped_pod_rests() {
    let pod = pod(json!({"restartPolicy": "Never", "containers": [{"name": "a"}]}));
    let seen = observed(&pod, "-sandbox a:exited=1");
    let mut memory = Memory::default();
    assert_eq!(stop(&seen, &memory), Action::StopPod);
    memory.stopped.insert("s0".into());
    assert_eq!(word(stop(&seen, &memory)), "rest");
}
