//! Makes a snapshot's bytes: preamble, chunks in order, end. Where they go is the caller's business.

use aws_lc_rs::digest::{self, SHA256};

use crate::chunk::{self, Digest, FORMAT, Head, Kind, MAGIC, Packed, TAG_BYTES};
use crate::crypt::{FileKey, Secret};
use crate::{Error, Header, Result, Totals};

/// See the module.
pub struct Encoder {
    preamble: Digest,
    key: Option<FileKey>,
    whole: digest::Context,
    totals: Totals,
}

impl Encoder {
    /// Begins a snapshot, encrypted if there is a secret; also what it begins with.
    ///
    /// # Errors
    /// The header is too long, or no key can be made.
    pub fn begin(header: &Header, secret: Option<&Secret>) -> Result<(Self, Vec<u8>)> {
        let encryption = secret.map(Secret::encryption).transpose()?;
        let key = match (secret, &encryption) {
            (Some(secret), Some(encryption)) => Some(secret.key(encryption)?),
            _ => None,
        };
        let header = Header { encryption, ..header.clone() };
        let text = serde_json::to_vec(&header).map_err(|error| Error::damaged(error.to_string()))?;
        if text.len() > chunk::HEADER_LIMIT_BYTES {
            return Err(Error::damaged("its header is too long"));
        }
        let length = u32::try_from(text.len()).map_err(|_| Error::damaged("its header is too long"))?;
        let mut bytes = Vec::with_capacity(text.len() + 64);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&text);
        let mut context = digest::Context::new(&SHA256);
        context.update(&bytes);
        let preamble = chunk::finish(context);
        bytes.extend_from_slice(&preamble);
        let mut whole = digest::Context::new(&SHA256);
        whole.update(&bytes);
        Ok((Self { preamble, key, whole, totals: Totals::default() }, bytes))
    }

    /// The next chunk's bytes.
    ///
    /// # Errors
    /// It can't be encrypted, or there are too many.
    pub fn chunk(&mut self, packed: Packed) -> Result<Vec<u8>> {
        match packed.kind {
            Kind::Objects => self.totals.objects += u64::from(packed.records),
            Kind::Files => self.totals.files += u64::from(packed.records),
            Kind::Volumes | Kind::End => {}
        }
        self.totals.bytes += u64::from(packed.plain);
        let bytes = self.encode(packed)?;
        self.totals.chunks = self.totals.chunks.checked_add(1).ok_or_else(|| Error::damaged("too many chunks"))?;
        Ok(bytes)
    }

    /// The last bytes.
    ///
    /// # Errors
    /// As [`Self::chunk`].
    pub fn end(mut self) -> Result<(Vec<u8>, Totals)> {
        let totals = self.totals;
        let text = serde_json::to_vec(&totals).map_err(|error| Error::damaged(error.to_string()))?;
        let mut bytes = self.encode(Packed::new(Kind::End, 0, &text)?)?;
        bytes.extend_from_slice(&chunk::finish(self.whole));
        Ok((bytes, totals))
    }

    fn encode(&mut self, packed: Packed) -> Result<Vec<u8>> {
        let Packed { kind, compressed, records, plain, body } = packed;
        let tag = if self.key.is_some() { TAG_BYTES } else { 0 };
        let stored = u32::try_from(body.len() + tag).map_err(|_| Error::damaged("a chunk is too large"))?;
        let head = Head { index: self.totals.chunks, kind, compressed, records, plain, stored };
        let body = match &self.key {
            Some(key) => key.seal(&self.preamble, &head, body)?,
            None => body,
        };
        let mut bytes = Vec::with_capacity(body.len() + 64);
        bytes.extend_from_slice(&head.encode());
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(&head.digest(&self.preamble, &body));
        self.whole.update(&bytes);
        Ok(bytes)
    }
}
