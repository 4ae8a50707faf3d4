//! `kubectl set`: single parts of pod templates. One file a part; what they have in common is here.

mod env;
mod image;
mod resources;

use serde_json::Value;

use super::{Command, patch};
use crate::{
    cli::{
        context::{Call, Context},
        failure::{Failure, Outcome},
        flags::{Flag, optional, switch, value},
    },
    printers::{DryRun, Format, done, dry_run},
    resource_builder::{files, select},
};

/// The table row.
pub const COMMAND: Command = Command {
    name: "set",
    aliases: &[],
    flags: &[],
    sub: &[env::COMMAND, image::COMMAND, resources::COMMAND],
    run: super::action!(run),
};

/// Flags of all parts.
const FLAGS: &[Flag] = &[
    switch("all"),
    switch("local"),
    value("selector").short('l'),
    value("field-manager"),
    optional("dry-run", "unchanged"),
];

async fn run(context: Context) -> Outcome {
    Err(context.flags.usage("a subcommand is required: env, image or resources"))
}

/// Where the pod is in an object: itself, or its template.
fn pod_path(kind: &str) -> Option<&'static str> {
    match kind {
        "Pod" => Some("/spec"),
        "CronJob" => Some("/spec/jobTemplate/spec/template/spec"),
        "Deployment" | "ReplicaSet" | "DaemonSet" | "StatefulSet" | "Job" | "ReplicationController" => {
            Some("/spec/template/spec")
        }
        _ => None,
    }
}

/// Changes the pod of each object that was named, and says so where something changed.
async fn change(
    context: &Context,
    resources: &[String],
    what: &str,
    mut edit: impl FnMut(&mut Value) -> Result<(), Vec<String>>,
) -> Outcome {
    let flags = &context.flags;
    if resources.is_empty() && !files::given(context) {
        return Err(Failure::new("one or more resources must be specified as <resource> <name> or <resource>/<name>"));
    }
    let (format, dry) = (Format::of(context)?, dry_run(context)?);
    let (infos, mut failures) = select::infos(context, resources).await?;
    for mut info in infos {
        let outcome = async {
            if info.object["metadata"]["uid"].is_null() && !flags.is("local") {
                info.object = info.read(context).await?;
            }
            let kind = info.object["kind"].as_str().unwrap_or(&info.resource.kind).to_owned();
            let refuse = || {
                Failure::new(format!(
                    "{}/{} the object is not a pod or does not have a pod template: {kind}",
                    info.resource.plural, info.name
                ))
            };
            let path = pod_path(&kind).ok_or_else(refuse)?;
            let mut object = info.object.clone();
            let pod = object.pointer_mut(path).ok_or_else(refuse)?;
            edit(pod).map_err(|why| Failure::new(why.join(", ")))?;
            if object == info.object {
                return Ok(());
            }
            if dry != DryRun::Client && !flags.is("local") {
                let manager = flags.or("field-manager", "kubectl-set").to_owned();
                let (kind, body) = patch::between(&info.object, &object)?;
                let mut call = Call::patch(info.path(), kind, &body).query("fieldManager", manager);
                if dry == DryRun::Server {
                    call = call.query("dryRun", "All");
                }
                object = context.json(call).await?;
            }
            done(context, &format, &info, &object, what)
        };
        failures.extend(outcome.await.err());
    }
    Failure::all(failures)
}

/// The containers that a pattern with `*` names; of both lists.
fn containers<'p>(pod: &'p mut Value, pattern: &str) -> Vec<&'p mut Value> {
    let Value::Object(pod) = pod else { return Vec::new() };
    pod.iter_mut()
        .filter(|(key, _)| matches!(key.as_str(), "containers" | "initContainers"))
        .filter_map(|(_, list)| list.as_array_mut())
        .flatten()
        .filter(|container| fits(pattern, container["name"].as_str().unwrap_or_default()))
        .collect()
}

/// Whether a name fits a pattern with `*`.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, rest)) => name.strip_prefix(head).is_some_and(|tail| {
            rest.is_empty()
                || (0..=tail.len()).filter(|at| tail.is_char_boundary(*at)).any(|at| fits(rest, &tail[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn patterns_name_containers_of_both_lists() {
        let mut pod =
            json!({"containers": [{"name": "web"}, {"name": "side"}], "initContainers": [{"name": "web-init"}]});
        assert_eq!(containers(&mut pod, "*").len(), 3);
        assert_eq!(containers(&mut pod, "web*").len(), 2);
        assert_eq!(containers(&mut pod, "*e").len(), 1);
        assert_eq!(containers(&mut pod, "nope").len(), 0);
    }
}
