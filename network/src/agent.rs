//! One turn: look, work out what has to be, make the difference. It knows nothing of the API, and remembers nothing that it
//! could not do without.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Context;
use component::Supervisor;
use component::supervisor::blocking;
use ipnet::IpNet;
use netfilter::tables::Version;
use netfilter::{Error, Socket, Transaction};
use parking_lot::Mutex;

use crate::config::Config;
use crate::kernel::{Kernel, changes, observe};
use crate::masquerade;
use crate::model::{Endpoint, Node, Own, Plan, compile};
use crate::sysctl;

/// What does the turns of one node.
pub struct Agent {
    config: Config,
    kernel: Kernel,
    rules: Arc<Mutex<Socket>>,
    /// The ranges that the rules of each family were last made of.
    masqueraded: BTreeMap<Version, Vec<IpNet>>,
    /// What was said already.
    said: BTreeSet<(String, String)>,
}

impl Agent {
    /// In the network namespace of this thread.
    ///
    /// # Errors
    /// The kernel gives no sockets.
    pub fn new(config: Config, tasks: &Supervisor) -> anyhow::Result<Self> {
        let kernel = Kernel::open(tasks).context("netlink")?;
        let rules = Arc::new(Mutex::new(Socket::open().context("netfilter")?));
        Ok(Self { config, kernel, rules, masqueraded: BTreeMap::new(), said: BTreeSet::new() })
    }

    /// Brings this node to what these nodes need; what it has to publish. `None`: it is not known yet what it is.
    ///
    /// # Errors
    /// The kernel refused something; the rest is done.
    pub async fn turn(&mut self, nodes: &BTreeMap<String, Node>) -> anyhow::Result<Option<Option<Endpoint>>> {
        let Some(this) = nodes.get(&self.config.node_name).filter(|node| !node.ranges.is_empty()) else {
            return Ok(None);
        };
        let bridge = self.config.cni.as_ref().map(|cni| cni.bridge.clone());
        let without: Vec<&str> = bridge.iter().map(String::as_str).collect();
        let observed = observe(&self.kernel, &without).await?;
        let own = Own {
            name: &self.config.node_name,
            mode: self.config.mode,
            mtu: self.config.mtu,
            cluster: &self.config.cluster,
        };
        let plan = compile(nodes, &observed.links, &own);
        self.tell(&plan);
        // No pod starts before its packets would find their way.
        let masqueraded = self.masquerade(&plan).await;
        self.say("", sysctl::forward(&plan.ranges));
        if let Some(cni) = &self.config.cni {
            self.tell_of_strays(&cni.ranges(), &plan.ranges);
        }
        if let Some(cni) = &self.config.cni
            && cni.write(&plan.ranges, plan.mtu)?
        {
            tracing::info!(file = %cni.file.display(), ranges = ?plan.ranges, mtu = plan.mtu, "the CNI plugins are told");
        }
        masqueraded?;
        // A Node that was made anew has no addresses for a moment. Its tunnel stays what it is.
        if this.addresses.is_empty() {
            return Ok(None);
        }
        let settled = self.kernel.settle(plan.device.as_ref(), observed.tunnel.as_ref()).await;
        let observed = match settled {
            Ok(false) => observed,
            _ => observe(&self.kernel, &without).await?,
        };
        let changes = changes(&plan, &observed);
        if !changes.is_empty() {
            tracing::debug!(?changes, "changing routes");
        }
        // Plain routes do not depend on the tunnel.
        let applied = self.kernel.apply(&changes).await;
        settled?;
        applied?;
        Ok(Some(plan.endpoint))
    }

    /// A Node that was deleted and made anew may have been given another range.
    fn tell_of_strays(&self, before: &[IpNet], now: &[IpNet]) {
        let gone: Vec<&IpNet> = before.iter().filter(|range| !now.contains(range)).collect();
        if !gone.is_empty() {
            tracing::warn!(
                ?gone,
                ?now,
                "the node has other ranges than before: its pods of those before cannot be reached, delete them"
            );
        }
    }

    /// Has the rules of both families there: made where the ranges are others than before, or somebody removed them.
    async fn masquerade(&mut self, plan: &Plan) -> anyhow::Result<()> {
        for version in masquerade::FAMILIES {
            let ranges = masquerade::of_family(&plan.cluster, version);
            let known = self.masqueraded.get(&version);
            if known == Some(&ranges)
                && (ranges.is_empty() || self.change(masquerade::sign_of_life(version)).await.is_ok())
            {
                continue;
            }
            let made =
                if ranges.is_empty() { masquerade::remove(version) } else { masquerade::create(version, &ranges) };
            match self.change(made).await {
                // A kernel without the family has nothing to remove.
                Err(Error::Refused { .. }) if ranges.is_empty() => {}
                done => done.context("the rules that masquerade")?,
            }
            self.masqueraded.insert(version, ranges);
        }
        Ok(())
    }

    async fn change(&self, transaction: Transaction) -> Result<(), Error> {
        let rules = self.rules.clone();
        let done = blocking("nftables", move || rules.lock().apply(&transaction)).await;
        done.unwrap_or_else(|error| Err(Error::Io(std::io::Error::other(error))))
    }

    /// Says what is wrong, once.
    fn tell(&mut self, plan: &Plan) {
        let new: Vec<_> = plan.faults.difference(&self.said).cloned().collect();
        for (node, fault) in new {
            tracing::warn!(node, "{fault}");
        }
        self.said.retain(|(node, _)| node.is_empty());
        self.said.extend(plan.faults.iter().cloned());
    }

    fn say(&mut self, node: &str, faults: Vec<String>) {
        for fault in faults {
            if self.said.insert((node.to_owned(), fault.clone())) {
                tracing::warn!("{fault}");
            }
        }
    }
}

/// Removes the rules, routes, the tunnel and the bridge of that name. What is not there is no error.
///
/// # Errors
/// The kernel does not let us.
pub async fn clean(bridge: Option<&str>, tasks: &Supervisor) -> anyhow::Result<()> {
    let kernel = Kernel::open(tasks).context("netlink")?;
    let mut socket = Socket::open().context("netfilter")?;
    let rules = blocking("nftables", move || {
        masquerade::FAMILIES.into_iter().try_for_each(|version| match socket.apply(&masquerade::remove(version)) {
            Err(Error::Refused { .. }) if version == Version::V6 => Ok(()),
            done => done,
        })
    });
    let rules = rules.await;
    kernel.clean().await?;
    if let Some(bridge) = bridge {
        kernel.delete_named(bridge).await?;
    }
    rules.map_err(|error| anyhow::anyhow!("{error}"))?.context("the rules that masquerade")
}
