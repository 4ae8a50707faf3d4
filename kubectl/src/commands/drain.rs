//! `kubectl cordon`, `uncordon` and `drain`. Follows `kubectl/pkg/cmd/drain` and `kubectl/pkg/drain`.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::Command;
use crate::{
    cli::{
        context::{Call, Context, print},
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
        return Err(flags.usage("error: cannot specify both a node name and a --selector option"));
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
                eprintln!("error: unable to {name} node {:?}: {}", node.name, failure.bare());
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
    let mut failures = Vec::new();
    let mut pending = Vec::new();
    for node in &nodes {
        match empty(&context, node).await {
            Ok(()) => done(&context, &Format::Human { wide: false }, node, &node.object, "drained")?,
            Err(failure) => {
                let why = failure.bare();
                eprintln!("error: unable to drain node {:?} due to error: {why}, continuing command...", node.name);
                pending.push(node.name.as_str());
                failures.push(failure);
            }
        }
    }
    if !pending.is_empty() {
        eprintln!("There are pending nodes to be drained:\n {}", pending.join("\n "));
    }
    Failure::all(failures)
}

/// The pods of a node that have to go; warnings are said, and what forbids the drain is an error.
async fn leaving(context: &Context, node: &Info) -> Outcome<Vec<Info>> {
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
                let path = format!(
                    "/apis/apps/v1/namespaces/{}/daemonsets/{}",
                    pod.namespace,
                    owner["name"].as_str().unwrap_or_default()
                );
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
        let errors: Vec<String> = errors.collect();
        let text = if errors.len() == 1 { errors.concat() } else { format!("[{}]", errors.join(", ")) };
        return Err(Failure::new(text));
    }
    if !warnings.is_empty() {
        let all: Vec<String> = warnings.iter().map(|(text, pods)| format!("{text}: {}", pods.join(", "))).collect();
        eprintln!("Warning: {}", all.join("; "));
    }
    Ok(go)
}

async fn empty(context: &Context, node: &Info) -> Outcome {
    let flags = &context.flags;
    let pods = leaving(context, node).await?;
    let dry = dry_run(context)?;
    let suffix = match dry {
        DryRun::No => "",
        DryRun::Client => " (dry run)",
        DryRun::Server => " (server dry run)",
    };
    let seconds = flags.number("grace-period")?.unwrap_or(-1);
    let options = if seconds >= 0 { json!({"gracePeriodSeconds": seconds}) } else { json!({}) };
    let timeout = flags.duration("timeout")?.filter(|t| !t.is_zero()).unwrap_or(Duration::from_secs(10 * 365 * 86_400));
    let deadline = tokio::time::Instant::now() + timeout;
    let mut waiting = Vec::new();
    for pod in pods {
        let verb = if flags.is("disable-eviction") { "deleting" } else { "evicting" };
        print(&format!("{verb} pod {}/{}{suffix}\n", pod.namespace, pod.name))?;
        if dry != DryRun::Client {
            tokio::time::timeout_at(deadline, send(context, &pod, &options, dry))
                .await
                .map_err(|_| late(&pod, timeout))??;
        }
        let uid = pod.object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        waiting.push((pod, uid));
    }
    if dry != DryRun::No {
        return Ok(());
    }
    for (pod, uid) in waiting {
        let gone = super::delete::wait_gone(context, vec![(pod.clone(), uid)], deadline - tokio::time::Instant::now());
        gone.await.map_err(|_| late(&pod, timeout))?;
        let verb = if flags.is("disable-eviction") { "deleted" } else { "evicted" };
        print(&format!("pod/{} {verb}\n", pod.name))?;
    }
    Ok(())
}

fn late(pod: &Info, timeout: Duration) -> Failure {
    Failure::new(format!(
        "error when evicting pods/{:?} -n {:?}: global timeout reached: {}s",
        pod.name,
        pod.namespace,
        timeout.as_secs()
    ))
}

/// Evicts or deletes; an eviction that a budget holds back is tried again.
async fn send(context: &Context, pod: &Info, options: &Value, dry: DryRun) -> Outcome {
    let flags = &context.flags;
    let by_delete = flags.is("disable-eviction");
    let body = json!({
        "apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": pod.name, "namespace": pod.namespace}, "deleteOptions": options,
    });
    loop {
        let mut call = match by_delete {
            true => Call::send(Method::DELETE, pod.path(), options),
            false => Call::send(Method::POST, format!("{}/eviction", pod.path()), &body),
        };
        if dry == DryRun::Server {
            call = call.query("dryRun", "All");
        }
        match context.json(call).await {
            Ok(_) => return Ok(()),
            Err(failure) if failure.is_not_found() => return Ok(()),
            Err(failure) if failure.is("TooManyRequests") => {
                eprintln!(
                    "error when evicting pods/{:?} -n {:?} (will retry after 5s): {}",
                    pod.name,
                    pod.namespace,
                    failure.bare()
                );
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
            Err(failure) => {
                let message =
                    format!("error when evicting pods/{:?} -n {:?}: {}", pod.name, pod.namespace, failure.bare());
                return Err(Failure::new(message));
            }
        }
    }
}
