//! The contract of every engine, on the replicated one: asked of the leader of three, of another of three, and of one alone.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

extern crate ferry_raft as raft;

#[path = "../../storage/tests/common/mod.rs"]
mod common;

mod cluster;

use std::sync::Arc;

use cluster::Cluster;
use common::contract::Store;
use storage::EmbeddedOptions;
use storage::disk::{Disk, RealDisk};

async fn of(count: usize, leader: bool) -> Option<((Vec<tempfile::TempDir>, Cluster), Store)> {
    let directories: Vec<_> = (0..count).map(|_| tempfile::tempdir().unwrap()).collect();
    let disk = |d: &tempfile::TempDir| Arc::new(RealDisk::open(d.path()).unwrap()) as Arc<dyn Disk>;
    let cluster = Cluster::start(directories.iter().map(disk).collect(), EmbeddedOptions::default()).await;
    let leads = cluster.leader().await;
    let store = cluster.store(if leader { leads } else { (leads + 1) % count });
    Some(((directories, cluster), store))
}

contract!(leader, super::of(3, true));
contract!(follower, super::of(3, false));
contract!(alone, super::of(1, true));
