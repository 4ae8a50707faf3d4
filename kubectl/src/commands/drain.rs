//! `kubectl cordon`, `uncordon` and `drain`. Follows `kubectl/pkg/cmd/drain` and `kubectl/pkg/drain`.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt, stream::FuturesUnordered};
use http::Method;
use machinery::json::Fields;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Command;
use crate::{
    cli::{
        context::{Call, Context},
        failure::{Failure, Outcome},
        flags::{Flag, optional, switch, value},
    },
    printers::{DryRun, Format, done, dry_run},
    resource_builder::{Info, select},
};

mod filters;
use filters::{Verdict, verdict};

const COMMON: &[Flag] = &[value("selector").short('l'), optional("dry-run", "unchanged"), value("chunk-size")];
const DRAIN: &[Flag] = &[
    switch("force"),
    switch("ignore-daemonsets"),
    switch("delete-emptydir-data"),
    switch("disable-eviction"),
    value("grace-period"),
    value("timeout"),
    value("pod-selector"),
    value("skip-wait-for-delete-timeout"),
];

/// Between two tries to evict a pod that a budget holds back.
const RETRY: Duration = Duration::from_secs(5);
/// As long as no limit is told.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The table row.
pub const CORDON: Command =
    Command { name: "cordon", aliases: &[], flags: &[COMMON], sub: &[], run: super::action!(cordon) };

/// The table row.
pub const UNCORDON: Command =
    Command { name: "uncordon", aliases: &[], flags: &[COMMON], sub: &[], run: super::action!(uncordon) };

/// The table row.
pub const COMMAND: Command =
    Command { name: "drain", aliases: &[], flags: &[COMMON, DRAIN], sub: &[], run: super::action!(drain) };

async fn cordon(context: Context) -> Outcome {
    let nodes = nodes(&context, "cordon").await?;
    mark(&context, &nodes, true).await
}

async fn uncordon(context: Context) -> Outcome {
    let nodes = nodes(&context, "uncordon").await?;
    mark(&context, &nodes, false).await
}

/// The nodes meant.
async fn nodes(context: &Context, name: &str) -> Outcome<Vec<Info>> {
    let flags = &context.flags;
    if flags.args.is_empty() && !flags.given("selector") {
        return Err(flags.usage(&format!("USAGE: {name} NODE [flags]")));
    }
    if !flags.args.is_empty() && flags.given("selector") {
        return Err(flags.usage("cannot specify both a node name and a --selector option"));
    }
    let named = |arg: &String| if arg.contains('/') { arg.clone() } else { format!("nodes/{arg}") };
    let mut words: Vec<String> = flags.args.iter().map(named).collect();
    if words.is_empty() {
        words.push("nodes".into());
    }
    let (infos, failures) = select::infos(context, &words).await?;
    Failure::all(failures)?;
    match infos.iter().find(|info| info.resource.kind != "Node") {
        Some(other) => {
            Err(Failure::new(format!("expected resource of type node, got {:?}", other.resource.plural_group())))
        }
        None => Ok(infos),
    }
}

/// Marks nodes as (un)schedulable.
async fn mark(context: &Context, nodes: &[Info], off: bool) -> Outcome {
    let (format, dry) = (Format::Human { wide: false }, dry_run(context)?);
    let name = if off { "cordon" } else { "uncordon" };
    for node in nodes {
        let already = node.object["spec"]["unschedulable"].as_bool().unwrap_or_default() == off;
        if !already && dry != DryRun::Client {
            let value = if off { Value::Bool(true) } else { Value::Null };
            let body = json!({"spec": {"unschedulable": value}});
            let mut call = Call::patch(node.path(), "application/strategic-merge-patch+json", &body);
            if dry == DryRun::Server {
                call = call.query("dryRun", "All");
            }
            if let Err(failure) = context.json(call).await {
                context.note(format_args!("error: unable to {name} node {:?}: {}", node.name, failure.bare()));
                continue;
            }
        }
        let what = format!("{}{name}ed", if already { "already " } else { "" });
        done(context, &format, node, &node.object, &what)?;
    }
    Ok(())
}

async fn drain(context: Context) -> Outcome {
    let nodes = nodes(&context, "drain").await?;
    mark(&context, &nodes, true).await?;
    let (mut failures, mut pending) = (Vec::new(), Vec::new());
    for node in &nodes {
        match empty(&context, node).await {
            Ok(()) => done(&context, &Format::Human { wide: false }, node, &node.object, "drained")?,
            Err(failure) => {
                let why = failure.bare();
                context.note(format_args!(
                    "error: unable to drain node {:?} due to error: {why}, continuing command...",
                    node.name
                ));
                pending.push(node.name.as_str());
                failures.push(failure);
            }
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    context.note(format_args!("There are pending nodes to be drained:\n {}", pending.join("\n ")));
    Err(Failure::Many(failures))
}

/// The pods of a node that have to go, and what there is to warn of; what forbids the drain is an error.
async fn leaving(context: &Context, node: &Info) -> Outcome<(Vec<Info>, String)> {
    let flags = &context.flags;
    let pods = context.mapper().await?.require("pods")?;
    let call = Call::get(pods.path("", None))
        .query("fieldSelector", format!("spec.nodeName={}", node.name))
        .query_if("labelSelector", flags.or("pod-selector", ""));
    let mut go = Vec::new();
    let (mut warnings, mut errors) = (BTreeMap::<String, Vec<String>>::new(), BTreeMap::<String, Vec<String>>::new());
    for pod in select::of_list(&pods, context.json(call).await?) {
        let named = format!("{}/{}", pod.namespace, pod.name);
        let owner = filters::controller(&pod.object).filter(|o| o["kind"] == "DaemonSet");
        let owner_gone = match owner {
            Some(owner) => {
                let path = format!("/apis/apps/v1/namespaces/{}/daemonsets/{}", pod.namespace, owner.text("name"));
                context.json(Call::get(path)).await.err()
            }
            None => None,
        };
        let owner_gone = owner_gone.map(|failure| (failure.is_not_found(), failure.bare()));
        let given = |flag: &str| flags.is(flag);
        match verdict(&pod.object, owner_gone, flags.number("skip-wait-for-delete-timeout")?.unwrap_or(0), &given) {
            Verdict::Delete(None) => go.push(pod),
            Verdict::Delete(Some(warning)) => {
                warnings.entry(warning).or_default().push(named);
                go.push(pod);
            }
            Verdict::Leave(Some(warning)) => warnings.entry(warning).or_default().push(named),
            Verdict::Leave(None) => {}
            Verdict::Refuse(why) => errors.entry(why).or_default().push(named),
        }
    }
    if !errors.is_empty() {
        let errors = errors.iter().map(|(why, pods)| format!("cannot delete {why}: {}", pods.join(", ")));
        return Failure::all(errors.map(Failure::new).collect()).map(|()| (go, String::new()));
    }
    let warnings: Vec<String> = warnings.iter().map(|(text, pods)| format!("{text}: {}", pods.join(", "))).collect();
    Ok((go, warnings.join("; ")))
}

async fn empty(context: &Context, node: &Info) -> Outcome {
    let flags = &context.flags;
    let (pods, warnings) = leaving(context, node).await?;
    if !warnings.is_empty() {
        context.note(format_args!("Warning: {warnings}"));
    }
    let dry = dry_run(context)?;
    if dry == DryRun::Client {
        let each = |pod: &Info| format!("evicting pod {}/{} (dry run)\n", pod.namespace, pod.name);
        return context.print(&pods.iter().map(each).collect::<String>());
    }
    let seconds = flags.number("grace-period")?.unwrap_or(-1);
    let leave = Leave {
        context,
        options: if seconds >= 0 { json!({"gracePeriodSeconds": seconds}) } else { json!({}) },
        dry,
        limit: flags.duration("timeout")?.filter(|limit| !limit.is_zero()).unwrap_or(FOREVER),
        begun: Instant::now(),
    };
    let left = if flags.is("disable-eviction") { leave.delete(pods).await } else { leave.evict(pods).await };
    if let Err(failure) = &left {
        // What fails now must not hide what failed first.
        let pending = leaving(context, node).await.map(|(pods, _)| pods).unwrap_or_default();
        if !pending.is_empty() {
            let names: String = pending.iter().map(|pod| format!("\npod/{}", pod.name)).collect();
            let why = failure.bare();
            let node = &node.name;
            context.note(format_args!("There are pending pods in node {node:?} when an error occurred: {why}{names}"));
        }
    }
    left
}

/// How pods leave a node.
struct Leave<'a> {
    context: &'a Context,
    /// DeleteOptions.
    options: Value,
    dry: DryRun,
    /// How long all of them may take.
    limit: Duration,
    begun: Instant,
}

impl Leave<'_> {
    /// All are told first; then they are waited for.
    async fn delete(&self, pods: Vec<Info>) -> Outcome {
        for pod in &pods {
            match self.send(Call::send(Method::DELETE, pod.path(), &self.options)).await {
                Err(failure) if !failure.is_not_found() => return Err(failure),
                _ => {}
            }
        }
        if self.dry != DryRun::No {
            return Ok(());
        }
        for pod in pods {
            self.gone(&pod, "deleted").await?;
        }
        Ok(())
    }

    /// Side by side: a pod that a budget holds back does not keep the others.
    async fn evict(&self, pods: Vec<Info>) -> Outcome {
        let mut evictions: FuturesUnordered<_> = pods.into_iter().map(|pod| self.evict_one(pod)).collect();
        let mut failures = Vec::new();
        while let Some(outcome) = evictions.next().await {
            failures.extend(outcome.err());
        }
        Failure::all(failures)
    }

    async fn evict_one(&self, mut pod: Info) -> Outcome {
        let (name, namespace) = (pod.name.clone(), pod.namespace.clone());
        let body = json!({
            "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace}, "deleteOptions": self.options,
        });
        let suffix = if self.dry == DryRun::Server { " (server dry run)" } else { "" };
        loop {
            self.context.print(&format!("evicting pod {namespace}/{name}{suffix}\n"))?;
            if self.left().is_zero() {
                let limit = machinery::duration::text(i64::try_from(self.limit.as_nanos()).unwrap_or(i64::MAX));
                return Err(Failure::new(format!(
                    "error when evicting pods/{name:?} -n {namespace:?}: global timeout reached: {limit}"
                )));
            }
            let call = Call::send(Method::POST, format!("{}/eviction", pod.path()), &body);
            let Err(failure) = self.send(call).await else { break };
            let why = failure.bare();
            if failure.is_not_found() {
                return Ok(());
            } else if failure.is("TooManyRequests") {
                self.context.note(format_args!(
                    "error when evicting pods/{name:?} -n {namespace:?} (will retry after 5s): {why}"
                ));
            } else if !failure.has_cause("NamespaceTerminating") {
                return Err(Failure::new(format!("error when evicting pods/{name:?} -n {namespace:?}: {why}")));
            } else if !pod.object["metadata"]["deletionTimestamp"].is_null() {
                // It goes with its namespace.
                break;
            } else {
                self.context.note(format_args!(
                    "error when evicting pod {name:?} from terminating namespace {namespace:?} (will retry after 5s): {why}"
                ));
            }
            tokio::time::sleep(RETRY).await;
            if let Ok(object) = pod.read(self.context).await {
                pod.object = object;
            }
        }
        if self.dry != DryRun::No {
            return Ok(());
        }
        self.gone(&pod, "evicted").await.map_err(|failure| {
            let why = failure.bare();
            Failure::new(format!("error when waiting for pod {name:?} in namespace {namespace:?} to terminate: {why}"))
        })
    }

    async fn send(&self, call: Call) -> Outcome<Value> {
        self.context.json(if self.dry == DryRun::Server { call.query("dryRun", "All") } else { call }).await
    }

    fn left(&self) -> Duration {
        self.limit.saturating_sub(self.begun.elapsed())
    }

    /// Waits for the pod's end, and says so.
    async fn gone(&self, pod: &Info, verb: &str) -> Outcome {
        let uid = pod.object["metadata"].text("uid").to_owned();
        let gone = super::delete::wait_gone(self.context, vec![(pod.clone(), uid)], FOREVER);
        match tokio::time::timeout(self.left(), gone).await {
            Ok(outcome) => outcome?,
            Err(_) => return Err(Failure::new("context deadline exceeded")),
        }
        self.context.print(&format!("pod/{} {verb}\n", pod.name))
    }
}
