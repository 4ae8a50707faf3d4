//! `cargo up` and `cargo xtask image`: what the release binary does by itself, once it is built.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};

use crate::root;

/// `ferry up --install-deps`; further arguments go to it.
pub fn main(argv: &[String]) -> anyhow::Result<()> {
    Err(ferry()?.args(["up", "--install-deps"]).args(argv).exec().into())
}

/// `ferry image`, to the target folder unless a file is named.
pub fn image(argv: &[String]) -> anyhow::Result<()> {
    let file = argv.first().map_or_else(|| target().join("ferry-images.tar"), Into::into);
    Err(ferry()?.arg("image").arg(file).exec().into())
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into)
}

/// Builds the release binary.
fn ferry() -> anyhow::Result<Command> {
    println!("building ferry (release)");
    let status = Command::new("cargo")
        .args(["build", "--release", "--locked", "--package", "ferry"])
        .current_dir(root())
        .status()
        .context("running cargo")?;
    if !status.success() {
        bail!("the build failed");
    }
    Ok(Command::new(target().join("release/ferry")))
}
