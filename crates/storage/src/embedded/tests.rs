//! What only this engine promises: values held once, bounded history, expiry by its clock.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use futures::StreamExt;

use super::*;
use crate::disk::{HookedDisk, Step};
use crate::{EventKind, WatchItem};

async fn put(store: &EmbeddedStore, key: &str, value: Bytes, expect: Expect) -> Revision {
    match store.put(key, value, expect, None).await {
        Ok(Outcome::Done { revision }) => revision,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_value_is_held_once() {
    let store = EmbeddedStore::in_memory();
    let value = Bytes::from(vec![7; 4096]);
    let at = value.as_ptr();
    let mut watch = store.watch("/", 1).await.unwrap();
    let revision = put(&store, "/a", value, Expect::Absent).await;
    assert_eq!(store.get("/a").await.unwrap().0.unwrap().value.as_ptr(), at);
    assert_eq!(store.range("/", RangeOptions::default()).await.unwrap().kvs[0].value.as_ptr(), at);
    let Some(Ok(WatchItem::Events(events))) = watch.next().await else { panic!() };
    assert_eq!(events[0].value.as_ptr(), at);
    put(&store, "/a", Bytes::new(), Expect::ModRevision(revision)).await;
    let Some(Ok(WatchItem::Events(events))) = watch.next().await else { panic!() };
    assert_eq!(events[0].previous.as_ref().unwrap().value.as_ptr(), at);
}

#[tokio::test]
async fn history_beyond_its_limit_is_compacted_early_and_current_values_stay() {
    let options =
        EmbeddedOptions { history_limit_bytes: 10 * 1024, segment_limit_bytes: u64::MAX, ..EmbeddedOptions::default() };
    let store = EmbeddedStore::open(Arc::new(NullDisk), options).unwrap();
    let mut revision = put(&store, "/a", Bytes::from(vec![0; 1024]), Expect::Absent).await;
    let mut live = store.watch("/", 1).await.unwrap();
    for _ in 0..50 {
        assert!(matches!(live.next().await, Some(Ok(WatchItem::Events(_)))));
        revision = put(&store, "/a", Bytes::from(vec![0; 1024]), Expect::ModRevision(revision)).await;
    }
    assert!(matches!(store.watch("/", 2).await, Err(Error::Compacted { floor }) if floor > 30 && floor < revision));
    assert_eq!(store.get("/a").await.unwrap().0.unwrap().mod_revision, revision);
    let at_floor = RangeOptions { revision: Some(revision - 5), ..RangeOptions::default() };
    assert_eq!(store.range("/", at_floor).await.unwrap().kvs[0].mod_revision, revision - 5);
}

struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn unix_seconds(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn a_time_to_live_ends_by_the_clock_unless_a_later_put_takes_it_away() {
    let clock = Arc::new(TestClock(AtomicI64::new(1_000)));
    let options = EmbeddedOptions { clock: clock.clone(), ..EmbeddedOptions::default() };
    let store = EmbeddedStore::open(Arc::new(NullDisk), options).unwrap();
    for key in ["/gone", "/kept", "/later"] {
        store.put(key, Bytes::new(), Expect::Absent, Some(if key == "/later" { 50 } else { 10 })).await.unwrap();
    }
    let kept = store.get("/kept").await.unwrap().0.unwrap();
    assert_ne!(kept.lease, 0);
    let kept = put(&store, "/kept", Bytes::new(), Expect::ModRevision(kept.mod_revision)).await;
    let mut watch = store.watch("/", kept + 1).await.unwrap();
    clock.0.store(1_011, Ordering::SeqCst);
    store.wake();
    let Some(Ok(WatchItem::Events(events))) = watch.next().await else { panic!() };
    assert_eq!(events.len(), 1);
    assert_eq!((&*events[0].key, events[0].kind, events[0].revision), ("/gone", EventKind::Delete, kept + 1));
    let left = store.range("/", RangeOptions::default()).await.unwrap();
    assert_eq!(left.kvs.iter().map(|kv| &*kv.key).collect::<Vec<_>>(), ["/kept", "/later"]);
}

#[test]
fn expiries_are_rounded_up_and_by_a_60th_at_most() {
    for (now, ttl, want) in
        [(1_000, 0, 1_001), (1_000, 1, 1_001), (1_000, 15, 1_015), (1_000, 3_600, 4_620), (0, 86_400, 86_400)]
    {
        assert_eq!(expiry(now, ttl), want, "{now} {ttl}");
    }
    assert!(expiry(1_000, u64::MAX) > 1_000);
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let store = EmbeddedStore::in_memory();
    let mut watch = store.watch("/", 1).await.unwrap();
    store.close();
    assert_eq!(watch.next().await, Some(Err(Error::Closed)));
    assert_eq!(watch.next().await, None);
    assert_eq!(store.get("/a").await, Err(Error::Closed));
    assert_eq!(store.put("/a", Bytes::new(), Expect::Absent, None).await, Err(Error::Closed));
}

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who is told that a write came, and who says that it may panic.
type Appointment = (oneshot::Sender<()>, mpsc::Receiver<()>);

#[tokio::test]
async fn a_panic_of_the_writer_acknowledges_nothing_lets_nobody_wait_and_is_told_by_its_name() {
    let appointment: Arc<Mutex<Option<Appointment>>> = Arc::default();
    let due = appointment.clone();
    let disk = HookedDisk::new(NullDisk, move |step| {
        if step == Step::Write
            && let Some((came, may)) = due.lock().take()
        {
            came.send(()).unwrap();
            may.recv().unwrap();
            panic!("the disk is gone");
        }
    });
    let store = EmbeddedStore::open(Arc::new(disk), EmbeddedOptions::default()).unwrap();
    put(&store, "/a", Bytes::new(), Expect::Absent).await;
    let mut watch = store.watch("/", 3).await.unwrap();
    let ((came, comes), (go, may)) = (oneshot::channel(), mpsc::channel());
    *appointment.lock() = Some((came, may));
    let mut under_way = pin!(store.put("/b", Bytes::new(), Expect::Absent, None));
    assert!(futures::poll!(&mut under_way).is_pending());
    comes.await.unwrap();
    let mut behind_it = pin!(store.put("/c", Bytes::new(), Expect::Absent, None));
    assert!(futures::poll!(&mut behind_it).is_pending());
    go.send(()).unwrap();

    tokio::time::timeout(PATIENCE, async {
        assert_eq!(under_way.await, Err(Error::Closed));
        assert_eq!(behind_it.await, Err(Error::Closed));
        assert_eq!(watch.next().await, Some(Err(Error::Closed)));
        let why = store.failed().await.to_string();
        assert!(why.starts_with("store-writer panicked: the disk is gone (at "), "{why}");
    })
    .await
    .expect("nobody waits for a writer that is gone");
    assert_eq!(store.get("/a").await, Err(Error::Closed));
    assert_eq!(store.put("/d", Bytes::new(), Expect::Absent, None).await, Err(Error::Closed));
}

#[tokio::test]
async fn a_panic_of_a_checkpoint_is_one_that_failed_and_a_later_one_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let tried = Arc::new(AtomicBool::new(false));
    let first = tried.clone();
    let disk = Arc::new(HookedDisk::new(RealDisk::open(directory.path()).unwrap(), move |step| {
        if let Step::Create(name) = step {
            assert!(!name.ends_with(".tmp") || first.swap(true, Ordering::SeqCst), "no checkpoint");
        }
    }));
    let options =
        EmbeddedOptions { segment_limit_bytes: 2_000, checkpoint_gain_bytes: 1_000, ..EmbeddedOptions::default() };
    let store = EmbeddedStore::open(disk.clone(), options).unwrap();
    let mut revision = put(&store, "/a", Bytes::new(), Expect::Absent).await;
    let written = || disk.list().unwrap().iter().any(|name| name.starts_with("checkpoint") && !name.ends_with(".tmp"));
    let until_written = async {
        while !written() {
            revision = put(&store, "/a", Bytes::from(vec![0; 500]), Expect::ModRevision(revision)).await;
            store.compact(revision).await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, until_written).await.expect("the panic is not the last word on checkpoints");
    assert!(tried.load(Ordering::SeqCst));
}
