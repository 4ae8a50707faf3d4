//! The `kubernetes` Service: how pods reach the API servers. Its cluster IP is the first of the service range, its endpoints
//! are the addresses that servers advertise. Follows `pkg/controlplane/controller/kubernetesservice` and
//! `pkg/controlplane/reconcilers`.
//!
//! Two things are better than upstream's. A server that ends is missed as soon as its lease is, since the others watch for
//! that. And what a server makes of the leases is only written over Endpoints that it has read before the leases, so that a
//! server which has just left does not come back for ten seconds.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use ipnet::IpNet;
use machinery::gvk::GroupResource;
use machinery::meta;
use machinery::status::StatusError;
use serde_json::{Value, json};
use std::sync::LazyLock;
use storage::WatchStream;
use tokio::sync::Mutex;
use writes::Registry;

use super::{default_range, ensure};
use leases::Leases;

mod endpoints;
mod leases;

static ENDPOINTS: LazyLock<GroupResource> = LazyLock::new(|| GroupResource::new("", "endpoints"));
static SLICES: LazyLock<GroupResource> = LazyLock::new(|| GroupResource::new("discovery.k8s.io", "endpointslices"));
static SERVICES: LazyLock<GroupResource> = LazyLock::new(|| GroupResource::new("", "services"));

/// Tries to write the endpoints while other servers do.
const TRIES: usize = 20;

/// By what it is known which servers there are (`--endpoint-reconciler-type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconciler {
    /// Who serves has a lease in the store.
    Lease,
    /// There are so many of them (`--apiserver-count`); each adds itself, and those that went stay until there are too many.
    MasterCount(usize),
    /// Somebody else sees to the endpoints.
    None,
}

/// What the Service is made of.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The ranges that cluster IPs come from, the primary one first.
    pub service_ranges: Vec<IpNet>,
    /// The address that the server is reached at.
    pub advertise: IpAddr,
    /// The port that the server is reached at.
    pub port: u16,
    /// By what it is known which servers there are.
    pub reconciler: Reconciler,
}

/// The first usable address of a range: the API server's own cluster IP.
pub fn first_address(range: &IpNet) -> Option<IpAddr> {
    match range {
        IpNet::V4(net) => Some(IpAddr::V4((u32::from(net.network()) + 1).into())),
        IpNet::V6(net) => Some(IpAddr::V6((u128::from(net.network()) + 1).into())),
    }
}

/// Makes the Service and the range of its address, where they are missing.
pub async fn run(registry: &Registry, facts: &Facts) -> Result<(), StatusError> {
    let Some(cluster_ip) = facts.service_ranges.first().and_then(first_address) else { return Ok(()) };
    default_range::run(registry, &facts.service_ranges).await?;
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": endpoints::NAME, "namespace": "default", "labels": labels() },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": cluster_ip.to_string(),
            "ipFamilyPolicy": "SingleStack",
            "ports": [{ "name": "https", "port": 443, "protocol": "TCP", "targetPort": facts.port }],
            "sessionAffinity": "None",
        },
    });
    let made = ensure(registry, &SERVICES, vec![service], |_, _| None).await;
    // Another server may be making it at this moment: then its address is taken before it is there.
    match made {
        Err(error) if error.code == 422 && appears(registry).await => Ok(()),
        made => made,
    }
}

/// Whether the Service is there, or comes while another server makes it.
async fn appears(registry: &Registry) -> bool {
    const LOOKS: u32 = 20;
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(50);
    for _ in 0..LOOKS {
        if let Ok(Some(_)) = registry.get_consistent(&SERVICES, Some("default"), endpoints::NAME).await {
            return true;
        }
        tokio::time::sleep(PAUSE).await;
    }
    false
}

fn labels() -> Value {
    json!({ "component": "apiserver", "provider": "kubernetes" })
}

/// This server among the endpoints of the Service.
pub struct Endpoints {
    ip: String,
    ports: Value,
    reconciler: Reconciler,
    /// The server ends: from now on it is only removed.
    leaving: AtomicBool,
    /// One change at a time.
    turn: Mutex<()>,
}

impl Endpoints {
    /// The endpoint that the facts tell of; `None` where there is none to look after.
    pub fn new(facts: &Facts) -> Option<Self> {
        if facts.reconciler == Reconciler::None {
            return None;
        }
        if facts.advertise.is_loopback() {
            // Validation refuses it as an endpoint, rightly: in a pod it is the pod's own.
            tracing::warn!(
                "no address but loopback, so that the `kubernetes` Service has no endpoint: give one with --advertise-address"
            );
            return None;
        }
        let (ip, ports) = (facts.advertise.to_string(), endpoints::ports(facts.port));
        Some(Self { ip, ports, reconciler: facts.reconciler, leaving: AtomicBool::default(), turn: Mutex::default() })
    }

    /// Removes what a former run of this server left, before this one serves. Where it is the only one, what there is stays:
    /// it is about to be right again.
    pub async fn arrive(&self, registry: &Registry) {
        let _turn = self.turn.lock().await;
        let outcome = match self.reconciler {
            Reconciler::Lease => match Leases::of(registry).remove(&self.ip).await {
                Ok(true) => {
                    tracing::warn!(ip = self.ip, "a lease of this server is still there: it did not end in order");
                    match Leases::of(registry).list().await {
                        Ok(others) if others.is_empty() => Ok(()),
                        Ok(_) => self.write(registry, true).await,
                        Err(error) => Err(error),
                    }
                }
                other => other.map(drop),
            },
            Reconciler::MasterCount(_) | Reconciler::None => Ok(()),
        };
        if let Err(error) = outcome {
            tracing::warn!(%error, "what is left of this server's former run could not be removed from the endpoints");
        }
    }

    /// Says that this server is there, and makes the endpoints what they should be.
    ///
    /// # Errors
    /// The store does not answer, or others write at the same time again and again.
    pub async fn reconcile(&self, registry: &Registry) -> Result<(), StatusError> {
        let _turn = self.turn.lock().await;
        if self.leaving.load(Ordering::SeqCst) {
            return Ok(());
        }
        if self.reconciler == Reconciler::Lease {
            Leases::of(registry).renew(&self.ip).await?;
        }
        self.write(registry, false).await
    }

    /// Takes this server from the endpoints, for good.
    ///
    /// # Errors
    /// As above.
    pub async fn leave(&self, registry: &Registry) -> Result<(), StatusError> {
        self.leaving.store(true, Ordering::SeqCst);
        let _turn = self.turn.lock().await;
        if self.reconciler == Reconciler::Lease {
            // A lease that has ended by itself has left its address behind.
            Leases::of(registry).remove(&self.ip).await?;
        }
        self.write(registry, true).await
    }

    /// What happens to other servers' leases; `None` where there are none, or it cannot be watched now.
    pub async fn watch(&self, registry: &Registry) -> Option<WatchStream> {
        if self.reconciler != Reconciler::Lease {
            return None;
        }
        Leases::of(registry).watch().await.ok()
    }

    /// Waits until a lease has ended; never returns when the watch has: it is then taken away.
    pub async fn another_ended(watch: &mut Option<WatchStream>) {
        leases::ended(watch).await;
    }

    async fn write(&self, registry: &Registry, with_ports: bool) -> Result<(), StatusError> {
        for _ in 0..TRIES {
            // First the object and then the leases: who changes the object after that has seen newer leases.
            let existing = registry.get_consistent(&ENDPOINTS, Some("default"), endpoints::NAME).await?;
            let Some(wanted) = self.wanted(registry, existing.as_deref(), with_ports).await? else { return Ok(()) };
            let Some(written) = put(registry, &ENDPOINTS, existing.as_deref(), wanted).await? else { continue };
            if !self.slice(registry, &written).await? {
                continue;
            }
            let now = registry.get_consistent(&ENDPOINTS, Some("default"), endpoints::NAME).await?;
            if now.is_some_and(|now| meta::resource_version(&now) == meta::resource_version(&written)) {
                return Ok(());
            }
        }
        Err(StatusError::conflict(&ENDPOINTS, endpoints::NAME, "other servers change it at the same time"))
    }

    /// The Endpoints as they should be; `None` where none are needed.
    async fn wanted(
        &self,
        registry: &Registry,
        existing: Option<&Value>,
        with_ports: bool,
    ) -> Result<Option<Value>, StatusError> {
        let leaving = self.leaving.load(Ordering::SeqCst);
        if existing.is_none() && leaving {
            return Ok(None);
        }
        match (self.reconciler, existing) {
            (Reconciler::MasterCount(_), Some(existing)) if leaving => Ok(Some(endpoints::without(existing, &self.ip))),
            (Reconciler::MasterCount(count), _) => {
                Ok(Some(endpoints::of_count(existing, &self.ip, &self.ports, count)))
            }
            _ => {
                let ips = Leases::of(registry).list().await?;
                if ips.is_empty() && !leaving {
                    return Err(StatusError::internal(
                        "no API server IP addresses were listed in storage, refusing to erase all endpoints for the \
                         kubernetes Service",
                    ));
                }
                Ok(Some(endpoints::of_leases(existing, &ips, &self.ports, with_ports)))
            }
        }
    }

    /// Makes the slice say what the Endpoints say; whether nobody was in the way.
    async fn slice(&self, registry: &Registry, written: &Value) -> Result<bool, StatusError> {
        let wanted = endpoints::slice(written);
        let existing = registry.get(&SLICES, Some("default"), endpoints::NAME);
        let existing = match existing {
            // The family of a slice cannot change.
            Some(existing) if existing["addressType"] != wanted["addressType"] => {
                match registry.delete(&SLICES, Some("default"), endpoints::NAME).await {
                    Err(error) if !error.is_not_found() => return Err(error),
                    _ => None,
                }
            }
            existing => existing,
        };
        let next = existing.as_deref().map_or_else(|| wanted.clone(), |have| endpoints::slice_changed(have, &wanted));
        Ok(put(registry, &SLICES, existing.as_deref(), next).await?.is_some())
    }
}

/// Writes an object over the one that was read, or makes it: the object as it is then, `None` where another was faster.
async fn put(
    registry: &Registry,
    resource: &GroupResource,
    existing: Option<&Value>,
    wanted: Value,
) -> Result<Option<Value>, StatusError> {
    let Some(existing) = existing else {
        return match registry.create(resource, Some("default"), wanted).await {
            Ok(created) => Ok(Some(created)),
            Err(error) if error.is_already_exists() => Ok(None),
            Err(error) => Err(error),
        };
    };
    if *existing == wanted {
        return Ok(Some(wanted));
    }
    let mut overtaken = false;
    let mut change = |old: &Value| {
        overtaken = meta::resource_version(old) != meta::resource_version(existing);
        if overtaken {
            Err(StatusError::conflict(resource, endpoints::NAME, "it has changed"))
        } else {
            Ok(wanted.clone())
        }
    };
    match registry.update(resource, Some("default"), endpoints::NAME, &mut change).await {
        Ok(updated) => {
            tracing::debug!(%resource, "resetting the endpoints of the kubernetes Service");
            Ok(Some(updated))
        }
        Err(error) if overtaken || error.is_not_found() => {
            tracing::debug!(%error, %resource, "another server changed it");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_has_the_first_address_of_the_range() {
        for (range, expect) in
            [("10.96.0.0/16", "10.96.0.1"), ("10.43.128.0/17", "10.43.128.1"), ("fd00::/108", "fd00::1")]
        {
            assert_eq!(first_address(&range.parse().expect("range")).map(|a| a.to_string()).as_deref(), Some(expect));
        }
    }
}
