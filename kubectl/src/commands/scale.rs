//! `kubectl scale`.

use http::Method;
use machinery::json::Fields;
use serde_json::json;

use super::Command;
use crate::{
    cli::{
        context::{Call, Context},
        failure::{Failure, Outcome},
        flags::{Flag, optional, switch, value},
    },
    printers::{self, DryRun, Format, done, dry_run},
    resource_builder::{files, select},
};

/// The table row.
pub const COMMAND: Command = Command {
    name: "scale",
    aliases: &[],
    flags: &[FLAGS, printers::FLAGS, files::FLAGS],
    sub: &[],
    run: super::action!(run),
};

const FLAGS: &[Flag] = &[
    value("replicas"),
    value("current-replicas"),
    value("resource-version"),
    value("timeout"),
    switch("all"),
    value("selector").short('l'),
    optional("dry-run", "unchanged"),
];

async fn run(context: Context) -> Outcome {
    let flags = &context.flags;
    if !flags.given("replicas") {
        return Err(Failure::new("required flag(s) \"replicas\" not set"));
    }
    let replicas = flags.number("replicas")?.filter(|count| *count >= 0).ok_or_else(|| {
        Failure::new("The --replicas=COUNT flag is required, and COUNT must be greater than or equal to 0")
    })?;
    let format = Format::of(&context)?;
    let dry = dry_run(&context)?;
    let (infos, mut failures) = select::infos(&context, &flags.args).await?;
    if infos.is_empty() && failures.is_empty() {
        return Err(Failure::new("no objects passed to scale"));
    }
    for info in infos {
        let outcome = async {
            let path = format!("{}/scale", info.path());
            let expected = flags.number("current-replicas")?.filter(|count| *count >= 0);
            if expected.is_some() || flags.given("resource-version") {
                let scale = context.json(Call::get(&path)).await?;
                let current = scale["spec"]["replicas"].as_i64().unwrap_or(0);
                if let Some(expected) = expected.filter(|expected| *expected != current) {
                    return Err(Failure::new(format!("Expected replicas to be {expected}, was {current}")));
                }
                let version = scale["metadata"].text("resourceVersion").to_owned();
                if let Some(wanted) = flags.get("resource-version").filter(|wanted| **wanted != version) {
                    return Err(Failure::new(format!("Expected resource version to be {wanted}, was {version}")));
                }
                let mut scale = scale;
                scale["spec"]["replicas"] = replicas.into();
                if dry != DryRun::Client {
                    let mut call = Call::send(Method::PUT, &path, &scale);
                    if dry == DryRun::Server {
                        call = call.query("dryRun", "All");
                    }
                    context.json(call).await?;
                }
            } else if dry != DryRun::Client {
                let mut call =
                    Call::patch(&path, "application/merge-patch+json", &json!({"spec": {"replicas": replicas}}));
                if dry == DryRun::Server {
                    call = call.query("dryRun", "All");
                }
                context.json(call).await?;
            }
            let object = if info.object.is_null() { info.read(&context).await? } else { info.object.clone() };
            done(&context, &format, &info, &object, "scaled")
        };
        failures.extend(outcome.await.err());
    }
    Failure::all(failures)
}
