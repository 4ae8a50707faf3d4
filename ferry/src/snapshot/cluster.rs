//! A whole cluster from a snapshot, while nothing runs. The file is read through once, to its end, before anything is written.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail};
use apiserver::restore::{Etcd, Moved, into_directory, into_etcd};
use component::supervisor::blocking;
use snapshots::{Content, Reader, Secret, verify, volumes};

use super::restore::Restore;

/// Restores it.
pub async fn restore(flags: &Restore, file: &Path, secret: Option<Secret>) -> anyhow::Result<()> {
    let data_dir = std::path::absolute(&flags.place.data_dir)?;
    let etcd = !flags.etcd_servers.is_empty();
    empty(&data_dir, etcd)?;
    if flags.bump_revision < 0 {
        bail!("--bump-revision {} would go back in time", flags.bump_revision);
    }
    let (path, known) = (file.to_owned(), secret.clone());
    let summary = blocking("verifying a snapshot", move || verify(fs::File::open(&path)?, known.as_ref())).await?;
    let header = summary.with_context(|| file.display().to_string())?.header;
    if header.encryption.is_some() && secret.is_none() {
        bail!("{} is encrypted: give --key-file or --passphrase-file", file.display());
    }
    let mut reader = Reader::open(fs::File::open(file)?)?;
    reader.unlock(secret.as_ref())?;
    fs::create_dir_all(&data_dir).with_context(|| data_dir.display().to_string())?;
    // As `ferry up` will name it in volumes.
    let data_dir = data_dir.canonicalize()?;
    let moved = (!header.volumes.is_empty())
        .then(|| Moved { from: header.volumes.clone(), to: data_dir.join(VOLUMES).display().to_string() });
    let (restored, mut reader) = match etcd {
        true => {
            let etcd = Etcd {
                servers: flags.etcd_servers.clone(),
                ca_file: flags.etcd_cafile.clone(),
                cert_file: flags.etcd_certfile.clone(),
                key_file: flags.etcd_keyfile.clone(),
            };
            (into_etcd(&mut reader, etcd, moved.as_ref()).await?, reader)
        }
        false => {
            let (data_dir, rise) = (data_dir.clone(), flags.bump_revision);
            let restored = blocking("restoring a snapshot", move || {
                into_directory(&mut reader, &data_dir, rise, moved.as_ref()).map(|restored| (restored, reader))
            });
            restored.await??
        }
    };
    let mut with_keys = false;
    while let Some(content) = reader.content()? {
        match content {
            Content::Objects(_) => bail!("objects stand where none should"),
            Content::Files(files) => {
                with_keys = true;
                let folder = data_dir.join("pki");
                fs::create_dir_all(&folder)?;
                for file in files {
                    write(&folder.join(&file.name), &file.content, file.mode)?;
                }
                fs::File::open(&folder)?.sync_all()?;
            }
            Content::Volumes(first) => volumes::unpack(&mut reader, first, &data_dir.join(VOLUMES))?,
        }
    }
    println!("{} keys of {} restored; the store is at revision {}", restored.keys, header.time, restored.revision);
    if restored.expired + restored.unreadable > 0 {
        println!("{} had expired, {} could not be read and are as they were", restored.expired, restored.unreadable);
    }
    if !with_keys {
        println!("the cluster's keys are not in it: it gets new ones, and everybody a new kubeconfig");
    }
    let more = if etcd { format!(" --etcd-servers {}", flags.etcd_servers.join(",")) } else { String::new() };
    println!("now: ferry up --data-dir {}{more}", data_dir.display());
    Ok(())
}

/// Where `ferry up` keeps the local volumes in its data directory.
const VOLUMES: &str = "kubelet/local-volumes";

/// Nothing of a cluster is written over.
fn empty(data_dir: &Path, etcd: bool) -> anyhow::Result<()> {
    let holds = |name: &str| fs::read_dir(data_dir.join(name)).is_ok_and(|mut entries| entries.next().is_some());
    for name in ["store", "pki", VOLUMES] {
        if holds(name) && !(etcd && name == "store") {
            bail!(
                "{} holds a cluster already ({name}/); restore into another --data-dir, or move that one away",
                data_dir.display()
            );
        }
    }
    Ok(())
}

fn write(path: &Path, content: &[u8], mode: u32) -> anyhow::Result<()> {
    let opened = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let mut file = opened.with_context(|| path.display().to_string())?;
    file.write_all(content).and_then(|()| file.sync_all()).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_in_use_is_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        empty(dir.path(), false).unwrap();
        fs::create_dir_all(dir.path().join("store")).unwrap();
        empty(dir.path(), false).unwrap();
        fs::write(dir.path().join("store/log-1"), "x").unwrap();
        let said = empty(dir.path(), false).unwrap_err().to_string();
        assert!(said.contains("holds a cluster already (store/)"), "{said}");
        empty(dir.path(), true).unwrap();
    }
}
