//! `ferry join` on a machine.

use std::fs::{self, File};
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Child, Output};

use crate::machine::Machine;
use crate::wait;

/// A machine that joins a cluster, or has.
pub struct Agent {
    /// Where it runs.
    pub machine: Machine,
    process: Option<Child>,
}

impl Deref for Agent {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        &self.machine
    }
}

impl Agent {
    /// On a machine, to be started.
    pub fn on(machine: Machine) -> Self {
        Self { machine, process: None }
    }

    /// `--data-dir`.
    pub fn data(&self) -> PathBuf {
        self.machine.dir.join("d")
    }

    /// Starts a command as `ferry token create` prints it (`ferry join ...`), with further flags, and waits for nothing.
    pub fn start(&mut self, command: &str, flags: &[&str]) {
        let log = File::options().create(true).append(true).open(self.dir.join("ferry.log")).expect("a log");
        let words = command.split_whitespace().skip(1);
        let mut command = self.machine.command(self.ferry());
        command.args(words).arg("--data-dir").arg(self.data()).args(flags);
        command.stdout(log.try_clone().expect("a log")).stderr(log);
        self.process = Some(command.spawn().expect("ferry"));
    }

    /// Runs such a command to its end.
    pub fn run(&self, command: &str, flags: &[&str]) -> Output {
        let words = command.split_whitespace().skip(1);
        self.machine
            .command(self.ferry())
            .args(words)
            .arg("--data-dir")
            .arg(self.data())
            .args(flags)
            .output()
            .expect("ferry")
    }

    /// What Ferry has said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("ferry.log")).unwrap_or_default()
    }

    /// Ferry's process number on its machine.
    pub fn pid(&self) -> i32 {
        fs::read_to_string(self.data().join("ferry.pid")).expect("a pid file").trim().parse().expect("a number")
    }

    /// Ends the process with a signal; its exit code.
    pub fn end(&mut self, signal: &str) -> Option<i32> {
        self.sh(&format!("kill -{signal} {}", self.pid()));
        self.ended()
    }

    /// Waits for the end of the process; its exit code.
    pub fn ended(&mut self) -> Option<i32> {
        let mut process = self.process.take().expect("started");
        wait::until("ferry ends", || process.try_wait().ok().flatten().ok_or_else(|| "it runs".into())).code()
    }
}
