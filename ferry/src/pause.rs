//! `ferry pause`: holds a pod's namespaces, reaps what is left to it, ends on a signal. Nothing else of the program is
//! touched on this path: it is one small process for every pod.

use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

/// Waits for the end.
pub fn main() {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGCHLD] {
        signals.add(signal);
    }
    // Blocked, so that each waits to be taken below.
    let _ = signals.thread_block();
    loop {
        match signals.wait() {
            Ok(Signal::SIGCHLD) => while reaped() {},
            Ok(_) => return,
            Err(_) => {}
        }
    }
}

fn reaped() -> bool {
    matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status != WaitStatus::StillAlive)
}
