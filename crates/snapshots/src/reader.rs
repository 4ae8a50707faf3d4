//! Reads a snapshot from a file or from anything that gives its bytes: everything is checked before it is handed out, and the
//! end is only reached where the whole is as it was written.

use std::io::Read;

use crate::chunk::{Chunk, Kind};
use crate::crypt::{FileKey, Secret};
use crate::{Decoder, Error, File, Header, Object, Piece, Result, Totals};

/// How much is read at once.
const READ_BYTES: usize = 256 << 10;

/// What is in one chunk.
#[derive(Debug)]
pub enum Content {
    /// Keys of the store, in order.
    Objects(Vec<Object>),
    /// Files of the cluster's keys.
    Files(Vec<File>),
    /// A piece of the tar stream of the local volumes.
    Volumes(Vec<u8>),
}

/// See the module.
pub struct Reader<R> {
    input: R,
    decoder: Decoder,
    buffer: Vec<u8>,
    header: Header,
    key: Option<FileKey>,
    counted: Totals,
    last_key: Option<String>,
    /// What came after the objects, until it is asked for.
    kept: Option<Content>,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// It is no snapshot.
    pub fn open(mut input: R) -> Result<Self> {
        let (mut decoder, mut buffer) = (Decoder::default(), vec![0; READ_BYTES]);
        let header = loop {
            match decoder.piece()? {
                Some(Piece::Header(header)) => break header,
                Some(Piece::Chunk(_)) => return Err(Error::damaged("it has no header")),
                None => more(&mut input, &mut decoder, &mut buffer)?,
            }
        };
        let counted = Totals::default();
        Ok(Self { input, decoder, buffer, header, key: None, counted, last_key: None, kept: None, ended: false })
    }

    /// What it says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Gives the secret, or says that there is none. It must be called before the content is read.
    ///
    /// # Errors
    /// One is needed, or it can't be the one. A secret that is not needed is refused too: who gives one expects that nobody
    /// else could have written the file.
    pub fn unlock(&mut self, secret: Option<&Secret>) -> Result<()> {
        self.key = match (secret, &self.header.encryption) {
            (None, None) => None,
            (Some(secret), Some(how)) => Some(secret.key(how)?),
            (None, Some(_)) => {
                return Err(Error::Key("it is encrypted: give --key-file or --passphrase-file".into()));
            }
            (Some(_), None) => {
                return Err(Error::Key("it is not encrypted, and a key or passphrase was given".into()));
            }
        };
        Ok(())
    }

    /// The content of the next chunk; `None` at the end, when all of it has been found as it was written.
    ///
    /// # Errors
    /// It is damaged, or the input can't be read.
    pub fn content(&mut self) -> Result<Option<Content>> {
        if let Some(kept) = self.kept.take() {
            return Ok(Some(kept));
        }
        let Some(chunk) = self.chunk()? else { return Ok(None) };
        let kind = chunk.kind();
        let records = chunk.head.records;
        let content = self.plain(chunk)?;
        Ok(Some(match kind {
            Kind::Objects => {
                let objects = Object::decode_all(content, records)?;
                self.in_order(&objects)?;
                Content::Objects(objects)
            }
            Kind::Files => Content::Files(File::decode_all(content, records)?),
            Kind::Volumes => Content::Volumes(content),
            Kind::End => {
                self.at_the_end(&content)?;
                return Ok(None);
            }
        }))
    }

    /// All objects, one by one; what follows them is read by [`Self::content`] afterwards.
    pub fn objects(&mut self) -> Objects<'_, R> {
        Objects { reader: self, some: Vec::new().into_iter() }
    }

    /// The tar stream of the local volumes, which begins with this piece.
    pub(crate) fn volumes(&mut self, first: Vec<u8>) -> Volumes<'_, R> {
        Volumes { reader: self, piece: first, at: 0 }
    }

    /// The next chunk, not opened; `None` after the last.
    pub(crate) fn chunk(&mut self) -> Result<Option<Chunk>> {
        if self.ended {
            return Ok(None);
        }
        loop {
            match self.decoder.piece()? {
                Some(Piece::Chunk(chunk)) => {
                    self.count(&chunk);
                    return Ok(Some(chunk));
                }
                Some(Piece::Header(_)) => return Err(Error::damaged("it has two headers")),
                None => more(&mut self.input, &mut self.decoder, &mut self.buffer)?,
            }
        }
    }

    /// The content of a chunk.
    pub(crate) fn plain(&mut self, chunk: Chunk) -> Result<Vec<u8>> {
        let Chunk { head, stored } = chunk;
        let stored = match &self.key {
            Some(key) => key.open(self.decoder.preamble(), &head, stored)?,
            None => stored,
        };
        Chunk { head, stored }.into_packed().unpack()
    }

    /// Counts by what the head says, which the content is held to when it is opened.
    fn count(&mut self, chunk: &Chunk) {
        let head = &chunk.head;
        match head.kind {
            Kind::Objects => self.counted.objects += u64::from(head.records),
            Kind::Files => self.counted.files += u64::from(head.records),
            Kind::Volumes => {}
            Kind::End => return,
        }
        self.counted.chunks += 1;
        self.counted.bytes += u64::from(head.plain);
    }

    /// Checks the last chunk's content against what was counted, and that nothing but the whole's checksum follows.
    pub(crate) fn at_the_end(&mut self, content: &[u8]) -> Result<()> {
        let said: Totals = serde_json::from_slice(content)
            .map_err(|error| Error::damaged(format!("what it counted cannot be read: {error}")))?;
        if said != self.counted {
            return Err(Error::damaged(format!("it has {:?}, and says {said:?}", self.counted)));
        }
        if said.objects != self.header.keys {
            let (keys, objects) = (self.header.keys, said.objects);
            return Err(Error::damaged(format!("it has {objects} keys, and says {keys}")));
        }
        if self.header.cluster_keys != (said.files > 0) {
            return Err(Error::damaged("its header and its content differ about the cluster's keys"));
        }
        self.ended = true;
        self.drain()
    }

    /// Reads to the input's end.
    pub(crate) fn drain(&mut self) -> Result<()> {
        loop {
            if self.decoder.piece()?.is_some() {
                return Err(Error::damaged("something follows its end"));
            }
            let read = self.input.read(&mut self.buffer)?;
            if read == 0 {
                return self.decoder.finish();
            }
            self.decoder.feed(&self.buffer[..read]);
        }
    }

    fn in_order(&mut self, objects: &[Object]) -> Result<()> {
        for object in objects {
            if self.last_key.as_ref().is_some_and(|last| *last >= object.key) {
                return Err(Error::damaged(format!("its keys are not in order at {}", object.key)));
            }
            if object.mod_revision > self.header.revision {
                return Err(Error::damaged(format!("{} is newer than the snapshot", object.key)));
            }
            self.last_key = Some(object.key.clone());
        }
        Ok(())
    }
}

/// See [`Reader::objects`].
pub struct Objects<'r, R> {
    reader: &'r mut Reader<R>,
    some: std::vec::IntoIter<Object>,
}

impl<R: Read> Iterator for Objects<'_, R> {
    type Item = Result<Object>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(object) = self.some.next() {
                return Some(Ok(object));
            }
            match self.reader.content() {
                Ok(Some(Content::Objects(objects))) => self.some = objects.into_iter(),
                Ok(other) => {
                    self.reader.kept = other;
                    return None;
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// See [`Reader::volumes`].
pub(crate) struct Volumes<'r, R> {
    reader: &'r mut Reader<R>,
    piece: Vec<u8>,
    at: usize,
}

impl<R: Read> Read for Volumes<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        while self.at == self.piece.len() {
            match self.reader.content() {
                Ok(Some(Content::Volumes(piece))) => (self.piece, self.at) = (piece, 0),
                Ok(None) => return Ok(0),
                Ok(Some(_)) => return Err(std::io::Error::other("something else is among the volumes")),
                Err(error) => return Err(std::io::Error::other(error)),
            }
        }
        let length = out.len().min(self.piece.len() - self.at);
        out[..length].copy_from_slice(&self.piece[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}

fn more(input: &mut impl Read, decoder: &mut Decoder, buffer: &mut [u8]) -> Result<()> {
    let read = input.read(buffer)?;
    if read == 0 {
        decoder.finish()?;
        return Err(Error::damaged("it ends too early"));
    }
    decoder.feed(&buffer[..read]);
    Ok(())
}

/// What a snapshot was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// What it says of itself.
    pub header: Header,
    /// What is in it; `None` where it is encrypted and was not opened, so that its checksums alone were verified.
    pub totals: Option<Totals>,
}

/// Reads a whole snapshot and checks everything: each checksum, each record, each number. An encrypted one without its
/// secret is checked as far as that goes.
///
/// # Errors
/// It is not as it was written, or the secret is not the one.
pub fn verify(input: impl Read, secret: Option<&Secret>) -> Result<Summary> {
    let mut reader = Reader::open(input)?;
    if secret.is_none() && reader.header.encryption.is_some() {
        while let Some(chunk) = reader.chunk()? {
            if chunk.kind() == Kind::End {
                reader.drain()?;
                break;
            }
        }
        return Ok(Summary { header: reader.header, totals: None });
    }
    reader.unlock(secret)?;
    while reader.content()?.is_some() {}
    Ok(Summary { header: reader.header, totals: Some(reader.counted) })
}

/// What a snapshot says of itself. Its content is not read.
///
/// # Errors
/// It does not begin as a snapshot.
pub fn header_of(input: impl Read) -> Result<Header> {
    Ok(Reader::open(input)?.header)
}
