//! A pod's row: one word for the state of all its containers.

use jiff::Timestamp;
use machinery::json::Fields;
use serde_json::{Value, json};

use super::{age, condition as find, deleting, name, number, since, text_or};

/// What clients that wait read from a row: a pod that is over.
pub(crate) fn completed(pod: &Value) -> Option<Value> {
    let (reason, message) = match pod.sub("status").text("phase") {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!({"type": "Completed", "status": "True", "reason": reason, "message": message}))
}

/// Restarts, and when the last one was.
#[derive(Default, Clone)]
struct Restarts {
    count: i64,
    last: String,
}

impl Restarts {
    fn add(&mut self, status: &Value) {
        self.count += number(status, "/restartCount");
        // RFC 3339 in UTC is in the order of time.
        let finished = status.at("/lastState/terminated").text("finishedAt");
        if finished > self.last.as_str() {
            self.last = finished.to_owned();
        }
    }
}

pub(crate) fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let (ready, total, reason, restarts) = summary(pod);
    let restarts = match restarts.last.as_str() {
        last if restarts.count != 0 && !last.is_empty() => format!("{} ({} ago)", restarts.count, since(last, now)),
        _ => restarts.count.to_string(),
    };
    vec![
        name(pod),
        format!("{ready}/{total}").into(),
        reason.into(),
        restarts.into(),
        age(pod, now),
        text_or(pod, "/status/podIPs/0/ip", "<none>"),
        text_or(pod, "/spec/nodeName", "<none>"),
        text_or(pod, "/status/nominatedNodeName", "<none>"),
        readiness_gates(pod).into(),
    ]
}

fn readiness_gates(pod: &Value) -> String {
    let gates = pod.sub("spec").list("readinessGates");
    let met = |gate: &&Value| {
        let condition = gate["conditionType"].as_str().and_then(|kind| find(pod, "/status/conditions", kind));
        condition.is_some_and(|c| c["status"] == "True")
    };
    if gates.is_empty() { "<none>".into() } else { format!("{}/{}", gates.iter().filter(met).count(), gates.len()) }
}

/// Ready containers, all containers, the word, the restarts.
fn summary(pod: &Value) -> (usize, usize, String, Restarts) {
    let phase = pod.sub("status").text("phase");
    let mut reason = match pod.sub("status").text("reason") {
        "" => phase.to_owned(),
        reason => reason.to_owned(),
    };
    let gated = find(pod, "/status/conditions", "PodScheduled").is_some_and(|c| c["reason"] == "SchedulingGated");
    if gated {
        reason = "SchedulingGated".into();
    }
    let sidecars: Vec<&str> = pod
        .sub("spec")
        .list("initContainers")
        .iter()
        .filter(|c| c["restartPolicy"] == "Always")
        .filter_map(|c| c["name"].as_str())
        .collect();
    let total = pod.sub("spec").list("containers").len() + sidecars.len();
    let (mut ready, mut restarts, mut sidecar_restarts) = (0, Restarts::default(), Restarts::default());

    let mut initialising = None;
    for (i, status) in pod.sub("status").list("initContainerStatuses").iter().enumerate() {
        let sidecar = status["name"].as_str().is_some_and(|name| sidecars.contains(&name));
        restarts.add(status);
        if sidecar {
            sidecar_restarts.add(status);
        }
        match init_reason(pod, status, sidecar, i) {
            Init::Done => {}
            Init::Serving => ready += usize::from(status["ready"] == true),
            Init::Blocked(why) => {
                initialising = Some(why);
                break;
            }
        }
    }
    let initialised = find(pod, "/status/conditions", "Initialized").is_some_and(|c| c["status"] == "True");
    if let Some(why) = &initialising {
        reason = why.clone();
    }
    if initialising.is_none() || initialised {
        restarts = sidecar_restarts;
        ready += containers(pod, &mut reason, &mut restarts);
    }
    if deleting(pod) {
        if pod.sub("status").text("reason") == "NodeLost" {
            reason = "Unknown".into();
        } else if !matches!(phase, "Succeeded" | "Failed") {
            reason = "Terminating".into();
        }
    }
    (ready, total, reason, restarts)
}

enum Init {
    /// It ended well.
    Done,
    /// A sidecar that has started.
    Serving,
    /// The pod waits for it.
    Blocked(String),
}

fn init_reason(pod: &Value, status: &Value, sidecar: bool, index: usize) -> Init {
    let terminated = status.at("/state/terminated");
    let waiting = status.at("/state/waiting").text("reason");
    match terminated {
        Some(t) if number(t, "/exitCode") == 0 => Init::Done,
        _ if sidecar && status["started"] == true => Init::Serving,
        Some(t) => Init::Blocked(format!("Init:{}", ended(t))),
        None if !waiting.is_empty() && waiting != "PodInitializing" => Init::Blocked(format!("Init:{waiting}")),
        None => Init::Blocked(format!("Init:{index}/{}", pod.sub("spec").list("initContainers").len())),
    }
}

/// Why a container ended: its reason, or its signal, or its exit code.
fn ended(terminated: &Value) -> String {
    match (terminated.text("reason"), number(terminated, "/signal")) {
        ("", 0) => format!("ExitCode:{}", number(terminated, "/exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

/// The ordinary containers, the last first, so that the first one's word wins. Returns how many are ready.
fn containers(pod: &Value, reason: &mut String, restarts: &mut Restarts) -> usize {
    let (mut ready, mut running, mut failed) = (0, false, String::new());
    for status in pod.sub("status").list("containerStatuses").iter().rev() {
        restarts.add(status);
        let waiting = status.at("/state/waiting").text("reason");
        let terminated = status.at("/state/terminated");
        if !waiting.is_empty() {
            *reason = waiting.to_owned();
        } else if let Some(terminated) = terminated {
            *reason = ended(terminated);
            if number(terminated, "/exitCode") != 0 {
                failed = reason.clone();
            }
        } else if status["ready"] == true && status.at("/state/running").is_some() {
            running = true;
            ready += 1;
        }
    }
    if reason == "Completed" {
        let pod_ready = find(pod, "/status/conditions", "Ready").is_some_and(|c| c["status"] == "True");
        if running && pod_ready {
            *reason = "Running".into();
        } else if !failed.is_empty() {
            *reason = failed;
        } else if running {
            *reason = "NotReady".into();
        }
    }
    ready
}
