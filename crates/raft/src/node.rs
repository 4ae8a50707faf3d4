//! A running member: openraft with its log, its replica and its peers, and what the rest of this crate asks of them.

use std::sync::Arc;
use std::time::Duration;

use component::supervisor::Ended;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::{Config, Raft, SnapshotPolicy};
use storage::disk::Disk;
use storage::{EmbeddedOptions, Error, Result};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::identity::Identity;
use crate::log::Log;
use crate::machine::{Machine, Replica};
use crate::network::{Network, Peers};
use crate::proposals::Proposals;
use crate::reads::Reads;
use crate::types::{NodeId, Types};

/// How long things may take. The defaults are for a local network: a leader that is gone is replaced within a second.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Between two signs of life of the leader.
    pub heartbeat: Duration,
    /// A member that hears nothing for so long (beside the time for which it trusts the last leader, the maximum)
    /// stands for election: a random time between these.
    pub election: (Duration, Duration),
    /// After so long a write or read is unavailable.
    pub patience: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            election: (Duration::from_millis(300), Duration::from_millis(450)),
            patience: Duration::from_secs(5),
        }
    }
}

/// A member's settings.
#[derive(Debug, Clone)]
pub struct Options {
    /// Those that the embedded engine has too: limits of values, history and files, and the clock of times to live.
    pub storage: EmbeddedOptions,
    /// How long things may take.
    pub times: Times,
    /// `IP:PORT` at which the other members reach this one.
    pub advertise: String,
    /// Members to ask to be let in; without any, an empty directory begins a cluster. Not used once this is a member.
    pub join: Vec<String>,
}

/// What the parts of a member share.
pub(crate) struct Node {
    pub(crate) me: NodeId,
    pub(crate) cluster: u128,
    pub(crate) options: Options,
    pub(crate) raft: Raft<Types, Machine>,
    pub(crate) log: Log,
    pub(crate) replica: Arc<Replica>,
    pub(crate) peers: Peers,
    pub(crate) proposals: Proposals,
    pub(crate) reads: Reads,
    /// The member ends: nobody is to wait for it.
    pub(crate) ended: CancellationToken,
    /// Why this member is broken for good.
    pub(crate) failure: watch::Sender<Option<Ended>>,
}

/// Who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Leader {
    Me,
    Other(NodeId, String),
    Nobody,
}

impl Node {
    pub(crate) async fn start(
        disk: Arc<dyn Disk>,
        network: Arc<dyn Network>,
        options: Options,
        identity: Identity,
    ) -> Result<Arc<Self>> {
        let Identity::Member { cluster, node: me } = identity else {
            return Err(Error::Corrupt("this is no member yet".to_owned()));
        };
        let replica = Arc::new(Replica::open(disk.clone(), options.storage.history_limits())?);
        let log = Log::open(disk, options.storage.segment_limit_bytes)?;
        let peers = Peers {
            network,
            cluster,
            me,
            removed: watch::Sender::new(false),
            stranger: Arc::default(),
            replica: replica.clone(),
            moved: Arc::default(),
        };
        let config = config(&options.times, cluster).map_err(|e| Error::Unavailable(e.to_string()))?;
        let machine = Machine(replica.clone());
        let raft = Raft::new(me, config, peers.clone(), log.clone(), machine).await.map_err(|e| {
            log.close();
            Error::Corrupt(format!("the replicated log and the snapshot do not fit: {e}"))
        })?;
        Ok(Arc::new(Self {
            me,
            cluster,
            options,
            raft,
            log,
            replica,
            peers,
            proposals: Proposals::default(),
            reads: Reads::default(),
            ended: CancellationToken::new(),
            failure: watch::Sender::new(None),
        }))
    }

    /// Who leads, as far as this member knows.
    pub(crate) fn leader(&self) -> Leader {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        match metrics.current_leader {
            Some(leader) if leader == self.me => Leader::Me,
            Some(leader) => match metrics.membership_config.get_node(&leader) {
                Some(member) => Leader::Other(leader, member.address.clone()),
                None => Leader::Nobody,
            },
            None => Leader::Nobody,
        }
    }

    /// Waits until another leads than this one, or its term ended.
    pub(crate) async fn leader_changes(&self, from: &Leader) {
        let mut metrics = self.raft.server_metrics();
        while self.leader() == *from {
            if metrics.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Waits until the entry of that index is applied.
    pub(crate) async fn applied(&self, index: u64) -> Result<()> {
        let mut applied = self.replica.applied();
        applied.wait_for(|next| *next > index).await.map_err(|_| Error::Closed)?;
        Ok(())
    }

    /// This member is broken for good.
    pub(crate) fn fail(&self, why: impl Into<String>) {
        // It was told to end, and does.
        if self.replica.view.is_closed() {
            return;
        }
        let why = why.into();
        tracing::error!(%why, "this member of the replicated store has ended");
        self.failure.send_if_modified(|failure| {
            let first = failure.is_none();
            failure.get_or_insert(Ended::Panicked(why));
            first
        });
    }
}

fn config(times: &Times, cluster: u128) -> anyhow::Result<Arc<Config>> {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let config = Config {
        cluster_name: format!("{cluster:032x}"),
        heartbeat_interval: ms(times.heartbeat),
        election_timeout_min: ms(times.election.0),
        election_timeout_max: ms(times.election.1),
        // Entries are batches already, and a message has a limit of bytes.
        max_payload_entries: 64,
        // This store says when one is there: openraft would end at a disk that is full.
        snapshot_policy: SnapshotPolicy::Never,
        // A snapshot is of the history's floor: what follows it is kept for long enough.
        max_in_snapshot_log_to_keep: 0,
        backoff: "20ms 50ms 100ms ..300ms".to_owned(),
        // Others sync while this one does.
        broadcast_submitted_on_append: Some(true),
        enable_pre_vote: Some(true),
        // What is committed reaches the disk late: who was the leader asks again.
        enable_leader_restore: Some(false),
        ..Config::default()
    };
    Ok(Arc::new(config.validate()?))
}
