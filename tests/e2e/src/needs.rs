//! What a test needs of the machine it runs on. Without it the test skips, by name and with the reason.

use std::path::{Path, PathBuf};

/// Programs without which no machine can be made.
const ALWAYS: &[&str] =
    &["unshare", "nsenter", "setpriv", "ip", "containerd", "runc", "ctr", "nft", "conntrack", "iptables", "kubectl"];

/// Whether all of it is there; says what is not.
pub fn met(test: &str, also: &[&str]) -> bool {
    let reason = missing(also);
    if let Some(missing) = &reason {
        skips::skip(missing, &format!("({test})"));
    }
    reason.is_none()
}

fn missing(also: &[&str]) -> Option<String> {
    if !nix::unistd::Uid::effective().is_root() {
        return Some("root".into());
    }
    if !ferry().exists() {
        return Some("the built program (cargo build -p ferry)".into());
    }
    if !Path::new("/usr/lib/cni/bridge").exists() {
        return Some("the CNI plugins in /usr/lib/cni".into());
    }
    ALWAYS.iter().chain(also).find(|program| find(program).is_none()).map(|program| (*program).to_owned())
}

/// Where a program is.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/sbin", "/usr/bin", "/sbin", "/bin"]);
    folders.map(|folder| Path::new(folder).join(program)).find(|file| file.is_file())
}

/// The built program: beside the folder that holds this test.
pub fn ferry() -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    test.ancestors().nth(2).unwrap_or(Path::new("/")).join("ferry")
}
