//! `ferry install` and `ferry uninstall`: this program and its systemd units, put in place and taken away. Both can be
//! repeated, and both say each thing that they change and nothing else. `--root` puts the files below another folder and
//! tells systemd nothing: for images, and for tests.

mod files;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use files::Files;

/// The unit of the whole cluster, and that of the node agent alone.
const UNITS: [&str; 2] = ["ferry.service", "ferry-node.service"];

/// Puts this program in place, and systemd's units for `ferry up` and for the node agent alone.
#[derive(Debug, clap::Args)]
struct Install {
    /// The program goes to bin/ in this folder
    #[arg(long, default_value = "/usr/local")]
    prefix: PathBuf,
    /// Put the files below this folder, and tell systemd nothing
    #[arg(long)]
    root: Option<PathBuf>,
    /// Start the cluster at once, and at every boot
    #[arg(long)]
    now: bool,
}

/// Takes away what `ferry install` has put in place, and ends the cluster; its state stays.
#[derive(Debug, clap::Args)]
struct Uninstall {
    /// The program is in bin/ in this folder
    #[arg(long, default_value = "/usr/local")]
    prefix: PathBuf,
    /// The files are below this folder; tell systemd nothing, and end nothing
    #[arg(long)]
    root: Option<PathBuf>,
    /// Where the cluster's state is kept
    #[arg(long, default_value = "/var/lib/ferry")]
    data_dir: PathBuf,
    /// Delete the cluster's state too
    #[arg(long)]
    purge: bool,
}

/// `ferry install`.
pub fn install(argv: &[String]) -> anyhow::Result<()> {
    let flags: Install = component::flags::parse("ferry install", argv, &[])?;
    if flags.now && flags.root.is_some() {
        bail!("--now starts a service of this machine: it does not go with --root");
    }
    if flags.root.is_none() {
        check("install")?;
    }
    let files = Files::new(flags.root.as_deref().unwrap_or(Path::new("/")), &flags.prefix)?;
    let changed = files.install(&std::env::current_exe().context("finding the own executable")?)?;
    changed.iter().for_each(|line| println!("{line}"));
    if flags.root.is_some() {
        return Ok(());
    }
    if !changed.is_empty() {
        systemctl(&["daemon-reload"])?;
    }
    if flags.now {
        println!("starting {}: ready when the node is", UNITS[0]);
        systemctl(&["enable", UNITS[0]])?;
        return systemctl(&["restart", UNITS[0]]);
    }
    println!("`systemctl enable --now {}` starts the cluster, now and at every boot", UNITS[0]);
    Ok(())
}

/// `ferry uninstall`.
pub async fn uninstall(argv: Vec<String>) -> anyhow::Result<()> {
    let flags: Uninstall = component::flags::parse("ferry uninstall", &argv, &[])?;
    if flags.purge && flags.root.is_some() {
        bail!("--purge deletes the state of this machine's cluster: it does not go with --root");
    }
    if flags.root.is_none() {
        check("uninstall")?;
    }
    let files = Files::new(flags.root.as_deref().unwrap_or(Path::new("/")), &flags.prefix)?;
    if flags.root.is_none() {
        for unit in UNITS.iter().filter(|unit| files.unit(unit).exists()) {
            systemctl(&["disable", "--now", unit])?;
        }
        // The program that could still do it is about to go.
        let mut down = vec![format!("--data-dir={}", flags.data_dir.display())];
        down.extend(flags.purge.then(|| "--purge".to_owned()));
        crate::up::down(down).await?;
    }
    let changed = files.uninstall()?;
    changed.iter().for_each(|line| println!("{line}"));
    match (changed.is_empty(), flags.root) {
        (true, _) => println!("nothing is installed in {}", flags.prefix.display()),
        (false, None) => systemctl(&["daemon-reload"])?,
        (false, Some(_)) => {}
    }
    Ok(())
}

/// Whether this can be done on this machine.
fn check(what: &str) -> anyhow::Result<()> {
    if !nix::unistd::Uid::effective().is_root() {
        bail!("ferry {what} must run as root: it changes programs and services of this machine");
    }
    if !Path::new("/run/systemd/system").is_dir() {
        bail!(
            "this machine does not run systemd: let its own supervisor run `ferry up`; `ferry {what} --root=/` does the files alone"
        );
    }
    Ok(())
}

fn systemctl(arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("systemctl").args(arguments).output().context("running systemctl")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("systemctl {}: {}", arguments.join(" "), said.trim().replace('\n', " "));
    }
    Ok(())
}
