//! The parts of the embedded engine, for the replicated store (`crates/raft`), which puts another log in the place of the
//! engine's writer: files of batches, the state in memory with its history and watches, checkpoints, what a write does.

pub use crate::embedded::checkpoint::{self, Checkpoint};
pub use crate::embedded::decide::{Write, decide, expiry};
pub use crate::embedded::record::Record;
pub use crate::embedded::segments::{Naming, Segment, Segments, corrupt, disk_error, read_batch, read_segment};
pub use crate::embedded::state::{HistoryLimits, State};
pub use crate::embedded::view::View;
pub use crate::embedded::watch::{Watchers, open as open_watch};
pub use crate::embedded::{KEY_LIMIT_BYTES, adopt, remove};
