//! `kubectl replace`: an object as a manifest has it, whole; with `--force` deleted and made anew.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::{
    Command,
    apply::{ANNOTATION, with_annotation, write_query},
    create, delete,
};
use crate::{
    cli::{
        context::{Call, Context},
        failure::{Failure, Outcome},
        flags::{Flag, switch, value},
    },
    printers::{self, DryRun, Format, done, dry_run},
    resource_builder::{Info, files},
};

/// The table row.
pub const COMMAND: Command = Command {
    name: "replace",
    aliases: &[],
    flags: &[FLAGS, create::FLAGS, printers::FLAGS, files::FLAGS],
    sub: &[],
    run: super::action!(run),
};

const FLAGS: &[Flag] =
    &[switch("force"), value("cascade"), value("grace-period"), value("timeout"), switch("wait"), value("subresource")];

async fn run(context: Context) -> Outcome {
    if !files::given(&context) {
        return Err(Failure::new("must specify --filename to replace"));
    }
    let format = Format::of(&context)?;
    let mut failures = Vec::new();
    for info in files::infos(&context).await? {
        let outcome = async {
            let info = info?;
            if context.flags.is("force") {
                again(&context, &format, &info).await
            } else {
                one(&context, &format, &info).await
            }
        };
        failures.extend(outcome.await.err());
    }
    Failure::all(failures)
}

/// The manifest to send: what `apply` remembers is brought up to date where it remembers something.
fn manifest(context: &Context, info: &Info) -> Value {
    let remembered = info.object["metadata"]["annotations"].get(ANNOTATION).is_some();
    if remembered || context.flags.is("save-config") { with_annotation(&info.object) } else { info.object.clone() }
}

async fn one(context: &Context, format: &Format, info: &Info) -> Outcome {
    let object = manifest(context, info);
    if dry_run(context)? == DryRun::Client {
        return done(context, format, info, &object, "replaced");
    }
    let part = context.flags.get("subresource").map(|name| format!("/{name}")).unwrap_or_default();
    let call = Call::send(Method::PUT, format!("{}{part}", info.path()), &object);
    let call = write_query(context, call, "kubectl-replace")?;
    let answer = context.json(call).await.map_err(|failure| failure.at_source("replacing", &info.source))?;
    done(context, format, info, &answer, "replaced")
}

async fn again(context: &Context, format: &Format, info: &Info) -> Outcome {
    let flags = &context.flags;
    let seconds = flags.number("grace-period")?.filter(|s| *s >= 0).unwrap_or(0);
    let policy = match flags.or("cascade", "background") {
        "orphan" | "false" => "Orphan",
        "foreground" => "Foreground",
        _ => "Background",
    };
    let options = json!({"gracePeriodSeconds": seconds, "propagationPolicy": policy});
    match context.json(Call::send(Method::DELETE, info.path(), &options)).await {
        Ok(answer) => {
            let uid = answer["details"]["uid"].as_str().or(answer["metadata"]["uid"].as_str()).unwrap_or_default();
            delete::say(context, info, -1, DryRun::No)?;
            let timeout = flags.duration("timeout")?.filter(|t| !t.is_zero()).unwrap_or(Duration::from_secs(300));
            delete::wait_gone(context, vec![(info.clone(), uid.to_owned())], timeout).await?;
        }
        Err(failure) if failure.is_not_found() => {}
        Err(failure) => return Err(failure.at_source("deleting", &info.source)),
    }
    let call = Call::send(Method::POST, info.collection(), &manifest(context, info));
    let answer = context.json(write_query(context, call, "kubectl-replace")?).await;
    done(context, format, info, &answer?, "replaced")
}
