//! Reads a log file batch by batch through one buffer, and tells a whole batch from a damaged one.

use std::io;

use super::record::{BATCH_HEADER_BYTES, FileId, HEADER_BYTES};
use crate::disk::DiskFile;

/// How much is asked of the disk at once.
const READ_BYTES: usize = 1 << 20;

pub struct Reader<'a> {
    file: &'a dyn DiskFile,
    id: FileId,
    /// The next batch's place in the file.
    offset: u64,
    buffer: Vec<u8>,
    /// Where `offset` is in the buffer.
    at: usize,
}

/// What is at an offset.
pub enum Batch<'a> {
    /// A whole batch's records.
    Records(&'a [u8]),
    /// Bytes that are no whole batch.
    Damaged,
    /// Nothing: the file ends here.
    End,
}

impl<'a> Reader<'a> {
    /// The inner error is why the header is refused, `None` if there is none.
    pub fn open(file: &'a dyn DiskFile) -> io::Result<Result<Self, Option<String>>> {
        let mut reader = Self { file, id: FileId { salt: 0, number: 0 }, offset: 0, buffer: Vec::new(), at: 0 };
        reader.fill(HEADER_BYTES)?;
        Ok(match FileId::parse(&reader.buffer) {
            Ok(Some(id)) => {
                reader.id = id;
                reader.advance(HEADER_BYTES);
                Ok(reader)
            }
            Ok(None) => Err(None),
            Err(problem) => Err(Some(problem)),
        })
    }

    pub fn id(&self) -> FileId {
        self.id
    }

    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The batch at `offset()`, which moves behind it unless it is damaged.
    pub fn next(&mut self) -> io::Result<Batch<'_>> {
        self.fill(BATCH_HEADER_BYTES)?;
        let available = self.buffer.len().saturating_sub(self.at);
        if available == 0 {
            return Ok(Batch::End);
        }
        if available < BATCH_HEADER_BYTES {
            return Ok(Batch::Damaged);
        }
        let Some(length) = FileId::batch_length(&self.buffer[self.at..], self.offset) else {
            return Ok(Batch::Damaged);
        };
        let total = BATCH_HEADER_BYTES + length.next_multiple_of(8);
        self.fill(total)?;
        if self.buffer.len() < self.at + total {
            return Ok(Batch::Damaged);
        }
        let start = self.at + BATCH_HEADER_BYTES;
        if !self.id.batch_is_valid(&self.buffer[self.at..], self.offset, &self.buffer[start..start + length]) {
            return Ok(Batch::Damaged);
        }
        self.advance(total);
        Ok(Batch::Records(&self.buffer[start..start + length]))
    }

    /// Goes on at another place.
    pub fn seek(&mut self, offset: u64) {
        (self.offset, self.at) = (offset, 0);
        self.buffer.clear();
    }

    /// Looks for a whole batch anywhere behind `offset`.
    pub fn find_batch_after(&mut self, offset: u64) -> io::Result<Option<u64>> {
        let length = self.file.length()?;
        for candidate in (offset + 8..length).step_by(8) {
            if candidate < self.offset || candidate - self.offset > READ_BYTES as u64 {
                self.seek(candidate);
            } else {
                let step = usize::try_from(candidate - self.offset).expect("within one read");
                self.fill(step + BATCH_HEADER_BYTES)?;
                self.advance(step);
            }
            if matches!(self.next()?, Batch::Records(_)) {
                return Ok(Some(candidate));
            }
        }
        Ok(None)
    }

    fn advance(&mut self, by: usize) {
        self.at += by;
        self.offset += by as u64;
    }

    /// Has at least `want` bytes from `offset` on in the buffer, or all that the file has.
    fn fill(&mut self, want: usize) -> io::Result<()> {
        if self.buffer.len() >= self.at + want {
            return Ok(());
        }
        self.buffer.drain(..self.at.min(self.buffer.len()));
        self.at = 0;
        while self.buffer.len() < want {
            let have = self.buffer.len();
            self.buffer.resize(have + READ_BYTES.max(want - have), 0);
            let read = self.file.read_at(self.offset + have as u64, &mut self.buffer[have..])?;
            self.buffer.truncate(have + read);
            if read == 0 {
                break;
            }
        }
        Ok(())
    }
}
