//! Dependencies keep to `deny.toml`: licences, one version of each, sources, and no known vulnerability. Where `cargo deny` is
//! not installed this is skipped by name: it takes minutes to build. Nothing is asked of the network.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What `cargo metadata` says of this platform: all crates that a build has downloaded, and none for other systems.
fn metadata() -> PathBuf {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--offline", "--all-features"])
        .args(["--filter-platform", &platform])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("metadata-{}.json", std::process::id()));
    std::fs::write(&path, output.stdout).expect("a file for the metadata");
    path
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

/// Whether cargo-deny is there; its absence is noted.
fn is_installed() -> bool {
    let there = Command::new(env!("CARGO")).args(["deny", "--version"]).output().is_ok_and(|o| o.status.success());
    if !there {
        skips::skip("cargo-deny", "");
    }
    there
}

fn check(what: &[&str]) {
    let metadata = metadata();
    let output = Command::new(env!("CARGO"))
        .args(["deny", "--offline", "--metadata-path"])
        .arg(&metadata)
        .args(["check", "--hide-inclusion-graph"])
        .args(what)
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let _ = std::fs::remove_file(metadata);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn licences_versions_and_sources_are_those_of_the_list() {
    if is_installed() {
        check(&["licenses", "bans", "sources"]);
    }
}

#[test]
fn no_dependency_has_a_known_vulnerability() {
    if !is_installed() {
        return;
    }
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo"))).unwrap_or_default();
    let mut kept = std::fs::read_dir(home.join("advisory-dbs")).into_iter().flatten().flatten();
    if !kept.any(|entry| entry.path().is_dir()) {
        return skips::skip("the advisory database", "(`cargo deny fetch db` gets it)");
    }
    check(&["advisories"]);
}
