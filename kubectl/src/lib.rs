//! kubectl: the same verbs, flags, output and exit codes.
//!
//! It knows the API's paths and conventions, and takes what kinds there are from the server; of single kinds it knows
//! only what `describe` and the generators must. It must not know any component. A command is a file in [`commands`] and
//! a line in its table.

pub mod cli;
pub mod commands;
pub mod printers;
pub mod resource_builder;

use cli::{
    context::{Context, Session},
    failure::{Failure, Outcome},
    flags::{GLOBAL, Kind, Parsed},
    streams::Streams,
};
use commands::Command;

/// Runs a command line (without the program's name) and gives the exit code.
pub fn main(argv: Vec<String>) -> i32 {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return 1;
        }
    };
    let session = Session { streams: Streams::process(), client: None };
    let code = runtime.block_on(run(argv, session));
    // A thread that still reads standard input must not keep the process.
    runtime.shutdown_background();
    code
}

/// Runs a command line in a session and gives the exit code.
pub async fn run(argv: Vec<String>, session: Session) -> i32 {
    let streams = session.streams.clone();
    match dispatch(argv, session).await {
        Ok(()) => 0,
        Err(failure) => {
            let text = failure.to_string();
            if !text.is_empty() {
                streams.note(text.trim_end_matches('\n'));
            }
            failure.exit_code()
        }
    }
}

/// Where the first word is that is neither a global flag nor its value.
fn first_word(argv: &[String]) -> Option<usize> {
    let mut at = 0;
    while at < argv.len() {
        let word = &argv[at];
        if !word.starts_with('-') {
            return Some(at);
        }
        let name = word.trim_start_matches('-');
        let takes_next = !word.contains('=')
            && GLOBAL.iter().any(|flag| {
                flag.kind == Kind::Value
                    && (flag.name == name || flag.short.is_some_and(|short| name == short.to_string()))
            });
        at += if takes_next { 2 } else { 1 };
    }
    None
}

async fn dispatch(mut argv: Vec<String>, session: Session) -> Outcome {
    let print = |text: String| Ok(session.streams.write(text.as_bytes())?);
    let Some(at) = first_word(&argv) else { return print(commands::overview()) };
    let name = argv.remove(at);
    if name == "help" {
        return print(commands::overview());
    }
    let Some(mut command) = Command::find(commands::ALL, &name) else {
        return Err(Failure::plain(format!("error: unknown command {name:?} for \"kubectl\"")));
    };
    let mut path = command.name.to_owned();
    while !command.sub.is_empty() {
        let next = first_word(&argv);
        let Some(sub) = next.and_then(|at| Some((at, Command::find(command.sub, &argv[at])?))) else { break };
        argv.remove(sub.0);
        command = sub.1;
        path = format!("{path} {}", command.name);
    }
    let flags: Vec<_> = command.flags.iter().copied().chain([GLOBAL]).collect();
    let parsed = Parsed::new(&path, &argv, &flags)?;
    if parsed.is("help") {
        return print(commands::usage(&path, command));
    }
    (command.run)(Context::new(parsed, session)).await
}

#[cfg(test)]
mod tests {
    #[test]
    fn commands_are_found_behind_global_flags() {
        for (line, word) in [
            ("get pods", Some("get")),
            ("-n x --kubeconfig /a get pods", Some("get")),
            ("--namespace=x -v 6 rollout", Some("rollout")),
            ("--help", None),
        ] {
            let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(super::first_word(&argv).map(|at| argv[at].as_str()), word, "{line}");
        }
    }
}
