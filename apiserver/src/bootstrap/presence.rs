//! This server's place among the servers of a cluster, from when it is ready until it is told to end: it is an endpoint of the
//! `kubernetes` Service, and it has a Lease.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use component::tls::Followed;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use writes::Registry;

use super::identity::{self, COLLECT_EVERY, Identity};
use super::kubernetes_service::{self, Endpoints, Facts};

/// Between two times that a server says it is there, as upstream's.
const INTERVAL: Duration = Duration::from_secs(10);
/// How long the end of the server waits for being taken from the endpoints.
const LEAVE: Duration = Duration::from_secs(20);

/// See the module.
pub struct Presence {
    service: Facts,
    endpoints: Option<Endpoints>,
    identity: Option<Identity>,
    trust: Option<Followed<super::Facts>>,
}

impl Presence {
    /// That of the server with those facts; with an identity where there are such.
    pub fn new(service: Facts, identity: Option<Identity>) -> Self {
        Self { endpoints: Endpoints::new(&service), service, identity, trust: None }
    }

    /// It tells the cluster which authorities the server trusts, too, as they are at the time.
    pub fn telling(self, trust: Followed<super::Facts>) -> Self {
        Self { trust: Some(trust), ..self }
    }

    /// Shows the server as long as it serves: until `cancel`.
    pub async fn run(&self, registry: &Registry, ready: &AtomicBool, cancel: &CancellationToken) {
        cancel.run_until_cancelled(self.show(registry, ready)).await;
    }

    async fn show(&self, registry: &Registry, ready: &AtomicBool) {
        if !ready.load(Ordering::Acquire) {
            if let Some(endpoints) = &self.endpoints {
                endpoints.arrive(registry).await;
            }
            if let Some(identity) = &self.identity {
                identity.arrive(registry).await;
            }
        }
        // Set once, within milliseconds of the start.
        while !ready.load(Ordering::Acquire) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut leases, mut collect) = (None, Instant::now());
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = Endpoints::another_ended(&mut leases) => {
                    self.reconcile(registry).await;
                    continue;
                }
            }
            if leases.is_none()
                && let Some(endpoints) = &self.endpoints
            {
                leases = endpoints.watch(registry).await;
            }
            if let Err(error) = kubernetes_service::run(registry, &self.service).await {
                tracing::warn!(%error, "the kubernetes Service could not be made again");
            }
            if let Some(trust) = &self.trust
                && let Err(error) = super::trust(registry, &trust.current()).await
            {
                tracing::warn!(%error, "the authorities of this server could not be told");
            }
            self.reconcile(registry).await;
            let Some(identity) = &self.identity else { continue };
            if let Err(error) = identity.renew(registry).await {
                tracing::warn!(%error, "the Lease of this server could not be renewed");
            }
            if collect <= Instant::now() {
                identity::collect(registry).await;
                collect = Instant::now() + COLLECT_EVERY;
            }
        }
    }

    async fn reconcile(&self, registry: &Registry) {
        if let Some(endpoints) = &self.endpoints
            && let Err(error) = endpoints.reconcile(registry).await
        {
            tracing::warn!(%error, "the endpoints of the kubernetes Service could not be made what they should be");
        }
    }

    /// Takes the server away from where clients find it; before it stops serving.
    pub async fn leave(&self, registry: &Registry) {
        let endpoints = async {
            if let Some(endpoints) = &self.endpoints
                && let Err(error) = endpoints.leave(registry).await
            {
                tracing::warn!(%error, "this server could not be taken from the endpoints of the kubernetes Service");
            }
        };
        let identity = async {
            if let Some(identity) = &self.identity {
                identity.leave(registry).await;
            }
        };
        let both = async { tokio::join!(endpoints, identity) };
        if tokio::time::timeout(LEAVE, both).await.is_err() {
            tracing::warn!("taking this server from the endpoints of the kubernetes Service took too long");
        }
    }
}
