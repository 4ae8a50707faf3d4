//! Three members as processes, over TLS, on real directories: killed with `kill -9` and stopped (SIGSTOP) under load, at random
//! moments. What any of them acknowledged is there in the end, at the revision that was told, on each of them.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

extern crate ferry_raft as raft;

#[path = "../../storage/tests/common/mod.rs"]
mod common;

#[path = "cluster/sockets.rs"]
mod sockets;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::PATIENCE;
use common::disk::Random;
use raft::tls::{Files, TlsNetwork};
use raft::{Options, RaftStore, Times};
use sockets::Authority;
use storage::disk::RealDisk;
use storage::{EmbeddedOptions, Expect, Outcome, RangeOptions, Revision, Storage};

const MEMBER: &str = "FERRY_RAFT_KILL_MEMBER";
const WRITERS: usize = 8;
const ROUNDS: usize = 10;

/// A member; nothing when it is run as a test.
#[test]
fn member() {
    let Ok(text) = std::env::var(MEMBER) else { return };
    let [directory, address, join] = text.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(run(Path::new(directory), address, join));
}

async fn run(directory: &Path, address: &str, join: &str) {
    let certificates = directory.parent().unwrap();
    let file = |name: &str| certificates.join(name);
    let files = Files { ca: file("ca"), certificate: file("certificate"), key: file("key") };
    let network = TlsNetwork::bind(address.parse().unwrap(), Arc::new(files)).await.unwrap();
    let options = Options {
        storage: EmbeddedOptions {
            segment_limit_bytes: 1 << 20,
            checkpoint_gain_bytes: 1 << 20,
            history_limit_changes: 1_000,
            ..EmbeddedOptions::default()
        },
        times: Times::default(),
        advertise: address.to_owned(),
        join: join.split(',').filter(|address| !address.is_empty()).map(str::to_owned).collect(),
    };
    let disk = Arc::new(RealDisk::open(directory).unwrap());
    let store = Arc::new(RaftStore::open(disk, Arc::new(network), options).await.unwrap());
    loop {
        let status = store.status().await;
        if status.leader.is_some() && status.members.iter().filter(|member| member.voter).count() == 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // After what the test harness wrote on this line.
    println!("\nready");
    for writer in 0..WRITERS {
        let store = store.clone();
        tokio::spawn(async move {
            for number in 0u64.. {
                let key = format!("/{}-{writer}-{number}", std::process::id());
                // What has no answer may be there or not; it is not looked for.
                match store.put(&key, Bytes::from(vec![7; 1_000]), Expect::Absent, None).await {
                    // One write a line: lines of several writers never mix.
                    Ok(Outcome::Done { revision }) => {
                        std::io::stdout().write_all(format!("ack {key} {revision}\n").as_bytes()).unwrap();
                    }
                    Ok(conflict) => panic!("{conflict:?}"),
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        });
    }
    // What is in the store, for whoever asks with a line.
    let (send, mut asked) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || std::io::stdin().lines().for_each(|_| send.blocking_send(()).unwrap()));
    while asked.recv().await.is_some() {
        let range = loop {
            match store.range("/", RangeOptions::default()).await {
                Ok(range) => break range,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        let lines = range.kvs.iter().map(|kv| format!("is {} {}\n", kv.key, kv.mod_revision));
        std::io::stdout().write_all((lines.collect::<String>() + "end\n").as_bytes()).unwrap();
    }
}

/// What members have told.
#[derive(Default)]
struct Told {
    acknowledged: BTreeMap<String, Revision>,
    last: Option<Instant>,
}

/// Keys with their revisions, and whether these are all.
type There = (BTreeMap<String, Revision>, bool);

struct Process {
    child: Child,
    /// What is there, as far as it was asked; and whether that is all.
    there: Arc<Mutex<There>>,
    ready: Arc<Mutex<bool>>,
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn start(directory: &Path, address: &str, join: &[String], told: Arc<Mutex<Told>>) -> Process {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "member", "--nocapture"])
        .env(MEMBER, format!("{} {address} {}", directory.display(), join.join(",")))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (there, ready): (Arc<Mutex<There>>, Arc<Mutex<bool>>) = Default::default();
    let (found, is_ready) = (there.clone(), ready.clone());
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["ack", key, revision] => {
                    let mut told = told.lock().unwrap();
                    told.acknowledged.insert(key.to_owned(), revision.parse().unwrap());
                    told.last = Some(Instant::now());
                }
                ["is", key, revision] => {
                    found.lock().unwrap().0.insert(key.to_owned(), revision.parse().unwrap());
                }
                ["end"] => found.lock().unwrap().1 = true,
                ["ready"] => *is_ready.lock().unwrap() = true,
                // The test harness of the child.
                _ => {}
            }
        }
    });
    Process { child, there, ready }
}

fn until(what: &str, mut look: impl FnMut() -> bool) {
    let began = Instant::now();
    while !look() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(5)); // between looks, not instead of them
    }
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn what_was_acknowledged_survives_kills_and_stops_of_members() {
    let home = tempfile::tempdir().unwrap();
    let pem = Authority::new().pem();
    for (name, text) in [("ca", &pem.ca), ("certificate", &pem.certificate), ("key", &pem.key)] {
        std::fs::write(home.path().join(name), text).unwrap();
    }
    let listeners: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let addresses: Vec<_> = listeners.iter().map(|l| l.local_addr().unwrap().to_string()).collect();
    drop(listeners);
    let directories: Vec<PathBuf> = (0..3).map(|at| home.path().join(format!("member-{at}"))).collect();
    let told: Arc<Mutex<Told>> = Arc::default();
    let join = |at: usize| if at == 0 { Vec::new() } else { vec![addresses[0].clone()] };
    let begin = |at: usize| start(&directories[at], &addresses[at], &join(at), told.clone());
    let mut processes: Vec<_> = (0..3).map(begin).collect();
    for process in &processes {
        until("all are voters", || *process.ready.lock().unwrap());
    }
    let count = || told.lock().unwrap().acknowledged.len();
    let go_on = |what: &str, more: usize| {
        let before = count();
        until(what, || count() > before + more);
    };
    go_on("writes are acknowledged", 100);
    let mut random = Random(0x5eed);
    let mut longest = Duration::ZERO;
    for round in 0..ROUNDS {
        let at = random.below(3);
        std::thread::sleep(Duration::from_millis(random.below(300) as u64)); // the moment is random
        let last = Instant::now();
        if round % 3 == 2 {
            signal(&processes[at].child, "STOP");
            go_on("the others go on without the one that was stopped", 20);
            longest = longest.max(last.elapsed());
            signal(&processes[at].child, "CONT");
        } else {
            signal(&processes[at].child, "KILL");
            processes[at].child.wait().unwrap();
            go_on("the others go on without the one that was killed", 20);
            longest = longest.max(last.elapsed());
            processes[at] = begin(at);
            until("it is back", || *processes[at].ready.lock().unwrap());
        }
        go_on("all go on", 50);
    }
    println!("{} writes; at most {longest:?} from a kill or stop to the 20th write after it", count());
    let acknowledged = told.lock().unwrap().acknowledged.clone();
    for (at, process) in processes.iter_mut().enumerate() {
        process.child.stdin.as_mut().unwrap().write_all(b"tell\n").unwrap();
        until("it tells what is there", || process.there.lock().unwrap().1);
        let there = &process.there.lock().unwrap().0;
        let lost: Vec<_> = acknowledged.iter().filter(|(key, revision)| there.get(*key) != Some(revision)).collect();
        assert!(
            lost.is_empty(),
            "member {at} lacks {} of {}: {:?}",
            lost.len(),
            acknowledged.len(),
            &lost[..lost.len().min(5)]
        );
    }
}
