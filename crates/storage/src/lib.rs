//! An etcd-shaped store: one trait, an embedded engine and etcd.
//!
//! What it knows: keys, opaque values, one global revision, compare-and-swap, ranges, watches, time to live, compaction.
//! What it must **not** know: Kubernetes. A value is bytes, a key is a path; objects, kinds and versions are the API
//! server's business, and the API server (with the test kit) is the only user of this crate.
//!
//! The model is etcd's because the cluster's API promises are etcd's: a resourceVersion is a revision, a list is a range
//! at one revision, a watch is the ordered rest of history. The embedded engine keeps the same promises in one process.

mod clock;
mod compactor;
pub mod disk;
mod embedded;
pub mod engine;
mod error;
mod etcd;
mod model;

pub use clock::{Clock, SystemClock};
pub use compactor::compact_every;
pub use embedded::{EmbeddedOptions, EmbeddedStore, import_directory};
pub use error::{Error, Result};
pub use etcd::{EtcdConfig, EtcdStore};
pub use model::{
    Event, EventKind, Expect, KeyValue, Outcome, RangeOptions, RangeResult, Revision, Storage, WatchItem, WatchStream,
};
