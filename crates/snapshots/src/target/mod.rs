//! Where snapshots are kept: a folder of this machine, or a bucket of a store that speaks S3's protocol.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::name::{self, Parts};

mod listing;
mod s3;
mod sign;

pub use s3::{Access, S3};

/// A place for snapshots.
#[derive(Debug, Clone)]
pub enum Target {
    /// A folder.
    Folder(PathBuf),
    /// A bucket, below a prefix.
    S3(Box<S3>),
}

/// A snapshot in a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, without a path.
    pub name: String,
    /// What the name says.
    pub parts: Parts,
    /// Its length.
    pub bytes: u64,
}

impl Target {
    /// The target of that name: `s3://bucket/prefix`, or a folder.
    ///
    /// # Errors
    /// The access to a bucket is not known.
    pub fn of(text: &str, access: &Access) -> anyhow::Result<Self> {
        match text.strip_prefix("s3://") {
            Some(rest) => Ok(Self::S3(Box::new(S3::new(rest, access)?))),
            None if text.contains("://") => bail!("{text:?} is neither a folder nor s3://BUCKET/PREFIX"),
            None => Ok(Self::Folder(PathBuf::from(text))),
        }
    }

    /// The snapshots in it, oldest first. Other files are not told.
    ///
    /// # Errors
    /// It can't be reached. A folder that is not there has none.
    pub async fn list(&self) -> anyhow::Result<Vec<Entry>> {
        let found = match self {
            Self::Folder(folder) => in_folder(folder)?,
            Self::S3(bucket) => bucket.list().await?,
        };
        let entry = |(name, bytes): (String, u64)| Some(Entry { parts: name::parse(&name)?, name, bytes });
        let mut entries: Vec<Entry> = found.into_iter().filter_map(entry).collect();
        entries.sort_by(|a, b| (a.parts.time, &a.name).cmp(&(b.parts.time, &b.name)));
        Ok(entries)
    }

    /// Puts a file there. In a folder it is there already, see [`crate::save`].
    ///
    /// # Errors
    /// It can't be reached, or what it has then is not the file.
    pub async fn put(&self, file: &Path, name: &str) -> anyhow::Result<()> {
        match self {
            Self::Folder(_) => Ok(()),
            Self::S3(bucket) => bucket.put(file, name).await,
        }
    }

    /// Brings a snapshot to a file below `folder`; where it is already on this machine, says where.
    ///
    /// # Errors
    /// It is not there, or can't be read.
    pub async fn fetch(&self, name: &str, folder: &Path) -> anyhow::Result<PathBuf> {
        match self {
            Self::Folder(own) => Ok(own.join(name)),
            Self::S3(bucket) => {
                let path = folder.join(name);
                bucket.get(name, &path).await?;
                Ok(path)
            }
        }
    }

    /// Deletes one.
    ///
    /// # Errors
    /// It can't be. That it has gone is none.
    pub async fn delete(&self, name: &str) -> anyhow::Result<()> {
        match self {
            Self::Folder(folder) => match std::fs::remove_file(folder.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context(name.to_owned()),
                _ => Ok(()),
            },
            Self::S3(bucket) => bucket.delete(name).await,
        }
    }

    /// How people write where a snapshot is.
    pub fn place(&self, name: &str) -> String {
        match self {
            Self::Folder(folder) => folder.join(name).display().to_string(),
            Self::S3(bucket) => bucket.place(name),
        }
    }
}

fn in_folder(folder: &Path) -> anyhow::Result<Vec<(String, u64)>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("reading {}", folder.display()))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        // One that goes meanwhile is not there.
        let Ok(meta) = entry.metadata() else { continue };
        if let Some(name) = entry.file_name().to_str().filter(|_| meta.is_file()) {
            found.push((name.to_owned(), meta.len()));
        }
    }
    Ok(found)
}
