//! `kubectl rollout status|history|undo|restart|pause|resume`.

use std::time::Duration;

use machinery::json::Fields;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{Command, apply::ANNOTATION, describe::template_lines, logs::selector_of};
use crate::{
    cli::{
        context::{Call, Context},
        failure::{Failure, Outcome},
        flags::{Flag, optional, switch, value},
    },
    printers::{self, DryRun, Format, done, dry_run},
    resource_builder::{Info, files, select},
};

mod progress;

use progress::progress;

const COMMON: &[Flag] = &[value("selector").short('l'), value("field-manager"), optional("dry-run", "unchanged")];
const STATUS: &[Flag] = &[switch("watch").short('w'), value("timeout"), value("revision")];
const REVISION: &[Flag] = &[value("revision"), value("to-revision")];

const fn sub(name: &'static str, flags: &'static [&'static [Flag]], run: super::Run) -> Command {
    Command { name, aliases: &[], flags, sub: &[], run }
}

/// The table row.
pub const COMMAND: Command = Command {
    name: "rollout",
    aliases: &[],
    flags: &[],
    sub: &[
        sub("status", &[COMMON, STATUS, files::FLAGS], super::action!(status)),
        sub("history", &[COMMON, REVISION, printers::FLAGS, files::FLAGS], super::action!(history)),
        sub("undo", &[COMMON, REVISION, printers::FLAGS, files::FLAGS], super::action!(undo)),
        sub("restart", &[COMMON, printers::FLAGS, files::FLAGS], super::action!(restart)),
        sub("pause", &[COMMON, printers::FLAGS, files::FLAGS], super::action!(pause)),
        sub("resume", &[COMMON, printers::FLAGS, files::FLAGS], super::action!(resume)),
    ],
    run: super::action!(which),
};

async fn which(context: Context) -> Outcome {
    Err(context.flags.usage(&match context.flags.args.as_slice() {
        [] => "must be one of status, history, undo, restart, pause, resume".to_owned(),
        words => format!("unknown command {:?}", words.join(" ")),
    }))
}

async fn targets(context: &Context) -> Outcome<(Vec<Info>, Vec<Failure>)> {
    if context.flags.args.is_empty() && !files::given(context) {
        return Err(Failure::new("required resource not specified"));
    }
    let (mut infos, mut failures) = select::infos(context, &context.flags.args).await?;
    for info in &mut infos {
        if info.object["metadata"]["uid"].is_null() {
            match info.read(context).await {
                Ok(object) => info.object = object,
                Err(failure) => failures.push(failure),
            }
        }
    }
    if infos.is_empty() && failures.is_empty() {
        context.note(format_args!("No resources found in {} namespace.", context.namespace()?.0));
    }
    Ok((infos, failures))
}

async fn status(context: Context) -> Outcome {
    let flags = &context.flags;
    let (infos, failures) = targets(&context).await?;
    Failure::all(failures)?;
    let revision = flags.number("revision")?.unwrap_or(0);
    if revision < 0 {
        return Err(Failure::new(format!("revision must be a positive integer: {revision}")));
    }
    let timeout =
        flags.duration("timeout")?.filter(|timeout| !timeout.is_zero()).unwrap_or(Duration::from_secs(7 * 86400));
    let deadline = Instant::now() + timeout;
    let mut failures = Vec::new();
    for info in infos {
        failures.extend(follow(&context, &info, revision, deadline).await.err());
    }
    Failure::all(failures)
}

/// Says how far a rollout is, again whenever that changes, until it is over or nobody wants to wait.
async fn follow(context: &Context, info: &Info, revision: i64, deadline: Instant) -> Outcome {
    let mut said = String::new();
    let mut say = |object: &Value| -> Outcome<bool> {
        let (text, over) = progress(object, revision)?;
        if text != said {
            context.print(&text)?;
            said = text;
        }
        Ok(over)
    };
    loop {
        let object = info.read(context).await?;
        if say(&object)? || !context.flags.is_or("watch", true) {
            return Ok(());
        }
        let call = Call::get(info.collection())
            .query("fieldSelector", format!("metadata.name={}", info.name))
            .query("watch", "true")
            .query("resourceVersion", object["metadata"].text("resourceVersion"));
        let mut events = context.watch(call).await?;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let event = tokio::time::timeout(left, events.next())
                .await
                .map_err(|_| Failure::new("timed out waiting for the condition"))??;
            let Some(event) = event else { break };
            match event.text("type") {
                "DELETED" => return Err(Failure::new("object has been deleted")),
                "ERROR" => break,
                _ if say(&event["object"])? => return Ok(()),
                _ => {}
            }
        }
    }
}

/// The revisions of a workload, oldest first: number, cause, pod template, and annotations of what holds it.
/// `what` is what a kind without revisions has none of.
async fn revisions(context: &Context, info: &Info, what: &str) -> Outcome<Vec<(i64, String, Value, Value)>> {
    let is_deployment = info.resource.kind == "Deployment";
    let kind = match info.resource.kind.as_str() {
        "Deployment" => "replicasets",
        "DaemonSet" | "StatefulSet" => "controllerrevisions",
        kind => {
            let group = &info.resource.group;
            return Err(Failure::new(format!(
                "error retrieving {what} for {:?}, no visitor method exists for {{{group} {kind}}}",
                machinery::gvk::GroupKind::new(group, kind).to_string()
            )));
        }
    };
    let selector = selector_of(&info.object).unwrap_or_default();
    let call =
        Call::get(format!("/apis/apps/v1/namespaces/{}/{kind}", info.namespace)).query_if("labelSelector", &selector);
    let list = context.json(call).await?;
    let uid = &info.object["metadata"]["uid"];
    let mut all: Vec<_> = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|item| {
            item["metadata"]["ownerReferences"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|owner| owner["controller"] == true && owner["uid"] == *uid)
        })
        .map(|item| {
            let annotations = item["metadata"]["annotations"].clone();
            let cause = annotations["kubernetes.io/change-cause"].as_str().filter(|cause| !cause.is_empty());
            let cause = cause.unwrap_or("<none>").to_owned();
            if is_deployment {
                let number =
                    annotations["deployment.kubernetes.io/revision"].as_str().and_then(|n| n.parse().ok()).unwrap_or(0);
                (number, cause, item["spec"]["template"].clone(), annotations)
            } else {
                let number = item["revision"].as_i64().unwrap_or(0);
                (number, cause, item["data"]["spec"]["template"].clone(), annotations)
            }
        })
        .collect();
    all.sort_by_key(|(number, ..)| *number);
    Ok(all)
}

fn header(info: &Info) -> String {
    format!("{}/{} ", info.resource.kind_group(), info.name)
}

async fn history(context: Context) -> Outcome {
    let wanted = context.flags.number("revision")?.unwrap_or(0);
    if wanted < 0 {
        return Err(Failure::new(format!("revision must be a positive integer: {wanted}")));
    }
    let (infos, failures) = targets(&context).await?;
    Failure::all(failures)?;
    for info in infos {
        let all = revisions(&context, &info, "history").await?;
        let mut text = header(&info);
        if all.is_empty() {
            context.print(&format!("{text}\nNo rollout history found.\n"))?;
            continue;
        }
        if wanted > 0 {
            let (_, cause, template, _) = all
                .iter()
                .find(|(number, ..)| *number == wanted)
                .ok_or_else(|| Failure::new("unable to find the specified revision"))?;
            text.push_str(&format!("with revision #{wanted}\n"));
            let mut template = template.clone();
            if cause != "<none>" {
                template["metadata"]["annotations"]["kubernetes.io/change-cause"] = cause.as_str().into();
            }
            text.push_str(&template_lines(&template));
        } else {
            text.push('\n');
            let mut writer = printers::table::Writer::default();
            writer.row(vec!["REVISION".into(), "CHANGE-CAUSE".into()]);
            for (number, cause, ..) in &all {
                writer.row(vec![number.to_string(), cause.clone()]);
            }
            // This table's columns are two apart, as upstream's `tabbedString` has it.
            text.push_str(&narrow(&writer.into_rows()));
        }
        context.print(&format!("{text}\n"))?;
    }
    Ok(())
}

fn narrow(rows: &[Vec<String>]) -> String {
    let width = rows.iter().filter_map(|row| row.first()).map(|cell| cell.len() + 2).max().unwrap_or(0);
    rows.iter().map(|row| format!("{:width$}{}\n", row[0], row[1])).collect()
}

async fn send_patch(
    context: &Context,
    info: &Info,
    kind: &'static str,
    patch: &Value,
    manager: &str,
) -> Outcome<Value> {
    let dry = dry_run(context)?;
    if dry == DryRun::Client {
        return Ok(info.object.clone());
    }
    let call = Call::patch(info.path(), kind, patch).query("fieldManager", context.flags.or("field-manager", manager));
    let call = if dry == DryRun::Server { call.query("dryRun", "All") } else { call };
    context.json(call).await
}

async fn undo(context: Context) -> Outcome {
    let format = Format::of(&context)?;
    let to = context.flags.number("to-revision")?.unwrap_or(0);
    let (infos, mut failures) = targets(&context).await?;
    for info in infos {
        match undo_one(&context, &format, &info, to).await {
            Ok(()) => {}
            Err(failure) => failures.push(failure),
        }
    }
    Failure::all(failures)
}

async fn undo_one(context: &Context, format: &Format, info: &Info, to: i64) -> Outcome {
    if !info.object["metadata"]["annotations"][ANNOTATION].is_null() {
        context.note(format_args!(
            "Warning: resource {}/{} was previously managed with 'kubectl apply'. Rolling back will not update the {ANNOTATION} annotation, which may cause unexpected behavior on future 'kubectl apply' operations. Consider using 'kubectl apply' with your previous configuration file instead.",
            info.resource.plural, info.name
        ));
    }
    let all = revisions(context, info, "rollbacker").await?;
    let is_deployment = info.resource.kind == "Deployment";
    let chosen = if to > 0 {
        all.iter()
            .find(|(number, ..)| *number == to)
            .ok_or_else(|| Failure::new(format!("unable to find specified revision {to} in history")))?
    } else if all.len() < 2 {
        return Err(Failure::new(if is_deployment {
            format!("no rollout history found for deployment {:?}", info.name)
        } else {
            "no last revision to roll back to".to_owned()
        }));
    } else {
        &all[all.len() - 2]
    };
    let (_, _, template, annotations) = chosen;
    if dry_run(context)? == DryRun::Client {
        return done(context, format, info, &info.object, &template_lines(template));
    }
    if is_deployment && info.object["spec"]["paused"] == true {
        return Err(Failure::new(
            "you cannot rollback a paused deployment; resume it first with 'kubectl rollout resume' and try again",
        ));
    }
    let mut template = template.clone();
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove("pod-template-hash");
    }
    if let Some(map) = template.as_object_mut() {
        map.remove("$patch");
    }
    if template == info.object["spec"]["template"] {
        return done(
            context,
            format,
            info,
            &info.object,
            &format!("skipped rollback (current template already matches revision {to})"),
        );
    }
    let failed = |failure: Failure| Failure::new(format!("failed restoring revision {to}: {}", failure.bare()));
    if is_deployment {
        // What describes the Deployment itself stays; the rest comes with the revision.
        const OWN: &[&str] = &[
            ANNOTATION,
            "deployment.kubernetes.io/revision",
            "deployment.kubernetes.io/revision-history",
            "deployment.kubernetes.io/desired-replicas",
            "deployment.kubernetes.io/max-replicas",
            "deprecated.deployment.rollback.to",
        ];
        let mut kept = Map::new();
        for (key, value) in info.object["metadata"]["annotations"].as_object().into_iter().flatten() {
            if OWN.contains(&key.as_str()) {
                kept.insert(key.clone(), value.clone());
            }
        }
        for (key, value) in annotations.as_object().into_iter().flatten() {
            if !OWN.contains(&key.as_str()) {
                kept.insert(key.clone(), value.clone());
            }
        }
        let patch = json!([
            {"op": "replace", "path": "/spec/template", "value": template},
            {"op": "replace", "path": "/metadata/annotations", "value": kept},
        ]);
        send_patch(context, info, "application/json-patch+json", &patch, "kubectl-rollout").await.map_err(failed)?;
    } else {
        let patch = json!([{"op": "replace", "path": "/spec/template", "value": template}]);
        send_patch(context, info, "application/json-patch+json", &patch, "kubectl-rollout").await.map_err(failed)?;
    }
    done(context, format, info, &info.object, "rolled back")
}

async fn restart(context: Context) -> Outcome {
    let format = Format::of(&context)?;
    let (infos, mut failures) = targets(&context).await?;
    for info in infos {
        if !matches!(info.resource.kind.as_str(), "Deployment" | "DaemonSet" | "StatefulSet") {
            failures.push(Failure::new(format!(
                "{} {:?} restarting is not supported",
                info.resource.plural_group(),
                info.name
            )));
            continue;
        }
        if info.object["spec"]["paused"] == true {
            failures.push(Failure::new(format!(
                "{} {:?} can't restart paused deployment (run rollout resume first)",
                info.resource.plural_group(),
                info.name
            )));
            continue;
        }
        let now = jiff::Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%:z").to_string().replace("+00:00", "Z");
        let patch =
            json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": now}}}}});
        match send_patch(&context, &info, "application/strategic-merge-patch+json", &patch, "kubectl-rollout").await {
            Ok(object) => done(&context, &format, &info, &object, "restarted")?,
            Err(failure) => failures.push(failure),
        }
    }
    Failure::all(failures)
}

async fn set_paused(context: &Context, paused: bool) -> Outcome {
    let format = Format::of(context)?;
    let word = if paused { "paused" } else { "resumed" };
    let (infos, mut failures) = targets(context).await?;
    for info in infos {
        let resource = info.resource.plural_group();
        if info.resource.kind != "Deployment" {
            let what = if paused { "pausing is not supported" } else { "resuming is not supported" };
            failures.push(Failure::new(format!("{resource} {:?} {what}", info.name)));
            continue;
        }
        let is = info.object["spec"]["paused"] == true;
        if is == paused {
            let what = if paused { "is already paused" } else { "is not paused" };
            failures.push(Failure::new(format!("{resource} {:?} {what}", info.name)));
            continue;
        }
        let value = if paused { Value::Bool(true) } else { Value::Null };
        let patch = json!({"spec": {"paused": value}});
        match send_patch(context, &info, "application/strategic-merge-patch+json", &patch, "kubectl-rollout").await {
            Ok(object) => done(context, &format, &info, &object, word)?,
            Err(failure) => failures.push(failure),
        }
    }
    Failure::all(failures)
}

async fn pause(context: Context) -> Outcome {
    set_paused(&context, true).await
}

async fn resume(context: Context) -> Outcome {
    set_paused(&context, false).await
}
