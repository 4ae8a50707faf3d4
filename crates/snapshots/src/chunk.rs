//! The bytes of a snapshot.
//!
//! ```text
//! preamble  "FERRYSNP" | format u32 | length u32 | header, JSON, `length` bytes | SHA-256 of all of that
//! chunk     index u32 | kind u8 | coding u8 | 0 u16 | records u32 | plain length u32 | stored length u32          20 bytes
//!           stored bytes | SHA-256 of preamble's digest, these 20 bytes and the stored bytes
//! ...
//! chunk     of kind 255: what was counted, JSON
//! end       SHA-256 of every byte before it
//! ```
//!
//! Integers are little-endian. A chunk's content is compressed (LZ4) where that makes it smaller, and then encrypted where
//! that is asked for, with its head and the preamble's digest as associated data and its index as the nonce: so a chunk is
//! valid in its file and at its place only. The last chunk says how many there are, and nothing may follow the end.

use aws_lc_rs::digest::{self, SHA256};

use crate::{Error, Result};

pub(crate) const MAGIC: &[u8; 8] = b"FERRYSNP";
/// The version of this format.
pub(crate) const FORMAT: u32 = 1;
pub(crate) const DIGEST_BYTES: usize = 32;
pub(crate) const PREAMBLE_HEAD_BYTES: usize = 16;
pub(crate) const HEAD_BYTES: usize = 20;
/// A longer header is damage, and is not allocated.
pub(crate) const HEADER_LIMIT_BYTES: usize = 64 << 10;
/// A chunk is closed when its content has grown so large.
pub const CHUNK_BYTES: usize = 1 << 20;
/// No chunk's content is larger: a length above it is damage, and is not allocated. A value of the store has 32 MiB at most.
pub(crate) const CHUNK_LIMIT_BYTES: usize = 64 << 20;
/// What encryption adds.
pub(crate) const TAG_BYTES: usize = 16;

pub(crate) type Digest = [u8; DIGEST_BYTES];

/// What a chunk's content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Records of the store's keys, in their order.
    Objects,
    /// Files of the cluster's keys.
    Files,
    /// A piece of a tar stream: the folders of local volumes.
    Volumes,
    /// What was counted.
    End,
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Self::Objects => 1,
            Self::Files => 2,
            Self::Volumes => 3,
            Self::End => 255,
        }
    }

    fn of(byte: u8) -> Result<Self> {
        Ok(match byte {
            1 => Self::Objects,
            2 => Self::Files,
            3 => Self::Volumes,
            255 => Self::End,
            other => return Err(Error::damaged(format!("a chunk of unknown kind {other}"))),
        })
    }
}

/// The head of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub index: u32,
    pub kind: Kind,
    pub compressed: bool,
    pub records: u32,
    pub plain: u32,
    pub stored: u32,
}

impl Head {
    pub fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut out = [0; HEAD_BYTES];
        out[..4].copy_from_slice(&self.index.to_le_bytes());
        out[4] = self.kind.byte();
        out[5] = self.compressed.into();
        out[8..12].copy_from_slice(&self.records.to_le_bytes());
        out[12..16].copy_from_slice(&self.plain.to_le_bytes());
        out[16..20].copy_from_slice(&self.stored.to_le_bytes());
        out
    }

    /// Reads a head; what it says has been checked against the limits, and not yet against its digest.
    pub fn decode(bytes: &[u8; HEAD_BYTES]) -> Result<Self> {
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if bytes[5] > 1 || bytes[6..8] != [0, 0] {
            return Err(Error::damaged("a chunk of an unknown coding"));
        }
        let head = Self {
            index: number(0),
            kind: Kind::of(bytes[4])?,
            compressed: bytes[5] == 1,
            records: number(8),
            plain: number(12),
            stored: number(16),
        };
        if head.plain as usize > CHUNK_LIMIT_BYTES || head.stored as usize > CHUNK_LIMIT_BYTES + TAG_BYTES {
            return Err(Error::damaged("a chunk is larger than any that is written"));
        }
        Ok(head)
    }

    /// The digest that follows the chunk.
    pub fn digest(&self, preamble: &Digest, stored: &[u8]) -> Digest {
        let mut context = digest::Context::new(&SHA256);
        context.update(preamble);
        context.update(&self.encode());
        context.update(stored);
        finish(context)
    }
}

/// A chunk as it is read: verified against its digest, not yet opened.
#[derive(Debug)]
pub struct Chunk {
    pub(crate) head: Head,
    pub(crate) stored: Vec<u8>,
}

impl Chunk {
    /// What its content is.
    pub fn kind(&self) -> Kind {
        self.head.kind
    }

    /// The content as it is packed, where it is not encrypted.
    pub fn into_packed(self) -> Packed {
        let Head { kind, compressed, records, plain, .. } = self.head;
        Packed { kind, compressed, records, plain, body: self.stored }
    }
}

/// A chunk's content, compressed where that is worth it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    pub(crate) kind: Kind,
    pub(crate) compressed: bool,
    pub(crate) records: u32,
    pub(crate) plain: u32,
    pub(crate) body: Vec<u8>,
}

impl Packed {
    /// Packs a content of `records` records.
    ///
    /// # Errors
    /// It is larger than a chunk may be.
    pub fn new(kind: Kind, records: u32, content: &[u8]) -> Result<Self> {
        if content.len() > CHUNK_LIMIT_BYTES {
            return Err(Error::damaged(format!("{} bytes are more than a chunk may have", content.len())));
        }
        let plain = u32::try_from(content.len()).map_err(|_| Error::damaged("too large"))?;
        let smaller = lz4_flex::block::compress(content);
        Ok(match smaller.len() < content.len() {
            true => Self { kind, compressed: true, records, plain, body: smaller },
            false => Self { kind, compressed: false, records, plain, body: content.to_vec() },
        })
    }

    pub(crate) fn unpack(self) -> Result<Vec<u8>> {
        let content = match self.compressed {
            true => lz4_flex::block::decompress(&self.body, self.plain as usize)
                .map_err(|error| Error::damaged(format!("a chunk does not decompress: {error}")))?,
            false => self.body,
        };
        if content.len() != self.plain as usize {
            return Err(Error::damaged("a chunk's content has another length than it says"));
        }
        Ok(content)
    }
}

pub(crate) fn finish(context: digest::Context) -> Digest {
    let mut out = [0; DIGEST_BYTES];
    out.copy_from_slice(context.finish().as_ref());
    out
}
