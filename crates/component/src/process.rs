//! A process's beginning and end: where its log goes, and what tells it to stop.

use std::io::IsTerminal;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::supervisor::{self, Supervisor};

/// Logs to standard error at klog's verbosity `v`: 0-1 info, 2-4 info of everything ours, 5-7 debug, 8 and up trace.
///
/// `RUST_LOG`, if set, wins. A second call changes nothing, so that several components can share a process.
pub fn init_logging(v: u8) {
    // All crates of ours are called ferry something, and a target is matched by its beginning.
    // The consensus library warns of each heartbeat that is late; what matters of it the store says itself. The client library
    // warns of servers that are not verified, which is where that is said.
    let level = match v {
        0..=4 => "warn,openraft=error,kube_client::client::tls=error,ferry=info",
        5..=7 => "info,ferry=debug",
        8..=9 => "debug,h2=info,hyper_util=info",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
}

/// The root of a process's tasks, which SIGTERM and SIGINT stop; a second signal ends the process at once, as upstream's
/// does.
///
/// Must be called inside a tokio runtime. A component starts its tasks in it and then waits for
/// [`Supervisor::finish`](crate::Supervisor::finish).
pub fn supervised() -> Supervisor {
    let root = Supervisor::new();
    let told = root.clone();
    // Not a task of the tree: it has to be there for the second signal, while the tree is stopped.
    supervisor::detached("signals", async move {
        let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
            tracing::error!("signals can't be handled here");
            return;
        };
        for n in 0..2 {
            tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
            if n > 0 {
                std::process::exit(1);
            }
            told.stop();
        }
    });
    root
}

/// A token that SIGTERM and SIGINT cancel; as [`supervised`], for what has no supervisor yet.
pub fn shutdown() -> CancellationToken {
    supervised().stopping()
}
