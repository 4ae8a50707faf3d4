//! What can go wrong in a store, by what the caller can do about it. Engines' own errors end here, so that the API server
//! has one list to turn into statuses: 410, 413, 500 with a reason, 507.

use crate::Revision;

/// The result of a store's operation.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a store refused or failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The wanted revision is older than what the store keeps. `floor` is the compaction revision: a range is possible at it
    /// and above, a watch from the revision after it; 0 where the engine does not tell.
    #[error("required revision has been compacted (compacted up to {floor})")]
    Compacted {
        /// The newest compacted revision, or 0 if unknown.
        floor: Revision,
    },
    /// A range at a revision that the store has not reached. `current` is 0 where the engine does not tell.
    #[error("required revision is a future revision (current is {current})")]
    FutureRevision {
        /// The store's revision, or 0 if unknown.
        current: Revision,
    },
    /// The value (or the request around it) is larger than the engine takes. Nothing was written.
    #[error("value too large: {0}")]
    TooLarge(String),
    /// The store can't be reached or can't answer now. A write that ends so may still have been done: read before retrying.
    #[error("storage unavailable: {0}")]
    Unavailable(String),
    /// No space: on the disk, or etcd's quota. Nothing was written; reads go on, and writes work again once there is space.
    #[error("storage is full: {0}")]
    Full(String),
    /// What is stored can't be what was written. The store refuses to guess.
    #[error("storage is corrupt: {0}")]
    Corrupt(String),
    /// The store was closed, or is closing.
    #[error("storage is closed")]
    Closed,
}
