//! What all pod workers share, and the table of workers.

use crate::{
    cgroups::Cgroups,
    config::Config,
    container::{dns, fields::NodeFacts, resources::Cpu, service_env},
    cri::Runtime,
    events::Events,
    images::{Images, gc},
    logs::watch::Watcher,
    node::{
        machine::{self, Gauges, Machine},
        status as node_status,
    },
    objects::Watched,
    pod,
    pod_worker::{self, Desired, Handle},
    stats,
    status::{Verdict, terminations::Terminations},
    tokens::Tokens,
    volumes::claims::Claims,
};
use client::{Informer, Informers};
use component::{Clock, Supervisor};
use controller::Recorder;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{NodeAddress, Pod, Service};
use kube::Client;
use parking_lot::{Mutex, RwLock};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::sync::watch;

/// How long streams have to end.
const STREAMS_DRAIN: Duration = Duration::from_secs(5);

/// What is known of the node's health.
#[derive(Debug, Clone, Default)]
pub(crate) struct Health {
    /// Why the runtime cannot be used.
    pub(crate) runtime: Option<String>,
    /// Why pods cannot have a network.
    pub(crate) network: Option<String>,
    pub(crate) memory_pressure: bool,
    pub(crate) disk_pressure: bool,
    pub(crate) pid_pressure: bool,
}

pub(crate) struct Agent {
    pub(crate) config: Config,
    pub(crate) client: Client,
    pub(crate) clock: Clock,
    pub(crate) gauges: Arc<dyn Gauges>,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) runtime_name: String,
    pub(crate) events: Events,
    pub(crate) images: Images,
    pub(crate) image_records: Mutex<gc::Records>,
    pub(crate) log_watcher: Watcher,
    pub(crate) objects: Arc<Watched>,
    pub(crate) tokens: Tokens,
    pub(crate) claims: Claims,
    pub(crate) terminations: Terminations,
    pub(crate) stats: stats::Memory,
    pub(crate) cgroups: Cgroups,
    pub(crate) services: Informer<Service>,
    pub(crate) machine: Machine,
    /// The node's addresses.
    pub(crate) host_ips: Vec<String>,
    /// The addresses in the node's status, as they were last reported.
    pub(crate) addresses: watch::Sender<Vec<NodeAddress>>,
    pub(crate) allocatable: crate::quantity::List,
    pub(crate) health: RwLock<Health>,
    pub(crate) started: Timestamp,
    pub(crate) pods: Mutex<HashMap<String, Handle>>,
    /// The uids of pods that were found to fit.
    pub(crate) admitted: Mutex<HashSet<String>>,
    /// The kubelet's own node, with its loops.
    pub(crate) tasks: Supervisor,
    /// Below it: a node a pod.
    pub(crate) workers: Supervisor,
    /// Below it: what the server passes on.
    pub(crate) streams: Supervisor,
}

/// What an agent is made of.
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) client: Client,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) runtime_name: String,
    pub(crate) cgroups: Cgroups,
    pub(crate) clock: Clock,
    pub(crate) gauges: Arc<dyn Gauges>,
    pub(crate) machine: Machine,
    pub(crate) tasks: Supervisor,
}

impl Agent {
    /// Must be called inside a tokio runtime.
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let Parts { config, client, runtime, runtime_name, cgroups, clock, gauges, machine, tasks } = parts;
        let own = config.node_ips.iter().filter(|ip| !ip.is_unspecified());
        let mut host_ips: Vec<String> = own.map(ToString::to_string).collect();
        if host_ips.is_empty() {
            host_ips.extend(machine::default_address().map(|ip| ip.to_string()));
        }
        let disk = gauges.disk(&config.root_dir).unwrap_or_default();
        let allocatable = node_status::allocatable(&config, &node_status::capacity(&config, &machine, disk));
        let recorder = Recorder::new(client.clone(), "kubelet", &config.node_name, &tasks);
        let events = Events::new(Some(recorder), &config.node_name);
        let parallel = if config.file.serialize_image_pulls {
            1
        } else {
            config.file.max_parallel_image_pulls.unwrap_or(usize::MAX >> 4)
        };
        let services = Informers::new(client.clone(), &tasks).of::<Service>();
        Arc::new_cyclic(|weak: &Weak<Self>| {
            let weak = weak.clone();
            let wake = Arc::new(move |uid: &str| {
                if let Some(agent) = weak.upgrade() {
                    agent.refresh_volumes(uid);
                }
            });
            Self {
                images: Images::new(runtime.clone(), events.clone(), clock.clone(), parallel),
                image_records: Mutex::default(),
                log_watcher: Watcher::new(),
                objects: Arc::new(Watched::new(client.clone(), wake, &tasks)),
                tokens: Tokens::new(client.clone(), clock.clone()),
                claims: Claims::new(client.clone()),
                terminations: Terminations::default(),
                stats: stats::Memory::default(),
                addresses: watch::Sender::default(),
                health: RwLock::new(Health {
                    runtime: None,
                    network: Some("container runtime status check may not have completed yet".into()),
                    ..Health::default()
                }),
                started: clock.now(),
                pods: Mutex::default(),
                admitted: Mutex::default(),
                config,
                client,
                clock,
                gauges,
                runtime,
                runtime_name,
                events,
                cgroups,
                services,
                machine,
                host_ips,
                allocatable,
                workers: tasks.child("pods"),
                streams: tasks.child_within("streams", STREAMS_DRAIN),
                tasks,
            }
        })
    }

    /// A pod of the API's, new or changed.
    pub(crate) fn pod_updated(self: &Arc<Self>, pod: &Arc<Pod>) {
        if pod::is_mirror(pod) {
            return;
        }
        let uid = pod::uid(pod).to_owned();
        let mut pods = self.pods.lock();
        match pods.get(&uid) {
            Some(handle) => handle.desired.send_modify(|desired| desired.pod = pod.clone()),
            None => {
                self.objects.register(pod);
                let handle =
                    pod_worker::spawn(self.clone(), Desired { pod: pod.clone(), removed: false, verdict: None });
                pods.insert(uid, handle);
            }
        }
    }

    /// The API has forgotten the pod.
    pub(crate) fn pod_removed(&self, pod: &Pod) {
        if let Some(handle) = self.pods.lock().get(pod::uid(pod)) {
            handle.desired.send_modify(|desired| {
                // The last version says how long the pod may take.
                if pod::deleting(pod) {
                    desired.pod = Arc::new(pod.clone());
                }
                desired.removed = true;
            });
        }
    }

    /// All that the API has: others are gone.
    pub(crate) fn pods_listed(&self, listed: &[Arc<Pod>]) {
        let uids: HashSet<&str> = listed.iter().map(|pod| pod::uid(pod)).collect();
        for (_, handle) in self.pods.lock().iter().filter(|(uid, _)| !uids.contains(uid.as_str())) {
            handle.desired.send_modify(|desired| desired.removed = true);
        }
    }

    /// Ends the pod for a reason of the node's.
    pub(crate) fn evict(&self, uid: &str, verdict: Verdict, grace_secs: i64) {
        if let Some(handle) = self.pods.lock().get(uid) {
            handle.desired.send_modify(|desired| {
                desired.verdict.get_or_insert((verdict, grace_secs));
            });
        }
    }

    /// Pods that the node has taken, and that were neither ended by it nor have come to their end.
    pub(crate) fn active_pods(&self) -> Vec<Arc<Pod>> {
        let admitted = self.admitted.lock().clone();
        let pods = self.pods.lock();
        let active = pods.iter().filter(|(uid, handle)| {
            admitted.contains(*uid) && handle.is_active() && handle.desired.borrow().verdict.is_none()
        });
        active.map(|(_, handle)| handle.pod()).collect()
    }

    /// Nothing of the pod runs or is mounted any more.
    pub(crate) fn is_over(&self, uid: &str) -> bool {
        self.pods.lock().get(uid).is_none_or(|handle| handle.status.borrow().finished)
    }

    /// Something about the pod happened in the runtime.
    pub(crate) fn wake(&self, uid: &str) {
        if let Some(handle) = self.pods.lock().get(uid) {
            handle.wake.notify_one();
        }
    }

    /// An object that the pod's volumes show has changed.
    pub(crate) fn refresh_volumes(&self, uid: &str) {
        if let Some(handle) = self.pods.lock().get(uid) {
            handle.stale.store(true, std::sync::atomic::Ordering::Relaxed);
            handle.wake.notify_one();
        }
    }

    /// The newest version of every pod that has a worker.
    pub(crate) fn all_pods(&self) -> Vec<Arc<Pod>> {
        self.pods.lock().values().map(Handle::pod).collect()
    }

    pub(crate) fn find(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        let mut found: Vec<Arc<Pod>> =
            self.all_pods().into_iter().filter(|p| pod::name(p) == name && pod::namespace(p) == namespace).collect();
        found.sort_by_key(|p| p.metadata.creation_timestamp.as_ref().map(|t| t.0));
        found.pop()
    }

    pub(crate) fn cpu(&self) -> Cpu {
        Cpu {
            quota: self.config.file.cpu_cfs_quota,
            period_us: self.config.file.cpu_cfs_quota_period.0.as_micros() as i64,
        }
    }

    pub(crate) fn facts(&self, pod_ips: &[String]) -> NodeFacts {
        let amount = |name: &str| self.allocatable.get(name);
        NodeFacts {
            host_ips: self.host_ips.clone(),
            pod_ips: pod_ips.to_vec(),
            cpu_milli: amount("cpu").map_or(0, crate::quantity::milli),
            memory_bytes: amount("memory").map_or(0, crate::quantity::value),
            ephemeral_bytes: amount("ephemeral-storage").map_or(0, crate::quantity::value),
        }
    }

    pub(crate) fn service_env(&self, pod: &Pod) -> Result<BTreeMap<String, String>, String> {
        if !self.services.is_synced() && !pod::is_static(pod) {
            return Err("services have not yet been read at least once, cannot construct envvars".into());
        }
        let links = pod::spec(pod).enable_service_links.unwrap_or(true);
        Ok(service_env::variables(&self.services.list(), pod::namespace(pod), links))
    }

    pub(crate) fn dns_settings(&self) -> dns::Settings {
        let file = self.config.file.resolv_conf.as_deref().filter(|p| !p.is_empty());
        dns::Settings {
            cluster_dns: self.config.file.cluster_dns.clone(),
            cluster_domain: self.config.file.cluster_domain.clone(),
            host: file.map(|path| std::fs::read_to_string(path).unwrap_or_default()),
        }
    }
}
