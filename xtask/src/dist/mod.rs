//! `cargo xtask dist`: packages of the static release binary, a tarball for any Linux and a .deb. The same commit makes the
//! same bytes: files have the commit's time and no owner but root.

mod deb;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use clap::Parser;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::image::target;
use crate::root;

/// Makes packages of the static release binary.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask dist", no_binary_name = true)]
struct Flags {
    /// Where the packages go [default: the target folder's dist/]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Package this program instead of building one
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// A file of a package: its path there, what is in it, and whether it can be run.
struct File {
    path: String,
    bytes: Vec<u8>,
    executable: bool,
}

/// What a package is made from, beside the program.
struct Release {
    version: &'static str,
    /// The processor, as Rust names it.
    architecture: String,
    /// Seconds since 1970: the time of every file.
    time: u64,
}

/// Builds, and writes both packages.
pub fn main(argv: &[String]) -> anyhow::Result<()> {
    let flags = Flags::try_parse_from(argv).unwrap_or_else(|error| error.exit());
    let binary = match flags.binary {
        Some(binary) => binary,
        None => build()?,
    };
    let release =
        Release { version: env!("CARGO_PKG_VERSION"), architecture: std::env::consts::ARCH.to_owned(), time: time() };
    let out = flags.out.unwrap_or_else(|| target().join("dist"));
    for package in packages(&binary, &release, &out)? {
        println!("{}: {:.1} MB", package.display(), fs::metadata(&package)?.len() as f64 / 1e6);
    }
    Ok(())
}

/// The static release binary. It is built for a target by name, so that what runs while building is not static too.
fn build() -> anyhow::Result<PathBuf> {
    let host = Command::new("rustc").args(["--print", "host-tuple"]).output().context("running rustc")?;
    let host = String::from_utf8(host.stdout)?.trim().to_owned();
    println!("building ferry (release, static, for {host}); most of the time goes into one link over everything");
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default() + " -C target-feature=+crt-static";
    let status = Command::new("cargo")
        .args(["build", "--release", "--locked", "--package", "ferry", "--target", &host])
        .env("RUSTFLAGS", flags.trim())
        .current_dir(root())
        .status()
        .context("running cargo")?;
    if !status.success() {
        bail!("the build failed");
    }
    let binary = target().join(host).join("release/ferry");
    if needs_loader(&fs::read(&binary).with_context(|| binary.display().to_string())?) {
        bail!("{} is not static: it would need this machine's libraries", binary.display());
    }
    Ok(binary)
}

/// Whether an ELF program names a loader for shared libraries.
fn needs_loader(program: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let number = |at: usize, length: usize| {
        let bytes = program.get(at..at + length).unwrap_or_default();
        bytes.iter().rev().fold(0, |number: usize, byte| number << 8 | usize::from(*byte))
    };
    // Of a 64-bit little-endian header: where the segments' table is, how long an entry, and how many.
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).any(|n| number(table + n * size, 4) == PT_INTERP as usize)
}

/// The commit's time, or what `SOURCE_DATE_EPOCH` says.
fn time() -> u64 {
    let set = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse().ok());
    let commit = || {
        let output = Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(root()).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    set.or_else(commit).unwrap_or(0)
}

/// Writes both packages to `out`; their paths.
fn packages(binary: &Path, release: &Release, out: &Path) -> anyhow::Result<[PathBuf; 2]> {
    let program = fs::read(binary).with_context(|| format!("reading {}", binary.display()))?;
    fs::create_dir_all(out)?;
    let tarball = out.join(format!("ferry-{}-linux-{}.tar.gz", release.version, release.architecture));
    fs::write(&tarball, tarball_of(&program, release)?)?;
    let architecture = deb::architecture(&release.architecture);
    let debian = out.join(format!("ferry_{}_{architecture}.deb", release.version));
    fs::write(&debian, deb::package(&program, release)?)?;
    Ok([tarball, debian])
}

fn tarball_of(program: &[u8], release: &Release) -> anyhow::Result<Vec<u8>> {
    let folder = format!("ferry-{}", release.version);
    let mut files = vec![File { path: format!("{folder}/ferry"), bytes: program.to_vec(), executable: true }];
    for path in ["LICENSE", "README.md", "CHANGELOG.md", "examples/web.yaml"] {
        files.push(File { path: format!("{folder}/{path}"), bytes: source(path)?, executable: false });
    }
    tar_gz("", &files, release.time)
}

/// A file of the repository.
fn source(path: &str) -> anyhow::Result<Vec<u8>> {
    fs::read(root().join(path)).with_context(|| format!("reading {path}"))
}

/// A compressed archive of the files below `prefix`, with the folders that they are in.
fn tar_gz(prefix: &str, files: &[File], time: u64) -> anyhow::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    let header = |kind: tar::EntryType, mode: u32, size: usize| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(size as u64);
        header.set_mtime(time);
        header
    };
    let mut folders = std::collections::BTreeSet::new();
    for file in files {
        let path = Path::new(&file.path);
        let mut above: Vec<&Path> = path.ancestors().skip(1).filter(|folder| *folder != Path::new("")).collect();
        above.reverse();
        for folder in above.into_iter().filter(|folder| folders.insert(folder.to_path_buf())) {
            let name = format!("{prefix}{}/", folder.display());
            tar.append_data(&mut header(tar::EntryType::Directory, 0o755, 0), name, std::io::empty())?;
        }
        let mode = if file.executable { 0o755 } else { 0o644 };
        let mut header = header(tar::EntryType::Regular, mode, file.bytes.len());
        tar.append_data(&mut header, format!("{prefix}{}", file.path), file.bytes.as_slice())?;
    }
    let mut gzip = tar.into_inner()?;
    gzip.flush()?;
    Ok(gzip.finish()?)
}

#[cfg(test)]
mod tests;
