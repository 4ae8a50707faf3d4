//! `kubectl delete`.

use std::time::Duration;

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
    printers::{DryRun, dry_run},
    resource_builder::{
        Info, files,
        select::{self, Selection},
    },
};

/// The table row.
pub const COMMAND: Command =
    Command { name: "delete", aliases: &[], flags: &[FLAGS, files::FLAGS], sub: &[], run: super::action!(run) };

const FLAGS: &[Flag] = &[
    switch("all"),
    switch("all-namespaces").short('A'),
    value("selector").short('l'),
    value("field-selector"),
    optional("cascade", "background"),
    switch("force"),
    value("grace-period"),
    switch("ignore-not-found"),
    switch("now"),
    value("timeout"),
    switch("wait"),
    value("output").short('o'),
    optional("dry-run", "unchanged"),
    switch("interactive").short('i'),
];

/// Neither an argument nor a file.
pub(super) const NOTHING_NAMED: &str = "You must provide one or more resources by argument or filename.\nExample resource specifications include:\n   '-f rsrc.yaml'\n   '--filename=rsrc.json'\n   '<resource> <name>'\n   '<resource>'";

async fn run(context: Context) -> Outcome {
    let flags = &context.flags;
    if flags.args.is_empty() && !files::given(&context) {
        return Err(Failure::new(NOTHING_NAMED));
    }
    let output = flags.or("output", "");
    if !matches!(output, "" | "name") {
        return Err(Failure::new(format!("unexpected -o output mode: {output}. We only support '-o name'")));
    }
    if flags.is("all") && (flags.given("selector") || flags.given("field-selector")) {
        return Err(Failure::new("setting 'all' parameter but found a non empty selector. "));
    }
    let mut grace = flags.number("grace-period")?.unwrap_or(-1);
    let force = flags.is("force");
    if flags.is("now") {
        if grace != -1 {
            return Err(Failure::new("--now and --grace-period cannot be specified together"));
        }
        grace = 1;
    }
    if grace == 0 && !force {
        // Only --force skips the wait for the kubelet.
        grace = 1;
    } else if force && grace < 0 {
        grace = 0;
    }
    if force && grace > 0 {
        return Err(Failure::new("--force and --grace-period greater than 0 cannot be specified together"));
    }
    if force && grace == 0 {
        context.note(format_args!(
            "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. The resource may continue to run on the cluster indefinitely."
        ));
    }
    let policy = match flags.or("cascade", "background") {
        "background" | "true" => "Background",
        "foreground" => "Foreground",
        "orphan" | "false" => "Orphan",
        other => {
            return Err(Failure::new(format!(
                "invalid cascade value ({other}). Must be \"background\", \"foreground\", or \"orphan\""
            )));
        }
    };
    let (infos, mut failures) = targets(&context).await?;
    if flags.is("interactive") && !infos.is_empty() && !confirmed(&context, &infos)? {
        return context.print("deletion is cancelled\n");
    }
    let mut options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy});
    if grace >= 0 {
        options["gracePeriodSeconds"] = grace.into();
    }
    let dry = dry_run(&context)?;
    let ignore_missing = flags.is_or("ignore-not-found", select::picked(&context));
    let found = infos.len();
    let mut waiting: Vec<(Info, String)> = Vec::new();
    for info in infos {
        if dry == DryRun::Client {
            say(&context, &info, grace, dry)?;
            continue;
        }
        let mut call = Call::send(Method::DELETE, info.path(), &options);
        if dry == DryRun::Server {
            call = call.query("dryRun", "All");
        }
        match context.json(call).await {
            Ok(answer) => {
                say(&context, &info, grace, dry)?;
                let uid = answer["details"]["uid"].as_str().or(answer["metadata"]["uid"].as_str()).unwrap_or_default();
                waiting.push((info, uid.to_owned()));
            }
            Err(failure) if failure.is_not_found() && ignore_missing => {}
            Err(failure) => failures.push(failure.at_source("deleting", &info.source)),
        }
    }
    Failure::all(failures)?;
    if found == 0 {
        return context.print("No resources found\n");
    }
    if dry == DryRun::No && flags.is_or("wait", !force) {
        let timeout = flags.duration("timeout")?.filter(|t| !t.is_zero()).unwrap_or(Duration::from_secs(7 * 86400));
        wait_gone(&context, waiting, timeout).await?;
    }
    Ok(())
}

async fn targets(context: &Context) -> Outcome<(Vec<Info>, Vec<Failure>)> {
    let (mut infos, mut failures) = (Vec::new(), Vec::new());
    if files::given(context) {
        for info in files::infos(context).await? {
            match info {
                Ok(info) => infos.push(info),
                Err(failure) => failures.push(failure),
            }
        }
        return Ok((infos, failures));
    }
    for selection in select::selections(context, &context.flags.args).await? {
        match selection {
            Selection::One(resource, name) => {
                let namespace = select::namespace_for(context, &resource)?;
                infos.push(Info { resource, namespace, name, object: Value::Null, source: String::new() });
            }
            Selection::All(resource) => {
                if !select::picked(context) {
                    return Err(Failure::new("resource(s) were provided, but no name was specified"));
                }
                if !resource.lists() {
                    continue;
                }
                infos.extend(select::list(context, &resource).await?);
            }
        }
    }
    Ok((infos, failures))
}

/// Says that an object was deleted.
pub(super) fn say(context: &Context, info: &Info, grace: i64, dry: DryRun) -> Outcome {
    if context.flags.or("output", "") == "name" {
        return context.print(&format!("{}\n", info.display()));
    }
    let mut operation = if grace == 0 { "force deleted" } else { "deleted" }.to_owned();
    if info.resource.namespaced {
        operation = format!("{operation} from {} namespace", info.namespace);
    }
    match dry {
        DryRun::No => {}
        DryRun::Client => operation.push_str(" (dry run)"),
        DryRun::Server => operation.push_str(" (server dry run)"),
    }
    context.print(&format!("{} {:?} {operation}\n", info.resource.kind_group(), info.name))
}

fn confirmed(context: &Context, infos: &[Info]) -> Outcome<bool> {
    context.print(&format!("You are about to delete the following {} resource(s):\n", infos.len()))?;
    for info in infos {
        context.print(&format!("{}\n", info.display()))?;
    }
    context.print("Do you want to continue? (y/N): ")?;
    let answer = context.streams.read_line()?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}

/// Waits until the objects (those with these uids, where known) are gone.
pub async fn wait_gone(context: &Context, waiting: Vec<(Info, String)>, timeout: Duration) -> Outcome {
    let deadline = Instant::now() + timeout;
    for (info, uid) in waiting {
        let late =
            || Failure::new(format!("timed out waiting for the condition on {}/{}", info.resource.plural, info.name));
        loop {
            let object = match info.read(context).await {
                Err(failure) if failure.is_not_found() => break,
                // Who may not look cannot wait.
                Err(failure) if failure.is("Forbidden") || failure.is("MethodNotAllowed") => break,
                Err(failure) => return Err(failure),
                Ok(object) => object,
            };
            if !uid.is_empty() && object["metadata"]["uid"] != uid.as_str() {
                break;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(late());
            }
            let version = object["metadata"].text("resourceVersion").to_owned();
            let call = Call::get(info.collection())
                .query("fieldSelector", format!("metadata.name={}", info.name))
                .query("watch", "true")
                .query("resourceVersion", version);
            let until_deleted = async {
                let mut events = context.watch(call).await?;
                while let Some(event) = events.next().await? {
                    if event["type"] == "DELETED" || event["type"] == "ERROR" {
                        break;
                    }
                }
                Ok::<(), Failure>(())
            };
            match tokio::time::timeout(left, until_deleted).await {
                Ok(outcome) => outcome?,
                Err(_) => return Err(late()),
            }
        }
    }
    Ok(())
}
