//! The load balancers of this cloud, which is none: addresses of a pool, or the nodes' own. Behind the interface of every
//! cloud's, so that the controller in `crates/cloud` is the same for all.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use client::{Change, Informer, Informers};
use cloud::{Failure, LoadBalancers};
use controller::{Queue, key, key::Key};
use k8s_openapi::api::core::v1::{LoadBalancerIngress, LoadBalancerStatus, Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use parking_lot::Mutex;

use crate::book::{Book, Refused};
use crate::claim::{Claim, addresses, is_balanced};
use crate::config::Class;
use crate::nodes;
use crate::pool::Pool;

/// When a Service that was refused is looked at again, if nothing is set free before.
const REFUSED: Duration = Duration::from_secs(300);

/// See the module.
pub struct Provider {
    class: Class,
    /// None: the nodes' own addresses.
    pool: Option<Pool>,
    book: Mutex<Book>,
    /// Services that were refused.
    waiting: Mutex<BTreeSet<Key>>,
    queue: OnceLock<Queue<Key>>,
    services: Informer<Service>,
    nodes: Informer<Node>,
    /// Read only for the nodes' own addresses.
    slices: Option<Informer<EndpointSlice>>,
}

impl Provider {
    /// Begins to read. `seen`: all Services as the server has them now, which informers may not have yet.
    pub fn start(class: Class, pool: Option<Pool>, informers: &Informers, seen: &[Service]) -> Arc<Provider> {
        let slices = pool.is_none().then(|| informers.of::<EndpointSlice>());
        let provider = Arc::new(Provider {
            class,
            pool,
            book: Mutex::default(),
            waiting: Mutex::default(),
            queue: OnceLock::new(),
            services: informers.of(),
            nodes: informers.of(),
            slices,
        });
        for service in seen {
            provider.observe(service);
        }
        let own = provider.clone();
        provider.services.on_change(move |change| own.service_changed(change));
        let own = provider.clone();
        provider.nodes.on_change(move |change| own.node_changed(change));
        let own = provider.clone();
        if let Some(slices) = &provider.slices {
            slices.on_change(move |change| own.slice_changed(change));
        }
        provider
    }

    fn add(&self, keys: impl IntoIterator<Item = Key>) {
        if let Some(queue) = self.queue.get() {
            keys.into_iter().for_each(|key| queue.add(key));
        }
    }

    /// Something was set free.
    fn wake(&self) {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        self.add(waiting);
    }

    /// True if somebody else wrote its addresses.
    fn observe(&self, service: &Service) -> bool {
        let (uid, claim) = (key::uid(&service.metadata), Claim::of(service));
        let version = service.metadata.resource_version.as_ref().and_then(|version| version.parse().ok());
        let ours = is_balanced(service) && self.serves(service);
        self.book.lock().observe(uid, claim, version.unwrap_or_default(), ours, Instant::now())
    }

    fn service_changed(&self, change: &Change<Service>) {
        let (service, now) = (change.object(), Instant::now());
        let uid = key::uid(&service.metadata);
        let before = self.book.lock().has(uid, now).to_vec();
        if matches!(change, Change::Deleted(_)) {
            self.book.lock().forget(uid);
        } else if self.observe(service) && is_balanced(service) && self.serves(service) {
            self.add([Key::of(&service.metadata)]);
        }
        let (rivals, after) = {
            let book = self.book.lock();
            let rivals = book.rivals(uid, now);
            let names = rivals.iter().filter_map(|uid| book.name(uid)?.split_once('/'));
            let keys: Vec<Key> = names.map(|(namespace, name)| Key::new(namespace, name)).collect();
            (keys, book.has(uid, now).to_vec())
        };
        // Both are looked at: the junior gets another.
        if !rivals.is_empty() {
            self.add(rivals.into_iter().chain([Key::of(&service.metadata)]));
        }
        if before.iter().any(|ip| !after.contains(ip)) {
            self.wake();
        }
    }

    fn node_changed(&self, change: &Change<Node>) {
        let facts = |node: &Node| (nodes::addresses(node), nodes::is_ready(node), cloud::services::takes_load(node));
        if matches!(change, Change::Updated { old, new } if facts(old) == facts(new)) {
            return;
        }
        if self.pool.is_some() {
            let all = self.nodes.each().flat_map(|node| nodes::addresses(&node)).map(|(ip, _)| ip).collect();
            if self.book.lock().set_nodes(all) {
                self.wake();
            }
        } else {
            let served = self.services.each().filter(|service| is_balanced(service) && self.serves(service));
            self.add(served.map(|service| Key::of(&service.metadata)));
        }
    }

    /// With the policy `Local` the nodes with endpoints are listed, and no others.
    fn slice_changed(&self, change: &Change<EndpointSlice>) {
        if matches!(change, Change::Updated { old, new } if nodes::with_endpoints(old) == nodes::with_endpoints(new)) {
            return;
        }
        let slice = change.object();
        let Some((namespace, name)) = nodes::service_of(slice) else { return };
        let local = |service: &Arc<Service>| is_balanced(service) && self.serves(service) && Claim::of(service).local;
        if self.services.peek(Some(namespace), name).as_ref().is_some_and(local) {
            self.add([Key::new(namespace, name)]);
        }
    }

    /// The addresses of nodes that take load, and have endpoints where the policy asks for that.
    fn of_nodes(&self, service: &Service, all: &[Arc<Node>]) -> Vec<IpAddr> {
        let claim = Claim::of(service);
        let (namespace, name) = (key::namespace(&service.metadata), key::name(&service.metadata));
        let slices = self.slices.as_ref().map(|slices| nodes::slices_of(slices, namespace, name)).unwrap_or_default();
        let with: BTreeSet<String> = slices.iter().flat_map(|slice| nodes::with_endpoints(slice)).collect();
        let named = |node: &Node| with.contains(key::name(&node.metadata));
        let mut taken: Vec<&Arc<Node>> =
            all.iter().filter(|node| nodes::is_ready(node) && (!claim.local || named(node))).collect();
        taken.sort_by_key(|node| key::name(&node.metadata).to_owned());
        nodes::outward(taken.into_iter().map(AsRef::as_ref))
    }

    /// Ports of the nodes' addresses that Services must not have: the kubelets', and the API server's where it is on one.
    fn reserved(&self, all: &[Arc<Node>]) -> BTreeSet<(String, i32)> {
        let tcp = |port: i32| ("TCP".to_owned(), port);
        let own: BTreeSet<IpAddr> = all.iter().flat_map(|node| nodes::addresses(node)).map(|(ip, _)| ip).collect();
        let servers = self.slices.as_ref().map(|slices| nodes::slices_of(slices, "default", "kubernetes"));
        let on_node = |slice: &Arc<EndpointSlice>| {
            let mut ips = slice.endpoints.iter().flatten().flat_map(|endpoint| endpoint.addresses.iter());
            ips.any(|ip| ip.parse().is_ok_and(|ip| own.contains(&ip)))
        };
        let servers = servers.into_iter().flatten().filter(on_node);
        let servers: Vec<i32> =
            servers.flat_map(|slice| slice.ports.clone().unwrap_or_default()).filter_map(|p| p.port).collect();
        all.iter().filter_map(|node| nodes::kubelet_port(node)).chain(servers).map(tcp).collect()
    }
}

fn status(addresses: &[IpAddr]) -> LoadBalancerStatus {
    let ingress = |ip: &IpAddr| LoadBalancerIngress {
        ip: Some(ip.to_string()),
        ip_mode: Some("VIP".to_owned()),
        ..Default::default()
    };
    let ingress: Vec<LoadBalancerIngress> = addresses.iter().map(ingress).collect();
    LoadBalancerStatus { ingress: Some(ingress).filter(|ingress| !ingress.is_empty()) }
}

#[async_trait]
impl LoadBalancers for Provider {
    fn serves(&self, service: &Service) -> bool {
        self.class.serves(service)
    }

    fn follow(&self, queue: &Queue<Key>) {
        // It is asked once.
        let _ = self.queue.set(queue.clone());
    }

    async fn exists(&self, _cluster: &str, service: &Service) -> anyhow::Result<bool> {
        let had = !self.book.lock().has(key::uid(&service.metadata), Instant::now()).is_empty();
        Ok(had || addresses(service).next().is_some())
    }

    async fn ensure(
        &self,
        _cluster: &str,
        service: &Service,
        nodes: &[Arc<Node>],
    ) -> Result<LoadBalancerStatus, Failure> {
        self.observe(service);
        let (uid, key, now) = (key::uid(&service.metadata), Key::of(&service.metadata), Instant::now());
        let before = self.book.lock().has(uid, now).to_vec();
        let given: Result<_, Refused> = match &self.pool {
            Some(pool) => self.book.lock().give(uid, pool, now),
            None => {
                let (own, reserved) = (self.of_nodes(service, nodes), self.reserved(nodes));
                self.book.lock().give_nodes(uid, &own, &reserved, now)
            }
        };
        match given {
            Ok(addresses) => {
                self.waiting.lock().remove(&key);
                if before.iter().any(|ip| !addresses.contains(ip)) {
                    self.wake();
                }
                Ok(status(&addresses))
            }
            Err(refused) => {
                self.waiting.lock().insert(key);
                Err(Failure::Later(REFUSED, refused.message(self.pool.as_ref())))
            }
        }
    }

    /// The announcers read the nodes themselves, and so does the provider for the nodes' own addresses.
    async fn update(&self, _cluster: &str, _service: &Service, _nodes: &[Arc<Node>]) -> Result<(), Failure> {
        Err(Failure::Elsewhere)
    }

    async fn delete(&self, _cluster: &str, service: &Service) -> Result<(), Failure> {
        self.waiting.lock().remove(&Key::of(&service.metadata));
        self.book.lock().release(key::uid(&service.metadata), Instant::now());
        self.wake();
        Ok(())
    }
}
