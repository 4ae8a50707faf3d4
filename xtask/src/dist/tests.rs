use std::io::Read;

use expect_test::expect;
use flate2::read::GzDecoder;

use super::*;

fn release() -> Release {
    Release { version: "1.2.3", architecture: "x86_64".into(), time: 1_700_000_000 }
}

/// Both packages of a small program, in a folder.
fn made() -> (tempfile::TempDir, [PathBuf; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("program");
    fs::write(&program, "#!/bin/sh\n").unwrap();
    let packages = packages(&program, &release(), &dir.path().join("out")).unwrap();
    (dir, packages)
}

/// Mode, owner, time and path of each entry.
fn listing(archive: &[u8]) -> String {
    let mut tar = tar::Archive::new(GzDecoder::new(archive));
    let line = |entry: tar::Entry<'_, GzDecoder<&[u8]>>| {
        let header = entry.header();
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let (mode, owner, time) = (header.mode().unwrap(), header.uid().unwrap(), header.mtime().unwrap());
        format!("{mode:o} {owner} {time} {path}\n")
    };
    tar.entries().unwrap().map(|entry| line(entry.unwrap())).collect()
}

/// Name and content of each member of an `ar` archive.
fn members(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut rest = archive.strip_prefix(b"!<arch>\n").expect("an ar archive");
    let mut members = Vec::new();
    while !rest.is_empty() {
        let (header, content) = rest.split_at(60);
        assert_eq!(&header[58..], b"`\n");
        let field = |range: std::ops::Range<usize>| std::str::from_utf8(&header[range]).unwrap().trim().to_owned();
        let size: usize = field(48..58).parse().unwrap();
        members.push((field(0..16), content[..size].to_vec()));
        rest = &content[size + size % 2..];
    }
    members
}

fn content(archive: &[u8], path: &str) -> String {
    let mut tar = tar::Archive::new(GzDecoder::new(archive));
    let mut entry = tar.entries().unwrap().map(Result::unwrap).find(|e| e.path_bytes() == path.as_bytes()).unwrap();
    let mut text = String::new();
    entry.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn the_tarball_has_the_program_and_what_explains_it() {
    let (_dir, [tarball, _]) = made();
    assert_eq!(tarball.file_name().unwrap(), "ferry-1.2.3-linux-x86_64.tar.gz");
    expect![[r#"
        755 0 1700000000 ferry-1.2.3/
        755 0 1700000000 ferry-1.2.3/ferry
        644 0 1700000000 ferry-1.2.3/LICENSE
        644 0 1700000000 ferry-1.2.3/README.md
        644 0 1700000000 ferry-1.2.3/CHANGELOG.md
        755 0 1700000000 ferry-1.2.3/examples/
        644 0 1700000000 ferry-1.2.3/examples/web.yaml
    "#]]
    .assert_eq(&listing(&fs::read(tarball).unwrap()));
}

#[test]
fn the_debian_package_has_its_members_and_files() {
    let (_dir, [_, package]) = made();
    assert_eq!(package.file_name().unwrap(), "ferry_1.2.3_amd64.deb");
    let members = members(&fs::read(package).unwrap());
    let [(first, version), (second, control), (third, data)] = &members[..] else { panic!("{}", members.len()) };
    assert_eq!(
        [first.as_str(), second, third, std::str::from_utf8(version).unwrap()],
        ["debian-binary", "control.tar.gz", "data.tar.gz", "2.0\n"]
    );
    expect![[r#"
        644 0 1700000000 control
        644 0 1700000000 conffiles
        755 0 1700000000 postinst
        755 0 1700000000 prerm
        755 0 1700000000 postrm
    "#]]
    .assert_eq(&listing(control));
    expect![[r#"
        755 0 1700000000 usr/
        755 0 1700000000 usr/bin/
        755 0 1700000000 usr/bin/ferry
        755 0 1700000000 usr/lib/
        755 0 1700000000 usr/lib/systemd/
        755 0 1700000000 usr/lib/systemd/system/
        644 0 1700000000 usr/lib/systemd/system/ferry.service
        644 0 1700000000 usr/lib/systemd/system/ferry-node.service
        755 0 1700000000 etc/
        755 0 1700000000 etc/default/
        644 0 1700000000 etc/default/ferry
        755 0 1700000000 usr/share/
        755 0 1700000000 usr/share/doc/
        755 0 1700000000 usr/share/doc/ferry/
        644 0 1700000000 usr/share/doc/ferry/copyright
        644 0 1700000000 usr/share/doc/ferry/README.md
        755 0 1700000000 usr/share/doc/ferry/examples/
        644 0 1700000000 usr/share/doc/ferry/examples/web.yaml
    "#]]
    .assert_eq(&listing(data));
    assert_eq!(content(data, "usr/bin/ferry"), "#!/bin/sh\n");
}

#[test]
fn dpkg_reads_the_package() {
    if !Path::new("/usr/bin/dpkg-deb").exists() {
        skips::skip("dpkg-deb", "");
        return;
    }
    let (_dir, [_, package]) = made();
    let dpkg = |arguments: &[&str]| {
        let output = Command::new("dpkg-deb").args(arguments).arg(&package).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let fields = dpkg(&["--show", "--showformat=${Package} ${Version} ${Architecture} ${Depends}"]);
    expect!["ferry 1.2.3 amd64 containerd | containerd.io, runc | containerd.io, containernetworking-plugins, nftables, iptables, conntrack, iproute2"].assert_eq(&fields);
    assert_eq!(dpkg(&["--contents"]).lines().count(), 18);
}

#[test]
fn scripts_of_the_package_are_good_shell() {
    let (dir, [_, package]) = made();
    let members = members(&fs::read(package).unwrap());
    for name in ["postinst", "prerm", "postrm"] {
        let file = dir.path().join(name);
        fs::write(&file, content(&members[1].1, name)).unwrap();
        let output = Command::new("sh").arg("-n").arg(&file).output().unwrap();
        assert!(output.status.success(), "{name}: {output:?}");
    }
}

#[test]
fn the_same_input_makes_the_same_bytes() {
    let ((_a, first), (_b, second)) = (made(), made());
    for (first, second) in first.iter().zip(&second) {
        assert!(fs::read(first).unwrap() == fs::read(second).unwrap(), "{}", first.display());
    }
}

#[test]
fn a_program_that_needs_a_loader_is_told_from_one_that_does_not() {
    let own = std::env::current_exe().unwrap();
    assert!(needs_loader(&fs::read(own).unwrap()), "tests are linked dynamically");
    assert!(!needs_loader(b"#!/bin/sh\n"));
}
