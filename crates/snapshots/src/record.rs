//! The records within chunks: a key of the store with its revisions, a file of the cluster's keys.
//!
//! ```text
//! object  key length u32 | value length u32 | mod revision i64 | create revision i64 | version i64 | expires i64 | key | value
//! file    name length u32 | content length u32 | mode u32 | name | content
//! ```

use bytes::Bytes;

use crate::{Error, Result};

const OBJECT_BYTES: usize = 40;
const FILE_BYTES: usize = 12;

/// One key of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The whole key.
    pub key: String,
    /// The stored bytes.
    pub value: Bytes,
    /// The revision of its last write.
    pub mod_revision: i64,
    /// The revision that created it.
    pub create_revision: i64,
    /// Writes since then.
    pub version: i64,
    /// When its time to live ends, unix seconds; 0 for never.
    pub expires: i64,
}

impl Object {
    /// About how many bytes it takes.
    pub fn size(&self) -> usize {
        OBJECT_BYTES + self.key.len() + self.value.len()
    }

    /// Appends its bytes.
    ///
    /// # Errors
    /// It has lengths that nothing has.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(&length(self.key.len())?.to_le_bytes());
        out.extend_from_slice(&length(self.value.len())?.to_le_bytes());
        for number in [self.mod_revision, self.create_revision, self.version, self.expires] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(self.key.as_bytes());
        out.extend_from_slice(&self.value);
        Ok(())
    }

    /// All objects of a chunk. Their values share its memory.
    pub(crate) fn decode_all(content: Vec<u8>, records: u32) -> Result<Vec<Self>> {
        let content = Bytes::from(content);
        let mut objects = Vec::with_capacity((records as usize).min(content.len() / OBJECT_BYTES));
        let mut at = 0;
        while at < content.len() {
            let head = take(&content, &mut at, OBJECT_BYTES)?;
            let (key_length, value_length) = (u32_at(&head, 0) as usize, u32_at(&head, 4) as usize);
            let key = text(&take(&content, &mut at, key_length)?)?;
            let value = take(&content, &mut at, value_length)?;
            let number = |from: usize| {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(&head[from..from + 8]);
                i64::from_le_bytes(bytes)
            };
            let (mod_revision, create_revision) = (number(8), number(16));
            objects.push(Self { key, value, mod_revision, create_revision, version: number(24), expires: number(32) });
        }
        counted(objects, records)
    }
}

/// A file of the cluster's keys.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// Its name in the folder of the keys, without a path.
    pub name: String,
    /// Its permissions.
    pub mode: u32,
    /// What is in it.
    pub content: Vec<u8>,
}

impl std::fmt::Debug for File {
    // Keys are never shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({:o}, {} bytes)", self.name, self.mode, self.content.len())
    }
}

impl File {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(&length(self.name.len())?.to_le_bytes());
        out.extend_from_slice(&length(self.content.len())?.to_le_bytes());
        out.extend_from_slice(&self.mode.to_le_bytes());
        out.extend_from_slice(self.name.as_bytes());
        out.extend_from_slice(&self.content);
        Ok(())
    }

    pub(crate) fn decode_all(content: Vec<u8>, records: u32) -> Result<Vec<Self>> {
        let content = Bytes::from(content);
        let mut files = Vec::new();
        let mut at = 0;
        while at < content.len() {
            let head = take(&content, &mut at, FILE_BYTES)?;
            let (name_length, content_length) = (u32_at(&head, 0) as usize, u32_at(&head, 4) as usize);
            let name = text(&take(&content, &mut at, name_length)?)?;
            // It becomes a part of a path.
            if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', '\0']) {
                return Err(Error::damaged(format!("{name:?} is no name of a key's file")));
            }
            let content = take(&content, &mut at, content_length)?.to_vec();
            files.push(Self { name, mode: u32_at(&head, 8) & 0o777, content });
        }
        counted(files, records)
    }
}

fn counted<T>(all: Vec<T>, records: u32) -> Result<Vec<T>> {
    if all.len() == records as usize {
        return Ok(all);
    }
    Err(Error::damaged(format!("a chunk has {} records, and says {records}", all.len())))
}

fn take(content: &Bytes, at: &mut usize, length: usize) -> Result<Bytes> {
    let end = at.checked_add(length).filter(|end| *end <= content.len());
    let end = end.ok_or_else(|| Error::damaged("a record ends too early"))?;
    let taken = content.slice(*at..end);
    *at = end;
    Ok(taken)
}

fn text(bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Error::damaged("a record's name is not UTF-8"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn length(of: usize) -> Result<u32> {
    u32::try_from(of).map_err(|_| Error::damaged("a record is too large"))
}
