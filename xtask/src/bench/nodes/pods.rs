//! What nodes make of their pods: the watch, and the reports that it leads to.

use std::fmt::Write;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use hyper::Method;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;

use super::kubelets::{Kubelets, Used};
use super::object::now;
use super::{Conduct, Progress};
use crate::bench::connection::{Access, STRATEGIC};
use crate::bench::lines::Lines;
use crate::bench::objects;

/// Connections over which nodes report.
const CONNECTIONS: usize = 16;
const WATCH: &str = "/api/v1/pods?watch=true&fieldSelector=spec.nodeName%21%3D&timeoutSeconds=86400";

/// An event, as far as it is read here.
#[derive(Deserialize)]
struct Event<'l> {
    #[serde(rename = "type")]
    kind: &'l str,
    #[serde(borrow)]
    object: Pod<'l>,
}

#[derive(Deserialize)]
struct Pod<'l> {
    #[serde(borrow)]
    metadata: Metadata<'l>,
    #[serde(borrow)]
    spec: Spec<'l>,
    #[serde(borrow)]
    status: Status<'l>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'l> {
    name: &'l str,
    namespace: &'l str,
    resource_version: &'l str,
    deletion_timestamp: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'l> {
    node_name: &'l str,
    #[serde(borrow)]
    containers: Vec<Container<'l>>,
}

#[derive(Deserialize)]
struct Container<'l> {
    name: &'l str,
    image: &'l str,
}

#[derive(Deserialize)]
struct Status<'l> {
    phase: &'l str,
}

/// An event that tells why there are no others.
#[derive(Deserialize)]
struct Fault {
    object: Refusal,
}

#[derive(Deserialize)]
struct Refusal {
    code: u16,
    #[serde(default)]
    message: String,
}

/// How such an event begins, and its code where a watch can't go on where it ended.
const ERROR: &[u8] = br#"{"type":"ERROR""#;
const GONE: u16 = 410;
/// How long after another one a watch is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// What is to be told the API server.
enum Report {
    /// The pod's new status.
    Status(String, Bytes),
    /// It is gone.
    Gone(String),
}

/// Follows all bound pods, for ever.
pub(super) async fn follow(
    access: &Access,
    conduct: Conduct,
    kubelets: Option<Kubelets>,
    progress: watch::Sender<Progress>,
) -> anyhow::Result<()> {
    let (outbox, inbox) = mpsc::unbounded_channel();
    let (progress, inbox) = (Rc::new(progress), Rc::new(Mutex::new(inbox)));
    let used = Used::new(kubelets.as_ref().map_or(0, Kubelets::count));
    let mut tasks = JoinSet::new();
    for _ in 0..CONNECTIONS {
        tasks.spawn_local(report(access.clone(), inbox.clone(), progress.clone()));
    }
    if let Some(kubelets) = kubelets {
        tasks.spawn_local(kubelets.serve(used.clone()));
    }
    tasks.spawn_local(observe(access.clone(), conduct, used, outbox, progress));
    // None of them ends by itself.
    tasks.join_next().await.context("no tasks")??
}

async fn observe(
    access: Access,
    conduct: Conduct,
    used: Used,
    outbox: mpsc::UnboundedSender<Report>,
    progress: Rc<watch::Sender<Progress>>,
) -> anyhow::Result<()> {
    let mut lines = watch_from("", &access).await?;
    let mut version = String::new();
    loop {
        let Some(line) = lines.next().await? else {
            // Upstream ends watches that do not keep up with it.
            lines = watch_from(&version, &access).await?;
            continue;
        };
        if line.starts_with(ERROR) {
            let fault: Fault = serde_json::from_slice(&line)?;
            if fault.object.code == GONE {
                bail!("the nodes' watch: {}", fault.object.message);
            }
            // Such as a server that is not there yet: its cache begins anew.
            tokio::time::sleep(AGAIN).await;
            lines = watch_from(&version, &access).await?;
            continue;
        }
        let Event { kind, object: pod } =
            serde_json::from_slice(&line).with_context(|| format!("event {}", String::from_utf8_lossy(&line)))?;
        pod.metadata.resource_version.clone_into(&mut version);
        let path = || format!("{}/{}", objects::pods(pod.metadata.namespace), pod.metadata.name);
        // It is bound from now on, for it is in the watch from now on.
        let bound = kind == "ADDED";
        if bound {
            progress.send_modify(|progress| {
                let now = Instant::now();
                progress.bound += 1;
                progress.first_bound.get_or_insert(now);
                progress.last_bound = Some(now);
            });
            let containers = pod.spec.containers.iter().map(|container| container.name);
            used.add(pod.spec.node_name, pod.metadata.namespace, pod.metadata.name, containers);
        }
        let report = match (kind, conduct) {
            ("DELETED", _) | (_, Conduct::Leave) => continue,
            _ if pod.metadata.deletion_timestamp.is_some() => Report::Gone(path()),
            _ if bound && pod.status.phase == "Pending" => {
                let number = progress.borrow().bound;
                Report::Status(format!("{}/status", path()), status(&pod, conduct, number).into())
            }
            _ => continue,
        };
        outbox.send(report).context("nobody reports")?;
    }
}

/// The events after a resourceVersion; without one, what there is, and then events.
async fn watch_from(version: &str, access: &Access) -> anyhow::Result<Lines> {
    let from = if version.is_empty() { String::new() } else { format!("&resourceVersion={version}") };
    let answer = access.http1().await?.send(Method::GET, &format!("{WATCH}{from}"), None).await?;
    if !answer.status().is_success() {
        bail!("the nodes' watch: {}", answer.status());
    }
    Ok(Lines::new(answer.into_body()))
}

/// Takes one report after another. A pod that is gone meanwhile has nothing to be told.
async fn report(
    access: Access,
    inbox: Rc<Mutex<mpsc::UnboundedReceiver<Report>>>,
    progress: Rc<watch::Sender<Progress>>,
) -> anyhow::Result<()> {
    let mut connection = access.http1().await?;
    loop {
        let report = inbox.lock().await.recv().await.context("nothing is seen any more")?;
        if !connection.is_open() {
            connection = access.http1().await?;
        }
        let (answer, reported) = match report {
            Report::Status(path, body) => (connection.call(Method::PATCH, &path, Some((STRATEGIC, body))).await, true),
            Report::Gone(path) => {
                (connection.call(Method::DELETE, &format!("{path}?gracePeriodSeconds=0"), None).await, false)
            }
        };
        match answer {
            Ok(_) if reported => progress.send_modify(|progress| {
                progress.reported += 1;
                progress.last_reported = Some(Instant::now());
            }),
            Ok(_) => {}
            Err(error) if error.to_string().contains("NotFound") => {}
            Err(error) => return Err(error),
        }
    }
}

/// What a kubelet says of a pod that has started, or ended well.
fn status(pod: &Pod<'_>, conduct: Conduct, number: usize) -> String {
    let now = now();
    let [b, c, d] = [number >> 16, number >> 8, number].map(|part| part & 0xff);
    let ended = conduct == Conduct::Succeed;
    let (phase, ready, reason) =
        if ended { ("Succeeded", "False", r#""reason":"PodCompleted","#) } else { ("Running", "True", "") };
    let mut out = format!(r#"{{"status":{{"phase":"{phase}","startTime":"{now}","conditions":["#);
    for (kind, status, reason) in [
        ("PodReadyToStartContainers", ready, ""),
        ("Initialized", "True", reason),
        ("Ready", ready, reason),
        ("ContainersReady", ready, reason),
    ] {
        let comma = if kind == "ContainersReady" { "" } else { "," };
        let condition = format!(
            r#"{{"type":"{kind}","status":"{status}",{reason}"lastProbeTime":null,"lastTransitionTime":"{now}"}}{comma}"#
        );
        out.push_str(&condition);
    }
    let ips = format!(
        r#"],"hostIP":"127.0.0.1","hostIPs":[{{"ip":"127.0.0.1"}}],"podIP":"10.{b}.{c}.{d}","podIPs":[{{"ip":"10.{b}.{c}.{d}"}}],"#
    );
    out.push_str(&ips);
    out.push_str(r#""containerStatuses":["#);
    for (i, Container { name, image }) in pod.spec.containers.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        let id = format!("containerd://{number:062x}{i:02x}");
        let state = if ended {
            format!(
                r#"{{"terminated":{{"exitCode":0,"reason":"Completed","startedAt":"{now}","finishedAt":"{now}","containerID":"{id}"}}}}"#
            )
        } else {
            format!(r#"{{"running":{{"startedAt":"{now}"}}}}"#)
        };
        // Writing to a String does not fail.
        let _ = write!(
            out,
            r#"{comma}{{"name":"{name}","image":"{image}","imageID":"{image}@sha256:{:064x}","containerID":"{id}","ready":{},"started":{},"restartCount":0,"state":{state}}}"#,
            image.len(),
            !ended,
            !ended,
        );
    }
    out.push_str("]}}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_json_and_say_what_they_are_asked_to() {
        let event = br#"{"type":"ADDED","object":{"metadata":{"name":"a","namespace":"b","resourceVersion":"7","labels":{"x":"y"}},"spec":{"nodeName":"node-00007","containers":[{"name":"c","image":"i"},{"name":"d","image":"j"}]},"status":{"phase":"Pending"}}}"#;
        let event: Event<'_> = serde_json::from_slice(event).unwrap();
        let running: serde_json::Value = serde_json::from_str(&status(&event.object, Conduct::Run, 300)).unwrap();
        let status_of = &running["status"];
        assert_eq!((&status_of["phase"], &status_of["podIP"]), (&"Running".into(), &"10.0.1.44".into()));
        assert_eq!(status_of["containerStatuses"][1]["name"], "d");
        assert_eq!(status_of["conditions"][2]["status"], "True");
        let ended: serde_json::Value = serde_json::from_str(&status(&event.object, Conduct::Succeed, 1)).unwrap();
        assert_eq!(ended["status"]["phase"], "Succeeded");
        assert_eq!(ended["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 0);
    }
}
