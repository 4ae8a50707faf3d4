//! A user of a store that remembers what it was told, and holds a store that comes back after a crash against it.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use storage::{Event, EventKind, Expect, Outcome, RangeOptions, Revision, Storage, WatchItem};

use super::disk::Random;
use super::events;

/// What a user of the store was told.
#[derive(Default)]
pub struct Told {
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
pub async fn work(store: &dyn Storage, told: &mut Told, random: &mut Random, rounds: usize) {
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
pub async fn check(store: &dyn Storage, told: &mut Told, context: &str) {
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
