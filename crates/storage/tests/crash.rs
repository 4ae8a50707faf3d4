//! The embedded store on a disk that crashes at every step there is, and loses what was not synced.
//!
//! `kill -9` proves little: what was written survives in the page cache. Here a crash keeps what was synced, and of the rest
//! nothing, all, or any sectors and names at random. A process that is killed first, and the machine after it, is one more way.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

extern crate ferry_storage as storage;

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::disk::{Loss, Random, SimDisk};
use common::told::{Told, check, work};
use common::{create, events};
use storage::{EmbeddedOptions, EmbeddedStore, Error, Expect, RangeOptions, Storage};

/// Small files and eager rewriting, so that a short run has several of each.
fn open(disk: &SimDisk) -> storage::Result<EmbeddedStore> {
    let options =
        EmbeddedOptions { segment_limit_bytes: 2_000, checkpoint_gain_bytes: 1_000, ..EmbeddedOptions::default() };
    EmbeddedStore::open(Arc::new(disk.clone()), options)
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
