//! The published packages: fetched by the registries' own clients, pinned by version and digest (`sources.txt`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

/// Lines of `name version digest`.
const RECORDED: &str = include_str!("sources.txt");

/// Where the packages are, unpacked.
pub(super) struct Sources {
    /// The definitions file of the API version.
    pub(super) definitions: PathBuf,
    /// The folder of Rust sources.
    pub(super) bindings: PathBuf,
}

impl Sources {
    pub(super) fn at(folder: &Path) -> Self {
        let schemas = "kubernetes_validate/kubernetes-json-schema/v1.36.0-local/_definitions.json";
        Self { definitions: folder.join(schemas), bindings: folder.join("k8s-pb/src") }
    }
}

/// The recorded digest of a source, or of the table.
pub(super) fn recorded(name: &str) -> anyhow::Result<&'static str> {
    line(name).map(|(_, digest)| digest)
}

fn line(name: &str) -> anyhow::Result<(&'static str, &'static str)> {
    let found = RECORDED.lines().filter(|l| !l.starts_with('#')).find_map(|line| {
        let mut words = line.split(' ');
        (words.next() == Some(name)).then(|| words.next().zip(words.next())).flatten()
    });
    found.with_context(|| format!("sources.txt has no line for {name}"))
}

/// Downloads both packages into `folder`, unless they are there, and checks their digests.
pub(super) fn fetch(folder: &Path) -> anyhow::Result<Sources> {
    fs::create_dir_all(folder)?;
    fetch_definitions(folder)?;
    fetch_bindings(folder)?;
    Ok(Sources::at(folder))
}

fn fetch_definitions(folder: &Path) -> anyhow::Result<()> {
    let (version, digest) = line("kubernetes-validate")?;
    let wheel = folder.join(format!("kubernetes_validate-{version}-py3-none-any.whl"));
    if !wheel.exists() {
        let package = format!("kubernetes-validate=={version}");
        run(Command::new("python3")
            .args(["-m", "pip", "download", "--quiet", "--no-deps", "--dest"])
            .arg(folder)
            .arg(package))?;
    }
    let found = super::digest(&fs::read(&wheel).with_context(|| wheel.display().to_string())?);
    ensure!(found == digest, "{}: digest {found}, recorded {digest}", wheel.display());
    run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(folder))
}

fn fetch_bindings(folder: &Path) -> anyhow::Result<()> {
    let (version, digest) = line("k8s-pb")?;
    let project = folder.join("project");
    fs::create_dir_all(&project)?;
    let manifest = format!(
        "[package]\nname = \"sources\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[lib]\npath = \"lib.rs\"\n[dependencies]\nk8s-pb = \"={version}\"\n[workspace]\n"
    );
    fs::write(project.join("Cargo.toml"), manifest)?;
    fs::write(project.join("lib.rs"), "")?;
    let vendor = folder.join("vendor");
    run(Command::new("cargo")
        .args(["vendor", "--quiet", "--manifest-path"])
        .arg(project.join("Cargo.toml"))
        .arg(&vendor))?;
    let package = vendor.join("k8s-pb");
    let checksums: serde_json::Value = serde_json::from_slice(&fs::read(package.join(".cargo-checksum.json"))?)?;
    ensure!(checksums["package"] == digest, "k8s-pb: digest {}, recorded {digest}", checksums["package"]);
    let linked = folder.join("k8s-pb");
    if linked.exists() {
        fs::remove_dir_all(&linked)?;
    }
    fs::rename(package, linked)?;
    fs::remove_dir_all(vendor)?;
    Ok(())
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("{:?}", command.get_program()))?;
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    Ok(())
}
