//! What `ferry up` says of its start: a line with the time for each thing that is done, to the terminal and to the service
//! manager.

use std::time::Instant;

use component::notify::Manager;

/// See the module.
pub struct Progress {
    started: Instant,
    /// The service manager, if one has started this process.
    pub manager: Manager,
}

impl Progress {
    /// From now on.
    pub fn begin() -> Self {
        Self { started: Instant::now(), manager: Manager::of_this_process() }
    }

    /// A thing that is done.
    pub fn say(&self, text: &str) {
        println!("[{:6.2} s] {text}", self.started.elapsed().as_secs_f64());
        self.manager.status(text);
    }

    /// What is missing and does not stop the start.
    pub fn warn(&self, text: &str) {
        println!("warning: {text}");
        self.manager.status(text);
    }
}
