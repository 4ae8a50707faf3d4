//! Takes a snapshot: what the API server streams is written, read back, and put where it belongs. The command and the schedule
//! do it alike.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use bytes::Bytes;
use component::supervisor::blocking;
use http_body_util::BodyExt;
use kube::client::Body;
use snapshots::target::Target;
use snapshots::{Contents, File, Saved, Secret, name, save};
use tokio::sync::mpsc;

/// Pieces of the stream that wait to be written.
const PIECES: usize = 16;
/// An answer that is an error is not longer.
const ERROR_BYTES: usize = 64 << 10;
/// How often one is tried whose stream breaks off.
const ATTEMPTS: usize = 3;
/// How that is known.
const BROKE_OFF: io::ErrorKind = io::ErrorKind::ConnectionAborted;

/// What is wanted.
pub struct Wanted {
    /// The cluster.
    pub client: kube::Client,
    /// Its data directory, if it is this machine's.
    pub data_dir: PathBuf,
    /// Where the snapshot is kept.
    pub target: Target,
    /// Where it is written first, where the target is no folder.
    pub folder: PathBuf,
    /// The beginning of its name.
    pub label: String,
    /// What it is encrypted with.
    pub secret: Option<Secret>,
    /// With the cluster's keys.
    pub with_keys: bool,
    /// With this machine's local volumes.
    pub with_volumes: bool,
}

/// A snapshot that is where it belongs.
pub struct Taken {
    /// What was written.
    pub saved: Saved,
    /// Its name.
    pub name: String,
    /// Where it is, as people write it.
    pub place: String,
}

/// Takes one. A stream that broke off is asked for again: under very many writes a store forgets its history within seconds.
pub async fn take(wanted: Wanted) -> anyhow::Result<Taken> {
    for _ in 1..ATTEMPTS {
        match attempt(&wanted).await {
            Err(error) if broke_off(&error) => tracing::info!(error = format!("{error:#}"), "taking a snapshot again"),
            done => return done,
        }
    }
    attempt(&wanted).await
}

fn broke_off(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(snapshots::Error::Io(error)) if error.kind() == BROKE_OFF)
}

async fn attempt(wanted: &Wanted) -> anyhow::Result<Taken> {
    let Wanted { client, data_dir, target, folder, label, secret, with_keys, with_volumes } = wanted;
    let mut contents = Contents::default();
    // As it is named in volumes, however it was given.
    let data_dir = data_dir.canonicalize().unwrap_or_else(|_| data_dir.clone());
    if data_dir.join("pki").exists() {
        contents.data_dir = Some(data_dir.clone());
    }
    if *with_keys {
        contents.files = keys(&data_dir.join("pki"))?;
    }
    if *with_volumes {
        contents.volumes = Some(data_dir.join("kubelet/local-volumes"));
    }
    let folder = match target {
        Target::Folder(own) => own.clone(),
        Target::S3(_) => folder.clone(),
    };
    make_folder(&folder)?;
    let (stream, label, secret) = (open(client).await?, label.clone(), secret.clone());
    let saved = blocking("writing a snapshot", move || {
        save(stream, &contents, secret.as_ref(), |header| folder.join(name::of(&label, header)))
    });
    let saved = saved.await??;
    let name = saved.path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    if let Target::S3(_) = target {
        let put = target.put(&saved.path, &name).await;
        std::fs::remove_file(&saved.path).with_context(|| saved.path.display().to_string())?;
        put?;
    }
    Ok(Taken { place: target.place(&name), name, saved })
}

/// A folder that its owner alone looks into.
fn make_folder(folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("making {}", folder.display()))
}

/// The cluster's keys: all of its folder.
pub fn keys(folder: &Path) -> anyhow::Result<Vec<File>> {
    use std::os::unix::fs::PermissionsExt;
    let reading = || format!("the cluster's keys are in {}, on the machine of its API server", folder.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(reading)? {
        let entry = entry.with_context(reading)?;
        let meta = entry.metadata().with_context(reading)?;
        let Some(name) = entry.file_name().to_str().map(String::from) else { continue };
        if meta.is_file() && (name.ends_with(".crt") || name.ends_with(".key") || name.ends_with(".pub")) {
            let content = std::fs::read(entry.path()).with_context(reading)?;
            files.push(File { name, mode: meta.permissions().mode() & 0o777, content });
        }
    }
    if !files.iter().any(|file| file.name == "ca.key") {
        bail!(
            "{} has no ca.key: this cluster's authority is somebody else's, and has to be kept there",
            folder.display()
        );
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// The stream of the API server's snapshot, to be read by a thread.
async fn open(client: &kube::Client) -> anyhow::Result<impl Read + Send + 'static> {
    let request = http::Request::get(apiserver::SNAPSHOT).body(Body::empty())?;
    let response = client.send(request).await.context("asking the API server for a snapshot")?;
    let status = response.status();
    let mut body = response.into_body();
    if !status.is_success() {
        let mut text = Vec::new();
        while let Some(Ok(frame)) = body.frame().await {
            text.extend_from_slice(frame.data_ref().map(|bytes| bytes.as_ref()).unwrap_or_default());
            if text.len() > ERROR_BYTES {
                break;
            }
        }
        let said = serde_json::from_slice::<serde_json::Value>(&text).ok();
        let message = said.as_ref().and_then(|status| status["message"].as_str());
        match message {
            Some(message) => bail!("Error from server: {message}"),
            None if status == http::StatusCode::NOT_FOUND => {
                bail!("this API server takes no snapshots: it is not Ferry's")
            }
            None => bail!("the API server answered {status}"),
        }
    }
    let (send, receive) = mpsc::channel::<io::Result<Bytes>>(PIECES);
    component::supervisor::detached("snapshot stream", async move {
        while let Some(frame) = body.frame().await {
            let piece = match frame {
                Ok(frame) => frame.into_data().map_err(|_| io::Error::other("no data")),
                Err(error) => {
                    Err(io::Error::new(BROKE_OFF, format!("the stream of the API server broke off: {error}")))
                }
            };
            let failed = piece.is_err();
            if send.send(piece).await.is_err() || failed {
                return;
            }
        }
    });
    Ok(Pieces { receive, piece: Bytes::new() })
}

/// A stream of pieces, read.
struct Pieces {
    receive: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.receive.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let piece = self.piece.split_to(out.len().min(self.piece.len()));
        out[..piece.len()].copy_from_slice(&piece);
        Ok(piece.len())
    }
}
