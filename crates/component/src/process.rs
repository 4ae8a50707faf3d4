//! A process's beginning and end: where its log goes, and what tells it to stop.

use std::io::IsTerminal;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Logs to standard error at klog's verbosity `v`: 0-1 info, 2-4 info of everything ours, 5-7 debug, 8 and up trace.
///
/// `RUST_LOG`, if set, wins. A second call changes nothing, so that several components can share a process.
pub fn init_logging(v: u8) {
    let level = match v {
        0..=4 => {
            "warn,ferry=info,apiserver=info,scheduler=info,controller_manager=info,kubelet=info,proxy=info,\
                  client=info,controller=info,component=info,storage=info"
        }
        5..=7 => {
            "info,ferry=debug,apiserver=debug,scheduler=debug,controller_manager=debug,kubelet=debug,\
                  proxy=debug,client=debug,controller=debug,component=debug,storage=debug"
        }
        8..=9 => "debug,h2=info,hyper_util=info",
        _ => "trace",
    };
    let crates = level.replace(
        ",client=",
        ",ferry_apiserver=info,ferry_scheduler=info,ferry_controller_manager=info,ferry_kubelet=info,ferry_proxy=info,client=",
    );
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(crates));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
}

/// A token that SIGTERM and SIGINT cancel; a second signal ends the process at once, as upstream's does.
///
/// Must be called inside a tokio runtime.
pub fn shutdown() -> CancellationToken {
    let cancel = CancellationToken::new();
    let told = cancel.clone();
    tokio::spawn(async move {
        let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
            tracing::error!("signals can't be handled here");
            return;
        };
        for n in 0..2 {
            tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
            if n > 0 {
                std::process::exit(1);
            }
            told.cancel();
        }
    });
    cancel
}
