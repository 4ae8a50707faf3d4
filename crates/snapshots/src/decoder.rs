//! Reads a snapshot's bytes as they come, from a file or from a connection, and hands out nothing that has not been checked.

use aws_lc_rs::digest::{self, SHA256};

use crate::chunk::{
    self, Chunk, DIGEST_BYTES, Digest, FORMAT, HEAD_BYTES, HEADER_LIMIT_BYTES, Head, Kind, MAGIC, PREAMBLE_HEAD_BYTES,
};
use crate::{Error, Header, Result};

/// What comes next in a snapshot.
#[derive(Debug)]
pub enum Piece {
    /// What it says of itself: first, once.
    Header(Header),
    /// A chunk; of kind `End` the last.
    Chunk(Chunk),
}

enum State {
    Preamble,
    Chunks,
    /// The last chunk was there: the digest of all.
    End,
    Whole,
}

/// See the module.
pub struct Decoder {
    buffer: Vec<u8>,
    /// What of the buffer has been handed out.
    at: usize,
    state: State,
    preamble: Digest,
    whole: digest::Context,
    /// The index of the next chunk.
    next: u32,
    /// Bytes that were fed.
    fed: u64,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            buffer: Vec::new(),
            at: 0,
            state: State::Preamble,
            preamble: [0; DIGEST_BYTES],
            whole: digest::Context::new(&SHA256),
            next: 0,
            fed: 0,
        }
    }
}

impl Decoder {
    /// Takes more bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.at == self.buffer.len() {
            self.buffer.clear();
            self.at = 0;
        } else if self.at > chunk::CHUNK_BYTES {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
        self.buffer.extend_from_slice(bytes);
        self.fed += bytes.len() as u64;
    }

    /// The next piece; `None` where more bytes are needed for it, and after the last.
    ///
    /// # Errors
    /// These bytes are no snapshot's.
    pub fn piece(&mut self) -> Result<Option<Piece>> {
        match self.state {
            State::Preamble => Ok(self.header()?.map(Piece::Header)),
            State::Chunks => Ok(self.chunk()?.map(Piece::Chunk)),
            State::End => {
                let Some(said) = self.peek(0, DIGEST_BYTES) else { return Ok(None) };
                if said != chunk::finish(self.whole.clone()) {
                    return Err(Error::damaged("the checksum of the whole does not hold"));
                }
                self.at += DIGEST_BYTES;
                self.state = State::Whole;
                self.piece()
            }
            State::Whole if self.at < self.buffer.len() => Err(Error::damaged("something follows its end")),
            State::Whole => Ok(None),
        }
    }

    /// Says that no more bytes come.
    ///
    /// # Errors
    /// There should be more.
    pub fn finish(&self) -> Result<()> {
        match self.state {
            State::Whole => Ok(()),
            _ if self.fed == 0 => Err(Error::damaged("it is empty")),
            _ => Err(Error::damaged(format!("it ends too early, after {} bytes", self.fed))),
        }
    }

    pub(crate) fn preamble(&self) -> &Digest {
        &self.preamble
    }

    fn peek(&self, from: usize, length: usize) -> Option<&[u8]> {
        self.buffer.get(self.at + from..self.at + from + length)
    }

    fn header(&mut self) -> Result<Option<Header>> {
        let seen = &self.buffer[self.at..];
        let known = seen.len().min(MAGIC.len());
        if seen[..known] != MAGIC[..known] {
            return Err(Error::damaged("it does not begin as one"));
        }
        let Some(head) = self.peek(0, PREAMBLE_HEAD_BYTES) else { return Ok(None) };
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (format, length) = (number(8), number(12) as usize);
        if format != FORMAT {
            return Err(Error::damaged(format!(
                "its format {format} is not known to this version, which reads {FORMAT}"
            )));
        }
        if length > HEADER_LIMIT_BYTES {
            return Err(Error::damaged("its header is too long"));
        }
        let total = PREAMBLE_HEAD_BYTES + length;
        let Some(bytes) = self.peek(0, total + DIGEST_BYTES) else { return Ok(None) };
        let mut context = digest::Context::new(&SHA256);
        context.update(&bytes[..total]);
        let preamble = chunk::finish(context);
        if bytes[total..] != preamble {
            return Err(Error::damaged("the checksum of its header does not hold"));
        }
        let header = serde_json::from_slice(&bytes[PREAMBLE_HEAD_BYTES..total])
            .map_err(|error| Error::damaged(format!("its header cannot be read: {error}")))?;
        self.preamble = preamble;
        self.consume(total + DIGEST_BYTES);
        self.state = State::Chunks;
        Ok(Some(header))
    }

    fn chunk(&mut self) -> Result<Option<Chunk>> {
        let Some(head) = self.peek(0, HEAD_BYTES) else { return Ok(None) };
        let head = Head::decode(head.try_into().map_err(|_| Error::damaged("a chunk without a head"))?)?;
        let stored = head.stored as usize;
        let Some(said) = self.peek(HEAD_BYTES + stored, DIGEST_BYTES) else { return Ok(None) };
        let content = &self.buffer[self.at + HEAD_BYTES..self.at + HEAD_BYTES + stored];
        if said != head.digest(&self.preamble, content) {
            return Err(Error::damaged(format!("the checksum of chunk {} does not hold", self.next)));
        }
        if head.index != self.next {
            return Err(Error::damaged(format!("chunk {} is where chunk {} should be", head.index, self.next)));
        }
        let chunk = Chunk { head, stored: content.to_vec() };
        self.consume(HEAD_BYTES + stored + DIGEST_BYTES);
        self.next = self.next.wrapping_add(1);
        if head.kind == Kind::End {
            self.state = State::End;
        }
        Ok(Some(chunk))
    }

    fn consume(&mut self, length: usize) {
        self.whole.update(&self.buffer[self.at..self.at + length]);
        self.at += length;
    }
}
