//! `kubectl attach`: the streams of a process that runs in a container already.

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::AttachParams};
use machinery::json::Fields;

use super::{Command, exec, logs};
use crate::cli::{
    context::Context,
    failure::{Failure, Outcome},
    flags::{Flag, switch, value},
};

/// The table row.
pub const COMMAND: Command =
    Command { name: "attach", aliases: &[], flags: &[FLAGS], sub: &[], run: super::action!(run) };

const FLAGS: &[Flag] = &[
    switch("stdin").short('i'),
    switch("tty").short('t'),
    switch("quiet").short('q'),
    value("container").short('c'),
    value("pod-running-timeout"),
];

async fn run(context: Context) -> Outcome {
    let flags = &context.flags;
    let target = match flags.args.as_slice() {
        [] => return Err(flags.usage("at least 1 argument is required for attach")),
        [one] => one.clone(),
        [kind, name] if !kind.contains('/') => format!("{kind}/{name}"),
        more => {
            return Err(flags.usage(&format!(
                "expected POD, TYPE/NAME, or TYPE NAME, (at most 2 arguments) saw {}: {more:?}",
                more.len()
            )));
        }
    };
    let pods = logs::pods(&context, Some(&target), "").await?;
    let Some(pod) = pods.first() else { return Err(Failure::new("no pod found")) };
    let phase = pod.object["status"].text("phase");
    if matches!(phase, "Succeeded" | "Failed") {
        return Err(Failure::new(format!("cannot attach a container in a completed pod; current phase is {phase}")));
    }
    let container = exec::container(&context, pod, !flags.is("quiet"))?;
    let of_container = |c: &&serde_json::Value| c["name"] == container.as_str();
    let spec = pod.object["spec"]["containers"].as_array().into_iter().flatten().find(of_container);
    let has_tty = spec.is_some_and(|c| c["tty"] == true);
    let stdin = flags.is("stdin");
    let mut tty = flags.is("tty");
    if tty && !has_tty {
        tty = false;
        context.note(format_args!("error: Unable to use a TTY - container {container} did not allocate one"));
    } else if !tty && has_tty {
        // Its output is one stream then, whatever was asked for.
        tty = true;
    }
    if tty && stdin && exec::terminal().is_some() && !flags.is("quiet") {
        context.note(format_args!("If you don't see a command prompt, try pressing enter."));
    }
    let api: Api<Pod> = Api::namespaced(context.client().await?.clone(), &pod.namespace);
    let parameters =
        AttachParams { container: Some(container), tty, stdin, stdout: true, stderr: !tty, ..AttachParams::default() };
    let process = api.attach(&pod.name, &parameters).await.map_err(exec::failed)?;
    exec::session(process, stdin, tty).await
}
