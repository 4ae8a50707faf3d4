//! What a compare-and-swap does to a key. Pure, and the same for the engine's writer and for each member of a replicated
//! store: from the same key they must come to the same end.

use std::sync::Arc;

use bytes::Bytes;

use super::record::Record;
use crate::{Expect, KeyValue, Outcome, Revision};

/// A write that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// A value, and when it expires (unix seconds, 0 for never).
    Put(Bytes, i64),
    /// No value any more.
    Delete,
}

/// What becomes of a write to `key`, which is `current`, at a store whose newest revision is `revision`: the record to apply, or
/// the conflict.
pub fn decide(
    key: Arc<str>,
    current: Option<KeyValue>,
    expect: Expect,
    write: Write,
    revision: Revision,
) -> Result<Record, Outcome> {
    let as_expected = match (expect, &current) {
        (Expect::Absent, None) => true,
        (Expect::ModRevision(wanted), Some(kv)) => kv.mod_revision == wanted,
        _ => false,
    };
    if !as_expected {
        return Err(Outcome::Conflict { current, revision });
    }
    let revision = revision + 1;
    Ok(match write {
        Write::Delete => Record::Delete { key, revision },
        Write::Put(value, expiry) => Record::Put(KeyValue {
            key,
            value,
            mod_revision: revision,
            create_revision: current.as_ref().map_or(revision, |c| c.create_revision),
            version: current.as_ref().map_or(1, |c| c.version + 1),
            lease: expiry,
        }),
    })
}

/// When a key expires. Long times are rounded up to a 60th, so that thousands of Events with an hour each wake the writer
/// once a minute and share a batch.
pub fn expiry(now: i64, ttl_seconds: u64) -> i64 {
    let ttl = i64::try_from(ttl_seconds.max(1)).unwrap_or(i64::MAX / 4).min(i64::MAX / 4);
    let step = (ttl / 60).max(1);
    (now + ttl + step - 1) / step * step
}
