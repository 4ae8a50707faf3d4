//! What every engine promises, one case each. Whoever has an engine includes this file and says how to get a store of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use storage::{Error, EventKind, Expect, Outcome, RangeOptions, Storage, WatchItem};

use super::{at_least, create, done, events, next, update};

/// A store under test.
pub type Store = Arc<dyn Storage>;

/// A test of each case on an engine, in a module of that name: `make` is a future of what has to live as long as the test, and a
/// store; or of `None`, where this machine lacks the engine.
#[macro_export]
macro_rules! contract {
    ($engine:ident, $make:expr) => {
        $crate::contract! { @ $engine, $make,
            a_key_lives_and_dies
            a_write_needs_its_expectation_to_hold
            concurrent_writers_lose_nothing
            ranges_keep_to_their_prefix_order_and_limit
            a_range_at_a_revision_sees_what_was_then
            a_large_range_is_of_one_revision
            compaction_raises_the_floor
            a_watch_tells_what_happened
            a_watch_tells_everything_once_and_in_order
            a_watch_can_begin_in_the_future
            a_reader_that_is_slow_loses_nothing_and_stops_nobody
            a_watch_behind_the_floor_ends
            progress_is_told_when_asked
            a_time_to_live_ends_in_a_delete
            values_of_all_sizes_come_back
            revisions_never_run_behind_acknowledged_writes
        }
    };
    (@ $engine:ident, $make:expr, $($case:ident)*) => {
        mod $engine { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let Some((_guard, store)) = $make.await else { return };
                $crate::common::contract::$case(store).await;
            }
        )* }
    };
}

pub async fn a_key_lives_and_dies(store: Store) {
    let before = store.revision().await.unwrap();
    assert!(before >= 1, "an empty store is not at 0, which clients read as `any`");
    assert_eq!(store.get("/a").await.unwrap().0, None);
    let created = create(&*store, "/a", "1").await;
    assert_eq!(created, before + 1);
    let updated = update(&*store, "/a", "2", created).await;
    assert_eq!(updated, created + 1);
    let (kv, revision) = store.get("/a").await.unwrap();
    let kv = kv.unwrap();
    assert_eq!(revision, updated);
    assert_eq!((&*kv.key, &kv.value[..]), ("/a", &b"2"[..]));
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version, kv.lease), (created, updated, 2, 0));
    let deleted = done(store.delete("/a", updated).await);
    assert_eq!(deleted, updated + 1);
    assert_eq!(store.get("/a").await.unwrap(), (None, deleted));
    // The same name again is another key's life.
    let again = create(&*store, "/a", "3").await;
    let kv = store.get("/a").await.unwrap().0.unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (again, again, 1));
}

pub async fn a_write_needs_its_expectation_to_hold(store: Store) {
    let created = create(&*store, "/a", "1").await;
    let value = || Bytes::from_static(b"x");
    let is = |outcome: storage::Result<Outcome>, mod_revision: Option<i64>| match outcome {
        Ok(Outcome::Conflict { current, revision }) => {
            assert_eq!(current.map(|kv| kv.mod_revision), mod_revision);
            assert_eq!(revision, created);
        }
        other => panic!("{other:?}"),
    };
    is(store.put("/a", value(), Expect::Absent, None).await, Some(created));
    is(store.put("/a", value(), Expect::ModRevision(created + 1), None).await, Some(created));
    is(store.put("/a", value(), Expect::ModRevision(created - 1), None).await, Some(created));
    is(store.put("/b", value(), Expect::ModRevision(created), None).await, None);
    is(store.delete("/a", created - 1).await, Some(created));
    is(store.delete("/a", 0).await, Some(created));
    is(store.delete("/b", created).await, None);
    is(store.delete("/b", 0).await, None);
    assert_eq!(store.revision().await.unwrap(), created, "nothing was written");
    assert_eq!(store.get("/a").await.unwrap().0.unwrap().value, "1");
}

pub async fn concurrent_writers_lose_nothing(store: Store) {
    create(&*store, "/counter", "0").await;
    let writers = (0..8).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            for _ in 0..15 {
                loop {
                    let kv = store.get("/counter").await.unwrap().0.unwrap();
                    let next = std::str::from_utf8(&kv.value).unwrap().parse::<u32>().unwrap() + 1;
                    let expect = Expect::ModRevision(kv.mod_revision);
                    match store.put("/counter", next.to_string().into(), expect, None).await.unwrap() {
                        Outcome::Done { .. } => break,
                        Outcome::Conflict { current, .. } => assert!(current.unwrap().mod_revision > kv.mod_revision),
                    }
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let kv = store.get("/counter").await.unwrap().0.unwrap();
    assert_eq!((&kv.value[..], kv.version), (&b"120"[..], 121));
}

pub async fn ranges_keep_to_their_prefix_order_and_limit(store: Store) {
    for key in ["/p/b", "/p/a", "/p0", "/p", "/o/z", "/p/c/d", "/p/ü", "/q/"] {
        create(&*store, key, key).await;
    }
    let revision = store.revision().await.unwrap();
    type Case<'a> = (&'a str, usize, Option<&'a str>, &'a [&'a str], bool, i64);
    let cases: [Case<'_>; 9] = [
        ("/p/", 0, None, &["/p/a", "/p/b", "/p/c/d", "/p/ü"], false, 4),
        ("/p/", 2, None, &["/p/a", "/p/b"], true, 4),
        ("/p/", 4, None, &["/p/a", "/p/b", "/p/c/d", "/p/ü"], false, 4),
        ("/p/", 2, Some("/p/b"), &["/p/c/d", "/p/ü"], false, 2),
        ("/p/", 1, Some("/p/aa"), &["/p/b"], true, 3),
        ("/p/", 0, Some("/p/ü"), &[], false, 0),
        ("/p/", 1, Some("/a"), &["/p/a"], true, 4),
        ("/p", 0, None, &["/p", "/p/a", "/p/b", "/p/c/d", "/p/ü", "/p0"], false, 6),
        ("/none/", 0, None, &[], false, 0),
    ];
    for (prefix, limit, after, want, more, count) in cases {
        let options = RangeOptions { limit, start_after: after.map(str::to_owned), ..RangeOptions::default() };
        let got = store.range(prefix, options.clone()).await.unwrap();
        let keys: Vec<_> = got.kvs.iter().map(|kv| &*kv.key).collect();
        assert_eq!((keys.as_slice(), got.more, got.count), (want, more, count), "{prefix} {options:?}");
        assert_eq!(got.revision, revision);
        assert!(got.kvs.iter().all(|kv| kv.value == *kv.key.as_bytes()));
    }
    let counted = store.range("/p/", RangeOptions { count_only: true, ..RangeOptions::default() }).await.unwrap();
    assert_eq!((counted.kvs.len(), counted.count, counted.more), (0, 4, false));
    let keys = store.range("/p/", RangeOptions { keys_only: true, ..RangeOptions::default() }).await.unwrap();
    assert!(keys.kvs.len() == 4 && keys.kvs.iter().all(|kv| kv.value.is_empty() && kv.mod_revision > 0));
    assert_eq!(store.range("", RangeOptions::default()).await.unwrap().count, 8);
}

pub async fn a_range_at_a_revision_sees_what_was_then(store: Store) {
    let a = create(&*store, "/a", "1").await;
    let b = create(&*store, "/b", "1").await;
    let a2 = update(&*store, "/a", "2", a).await;
    let gone = done(store.delete("/b", b).await);
    let back = create(&*store, "/b", "2").await;
    let at = async |revision| {
        let options = RangeOptions { revision: Some(revision), ..RangeOptions::default() };
        let got = store.range("/", options).await.unwrap();
        assert_eq!(got.revision, revision);
        let kvs = got.kvs.iter().map(|kv| format!("{}={}", kv.key, str::from_utf8(&kv.value).unwrap()));
        kvs.collect::<Vec<_>>().join(" ")
    };
    for (revision, want) in [(a, "/a=1"), (b, "/a=1 /b=1"), (a2, "/a=2 /b=1"), (gone, "/a=2"), (back, "/a=2 /b=2")] {
        assert_eq!(at(revision).await, want);
    }
    let future = RangeOptions { revision: Some(back + 1), ..RangeOptions::default() };
    assert!(matches!(store.range("/", future).await, Err(Error::FutureRevision { .. })));
}

pub async fn a_large_range_is_of_one_revision(store: Store) {
    // More than a page of the etcd engine, while somebody else writes.
    let writers = (0..20).map(|w| {
        let store = store.clone();
        tokio::spawn(async move {
            for i in 0..125 {
                create(&*store, &format!("/many/{w:02}-{i:03}"), "v").await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let busy = tokio::spawn({
        let store = store.clone();
        async move {
            for i in 0..200 {
                create(&*store, &format!("/many/99-{i:03}"), "v").await;
            }
        }
    });
    loop {
        let got = store.range("/many/", RangeOptions::default()).await.unwrap();
        assert!(got.kvs.len() >= 2_500 && !got.more && got.count == got.kvs.len() as i64);
        assert!(got.kvs.is_sorted_by(|a, b| a.key < b.key));
        let newest = got.kvs.iter().map(|kv| kv.mod_revision).max().unwrap();
        assert!(newest <= got.revision, "a key from after the range's revision");
        if busy.is_finished() {
            break;
        }
    }
    busy.await.unwrap();
    let limited = RangeOptions { limit: 2_100, ..RangeOptions::default() };
    let limited = store.range("/many/", limited).await.unwrap();
    assert_eq!((limited.kvs.len(), limited.more, limited.count), (2_100, true, 2_700));
}

pub async fn compaction_raises_the_floor(store: Store) {
    let mut revisions = vec![create(&*store, "/a", "0").await];
    for i in 1..6 {
        revisions.push(update(&*store, "/a", &i.to_string(), revisions[i - 1]).await);
    }
    let b = create(&*store, "/b", "").await;
    let gone = done(store.delete("/b", b).await);
    store.compact(revisions[3]).await.unwrap();
    let at = |revision| RangeOptions { revision: Some(revision), ..RangeOptions::default() };
    assert!(matches!(store.range("/", at(revisions[2])).await, Err(Error::Compacted { .. })));
    assert_eq!(store.range("/", at(revisions[3])).await.unwrap().kvs[0].value, "3");
    assert_eq!(store.range("/", at(b)).await.unwrap().kvs.len(), 2);
    store.compact(revisions[1]).await.unwrap();
    assert_eq!(store.range("/", at(revisions[3])).await.unwrap().kvs[0].value, "3");
    store.compact(gone).await.unwrap();
    assert_eq!(store.get("/a").await.unwrap().0.unwrap().value, "5");
    assert_eq!(store.range("/", at(gone)).await.unwrap().kvs.len(), 1);
    assert!(matches!(store.compact(gone + 10).await, Err(Error::FutureRevision { .. })));
    assert_eq!(store.revision().await.unwrap(), gone);
}

pub async fn a_watch_tells_what_happened(store: Store) {
    let a = create(&*store, "/w/a", "1").await;
    create(&*store, "/other", "").await;
    let a2 = update(&*store, "/w/a", "2", a).await;
    let gone = done(store.delete("/w/a", a2).await);
    let mut watch = store.watch("/w/", a).await.unwrap();
    let past = events(&mut watch, 3).await;
    let b = create(&*store, "/w/b", "live").await;
    let live = events(&mut watch, 1).await;

    assert_eq!((&*past[0].key, past[0].kind, &past[0].value[..]), ("/w/a", EventKind::Put, &b"1"[..]));
    assert_eq!((past[0].revision, past[0].create_revision, &past[0].previous), (a, a, &None));
    assert_eq!((past[1].kind, &past[1].value[..], past[1].revision), (EventKind::Put, &b"2"[..], a2));
    let previous = past[1].previous.as_ref().unwrap();
    assert_eq!((&previous.value[..], previous.mod_revision, past[1].create_revision), (&b"1"[..], a, a));
    assert_eq!((past[2].kind, past[2].revision, past[2].create_revision), (EventKind::Delete, gone, a));
    let previous = past[2].previous.as_ref().unwrap();
    assert_eq!((&previous.value[..], previous.mod_revision, past[2].value.len()), (&b"2"[..], a2, 0));
    assert_eq!((&*live[0].key, live[0].revision, live[0].create_revision), ("/w/b", b, b));
}

pub async fn a_watch_tells_everything_once_and_in_order(store: Store) {
    let from = store.revision().await.unwrap() + 1;
    let mut early = store.watch("/w/", from).await.unwrap();
    let writers = (0..8).map(|w| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut revisions = Vec::new();
            for i in 0..40 {
                revisions.push(create(&*store, &format!("/w/{w}-{i}"), "v").await);
                create(&*store, &format!("/x/{w}-{i}"), "v").await;
            }
            revisions
        })
    });
    let writers: Vec<_> = writers.collect();
    let mut told = at_least(&mut early, 100).await;
    let mut middle = store.watch("/w/", from).await.unwrap();
    let mut written = Vec::new();
    for writer in writers {
        written.extend(writer.await.unwrap());
    }
    written.sort_unstable();
    told.extend(events(&mut early, 320 - told.len()).await);
    assert_eq!(told.iter().map(|e| e.revision).collect::<Vec<_>>(), written);
    assert_eq!(events(&mut middle, 320).await, told);
    let mut late = store.watch("/w/", from).await.unwrap();
    assert_eq!(events(&mut late, 320).await, told);
}

pub async fn a_watch_can_begin_in_the_future(store: Store) {
    let now = store.revision().await.unwrap();
    let mut watch = store.watch("/", now + 3).await.unwrap();
    for key in ["/1", "/2", "/3", "/4"] {
        create(&*store, key, "").await;
    }
    let told = events(&mut watch, 2).await;
    assert_eq!(told.iter().map(|e| &*e.key).collect::<Vec<_>>(), ["/3", "/4"]);
}

pub async fn a_reader_that_is_slow_loses_nothing_and_stops_nobody(store: Store) {
    let from = store.revision().await.unwrap() + 1;
    let mut slow = store.watch("/w/", from).await.unwrap();
    let value = "x".repeat(10_000);
    for i in 0..400 {
        create(&*store, &format!("/w/{i:04}"), &value).await;
    }
    let told = events(&mut slow, 400).await;
    assert!(told.iter().enumerate().all(|(i, e)| *e.key == *format!("/w/{i:04}") && e.value.len() == 10_000));
}

pub async fn a_watch_behind_the_floor_ends(store: Store) {
    let mut at = create(&*store, "/a", "").await;
    let first = at;
    for _ in 0..10 {
        at = update(&*store, "/a", "", at).await;
    }
    store.compact(at).await.unwrap();
    let ended = match store.watch("/", first).await {
        Err(error) => error,
        Ok(mut watch) => next(&mut watch).await.unwrap_err(),
    };
    assert_eq!(ended, Error::Compacted { floor: at });
    let mut watch = store.watch("/", at + 1).await.unwrap();
    let more = update(&*store, "/a", "", at).await;
    assert_eq!(events(&mut watch, 1).await[0].revision, more);
}

pub async fn progress_is_told_when_asked(store: Store) {
    if !store.reports_progress() {
        skips::skip("progress of an etcd's watch", "");
        return;
    }
    create(&*store, "/w/a", "").await;
    let mut watch = store.watch("/w/", 1).await.unwrap();
    events(&mut watch, 1).await;
    for i in 0..20 {
        let elsewhere = create(&*store, &format!("/other/{i}"), "").await;
        assert!(store.revision().await.unwrap() >= elsewhere);
        store.request_progress("/w/");
        loop {
            match next(&mut watch).await.unwrap() {
                WatchItem::Progress(revision) if revision >= elsewhere => break,
                WatchItem::Progress(_) => {}
                WatchItem::Events(events) => panic!("nothing happened under the prefix: {events:?}"),
            }
        }
    }
    let a = create(&*store, "/w/b", "").await;
    store.request_progress("/w/");
    let mut event_seen = false;
    loop {
        match next(&mut watch).await.unwrap() {
            WatchItem::Events(events) => event_seen |= events[0].revision == a,
            WatchItem::Progress(revision) if revision >= a => break,
            WatchItem::Progress(_) => {}
        }
    }
    assert!(event_seen, "progress overtook an event");
}

pub async fn a_time_to_live_ends_in_a_delete(store: Store) {
    let put = async |key: &str, expect, ttl| done(store.put(key, Bytes::from_static(b"v"), expect, ttl).await);
    // Long enough for a machine that is busy.
    let mortal = put("/t/mortal", Expect::Absent, Some(4)).await;
    let saved = put("/t/saved", Expect::Absent, Some(4)).await;
    put("/t/patient", Expect::Absent, Some(3_600)).await;
    let saved = put("/t/saved", Expect::ModRevision(saved), None).await;
    let kv = store.get("/t/mortal").await.unwrap().0.unwrap();
    assert_ne!(kv.lease, 0);
    assert_eq!(store.get("/t/saved").await.unwrap().0.unwrap().lease, 0);
    let mut watch = store.watch("/t/", saved + 1).await.unwrap();
    let told = events(&mut watch, 1).await;
    assert_eq!((&*told[0].key, told[0].kind), ("/t/mortal", EventKind::Delete));
    assert_eq!(told[0].previous.as_ref().unwrap().mod_revision, mortal);
    assert_eq!(store.range("/t/", RangeOptions::default()).await.unwrap().count, 2);
    // Many keys with about the same life share what is costly about it.
    let mut leases = Vec::new();
    for i in 0..20 {
        put(&format!("/e/{i}"), Expect::Absent, Some(3_600)).await;
        leases.push(store.get(&format!("/e/{i}")).await.unwrap().0.unwrap().lease);
    }
    leases.dedup();
    assert!(leases.len() <= 2, "{leases:?}");
}

pub async fn values_of_all_sizes_come_back(store: Store) {
    let mut watch = store.watch("/", store.revision().await.unwrap() + 1).await.unwrap();
    let mut sizes = vec![0, 1, 7, 8, 4_095, 4_096, 65_536, 1 << 20];
    for size in &sizes {
        let value =
            Bytes::from((0..*size).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect::<Vec<_>>());
        let key = format!("/{size:08}");
        done(store.put(&key, value.clone(), Expect::Absent, None).await);
        assert_eq!(store.get(&key).await.unwrap().0.unwrap().value, value);
        assert_eq!(events(&mut watch, 1).await[0].value, value);
    }
    let all = store.range("/", RangeOptions::default()).await.unwrap();
    sizes.sort_unstable();
    assert_eq!(all.kvs.iter().map(|kv| kv.value.len() as u32).collect::<Vec<_>>(), sizes);
    let huge = Bytes::from(vec![1; 20 << 20]);
    assert!(matches!(store.put("/huge", huge, Expect::Absent, None).await, Err(Error::TooLarge(_))));
    assert_eq!(store.get("/huge").await.unwrap().0, None);
}

pub async fn revisions_never_run_behind_acknowledged_writes(store: Store) {
    let askers = (0..16).map(|w| {
        let store = store.clone();
        tokio::spawn(async move {
            for i in 0..20 {
                let written = create(&*store, &format!("/{w}/{i}"), "").await;
                assert!(store.revision().await.unwrap() >= written);
            }
        })
    });
    for asker in askers.collect::<Vec<_>>() {
        tokio::time::timeout(Duration::from_secs(60), asker).await.unwrap().unwrap();
    }
}
