//! A replicated store of several members in this process, on disks and a network that tests can break.
#![allow(dead_code, missing_docs, clippy::unwrap_used)] // each test binary uses its part; helpers of tests are tests

pub mod hub;

use std::sync::Arc;
use std::time::{Duration, Instant};

use hub::{Hub, HubNetwork};
use raft::{NodeId, Options, RaftStore, Status, Times};
use storage::EmbeddedOptions;
use storage::disk::Disk;

use crate::common::PATIENCE;

/// Several members.
pub struct Cluster {
    pub hub: Arc<Hub>,
    pub members: Vec<Member>,
    pub options: EmbeddedOptions,
    pub times: Times,
}

/// One of them.
pub struct Member {
    pub address: String,
    pub disk: Arc<dyn Disk>,
    pub store: Option<Arc<RaftStore>>,
    network: Option<Arc<HubNetwork>>,
}

impl Member {
    pub fn down(address: &str, disk: Arc<dyn Disk>) -> Self {
        Self { address: address.to_owned(), disk, store: None, network: None }
    }
}

impl Cluster {
    /// One member on each disk: the first begins, the others join.
    pub async fn start(disks: Vec<Arc<dyn Disk>>, options: EmbeddedOptions) -> Self {
        let mut cluster = Self { hub: Hub::new(), members: Vec::new(), options, times: Times::default() };
        for disk in disks {
            cluster.add(disk).await;
        }
        cluster.settled().await;
        cluster
    }

    pub async fn add(&mut self, disk: Arc<dyn Disk>) {
        let address = format!("member-{}", self.members.len());
        self.members.push(Member::down(&address, disk));
        self.open(self.members.len() - 1).await.unwrap();
    }

    /// Starts a member on its disk.
    pub async fn open(&mut self, at: usize) -> storage::Result<()> {
        let member = &self.members[at];
        let join = if at == 0 { Vec::new() } else { vec![self.members[0].address.clone()] };
        let options =
            Options { storage: self.options.clone(), times: self.times, advertise: member.address.clone(), join };
        let network = self.hub.network(&member.address);
        let store = tokio::time::timeout(PATIENCE, RaftStore::open(member.disk.clone(), network.clone(), options));
        let store = Arc::new(store.await.expect("it opens or fails")?);
        (self.members[at].store, self.members[at].network) = (Some(store), Some(network));
        Ok(())
    }

    pub fn store(&self, at: usize) -> Arc<RaftStore> {
        self.members[at].store.clone().expect("it runs")
    }

    /// Ends a member in order.
    pub async fn close(&mut self, at: usize) {
        if let Some(store) = self.members[at].store.take() {
            store.close().await;
        }
    }

    /// Kills a member: nothing that it does from now on is heard of. What becomes of its disk is the caller's.
    pub fn kill(&mut self, at: usize) {
        let member = &mut self.members[at];
        if let Some(network) = member.network.take() {
            network.kill();
        }
        // Its threads end in their own time.
        if let Some(store) = member.store.take() {
            drop(tokio::spawn(async move { store.close().await }));
        }
    }

    /// Waits until every member is a voter, and all know who leads.
    pub async fn settled(&self) {
        let count = self.members.len();
        let all = |status: &Status| status.members.len() == count && status.members.iter().all(|m| m.voter);
        for member in self.members.iter().filter_map(|member| member.store.as_ref()) {
            wait("the members are voters", async || {
                let status = member.status().await;
                all(&status) && status.leader.is_some()
            })
            .await;
        }
    }

    /// Who leads, by a member that runs.
    pub async fn leader(&self) -> usize {
        let began = Instant::now();
        loop {
            for (at, member) in self.members.iter().enumerate() {
                let Some(store) = &member.store else { continue };
                let status = store.status().await;
                if status.leader == Some(status.id) {
                    return at;
                }
            }
            assert!(began.elapsed() < PATIENCE, "nobody leads");
            tokio::time::sleep(Duration::from_millis(10)).await; // between looks, not instead of them
        }
    }

    pub async fn id(&self, at: usize) -> NodeId {
        self.store(at).status().await.id
    }
}

/// Looks until something is true.
pub async fn wait(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !look().await {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await; // between looks, not instead of them
    }
}
