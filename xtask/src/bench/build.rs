//! `cargo xtask bench`, before it measures: figures are of release builds, the load generator's own included, so this builds
//! both and hands over.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};

/// Builds `ferry` and the load generator in release mode and runs the latter with the same arguments.
pub fn main(argv: Vec<String>) -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(&cargo)
        .args(["build", "--release", "--package", "ferry", "--package", "xtask", "--features", "xtask/bench"])
        .status()
        .context("running cargo")?;
    if !built.success() {
        bail!("cargo build failed");
    }
    // This program lies in target/debug; what was just built beside it.
    let own = std::env::current_exe()?;
    let target = own.ancestors().nth(2).context("no target folder")?;
    let release: PathBuf = target.join("release/xtask");
    let status =
        Command::new(&release).arg("bench").args(argv).status().with_context(|| format!("{}", release.display()))?;
    if status.success() { Ok(()) } else { bail!("bench failed") }
}
