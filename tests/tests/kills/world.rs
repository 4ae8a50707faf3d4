//! The API server on the embedded store, the controller manager and the scheduler as processes, as an administrator starts
//! them, to be killed and started again.
//!
//! The controller manager and the scheduler run without leader election, but for one takeover: the next process begins in
//! the instant in which the last one was killed, and sees what that has left half done, where a lease would let 15 s pass,
//! in which all that was under way has come to rest, and would make fifty kills last a quarter of an hour.

use anyhow::ensure;
use http::Method;
use serde_json::{Value, json};
use testkit::{Answer, Caller, Component, Process};

use std::time::Duration;

/// Between tries of a server that is away, not instead of them.
const PAUSE: Duration = Duration::from_millis(20);
/// Between looks at what will change.
const LOOKS: Duration = Duration::from_millis(100);

/// Which controller manager leads.
pub const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-controller-manager";

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Victim {
    Server,
    Manager,
    Scheduler,
}

/// See the module.
pub struct World {
    server: Process,
    manager: Component,
    scheduler: Component,
}

/// A component of a server, with these flags beside those that all have; `number` tells those of one name apart.
fn component(server: &Process, name: &str, number: usize, flags: &[String]) -> anyhow::Result<Component> {
    let kubeconfig = server.kubeconfig(name)?.display().to_string();
    let mut arguments = vec![format!("--kubeconfig={kubeconfig}"), "--secure-port=0".to_owned()];
    arguments.extend_from_slice(flags);
    Component::start(name, server.directory().join(format!("{name}-{number}.log")), arguments)
}

/// A controller manager as an administrator starts it; with leader election, the times are the usual ones.
fn manager(server: &Process, number: usize, elected: bool) -> anyhow::Result<Component> {
    let flags = [
        format!("--leader-elect={elected}"),
        "--use-service-account-credentials=true".to_owned(),
        format!("--root-ca-file={}", server.directory().join("data/pki/ca.crt").display()),
    ];
    component(server, "controller-manager", number, &flags)
}

fn scheduler(server: &Process) -> anyhow::Result<Component> {
    component(server, "scheduler", 0, &["--leader-elect=false".to_owned()])
}

/// Two controller managers, of which one leads.
pub struct Pair {
    pub server: Process,
    pub managers: [Component; 2],
    _scheduler: Component,
}

impl Pair {
    /// The first leads when this returns.
    pub async fn start() -> anyhow::Result<Self> {
        let server = Process::start(None, &[]).await?;
        let scheduler = scheduler(&server)?;
        let first = manager(&server, 0, true)?;
        let admin = server.admin()?;
        until(&admin, LEASE, |lease| !lease.is_null()).await;
        let managers = [first, manager(&server, 1, true)?];
        Ok(Self { server, managers, _scheduler: scheduler })
    }
}

impl World {
    pub async fn start() -> anyhow::Result<Self> {
        let server = Process::start(None, &[]).await?;
        let (manager, scheduler) = (manager(&server, 0, false)?, scheduler(&server)?);
        Ok(Self { server, manager, scheduler })
    }

    pub fn admin(&self) -> anyhow::Result<Caller> {
        self.server.admin()
    }

    /// SIGKILL, and a start again. The server is waited for, the others are not.
    pub async fn kill(&mut self, victim: Victim) -> anyhow::Result<()> {
        let component = match victim {
            Victim::Manager => &mut self.manager,
            Victim::Scheduler => &mut self.scheduler,
            Victim::Server => {
                self.server.kill()?;
                return self.server.start_again().await;
            }
        };
        component.kill()?;
        component.start_again()
    }

    /// Nobody has ended but who was killed.
    pub fn alive(&mut self) -> anyhow::Result<()> {
        self.manager.alive()?;
        self.scheduler.alive()
    }

    /// What all of them logged, the end of it.
    pub fn logs(&self) -> String {
        let end = |name: &str, log: String| {
            let lines: Vec<&str> = log.lines().collect();
            format!("== {name}\n{}\n", lines[lines.len().saturating_sub(60)..].join("\n"))
        };
        end("server", self.server.log())
            + &end("controller manager", self.manager.log())
            + &end("scheduler", self.scheduler.log())
    }
}

/// Asks until a server answers, and not that it can't now; a request whose answer was lost may have been done.
pub async fn ask(admin: &Caller, method: &Method, path: &str, body: Option<&Value>) -> Answer {
    let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    loop {
        match admin.send_as(method.clone(), path, kind, body).await {
            Ok(answer) if answer.code < 500 && answer.code != 429 => return answer,
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Creates an object, once.
pub async fn create(admin: &Caller, collection: &str, object: &Value) -> anyhow::Result<Value> {
    let answer = ask(admin, &Method::POST, collection, Some(object)).await;
    if answer.code == 409 {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        return Ok(ask(admin, &Method::GET, &format!("{collection}/{name}"), None).await.body);
    }
    ensure!(answer.code == 201, "{collection}: {}", answer.body);
    Ok(answer.body)
}

/// Waits until what is at a path is as wanted. 404 is null.
pub async fn until(admin: &Caller, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    loop {
        let answer = ask(admin, &Method::GET, path, None).await;
        let body = if answer.code == 404 { Value::Null } else { answer.body };
        if wanted(&body) {
            return body;
        }
        tokio::time::sleep(LOOKS).await;
    }
}

/// Changes the template of a workload's pods; says at which revision of the store.
pub async fn roll(admin: &Caller, path: &str, to: &str) -> anyhow::Result<i64> {
    let patch = json!({"spec": {"template": {"metadata": {"annotations": {"roll": to}}}}});
    let answer = ask(admin, &Method::PATCH, path, Some(&patch)).await;
    ensure!(answer.code == 200, "{path}: {}", answer.body);
    Ok(revision(&answer.body))
}

/// The resourceVersion of an object or a list.
pub fn revision(object: &Value) -> i64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|revision| revision.parse().ok()).unwrap_or_default()
}
