//! What a node needs of the machine: root, containerd, runc, the CNI plugins, nft. What is missing is said in one line,
//! with how to get it, or installed with `--install-deps`.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// A Debian package and the files that show it is there (any of them).
const NEEDED: &[(&str, &[&str])] = &[
    ("containerd", &["/usr/bin/containerd", "/usr/local/bin/containerd"]),
    ("runc", &["/usr/sbin/runc", "/usr/bin/runc", "/usr/local/sbin/runc"]),
    ("containernetworking-plugins", &["/usr/lib/cni/bridge"]),
    ("nftables", &["/usr/sbin/nft"]),
    ("iptables", &["/usr/sbin/iptables"]),
    ("conntrack", &["/usr/sbin/conntrack"]),
    ("iproute2", &["/usr/sbin/ip", "/usr/bin/ip", "/sbin/ip"]),
];

/// Checks for the command of that name, and installs where that is asked for. With a runtime of one's own, containerd and runc
/// are that runtime's business.
pub fn check(command: &str, installs: bool, own_runtime: bool) -> anyhow::Result<()> {
    if !nix::unistd::Uid::effective().is_root() {
        let program = std::env::current_exe().map_or_else(|_| "ferry".into(), |path| path.display().to_string());
        let install = if installs { " --install-deps" } else { "" };
        bail!(
            "ferry {command} must run as root, since it starts containers and sets up their network: sudo {program} {command}{install}"
        );
    }
    let missing: Vec<&str> = NEEDED
        .iter()
        .filter(|(package, _)| !(own_runtime && matches!(*package, "containerd" | "runc")))
        .filter(|(_, files)| !files.iter().any(|file| Path::new(file).exists()))
        .map(|(package, _)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !installs {
        bail!("missing: {list}; install with `apt-get install {list}`, or run `ferry {command} --install-deps`");
    }
    println!("installing {list}");
    apt(&["update", "-q"])?;
    apt(&[&["install", "-y", "-q", "--no-install-recommends"], missing.as_slice()].concat())
}

fn apt(args: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new("apt-get");
    command.args(args).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).stdout(Stdio::null());
    let status = command.status().context("running apt-get; --install-deps needs a Debian system")?;
    if !status.success() {
        bail!("apt-get {} failed", args.join(" "));
    }
    Ok(())
}
