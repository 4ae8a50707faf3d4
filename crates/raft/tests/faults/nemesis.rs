//! What goes wrong, one thing after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use storage::Storage;

use crate::clients::World;
use crate::cluster::Cluster;
use crate::common::PATIENCE;
use crate::common::disk::{Loss, Random, SimDisk};

/// See the module.
pub struct Nemesis {
    pub cluster: Cluster,
    pub disks: Vec<SimDisk>,
    pub world: Arc<World>,
    pub random: Random,
}

impl Nemesis {
    /// Something goes wrong for a while, and is mended; then writes must be acknowledged again.
    pub async fn round(&mut self) -> String {
        let leader = self.cluster.leader().await;
        let any = self.random.below(self.disks.len());
        // The leader is what most depends on.
        let at = if self.random.below(2) == 0 { leader } else { any };
        let name = self.cluster.members[at].address.clone();
        let who = format!("{name}{}", if at == leader { ", the leader" } else { "" });
        let pause = Duration::from_millis(200 + self.random.below(1_000) as u64);
        let what = match self.random.below(9) {
            0 => {
                self.cluster.hub.faults(|faults| faults.cut.extend([name]));
                tokio::time::sleep(pause).await;
                format!("{who}, was cut off")
            }
            1 => {
                let other = self.cluster.members[(at + 1) % self.disks.len()].address.clone();
                self.cluster.hub.faults(|faults| faults.one_way.extend([(name, other)]));
                tokio::time::sleep(pause).await;
                format!("{who}, was not heard by one other")
            }
            2 => {
                self.cluster.hub.faults(|faults| faults.paused.extend([name]));
                tokio::time::sleep(pause).await;
                format!("{who}, hung")
            }
            3 => {
                self.cluster.hub.faults(|faults| {
                    (faults.delay, faults.lost) = (Duration::from_millis(30), 50);
                });
                tokio::time::sleep(pause).await;
                "the network was slow and lossy".to_owned()
            }
            4 => {
                self.disks[at].set_space(Some(self.disks[at].files().iter().map(|(_, length)| length).sum()));
                tokio::time::sleep(pause * 2).await;
                format!("{who}, had a full disk")
            }
            5 => {
                let status = self.cluster.store(leader).status().await;
                let others: Vec<_> = status.members.iter().filter(|member| Some(member.id) != status.leader).collect();
                let to = others[self.random.below(others.len())].id;
                let done = self.cluster.store(any).transfer_leadership(to).await;
                format!("leadership went to {to}: {done:?}")
            }
            6 => {
                let store = self.cluster.store(at);
                let done = match store.revision().await {
                    Ok(revision) => store.compact(revision - self.random.below(50) as i64).await,
                    Err(error) => Err(error),
                };
                format!("history was compacted: {done:?}")
            }
            _ => {
                let loss = match self.random.below(3) {
                    0 => Loss::Everything,
                    1 => Loss::Process,
                    _ => Loss::Random(self.random.next()),
                };
                self.kill(at, loss);
                tokio::time::sleep(pause).await;
                self.revive(at).await;
                format!("{who}, was killed, {loss:?}")
            }
        };
        self.heal().await;
        what
    }

    fn kill(&mut self, at: usize, loss: Loss) {
        // Nothing is synced from here on, so nothing that is acknowledged from here on counts on this disk.
        self.disks[at].crash();
        let after = self.disks[at].after_crash(loss);
        self.cluster.kill(at);
        self.cluster.members[at].disk = Arc::new(after.clone());
        self.disks[at] = after;
        self.world.update(&self.cluster);
    }

    async fn revive(&mut self, at: usize) {
        self.cluster.open(at).await.unwrap_or_else(|error| panic!("member {at} does not start: {error}"));
        self.world.update(&self.cluster);
    }

    /// Everything is as it should be; waits until writes are acknowledged.
    pub async fn heal(&mut self) {
        self.cluster.hub.faults(|faults| *faults = crate::cluster::hub::Faults::default());
        self.disks.iter().for_each(|disk| disk.set_space(None));
        let (before, began) = (self.world.writes(), Instant::now());
        while self.world.writes() < before + 10 {
            assert!(began.elapsed() < PATIENCE, "no write is acknowledged any more");
            tokio::time::sleep(Duration::from_millis(10)).await; // between looks, not instead of them
        }
    }
}
