//! Three members under everything that goes wrong: partitions, members that hang, lossy and slow networks, kills that lose
//! what was not synced, full disks, changes of leaders, and history that is compacted away; while clients on all members
//! write, read and watch. What they saw must be what one correct store could have shown (`tests/src/history` says what that is).
//!
//! `FERRY_RAFT_FAULTS_ROUNDS` makes it longer, `FERRY_RAFT_FAULTS_SEED` repeats the choices of a run.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

extern crate ferry_raft as raft;

#[path = "../../../storage/tests/common/mod.rs"]
mod common;

#[path = "../../../../tests/src/history/mod.rs"]
#[allow(missing_docs, dead_code, unused_imports)]
mod history;

#[path = "../cluster/mod.rs"]
mod cluster;

mod clients;
mod nemesis;

use std::sync::Arc;
use std::time::{Duration, Instant};

use clients::World;
use cluster::Cluster;
use common::PATIENCE;
use common::disk::{Random, SimDisk};
use history::{Outcome, Seen};
use nemesis::Nemesis;
use storage::disk::Disk;
use storage::{EmbeddedOptions, RangeOptions, Storage};

const MEMBERS: usize = 3;
const OPERATORS: usize = 6;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Small files, a short history, eager snapshots: so that a short run has several of each.
fn options() -> EmbeddedOptions {
    EmbeddedOptions {
        history_limit_changes: 300,
        segment_limit_bytes: 4_000,
        checkpoint_gain_bytes: 2_000,
        ..EmbeddedOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_see_one_store_whatever_goes_wrong() {
    let seed = number("FERRY_RAFT_FAULTS_SEED").unwrap_or_else(rand::random);
    let rounds = number("FERRY_RAFT_FAULTS_ROUNDS").unwrap_or(12);
    let disks: Vec<_> = (0..MEMBERS).map(|_| SimDisk::default()).collect();
    let shared = disks.iter().map(|disk| Arc::new(disk.clone()) as Arc<dyn Disk>).collect();
    let cluster = Cluster::start(shared, options()).await;
    let world = World::new(&cluster);
    let mut operators = tokio::task::JoinSet::new();
    for client in 0..OPERATORS {
        operators.spawn(clients::operate(world.clone(), client, seed.wrapping_add(client as u64)));
    }
    let mut watchers = tokio::task::JoinSet::new();
    for member in 0..MEMBERS {
        watchers.spawn(clients::watch(world.clone(), OPERATORS + member, member));
    }
    let mut nemesis = Nemesis { cluster, disks, world: world.clone(), random: Random(seed) };
    for round in 0..rounds {
        let what = nemesis.round().await;
        println!("round {round}: {what}");
    }
    nemesis.heal().await;
    world.stop();
    while let Some(ended) = operators.join_next().await {
        ended.unwrap();
    }
    let last = world.finish().await;
    let mut stuck = Vec::new();
    while let Some(ended) = watchers.join_next().await {
        stuck.extend(ended.unwrap().err());
    }
    same_everywhere(&nemesis.cluster, last).await;
    let history = world.history(seed);
    let mut faults = history.faults();
    faults.extend(stuck);
    faults.extend(too_little(&history));
    assert!(
        faults.is_empty(),
        "{} faults with seed {seed}:\n{}",
        faults.len(),
        faults[..faults.len().min(10)].join("\n")
    );
}

/// Each member's own copy is the same, at the same revision.
async fn same_everywhere(cluster: &Cluster, revision: i64) {
    let mut copies = Vec::new();
    for at in 0..MEMBERS {
        let began = Instant::now();
        let options = RangeOptions { revision: Some(revision), ..RangeOptions::default() };
        loop {
            match cluster.store(at).range("/", options.clone()).await {
                Ok(copy) => break copies.push(copy),
                Err(error) => assert!(began.elapsed() < PATIENCE, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await; // between tries, not instead of them
        }
    }
    assert!(copies.windows(2).all(|pair| pair[0] == pair[1]), "{copies:#?}");
}

/// A run in which little happened says little.
fn too_little(history: &history::History) -> Vec<String> {
    let ops = |wanted: fn(&Outcome) -> bool| history.ops.iter().filter(|op| wanted(&op.outcome)).count();
    let frames = || history.watches.iter().flat_map(|watch| watch.frames.iter().map(|(_, seen)| seen));
    let counts = [
        ("writes", ops(|o| matches!(o, Outcome::Item(_))), 200),
        ("deletes", ops(|o| matches!(o, Outcome::Deleted { .. })), 10),
        ("lists", ops(|o| matches!(o, Outcome::Pages(_))), 20),
        ("refusals", ops(|o| matches!(o, Outcome::Refused { .. })), 20),
        ("events", frames().filter(|seen| !matches!(seen, Seen::Error { .. })).count(), 200),
    ];
    let said: Vec<String> = counts.iter().map(|(what, count, _)| format!("{count} {what}")).collect();
    println!("{} and {} of unknown end", said.join(", "), ops(|o| matches!(o, Outcome::Unknown)));
    let few = counts.iter().filter(|(_, count, least)| count < least);
    few.map(|(what, count, least)| format!("only {count} {what}, {least} are wanted")).collect()
}
