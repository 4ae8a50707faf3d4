//! The garbage collector: what is owned goes with its owners, in the background, in the foreground, or not at all.
//!
//! Upstream: `pkg/controller/garbagecollector`. It watches the metadata of everything that can be deleted, listed and
//! watched. The graph only says what to look at: before anything is deleted, the object and its owners are read from
//! the server. Custom resources come and go, so definitions and aggregated APIs are watched for when to discover anew.

mod graph;
mod process;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use client::{Event, Reflector, Target};
use component::supervisor::AbortOnDrop;
use controller::{Queue, run_workers};
use futures::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};

use crate::{
    context::Context,
    metrics,
    util::discovery::{self, Resource},
};
use graph::{Graph, Identity, Item, Kind, Uid, Work, group};

/// Changes of the served kinds come in bursts; one discovery for all.
const SETTLE: Duration = Duration::from_secs(2);
/// A discovery that failed in part is tried again.
const RETRY: Duration = Duration::from_secs(30);
/// Kinds that make kinds: when one of these changes, so may what is served.
const KINDS_OF_KINDS: [(&str, &str); 2] =
    [("apiextensions.k8s.io", "customresourcedefinitions"), ("apiregistration.k8s.io", "apiservices")];
/// Written without owners, and in numbers.
const IGNORED: [(&str, &str); 2] = [("", "events"), ("events.k8s.io", "events")];

/// Runs the garbage collector.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

/// A watch of one kind.
struct Watched {
    /// Ends with this.
    _task: AbortOnDrop<()>,
    synced: watch::Receiver<bool>,
}

struct Shell {
    context: Context,
    graph: Mutex<Graph>,
    queue: Queue<Work>,
    /// Everything served, in all versions: to find the resource of a reference.
    resources: RwLock<HashMap<(String, String, String), Resource>>,
    numbers: Mutex<HashMap<(String, String), Kind>>,
}

async fn run(context: Context) -> anyhow::Result<()> {
    let (cancel, workers) = (context.cancel.clone(), context.config.concurrent_gc_syncs);
    let shell = Arc::new(Shell {
        context,
        graph: Mutex::default(),
        queue: Queue::new(),
        resources: RwLock::default(),
        numbers: Mutex::default(),
    });
    let (ready, mut is_ready) = watch::channel(false);
    let discovering = shell.context.tasks.until_stopped(shell.clone().keep_watching(ready));
    let working = async {
        // Deciding on half a graph would only ask the server more often; it can't delete wrongly.
        let synced = async { is_ready.wait_for(|r| *r).await.is_ok() };
        if cancel.run_until_cancelled(synced).await == Some(true) {
            run_workers(shell.context.name, &shell.queue, workers, cancel.clone(), |work| shell.reconcile(work)).await;
        }
    };
    tokio::join!(discovering, working);
    Ok(())
}

impl Shell {
    /// Rings when something at `path` changes; the objects themselves are not kept.
    fn notice(&self, path: String, changed: Arc<Notify>) {
        let target = Target { path, query: String::new(), metadata_only: true };
        let name = target.path.clone();
        let reflector = Arc::new(Reflector { client: self.context.informers.client().clone(), target });
        self.context.tasks.restarting(("garbage_collector_kinds", name), move |run| {
            let (reflector, changed) = (reflector.clone(), changed.clone());
            async move {
                let sink = |event: Event<Item>| {
                    if !matches!(event, Event::Restart) {
                        changed.notify_one();
                    }
                };
                reflector.run(run.token(), |i: &Item| i.metadata.resource_version.as_deref(), sink).await;
            }
        });
    }

    async fn keep_watching(self: Arc<Self>, ready: watch::Sender<bool>) {
        let changed = Arc::new(Notify::new());
        let mut watched: HashMap<Resource, Watched> = HashMap::new();
        let mut noticed: HashSet<String> = HashSet::new();
        loop {
            let complete = match discovery::discover(self.context.informers.client()).await {
                Ok(found) => {
                    let complete = found.failed.is_empty();
                    self.resync(&found, &mut watched);
                    let makes_kinds =
                        |r: &&Resource| r.preferred && KINDS_OF_KINDS.contains(&(r.group.as_str(), r.plural.as_str()));
                    for path in found.resources.iter().filter(makes_kinds).map(|r| r.path("")) {
                        if noticed.insert(path.clone()) {
                            self.notice(path, changed.clone());
                        }
                    }
                    for w in watched.values_mut() {
                        let synced = w.synced.wait_for(|s| *s);
                        // One kind that can't be listed must not hold up the others.
                        let _ = tokio::time::timeout(RETRY, synced).await;
                    }
                    ready.send_replace(true);
                    complete
                }
                Err(error) => {
                    tracing::warn!(%error, "garbage collector: discovery failed");
                    metrics::GARBAGE_SYNC_ERRORS.with(&[]).add(1);
                    false
                }
            };
            let again = async {
                match complete {
                    true => std::future::pending().await,
                    false => tokio::time::sleep(RETRY).await,
                }
            };
            tokio::select! {
                () = changed.notified() => {}
                () = again => {}
            }
            tokio::time::sleep(SETTLE).await;
        }
    }

    /// Watches what is new and stops watching what is gone. A group that did not answer is left as it was.
    fn resync(self: &Arc<Self>, found: &discovery::Discovered, watched: &mut HashMap<Resource, Watched>) {
        let key = |r: &Resource| (r.group.clone(), r.version.clone(), r.kind.clone());
        let mut resources = self.resources.write();
        if found.failed.is_empty() {
            resources.clear();
        }
        resources.extend(found.resources.iter().map(|r| (key(r), r.clone())));
        drop(resources);
        let wanted = found.resources.iter().filter(|r| {
            let ignored = IGNORED.contains(&(r.group.as_str(), r.plural.as_str()));
            r.preferred && !ignored && r.can(&["delete", "list", "watch"])
        });
        let wanted: HashSet<&Resource> = wanted.collect();
        if found.failed.is_empty() {
            let gone: Vec<_> = watched.extract_if(|resource, _| !wanted.contains(resource)).collect();
            for (resource, watch) in gone {
                drop(watch);
                let work = self.graph.lock().retain(self.number(&resource), &HashSet::new());
                work.into_iter().for_each(|w| self.queue.add(w));
            }
        }
        for resource in wanted {
            if !watched.contains_key(resource) {
                watched.insert(resource.clone(), self.watch(resource.clone()));
            }
        }
    }

    /// One number for a kind in whatever version it is watched.
    fn number(&self, resource: &Resource) -> Kind {
        let mut numbers = self.numbers.lock();
        let next = numbers.len() as Kind;
        *numbers.entry((resource.group.clone(), resource.plural.clone())).or_insert(next)
    }

    fn watch(self: &Arc<Self>, resource: Resource) -> Watched {
        let target = Target { path: resource.path(""), query: String::new(), metadata_only: true };
        let reflector = Arc::new(Reflector { client: self.context.informers.client().clone(), target });
        let (done, synced) = watch::channel(false);
        let (shell, kind, name) = (self.clone(), self.number(&resource), resource.path(""));
        let task = self.context.tasks.restarting(("garbage_collector_watch", name), move |run| {
            let (reflector, shell, resource, done) = (reflector.clone(), shell.clone(), resource.clone(), done.clone());
            async move {
                let mut seen = None;
                let sink = |event: Event<Item>| shell.seen(kind, &resource, event, &mut seen, &done);
                reflector.run(run.token(), |i: &Item| i.metadata.resource_version.as_deref(), sink).await;
            }
        });
        Watched { _task: task.abort_on_drop(), synced }
    }

    /// `seen`: while a list comes in, the objects it has shown so far.
    fn seen(
        &self,
        kind: Kind,
        resource: &Resource,
        event: Event<Item>,
        seen: &mut Option<HashSet<Uid>>,
        done: &watch::Sender<bool>,
    ) {
        let work = match event {
            Event::Restart => {
                *seen = Some(HashSet::new());
                vec![]
            }
            Event::Apply(item) => {
                if let Some(seen) = seen {
                    seen.insert(Uid::new(&item.metadata.uid));
                }
                let identity = Identity {
                    api_version: resource.api_version().into(),
                    kind: resource.kind.as_str().into(),
                    namespace: item.metadata.namespace.as_str().into(),
                    name: item.metadata.name.as_str().into(),
                    uid: item.metadata.uid.as_str().into(),
                };
                self.graph.lock().apply(kind, identity, &item.metadata)
            }
            Event::Delete(item) => self.graph.lock().delete(Uid::new(&item.metadata.uid)),
            Event::Restarted(_) => {
                let work = self.graph.lock().retain(kind, &seen.take().unwrap_or_default());
                done.send_replace(true);
                work
            }
        };
        work.into_iter().for_each(|w| self.queue.add(w));
    }

    /// The resource that a reference means.
    fn resource(&self, api_version: &str, kind: &str) -> Option<Resource> {
        let version = api_version.rsplit('/').next().unwrap_or_default();
        let key = (group(api_version).to_owned(), version.to_owned(), kind.to_owned());
        self.resources.read().get(&key).cloned()
    }
}
