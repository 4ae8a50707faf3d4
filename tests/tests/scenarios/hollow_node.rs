//! A node without containers, as kubemark's: its kubelet says of each pod bound to it that it runs, and lets it go when it
//! is deleted. Pods of an image with `missing` in its name never get further than pulling it. The log of a container is
//! three lines. The node uses half a processor and 2 GiB, each container a tenth of a processor and 64 MiB.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::ensure;
use component::Supervisor;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use testkit::{Answer, Caller};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Namespaces and names of the pods that run, and the names of their containers.
type Running = Arc<Mutex<BTreeMap<(String, String), Vec<String>>>>;

/// Registers the node and serves its pods.
pub async fn start(name: &'static str, admin: &Caller, tasks: &Supervisor) -> anyhow::Result<()> {
    let running = Running::default();
    let port = serve(running.clone(), tasks).await?;
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
        // It outlives the scenario: silence is not what is tested.
        "spec": {"holderIdentity": name, "leaseDurationSeconds": 3600, "renewTime": "2100-01-01T00:00:00.000000Z"}});
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    created(admin.send(Method::POST, leases, Some(&lease)).await?)?;
    let admin = admin.clone();
    tasks.vital(("hollow-kubelet", name.to_owned()), move |_| async move {
        let mut events = admin.open(&format!("/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3D{name}")).await?;
        while let Some(event) = events.next().await {
            note(&running, &event);
            if event["type"] != "DELETED" {
                step(&admin, &event["object"]).await?;
            }
        }
        anyhow::Ok(())
    });
    Ok(())
}

fn note(running: &Running, event: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let pod = &event["object"];
    let key = (text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"]));
    if event["type"] == "DELETED" || pod["status"]["phase"] != "Running" {
        running.lock().remove(&key);
    } else {
        let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
        running.lock().insert(key, containers.map(|container| text(&container["name"])).collect());
    }
}

fn created(answer: Answer) -> anyhow::Result<()> {
    ensure!(answer.code == 201, "{}", answer.body);
    Ok(())
}

/// Brings the pod a step further.
async fn step(admin: &Caller, pod: &Value) -> anyhow::Result<()> {
    let (metadata, spec) = (&pod["metadata"], &pod["spec"]);
    let path = format!(
        "/api/v1/namespaces/{}/pods/{}",
        metadata["namespace"].as_str().unwrap_or_default(),
        metadata["name"].as_str().unwrap_or_default()
    );
    if !metadata["deletionTimestamp"].is_null() {
        let now = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": metadata["uid"]}});
        admin.send(Method::DELETE, &path, Some(&now)).await?;
        return Ok(());
    }
    if !pod["status"]["startTime"].is_null() {
        return Ok(());
    }
    let containers = || spec["containers"].as_array().into_iter().flatten();
    let runs = containers().all(|container| !container["image"].as_str().unwrap_or_default().contains("missing"));
    let now = &metadata["creationTimestamp"];
    let state = if runs {
        json!({"running": {"startedAt": now}})
    } else {
        json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}})
    };
    let statuses: Vec<Value> = containers()
        .map(|container| {
            json!({"name": container["name"], "image": container["image"], "imageID": "", "ready": runs,
                "started": runs, "restartCount": 0, "state": state})
        })
        .collect();
    let ready = if runs { "True" } else { "False" };
    let conditions: Vec<Value> = ["Initialized", "Ready", "ContainersReady", "PodReadyToStartContainers"]
        .into_iter()
        .map(|kind| {
            let status = if kind.contains("Ready") && kind != "PodReadyToStartContainers" { ready } else { "True" };
            json!({"type": kind, "status": status, "lastTransitionTime": now})
        })
        .collect();
    let status = json!({"metadata": {"uid": metadata["uid"]}, "status": {
        "phase": if runs { "Running" } else { "Pending" },
        "startTime": now,
        "podIP": "10.0.0.1",
        "podIPs": [{"ip": "10.0.0.1"}],
        "hostIP": "127.0.0.1",
        "containerStatuses": statuses,
        "conditions": conditions,
    }});
    let kind = "application/strategic-merge-patch+json";
    admin.send_as(Method::PATCH, &format!("{path}/status"), kind, Some(&status)).await?;
    Ok(())
}

/// The kubelet's server, on loopback: `/containerLogs` and `/metrics/resource` alone.
async fn serve(running: Running, tasks: &Supervisor) -> anyhow::Result<u16> {
    let tls = component::tls::server_config(component::tls::resolver(None, "node")?, None)?;
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let (connections, clock) = (tasks.clone(), (Instant::now(), SystemTime::now()));
    tasks.vital("hollow-kubelet-server", move |_| async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, running) = (acceptor.clone(), running.clone());
            connections.one_shot("connection", async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let answer = |request: Request<Incoming>| match request.uri().path() {
                    "/metrics/resource" => Response::new(figures(&running.lock(), clock)),
                    _ => log(&request),
                };
                let service =
                    hyper::service::service_fn(|request| std::future::ready(Ok::<_, Infallible>(answer(request))));
                let http = hyper::server::conn::http1::Builder::new();
                // The client ends it when it has read enough.
                let _ = http.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Ok(port)
}

/// What is used, of now.
fn figures(running: &BTreeMap<(String, String), Vec<String>>, (began, at_began): (Instant, SystemTime)) -> String {
    // Whole milliseconds of one clock, so that the time of the figures is the time of their measurement.
    let age_ms = began.elapsed().as_millis() as u64 + 1000;
    let began_ms = at_began.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
    let at = began_ms + age_ms as i64;
    let started = began_ms as f64 / 1e3 - 3600.0;
    let cpu = |tenths: u64| format!("{}.{:04}", age_ms * tenths / 10_000, age_ms * tenths % 10_000);
    let mut lines = vec![
        format!("node_cpu_usage_seconds_total {} {at}", cpu(5)),
        format!("node_memory_working_set_bytes {} {at}", 2u64 << 30),
    ];
    for ((namespace, pod), containers) in running {
        for container in containers {
            let labels = format!("{{container=\"{container}\",namespace=\"{namespace}\",pod=\"{pod}\"}}");
            lines.push(format!("container_cpu_usage_seconds_total{labels} {} {at}", cpu(1)));
            lines.push(format!("container_memory_working_set_bytes{labels} {} {at}", 64u64 << 20));
            lines.push(format!("container_start_time_seconds{labels} {started}"));
        }
    }
    lines.join("\n") + "\n"
}

fn log(request: &Request<Incoming>) -> Response<String> {
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
    let mut answer = Response::new(String::new());
    let Some(container) = path.strip_prefix("/containerLogs/").and_then(|place| place.split('/').nth(2)) else {
        *answer.status_mut() = StatusCode::NOT_FOUND;
        return answer;
    };
    let option = |name: &str| query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name);
    if option("previous").is_some() {
        *answer.status_mut() = StatusCode::BAD_REQUEST;
        let pod = path.split('/').nth(3).unwrap_or_default();
        *answer.body_mut() = format!("previous terminated container {container:?} in pod {pod:?} not found");
        return answer;
    }
    let last = option("tailLines").and_then(|(_, count)| count.parse().ok()).unwrap_or(3_usize);
    *answer.body_mut() = ["one", "two", "three"]
        .into_iter()
        .skip(3_usize.saturating_sub(last))
        .map(|line| format!("{container} {line}\n"))
        .collect();
    answer
}
