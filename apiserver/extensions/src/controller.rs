//! Serves custom resources as their definitions come, change and go: one task that follows the cache of definitions, and
//! for each name that changed brings what is served, and the definition's status, in line with what it finds. It is told
//! names, never what happened to them.
//!
//! Rows and caches are there before the status says so: who waits for `Established` finds the resource.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use cache::WatchCache;
use component::supervisor::detached;
use futures::StreamExt;
use futures::future::{BoxFuture, join_all};
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use machinery::gvk::GroupResource;
use machinery::meta;
use machinery::status::StatusError;
use machinery::time::rfc3339;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use writes::Registry;
use writes::strategy::Kind;

use super::definition::{Definition, Stamp, is_true};
use super::naming::{self, Taken};
use super::strategy::CLEANUP;
use super::{conditions, finalize, rows};

/// How long a definition whose reconciliation failed waits for the next try.
const AGAIN: Duration = Duration::from_millis(500);

/// The resource of definitions.
pub fn definitions() -> GroupResource {
    GroupResource::new("apiextensions.k8s.io", "customresourcedefinitions")
}

struct Served {
    stamp: Stamp,
    prefix: String,
    rows: Vec<Kind>,
}

/// What is served now.
pub struct Extensions {
    registry: Arc<Registry>,
    cache: Arc<WatchCache>,
    served: HashMap<String, Served>,
    /// Definitions whose objects are being deleted.
    finalizing: HashSet<String>,
    finalizers: FuturesUnordered<BoxFuture<'static, String>>,
}

impl Extensions {
    /// Serves what is established already: a server that starts does not forget what it served before.
    pub async fn start(registry: Arc<Registry>) -> Option<Self> {
        let row = registry.rows().of(&definitions())?.clone();
        let cache = registry.cache(&row)?;
        let mut this = Self {
            registry,
            cache,
            served: HashMap::new(),
            finalizing: HashSet::new(),
            finalizers: FuturesUnordered::new(),
        };
        let found = this.registry.list(&definitions(), None);
        let all: Vec<Arc<Definition>> = found.iter().filter_map(|d| Definition::read(d)).map(Arc::new).collect();
        let stored: Vec<Kind> = all.iter().filter_map(rows::stored).collect();
        join_all(stored.into_iter().map(|row| this.registry.feed().join(row.row))).await;
        for definition in all {
            this.keep(&definition);
        }
        this.publish();
        Some(this)
    }

    /// Follows the definitions until cancelled.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut todo: BTreeSet<String> = self.all();
        let mut revision = self.cache.snapshot().revision;
        loop {
            let mut failed = BTreeSet::new();
            while let Some(name) = todo.pop_first() {
                match self.reconcile(&name).await {
                    Ok(again) => todo.extend(again.into_iter().filter(|other| *other != name)),
                    Err(error) => {
                        tracing::warn!(%error, definition = %name, "a definition could not be reconciled");
                        failed.insert(name);
                    }
                }
            }
            let mut watcher = match self.cache.watch(revision) {
                Ok(watcher) => watcher,
                Err(_) => {
                    revision = self.cache.snapshot().revision;
                    todo = self.all();
                    continue;
                }
            };
            tokio::select! {
                () = cancel.cancelled() => return,
                batch = watcher.next() => match batch {
                    Ok(batch) => {
                        revision = watcher.cursor();
                        todo.extend(batch.iter().map(|change| change.entry.name().to_string()));
                    }
                    Err(_) => {
                        revision = self.cache.snapshot().revision;
                        todo = self.all();
                    }
                },
                Some(name) = self.finalizers.next(), if !self.finalizers.is_empty() => {
                    self.finalizing.remove(&name);
                    todo.insert(name);
                }
                () = tokio::time::sleep(AGAIN), if !failed.is_empty() => {}
            }
            todo.extend(failed);
        }
    }

    fn all(&self) -> BTreeSet<String> {
        let found = self.cache.snapshot();
        let there = found.objects.values().map(|entry| entry.name().to_string());
        there.chain(self.served.keys().cloned()).collect()
    }

    /// Brings one definition in line; the names of others that may be affected.
    async fn reconcile(&mut self, name: &str) -> Result<Vec<String>, StatusError> {
        let Some(definition) = self.registry.get(&definitions(), None, name) else {
            self.finalizing.remove(name);
            if let Some(served) = self.served.remove(name) {
                self.publish();
                self.registry.feed().leave(&served.prefix).await;
            }
            return Ok(self.refused());
        };
        let group = definition["spec"]["group"].clone();
        let others = self.registry.list(&definitions(), None);
        let others: Vec<&Value> = others.iter().map(|d| &**d).filter(|d| d["spec"]["group"] == group).collect();
        let taken = Taken::by(others);
        let now = rfc3339(Timestamp::now());
        let decided = decide(&definition, &taken, &now);
        self.serve(&decided).await;
        if decided != *definition {
            let change = &mut |stored: &Value| Ok(decide(stored, &taken, &now));
            match self.registry.update_part(&definitions(), None, name, "status", change).await {
                // Deleted meanwhile: its event comes.
                Err(error) if error.is_not_found() => {}
                outcome => drop(outcome?),
            }
            // The next definition must see the names that this one has now.
            self.registry.feed().caught_up().await?;
        }
        let held =
            meta::deletion_timestamp(&definition).is_some() && meta::finalizers(&definition).any(|f| f == CLEANUP);
        if held && self.finalizing.insert(name.to_string()) {
            let (registry, name) = (self.registry.clone(), name.to_string());
            let of = name.clone();
            let finalizer = detached("finalizer of a definition", async move {
                if let Err(error) = finalize::finalize(&registry, &of).await {
                    tracing::warn!(%error, definition = %of, "objects of a definition are left: trying again");
                    tokio::time::sleep(AGAIN).await;
                }
            });
            let finalizer = finalizer.abort_on_drop();
            self.finalizers.push(Box::pin(async move {
                if finalizer.await.is_err() {
                    tokio::time::sleep(AGAIN).await;
                }
                name
            }));
        }
        let freed = definition["status"]["acceptedNames"] != decided["status"]["acceptedNames"];
        Ok(if freed { self.refused() } else { Vec::new() })
    }

    /// Serves a definition as it is now, or no longer.
    async fn serve(&mut self, definition: &Value) {
        let name = meta::name(definition);
        let stamp = Stamp::of(definition);
        let before = self.served.get(name);
        if before.is_some_and(|served| served.stamp == stamp) {
            return;
        }
        let Some(read) = Definition::read(definition).map(Arc::new) else { return };
        let same_objects =
            before.is_some_and(|served| served.stamp.uid == stamp.uid && served.stamp.generation == stamp.generation);
        if !same_objects && let Some(stored) = rows::stored(&read) {
            self.registry.feed().join(stored.row).await;
        }
        self.keep(&read);
        self.publish();
    }

    fn keep(&mut self, definition: &Arc<Definition>) {
        let served =
            Served { stamp: definition.stamp.clone(), prefix: rows::prefix(definition), rows: rows::rows(definition) };
        self.served.insert(definition.name.clone(), served);
    }

    fn publish(&self) {
        let mut served: Vec<(&String, &Served)> = self.served.iter().collect();
        served.sort_by_key(|(name, _)| *name);
        self.registry.serve_custom(served.into_iter().flat_map(|(_, served)| served.rows.iter().cloned()));
    }

    /// Definitions that did not get all their names.
    fn refused(&self) -> Vec<String> {
        let all = self.registry.list(&definitions(), None);
        all.iter().filter(|d| !is_true(d, "NamesAccepted")).map(|d| meta::name(d).to_string()).collect()
    }
}

/// A definition with the status that it is to have.
fn decide(definition: &Value, taken: &Taken, now: &str) -> Value {
    let mut decided = definition.clone();
    if let Some(approval) = conditions::approval(definition) {
        conditions::set(&mut decided, &approval, now);
    }
    match conditions::non_structural(definition) {
        Some(fault) => conditions::set(&mut decided, &fault, now),
        None => conditions::remove(&mut decided, conditions::NON_STRUCTURAL),
    }
    naming::decide(&mut decided, taken, now);
    decided
}
