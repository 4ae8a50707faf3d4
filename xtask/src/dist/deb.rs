//! The Debian package: an `ar` archive of three members, the format's version, the control files and the files. It has the
//! same units as `ferry install`, at their place of packages, and pulls in what a node needs.

use anyhow::Context;

use super::{File, Release, source, tar_gz};

/// What `ferry up` needs of the machine (`ferry/src/up/dependencies.rs`); Docker's containerd brings its own runc.
const DEPENDS: &str = "containerd | containerd.io, runc | containerd.io, containernetworking-plugins, nftables, \
                       iptables, conntrack, iproute2";

const AFTER_INSTALLATION: &str = "#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    # Containers go on meanwhile.
    if [ \"$1\" = configure ] && [ -n \"$2\" ]; then systemctl try-restart ferry.service ferry-node.service; fi
fi
";
const BEFORE_REMOVAL: &str = "#!/bin/sh
set -e
if [ \"$1\" = remove ]; then
    if [ -d /run/systemd/system ]; then systemctl disable --now ferry.service ferry-node.service; fi
    ferry down
fi
";
const AFTER_REMOVAL: &str = "#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
if [ \"$1\" = purge ]; then rm -rf --one-file-system /var/lib/ferry; fi
";

/// Debian's name of a processor.
pub fn architecture(rust: &str) -> &str {
    match rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The package's bytes.
pub fn package(program: &[u8], release: &Release) -> anyhow::Result<Vec<u8>> {
    let file = |path: &str, bytes: Vec<u8>| File { path: path.into(), bytes, executable: false };
    let files = [
        File { path: "usr/bin/ferry".into(), bytes: program.to_vec(), executable: true },
        file("usr/lib/systemd/system/ferry.service", source("deploy/ferry.service")?),
        file("usr/lib/systemd/system/ferry-node.service", source("deploy/ferry-node.service")?),
        file("etc/default/ferry", source("deploy/ferry.default")?),
        file("usr/share/doc/ferry/copyright", source("LICENSE")?),
        file("usr/share/doc/ferry/README.md", source("README.md")?),
        file("usr/share/doc/ferry/examples/web.yaml", source("examples/web.yaml")?),
    ];
    let kilobytes: usize = files.iter().map(|file| file.bytes.len().div_ceil(1024)).sum();
    let script = |path: &str, text: &str| File { path: path.into(), bytes: text.into(), executable: true };
    let control = [
        file("control", control(release, kilobytes).into_bytes()),
        file("conffiles", b"/etc/default/ferry\n".to_vec()),
        script("postinst", AFTER_INSTALLATION),
        script("prerm", BEFORE_REMOVAL),
        script("postrm", AFTER_REMOVAL),
    ];
    let mut archive = b"!<arch>\n".to_vec();
    let time = release.time;
    for (name, bytes) in [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar.gz", tar_gz("", &control, time).context("control.tar.gz")?),
        ("data.tar.gz", tar_gz("", &files, time).context("data.tar.gz")?),
    ] {
        archive.extend(format!("{name:<16}{time:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, "100644", bytes.len()).bytes());
        let odd = bytes.len() % 2;
        archive.extend(bytes);
        archive.extend(std::iter::repeat_n(b'\n', odd));
    }
    Ok(archive)
}

fn control(release: &Release, kilobytes: usize) -> String {
    let (version, architecture) = (release.version, architecture(&release.architecture));
    format!(
        "Package: ferry
Version: {version}
Architecture: {architecture}
Maintainer: The Ferry authors <ferry@localhost>
Installed-Size: {kilobytes}
Depends: {DEPENDS}
Section: admin
Priority: optional
Description: Kubernetes as one program
 API server, scheduler, controller manager, kubelet, service proxy, cluster
 DNS and kubectl in one binary. `systemctl enable --now ferry` brings up a
 cluster on this machine; each part also runs alone, with upstream's flags.
"
    )
}
