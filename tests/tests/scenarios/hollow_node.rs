//! A node without containers, as kubemark's: its kubelet says of each pod bound to it that it runs, and lets it go when it
//! is deleted. Pods of an image with `missing` in its name never get further than pulling it. The log of a container is
//! three lines. The node uses half a processor and 2 GiB, each container a tenth of a processor and 64 MiB.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use component::Supervisor;
use ferry_tests::hollow::{self, State};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::Value;
use testkit::Caller;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Namespaces and names of the pods that run, and the names of their containers.
type Running = Arc<Mutex<BTreeMap<(String, String), Vec<String>>>>;

/// Registers the node and serves its pods.
pub async fn start(name: &'static str, admin: &Caller, tasks: &Supervisor) -> anyhow::Result<()> {
    let running = Running::default();
    let port = serve(running.clone(), tasks).await?;
    hollow::register(name, port, admin).await?;
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

/// Brings the pod a step further.
async fn step(admin: &Caller, pod: &Value) -> anyhow::Result<()> {
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        hollow::let_go(admin, pod).await?;
    } else if pod["status"]["startTime"].is_null() {
        let mut images = pod["spec"]["containers"].as_array().into_iter().flatten().map(|c| &c["image"]);
        let runs = images.all(|image| !image.as_str().unwrap_or_default().contains("missing"));
        hollow::tell(admin, pod, if runs { State::Running } else { State::Waiting }).await?;
    }
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
