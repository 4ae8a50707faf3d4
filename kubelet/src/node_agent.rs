//! What all pod workers share, and the table of workers.

use crate::{
    cgroups::Cgroups,
    config::Config,
    container::{dns, fields::NodeFacts, resources::Cpu, service_env},
    cri::Runtime,
    events::Events,
    images::Images,
    node::machine::Machine,
    objects::Watched,
    pod,
    pod_worker::{self, Desired, Handle},
    status::Verdict,
    tokens::Tokens,
    volumes::claims::Claims,
};
use client::Informer;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Client;
use parking_lot::{Mutex, RwLock};
use std::{collections::BTreeMap, collections::HashMap, sync::Arc};
use tokio_util::sync::CancellationToken;

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
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) runtime_name: String,
    pub(crate) events: Events,
    pub(crate) images: Images,
    pub(crate) objects: Arc<Watched>,
    pub(crate) tokens: Tokens,
    pub(crate) claims: Claims,
    pub(crate) cgroups: Cgroups,
    pub(crate) services: Informer<Service>,
    pub(crate) machine: Machine,
    /// The node's addresses.
    pub(crate) host_ips: Vec<String>,
    pub(crate) allocatable: crate::quantity::List,
    pub(crate) health: RwLock<Health>,
    pub(crate) started: Timestamp,
    pub(crate) pods: Mutex<HashMap<String, Handle>>,
    pub(crate) cancel: CancellationToken,
}

impl Agent {
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

    /// Ends the pod for a reason of the node's.
    pub(crate) fn evict(&self, uid: &str, verdict: Verdict, grace_secs: i64) {
        if let Some(handle) = self.pods.lock().get(uid) {
            handle.desired.send_modify(|desired| {
                desired.verdict.get_or_insert((verdict, grace_secs));
            });
        }
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
