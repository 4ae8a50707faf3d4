//! `kubectl logs`.

use futures::{StreamExt, stream::FuturesUnordered};
use machinery::json::Fields;
use serde_json::Value;
use std::time::Duration;

use super::Command;
use crate::{
    cli::{
        context::{Call, Context},
        failure::{Failure, Outcome},
        flags::{Flag, switch, value},
    },
    resource_builder::{Info, select},
};

/// The table row.
pub const COMMAND: Command =
    Command { name: "logs", aliases: &[], flags: &[FLAGS], sub: &[], run: super::action!(run) };

const FLAGS: &[Flag] = &[
    switch("follow").short('f'),
    switch("previous").short('p'),
    switch("timestamps"),
    switch("all-containers"),
    switch("all-pods"),
    switch("prefix"),
    switch("ignore-errors"),
    switch("insecure-skip-tls-verify-backend"),
    value("container").short('c'),
    value("tail"),
    value("since"),
    value("since-time"),
    value("limit-bytes"),
    value("selector").short('l'),
    value("max-log-requests"),
    value("pod-running-timeout"),
];

const USAGE: &str = "expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'.\nPOD or TYPE/NAME is a required argument for the logs command";

async fn run(context: Context) -> Outcome {
    let flags = &context.flags;
    let selector = flags.or("selector", "");
    let (mut target, mut container) = (None, flags.get("container").map(str::to_owned));
    match (flags.args.as_slice(), selector.is_empty()) {
        ([], true) => return Err(flags.usage(USAGE)),
        ([], false) => {}
        ([_, ..], false) => return Err(flags.usage("only a selector (-l) or a POD name is allowed")),
        ([one], true) => target = Some(one.clone()),
        ([one, inline], true) => {
            if container.is_some() {
                return Err(Failure::new("only one of -c or an inline [CONTAINER] arg is allowed"));
            }
            target = Some(one.clone());
            container = Some(inline.clone());
        }
        _ => return Err(flags.usage(USAGE)),
    }
    let all = flags.is("all-containers");
    if all && container.is_some() {
        return Err(Failure::new(format!(
            "--all-containers=true should not be specified with container name {}",
            container.unwrap_or_default()
        )));
    }
    // To the nearest second, as upstream.
    let since = flags.duration("since")?.filter(|since| !since.is_zero());
    let since = since.map(|since| (since + Duration::from_millis(500)).as_secs());
    let since_time = flags.get("since-time").filter(|time| !time.is_empty());
    if let Some(time) = since_time {
        machinery::time::parse(time).map_err(Failure::new)?;
    }
    if since.is_some() && since_time.is_some() {
        return Err(Failure::new("at most one of `sinceTime` or `sinceSeconds` may be specified"));
    }
    let limit_bytes = flags.number("limit-bytes")?.unwrap_or(0);
    if limit_bytes < 0 {
        return Err(Failure::new("--limit-bytes must be greater than 0"));
    }
    let tail = flags.number("tail")?.or(if selector.is_empty() { None } else { Some(10) });
    if tail.is_some_and(|lines| lines < -1) {
        return Err(Failure::new("--tail must be greater than or equal to -1"));
    }
    let pods = pods(&context, target.as_deref(), selector).await?;
    if pods.is_empty() {
        context.note(format_args!("No resources found in {} namespace.", context.namespace()?.0));
        return Ok(());
    }
    let mut sources = Vec::new();
    for pod in &pods {
        for name in containers(&context, pod, container.as_deref(), all)? {
            sources.push((pod.clone(), name));
        }
    }
    let limit = flags.number("max-log-requests")?.unwrap_or(5);
    if flags.is("follow") && sources.len() as i64 > limit && sources.len() > 1 {
        return Err(Failure::new(format!(
            "you are attempting to follow {} log streams, but maximum allowed concurrency is {limit}, use --max-log-requests to increase the limit",
            sources.len()
        )));
    }
    let prefix = flags.is("prefix");
    let mut calls = Vec::new();
    for (pod, name) in sources {
        let mut call = Call::get(format!("{}/log", pod.path())).query("container", name.clone());
        call.accept = "*/*";
        for flag in ["follow", "previous", "timestamps"] {
            if flags.is(flag) {
                call = call.query(flag, "true");
            }
        }
        if let Some(lines) = tail.filter(|lines| *lines >= 0) {
            call = call.query("tailLines", lines.to_string());
        }
        if let Some(since) = since {
            call = call.query("sinceSeconds", since.to_string());
        }
        if let Some(time) = since_time {
            call = call.query("sinceTime", time);
        }
        if limit_bytes > 0 {
            call = call.query("limitBytes", limit_bytes.to_string());
        }
        if flags.is("insecure-skip-tls-verify-backend") {
            call = call.query("insecureSkipTLSVerifyBackend", "true");
        }
        calls.push((call, if prefix { format!("[pod/{}/{name}] ", pod.name) } else { String::new() }));
    }
    let ignore = flags.is("ignore-errors");
    if !flags.is("follow") || calls.len() == 1 {
        for (call, prefix) in calls {
            match copy(&context, call, &prefix).await {
                Err(failure) if ignore => context.note(format_args!("error: {}", failure.bare())),
                outcome => outcome?,
            }
        }
        return Ok(());
    }
    let context = &context;
    let copies = calls.into_iter().map(async |(call, prefix)| copy(context, call, &prefix).await);
    let mut copies: FuturesUnordered<_> = copies.collect();
    while let Some(done) = copies.next().await {
        match done {
            Err(failure) if ignore => context.note(format_args!("error: {}", failure.bare())),
            outcome => outcome?,
        }
    }
    Ok(())
}

/// The pods meant: one by name, those of a workload, those a selector picks.
pub async fn pods(context: &Context, target: Option<&str>, selector: &str) -> Outcome<Vec<Info>> {
    let mapper = context.mapper().await?;
    let resource = mapper.require("pods")?;
    let namespace = context.namespace()?.0;
    let list = async |selector: &str| -> Outcome<Vec<Info>> {
        let call = Call::get(resource.path(&namespace, None)).query_if("labelSelector", selector);
        Ok(select::of_list(&resource, context.json(call).await?))
    };
    let Some(target) = target else { return list(selector).await };
    let word = if target.contains('/') { target.to_owned() } else { format!("pods/{target}") };
    let (infos, failures) = select::infos(context, &[word]).await?;
    if let Some(failure) = failures.into_iter().next() {
        if failure.is_not_found() {
            return Err(Failure::new(format!(
                "error from server (NotFound): {} in namespace {namespace:?}",
                failure.bare()
            )));
        }
        return Err(failure);
    }
    let Some(info) = infos.into_iter().next() else { return Ok(Vec::new()) };
    if info.resource.kind == "Pod" {
        return Ok(vec![info]);
    }
    let text = selector_of(&info.object).ok_or_else(|| {
        let ty = format!("*{}.{}", info.resource.version, info.resource.kind);
        Failure::new(format!("cannot get the logs from {ty}: selector for {ty} not implemented"))
    })?;
    let mut found = list(&text).await?;
    // The most useful one: running before waiting, the younger first.
    found.sort_by_key(|pod| {
        let running = pod.object["status"]["phase"] == "Running";
        (!running, std::cmp::Reverse(pod.object["metadata"].text("creationTimestamp").to_owned()))
    });
    if found.is_empty() {
        return Err(Failure::new("timed out waiting for the condition"));
    }
    if found.len() > 1 && !context.flags.is("all-pods") {
        context.note(format_args!("Found {} pods, using pod/{}", found.len(), found[0].name));
        found.truncate(1);
    }
    Ok(found)
}

/// A workload's or Service's selector as text: its labels, and its expressions.
pub fn selector_of(object: &Value) -> Option<String> {
    let selector = object["spec"]["selector"].as_object()?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let plain = Some(selector).filter(|map| map.values().all(Value::is_string));
    let labels = selector.get("matchLabels").and_then(Value::as_object).or(plain);
    let labels = labels.into_iter().flatten().map(|(key, value)| format!("{key}={}", text(value)));
    let expressions = selector.get("matchExpressions").and_then(Value::as_array);
    let expressions = expressions.into_iter().flatten().map(|expression| {
        let values: Vec<String> = expression["values"].as_array().into_iter().flatten().map(text).collect();
        let (key, values) = (text(&expression["key"]), values.join(","));
        match text(&expression["operator"]).as_str() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key,
        }
    });
    Some(labels.chain(expressions).collect::<Vec<_>>().join(","))
}

/// All container names of a pod: init, regular, ephemeral.
pub fn container_names(pod: &Value, fields: &[&str]) -> Vec<String> {
    fields
        .iter()
        .flat_map(|field| pod["spec"][*field].as_array().into_iter().flatten())
        .filter_map(|container| container["name"].as_str().map(str::to_owned))
        .collect()
}

/// All containers of a pod as messages list them: `web, helper, prepare (init)`.
fn out_of(pod: &Value) -> String {
    let sorts = [("containers", ""), ("ephemeralContainers", " (ephem)"), ("initContainers", " (init)")];
    let names = sorts
        .iter()
        .flat_map(|(field, sort)| container_names(pod, &[field]).into_iter().map(move |name| format!("{name}{sort}")));
    names.collect::<Vec<_>>().join(", ")
}

fn containers(context: &Context, pod: &Info, wanted: Option<&str>, all: bool) -> Outcome<Vec<String>> {
    let every = container_names(&pod.object, &["initContainers", "containers", "ephemeralContainers"]);
    if all {
        return Ok(every);
    }
    if let Some(wanted) = wanted {
        if every.iter().any(|name| name == wanted) {
            return Ok(vec![wanted.to_owned()]);
        }
        let all = out_of(&pod.object);
        return Err(Failure::new(format!("container {wanted} is not valid for pod {} out of: {all}", pod.name)));
    }
    Ok(vec![default_container(&pod.object, &pod.name, Some(context))?])
}

/// The container meant when none is named; where it is to be said (in the context), it is said when there were others.
pub fn default_container(pod: &Value, name: &str, say: Option<&Context>) -> Outcome<String> {
    let regular = container_names(pod, &["containers"]);
    let annotated = pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"].as_str();
    if let Some(annotated) = annotated.filter(|wanted| regular.iter().any(|name| name == wanted)) {
        return Ok(annotated.to_owned());
    }
    let first = regular.first().cloned().ok_or_else(|| Failure::new(format!("no container found in pod {name}")))?;
    let others = container_names(pod, &["initContainers", "ephemeralContainers"]);
    if let Some(context) = say.filter(|_| regular.len() + others.len() > 1) {
        context.note(format_args!("Defaulted container {first:?} out of: {}", out_of(pod)));
    }
    Ok(first)
}

async fn copy(context: &Context, call: Call, prefix: &str) -> Outcome {
    let mut lines = context.watch(call).await?;
    let mut at_start = true;
    while let Some(chunk) = lines.chunk().await? {
        if prefix.is_empty() {
            context.streams.write(&chunk)?;
            continue;
        }
        let mut out = Vec::with_capacity(chunk.len());
        for line in chunk.split_inclusive(|byte| *byte == b'\n') {
            if at_start {
                out.extend_from_slice(prefix.as_bytes());
            }
            out.extend_from_slice(line);
            at_start = line.ends_with(b"\n");
        }
        context.streams.write(&out)?;
    }
    Ok(())
}
