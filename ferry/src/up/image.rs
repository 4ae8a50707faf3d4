//! The images that Ferry brings itself, made of its own binary: the pause container of every pod, and the web server of
//! `examples/`. The layer holds the running executable and the shared libraries that it has mapped, at their own paths,
//! so that it runs there as it runs here, and beside it a shell, for `kubectl exec`. `ferry image` writes them to a file, with
//! one that runs Ferry's parts, as upstream's components run in containers.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The sandbox image.
pub const PAUSE: &str = "ferry.local/pause:1";
/// The example's image.
pub const WEB: &str = "ferry.local/web:1";

/// Ferry itself: its arguments say which part.
const FERRY: &str = concat!("ferry.local/ferry:", env!("CARGO_PKG_VERSION"));

/// An image's name and what it runs.
type Image = (&'static str, &'static [&'static str]);

/// What a node of Ferry's needs.
const OF_NODES: &[Image] = &[(PAUSE, &["/ferry", "pause"]), (WEB, &["/ferry", "example-web"])];

/// What a person in a container wants first, where the machine has it; none needs more than the C library.
const TOOLS: &[&str] = &["/bin/sh", "/bin/cat", "/bin/sleep", "/usr/bin/env"];

/// Makes the images and hands them to containerd, unless it has those of this very binary.
pub fn import(socket: &Path, work: &Path) -> anyhow::Result<()> {
    let executable = std::env::current_exe().context("finding the own executable")?;
    let stamp = stamp(&executable)?;
    let mark = work.join("images");
    if fs::read_to_string(&mark).is_ok_and(|text| text == stamp) {
        return Ok(());
    }
    let archive = work.join("images.tar");
    write_archive(&archive, &executable, OF_NODES)?;
    let output = Command::new("ctr")
        .args(["-a", &socket.display().to_string(), "-n", "k8s.io", "images", "import"])
        .arg(&archive)
        .output()
        .context("running ctr (of Debian's containerd)")?;
    if !output.status.success() {
        bail!("importing the images failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    fs::remove_file(&archive)?;
    fs::write(mark, stamp)?;
    Ok(())
}

/// Tells one build from another without reading all of it.
fn stamp(executable: &Path) -> anyhow::Result<String> {
    let meta = fs::metadata(executable)?;
    Ok(format!("{} {} {:?}", executable.display(), meta.len(), meta.modified()?))
}

/// The executable's shared libraries and its loader, as this process has them.
fn libraries() -> anyhow::Result<BTreeSet<PathBuf>> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let mapped = maps.lines().filter_map(|line| line.split_once('/').map(|(_, path)| format!("/{path}")));
    let files: BTreeSet<PathBuf> =
        mapped.filter(|path| path.contains(".so")).map(PathBuf::from).filter(|path| path.is_file()).collect();
    // Programs name libraries by links beside the files that are mapped (`libz.so.1` is `libz.so.1.2.13`).
    let mut found = files.clone();
    for folder in files.iter().filter_map(|file| file.parent()).collect::<BTreeSet<_>>() {
        let links = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).filter(|path| path.is_symlink());
        found.extend(links.filter(|link| link.canonicalize().is_ok_and(|target| files.contains(&target))));
    }
    // The loader is named by a link of its own.
    let loaders = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"].map(PathBuf::from);
    found.extend(loaders.into_iter().filter(|path| path.exists()));
    Ok(found)
}

/// `ferry image FILE`: an archive that `ctr images import` and its like read.
pub fn main(argv: &[String]) -> anyhow::Result<()> {
    let [file] = argv else { bail!("usage: ferry image FILE") };
    let executable = std::env::current_exe().context("finding the own executable")?;
    let images = [&[(FERRY, &["/ferry"][..])], OF_NODES].concat();
    write_archive(Path::new(file), &executable, &images).with_context(|| format!("writing {file}"))?;
    println!("{file}: {}", images.iter().map(|image| image.0).collect::<Vec<_>>().join(", "));
    Ok(())
}

fn write_archive(archive: &Path, executable: &Path, images: &[Image]) -> anyhow::Result<()> {
    let layer = layer(executable)?;
    let layer_digest = digest(&layer);
    let mut blobs = vec![(layer_digest.clone(), layer)];
    let mut put = |value: &Value| {
        let bytes = value.to_string().into_bytes();
        let (digest, size) = (digest(&bytes), bytes.len());
        blobs.push((digest.clone(), bytes));
        json!({ "digest": digest, "size": size })
    };
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let mut manifests = Vec::new();
    for (name, entrypoint) in images {
        let config = json!({
            "architecture": architecture, "os": "linux",
            "config": { "Entrypoint": entrypoint, "Env": ["PATH=/bin:/usr/bin:/"] },
            "rootfs": { "type": "layers", "diff_ids": [layer_digest] },
        });
        let mut config = put(&config);
        config["mediaType"] = "application/vnd.oci.image.config.v1+json".into();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config,
            "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer_digest, "size": 0 }],
        });
        manifests.push((*name, manifest));
    }
    let size = blobs[0].1.len();
    let mut entries = Vec::new();
    for (name, mut manifest) in manifests {
        manifest["layers"][0]["size"] = size.into();
        let bytes = manifest.to_string().into_bytes();
        entries.push(json!({
            "mediaType": manifest["mediaType"], "digest": digest(&bytes), "size": bytes.len(),
            "annotations": { "io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rsplit(':').next() },
        }));
        blobs.push((digest(&bytes), bytes));
    }
    let index = json!({ "schemaVersion": 2, "manifests": entries });
    let mut tar = tar::Builder::new(fs::File::create(archive)?);
    add(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#, 0o644)?;
    add(&mut tar, "index.json", index.to_string().as_bytes(), 0o644)?;
    for (digest, bytes) in &blobs {
        add(&mut tar, &format!("blobs/{}", digest.replace(':', "/")), bytes, 0o644)?;
    }
    tar.finish()?;
    Ok(())
}

fn layer(executable: &Path) -> anyhow::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    add(&mut tar, "ferry", &fs::read(executable)?, 0o755)?;
    let libraries = libraries()?;
    // A static program brings no libraries, and what is linked to them would not run.
    let dynamic = libraries.iter().any(|path| path.file_name().is_some_and(|name| name == "libc.so.6"));
    for tool in TOOLS.iter().filter(|tool| dynamic && Path::new(tool).is_file()) {
        add(&mut tar, tool.trim_start_matches('/'), &fs::read(tool)?, 0o755)?;
    }
    for library in libraries {
        let place = library.display().to_string();
        add(&mut tar, place.trim_start_matches('/'), &fs::read(&library)?, 0o755)?;
    }
    Ok(tar.into_inner()?)
}

fn add<W: std::io::Write>(tar: &mut tar::Builder<W>, path: &str, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    header.set_cksum();
    tar.append_data(&mut header, path, bytes)?;
    Ok(())
}

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    format!("sha256:{}", hash.iter().map(|b| format!("{b:02x}")).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_names_both_images_and_every_blob_by_its_digest() {
        let dir = tempfile::tempdir().expect("a folder");
        let (archive, executable) = (dir.path().join("a.tar"), dir.path().join("x"));
        fs::write(&executable, "binary").expect("written");
        write_archive(&archive, &executable, OF_NODES).expect("made");
        let mut tar = tar::Archive::new(fs::File::open(&archive).expect("there"));
        let mut names = Vec::new();
        for entry in tar.entries().expect("a tar") {
            let mut entry = entry.expect("an entry");
            let path = entry.path().expect("a path").display().to_string();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).expect("bytes");
            if let Some(blob) = path.strip_prefix("blobs/sha256/") {
                assert_eq!(digest(&bytes), format!("sha256:{blob}"));
            }
            if path == "index.json" {
                let index: Value = serde_json::from_slice(&bytes).expect("json");
                for manifest in index["manifests"].as_array().expect("manifests") {
                    names.push(
                        manifest["annotations"]["io.containerd.image.name"].as_str().expect("a name").to_string(),
                    );
                }
            }
        }
        assert_eq!(names, [PAUSE, WEB]);
    }
}
