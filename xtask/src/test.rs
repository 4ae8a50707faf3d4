//! `cargo xtask test`: everything that must be green, in the order in which it fails fastest.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};

use crate::{packages, root, tidy};

/// What a machine may lack: in CI a test that skips for anything else fails.
const SKIPS: &str = "tests/skips.txt";

/// Runs all checks; `--quick` leaves out what needs containers.
pub fn main(argv: &[String]) -> anyhow::Result<()> {
    if let Some(other) = argv.iter().find(|a| *a != "--quick") {
        bail!("unknown flag {other:?}; there is: --quick");
    }
    packages::install()?;
    step("fmt", "cargo", &["fmt", "--all", "--check"])?;
    tidy::main(&[])?;
    let quick = argv.iter().any(|a| a == "--quick");
    let all = |program: &[&'static str]| -> Vec<&'static str> {
        let leave_out: &[&str] = if quick { &["--exclude", "ferry-e2e"] } else { &[] };
        [program, &["--workspace", "--locked", "--no-fail-fast"], leave_out].concat()
    };
    step("clippy", "cargo", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])?;
    // The binary first: end-to-end tests run it.
    step("build", "cargo", &["build", "--workspace", "--locked"])?;
    let _ = std::fs::remove_file(noted());
    let nextest = Command::new("cargo").args(["nextest", "--version"]).output().is_ok_and(|o| o.status.success());
    let outcome =
        if nextest { step("test", "cargo", &all(&["nextest", "run"])) } else { step("test", "cargo", &all(&["test"])) };
    let skipped = std::fs::read_to_string(noted()).unwrap_or_default();
    println!("== skipped: {} (what may be missing, and why, is in {SKIPS})", skipped.lines().count());
    print!("{skipped}");
    outcome
}

/// Where tests note what they skipped.
fn noted() -> PathBuf {
    crate::image::target().join("skipped.txt")
}

fn step(name: &str, program: &str, args: &[&str]) -> anyhow::Result<()> {
    println!("== {name}: {program} {}", args.join(" "));
    let started = Instant::now();
    let mut command = Command::new(program);
    command.args(args).env("FERRY_SKIPS_NOTED", noted()).current_dir(root());
    if std::env::var_os("CI").is_some() {
        command.env("FERRY_SKIPS_ALLOWED", root().join(SKIPS));
    }
    let status = command.status().with_context(|| format!("running {program}"))?;
    println!("== {name}: {} after {} s", if status.success() { "good" } else { "FAILED" }, started.elapsed().as_secs());
    if status.success() { Ok(()) } else { bail!("{name} failed") }
}
