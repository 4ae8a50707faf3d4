//! `kubectl exec`: a process in a container, over WebSocket; the terminal is passed through with `-it`.

use std::{os::fd::AsFd, pin::pin};

use futures::{
    SinkExt,
    future::{self, Either},
};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{AttachParams, AttachedProcess, TerminalSize},
};
use machinery::json::Fields;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use tokio::io::AsyncWriteExt;

use super::{Command, logs};
use crate::{
    cli::{
        context::Context,
        failure::{Failure, Outcome},
        flags::{Flag, switch, value},
    },
    resource_builder::{Info, files},
};

/// The table row.
pub const COMMAND: Command =
    Command { name: "exec", aliases: &[], flags: &[FLAGS, files::FLAGS], sub: &[], run: super::action!(run) };

const FLAGS: &[Flag] = &[
    switch("stdin").short('i'),
    switch("tty").short('t'),
    switch("quiet").short('q'),
    value("container").short('c'),
    value("pod-running-timeout"),
];

async fn run(context: Context) -> Outcome {
    let flags = &context.flags;
    let Some(dash) = flags.dash else {
        return Err(match flags.args.len() {
            0 => Failure::new("pod, type/name or --filename must be specified"),
            1 => Failure::new("you must specify at least one command for the container"),
            _ => flags.usage("exec [POD] [COMMAND] is not supported anymore. Use exec [POD] -- [COMMAND] instead"),
        });
    };
    let (words, command) = flags.args.split_at(dash);
    let Some(target) = words.first() else {
        return Err(Failure::new("pod, type/name or --filename must be specified"));
    };
    if command.is_empty() {
        return Err(Failure::new("you must specify at least one command for the container"));
    }
    let pods = logs::pods(&context, Some(target), "").await.map_err(|failure| match failure {
        // Unlike for logs, the server's words are left as they are.
        Failure::Message(text) if text.starts_with("error from server (NotFound): ") => {
            let plain = text.trim_start_matches("error from server (NotFound): ");
            let plain = plain.rsplit_once(" in namespace ").map_or(plain, |(plain, _)| plain);
            Failure::plain(format!("Error from server (NotFound): {plain}"))
        }
        other => other,
    })?;
    let Some(pod) = pods.first() else { return Err(Failure::new("no pod found")) };
    let phase = pod.object["status"].text("phase");
    if matches!(phase, "Succeeded" | "Failed") {
        return Err(Failure::new(format!("cannot exec into a container in a completed pod; current phase is {phase}")));
    }
    let container = container(&context, pod, !flags.is("quiet"))?;
    let stdin = flags.is("stdin");
    let mut tty = flags.is("tty");
    if tty && stdin && terminal().is_none() {
        context.note(format_args!("Unable to use a TTY - input is not a terminal or the right kind of file"));
        tty = false;
    }
    let api: Api<Pod> = Api::namespaced(context.client().await?.clone(), &pod.namespace);
    let parameters =
        AttachParams { container: Some(container), tty, stdin, stdout: true, stderr: !tty, ..AttachParams::default() };
    let process = api.exec(&pod.name, command.to_vec(), &parameters).await.map_err(failed)?;
    session(process, stdin, tty).await
}

/// A refusal of the server.
pub(super) fn failed(error: kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) => {
            Failure::from_status(status.code, &serde_json::json!({"reason": status.reason, "message": status.message}))
        }
        other => Failure::new(other.to_string()),
    }
}

/// Passes a process's streams through until it ends; its exit code is ours.
pub(super) async fn session(mut process: AttachedProcess, stdin: bool, tty: bool) -> Outcome {
    let terminal = terminal();
    let _raw = if tty && stdin { terminal.map(Raw::enter) } else { None };
    let sizes = if tty { process.terminal_size() } else { None };
    let resize = async {
        let Some(mut sizes) = sizes else { return };
        let mut changes = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::window_change()).ok();
        while let Some((width, height)) = size() {
            if sizes.send(TerminalSize { width, height }).await.is_err() {
                break;
            }
            let Some(changes) = &mut changes else { break };
            if changes.recv().await.is_none() {
                break;
            }
        }
    };
    let input = process.stdin().filter(|_| stdin);
    let copy_in = async {
        let Some(mut input) = input else { return };
        // Reading a terminal blocks a thread; at the end of the process it is left behind.
        let mut own = tokio::io::stdin();
        if tokio::io::copy(&mut own, &mut input).await.is_ok() {
            let _ = input.shutdown().await;
        }
    };
    let (stdout, stderr, status) = (process.stdout(), process.stderr(), process.take_status());
    let copy_out = async {
        if let Some(mut from) = stdout {
            let mut to = tokio::io::stdout();
            let _ = tokio::io::copy(&mut from, &mut to).await;
            let _ = to.flush().await;
        }
    };
    let copy_err = async {
        if let Some(mut from) = stderr {
            let mut to = tokio::io::stderr();
            let _ = tokio::io::copy(&mut from, &mut to).await;
            let _ = to.flush().await;
        }
    };
    let output = async {
        tokio::join!(copy_out, copy_err);
        finish(status).await
    };
    // The end of the output is the end of the session, whatever else could be sent.
    let (output, sent) = (pin!(output), pin!(future::join(copy_in, resize)));
    match future::select(output, sent).await {
        Either::Left((ended, _)) => ended,
        Either::Right((_, output)) => output.await,
    }
}

/// The container that is meant: `-c`, or the pod's default one.
pub(super) fn container(context: &Context, pod: &Info, say: bool) -> Outcome<String> {
    let Some(wanted) = context.flags.get("container") else {
        return logs::default_container(&pod.object, &pod.name, say.then_some(context));
    };
    let all = logs::container_names(&pod.object, &["containers", "initContainers", "ephemeralContainers"]);
    if all.iter().any(|name| name == wanted) {
        return Ok(wanted.to_owned());
    }
    let all = all.join(", ");
    Err(Failure::new(format!("container {wanted} is not valid for pod {} out of: {all}", pod.name)))
}

async fn finish(
    status: Option<impl Future<Output = Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Status>>>,
) -> Outcome {
    let Some(status) = status else { return Ok(()) };
    let Some(status) = status.await else { return Ok(()) };
    if status.status.as_deref() == Some("Success") {
        return Ok(());
    }
    let causes = status.details.as_ref().and_then(|details| details.causes.as_ref());
    let code = causes
        .into_iter()
        .flatten()
        .find(|cause| cause.reason.as_deref() == Some("ExitCode"))
        .and_then(|cause| cause.message.as_deref()?.parse::<i32>().ok());
    match code {
        Some(code) => Err(Failure::Plain(format!("command terminated with exit code {code}"), code)),
        None => Err(Failure::new(format!("Internal error occurred: {}", status.message.unwrap_or_default()))),
    }
}

pub(super) fn terminal() -> Option<Termios> {
    tcgetattr(std::io::stdin().as_fd()).ok()
}

/// Columns and rows.
fn size() -> Option<(u16, u16)> {
    let text = std::process::Command::new("stty").arg("size").stdin(std::process::Stdio::inherit()).output().ok()?;
    let text = String::from_utf8(text.stdout).ok()?;
    let mut numbers = text.split_whitespace().filter_map(|number| number.parse().ok());
    let (rows, columns) = (numbers.next()?, numbers.next()?);
    Some((columns, rows))
}

/// The terminal without echo and line editing, until dropped.
struct Raw(Termios);

impl Raw {
    fn enter(before: Termios) -> Self {
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        // A terminal that refuses stays as it was.
        let _ = tcsetattr(std::io::stdin().as_fd(), SetArg::TCSANOW, &raw);
        Self(before)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin().as_fd(), SetArg::TCSANOW, &self.0);
    }
}
