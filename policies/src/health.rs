//! What operators ask: does what is known reach the kernel (`/healthz`), how often was what allowed and dropped (`/metrics`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use component::Supervisor;
use component::metrics::{Counter, Gauge, Histogram, Series, Text};
use component::serving::{Checks, Server};
use netfilter::Counted;
use parking_lot::Mutex;
use tokio::net::TcpListener;

use crate::compile::{base, names};
use crate::kernel::Kernel;

/// Upper bounds of the times that a sync took.
const SYNC_SECONDS: &[f64] =
    &[0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384];

/// An update that waits for longer than this means that the agent is not well.
const OVERDUE: Duration = Duration::from_secs(60);

/// The agent's own view of how it does.
pub struct Health {
    waiting_since: Mutex<Option<Instant>>,
    synced: AtomicBool,
    sync_seconds: Histogram,
    failures: Counter,
    /// Events that were not told of, as too many were.
    pub untold: Counter,
    pods: Gauge,
    policies: Gauge,
}

impl Health {
    /// Not synced yet.
    pub fn new() -> Arc<Health> {
        Arc::new(Health {
            waiting_since: Mutex::new(Some(Instant::now())),
            synced: AtomicBool::new(false),
            sync_seconds: Histogram::new(SYNC_SECONDS),
            failures: Counter::default(),
            untold: Counter::default(),
            pods: Gauge::default(),
            policies: Gauge::default(),
        })
    }

    /// A change waits to be applied.
    pub fn queued(&self) {
        self.waiting_since.lock().get_or_insert_with(Instant::now);
    }

    /// The kernel has what it should have.
    pub fn updated(&self, took: Duration) {
        self.sync_seconds.observe(took.as_secs_f64());
        *self.waiting_since.lock() = None;
        self.synced.store(true, Ordering::Release);
    }

    /// The kernel has what follows of so many pods and policies.
    pub fn enforced(&self, [pods, policies]: [usize; 2]) {
        self.pods.set(pods as i64);
        self.policies.set(policies as i64);
    }

    /// Applying failed.
    pub fn failed(&self) {
        self.failures.add(1);
        self.queued();
    }

    /// Why it is not well, if it is not.
    fn check(&self) -> Result<(), String> {
        if !self.synced.load(Ordering::Acquire) {
            return Err("the kernel has not got the first rules yet".to_owned());
        }
        match *self.waiting_since.lock() {
            Some(since) if since.elapsed() >= OVERDUE => Err(format!("a change waits for {:?}", since.elapsed())),
            _ => Ok(()),
        }
    }

    fn metrics(&self, out: &mut Text) {
        let name = "ferry_policies_sync_duration_seconds";
        out.head(name, "How long it took to bring what changed to the kernel", Histogram::KIND);
        self.sync_seconds.write(name, &[], &[], out);
        let counters = [
            ("ferry_policies_sync_failures_total", "Updates that the kernel did not take", &self.failures),
            (
                "ferry_policies_denials_untold_total",
                "Dropped packets that no Event tells of: it was told already, or there were too many",
                &self.untold,
            ),
        ];
        for (name, help, counter) in counters {
            out.head(name, help, Counter::KIND);
            counter.write(name, &[], &[], out);
        }
        let gauges = [
            ("ferry_policies_pods", "Pods in the cluster of which the kernel has what policies say", &self.pods),
            (
                "ferry_policies_policies",
                "Policies in the cluster of which the kernel has what they say",
                &self.policies,
            ),
        ];
        for (name, help, gauge) in gauges {
            out.head(name, help, Gauge::KIND);
            gauge.write(name, &[], &[], out);
        }
    }
}

/// What the kernel has counted: connections that policies let through, and packets that were dropped, since the table was made.
fn write_counted(counted: &[Counted], out: &mut Text) {
    let (mut allowed, mut dropped, mut unknown) = (BTreeMap::new(), BTreeMap::new(), 0);
    for one in counted {
        match names::read(&one.name) {
            Some((role, direction, namespace, policies)) => {
                let of = if role == names::Role::Policy { &mut allowed } else { &mut dropped };
                *of.entry([direction.as_str().to_owned(), namespace.to_owned(), policies.join(",")]).or_insert(0) +=
                    one.packets;
            }
            None if one.name == base::UNKNOWN => unknown += one.packets,
            None => {}
        }
    }
    let series = [
        (
            "ferry_policies_allowed_connections_total",
            "Connections of this node's pods that a policy let through",
            ["direction", "namespace", "policy"],
            allowed,
        ),
        (
            "ferry_policies_dropped_packets_total",
            "Packets from and to this node's pods that none of the policies that are about them allows",
            ["direction", "namespace", "policies"],
            dropped,
        ),
    ];
    for (name, help, labels, values) in series {
        out.head(name, help, Counter::KIND);
        for (of, packets) in values {
            out.line(name, &labels, &of.each_ref().map(String::as_str), packets as f64);
        }
    }
    let name = "ferry_policies_unknown_dropped_packets_total";
    out.head(name, "Packets from and to addresses in this node's ranges of which no pod is known", Counter::KIND);
    out.line(name, &[], &[], unknown as f64);
}

/// Serves `/healthz`, `/livez` and `/readyz`.
///
/// # Errors
/// The address can't be bound.
pub async fn serve_healthz(address: SocketAddr, health: Arc<Health>, tasks: &Supervisor) -> anyhow::Result<()> {
    let check = move || health.check();
    let checks = Checks::new().with("sync", check);
    let server = Server::new(checks.clone(), checks);
    let listener = bind(address).await?;
    tasks.vital(("serving", "healthz"), move |own| server.serve(listener, own));
    Ok(())
}

/// Serves `/metrics`.
///
/// # Errors
/// The address can't be bound.
pub async fn serve_metrics(
    address: SocketAddr,
    health: Arc<Health>,
    kernel: Kernel,
    tasks: &Supervisor,
) -> anyhow::Result<()> {
    let listener = bind(address).await?;
    let server = Server::new(Checks::new(), Checks::new()).metrics(move |out| {
        health.metrics(out);
        match kernel.counters() {
            Ok(counted) => write_counted(&counted, out),
            Err(error) => tracing::warn!(%error, "counters can't be read"),
        }
    });
    // As upstream's proxy: on loopback unless told otherwise, and nothing secret in it.
    let server = server.authorized(async |_| None);
    tasks.vital(("serving", "metrics"), move |own| server.serve(listener, own));
    Ok(())
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| anyhow::anyhow!("listening on {address}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_both_families_are_one() {
        let counted = |name: &str, packets| Counted { name: name.to_owned(), packets, bytes: 0 };
        let all = [
            counted("policy-ingress/shop/db", 3),
            counted("policy-ingress/shop/db", 2),
            counted("pods-ingress/shop/db/web", 7),
            counted("pods-egress/shop", 1),
            counted(base::UNKNOWN, 4),
        ];
        let mut out = Text::default();
        write_counted(&all, &mut out);
        let text = out.finish();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            lines,
            [
                "ferry_policies_allowed_connections_total{direction=\"ingress\",namespace=\"shop\",policy=\"db\"} 5",
                "ferry_policies_dropped_packets_total{direction=\"egress\",namespace=\"shop\",policies=\"\"} 1",
                "ferry_policies_dropped_packets_total{direction=\"ingress\",namespace=\"shop\",policies=\"db,web\"} 7",
                "ferry_policies_unknown_dropped_packets_total 4",
            ]
        );
    }

    #[test]
    fn it_is_well_once_the_kernel_has_the_rules() {
        let health = Health::new();
        assert!(health.check().is_err());
        health.updated(Duration::from_millis(2));
        health.failed();
        assert!(health.check().is_ok(), "a failure is tried again");
        let mut out = Text::default();
        health.metrics(&mut out);
        assert!(out.finish().lines().any(|line| line == "ferry_policies_sync_failures_total 1"));
    }
}
