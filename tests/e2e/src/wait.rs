//! Waiting for a condition: looks again until it holds, and says what it saw last when it never does.

use std::time::{Duration, Instant};

/// Enough for a loaded machine with two cores; a condition that holds costs nothing of it.
pub const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(100);

/// Calls `look` until it is `Ok`; panics with what it said last after `PATIENCE`.
pub fn until<T>(what: &str, look: impl FnMut() -> Result<T, String>) -> T {
    within(PATIENCE, what, look)
}

/// The same, with a patience of its own.
pub fn within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        match look() {
            Ok(value) => return value,
            Err(saw) if Instant::now() > deadline => panic!("{what}: not after {patience:?}; last: {saw}"),
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}
