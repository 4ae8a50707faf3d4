//! Nodes' ranges of pods' addresses: each node gets one of each range of the cluster.
//!
//! Upstream: `pkg/controller/nodeipam`, its RangeAllocator. It runs with `--allocate-node-cidrs` only.

mod allocator;
mod cidr_set;

use std::sync::Arc;

use client::{Change, Informer};
use controller::{Queue, object_reference, run_workers};
use futures::future::BoxFuture;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use parking_lot::Mutex;
use serde_json::json;

use crate::{COMPONENT, context::Context, metrics, util::key};
use allocator::{Allocator, Turn};

const WORKERS: usize = 30;
/// How often a node is written before it is said that it can't be.
const TRIES: usize = 3;
/// Of a node's range, where nothing else is said.
const PREFIX_IPV4: u8 = 24;
const PREFIX_IPV6: u8 = 64;

/// Which addresses pods may have.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranges {
    /// The ranges of the cluster, one of an IP family, each with the prefix length of a node's part.
    pub cluster: Vec<(IpNet, u8)>,
    /// Those of Services, which no pod may have.
    pub services: Vec<IpNet>,
}

/// What is said of the prefix length of a node's range: of both families, of IPv4, of IPv6; zero: nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sizes {
    /// `--node-cidr-mask-size`.
    pub any: u8,
    /// `--node-cidr-mask-size-ipv4`.
    pub ipv4: u8,
    /// `--node-cidr-mask-size-ipv6`.
    pub ipv6: u8,
}

impl Ranges {
    /// As upstream's flags say it: texts with ranges between commas.
    ///
    /// # Errors
    /// In upstream's words: no ranges, several of one family, or sizes that contradict each other.
    pub fn new(cluster: &str, services: &str, sizes: Sizes) -> anyhow::Result<Self> {
        let parse = |text: &str| {
            text.trim().parse::<IpNet>().map(|r| r.trunc()).map_err(|_| anyhow::anyhow!("invalid CIDR address: {text}"))
        };
        let cluster: Vec<IpNet> = cluster.split(',').map(parse).collect::<anyhow::Result<_>>()?;
        let is_v6 = |range: &IpNet| matches!(range, IpNet::V6(_));
        let both = cluster.iter().any(is_v6) && !cluster.iter().all(is_v6);
        anyhow::ensure!(
            cluster.len() == 1 || both,
            "len of ClusterCIDRs=={} and they are not configured as dual stack (at least one from each IPFamily",
            cluster.len()
        );
        anyhow::ensure!(cluster.len() <= 2, "length of clusterCIDRs is:{} more than max allowed of 2", cluster.len());
        let services: Vec<&str> = services.split(',').map(str::trim).filter(|text| !text.is_empty()).collect();
        anyhow::ensure!(services.len() <= 2, "--service-cluster-ip-range can not contain more than two entries");
        let (good, bad): (Vec<_>, Vec<_>) = services.into_iter().map(parse).partition(Result::is_ok);
        bad.iter().for_each(|error| tracing::warn!(?error, "unsuccessful parsing of service CIDR"));
        let services: Vec<IpNet> = good.into_iter().flatten().collect();
        if let [a, b] = &services[..] {
            anyhow::ensure!(
                is_v6(a) != is_v6(b),
                "serviceCIDR and secondaryServiceCIDR are not dualstack (from different IPfamiles)"
            );
        }
        let (ipv4, ipv6) = sizes.of_families(both, cluster.iter().any(is_v6))?;
        let size = |range: IpNet| (range, if is_v6(&range) { ipv6 } else { ipv4 });
        Ok(Self { cluster: cluster.into_iter().map(size).collect(), services })
    }
}

impl Sizes {
    fn of_families(self, both: bool, is_v6: bool) -> anyhow::Result<(u8, u8)> {
        let or = |given: u8, usual: u8| if given == 0 { usual } else { given };
        if both {
            anyhow::ensure!(self.any == 0, "usage of --node-cidr-mask-size is not allowed with dual-stack clusters");
        } else if self.any != 0 {
            anyhow::ensure!(
                self.ipv4 == 0 && self.ipv6 == 0,
                "usage of --node-cidr-mask-size-ipv4 and --node-cidr-mask-size-ipv6 is not allowed if \
                 --node-cidr-mask-size is set. For dual-stack clusters please unset it and use IPFamily specific flags"
            );
            return Ok((self.any, self.any));
        } else {
            anyhow::ensure!(
                self.ipv4 == 0 || !is_v6,
                "usage of --node-cidr-mask-size-ipv4 is not allowed for a single-stack IPv6 cluster"
            );
            anyhow::ensure!(
                self.ipv6 == 0 || is_v6,
                "usage of --node-cidr-mask-size-ipv6 is not allowed for a single-stack IPv4 cluster"
            );
        }
        Ok((or(self.ipv4, PREFIX_IPV4), or(self.ipv6, PREFIX_IPV6)))
    }
}

/// Runs the controller, if it is asked for.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

async fn run(context: Context) -> anyhow::Result<()> {
    let Some(ranges) = context.config.node_ranges.clone() else { return Ok(()) };
    let nodes: Informer<Node> = context.informers.of();
    nodes.synced().await;
    // Before any node is given a range, those of the others are known.
    let present = nodes.list();
    let allocator = Allocator::new(&ranges, present.iter().map(|node| &**node))?;
    let shell = Arc::new(Shell { nodes, allocator: Mutex::new(allocator), queue: Queue::new(), context });
    let on_node = shell.clone();
    shell.nodes.on_change(move |change| match change {
        Change::Deleted(node) => {
            if let Err(error) = on_node.allocator.lock().gone(node) {
                tracing::warn!(error = format!("{error:#}"), "the ranges of a node could not be released");
            }
        }
        other => on_node.queue.add(key::name(&other.object().metadata).to_owned()),
    });
    let (name, cancel) = (shell.context.name, shell.context.cancel.clone());
    let running = metrics::RUNNING.with(&["nodeipam", COMPONENT]);
    running.set(1);
    let asked = shell.clone();
    let _collected = metrics::collect(shell.context.name, move |out| {
        let help = "[ALPHA] The share of a range's parts that nodes have.";
        let shares = asked.allocator.lock().shares();
        metrics::gauge(out, ("node_ipam_controller_cidrset_usage_cidrs", help), ["clusterCIDR"], shares);
    });
    run_workers(name, &shell.queue, WORKERS, cancel, |name| shell.reconcile(name)).await;
    running.set(0);
    Ok(())
}

struct Shell {
    context: Context,
    nodes: Informer<Node>,
    allocator: Mutex<Allocator>,
    queue: Queue<String>,
}

impl Shell {
    async fn reconcile(&self, name: String) -> anyhow::Result<()> {
        let Some(node) = self.nodes.get(None, &name) else { return Ok(()) };
        let turn = self.allocator.lock().turn(&node);
        let ranges = match turn {
            Ok(Turn::Nothing) => return Ok(()),
            Ok(Turn::Give(ranges)) => ranges,
            Err(error) => {
                self.say(&node, "CIDRNotAvailable");
                return Err(error);
            }
        };
        let texts: Vec<String> = ranges.iter().map(ToString::to_string).collect();
        let patch = Patch::Strategic(json!({"spec": {"podCIDR": texts.first(), "podCIDRs": texts}}));
        let api: Api<Node> = Api::all(self.context.client.clone());
        let mut unsure = false;
        for tried in 1.. {
            let Err(error) = api.patch(&name, &PatchParams::default(), &patch).await else { break };
            unsure |= client::is_unknown(&error);
            if tried == TRIES {
                self.say(&node, "CIDRAssignmentFailed");
                let mut allocator = self.allocator.lock();
                if unsure {
                    allocator.keep(&node)
                } else {
                    allocator.give_back(&node)
                }
                return Err(error.into());
            }
        }
        tracing::info!(node = name, ?texts, "Set node PodCIDR");
        Ok(())
    }

    fn say(&self, node: &Node, status: &str) {
        let message = format!("Node {} status is now: {status}", key::name(&node.metadata));
        self.context.recorder.event(&object_reference(node), "Normal", status, message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(any: u8, ipv4: u8, ipv6: u8) -> Sizes {
        Sizes { any, ipv4, ipv6 }
    }

    fn check(cluster: &str, services: &str, sizes: Sizes, want: Result<&str, &str>) {
        let got = Ranges::new(cluster, services, sizes).map(|ranges| {
            let cluster = ranges.cluster.iter().map(|(range, size)| format!("{range}:{size}"));
            let services = ranges.services.iter().map(|range| format!("-{range}"));
            cluster.chain(services).collect::<Vec<_>>().join(" ")
        });
        assert_eq!(got.map_err(|e| e.to_string()), want.map(Into::into).map_err(Into::into), "{cluster} {services}");
    }

    #[test]
    fn ranges_are_of_one_family_or_of_both() {
        let (v4, v6) = ("10.244.0.0/16", "fd00::/48");
        check(v4, "", sizes(0, 0, 0), Ok("10.244.0.0/16:24"));
        check(v6, "", sizes(0, 0, 0), Ok("fd00::/48:64"));
        check(
            "fd00::/48,10.244.0.0/16",
            "10.96.0.0/16,fd01::/108",
            sizes(0, 0, 0),
            Ok("fd00::/48:64 10.244.0.0/16:24 -10.96.0.0/16 -fd01::/108"),
        );
        check(v4, "nonsense", sizes(0, 0, 0), Ok("10.244.0.0/16:24"));
        check("", "", sizes(0, 0, 0), Err("invalid CIDR address: "));
        check(
            "10.244.0.0/16,10.245.0.0/16",
            "",
            sizes(0, 0, 0),
            Err("len of ClusterCIDRs==2 and they are not configured as dual stack (at least one from each IPFamily"),
        );
        check(
            "10.244.0.0/16,10.245.0.0/16,fd00::/48",
            "",
            sizes(0, 0, 0),
            Err("length of clusterCIDRs is:3 more than max allowed of 2"),
        );
        check(
            v4,
            "10.96.0.0/16,10.97.0.0/16",
            sizes(0, 0, 0),
            Err("serviceCIDR and secondaryServiceCIDR are not dualstack (from different IPfamiles)"),
        );
    }

    #[test]
    fn sizes_are_of_the_families_there_are() {
        let (v4, v6, both) = ("10.244.0.0/16", "fd00::/48", "10.244.0.0/16,fd00::/48");
        check(v4, "", sizes(26, 0, 0), Ok("10.244.0.0/16:26"));
        check(v4, "", sizes(0, 26, 0), Ok("10.244.0.0/16:26"));
        check(v6, "", sizes(56, 0, 0), Ok("fd00::/48:56"));
        check(v6, "", sizes(0, 0, 56), Ok("fd00::/48:56"));
        check(both, "", sizes(0, 26, 56), Ok("10.244.0.0/16:26 fd00::/48:56"));
        check(both, "", sizes(0, 0, 56), Ok("10.244.0.0/16:24 fd00::/48:56"));
        check(both, "", sizes(26, 0, 0), Err("usage of --node-cidr-mask-size is not allowed with dual-stack clusters"));
        check(
            v6,
            "",
            sizes(0, 26, 0),
            Err("usage of --node-cidr-mask-size-ipv4 is not allowed for a single-stack IPv6 cluster"),
        );
        check(
            v4,
            "",
            sizes(0, 0, 56),
            Err("usage of --node-cidr-mask-size-ipv6 is not allowed for a single-stack IPv4 cluster"),
        );
        let twice = Ranges::new(v4, "", sizes(26, 26, 0)).unwrap_err().to_string();
        assert!(twice.starts_with("usage of --node-cidr-mask-size-ipv4 and --node-cidr-mask-size-ipv6 is not allowed"));
    }
}
