//! A terminal for programs that want one.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use nix::pty::openpty;

use crate::wait;

/// A program on a terminal of its own.
pub struct Terminal {
    child: Child,
    master: File,
    seen: Arc<Mutex<String>>,
}

impl Terminal {
    /// Starts it.
    pub fn start(mut command: Command) -> Self {
        let pair = openpty(None, None).expect("a terminal");
        let slave = File::from(pair.slave);
        let copy = || Stdio::from(slave.try_clone().expect("a copy"));
        let child = command.stdin(copy()).stdout(copy()).stderr(copy()).spawn().expect("started");
        let (master, seen) = (File::from(pair.master), Arc::new(Mutex::new(String::new())));
        let (mut reader, sink) = (master.try_clone().expect("a copy"), seen.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                sink.lock().expect("no panic").push_str(&String::from_utf8_lossy(&buffer[..n]));
            }
        });
        Self { child, master, seen }
    }

    /// Types.
    pub fn type_in(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("typed");
    }

    /// Waits until the screen shows it.
    pub fn shows(&self, text: &str) {
        wait::until(&format!("the terminal shows {text:?}"), || {
            let seen = self.seen.lock().expect("no panic").clone();
            if seen.contains(text) { Ok(()) } else { Err(seen) }
        });
    }

    /// Waits for the end; the exit code.
    pub fn ended(mut self) -> Option<i32> {
        wait::until("the program ends", || {
            self.child.try_wait().ok().flatten().ok_or_else(|| self.seen.lock().expect("no panic").clone())
        })
        .code()
    }
}
