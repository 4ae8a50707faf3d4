//! `cargo xtask image`: what the release binary does by itself, once it is built.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};

use crate::root;

/// `ferry image`, to the target folder unless a file is named.
pub fn main(argv: &[String]) -> anyhow::Result<()> {
    let file = match argv {
        [] => target().join("ferry-images.tar"),
        [file] if !file.starts_with('-') => file.into(),
        _ => bail!("usage: cargo xtask image [FILE]"),
    };
    println!("building ferry (release); most of the time goes into one link over everything");
    let status = Command::new("cargo")
        .args(["build", "--release", "--locked", "--package", "ferry"])
        .current_dir(root())
        .status()
        .context("running cargo")?;
    if !status.success() {
        bail!("the build failed");
    }
    Err(Command::new(target().join("release/ferry")).arg("image").arg(file).exec().into())
}

/// The folder that cargo builds in.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into)
}
