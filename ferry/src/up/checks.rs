//! What is wrong with what `ferry up` was given or with the machine, found before anything is started and said in one line
//! with what to do.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, bail};

use super::flags::Layout;
use super::progress::Progress;

/// The longest path of a socket, less what containerd appends to its own for a second one (`.ttrpc`).
const LONGEST_SOCKET: usize = 107 - 6;

/// What is said of a port that somebody else has.
pub const PORT_TAKEN: &str = "another program, perhaps another cluster's, has a port that a node needs: end it";

/// Whether a node can listen there. Found out by listening, for a moment.
pub fn port_is_free(address: SocketAddr) -> anyhow::Result<()> {
    let Err(error) = TcpListener::bind(address) else { return Ok(()) };
    let taken = error.kind() == ErrorKind::AddrInUse;
    let error = anyhow::Error::from(error).context(format!("listening on {address}"));
    Err(if taken { error.context(PORT_TAKEN) } else { error })
}

/// The node's name: as given, or the host's.
pub fn node_name(given: Option<&str>) -> anyhow::Result<String> {
    let name = match given {
        Some(name) => name.to_owned(),
        None => nix::unistd::gethostname()?.to_string_lossy().trim().to_lowercase(),
    };
    match (machinery::names::dns1123_subdomain(&name).into_iter().next(), given) {
        (None, _) => Ok(name),
        (Some(why), Some(_)) => bail!("--node-name {name:?} cannot be a node's name: {why}"),
        (Some(why), None) => {
            bail!("the host's name {name:?} cannot be a node's name; give one with --node-name: {why}")
        }
    }
}

/// The data directory, made where it is missing.
pub fn layout(data: &Path) -> anyhow::Result<Layout> {
    let layout = Layout::new(data).with_context(|| {
        format!("{} cannot be the data directory; give another one with --data-dir", data.display())
    })?;
    let socket = layout.socket();
    let over = socket.as_os_str().as_bytes().len().saturating_sub(LONGEST_SOCKET);
    if over > 0 {
        bail!(
            "the path of {} is too long by {over} bytes for the sockets in it; give another one with --data-dir",
            layout.data.display()
        );
    }
    // A full or read-only disk shows here, and not first in a part that tries again for ever.
    let probe = layout.data.join(".writable");
    fs::write(&probe, "x")
        .and_then(|()| fs::remove_file(&probe))
        .with_context(|| format!("{} cannot be written; give another one with --data-dir", layout.data.display()))?;
    Ok(layout)
}

/// Lets the kernel route pods' packets, and Services' answers pass the bridge. Where that cannot be set (inside a
/// container), it is said and the rest goes on.
pub fn forward_packets(progress: &Progress) {
    let _ = std::process::Command::new("modprobe").arg("br_netfilter").output();
    for (file, must) in [("net/ipv4/ip_forward", true), ("net/bridge/bridge-nf-call-iptables", false)] {
        let path = format!("/proc/sys/{file}");
        if fs::write(&path, "1").is_err() && must && fs::read_to_string(&path).is_ok_and(|text| text.trim() != "1") {
            progress.warn(&format!("cannot write {path}: pods may not reach other hosts"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_nodes_are_checked_before_anything_starts() {
        assert_eq!(node_name(Some("a.b-c")).unwrap(), "a.b-c");
        let said = node_name(Some("my_host")).unwrap_err().to_string();
        assert!(said.starts_with("--node-name \"my_host\" cannot be a node's name: a lowercase RFC 1123"), "{said}");
    }

    #[test]
    fn data_directories_that_cannot_be_are_refused_in_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let said = |path: &Path| {
            let said = format!("{:#}", layout(path).unwrap_err());
            assert_eq!(said.lines().count(), 1, "{said}");
            said.replace(&dir.path().display().to_string(), "DIR")
        };
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(
            said(&file),
            "DIR/file cannot be the data directory; give another one with --data-dir: File exists (os error 17)"
        );
        let long = dir.path().join("x".repeat(100));
        assert!(said(&long).contains("bytes for the sockets in it; give another one"));
        assert!(layout(&dir.path().join("a/b")).is_ok());
    }
}
