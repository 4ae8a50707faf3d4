//! Makes a store of keys that come from elsewhere: a snapshot that is restored.
//!
//! They become a checkpoint at a revision that the caller chooses, above all of theirs. So each key keeps its revisions, the
//! next write has a revision that nobody has seen, and there is no history before it: whoever watches from a revision of the
//! store that is lost is told that it is compacted, and reads again.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::RwLock;

use super::checkpoint;
use super::log::checkpoint_name;
use super::segments::{corrupt, disk_error};
use super::state::{HistoryLimits, State};
use crate::disk::{Disk, RealDisk};
use crate::{Error, KeyValue, Result, Revision};

/// Writes these keys, and no history, as the embedded store in a directory that holds none yet; it is made if missing. The
/// store is at `revision` then. `lease` of a key is when it expires, unix seconds, or 0.
///
/// Nothing is there afterwards if it fails.
///
/// # Errors
/// The directory holds a store, a key is newer than `revision` or comes twice, the disk fails, or `entries` does.
pub fn import_directory(
    directory: &Path,
    revision: Revision,
    entries: impl IntoIterator<Item = Result<KeyValue>>,
) -> Result<()> {
    let open = |e| disk_error(&format!("opening {}", directory.display()), &e);
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(directory).map_err(open)?);
    import(&*disk, revision, entries).map_err(|error| match error {
        Error::Corrupt(what) => Error::Corrupt(format!("{}: {what}", directory.display())),
        other => other,
    })
}

fn import(disk: &dyn Disk, revision: Revision, entries: impl IntoIterator<Item = Result<KeyValue>>) -> Result<()> {
    let io = |e| disk_error("importing", &e);
    if disk.list().map_err(io)?.iter().any(|name| name.starts_with("log-") || name.starts_with("checkpoint-")) {
        return Err(Error::Unavailable("there is a store already; it is not written over".to_owned()));
    }
    let mut state = State::new(HistoryLimits { bytes: 0, changes: 0 });
    for entry in entries {
        let kv = entry?;
        if kv.mod_revision > revision || state.get(&kv.key).is_some() {
            return Err(corrupt("import", 0, &format!("{} comes twice, or from the future", kv.key)));
        }
        state.load(kv);
    }
    state.loaded(revision);
    let salt = RandomState::new().hash_one(0);
    let name = checkpoint_name(revision);
    let (state, go_on) = (RwLock::new(state), AtomicBool::new(false));
    let written = disk
        .create(&format!("{name}.tmp"))
        .and_then(|file| checkpoint::write(&*file, &state, revision, (salt, revision.cast_unsigned()), None, &go_on));
    let named = written.and_then(|_| disk.rename(&format!("{name}.tmp"), &name)).and_then(|()| disk.sync_directory());
    named.map_err(|error| {
        // Names that are not written yet may be there or not: neither is a store.
        drop(disk.remove(&format!("{name}.tmp")));
        io(error)
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::StreamExt;

    use super::*;
    use crate::{EmbeddedStore, Expect, Outcome, RangeOptions, Storage};

    fn kv(key: &str, mod_revision: Revision) -> KeyValue {
        let value = Bytes::from(format!("value of {key}"));
        KeyValue { key: key.into(), value, mod_revision, create_revision: 2, version: 3, lease: 0 }
    }

    #[tokio::test]
    async fn keys_keep_their_revisions_and_the_store_goes_on_above_all_that_was_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let entries = [kv("/a", 5), kv("/b", 900)];
        import_directory(&path, 1_000_900, entries.iter().cloned().map(Ok)).unwrap();
        for _ in 0..2 {
            let store = EmbeddedStore::open_directory(&path).unwrap();
            let all = store.range("/", RangeOptions::default()).await.unwrap();
            assert_eq!(all.kvs, entries);
            let old = RangeOptions { revision: Some(900), ..RangeOptions::default() };
            assert_eq!(store.range("/", old).await, Err(Error::Compacted { floor: 1_000_900 }));
            let mut watch = match store.watch("/", 905).await {
                Err(error) => {
                    assert_eq!(error, Error::Compacted { floor: 1_000_900 });
                    continue;
                }
                Ok(watch) => watch,
            };
            assert_eq!(watch.next().await, Some(Err(Error::Compacted { floor: 1_000_900 })));
        }
        let store = EmbeddedStore::open_directory(&path).unwrap();
        let put = store.put("/a", Bytes::from_static(b"x"), Expect::ModRevision(5), None).await;
        assert_eq!(put, Ok(Outcome::Done { revision: 1_000_901 }));
        drop(store);
        let store = EmbeddedStore::open_directory(&path).unwrap();
        let (a, revision) = store.get("/a").await.unwrap();
        assert_eq!((a.map(|kv| (kv.create_revision, kv.version)), revision), (Some((2, 4)), 1_000_901));
    }

    #[test]
    fn a_store_that_is_there_is_not_written_over_and_a_failure_leaves_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let entries = || [Ok(kv("/a", 5)), Err(Error::Closed)];
        assert_eq!(import_directory(&path, 9, entries()), Err(Error::Closed));
        assert!(import_directory(&path, 4, [Ok(kv("/a", 5))]).is_err());
        assert!(import_directory(&path, 9, [Ok(kv("/a", 5)), Ok(kv("/a", 6))]).is_err());
        import_directory(&path, 9, [Ok(kv("/a", 5))]).unwrap();
        let again = import_directory(&path, 9, [Ok(kv("/a", 5))]).unwrap_err().to_string();
        assert!(again.contains("there is a store already"), "{again}");
    }
}
