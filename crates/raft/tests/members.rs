//! Who the members are: joining, leaving, moving, being lost, and being of another cluster.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

extern crate ferry_raft as raft;

#[path = "../../storage/tests/common/mod.rs"]
mod common;

mod cluster;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cluster::{Cluster, wait};
use common::disk::{Loss, SimDisk};
use common::{create, events};
use storage::disk::Disk;
use storage::{EmbeddedOptions, EmbeddedStore, Error, Expect, RangeOptions, Storage};

fn disk() -> Arc<dyn Disk> {
    Arc::new(SimDisk::default())
}

/// A short history and small files, so that a member that comes late needs a snapshot.
fn small() -> EmbeddedOptions {
    EmbeddedOptions {
        history_limit_changes: 20,
        segment_limit_bytes: 2_000,
        checkpoint_gain_bytes: 1_000,
        ..EmbeddedOptions::default()
    }
}

async fn write(store: &dyn Storage, key: &str) {
    wait("a write is acknowledged", async || {
        // A conflict: with itself, where the answer before was that it may have been done.
        store.put(key, Bytes::new(), Expect::Absent, None).await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_one_grows_to_three_in_place_and_its_keys_are_everywhere() {
    let first = disk();
    let alone = EmbeddedStore::open(first.clone(), small()).unwrap();
    for i in 0..100 {
        create(&alone, &format!("/old/{i:03}"), "before").await;
    }
    let revision = alone.revision().await.unwrap();
    drop(alone);
    let mut cluster = Cluster::start(vec![first], small()).await;
    assert_eq!(cluster.store(0).revision().await.unwrap(), revision, "revisions go on");
    for i in 0..100 {
        create(&*cluster.store(0), &format!("/new/{i:03}"), "after").await;
    }
    cluster.add(disk()).await;
    cluster.add(disk()).await;
    cluster.settled().await;
    let want = cluster.store(0).range("/", RangeOptions::default()).await.unwrap();
    assert_eq!(want.count, 200);
    for at in 1..3 {
        assert_eq!(cluster.store(at).range("/", RangeOptions::default()).await.unwrap(), want, "member {at}");
    }
    // A watch on one member tells what is written on another.
    let mut watch = cluster.store(2).watch("/", want.revision + 1).await.unwrap();
    let written = create(&*cluster.store(1), "/live", "").await;
    assert_eq!(events(&mut watch, 1).await[0].revision, written);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_killed_is_replaced_soon() {
    let mut cluster = Cluster::start(vec![disk(), disk(), disk()], EmbeddedOptions::default()).await;
    create(&*cluster.store(0), "/before", "").await;
    let leader = cluster.leader().await;
    let other = cluster.store((leader + 1) % 3);
    let began = Instant::now();
    cluster.kill(leader);
    write(&*other, "/after").await;
    let took = began.elapsed();
    println!("from the kill to the next acknowledged write: {took:?}");
    // 1.5 s is the aim on a machine that has nothing else to do.
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_cut_off_answers_neither_reads_nor_writes_and_not_late() {
    let mut cluster = Cluster::start(vec![disk(), disk(), disk()], EmbeddedOptions::default()).await;
    cluster.times.patience = Duration::from_secs(1);
    let leader = cluster.leader().await;
    create(&*cluster.store(leader), "/a", "").await;
    for at in [leader, (leader + 1) % 3] {
        let name = cluster.members[at].address.clone();
        cluster.hub.faults(|faults| faults.cut.extend([name]));
        let store = cluster.store(at);
        let began = Instant::now();
        let read = store.get("/a").await;
        assert!(matches!(read, Err(Error::Unavailable(_))), "{read:?}");
        let write = store.put(&format!("/{at}"), Bytes::new(), Expect::Absent, None).await;
        assert!(matches!(write, Err(Error::Unavailable(_))), "{write:?}");
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        // What is here and can't change any more is answered.
        let old = RangeOptions { revision: Some(2), ..RangeOptions::default() };
        assert_eq!(store.range("/", old).await.unwrap().count, 1);
        cluster.hub.faults(|faults| faults.cut.clear());
        wait("it is let in again", async || store.get("/a").await.is_ok()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_goes_where_it_is_sent() {
    let cluster = Cluster::start(vec![disk(), disk(), disk()], EmbeddedOptions::default()).await;
    for at in [2, 0, 1] {
        cluster.store(1).transfer_leadership(cluster.id(at).await).await.unwrap();
        wait("it leads", async || cluster.leader().await == at).await;
        write(&*cluster.store((at + 1) % 3), &format!("/{at}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_removed_ends_and_says_so_and_its_number_is_not_used_again() {
    let mut cluster = Cluster::start(vec![disk(), disk(), disk()], EmbeddedOptions::default()).await;
    let (id, removed) = (cluster.id(2).await, cluster.store(2));
    cluster.store(0).remove(id).await.unwrap();
    let why = tokio::time::timeout(common::PATIENCE, removed.failed()).await.expect("it notices").to_string();
    assert!(why.contains("was removed from the cluster"), "{why}");
    drop(removed);
    cluster.close(2).await;
    // The same disk again is still nobody's.
    cluster.open(2).await.unwrap();
    let removed = cluster.store(2);
    let read = async { removed.get("/").await };
    let (why, _) = tokio::join!(removed.failed(), read);
    assert!(why.to_string().contains("was removed from the cluster"), "{why}");
    drop(removed);
    cluster.close(2).await;
    cluster.members.pop();
    // An empty one in its place is another member.
    cluster.add(disk()).await;
    cluster.settled().await;
    assert_eq!(cluster.id(2).await, id + 1);
    let last = cluster.store(0).remove(99).await;
    assert!(matches!(last, Err(Error::Unavailable(why)) if why.contains("no member 99")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_one_becomes_a_cluster_of_one_and_others_of_the_old_one_are_refused() {
    let disks: Vec<SimDisk> = (0..3).map(|_| SimDisk::default()).collect();
    let shared = disks.iter().map(|d| Arc::new(d.clone()) as Arc<dyn Disk>).collect();
    let mut cluster = Cluster::start(shared, small()).await;
    for i in 0..50 {
        create(&*cluster.store(0), &format!("/{i}"), "").await;
    }
    let before = cluster.store(2).range("/", RangeOptions::default()).await.unwrap();
    (0..3).for_each(|at| cluster.kill(at));
    let left: Arc<dyn Disk> = Arc::new(disks[2].after_crash(Loss::Everything));
    let recovered = raft::recover(&left, &small(), "member-2").unwrap();
    assert_eq!(recovered.removed.len(), 2);
    assert!(recovered.revision >= before.revision);
    cluster.members[2].disk = left;
    cluster.open(2).await.unwrap();
    let store = cluster.store(2);
    let after = store.range("/", RangeOptions::default()).await.unwrap();
    assert_eq!((after.kvs, after.revision), (before.kvs, before.revision));
    write(&*store, "/alone").await;
    // One that was thought lost comes back: it is of another cluster now, and finds no majority.
    cluster.times.patience = Duration::from_secs(1);
    cluster.members[1].disk = Arc::new(disks[1].after_crash(Loss::Nothing));
    cluster.open(1).await.unwrap();
    let read = cluster.store(1).get("/alone").await;
    assert!(matches!(read, Err(Error::Unavailable(_))), "{read:?}");
    cluster.close(1).await;
    // An empty one joins.
    cluster.members.swap(0, 2);
    cluster.members[1].disk = disk();
    cluster.members.pop();
    cluster.open(1).await.unwrap();
    cluster.settled().await;
    assert!(cluster.store(1).get("/alone").await.unwrap().0.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_a_store_of_its_own_is_not_let_in() {
    let mut cluster = Cluster::start(vec![disk()], EmbeddedOptions::default()).await;
    let own = disk();
    create(&EmbeddedStore::open(own.clone(), EmbeddedOptions::default()).unwrap(), "/mine", "").await;
    cluster.members.push(cluster::Member::down("member-1", own));
    let refused = cluster.open(1).await;
    assert!(matches!(&refused, Err(Error::Corrupt(why)) if why.contains("a store of its own")), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_moves_tells_the_others_where_it_is() {
    let mut cluster = Cluster::start(vec![disk(), disk(), disk()], EmbeddedOptions::default()).await;
    cluster.close(2).await;
    cluster.members[2].address = "elsewhere".to_owned();
    cluster.open(2).await.unwrap();
    let at = cluster.id(2).await;
    wait("it is known where it is", async || {
        let status = cluster.store(0).status().await;
        let member = status.members.iter().find(|member| member.id == at).unwrap();
        member.address == "elsewhere" && member.lag == Some(0)
    })
    .await;
    write(&*cluster.store(2), "/from/elsewhere").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_away_does_not_keep_the_log_and_is_brought_up_to_date_by_a_snapshot() {
    let disks: Vec<SimDisk> = (0..3).map(|_| SimDisk::default()).collect();
    let shared = disks.iter().map(|d| Arc::new(d.clone()) as Arc<dyn Disk>).collect();
    let mut cluster = Cluster::start(shared, small()).await;
    let away = (cluster.leader().await + 1) % 3;
    let left: Vec<_> = (0..3).filter(|at| *at != away).collect();
    cluster.kill(away);
    let store = cluster.store(left[0]);
    let mut at = create(&*store, "/busy", "").await;
    for round in 0..400 {
        at = common::update(&*store, "/busy", &format!("{round}").repeat(50), at).await;
    }
    // 60 kB were written, and the state is one key.
    for at in left {
        let bytes = || disks[at].files().iter().map(|(_, length)| length).sum::<usize>();
        wait("the log is let go of", async || bytes() < 15_000).await;
    }
    cluster.members[away].disk = Arc::new(disks[away].after_crash(Loss::Everything));
    cluster.open(away).await.unwrap();
    assert_eq!(cluster.store(away).get("/busy").await.unwrap().0.unwrap().mod_revision, at);
}
