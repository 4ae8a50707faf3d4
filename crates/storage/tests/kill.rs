//! `kill -9` under load, twenty times at random moments: a child of this very test binary writes with 32 writers and prints
//! what is acknowledged; the parent kills it and looks whether all of that is there.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

extern crate ferry_storage as storage;

mod common;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use common::disk::Random;
use storage::{EmbeddedStore, Expect, Outcome, RangeOptions, Revision, Storage};

const DIRECTORY: &str = "FERRY_STORAGE_KILL_DIRECTORY";
const WRITERS: usize = 32;
const KEYS: usize = 20;

/// The child; nothing when it is run as a test.
#[test]
fn writer() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(write(Path::new(&directory)));
}

async fn write(directory: &Path) {
    let store = Arc::new(EmbeddedStore::open_directory(directory).unwrap());
    let writers = (0..WRITERS).map(|w| {
        let store = store.clone();
        tokio::spawn(async move {
            for i in 0.. {
                let key = format!("/{w}/{}", i % KEYS);
                let current = store.get(&key).await.unwrap().0;
                let expect = current.map_or(Expect::Absent, |kv| Expect::ModRevision(kv.mod_revision));
                let value = Bytes::from(vec![w as u8; 4_096]);
                let Outcome::Done { revision } = store.put(&key, value, expect, None).await.unwrap() else { panic!() };
                // One write a line: lines of several writers never mix.
                std::io::stdout().write_all(format!("ack {key} {revision}\n").as_bytes()).unwrap();
                if w == 0 && i % 50 == 49 {
                    store.compact(revision).await.unwrap();
                }
            }
        })
    });
    futures::future::join_all(writers.collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random(std::process::id().into());
    let mut acknowledged: HashMap<String, Revision> = HashMap::new();
    let mut newest = 0;
    for round in 0..20 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer", "--nocapture"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut left = 1 + random.below(1_500);
        let mut killed = false;
        // To the end: what was printed before the kill was acknowledged before it.
        while let Some(Ok(line)) = lines.next() {
            let mut words = line.split(' ').skip_while(|word| !word.ends_with("ack")).skip(1);
            let (Some(key), Some(Ok(revision))) = (words.next(), words.next().map(str::parse)) else { continue };
            newest = newest.max(revision);
            acknowledged.insert(key.to_owned(), revision);
            left = left.saturating_sub(1);
            if left == 0 && !killed {
                child.kill().unwrap();
                killed = true;
            }
        }
        child.wait().unwrap();
        assert!(killed, "round {round}: the writers ended by themselves");

        let store = EmbeddedStore::open_directory(directory.path()).unwrap();
        assert!(store.revision().await.unwrap() >= newest, "round {round}: the revision went back");
        let now = store.range("/", RangeOptions::default()).await.unwrap();
        let now: HashMap<_, _> = now.kvs.into_iter().map(|kv| (kv.key.to_string(), kv)).collect();
        for (key, revision) in &acknowledged {
            let kv = now.get(key).unwrap_or_else(|| panic!("round {round}: {key} is lost"));
            assert!(kv.mod_revision >= *revision, "round {round}: {key} is at {}, told {revision}", kv.mod_revision);
            assert_eq!(kv.value.len(), 4_096);
        }
        store.close();
    }
}
