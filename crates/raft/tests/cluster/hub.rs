//! A network in memory, which tests cut, delay and reorder: each message takes a time of its own, so that later ones overtake.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use raft::{Answers, Lane, Network};
use tokio::sync::watch;

use crate::common::disk::Random;

/// What all members are connected to.
#[derive(Default)]
pub struct Hub {
    members: Mutex<BTreeMap<String, Arc<dyn Answers>>>,
    faults: watch::Sender<Faults>,
    random: Mutex<Option<Random>>,
}

/// What is wrong with the network.
#[derive(Default, Clone)]
pub struct Faults {
    /// Members whose messages to and from others are lost.
    pub cut: BTreeSet<String>,
    /// Pairs between which messages are lost, one way.
    pub one_way: BTreeSet<(String, String)>,
    /// Members whose messages wait until they are not here any more: they hang.
    pub paused: BTreeSet<String>,
    /// The most that a message takes.
    pub delay: Duration,
    /// Of 1,000 messages so many are lost.
    pub lost: u64,
}

impl Hub {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn network(self: &Arc<Self>, own: &str) -> Arc<HubNetwork> {
        Arc::new(HubNetwork { hub: self.clone(), own: own.to_owned(), dead: AtomicBool::new(false) })
    }

    pub fn faults(&self, change: impl FnOnce(&mut Faults)) {
        self.faults.send_modify(change);
    }

    fn random(&self, below: u64) -> u64 {
        self.random.lock().unwrap().get_or_insert(Random(1)).next() % below.max(1)
    }

    /// A message's way from one member to another; never arrives if it is lost.
    async fn way(&self, from: &str, to: &str) {
        let delay = self.faults.borrow().delay;
        if !delay.is_zero() {
            tokio::time::sleep(Duration::from_micros(self.random(delay.as_micros() as u64))).await;
        }
        let mut faults = self.faults.subscribe();
        let clear = faults.wait_for(|faults| !faults.paused.contains(from) && !faults.paused.contains(to));
        let faults = clear.await.unwrap().clone();
        let one_way = faults.one_way.contains(&(from.to_owned(), to.to_owned()));
        if faults.cut.contains(from) || faults.cut.contains(to) || one_way || self.random(1_000) < faults.lost {
            std::future::pending::<()>().await;
        }
    }
}

/// One member's end of it.
pub struct HubNetwork {
    hub: Arc<Hub>,
    own: String,
    dead: AtomicBool,
}

impl HubNetwork {
    /// The member is gone, whatever of it still runs in this process: nothing of it is heard any more.
    pub fn kill(&self) {
        self.dead.store(true, Ordering::SeqCst);
        self.hub.members.lock().unwrap().remove(&self.own);
    }
}

#[async_trait]
impl Network for HubNetwork {
    async fn ask(&self, address: &str, _: Lane, question: Bytes) -> io::Result<Bytes> {
        if self.dead.load(Ordering::SeqCst) {
            return std::future::pending().await;
        }
        let (hub, own, to) = (self.hub.clone(), self.own.clone(), address.to_owned());
        // Who asks may stop waiting; what is on its way arrives all the same.
        let asked = tokio::spawn(async move {
            hub.way(&own, &to).await;
            let member = hub.members.lock().unwrap().get(&to).cloned().ok_or(io::ErrorKind::ConnectionRefused)?;
            let answer = member.answer(question).await.ok_or(io::ErrorKind::ConnectionReset)?;
            drop(member);
            hub.way(&to, &own).await;
            Ok(answer)
        });
        asked.await.map_err(io::Error::other)?
    }

    async fn serve(&self, answers: Arc<dyn Answers>) -> io::Result<()> {
        self.hub.members.lock().unwrap().insert(self.own.clone(), answers);
        Ok(())
    }

    fn close(&self) {
        // The next life may be there already.
        if self.dead.load(Ordering::SeqCst) {
            return;
        }
        self.hub.members.lock().unwrap().remove(&self.own);
    }
}
