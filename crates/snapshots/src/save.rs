//! Writes a snapshot's file from what an API server sends, and believes it only when it has read it back.
//!
//! The file has another name until it is whole, on the disk and verified: a crash or a full disk leaves nothing that could be
//! taken for a snapshot. Chunks are passed on as they come, so a cluster of any size takes a few chunks of memory.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::chunk::Kind;
use crate::{
    CHUNK_BYTES, Encoder, Error, File, Header, Packed, Reader, Result, Secret, Summary, Totals, verify, volumes,
};

/// What goes into a snapshot beside the store's keys.
#[derive(Debug, Default)]
pub struct Contents {
    /// The cluster's keys.
    pub files: Vec<File>,
    /// The folder of the local volumes.
    pub volumes: Option<PathBuf>,
    /// The data directory, for those who restore elsewhere.
    pub data_dir: Option<PathBuf>,
}

/// A snapshot that is whole, on the disk, and was read back.
#[derive(Debug)]
pub struct Saved {
    /// Where it is.
    pub path: PathBuf,
    /// What it says of itself.
    pub header: Header,
    /// What is in it.
    pub totals: Totals,
    /// The file's length.
    pub bytes: u64,
}

/// Writes a snapshot to the path that `at` makes of its header. `input` is a snapshot as an API server sends it: not
/// encrypted, the store's keys alone.
///
/// # Errors
/// The input ends early or is damaged, the disk fails, there is a file of that name, or what was written is not what is read.
pub fn save(
    input: impl Read,
    contents: &Contents,
    secret: Option<&Secret>,
    at: impl FnOnce(&Header) -> PathBuf,
) -> Result<Saved> {
    let mut reader = Reader::open(input)?;
    reader.unlock(None)?;
    let text = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    let header = Header {
        cluster_keys: !contents.files.is_empty(),
        volumes: text(&contents.volumes),
        data_dir: text(&contents.data_dir),
        ..reader.header().clone()
    };
    let path = at(&header);
    if path.exists() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} is there already", path.display())).into());
    }
    let partial = Partial::create(&path)?;
    let (mut encoder, begin) = Encoder::begin(&header, secret)?;
    let mut file = &partial.file;
    file.write_all(&begin)?;
    while let Some(chunk) = reader.chunk()? {
        if chunk.kind() == Kind::End {
            let content = reader.plain(chunk)?;
            reader.at_the_end(&content)?;
            break;
        }
        file.write_all(&encoder.chunk(chunk.into_packed())?)?;
    }
    if !contents.files.is_empty() {
        let mut content = Vec::new();
        contents.files.iter().try_for_each(|file| file.encode(&mut content))?;
        let count = u32::try_from(contents.files.len()).map_err(|_| Error::damaged("too many files"))?;
        file.write_all(&encoder.chunk(Packed::new(Kind::Files, count, &content)?)?)?;
    }
    if let Some(folder) = &contents.volumes {
        let sink = Chunks { encoder: &mut encoder, file, content: Vec::with_capacity(CHUNK_BYTES) };
        volumes::pack(folder, sink)?.flush()?;
    }
    let (end, totals) = encoder.end()?;
    file.write_all(&end)?;
    file.sync_all()?;
    let Summary { header, totals: read } = verify(fs::File::open(&partial.path)?, secret)?;
    if read != Some(totals) {
        return Err(Error::damaged(format!("{read:?} was read where {totals:?} was written")));
    }
    let bytes = partial.file.metadata()?.len();
    partial.keep(&path)?;
    Ok(Saved { path, header, totals, bytes })
}

/// A file that goes unless it is kept.
struct Partial {
    file: fs::File,
    path: PathBuf,
    kept: bool,
}

impl Partial {
    fn create(path: &Path) -> Result<Self> {
        let (folder, name) = place(path)?;
        let path = folder.join(format!(".{name}.partial"));
        // What is in a snapshot is as secret as the cluster's secrets.
        let mut options = fs::OpenOptions::new();
        let opened = options.write(true).create_new(true).mode(0o600).open(&path);
        let file = match opened {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Of a process that was killed: two that live never write the same revision at the same second.
                fs::remove_file(&path)?;
                options.open(&path)?
            }
            opened => opened.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?,
        };
        Ok(Self { file, path, kept: false })
    }

    /// Gives it its name, for good.
    fn keep(mut self, path: &Path) -> Result<()> {
        fs::rename(&self.path, path)?;
        self.kept = true;
        fs::File::open(place(path)?.0)?.sync_all()?;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.kept {
            drop(fs::remove_file(&self.path));
        }
    }
}

fn place(path: &Path) -> Result<(&Path, &str)> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name =
        name.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("{} is no file", path.display())))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((folder, name))
}

/// Cuts a stream into chunks.
struct Chunks<'e> {
    encoder: &'e mut Encoder,
    file: &'e fs::File,
    content: Vec<u8>,
}

impl Write for Chunks<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK_BYTES - self.content.len());
        self.content.extend_from_slice(&bytes[..taken]);
        if self.content.len() == CHUNK_BYTES {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.content.is_empty() {
            return Ok(());
        }
        let packed = Packed::new(Kind::Volumes, 0, &self.content).map_err(io::Error::other)?;
        let bytes = self.encoder.chunk(packed).map_err(io::Error::other)?;
        self.content.clear();
        self.file.write_all(&bytes)
    }
}
