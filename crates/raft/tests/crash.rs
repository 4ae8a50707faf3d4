//! A cluster of one on a disk that crashes at every step there is, and loses what was not synced: the same as for the engine
//! alone (`crates/storage/tests/crash.rs`). Whatever the replicated log, its snapshots, and the beginning of a cluster do, what
//! was acknowledged is there.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

extern crate ferry_raft as raft;

#[path = "../../storage/tests/common/mod.rs"]
mod common;

mod cluster;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cluster::hub::Hub;
use cluster::wait;
use common::create;
use common::disk::{Loss, Random, SimDisk};
use common::told::{Told, check, work};
use raft::{Options, RaftStore, Times};
use storage::{EmbeddedOptions, EmbeddedStore, Error, Expect, RangeOptions, Storage};

/// Small files and eager snapshots, so that a short run has several of each.
async fn open(disk: &SimDisk, patience: Duration) -> storage::Result<RaftStore> {
    let storage =
        EmbeddedOptions { segment_limit_bytes: 2_000, checkpoint_gain_bytes: 1_000, ..EmbeddedOptions::default() };
    let times = Times {
        heartbeat: Duration::from_millis(10),
        election: (Duration::from_millis(30), Duration::from_millis(60)),
        patience,
    };
    let options = Options { storage, times, advertise: "alone".to_owned(), join: Vec::new() };
    RaftStore::open(Arc::new(disk.clone()), Hub::new().network("alone"), options).await
}

const LONG: Duration = Duration::from_secs(30);

/// A store on a disk that is gone would try until it is back.
async fn end_with(disk: SimDisk, store: Arc<RaftStore>) {
    while !disk.crashed() {
        tokio::time::sleep(Duration::from_millis(1)).await; // between looks, not instead of them
    }
    store.close().await;
}

async fn run(crash_at: usize, first: Loss, second: Loss) -> bool {
    let disk = SimDisk::default();
    disk.crash_at(crash_at);
    let mut told = Told::default();
    let mut random = Random(7);
    if let Ok(store) = open(&disk, LONG).await {
        let store = Arc::new(store);
        let ending = tokio::spawn(end_with(disk.clone(), store.clone()));
        work(&*store, &mut told, &mut random, 12).await;
        // What a snapshot needs is done beside the writes.
        tokio::time::sleep(Duration::from_millis(5)).await;
        ending.abort();
        store.close().await;
    }
    let crashed = disk.crashed();
    let again = disk.after_crash(first);
    let context = format!("crash at step {crash_at}, {first:?}, {second:?}");
    let store = open(&again, LONG).await.unwrap_or_else(|e| panic!("{context}: {e}"));
    check(&store, &mut told, &context).await;
    work(&store, &mut told, &mut random, 3).await;
    // Not closed in order: the disk is as it is at this moment.
    again.crash();
    let last = again.after_crash(second);
    store.close().await;
    let store = open(&last, LONG).await.unwrap_or_else(|e| panic!("{context}: {e}"));
    check(&store, &mut told, &context).await;
    store.close().await;
    crashed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_at_any_crash_point() {
    let mut step = 1;
    loop {
        let runs = [
            run(step, Loss::Everything, Loss::Everything),
            run(step, Loss::Random(step as u64), Loss::Random(!step as u64)),
            run(step, Loss::Process, Loss::Everything),
        ];
        if !futures::future::join_all(runs).await.contains(&true) {
            break;
        }
        step += 1;
    }
    assert!(step > 60, "the run has only {step} steps");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_store_is_taken_over_in_place_at_any_crash_point() {
    let mut step = 1;
    loop {
        let disk = SimDisk::default();
        let store = EmbeddedStore::open(Arc::new(disk.clone()), EmbeddedOptions::default()).unwrap();
        for i in 0..5 {
            create(&store, &format!("/{i}"), "v").await;
        }
        let before = store.range("/", RangeOptions::default()).await.unwrap();
        drop(store);
        let disk = disk.after_crash(Loss::Nothing);
        disk.crash_at(step);
        if let Ok(store) = open(&disk, LONG).await {
            store.close().await;
        }
        let crashed = disk.crashed();
        for loss in [Loss::Everything, Loss::Process, Loss::Random(step as u64)] {
            let after = disk.after_crash(loss);
            let store = open(&after, LONG).await.unwrap_or_else(|e| panic!("step {step}, {loss:?}: {e}"));
            let now = store.range("/", RangeOptions::default()).await.unwrap();
            assert_eq!(now, before, "step {step}, {loss:?}");
            create(&store, "/more", "").await;
            store.close().await;
            // Its directory is not an embedded store's any more: nobody begins an empty one there.
            let alone = EmbeddedStore::open(Arc::new(after.clone()), EmbeddedOptions::default());
            assert!(matches!(alone, Err(Error::Corrupt(why)) if why.contains("replicated")));
        }
        if !crashed {
            break;
        }
        step += 1;
    }
    assert!(step > 10, "taking over has only {step} steps");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_writes_and_heals() {
    let disk = SimDisk::default();
    let store = open(&disk, Duration::from_secs(1)).await.unwrap();
    create(&store, "/first", "1").await;
    disk.set_space(Some(disk.files().iter().map(|(_, length)| length).sum::<usize>() + 3_000));
    let value = || Bytes::from(vec![1; 900]);
    let mut written = 0;
    // The write that meets the full disk may still be done: it says so. Those after it are refused for what they are.
    wait("a write is refused because the disk is full", async || {
        match store.put(&format!("/{written}"), value(), Expect::Absent, None).await {
            Ok(_) => written += 1,
            Err(Error::Full(_)) => return true,
            Err(Error::Unavailable(why)) => assert!(why.contains("may have been done"), "{why}"),
            Err(other) => panic!("{other}"),
        }
        false
    })
    .await;
    assert!(written >= 2, "{written}");
    assert_eq!(store.get("/0").await.unwrap().0.unwrap().value, value(), "reads go on");
    assert!(matches!(store.put("/more", value(), Expect::Absent, None).await, Err(Error::Full(_))));
    disk.set_space(None);
    wait("writes are taken again", async || store.put("/more", value(), Expect::Absent, None).await.is_ok()).await;
    let before = store.range("/", RangeOptions::default()).await.unwrap();
    store.close().await;
    let store = open(&disk.after_crash(Loss::Everything), LONG).await.unwrap();
    assert_eq!(store.range("/", RangeOptions::default()).await.unwrap(), before);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_to_the_log_is_reported_and_never_read_as_data() {
    let disk = SimDisk::default();
    let store = open(&disk, LONG).await.unwrap();
    for i in 0..40 {
        create(&store, &format!("/{i}"), &"v".repeat(100)).await;
    }
    store.close().await;
    let mut files = disk.files();
    files.retain(|(name, _)| name.starts_with("raft-"));
    let last = files.iter().rposition(|(name, _)| name.starts_with("raft-log-")).unwrap();
    for (at, (name, length)) in files.iter().enumerate() {
        // In the last file the last write can't be told from one that a crash interrupted.
        let end = if at == last { length.saturating_sub(600) } else { *length };
        for offset in (0..end).step_by(97) {
            let damaged = disk.after_crash(Loss::Nothing);
            damaged.damage(name, offset);
            match open(&damaged, LONG).await {
                Err(Error::Corrupt(what)) => assert!(what.contains(name.as_str()), "{what}"),
                Err(other) => panic!("{name} byte {offset}: {other}"),
                // Padding between batches is nobody's data.
                Ok(store) => {
                    let there = store.range("/", RangeOptions::default()).await.unwrap();
                    assert_eq!(there.count, 40, "{name} {offset}");
                    store.close().await;
                }
            }
        }
    }
}
