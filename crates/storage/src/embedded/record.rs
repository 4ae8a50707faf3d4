//! The bytes of the log, and nothing of files.
//!
//! A file is a header (with a random salt) and batches; a batch is what one sync made durable and is valid as a whole or
//! not at all. Its checksum covers the salt, the file's number and the batch's own offset, so neither an old file's bytes nor a
//! value that imitates a batch can be mistaken for one. Batches begin at multiples of 8.
//!
//! ```text
//! header  "FERRYLOG" | format u32 | crc u32 | salt u64 | number u64                       32 bytes
//! batch   offset u64 | length u32 | crc u32 | records, `length` bytes | zeros up to a multiple of 8
//! record  kind u8 | 0 u8 | key length u16 | value length u32 | revision i64
//!         put only: create revision i64 | version i64 | expiry i64 (unix seconds, 0: never)
//!         key | value
//! ```

use std::sync::Arc;

use bytes::Bytes;

use crate::{KeyValue, Revision};

pub const HEADER_BYTES: usize = 32;
pub const BATCH_HEADER_BYTES: usize = 16;
/// What a record costs beside key and value; for estimates.
pub const RECORD_OVERHEAD_BYTES: usize = 40;
/// No batch is larger: a length above it is damage, and is not allocated.
pub const BATCH_LIMIT_BYTES: usize = 64 << 20;
const MAGIC: &[u8; 8] = b"FERRYLOG";
const FORMAT: u32 = 1;

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Record {
    /// A key's new value. `lease` is its expiry.
    Put(KeyValue),
    /// A key is gone.
    Delete { key: Arc<str>, revision: Revision },
    /// History up to the revision is forgotten.
    Compact { revision: Revision },
    /// The end of a checkpoint: it is the state at `revision`, of `keys` keys.
    Checkpoint { revision: Revision, keys: u32 },
    /// The beginning of a checkpoint of a replicated log: what that log says of it. The engine's own log writes none.
    Head { bytes: Bytes },
}

/// Identifies a file in its batches' checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId {
    pub salt: u64,
    pub number: u64,
}

impl FileId {
    pub fn header(self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..8].copy_from_slice(MAGIC);
        out[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        out[16..24].copy_from_slice(&self.salt.to_le_bytes());
        out[24..32].copy_from_slice(&self.number.to_le_bytes());
        let crc = header_crc(&out);
        out[12..16].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// `Ok(None)` if these bytes are no header.
    pub fn parse(header: &[u8]) -> Result<Option<Self>, String> {
        if header.len() < HEADER_BYTES || &header[..8] != MAGIC || u32_at(header, 12) != header_crc(header) {
            return Ok(None);
        }
        match u32_at(header, 8) {
            FORMAT => Ok(Some(Self { salt: u64_at(header, 16), number: u64_at(header, 24) })),
            other => Err(format!("format {other} is not known to this version")),
        }
    }

    fn batch_crc(self, offset: u64, records: &[u8]) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&self.salt.to_le_bytes());
        crc.update(&self.number.to_le_bytes());
        crc.update(&offset.to_le_bytes());
        crc.update(&(records.len() as u64).to_le_bytes());
        crc.update(records);
        crc.finalize()
    }

    /// Fills in the header of a batch that `begin_batch` and `Record::encode` built, and pads it.
    pub fn finish_batch(self, offset: u64, batch: &mut Vec<u8>) {
        let length = batch.len() - BATCH_HEADER_BYTES;
        let crc = self.batch_crc(offset, &batch[BATCH_HEADER_BYTES..]);
        batch[..8].copy_from_slice(&offset.to_le_bytes());
        batch[8..12]
            .copy_from_slice(&u32::try_from(length).expect("writers cut batches at BATCH_LIMIT_BYTES").to_le_bytes());
        batch[12..16].copy_from_slice(&crc.to_le_bytes());
        batch.resize(batch.len().next_multiple_of(8), 0);
    }

    /// The length of the records if `header` can be a batch's header at `offset`.
    pub fn batch_length(header: &[u8], offset: u64) -> Option<usize> {
        let length = u32_at(header, 8) as usize;
        (u64_at(header, 0) == offset && length > 0 && length <= BATCH_LIMIT_BYTES).then_some(length)
    }

    pub fn batch_is_valid(self, header: &[u8], offset: u64, records: &[u8]) -> bool {
        u32_at(header, 12) == self.batch_crc(offset, records)
    }
}

/// Clears the buffer and leaves room for the batch's header.
pub fn begin_batch(batch: &mut Vec<u8>) {
    batch.clear();
    batch.resize(BATCH_HEADER_BYTES, 0);
}

impl Record {
    /// The revision that this record is the write of.
    pub fn write_revision(&self) -> Option<Revision> {
        match self {
            Self::Put(kv) => Some(kv.mod_revision),
            Self::Delete { revision, .. } => Some(*revision),
            Self::Compact { .. } | Self::Checkpoint { .. } | Self::Head { .. } => None,
        }
    }

    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let head = |out: &mut Vec<u8>, kind: u8, key: &str, value_length: usize, revision: Revision| {
            out.extend([kind, 0]);
            out.extend(u16::try_from(key.len()).expect("keys are limited when they come in").to_le_bytes());
            out.extend(u32::try_from(value_length).expect("values are limited when they come in").to_le_bytes());
            out.extend(revision.to_le_bytes());
        };
        match self {
            Self::Put(kv) => {
                head(out, 1, &kv.key, kv.value.len(), kv.mod_revision);
                out.extend(kv.create_revision.to_le_bytes());
                out.extend(kv.version.to_le_bytes());
                out.extend(kv.lease.to_le_bytes());
                out.extend(kv.key.as_bytes());
                out.extend(&kv.value[..]);
            }
            Self::Delete { key, revision } => {
                head(out, 2, key, 0, *revision);
                out.extend(key.as_bytes());
            }
            Self::Compact { revision } => head(out, 3, "", 0, *revision),
            Self::Checkpoint { revision, keys } => head(out, 4, "", *keys as usize, *revision),
            Self::Head { bytes } => {
                head(out, 5, "", bytes.len(), 0);
                out.extend(&bytes[..]);
            }
        }
    }

    /// Takes one record off the front of a valid batch's records.
    pub fn decode(input: &mut &[u8]) -> Result<Self, String> {
        let head = take(input, 16)?;
        let (key_length, value_length) = (usize::from(u16::from_le_bytes([head[2], head[3]])), u32_at(head, 4));
        let revision = i64_at(head, 8);
        match head[0] {
            1 => {
                let more = take(input, 24)?;
                let key = take_key(input, key_length)?;
                // Its own allocation: it may outlive all its neighbours.
                let value = Bytes::from(take(input, value_length as usize)?.to_vec());
                Ok(Self::Put(KeyValue {
                    key,
                    value,
                    mod_revision: revision,
                    create_revision: i64_at(more, 0),
                    version: i64_at(more, 8),
                    lease: i64_at(more, 16),
                }))
            }
            2 => Ok(Self::Delete { key: take_key(input, key_length)?, revision }),
            3 => Ok(Self::Compact { revision }),
            4 => Ok(Self::Checkpoint { revision, keys: value_length }),
            5 => Ok(Self::Head { bytes: Bytes::from(take(input, value_length as usize)?.to_vec()) }),
            other => Err(format!("record of unknown kind {other}")),
        }
    }
}

fn take<'a>(input: &mut &'a [u8], length: usize) -> Result<&'a [u8], String> {
    input.split_off(..length).ok_or_else(|| "record ends too early".to_owned())
}

fn take_key(input: &mut &[u8], length: usize) -> Result<Arc<str>, String> {
    let key = take(input, length)?;
    std::str::from_utf8(key).map(Arc::from).map_err(|_| "key is not UTF-8".to_owned())
}

fn header_crc(header: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&header[..12]);
    crc.update(&header[16..HEADER_BYTES]);
    crc.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<Record> {
        let put = |key: &str, value: &'static [u8]| {
            Record::Put(KeyValue {
                key: key.into(),
                value: Bytes::from_static(value),
                mod_revision: 7,
                create_revision: 3,
                version: 4,
                lease: 99,
            })
        };
        vec![
            put("/a", b"value"),
            put("", b""),
            put("/registry/ü", &[0; 4096]),
            Record::Delete { key: "/a".into(), revision: 8 },
            Record::Compact { revision: 6 },
            Record::Checkpoint { revision: 6, keys: 12 },
            Record::Head { bytes: Bytes::from_static(b"head") },
        ]
    }

    #[test]
    fn a_batch_comes_back_as_it_was_written() {
        let id = FileId { salt: 1, number: 2 };
        let mut batch = Vec::new();
        begin_batch(&mut batch);
        records().iter().for_each(|r| r.encode(&mut batch));
        let length = batch.len() - BATCH_HEADER_BYTES;
        id.finish_batch(64, &mut batch);
        assert_eq!(batch.len() % 8, 0);
        assert_eq!(FileId::batch_length(&batch, 64), Some(length));
        let mut rest = &batch[BATCH_HEADER_BYTES..BATCH_HEADER_BYTES + length];
        assert!(id.batch_is_valid(&batch, 64, rest));
        let mut back = Vec::new();
        while !rest.is_empty() {
            back.push(Record::decode(&mut rest).unwrap());
        }
        assert_eq!(back, records());
    }

    #[test]
    fn a_batch_is_valid_only_where_it_was_written_and_only_whole() {
        let id = FileId { salt: 1, number: 2 };
        let mut batch = Vec::new();
        begin_batch(&mut batch);
        records()[0].encode(&mut batch);
        let length = batch.len() - BATCH_HEADER_BYTES;
        id.finish_batch(64, &mut batch);
        assert_eq!(FileId::batch_length(&batch, 72), None);
        let records = BATCH_HEADER_BYTES..BATCH_HEADER_BYTES + length;
        for other in [FileId { salt: 2, number: 2 }, FileId { salt: 1, number: 3 }] {
            assert!(!other.batch_is_valid(&batch, 64, &batch[records.clone()]));
        }
        for bit in 0..length * 8 {
            let mut damaged = batch.clone();
            damaged[BATCH_HEADER_BYTES + bit / 8] ^= 1 << (bit % 8);
            assert!(!id.batch_is_valid(&damaged, 64, &damaged[records.clone()]));
        }
    }

    #[test]
    fn a_header_is_recognised_and_a_later_format_refused_by_name() {
        let id = FileId { salt: 5, number: 6 };
        let header = id.header();
        assert_eq!(FileId::parse(&header), Ok(Some(id)));
        assert_eq!(FileId::parse(&header[..31]), Ok(None));
        assert_eq!(FileId::parse(&[0; HEADER_BYTES]), Ok(None));
        let mut later = header;
        later[8] = 2;
        let crc = header_crc(&later).to_le_bytes();
        later[12..16].copy_from_slice(&crc);
        assert_eq!(FileId::parse(&later), Err("format 2 is not known to this version".to_owned()));
    }

    #[test]
    fn damaged_records_are_errors_and_never_panics() {
        let mut bytes = Vec::new();
        records().iter().for_each(|r| r.encode(&mut bytes));
        for end in 0..bytes.len().min(200) {
            let mut rest = &bytes[..end];
            while !rest.is_empty() && Record::decode(&mut rest).is_ok() {}
        }
        assert_eq!(Record::decode(&mut [9u8; 16].as_slice()), Err("record of unknown kind 9".to_owned()));
    }
}
