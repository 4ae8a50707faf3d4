//! Kubelets without containers, of all nodes, and the ledger that they keep: one watch shows them the pods, each pod has a
//! task of its own that runs it, tells the server, and lets it go when that is asked for. A server that is away is waited
//! for: what ran goes on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use ferry_tests::hollow::{self, State};
use ferry_tests::ledger::{Ledger, Pod, Run, Seen, Step};
use http::Method;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use testkit::Caller;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::world::{ask, revision};

/// Between tries of a server that does not answer.
const PAUSE: Duration = Duration::from_millis(20);
/// How often a node renews its lease.
const RENEWS: Duration = Duration::from_secs(10);
/// How long a container of a job runs, at most.
const LONGEST_RUN_MS: u64 = 200;

/// The book of all kubelets.
#[derive(Default)]
pub struct Book {
    pub ledger: Ledger,
    /// The steps of controllers and scheduler, oldest first, with the uids of the pods' owners.
    pub steps: Vec<(String, Step)>,
}

/// See the module; all clones are the same.
#[derive(Clone)]
pub struct Kubelets {
    admin: Caller,
    book: Arc<Mutex<Book>>,
    changed: watch::Sender<()>,
    random: Arc<Mutex<StdRng>>,
}

/// How far the watch is, and the tasks of the pods that are bound, by uid.
struct Following {
    revision: i64,
    pods: HashMap<String, watch::Sender<Value>>,
    tasks: JoinSet<()>,
}

impl Kubelets {
    pub fn new(admin: Caller, seed: u64) -> Self {
        let random = Arc::new(Mutex::new(StdRng::seed_from_u64(seed)));
        Self { admin, book: Arc::default(), changed: watch::Sender::new(()), random }
    }

    /// Reads the book.
    pub fn read<T>(&self, read: impl FnOnce(&Book) -> T) -> T {
        read(&self.book.lock())
    }

    /// Waits until the book says so.
    pub async fn until(&self, says: impl Fn(&Book) -> bool) {
        let mut changed = self.changed.subscribe();
        while !self.read(&says) {
            // They write as long as the test runs.
            let _ = changed.changed().await;
        }
    }

    /// Registers the nodes, and renews their leases until it is dropped.
    pub async fn nodes(&self, names: Vec<String>) -> anyhow::Result<impl Future<Output = ()> + use<>> {
        for name in &names {
            hollow::register(name, 1, &self.admin).await?;
        }
        let admin = self.admin.clone();
        Ok(async move {
            for turn in 1_u64.. {
                tokio::time::sleep(RENEWS).await;
                for name in &names {
                    let path = format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}");
                    let renewed = format!("2100-01-01T00:{:02}:{:02}.000000Z", turn / 60 % 60, turn % 60);
                    let patch = json!({"spec": {"renewTime": renewed}});
                    let kind = "application/merge-patch+json";
                    // One that is missed is made up for by the next.
                    let _ = admin.send_as(Method::PATCH, &path, kind, Some(&patch)).await;
                }
            }
        })
    }

    /// Runs what is bound to nodes, from now on.
    ///
    /// # Errors
    /// The watch has lost something, so that the ledger would not be whole.
    pub async fn run(self) -> anyhow::Result<()> {
        let list = self.admin.get("/api/v1/pods?limit=1").await?;
        let items = list.body["items"].as_array().context("no list of pods")?;
        ensure!(items.is_empty(), "there are pods already");
        let mut following = Following { revision: revision(&list.body), pods: HashMap::new(), tasks: JoinSet::new() };
        loop {
            let path = format!("/api/v1/pods?watch=1&allowWatchBookmarks=true&resourceVersion={}", following.revision);
            let opened = self.admin.open(&path).await;
            let Some(mut events) = opened.ok().filter(|events| matches!(events.code, 200 | 410)) else {
                // The server is away, or starts.
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            while let Some(mut event) = events.next().await {
                let object = event["object"].take();
                if event["type"] == "ERROR" {
                    // A server that has just started knows of nothing before.
                    ensure!(object["code"] == 410, "the watch from {} ends: {object}", following.revision);
                    self.catch_up(&mut following).await?;
                    break;
                }
                following.revision = revision(&object);
                match event["type"].as_str() {
                    Some("BOOKMARK") => {}
                    kind => self.see(&mut following, object, kind == Some("DELETED")),
                }
                while let Some(ended) = following.tasks.try_join_next() {
                    ended?;
                }
            }
        }
    }

    /// Sees what no watch shows: revision by revision where the order matters, all others as they are in the end.
    async fn catch_up(&self, following: &mut Following) -> anyhow::Result<()> {
        let now = revision(&ask(&self.admin, &Method::GET, "/api/v1/pods?limit=1", None).await.body);
        for at in following.revision + 1..=now {
            let selector = if at < now { "&labelSelector=app+in+(ordered,sparing,surging)" } else { "" };
            let path = format!("/api/v1/pods?resourceVersion={at}&resourceVersionMatch=Exact{selector}");
            let mut list = ask(&self.admin, &Method::GET, &path, None).await;
            ensure!(list.code == 200, "{path}: {}", list.body);
            let items = list.body["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
            let there: HashMap<&str, &Value> =
                items.iter().map(|pod| (pod["metadata"]["uid"].as_str().unwrap_or_default(), pod)).collect();
            let concerns =
                |pod: &Pod| at == now || ["ordered-", "sparing-", "surging-"].iter().any(|of| pod.name.starts_with(of));
            let known: HashMap<String, Pod> = self.read(|book| {
                book.ledger.pods().filter(|pod| concerns(pod)).map(|pod| (pod.uid.clone(), pod.clone())).collect()
            });
            following.revision = at;
            for (uid, pod) in &known {
                if !there.contains_key(uid.as_str()) {
                    self.gone(following, pod.clone());
                }
            }
            for pod in there.into_values() {
                if known.get(pod["metadata"]["uid"].as_str().unwrap_or_default()) != Some(&Pod::of(pod)) {
                    self.see(following, pod.clone(), false);
                }
            }
        }
        Ok(())
    }

    /// Notes a pod as it is now, and has its task know.
    fn see(&self, following: &mut Following, object: Value, gone: bool) {
        let pod = Pod::of(&object);
        if gone {
            return self.gone(following, pod);
        }
        let (uid, bound) = (pod.uid.clone(), !pod.node.is_empty());
        self.book(Seen { revision: following.revision, gone, pod });
        match following.pods.get(&uid) {
            Some(known) => drop(known.send_replace(object)),
            None if bound => {
                let (sender, receiver) = watch::channel(object);
                following.pods.insert(uid, sender);
                let kubelets = self.clone();
                following.tasks.spawn(async move { kubelets.tend(receiver).await });
            }
            None => {}
        }
    }

    fn gone(&self, following: &mut Following, pod: Pod) {
        following.pods.remove(&pod.uid);
        self.book(Seen { revision: following.revision, gone: true, pod });
    }

    fn book(&self, seen: Seen) {
        let mut book = self.book.lock();
        let owner = seen.pod.owner.clone();
        let step = book.ledger.see(seen);
        if step != Step::Other {
            book.steps.push((owner, step));
        }
        drop(book);
        self.changed.send_replace(());
    }

    /// A pod's whole life on its node.
    async fn tend(self, mut pod: watch::Receiver<Value>) {
        let going = |pod: &Value| !pod["metadata"]["deletionTimestamp"].is_null();
        let object = pod.borrow().clone();
        let is = Pod::of(&object);
        let of_job = is.index.is_some() || object["metadata"]["labels"]["batch.kubernetes.io/job-name"].is_string();
        if !going(&object) {
            self.note(Run::Began(is.uid.clone(), is.name.clone()));
            if !self.tell(&object, State::Running).await {
                return self.note(Run::Ended(is.uid, false));
            }
            let runs_for = match of_job {
                true => Duration::from_millis(self.random.lock().random_range(0..LONGEST_RUN_MS)),
                false => Duration::MAX,
            };
            // Its sender goes with the pod.
            let stopped = pod.wait_for(going);
            let done = tokio::time::timeout(runs_for, stopped).await.map(|stopped| stopped.is_ok());
            self.note(Run::Ended(is.uid.clone(), done.is_err()));
            let told = match done {
                Err(_) => self.tell(&object, State::Ended(0)).await,
                Ok(true) if of_job => self.tell(&object, State::Ended(137)).await,
                Ok(there) => there,
            };
            if !told {
                return;
            }
        }
        if pod.wait_for(going).await.is_ok() {
            self.persist(|| hollow::let_go(&self.admin, &object)).await;
        }
    }

    fn note(&self, run: Run) {
        self.book.lock().ledger.ran(run);
    }

    /// False if the pod is gone.
    async fn tell(&self, pod: &Value, state: State) -> bool {
        self.persist(|| hollow::tell(&self.admin, pod, state)).await
    }

    /// Says something to the server until it has heard it. False if there is no such pod any more.
    async fn persist<F>(&self, say: impl Fn() -> F) -> bool
    where
        F: Future<Output = anyhow::Result<testkit::Answer>>,
    {
        loop {
            match say().await.map(|answer| answer.code) {
                Ok(200) => return true,
                // Another of its name, or none.
                Ok(404 | 409) => return false,
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}
