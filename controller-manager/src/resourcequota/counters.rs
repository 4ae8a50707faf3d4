//! How many objects of a kind each namespace has: for the quotas that limit numbers, of whatever is served.
//!
//! Only kinds that a quota names are watched, their metadata alone; with no such quota there is nothing to pay.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use client::{Event, Reflector, Target};
use component::supervisor::AbortOnDrop;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::watch;
use usage::Evaluator;

use super::Waker;
use crate::{
    context::Context,
    util::discovery::{Resource, Served},
};

/// How long a count waits for a first list.
const WAIT: Duration = Duration::from_secs(2);

/// Group and plural.
type Kind = (String, String);

#[derive(Clone, Deserialize)]
struct Item {
    metadata: Meta,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    resource_version: String,
}

type Names = HashMap<String, BTreeSet<Box<str>>>;

struct Counter {
    resource: Resource,
    names: Arc<Mutex<Names>>,
    synced: watch::Receiver<bool>,
    /// The watch ends with this.
    _task: AbortOnDrop<()>,
}

/// See the module.
pub(crate) struct Counters {
    context: Context,
    waker: Waker,
    served: Served,
    running: Mutex<HashMap<Kind, Counter>>,
}

impl Counters {
    pub(crate) fn new(context: &Context, waker: Waker) -> Self {
        let served = Served::new(context.informers.client().clone());
        Self { context: context.clone(), waker, served, running: Mutex::default() }
    }

    /// The number of a kind's objects in a namespace; none if that can't be counted, or is not known yet.
    pub(crate) async fn number(&self, kind: &Kind, namespace: &str) -> Option<usize> {
        let known = self.running.lock().get(kind).map(|c| c.synced.clone());
        let mut synced = match known {
            Some(synced) => synced,
            None => {
                let is = |r: &Resource| quotable(r) && r.group == kind.0 && r.plural == kind.1;
                let found = self.served.find(is).await;
                let resource = found.inspect_err(|error| tracing::info!(?kind, %error, "not counted")).ok()??;
                let mut running = self.running.lock();
                let counter = running.entry(kind.clone()).or_insert_with(|| self.start(kind, resource));
                counter.synced.clone()
            }
        };
        tokio::time::timeout(WAIT, synced.wait_for(|s| *s)).await.ok()?.ok()?;
        let names = self.running.lock().get(kind)?.names.clone();
        let names = names.lock();
        Some(names.get(namespace).map_or(0, BTreeSet::len))
    }

    /// Stops watching what no quota names, and what is served no more or in another version.
    pub(crate) async fn retain(&self, wanted: &HashSet<Kind>) {
        self.running.lock().retain(|kind, _| wanted.contains(kind));
        if self.running.lock().is_empty() {
            return;
        }
        if let Some(all) = self.served.all().await {
            self.running.lock().retain(|_, counter| all.contains(&counter.resource));
        }
    }

    fn start(&self, kind: &Kind, resource: Resource) -> Counter {
        let target = Target { path: resource.path(""), query: String::new(), metadata_only: true };
        let name = target.path.clone();
        let reflector = Arc::new(Reflector { client: self.context.informers.client().clone(), target });
        let (done, synced) = watch::channel(false);
        let names: Arc<Mutex<Names>> = Arc::default();
        let (of_task, kind, waker) = (names.clone(), kind.clone(), self.waker.clone());
        let task = self.context.tasks.restarting(("resourcequota_counter", name), move |run| {
            let (reflector, names, done) = (reflector.clone(), of_task.clone(), done.clone());
            let (kind, waker) = (kind.clone(), waker.clone());
            async move {
                let mut listing = None;
                let sink = |event: Event<Item>| {
                    for namespace in apply(&names, &mut listing, event, &done) {
                        waker.wake(&Evaluator::of(&kind.0, &kind.1), namespace.as_deref());
                    }
                };
                reflector.run(run.token(), |i: &Item| Some(i.metadata.resource_version.as_str()), sink).await;
            }
        });
        Counter { resource, names, synced, _task: task.abort_on_drop() }
    }
}

/// What a quota can limit the number of.
fn quotable(resource: &Resource) -> bool {
    let ignored = resource.plural == "events" && matches!(resource.group.as_str(), "" | "events.k8s.io");
    resource.preferred && resource.namespaced && !ignored && resource.can(&["create", "delete", "list", "watch"])
}

/// Applies what happened, and says which namespaces have less now; `None` for all of them at once.
fn apply(
    names: &Mutex<Names>,
    listing: &mut Option<Names>,
    event: Event<Item>,
    done: &watch::Sender<bool>,
) -> Vec<Option<String>> {
    let add = |to: &mut Names, meta: Meta| to.entry(meta.namespace).or_default().insert(meta.name.into());
    match event {
        Event::Restart => *listing = Some(Names::new()),
        Event::Apply(item) => {
            match listing {
                Some(listing) => add(listing, item.metadata),
                None => add(&mut names.lock(), item.metadata),
            };
        }
        Event::Delete(Item { metadata: Meta { namespace, name, .. } }) => {
            if let Some(of) = names.lock().get_mut(&namespace) {
                of.remove(name.as_str());
            }
            return vec![Some(namespace)];
        }
        Event::Restarted(_) => {
            *names.lock() = listing.take().unwrap_or_default();
            // Those that asked before the first list wait for it; counting again could take back what was charged since.
            if done.send_replace(true) {
                return vec![None];
            }
        }
    }
    vec![]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn item(namespace: &str, name: &str) -> Item {
        serde_json::from_value(json!({"metadata": {"namespace": namespace, "name": name}})).unwrap()
    }

    #[test]
    fn numbers_follow_changes_and_a_list_replaces_them() {
        let (names, (done, synced)) = (Mutex::default(), watch::channel(false));
        let mut listing = None;
        let mut tell = |event| apply(&names, &mut listing, event, &done);
        let number = |namespace: &str| names.lock().get(namespace).map_or(0, BTreeSet::len);
        tell(Event::Restart);
        tell(Event::Apply(item("a", "1")));
        tell(Event::Apply(item("a", "2")));
        assert_eq!((number("a"), *synced.borrow()), (0, false), "a list that is not complete says nothing");
        assert!(tell(Event::Restarted("1".into())).is_empty(), "who waits for the first list is not woken again");
        assert_eq!((number("a"), *synced.borrow()), (2, true));
        assert!(tell(Event::Apply(item("a", "2"))).is_empty(), "a change is no more");
        tell(Event::Apply(item("b", "1")));
        assert_eq!(tell(Event::Delete(item("a", "1"))), [Some("a".to_owned())]);
        assert_eq!((number("a"), number("b")), (1, 1));
        tell(Event::Restart);
        assert_eq!(number("a"), 1, "what was known holds until the list is in");
        assert_eq!(tell(Event::Restarted("1".into())), [None]);
        assert_eq!((number("a"), number("b")), (0, 0));
    }

    #[test]
    fn what_is_namespaced_and_kept_is_quotable() {
        let resource = |group: &str, plural: &str, namespaced: bool, verbs: &[&str]| Resource {
            group: group.into(),
            version: "v1".into(),
            plural: plural.into(),
            kind: "K".into(),
            namespaced,
            preferred: true,
            verbs: verbs.iter().map(|v| (*v).to_owned()).collect(),
        };
        let all = ["create", "delete", "list", "watch", "get"];
        assert!(quotable(&resource("apps", "deployments", true, &all)));
        assert!(!quotable(&resource("", "nodes", false, &all)));
        assert!(!quotable(&resource("", "bindings", true, &["create"])));
        assert!(!quotable(&resource("events.k8s.io", "events", true, &all)));
        assert!(!quotable(&Resource { preferred: false, ..resource("apps", "deployments", true, &all) }));
    }
}
