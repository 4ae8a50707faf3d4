//! `cargo up`: builds the release binary and runs `ferry up --install-deps` with it.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, bail};

use crate::root;

/// Further arguments go to `ferry up`.
pub fn main(argv: &[String]) -> anyhow::Result<()> {
    println!("building ferry (release)");
    let status = Command::new("cargo")
        .args(["build", "--release", "--locked", "--package", "ferry"])
        .current_dir(root())
        .status()
        .context("running cargo")?;
    if !status.success() {
        bail!("the build failed");
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into);
    Err(Command::new(target.join("release/ferry")).arg("up").arg("--install-deps").args(argv).exec().into())
}
