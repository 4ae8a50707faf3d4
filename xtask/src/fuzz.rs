//! `cargo xtask fuzz [SECONDS]`: the readers of what clients send on mutated inputs, a minute each and one after the
//! other, where the tests take a second.

use std::process::Command;

use anyhow::{Context, bail};

use crate::root;

/// Runs the targets of `tests/tests/fuzz`.
pub fn main(argv: &[String]) -> anyhow::Result<()> {
    let seconds: u32 = match argv {
        [] => 60,
        [seconds] => seconds.parse().with_context(|| format!("{seconds:?} is not a number of seconds"))?,
        _ => bail!("cargo xtask fuzz [SECONDS]"),
    };
    let status = Command::new("cargo")
        .args(["test", "-p", "ferry-tests", "--test", "fuzz", "--locked", "--", "--nocapture", "--test-threads=1"])
        .env("FERRY_FUZZ_SECONDS", seconds.to_string())
        .current_dir(root())
        .status()
        .context("running cargo")?;
    if status.success() { Ok(()) } else { bail!("fuzzing found a fault") }
}
