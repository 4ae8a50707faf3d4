//! Clients of all members, and the record of what they saw.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use raft::RaftStore;
use storage::{Error, Event, EventKind, Expect, KeyValue, RangeOptions, Revision, Storage, WatchItem};
use tokio::sync::watch as latest;

use crate::cluster::Cluster;
use crate::common::PATIENCE;
use crate::common::disk::Random;
use crate::history::{Action, History, Item, Op, Outcome, ReadAt, Seen, Selection, Start, Tick, Watch};

const KEYS: usize = 8;

/// What all clients share.
pub struct World {
    clock: AtomicU64,
    values: AtomicU64,
    record: Mutex<(Vec<Op>, Vec<Watch>)>,
    running: latest::Sender<bool>,
    last: latest::Sender<Option<Revision>>,
    /// The members as they are now; a member that is down is not there.
    members: Mutex<Vec<Option<Arc<RaftStore>>>>,
}

fn item(kv: &KeyValue) -> Item {
    Item {
        key: kv.key[1..].to_owned(),
        revision: kv.mod_revision,
        uid: kv.create_revision.to_string(),
        value: std::str::from_utf8(&kv.value).unwrap().to_owned(),
        color: "none".to_owned(),
    }
}

fn seen(event: &Event) -> Seen {
    let kv = |kv: &KeyValue| Item { revision: event.revision, ..item(kv) };
    match event.kind {
        EventKind::Delete => Seen::Deleted(kv(event.previous.as_ref().expect("the engine tells it"))),
        EventKind::Put => {
            let now = KeyValue {
                key: event.key.clone(),
                value: event.value.clone(),
                mod_revision: event.revision,
                create_revision: event.create_revision,
                version: 0,
                lease: 0,
            };
            let created = event.create_revision == event.revision;
            if created { Seen::Added(item(&now)) } else { Seen::Modified(item(&now)) }
        }
    }
}

impl World {
    pub fn new(cluster: &Cluster) -> Arc<Self> {
        let world = Self {
            clock: AtomicU64::new(1),
            values: AtomicU64::new(1),
            record: Mutex::default(),
            running: latest::Sender::new(true),
            last: latest::Sender::new(None),
            members: Mutex::default(),
        };
        world.update(cluster);
        Arc::new(world)
    }

    /// The members are those of the cluster now.
    pub fn update(&self, cluster: &Cluster) {
        *self.members.lock().unwrap() = cluster.members.iter().map(|member| member.store.clone()).collect();
    }

    fn member(&self, at: usize) -> Option<Arc<RaftStore>> {
        self.members.lock().unwrap()[at].clone()
    }

    fn tick(&self) -> Tick {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn op(&self, client: usize, call: Tick, action: Action, outcome: Outcome) {
        let ret = self.tick();
        self.record.lock().unwrap().0.push(Op { client, call, ret, action, outcome });
    }

    fn value(&self, client: usize) -> String {
        format!("{client}-{}", self.values.fetch_add(1, Ordering::Relaxed))
    }

    pub fn stop(&self) {
        self.running.send_replace(false);
    }

    /// How many writes were acknowledged so far.
    pub fn writes(&self) -> usize {
        self.record.lock().unwrap().0.iter().filter(|op| matches!(op.outcome, Outcome::Item(_))).count()
    }

    /// Writes one last key; another each time, as long as the last disk has not noticed that it has room again.
    pub async fn finish(&self) -> Revision {
        let began = Instant::now();
        for attempt in 0.. {
            let (key, value, call) = (format!("n/zz{attempt}"), self.value(99), self.tick());
            let store = self.member(0).unwrap();
            let put = store.put(&format!("/{key}"), Bytes::from(value.clone()), Expect::Absent, None).await;
            let action = Action::Create { key: key.clone(), value: value.clone() };
            if let Ok(storage::Outcome::Done { revision }) = put {
                let (uid, color) = (revision.to_string(), "none".to_owned());
                self.op(99, call, action, Outcome::Item(Item { key, revision, uid, value, color }));
                self.last.send_replace(Some(revision));
                return revision;
            }
            assert!(began.elapsed() < PATIENCE, "{put:?}");
            self.op(99, call, action, Outcome::Unknown);
            tokio::time::sleep(Duration::from_millis(20)).await; // between tries, not instead of them
        }
        unreachable!("it is tried until it is done")
    }

    pub fn history(&self, seed: u64) -> History {
        let (ops, watches) = std::mem::take(&mut *self.record.lock().unwrap());
        History { seed, ops, watches }
    }
}

/// Writes and reads, each time on another member.
pub async fn operate(world: Arc<World>, client: usize, seed: u64) {
    let mut random = Random(seed);
    let mut known: BTreeMap<String, Item> = BTreeMap::new();
    while *world.running.borrow() {
        let count = world.members.lock().unwrap().len();
        let Some(store) = world.member(random.below(count)) else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let key = format!("n/k{}", random.below(KEYS));
        let there = known.get(&key).cloned();
        match (random.below(10), there) {
            (0..3, _) => get(&world, &store, client, key, &mut known).await,
            (3, _) => list(&world, &store, client).await,
            (4..6, Some(item)) => delete(&world, &store, client, item, &mut known).await,
            (_, there) => put(&world, &store, client, key, there, &mut known).await,
        }
    }
}

async fn get(world: &World, store: &RaftStore, client: usize, key: String, known: &mut BTreeMap<String, Item>) {
    let call = world.tick();
    let outcome = match store.get(&format!("/{key}")).await {
        Ok((Some(kv), _)) => {
            known.insert(key.clone(), item(&kv));
            Outcome::Item(item(&kv))
        }
        Ok((None, _)) => {
            known.remove(&key);
            Outcome::Refused { code: 404, reason: "NotFound".to_owned() }
        }
        Err(_) => Outcome::Unknown,
    };
    world.op(client, call, Action::Get { key, at: ReadAt::Latest }, outcome);
}

async fn list(world: &World, store: &RaftStore, client: usize) {
    let call = world.tick();
    let outcome = match store.range("/n/", RangeOptions::default()).await {
        Ok(range) => Outcome::Pages(vec![(range.revision, range.kvs.iter().map(item).collect())]),
        Err(_) => Outcome::Unknown,
    };
    world.op(client, call, Action::List { selection: Selection::default(), at: ReadAt::Latest }, outcome);
}

fn conflict(current: Option<&KeyValue>) -> Outcome {
    let (code, reason) = if current.is_some() { (409, "Conflict") } else { (404, "NotFound") };
    Outcome::Refused { code, reason: reason.to_owned() }
}

async fn put(
    world: &World,
    store: &RaftStore,
    client: usize,
    key: String,
    there: Option<Item>,
    known: &mut BTreeMap<String, Item>,
) {
    let value = world.value(client);
    let from = there.as_ref().map(|item| item.revision);
    let expect = from.map_or(Expect::Absent, Expect::ModRevision);
    let call = world.tick();
    let done = store.put(&format!("/{key}"), Bytes::from(value.clone()), expect, None).await;
    let outcome = match done {
        Ok(storage::Outcome::Done { revision }) => {
            let uid = there.as_ref().map_or_else(|| revision.to_string(), |item| item.uid.clone());
            let item = Item { key: key.clone(), revision, uid, value: value.clone(), color: "none".to_owned() };
            known.insert(key.clone(), item.clone());
            Outcome::Item(item)
        }
        Ok(storage::Outcome::Conflict { current, .. }) => {
            match &current {
                Some(kv) => drop(known.insert(key.clone(), item(kv))),
                None => drop(known.remove(&key)),
            }
            match from {
                None => Outcome::Refused { code: 409, reason: "AlreadyExists".to_owned() },
                Some(_) => conflict(current.as_ref()),
            }
        }
        Err(Error::Compacted { .. } | Error::FutureRevision { .. } | Error::TooLarge(_)) => panic!("{done:?}"),
        Err(_) => Outcome::Unknown,
    };
    let action = match from {
        Some(from) => Action::Update { key, value, from },
        None => Action::Create { key, value },
    };
    world.op(client, call, action, outcome);
}

async fn delete(world: &World, store: &RaftStore, client: usize, there: Item, known: &mut BTreeMap<String, Item>) {
    let call = world.tick();
    let key = there.key.clone();
    let outcome = match store.delete(&format!("/{key}"), there.revision).await {
        Ok(storage::Outcome::Done { .. }) => {
            known.remove(&key);
            Outcome::Deleted { uid: there.uid.clone() }
        }
        Ok(storage::Outcome::Conflict { current, .. }) => {
            match &current {
                Some(kv) => drop(known.insert(key.clone(), item(kv))),
                None => drop(known.remove(&key)),
            }
            conflict(current.as_ref())
        }
        Err(_) => Outcome::Unknown,
    };
    world.op(client, call, Action::Delete { key, from: Some(there.revision) }, outcome);
}

/// Watches on one member, from a list on and then from where the last watch ended, until everything has been seen.
pub async fn watch(world: Arc<World>, client: usize, member: usize) -> Result<(), String> {
    let mut resume: Option<Revision> = None;
    let mut last = world.last.subscribe();
    let watching = async {
        loop {
            let Some(store) = world.member(member) else {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            let Some(from) = resume else {
                let call = world.tick();
                if let Ok(range) = store.range("/n/", RangeOptions::default()).await {
                    let pages = vec![(range.revision, range.kvs.iter().map(item).collect())];
                    let action = Action::List { selection: Selection::default(), at: ReadAt::Latest };
                    world.op(client, call, action, Outcome::Pages(pages));
                    resume = Some(range.revision);
                }
                continue;
            };
            let mut watch = Watch {
                client,
                selection: Selection::default(),
                start: Start::After(from),
                at: ReadAt::Latest,
                call: world.tick(),
                frames: Vec::new(),
            };
            let (mut reached, mut compacted) = (from, false);
            match store.watch("/n/", from + 1).await {
                Ok(mut stream) => loop {
                    if last.borrow().is_some_and(|last| reached >= last) {
                        break;
                    }
                    tokio::select! {
                        item = stream.next() => match item {
                            Some(Ok(WatchItem::Events(events))) => {
                                for event in &events {
                                    watch.frames.push((world.tick(), seen(event)));
                                    reached = event.revision;
                                }
                            }
                            Some(Ok(WatchItem::Progress(_))) => {}
                            Some(Err(error)) => break compacted = matches!(error, Error::Compacted { .. }),
                            None => break,
                        },
                        _ = last.changed() => {}
                    }
                },
                Err(error) => compacted = matches!(error, Error::Compacted { .. }),
            }
            world.record.lock().unwrap().1.push(watch);
            if last.borrow().is_some_and(|last| reached >= last) {
                return;
            }
            resume = (!compacted).then_some(reached);
            drop(store);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let mut ends = world.last.subscribe();
    let late = async {
        drop(ends.wait_for(Option::is_some).await);
        tokio::time::sleep(PATIENCE).await;
    };
    tokio::select! {
        () = watching => Ok(()),
        () = late => Err(format!("client {client}'s watch is stuck")),
    }
}
