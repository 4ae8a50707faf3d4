//! Reads the log's segments when the store is opened. Reading, checking and decoding take most of the time and need no
//! order, so some threads do that, each for every so manieth segment; what they decode is applied here, in order.

use std::sync::mpsc::sync_channel;

use super::log::{Active, corrupt, disk_error, segment_name};
use super::reader::{Batch, Reader};
use super::record::{HEADER_BYTES, Record};
use super::state::State;
use crate::disk::Disk;
use crate::{Result, Revision};

/// More threads find nothing to do: applying is the rest.
const THREADS_MOST: usize = 4;

/// A segment in memory.
struct Decoded {
    segment: Active,
    /// Records with the offset of their batch.
    batches: Vec<(u64, Vec<Record>)>,
    /// A crash left something behind the end.
    cut: bool,
}

/// Replays these segments into `state`, without what is at or below revision `covered`; `done` is called for each, and told
/// which is the last.
pub(super) fn segments(
    disk: &dyn Disk,
    numbers: &[u64],
    covered: Revision,
    state: &mut State,
    mut done: impl FnMut(Active, bool),
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
                let segment = apply(decoded, number, state)?;
                if at == last {
                    // A process that was killed leaves what the system has and the disk may not: before anybody is shown
                    // it, it is made to last.
                    let name = segment_name(number);
                    segment.file.sync().map_err(|e| disk_error(&format!("syncing {name}"), &e))?;
                }
                done(segment, at == last);
            }
        }
        Ok(())
    })
}

fn apply(decoded: Decoded, number: u64, state: &mut State) -> Result<Active> {
    let Decoded { segment, batches, cut } = decoded;
    for (offset, records) in batches {
        for record in records {
            state.replay(record).map_err(|e| corrupt(&segment_name(number), offset, &e))?;
        }
    }
    if cut {
        let name = segment_name(number);
        tracing::info!(file = %name, offset = segment.end, "cutting off a write that a crash interrupted");
        segment.file.truncate(segment.end).map_err(|e| disk_error(&format!("cutting {name}"), &e))?;
    }
    Ok(segment)
}

/// Reads one segment. `None`: a crash came before its header was durable, so it holds nothing, and it is made again.
fn decode(disk: &dyn Disk, number: u64, last: bool, covered: Revision) -> Result<Option<Decoded>> {
    let name = segment_name(number);
    let io = |e| disk_error(&format!("reading {name}"), &e);
    let file = disk.open(&name).map_err(io)?;
    let mut reader = match Reader::open(&*file).map_err(io)? {
        Ok(reader) if reader.id().number == number => reader,
        Ok(_) => return Err(corrupt(&name, 0, "header of another file")),
        Err(None) if last && file.length().map_err(io)? <= HEADER_BYTES as u64 => return Ok(None),
        Err(None) => return Err(corrupt(&name, 0, "no valid header")),
        Err(Some(problem)) => return Err(corrupt(&name, 0, &problem)),
    };
    let (mut last_revision, mut batches) = (0, Vec::new());
    let (end, cut) = loop {
        let offset = reader.offset();
        match reader.next().map_err(io)? {
            Batch::End => break (offset, false),
            Batch::Damaged => {
                if !last {
                    return Err(corrupt(&name, offset, "damaged batch"));
                }
                if let Some(whole) = reader.find_batch_after(offset).map_err(io)? {
                    return Err(corrupt(
                        &name,
                        offset,
                        &format!("damaged batch, with a whole one behind it at {whole}"),
                    ));
                }
                break (offset, true);
            }
            Batch::Records(mut bytes) => {
                let mut records = Vec::new();
                while !bytes.is_empty() {
                    let record = Record::decode(&mut bytes).map_err(|e| corrupt(&name, offset, &e))?;
                    if let Some(revision) = record.write_revision() {
                        last_revision = last_revision.max(revision);
                        if revision <= covered {
                            continue;
                        }
                    }
                    records.push(record);
                }
                batches.push((offset, records));
            }
        }
    };
    let id = reader.id();
    drop(reader);
    let segment = Active { file, id, end, last_revision, dirty: false };
    Ok(Some(Decoded { segment, batches, cut }))
}
