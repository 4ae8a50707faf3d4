//! Header blocks: name/value pairs in one zlib stream that lasts as long as the connection.
//!
//! The compressor and the decompressor carry state from frame to frame, so blocks must be coded in wire order and a
//! block that fails to decode ends the connection. Names are lower-case on the wire; several values of one name are
//! joined by NUL. Limits are upstream's or tighter: without them a few hundred bytes inflate to gigabytes.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::Error;
use super::dictionary::{DICTIONARY, DICTIONARY_ADLER32};

/// Largest header block after decompression.
pub const MAX_BLOCK_BYTES: usize = 256 << 10;
/// Most headers in one block (upstream's default).
pub const MAX_HEADERS: usize = 1000;

/// Writes header blocks of one connection.
pub struct Deflater(Compress);

impl Default for Deflater {
    fn default() -> Self {
        let mut compress = Compress::new(Compression::best(), true);
        compress.set_dictionary(&DICTIONARY).expect("a new stream takes a dictionary");
        Deflater(compress)
    }
}

impl Deflater {
    /// The compressed block of `headers`.
    pub fn encode(&mut self, headers: &HeaderMap) -> Vec<u8> {
        let mut plain = Vec::with_capacity(64 * headers.keys_len() + 4);
        put_len(&mut plain, headers.keys_len());
        for name in headers.keys() {
            put_len(&mut plain, name.as_str().len());
            plain.extend_from_slice(name.as_str().as_bytes());
            let value: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
            let value = value.join(&0);
            put_len(&mut plain, value.len());
            plain.extend_from_slice(&value);
        }
        let (mut out, mut read) = (Vec::with_capacity(plain.len() + 64), 0);
        loop {
            let before = self.0.total_in();
            self.0
                .compress_vec(&plain[read..], &mut out, FlushCompress::Sync)
                .expect("compressing into memory cannot fail");
            read += (self.0.total_in() - before) as usize;
            if out.len() < out.capacity() && read == plain.len() {
                return out;
            }
            out.reserve(256);
        }
    }
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&(len as u32).to_be_bytes());
}

/// Reads header blocks of one connection.
pub struct Inflater(Decompress);

impl Default for Inflater {
    fn default() -> Self {
        Inflater(Decompress::new(true))
    }
}

impl Inflater {
    /// Decodes one block.
    ///
    /// # Errors
    /// Broken compression, a block over the limits, malformed names or values: the connection can't be read any further.
    pub fn decode(&mut self, block: &[u8]) -> Result<HeaderMap, Error> {
        parse(&self.inflate(block)?)
    }

    fn inflate(&mut self, mut input: &[u8]) -> Result<Vec<u8>, Error> {
        let mut plain = Vec::with_capacity(1024);
        loop {
            if plain.len() == plain.capacity() {
                plain.reserve(plain.len());
            }
            let (read, written) = (self.0.total_in(), plain.len());
            let mut progress = false;
            match self.0.decompress_vec(input, &mut plain, FlushDecompress::Sync) {
                Ok(Status::StreamEnd) => return Err(Error::Protocol("the header stream ended")),
                Ok(_) => {}
                Err(error) if error.needs_dictionary() == Some(DICTIONARY_ADLER32) => {
                    self.0.set_dictionary(&DICTIONARY).map_err(|_| Error::Protocol("header dictionary refused"))?;
                    progress = true;
                }
                Err(_) => return Err(BROKEN),
            }
            let used = (self.0.total_in() - read) as usize;
            input = &input[used..];
            if plain.len() > MAX_BLOCK_BYTES {
                return Err(Error::Protocol("header block too large"));
            }
            if !progress && used == 0 && plain.len() == written {
                return if input.is_empty() { Ok(plain) } else { Err(BROKEN) };
            }
        }
    }
}

const BROKEN: Error = Error::Protocol("broken header compression");

fn parse(plain: &[u8]) -> Result<HeaderMap, Error> {
    let mut rest = plain;
    let count = take_len(&mut rest)?;
    if count > MAX_HEADERS {
        return Err(Error::Protocol("too many headers"));
    }
    let mut headers = HeaderMap::with_capacity(count);
    for _ in 0..count {
        let name = take_field(&mut rest)?;
        if name.iter().any(u8::is_ascii_uppercase) {
            return Err(Error::Protocol("header was not lowercased"));
        }
        let name = HeaderName::from_bytes(name).map_err(|_| Error::Protocol("malformed header name"))?;
        if headers.contains_key(&name) {
            return Err(Error::Protocol("multiple headers with same name"));
        }
        for value in take_field(&mut rest)?.split(|byte| *byte == 0) {
            let value = HeaderValue::from_bytes(value).map_err(|_| Error::Protocol("malformed header value"))?;
            headers.append(&name, value);
        }
    }
    if rest.is_empty() { Ok(headers) } else { Err(Error::Protocol("trailing bytes in a header block")) }
}

fn take_len(rest: &mut &[u8]) -> Result<usize, Error> {
    let (head, tail) = rest.split_first_chunk::<4>().ok_or(Error::Protocol("truncated header block"))?;
    *rest = tail;
    Ok(u32::from_be_bytes(*head) as usize)
}

fn take_field<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Error> {
    let len = take_len(rest)?;
    if len > rest.len() {
        return Err(Error::Protocol("truncated header block"));
    }
    let (field, tail) = rest.split_at(len);
    *rest = tail;
    Ok(field)
}
