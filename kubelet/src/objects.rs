//! ConfigMaps and Secrets that pods on this node refer to, each watched by name while some pod needs it.
//!
//! The node authorizer lets a kubelet read an object only by its name and only for its own pods, so there is no watch of the
//! whole kind. A change wakes the pods that use the object. Upstream: pkg/kubelet/util/manager/watch_based_manager.go.

use crate::{pod, start::keep};
use async_trait::async_trait;
use component::{Supervisor, supervisor::AbortOnDrop};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, Secret};
use kube::{Api, Client, Resource, runtime::watcher};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt::Debug,
    sync::Arc,
};

/// Why an object cannot be had.
#[derive(Debug, Clone)]
pub(crate) struct Error {
    pub(crate) not_found: bool,
    pub(crate) message: String,
}

/// Where volumes and environments get their objects.
#[async_trait]
pub(crate) trait Objects: Send + Sync {
    async fn config_map(&self, namespace: &str, name: &str) -> Result<Arc<ConfigMap>, Error>;
    async fn secret(&self, namespace: &str, name: &str) -> Result<Arc<Secret>, Error>;
}

/// What a pod refers to, by name in its own namespace.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct References {
    pub(crate) config_maps: BTreeSet<String>,
    pub(crate) secrets: BTreeSet<String>,
}

/// Every reference that a pod's spec makes.
pub(crate) fn references(pod: &Pod) -> References {
    let spec = pod::spec(pod);
    let mut all = References::default();
    all.secrets.extend(spec.image_pull_secrets.iter().flatten().map(|s| s.name.clone()));
    let ephemeral = pod::ephemeral(pod);
    let mut container = |c: &Container| {
        for source in c.env_from.iter().flatten() {
            all.config_maps.extend(source.config_map_ref.iter().map(|r| r.name.clone()));
            all.secrets.extend(source.secret_ref.iter().map(|r| r.name.clone()));
        }
        for source in c.env.iter().flatten().filter_map(|e| e.value_from.as_ref()) {
            all.config_maps.extend(source.config_map_key_ref.iter().map(|r| r.name.clone()));
            all.secrets.extend(source.secret_key_ref.iter().map(|r| r.name.clone()));
        }
    };
    spec.containers.iter().chain(pod::init_containers(pod)).chain(&ephemeral).for_each(&mut container);
    for volume in spec.volumes.iter().flatten() {
        all.config_maps.extend(volume.config_map.iter().map(|c| c.name.clone()));
        all.secrets.extend(volume.secret.iter().filter_map(|s| s.secret_name.clone()));
        for source in volume.projected.iter().flat_map(|p| p.sources.iter().flatten()) {
            all.config_maps.extend(source.config_map.iter().map(|c| c.name.clone()));
            all.secrets.extend(source.secret.iter().map(|s| s.name.clone()));
        }
    }
    all.config_maps.remove("");
    all.secrets.remove("");
    all
}

type Key = (String, String);
type Wake = Arc<dyn Fn(&str) + Send + Sync>;

/// The watched ones, over the API.
pub(crate) struct Watched {
    config_maps: Kind<ConfigMap>,
    secrets: Kind<Secret>,
}

impl Watched {
    /// `wake` is called with the uid of each pod that refers to a changed object.
    pub(crate) fn new(client: Client, wake: Wake, tasks: &Supervisor) -> Self {
        Self {
            config_maps: Kind::new(client.clone(), "configmap", wake.clone(), tasks.clone()),
            secrets: Kind::new(client, "secret", wake, tasks.clone()),
        }
    }

    /// Called with every version of the pod: what it no longer refers to is forgotten.
    pub(crate) fn register(&self, pod: &Pod) {
        let references = references(pod);
        self.config_maps.register(pod::uid(pod), pod::namespace(pod), references.config_maps);
        self.secrets.register(pod::uid(pod), pod::namespace(pod), references.secrets);
    }

    pub(crate) fn unregister(&self, uid: &str) {
        self.config_maps.register(uid, "", BTreeSet::new());
        self.secrets.register(uid, "", BTreeSet::new());
    }
}

#[async_trait]
impl Objects for Watched {
    async fn config_map(&self, namespace: &str, name: &str) -> Result<Arc<ConfigMap>, Error> {
        self.config_maps.get(namespace, name).await
    }
    async fn secret(&self, namespace: &str, name: &str) -> Result<Arc<Secret>, Error> {
        self.secrets.get(namespace, name).await
    }
}

/// Not yet listed, listed and absent, or there.
type Known<K> = Option<Option<Arc<K>>>;

struct Entry<K> {
    pods: HashSet<String>,
    known: Arc<Mutex<Known<K>>>,
    _watch: AbortOnDrop<()>,
}

struct Kind<K> {
    client: Client,
    name: &'static str,
    wake: Wake,
    tasks: Supervisor,
    entries: Arc<Mutex<HashMap<Key, Entry<K>>>>,
}

impl<K> Kind<K>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static,
{
    fn new(client: Client, name: &'static str, wake: Wake, tasks: Supervisor) -> Self {
        Self { client, name, wake, tasks, entries: Arc::default() }
    }

    fn register(&self, uid: &str, namespace: &str, names: BTreeSet<String>) {
        let mut entries = self.entries.lock();
        for ((entry_namespace, name), entry) in entries.iter_mut() {
            if entry_namespace != namespace || !names.contains(name) {
                entry.pods.remove(uid);
            }
        }
        entries.retain(|_, entry| !entry.pods.is_empty());
        for name in names {
            let key = (namespace.to_owned(), name);
            let entry = entries.entry(key.clone()).or_insert_with(|| self.watch(key));
            entry.pods.insert(uid.to_owned());
        }
    }

    fn watch(&self, key: Key) -> Entry<K> {
        let known = Arc::new(Mutex::new(None));
        let api = Api::<K>::namespaced(self.client.clone(), &key.0);
        let (name, held) = (format!("{} {}/{}", self.name, key.0, key.1), known.clone());
        let (entries, wake) = (self.entries.clone(), self.wake.clone());
        let watch = keep(&self.tasks, ("watch of an object", name), move || {
            follow(api.clone(), key.clone(), held.clone(), entries.clone(), wake.clone())
        });
        Entry { pods: HashSet::new(), known, _watch: watch.abort_on_drop() }
    }

    async fn get(&self, namespace: &str, name: &str) -> Result<Arc<K>, Error> {
        let key = (namespace.to_owned(), name.to_owned());
        let known = self.entries.lock().get(&key).and_then(|e| e.known.lock().clone());
        let found = match known {
            Some(known) => known,
            // The watch has not caught up with a new pod: ask.
            None => match Api::<K>::namespaced(self.client.clone(), namespace).get_opt(name).await {
                Ok(found) => found.map(Arc::new),
                Err(error) => return Err(Error { not_found: false, message: api_message(&error) }),
            },
        };
        found.ok_or_else(|| Error { not_found: true, message: format!("{} {name:?} not found", self.name) })
    }
}

/// The server's sentence where there is one.
pub(crate) fn api_message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

async fn follow<K>(
    api: Api<K>,
    key: Key,
    known: Arc<Mutex<Known<K>>>,
    entries: Arc<Mutex<HashMap<Key, Entry<K>>>>,
    wake: Wake,
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={}", key.1));
    let mut events = watcher(api, config).boxed();
    let mut listed = None;
    let mut failures = 0u32;
    loop {
        let value = match events.try_next().await {
            Ok(Some(watcher::Event::Init)) => {
                listed = None;
                continue;
            }
            Ok(Some(watcher::Event::InitApply(object))) => {
                listed = Some(Arc::new(object));
                continue;
            }
            Ok(Some(watcher::Event::InitDone)) => listed.take(),
            Ok(Some(watcher::Event::Apply(object))) => Some(Arc::new(object)),
            Ok(Some(watcher::Event::Delete(_))) => None,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(namespace = key.0, name = key.1, %error, "watch of an object failed");
                failures = (failures + 1).min(6);
                tokio::time::sleep(std::time::Duration::from_millis(500 << failures)).await;
                continue;
            }
        };
        failures = 0;
        let version = |k: &Option<Arc<K>>| k.as_ref().and_then(|k| k.meta().resource_version.clone());
        let before = known.lock().replace(value.clone());
        if before.is_none_or(|before| version(&before) != version(&value)) {
            let pods: Vec<String> =
                entries.lock().get(&key).map(|e| e.pods.iter().cloned().collect()).unwrap_or_default();
            pods.iter().for_each(|uid| wake(uid));
        }
    }
}
