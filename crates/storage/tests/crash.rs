//! The embedded store on a disk that crashes at every step there is, and loses what was not synced.
//!
//! `kill -9` proves little: what was written survives in the page cache. Here a crash keeps what was synced, and of the rest
//! nothing, all, or any sectors and names at random. A process that is killed first, and the machine after it, is one more way.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

extern crate ferry_storage as storage;

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use common::disk::{Loss, Random, SimDisk};
use common::{create, events};
use futures::StreamExt;
use futures::future::join_all;
use storage::{
    EmbeddedOptions, EmbeddedStore, Error, Event, EventKind, Expect, Outcome, RangeOptions, Revision, Storage,
    WatchItem,
};

/// Small files and eager rewriting, so that a short run has several of each.
fn open(disk: &SimDisk) -> storage::Result<EmbeddedStore> {
    let options =
        EmbeddedOptions { segment_limit_bytes: 2_000, checkpoint_gain_bytes: 1_000, ..EmbeddedOptions::default() };
    EmbeddedStore::open(Arc::new(disk.clone()), options)
}

/// What a user of the store was told.
#[derive(Default)]
struct Told {
    /// Acknowledged writes: key and value, `None` for a delete.
    writes: BTreeMap<Revision, (String, Option<Bytes>)>,
    /// The state that they make.
    keys: BTreeMap<String, (Revision, Bytes)>,
    /// Writes that failed: each may have happened or not.
    open: Vec<(String, Option<Bytes>)>,
    /// Events that a watch had shown.
    seen: Vec<Event>,
    compacted: Revision,
}

impl Told {
    fn acknowledged(&mut self, revision: Revision, key: String, value: Option<Bytes>) {
        match &value {
            Some(value) => drop(self.keys.insert(key.clone(), (revision, value.clone()))),
            None => drop(self.keys.remove(&key)),
        }
        self.writes.insert(revision, (key, value));
    }
}

/// Writes, four at a time, until the disk crashes or `rounds` are over.
async fn work(store: &EmbeddedStore, told: &mut Told, random: &mut Random, rounds: usize) {
    let Ok(revision) = store.revision().await else { return };
    let mut watch = store.watch("/", revision + 1).await.unwrap();
    for round in 0..rounds {
        let mut writes = Vec::new();
        for slot in 0..4 {
            let key = format!("/{}", slot * 4 + random.below(4));
            let value = Bytes::from(vec![random.next() as u8; random.below(200)]);
            let current = told.keys.get(&key).map(|(revision, _)| *revision);
            let delete = current.is_some() && random.below(4) == 0;
            let expect = current.map_or(Expect::Absent, Expect::ModRevision);
            writes.push(async move {
                let outcome = match (delete, current) {
                    (true, Some(revision)) => store.delete(&key, revision).await,
                    _ => store.put(&key, value.clone(), expect, None).await,
                };
                (key, (!delete).then_some(value), outcome)
            });
        }
        let mut failed = false;
        for (key, value, outcome) in join_all(writes).await {
            match outcome {
                Ok(Outcome::Done { revision }) => told.acknowledged(revision, key, value),
                Ok(conflict) => panic!("{key}: {conflict:?}"),
                Err(_) => {
                    failed = true;
                    told.open.push((key, value));
                }
            }
        }
        while let Some(Some(Ok(item))) = futures::FutureExt::now_or_never(watch.next()) {
            if let WatchItem::Events(events) = item {
                told.seen.extend(events);
            }
        }
        if failed {
            return;
        }
        if round % 5 == 4 {
            let to = store.revision().await.unwrap() - 3;
            told.compacted = to; // even if it fails, it may have happened
            if store.compact(to).await.is_err() {
                return;
            }
        }
    }
}

/// Everything that was told must be true of the store that the next start finds.
async fn check(store: &EmbeddedStore, told: &mut Told, context: &str) {
    let revision = store.revision().await.unwrap();
    let newest = told.writes.last_key_value().map_or(0, |(revision, _)| *revision);
    assert!(revision >= newest, "{context}: revision {revision}, told {newest}");
    let now = store.range("/", RangeOptions::default()).await.unwrap();
    let mut found: BTreeMap<String, (Revision, Bytes)> =
        now.kvs.into_iter().map(|kv| (kv.key.to_string(), (kv.mod_revision, kv.value))).collect();
    // Failed writes that happened all the same have later revisions; everything else is as told.
    for (key, value) in &told.open {
        let (want, got) = (told.keys.get(key), found.get(key));
        if want == got {
            continue;
        }
        match (value, got) {
            (Some(value), Some((at, got))) => assert!(got == value && *at > newest, "{context}: {key}"),
            (None, None) => {}
            other => panic!("{context}: {key} is {other:?}, was {want:?}"),
        }
        match got.cloned() {
            Some(got) => drop(told.keys.insert(key.clone(), got)),
            None => drop(told.keys.remove(key)),
        }
    }
    told.open.clear();
    assert_eq!(std::mem::take(&mut found), told.keys, "{context}");

    // The history since the last compaction is there, and holds what watches had shown.
    let from = told.compacted.max(1) + 1;
    let mut watch = store.watch("/", from).await.unwrap_or_else(|e| panic!("{context}: {e}"));
    let history = events(&mut watch, (revision - from + 1).try_into().unwrap_or(0)).await;
    let history: BTreeMap<Revision, Event> = history.into_iter().map(|e| (e.revision, e)).collect();
    for (revision, (key, value)) in told.writes.range(from..) {
        let event = &history[revision];
        let got = (event.kind == EventKind::Put).then(|| event.value.clone());
        assert_eq!((&*event.key, &got), (key.as_str(), value), "{context}");
    }
    for event in told.seen.iter().filter(|e| e.revision >= from) {
        assert_eq!(history[&event.revision], *event, "{context}");
    }
    // Whatever is true now was not acknowledged anew: the model goes on from here.
    told.writes.clear();
    told.seen.clear();
}

async fn run(crash_at: usize, first: Loss, second: Loss) -> bool {
    let disk = SimDisk::default();
    disk.crash_at(crash_at);
    let mut told = Told::default();
    let mut random = Random(7);
    if let Ok(store) = open(&disk) {
        work(&store, &mut told, &mut random, 30).await;
    }
    let crashed = disk.crashed();
    // And once more, early in the second life: recovering must survive a crash too.
    let again = disk.after_crash(first);
    again.crash_at(1 + crash_at % 13);
    let context = format!("crash at step {crash_at}, {first:?}, {second:?}");
    if let Ok(store) = open(&again) {
        check(&store, &mut told, &context).await;
        work(&store, &mut told, &mut random, 5).await;
    }
    let last = again.after_crash(second);
    let store = open(&last).unwrap_or_else(|e| panic!("{context}: {e}"));
    check(&store, &mut told, &context).await;
    work(&store, &mut told, &mut random, 5).await;
    check(&store, &mut told, &context).await;
    crashed
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_at_any_crash_point() {
    let mut step = 1;
    loop {
        let mut crashed = false;
        let (some, others) = (Loss::Random(step as u64), Loss::Random(!step as u64));
        for loss in [Loss::Everything, Loss::Nothing, some, others] {
            crashed |= run(step, loss, loss).await;
        }
        for second in [Loss::Everything, some, others] {
            crashed |= run(step, Loss::Process, second).await;
        }
        if !crashed {
            break;
        }
        step += 1;
    }
    assert!(step > 100, "the run has only {step} steps");
}

#[tokio::test]
async fn the_log_is_rewritten_and_old_files_go() {
    let disk = SimDisk::default();
    let mut told = Told::default();
    let store = open(&disk).unwrap();
    work(&store, &mut told, &mut Random(1), 200).await;
    // A rewrite that is under way ends beside the writes: old files go with its end.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let bytes = || disk.files().iter().map(|(_, length)| length).sum::<usize>();
    while bytes() >= 20_000 && std::time::Instant::now() < until {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    store.close();
    let (files, bytes) = (disk.files(), bytes());
    assert!(files.iter().any(|(name, _)| name.starts_with("checkpoint-")), "{files:?}");
    assert!(bytes < 20_000, "800 writes of 100 bytes, 16 keys: {files:?}");
}

#[tokio::test]
async fn a_full_disk_fails_writes_and_nothing_else_and_heals() {
    let disk = SimDisk::default();
    let store = open(&disk).unwrap();
    let mut watch = store.watch("/", 1).await.unwrap();
    let first = create(&store, "/first", "1").await;
    disk.set_space(Some(5_000));
    let value = || Bytes::from(vec![1; 900]);
    let mut written = 0;
    let full = loop {
        match store.put(&format!("/{written}"), value(), Expect::Absent, None).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, Error::Full(_)), "{full:?}");
    assert!(written >= 3);
    for _ in 0..3 {
        assert!(matches!(store.put("/more", value(), Expect::Absent, None).await, Err(Error::Full(_))));
        assert_eq!(store.get("/0").await.unwrap().0.unwrap().value, value());
    }
    assert_eq!(store.get("/more").await.unwrap().0, None);
    disk.set_space(None);
    let more = common::done(store.put("/more", value(), Expect::Absent, None).await);
    let told = events(&mut watch, usize::try_from(more - first + 1).unwrap()).await;
    assert!(told.iter().map(|e| e.revision).eq(first..=more));
    let before = store.range("/", RangeOptions::default()).await.unwrap();
    drop(store);
    let store = open(&disk.after_crash(Loss::Everything)).unwrap();
    assert_eq!(store.range("/", RangeOptions::default()).await.unwrap(), before);
}

#[tokio::test]
async fn a_failed_sync_fails_its_writes_and_what_follows_is_whole() {
    for loss in [Loss::Everything, Loss::Nothing, Loss::Random(3)] {
        let disk = SimDisk::default();
        let store = open(&disk).unwrap();
        create(&store, "/a", "1").await;
        // One failing sync loses one write; a second one hits the mending of the first.
        for failures in 1..3 {
            disk.fail_syncs(failures);
            for _ in 0..failures {
                let put = store.put("/b", Bytes::from_static(b"lost"), Expect::Absent, None).await;
                assert!(matches!(put, Err(Error::Unavailable(_))), "{put:?}");
            }
            assert_eq!(store.get("/b").await.unwrap().0, None, "unsynced, but shown");
        }
        create(&store, "/b", "x").await;
        // What a large failed write left behind must not lie in a file that is then closed.
        disk.fail_syncs(1);
        assert!(store.put("/big", Bytes::from(vec![1; 10_000]), Expect::Absent, None).await.is_err());
        for i in 0..50 {
            create(&store, &format!("/small/{i}"), "v").await;
        }
        drop(store);
        let store = open(&disk.after_crash(loss)).unwrap();
        assert_eq!(store.get("/a").await.unwrap().0.unwrap().value, "1");
        assert_eq!(store.get("/b").await.unwrap().0.unwrap().value, "x");
    }
}

#[tokio::test]
async fn damage_is_reported_and_never_read_as_data() {
    let disk = SimDisk::default();
    let store = open(&disk).unwrap();
    let mut written = 0;
    // Until there are several files, with several batches in the last.
    while disk.files().len() < 5 || disk.files().last().unwrap().1 < 1_000 {
        create(&store, &format!("/{written}"), &"v".repeat(100)).await;
        written += 1;
    }
    drop(store);
    let files = disk.files();
    let last = files.len() - 1;
    for (i, (name, length)) in files.iter().enumerate() {
        // In the last file the last write can't be told from one that a crash interrupted.
        let end = if i == last { length.saturating_sub(176) } else { *length };
        for offset in (0..end).step_by(7) {
            let damaged = disk.after_crash(Loss::Nothing);
            damaged.damage(name, offset);
            match open(&damaged) {
                Err(Error::Corrupt(what)) => assert!(what.contains(name.as_str()), "{what}"),
                Err(other) => panic!("{name} byte {offset}: {other}"),
                // Padding between batches is nobody's data.
                Ok(store) => {
                    assert_eq!(
                        store.range("/", RangeOptions::default()).await.unwrap().count,
                        written,
                        "{name} {offset}"
                    )
                }
            }
        }
        let without = disk.after_crash(Loss::Nothing);
        storage::disk::Disk::remove(&without, name).unwrap();
        if i != last {
            assert!(matches!(open(&without), Err(Error::Corrupt(_))), "{name} is missing");
        }
    }
}
