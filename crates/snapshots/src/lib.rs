//! Snapshots of a whole cluster in one file: the format and its verification, encryption, where files are kept (a folder, an
//! S3-compatible store), which of them are kept, and when the next one is due.
//!
//! What it knows: records of keys and values with their revisions, chunks, checksums, names of files.
//! What it must **not** know: how an API server serves one, which engine the records come from or go to, and what an object is.

mod chunk;
mod crypt;
mod decoder;
mod encoder;
mod error;
mod header;
pub mod name;
mod reader;
mod record;
pub mod retention;
mod save;
pub mod schedule;
pub mod target;
pub mod volumes;

pub use chunk::{CHUNK_BYTES, Kind, Packed};
pub use crypt::Secret;
pub use decoder::{Decoder, Piece};
pub use encoder::Encoder;
pub use error::{Error, Result};
pub use header::{Encryption, Header, Totals};
pub use reader::{Content, Objects, Reader, Summary, header_of, verify};
pub use record::{File, Object};
pub use save::{Contents, Saved, save};

#[cfg(test)]
mod tests;
