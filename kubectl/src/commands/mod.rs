//! The commands, one file each, and the one table that names them.

mod annotate;
mod api_resources;
mod apply;
mod attach;
mod auth;
mod autoscale;
mod cluster_info;
mod config;
mod create;
mod delete;
mod describe;
mod drain;
mod edit;
mod exec;
mod explain;
mod expose;
mod get;
mod label;
mod logs;
mod metadata;
mod patch;
mod replace;
mod rollout;
mod run;
mod scale;
mod set;
mod taint;
mod top;
mod version;
mod wait;

use futures::future::BoxFuture;

use crate::cli::{
    context::Context,
    failure::Outcome,
    flags::{Flag, Kind},
};

/// What a command does.
pub type Run = fn(Context) -> BoxFuture<'static, Outcome>;

/// A line of the table.
#[derive(Clone, Copy)]
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// Other names.
    pub aliases: &'static [&'static str],
    /// Its flags, besides the global ones.
    pub flags: &'static [&'static [Flag]],
    /// Commands below it.
    pub sub: &'static [Command],
    /// What it does.
    pub run: Run,
}

impl Command {
    /// By name.
    pub fn find(all: &'static [Command], name: &str) -> Option<&'static Command> {
        all.iter().find(|command| command.name == name || command.aliases.contains(&name))
    }
}

/// An async function as a command's `run`.
macro_rules! action {
    ($function:path) => {
        |context| Box::pin($function(context))
    };
}
use action;

/// All commands. A new one is a file and a line here.
pub const ALL: &[Command] = &[
    get::COMMAND,
    describe::COMMAND,
    create::COMMAND,
    apply::COMMAND,
    delete::COMMAND,
    edit::COMMAND,
    replace::COMMAND,
    set::COMMAND,
    patch::COMMAND,
    run::COMMAND,
    expose::COMMAND,
    label::COMMAND,
    annotate::COMMAND,
    scale::COMMAND,
    autoscale::COMMAND,
    rollout::COMMAND,
    wait::COMMAND,
    drain::CORDON,
    drain::UNCORDON,
    drain::COMMAND,
    taint::COMMAND,
    logs::COMMAND,
    attach::COMMAND,
    exec::COMMAND,
    explain::COMMAND,
    api_resources::RESOURCES,
    api_resources::VERSIONS,
    auth::COMMAND,
    cluster_info::COMMAND,
    top::COMMAND,
    config::COMMAND,
    version::COMMAND,
];

/// What `kubectl` alone prints.
pub fn overview() -> String {
    let mut text = "kubectl controls the Kubernetes cluster manager.\n\nCommands:\n".to_owned();
    for command in ALL {
        text.push_str(&format!("  {}\n", command.name));
    }
    text + "\nUsage:\n  kubectl [flags] [options]\n\nUse \"kubectl <command> --help\" for the flags of a command.\n"
}

/// What `--help` prints.
pub fn usage(path: &str, command: &Command) -> String {
    let mut text = format!("Usage:\n  kubectl {path} [flags] [options]\n\nOptions:\n");
    for flag in command.flags.iter().copied().flatten() {
        let short = flag.short.map(|short| format!("-{short}, ")).unwrap_or_else(|| "    ".to_owned());
        let takes = match flag.kind {
            Kind::Bool => "",
            Kind::Value => "=''",
            Kind::Optional(_) => "[='']",
        };
        text.push_str(&format!("    {short}--{}{takes}\n", flag.name));
    }
    for sub in command.sub {
        text.push_str(&format!("  kubectl {path} {}\n", sub.name));
    }
    text
}
