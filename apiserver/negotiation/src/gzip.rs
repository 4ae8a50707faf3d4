//! Compression of large answers, on upstream's terms (`handlers/responsewriters/writers.go`): only when the client asks,
//! only beyond a size, and at the level that costs least. Watches are never compressed.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, header};

/// Smaller answers are sent as they are.
pub const THRESHOLD_BYTES: usize = 128 * 1024;

/// A stream of compressed bytes.
pub struct Compressor(GzEncoder<Vec<u8>>);

impl Default for Compressor {
    fn default() -> Self {
        Self(GzEncoder::new(Vec::new(), Compression::fast()))
    }
}

impl Compressor {
    /// Takes bytes in; returns what there is of the compressed ones, which may be nothing.
    pub fn piece(&mut self, bytes: &[u8]) -> Bytes {
        // Writing to memory does not fail.
        let _ = self.0.write_all(bytes);
        std::mem::take(self.0.get_mut()).into()
    }

    /// The end of the stream.
    pub fn finish(self) -> Bytes {
        self.0.finish().unwrap_or_default().into()
    }
}

/// All bytes at once.
pub fn whole(bytes: &[u8]) -> Bytes {
    let mut compressor = Compressor::default();
    let mut out = compressor.piece(bytes).to_vec();
    out.extend_from_slice(&compressor.finish());
    out.into()
}

/// Says in the head that the body is compressed.
pub fn mark(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn pieces_make_one_stream() {
        let text = "a pod, a pod, a pod; ".repeat(20_000);
        let mut compressor = Compressor::default();
        let mut out: Vec<u8> = text.as_bytes().chunks(10_000).flat_map(|chunk| compressor.piece(chunk)).collect();
        out.extend_from_slice(&compressor.finish());
        assert!(out.len() < text.len() / 10);
        let mut back = String::new();
        flate2::read::GzDecoder::new(out.as_slice()).read_to_string(&mut back).expect("gzip");
        assert_eq!(back, text);
    }
}
