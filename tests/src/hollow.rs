//! Nodes without containers, as kubemark's: what their kubelets say of themselves and of their pods.

use http::Method;
use serde_json::{Value, json};
use testkit::{Answer, Caller};

/// Registers a ready node of four processors and 8 GiB, whose kubelet listens on that port of loopback, and its lease, which
/// ends in an hour after the last renewal.
///
/// # Errors
/// The server refuses them.
pub async fn register(name: &str, port: u16, admin: &Caller) -> anyhow::Result<()> {
    let node = json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}},
        "status": {
            "capacity": {"cpu": "4", "memory": "8Gi", "pods": "110"},
            "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"},
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
            "nodeInfo": {"kubeletVersion": "v1.36.2", "architecture": "amd64", "operatingSystem": "linux",
                "osImage": "hollow", "kernelVersion": "6.1", "containerRuntimeVersion": "hollow://1", "bootID": "",
                "machineID": "", "systemUUID": "", "kubeProxyVersion": ""},
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady",
                "message": "kubelet is posting ready status"}],
        },
    });
    created(admin.send(Method::POST, "/api/v1/nodes", Some(&node)).await?)?;
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": name, "namespace": "kube-node-lease"},
        // It outlives the test: silence is not what is tested.
        "spec": {"holderIdentity": name, "leaseDurationSeconds": 3600, "renewTime": "2100-01-01T00:00:00.000000Z"}});
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    created(admin.send(Method::POST, leases, Some(&lease)).await?)
}

fn created(answer: Answer) -> anyhow::Result<()> {
    anyhow::ensure!(answer.code == 201, "{}", answer.body);
    Ok(())
}

/// How far a pod's containers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Their images can't be pulled.
    Waiting,
    /// They run, and are ready.
    Running,
    /// They have ended, all with that exit code.
    Ended(i32),
}

/// The path of a pod.
pub fn path(pod: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!("/api/v1/namespaces/{}/pods/{}", text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"]))
}

/// Tells the server how far a pod is, if it is still the same pod.
///
/// # Errors
/// The server does not answer.
pub async fn tell(admin: &Caller, pod: &Value, state: State) -> anyhow::Result<Answer> {
    let status = json!({"metadata": {"uid": pod["metadata"]["uid"]}, "status": status(pod, state)});
    let kind = "application/strategic-merge-patch+json";
    admin.send_as(Method::PATCH, &format!("{}/status", path(pod)), kind, Some(&status)).await
}

/// Tells the server that nothing of a pod is left.
///
/// # Errors
/// The server does not answer.
pub async fn let_go(admin: &Caller, pod: &Value) -> anyhow::Result<Answer> {
    let now = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}});
    admin.send(Method::DELETE, &path(pod), Some(&now)).await
}

fn status(pod: &Value, state: State) -> Value {
    let now = &pod["metadata"]["creationTimestamp"];
    let (phase, container) = match state {
        State::Waiting => {
            ("Pending", json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}))
        }
        State::Running => ("Running", json!({"running": {"startedAt": now}})),
        State::Ended(code) => {
            let (phase, reason) = if code == 0 { ("Succeeded", "Completed") } else { ("Failed", "Error") };
            let ended = json!({"exitCode": code, "reason": reason, "startedAt": now, "finishedAt": now});
            (phase, json!({"terminated": ended}))
        }
    };
    let runs = state == State::Running;
    let statuses: Vec<Value> = pod["spec"]["containers"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|spec| {
            json!({"name": spec["name"], "image": spec["image"], "imageID": "", "ready": runs, "started": runs,
                "restartCount": 0, "state": container})
        })
        .collect();
    let conditions: Vec<Value> = ["Initialized", "Ready", "ContainersReady", "PodReadyToStartContainers"]
        .into_iter()
        .map(|kind| {
            let holds = runs || !matches!(kind, "Ready" | "ContainersReady");
            json!({"type": kind, "status": if holds { "True" } else { "False" }, "lastTransitionTime": now})
        })
        .collect();
    json!({
        "phase": phase,
        "startTime": now,
        "podIP": "10.0.0.1",
        "podIPs": [{"ip": "10.0.0.1"}],
        "hostIP": "127.0.0.1",
        "containerStatuses": statuses,
        "conditions": conditions,
    })
}
