//! Reads the log's segments when the store is opened. Reading, checking and decoding take most of the time and need no
//! order, so some threads do that, each for every so manieth segment; what they decode is applied here, in order.

use std::sync::mpsc::sync_channel;

use super::log::SEGMENTS;
use super::record::Record;
use super::segments::{Segment, corrupt, read_segment};
use super::state::State;
use crate::disk::Disk;
use crate::{Result, Revision};

/// More threads find nothing to do: applying is the rest.
const THREADS_MOST: usize = 4;

/// A segment in memory.
struct Decoded {
    segment: Segment,
    last_revision: Revision,
    /// Records with the offset of their batch.
    batches: Vec<(u64, Vec<Record>)>,
}

/// Replays these segments into `state`, without what is at or below revision `covered`; `done` is called for each, with its
/// last revision.
pub(super) fn segments(
    disk: &dyn Disk,
    numbers: &[u64],
    covered: Revision,
    state: &mut State,
    mut done: impl FnMut((Segment, Revision)),
) -> Result<()> {
    let last = numbers.len().saturating_sub(1);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MOST).min(numbers.len());
    std::thread::scope(|scope| {
        let decoders: Vec<_> = (0..threads)
            .map(|first| {
                // One is being applied, one waits, one is being decoded: that bounds the memory.
                let (send, receive) = sync_channel(1);
                scope.spawn(move || {
                    for at in (first..numbers.len()).step_by(threads) {
                        let decoded = decode(disk, numbers[at], at == last, covered);
                        let failed = decoded.is_err();
                        if send.send(decoded).is_err() || failed {
                            return;
                        }
                    }
                });
                receive
            })
            .collect();
        for (at, &number) in numbers.iter().enumerate() {
            let decoded = decoders[at % threads].recv().expect("a decoder sends until it has sent an error")?;
            if let Some(decoded) = decoded {
                done(apply(decoded, number, state)?);
            }
        }
        Ok(())
    })
}

fn apply(decoded: Decoded, number: u64, state: &mut State) -> Result<(Segment, Revision)> {
    let Decoded { segment, last_revision, batches } = decoded;
    let name = SEGMENTS.name(number);
    for (offset, records) in batches {
        for record in records {
            state.replay(record).map_err(|e| corrupt(&name, offset, &e))?;
        }
    }
    segment.mend(&name)?;
    Ok((segment, last_revision))
}

fn decode(disk: &dyn Disk, number: u64, last: bool, covered: Revision) -> Result<Option<Decoded>> {
    let (mut last_revision, mut batches) = (0, Vec::new());
    let segment = read_segment(disk, SEGMENTS, number, last, |offset, mut bytes| {
        let mut records = Vec::new();
        while !bytes.is_empty() {
            let record = Record::decode(&mut bytes)?;
            if let Some(revision) = record.write_revision() {
                last_revision = last_revision.max(revision);
                if revision <= covered {
                    continue;
                }
            }
            records.push(record);
        }
        batches.push((offset, records));
        Ok(())
    })?;
    Ok(segment.map(|segment| Decoded { segment, last_revision, batches }))
}
