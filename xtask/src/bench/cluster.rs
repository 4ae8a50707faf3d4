//! A cluster under measurement: an API server, what is started beside it, nodes without machines, and what all of them cost.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use hyper::Method;
use serde_json::Value;

use super::connection::{Access, JSON};
use super::launch::{Launched, Launcher, Part};
use super::lines::Lines;
use super::load::load;
use super::nodes::{Nodes, Setup};
use super::objects;
use super::process::{Process, own_cpu};
use super::report::{self, bytes, seconds};

/// Connections over which objects are made.
const CONNECTIONS: usize = 16;
/// Between two looks at whether anything is still done.
const LOOK: Duration = Duration::from_secs(2);
/// Parts that use no more of a core than this have settled.
const QUIET: f64 = 0.1;
/// What has not happened after this time never will.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1_800);

/// See the module. It ends when dropped.
pub(crate) struct Cluster<'l> {
    launcher: &'l Launcher,
    // Before the servers: nodes that lose theirs have a fault to tell.
    pub(crate) nodes: Nodes,
    launched: Launched,
    pub(crate) access: Access,
}

impl<'l> Cluster<'l> {
    /// A new API server with nothing but nodes and a namespace.
    pub(crate) async fn start(launcher: &'l Launcher, setup: Setup, namespace: &str) -> anyhow::Result<Self> {
        let launched = launcher.start_empty().await?;
        let access = launcher.access()?;
        let nodes = Nodes::start(&access, setup).await?;
        objects::namespace(&mut access.http1().await?, namespace).await?;
        Ok(Self { launcher, nodes, launched, access })
    }

    /// Starts a part.
    pub(crate) async fn part(&mut self, part: Part) -> anyhow::Result<()> {
        self.launcher.start_part(part, &mut self.launched).await
    }

    /// Starts the proxy of the first node.
    pub(crate) fn proxy(&mut self) -> anyhow::Result<()> {
        self.launcher.start_proxy(&mut self.launched)
    }

    /// Starts the agent for policies of the first node.
    pub(crate) fn policies(&mut self) -> anyhow::Result<()> {
        self.launcher.start_policies(&mut self.launched)
    }

    /// Starts parts, and waits until they have looked at everything that there is.
    pub(crate) async fn settled(&mut self, parts: &[Part]) -> anyhow::Result<()> {
        for part in parts {
            self.part(*part).await?;
        }
        self.settle().await
    }

    /// Waits until no process does much any more.
    pub(crate) async fn settle(&self) -> anyhow::Result<()> {
        let (processes, begin) = (self.launched.processes(), Instant::now());
        let used = || processes.each().iter().map(Process::cpu).sum::<Duration>();
        while begin.elapsed() < PATIENCE {
            let before = used();
            tokio::time::sleep(LOOK).await;
            if used().saturating_sub(before).as_secs_f64() < QUIET * LOOK.as_secs_f64() {
                return Ok(());
            }
        }
        bail!("the cluster does not settle in {PATIENCE:?}")
    }

    /// The process of a part.
    pub(crate) fn process(&self, name: &str) -> anyhow::Result<Process> {
        let found = self.launched.processes().each().iter().find(|process| process.name == name).copied();
        found.with_context(|| format!("no {name} runs"))
    }

    /// Makes objects of a collection.
    pub(crate) async fn create(&self, path: &str, count: usize, object: impl Fn(usize) -> Bytes) -> anyhow::Result<()> {
        let request = |i| (Method::POST, path.to_owned(), Some((JSON, object(i))));
        load(&self.access, CONNECTIONS, 0..count, request).await?;
        Ok(())
    }

    /// Gets an object or a collection.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.access.http1().await?.call(Method::GET, path, None).await?;
        Ok(serde_json::from_slice(&answer)?)
    }

    /// Follows a collection until so many of its objects are as wanted at once, and tells when.
    pub(crate) async fn until(
        &mut self,
        path: &str,
        count: usize,
        wanted: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Instant> {
        let watch = format!("{path}?watch=true&timeoutSeconds=86400");
        let mut lines = Lines::new(self.access.http1().await?.send(Method::GET, &watch, None).await?.into_body());
        let mut are = std::collections::HashSet::new();
        let all = async {
            while are.len() < count {
                let line = lines.next().await?.with_context(|| format!("the watch of {path} has ended"))?;
                let event: Value = serde_json::from_slice(&line)?;
                let object = &event["object"];
                let name = object["metadata"]["name"].as_str().with_context(|| format!("{event}"))?;
                if event["type"] != "DELETED" && wanted(object) {
                    are.insert(name.to_owned());
                } else {
                    are.remove(name);
                }
            }
            anyhow::Ok(Instant::now())
        };
        tokio::select! {
            when = all => when,
            why = self.nodes.ended() => Err(why),
            () = tokio::time::sleep(PATIENCE) => {
                bail!("after {PATIENCE:?} only {} of {count} of {path} are as wanted", are.len())
            }
        }
    }

    /// Begins to count what it costs.
    pub(crate) fn begin(&self) -> Costs {
        let cpu = |process: &Process| (process.pid, process.cpu());
        Costs {
            begin: Instant::now(),
            cpu: self.launched.processes().each().iter().map(cpu).collect(),
            nodes: self.nodes.cpu(),
            own: own_cpu(),
        }
    }

    /// What it cost since then: CPU of each process (of those that were started since then, all of it), and of the generator; and
    /// resident memory as it is now.
    pub(crate) fn costs(&self, since: &Costs) -> Vec<report::Value> {
        let processes = self.launched.processes();
        let cpu = |process: &Process| {
            let before = since.cpu.iter().find(|(pid, _)| *pid == process.pid).map(|(_, cpu)| *cpu).unwrap_or_default();
            seconds(format!("{}'s CPU", process.name), process.cpu().saturating_sub(before))
        };
        let nodes = self.nodes.cpu().saturating_sub(since.nodes);
        let mut values: Vec<_> = processes.each().iter().map(cpu).collect();
        values.push(seconds("nodes' CPU", nodes));
        values.push(seconds("generator's CPU", own_cpu().saturating_sub(since.own).saturating_sub(nodes)));
        values.extend(processes.each().iter().map(|p| bytes(format!("{}'s memory", p.name), p.resident())));
        values
    }
}

/// What everything had cost at a time.
pub(crate) struct Costs {
    pub(crate) begin: Instant,
    cpu: Vec<(u32, Duration)>,
    nodes: Duration,
    own: Duration,
}
