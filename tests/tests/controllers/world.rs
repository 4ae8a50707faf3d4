//! A server and a controller manager in one process, each controller under its own identity and role. The requests of
//! the controllers are noted, and can be answered in the server's place; their watches can be made to lag; they can be made
//! to die between two writes.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Poller, Poll, ready};
use std::time::Duration;

use anyhow::Context;
use controller_manager::Config;
use http::{Method, Request, Response};
use hyper::body::{Bytes, Frame};
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use testkit::{Answer, Caller, Cluster, Lines};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes, on a machine that does something else too.
const LIMIT: Duration = Duration::from_secs(60);

/// A request of a controller, answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// The service account that sent it.
    pub account: &'static str,
    pub method: Method,
    pub path: String,
    pub code: u16,
}

/// What befalls the controllers at one of their writes; events are none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mishap {
    /// They die after so many writes: nothing that they ask after that is heard.
    DieAfter(usize),
    /// The write after so many is done, and they are not told.
    LoseAnswerAfter(usize),
}

/// How many writes there were, and whether it has happened.
#[derive(Default)]
struct Fate {
    mishap: Option<Mishap>,
    writes: usize,
    struck: watch::Sender<bool>,
}

/// What becomes of one request.
#[derive(PartialEq)]
enum Heard {
    Yes,
    Never,
    NotTheAnswer,
}

impl Fate {
    fn of(&mut self, method: &Method, path: &str) -> Heard {
        let Some(mishap) = self.mishap else { return Heard::Yes };
        if *method == Method::GET || path.contains("/events") {
            return Heard::Yes;
        }
        let (heard, at) = match mishap {
            Mishap::DieAfter(at) => (Heard::Never, self.writes >= at),
            Mishap::LoseAnswerAfter(at) => (Heard::NotTheAnswer, self.writes == at),
        };
        self.writes += 1;
        if !at {
            return Heard::Yes;
        }
        self.struck.send_replace(true);
        heard
    }
}

/// Answers a request of a controller in the server's place, by code and message, if it wants to.
type Refusal = Box<dyn FnMut(&Method, &str) -> Option<(u16, &'static str)> + Send>;

/// Controllers that run until this is dropped.
pub struct World {
    pub cluster: Cluster,
    pub admin: Caller,
    sent: Arc<Mutex<Vec<Sent>>>,
    /// Told of each of these.
    noted: watch::Sender<()>,
    refusal: Arc<Mutex<Option<Refusal>>>,
    fate: Arc<Mutex<Fate>>,
    /// What the server itself would not answer, by path.
    answers: Arc<Mutex<HashMap<String, Value>>>,
    /// The collection whose watches show nothing.
    lagging: watch::Sender<Option<&'static str>>,
    cancel: CancellationToken,
    running: Option<JoinHandle<anyhow::Result<()>>>,
}

impl World {
    /// A server; no controller runs yet.
    pub async fn new() -> anyhow::Result<Self> {
        let cluster = Cluster::start().await?;
        let admin = cluster.admin();
        Ok(Self {
            cluster,
            admin,
            sent: Arc::default(),
            noted: watch::Sender::default(),
            refusal: Arc::default(),
            fate: Arc::default(),
            answers: Arc::default(),
            lagging: watch::Sender::default(),
            cancel: CancellationToken::new(),
            running: None,
        })
    }

    /// A server and these controllers.
    pub async fn with(controllers: &[&str]) -> anyhow::Result<Self> {
        let mut world = Self::new().await?;
        world.start(controllers);
        Ok(world)
    }

    /// Starts the controllers, each with one worker: keys are taken in the order in which they were queued.
    pub fn start(&mut self, controllers: &[&str]) {
        self.start_with(controllers, |_| {});
    }

    /// The same, with what `change` makes of their configuration.
    pub fn start_with(&mut self, controllers: &[&str], change: impl FnOnce(&mut Config)) {
        let groups = ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"];
        let clients: Vec<(&str, Caller)> = ACCOUNTS
            .iter()
            .map(|account| {
                let user = format!("system:serviceaccount:kube-system:{account}");
                (*account, self.cluster.caller(&user, &groups))
            })
            .collect();
        let notes = Notes {
            sent: self.sent.clone(),
            noted: self.noted.clone(),
            refusal: self.refusal.clone(),
            fate: self.fate.clone(),
            answers: self.answers.clone(),
        };
        let client_for = move |account: &'static str| {
            let own = clients.iter().find(|(name, _)| *name == account).map(|(_, caller)| caller.kube());
            let client = own.map(|client| noting(client, account, notes.clone()));
            Box::pin(async move { client.with_context(|| format!("no identity for {account}")) }) as _
        };
        let mut config = Config {
            controllers: controllers.iter().map(|name| (*name).to_owned()).collect(),
            client_for: Some(Arc::new(client_for)),
            concurrent_cron_job_syncs: 1,
            concurrent_daemonset_syncs: 1,
            concurrent_device_taint_eviction_syncs: 1,
            concurrent_deployment_syncs: 1,
            concurrent_endpoint_syncs: 1,
            concurrent_horizontal_pod_autoscaler_syncs: 1,
            concurrent_job_syncs: 1,
            concurrent_resourceclaim_syncs: 1,
            concurrent_resource_quota_syncs: 1,
            mirroring_concurrent_service_endpoint_syncs: 1,
            concurrent_replicaset_syncs: 1,
            concurrent_rc_syncs: 1,
            concurrent_statefulset_syncs: 1,
            concurrent_ttl_after_finished_syncs: 1,
            ..Config::default()
        };
        change(&mut config);
        let manager = self.cluster.caller("system:kube-controller-manager", &["system:authenticated"]).kube();
        let manager = lagging(manager, &self.lagging);
        self.running = Some(tokio::spawn(controller_manager::run(config, manager, self.cancel.clone())));
    }

    /// Stops the controllers; those that are started after it know nothing of them.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        std::mem::take(&mut self.cancel).cancel();
        match self.running.take() {
            Some(running) => running.await?,
            None => Ok(()),
        }
    }

    /// Waits for the service accounts of all namespaces: writes that are counted from then on are those of a test.
    pub async fn accounts(&self) -> anyhow::Result<()> {
        for namespace in ["default", "kube-node-lease", "kube-public", "kube-system"] {
            self.until(&format!("/api/v1/namespaces/{namespace}/serviceaccounts/default"), |_| true).await?;
        }
        Ok(())
    }

    /// From now on their writes are counted, and this befalls them. What is handed out says when it has.
    pub fn meet(&self, mishap: Mishap) -> watch::Receiver<bool> {
        let mut fate = self.fate.lock();
        *fate = Fate { mishap: Some(mishap), ..Fate::default() };
        fate.struck.subscribe()
    }

    /// From now on nothing befalls them.
    pub fn meet_nothing(&self) {
        self.fate.lock().mishap = None;
    }

    /// From now on this may answer the requests of the controllers.
    pub fn refuse(&self, refusal: impl FnMut(&Method, &str) -> Option<(u16, &'static str)> + Send + 'static) {
        *self.refusal.lock() = Some(Box::new(refusal));
    }

    /// From now on a path that the controllers read is answered so.
    pub fn answer(&self, path: &str, answer: Value) {
        self.answers.lock().insert(path.to_owned(), answer);
    }

    /// From now on the server answers everything again.
    pub fn refuse_nothing(&self) {
        *self.refusal.lock() = None;
    }

    /// From now on the controllers see no change of this collection, until this is called with another or none.
    pub fn lag(&self, collection: Option<&'static str>) {
        self.lagging.send_replace(collection);
    }

    /// What the controllers have sent so far, in the order of the answers.
    pub fn sent(&self) -> Vec<Sent> {
        self.sent.lock().clone()
    }

    /// Waits until the controllers have sent so many of these.
    pub async fn until_sent(&self, count: usize, wanted: impl Fn(&Sent) -> bool) -> anyhow::Result<()> {
        let mut notes = self.noted.subscribe();
        let enough = || self.sent.lock().iter().filter(|sent| wanted(sent)).count() >= count;
        let wait = async {
            while !enough() {
                notes.changed().await?;
            }
            anyhow::Ok(())
        };
        match tokio::time::timeout(LIMIT, wait).await {
            Ok(outcome) => outcome,
            Err(_) => anyhow::bail!("that is not sent: {:#?}", self.sent()),
        }
    }

    /// Creates an object.
    pub async fn create(&self, collection: &str, object: Value) -> anyhow::Result<Value> {
        expect(201, self.admin.send(Method::POST, collection, Some(&object)).await?)
    }

    /// Defines a kind and waits until it is served.
    pub async fn define(&self, definition: Value) -> anyhow::Result<()> {
        let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let made = self.create(definitions, definition).await?;
        let established = |now: &Value| {
            let conditions = now["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.iter().any(|c| c["type"] == "Established" && c["status"] == "True")
        };
        let name = made["metadata"]["name"].as_str().unwrap_or_default();
        self.until(&format!("{definitions}/{name}"), established).await?;
        Ok(())
    }

    /// Changes an object by a merge patch.
    pub async fn patch(&self, path: &str, patch: Value) -> anyhow::Result<Value> {
        expect(200, self.admin.send_as(Method::PATCH, path, "application/merge-patch+json", Some(&patch)).await?)
    }

    /// Changes an object by a strategic merge patch, as `kubectl rollout undo` does.
    pub async fn merge(&self, path: &str, patch: &Value) -> anyhow::Result<Value> {
        let kind = "application/strategic-merge-patch+json";
        expect(200, self.admin.send_as(Method::PATCH, path, kind, Some(patch)).await?)
    }

    /// Says of a pod what its kubelet would: that it is in this phase, and since when it is ready if it is.
    pub async fn report(&self, pod: &str, phase: &str, ready_since: Option<&str>) -> anyhow::Result<()> {
        let status = if ready_since.is_some() { "True" } else { "False" };
        let since = ready_since.unwrap_or("2020-01-01T00:00:00Z");
        let ready = json!({"type": "Ready", "status": status, "lastTransitionTime": since});
        self.patch(&format!("{pod}/status"), json!({"status": {"phase": phase, "conditions": [ready]}})).await?;
        Ok(())
    }

    /// The objects of a collection that are not on their way out.
    pub async fn list(&self, collection: &str) -> anyhow::Result<Vec<Value>> {
        let items = self.get(collection).await?["items"].as_array().cloned().unwrap_or_default();
        Ok(items.into_iter().filter(|object| object["metadata"]["deletionTimestamp"].is_null()).collect())
    }

    /// Deletes an object, or asks for it.
    pub async fn delete(&self, path: &str) -> anyhow::Result<Value> {
        expect(200, self.admin.send(Method::DELETE, path, None).await?)
    }

    /// The object, now.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        expect(200, self.admin.get(path).await?)
    }

    /// Waits until the object is as wanted.
    pub async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let events = self.events(path).await?;
        self.first(path, events, |event| event["type"] != "DELETED" && wanted(&event["object"])).await
    }

    /// Waits until the object is gone.
    pub async fn gone(&self, path: &str) -> anyhow::Result<()> {
        let events = self.events(path).await?;
        // If it is there now, its end is still to come.
        if self.admin.get(path).await?.code != 404 {
            self.first(path, events, |event| event["type"] == "DELETED").await?;
        }
        Ok(())
    }

    /// Waits for an object of a collection, with a field selector, that is as wanted.
    pub async fn any(
        &self,
        collection: &str,
        selector: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        let events = self.admin.open(&format!("{collection}?watch=1&fieldSelector={selector}")).await?;
        self.first(collection, events, |event| event["type"] != "DELETED" && wanted(&event["object"])).await
    }

    /// What happens to one object, beginning with what is there.
    async fn events(&self, path: &str) -> anyhow::Result<Lines> {
        let (collection, name) = path.rsplit_once('/').context("a path of an object")?;
        self.admin.open(&format!("{collection}?watch=1&fieldSelector=metadata.name%3D{name}")).await
    }

    async fn first(&self, path: &str, mut events: Lines, wanted: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let mut last = Value::Null;
        let wait = async {
            loop {
                let event = events.next().await.context("the watch ended")?;
                if wanted(&event) {
                    return anyhow::Ok(event["object"].clone());
                }
                last = event;
            }
        };
        match tokio::time::timeout(LIMIT, wait).await {
            Ok(found) => found,
            Err(_) => anyhow::bail!("{path} is not as wanted after {LIMIT:?}: {last:#}\n{:#?}", self.sent()),
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.cancel.cancel();
        if let Some(running) = self.running.take() {
            running.abort();
        }
    }
}

/// The service accounts of the controllers under test.
const ACCOUNTS: &[&str] = &[
    "attachdetach-controller",
    "bootstrap-signer",
    "certificate-controller",
    "cronjob-controller",
    "daemon-set-controller",
    "deployment-controller",
    "device-taint-eviction-controller",
    "disruption-controller",
    "endpoint-controller",
    "endpointslice-controller",
    "endpointslicemirroring-controller",
    "ephemeral-volume-controller",
    "expand-controller",
    "generic-garbage-collector",
    "horizontal-pod-autoscaler",
    "job-controller",
    "namespace-controller",
    "node-controller",
    "persistent-volume-binder",
    "pv-protection-controller",
    "pvc-protection-controller",
    "replicaset-controller",
    "replication-controller",
    "resource-claim-controller",
    "resourcequota-controller",
    "selinux-warning-controller",
    "service-account-controller",
    "route-controller",
    "service-cidrs-controller",
    "service-controller",
    "statefulset-controller",
    "token-cleaner",
    "ttl-after-finished-controller",
    "ttl-controller",
    "validatingadmissionpolicy-status-controller",
    "volumeattributesclass-protection-controller",
];

fn expect(code: u16, answer: Answer) -> anyhow::Result<Value> {
    anyhow::ensure!(answer.code == code, "{} instead of {code}: {}", answer.code, answer.body);
    Ok(answer.body)
}

#[derive(Clone)]
struct Notes {
    sent: Arc<Mutex<Vec<Sent>>>,
    /// Told of each of these.
    noted: watch::Sender<()>,
    refusal: Arc<Mutex<Option<Refusal>>>,
    fate: Arc<Mutex<Fate>>,
    answers: Arc<Mutex<HashMap<String, Value>>>,
}

/// Notes each request with its answer, which is the refusal's if it has one.
fn noting(client: kube::Client, account: &'static str, notes: Notes) -> kube::Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, sent, noted) = (client.clone(), notes.sent.clone(), notes.noted.clone());
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let refused = notes.refusal.lock().as_mut().and_then(|refusal| refusal(&method, &path));
        let heard = notes.fate.lock().of(&method, &path);
        let answered = notes.answers.lock().get(&path).filter(|_| method == Method::GET).cloned();
        async move {
            let response: Response<Body> = match refused {
                Some((code, message)) => refusing(code, message),
                None if heard == Heard::Never => return Err(kube::Error::Service("nobody is there".into())),
                None if answered.is_some() => {
                    Response::new(Body::from(answered.unwrap_or_default().to_string().into_bytes()))
                }
                None => client.send(request).await?,
            };
            sent.lock().push(Sent { account, method, path, code: response.status().as_u16() });
            noted.send_replace(());
            if heard == Heard::NotTheAnswer {
                return Err(kube::Error::Service("the connection broke".into()));
            }
            Ok::<_, kube::Error>(response)
        }
    });
    kube::Client::new(service, "default")
}

fn refusing(code: u16, message: &str) -> Response<Body> {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message});
    let mut response = Response::new(Body::from(status.to_string().into_bytes()));
    *response.status_mut() = http::StatusCode::from_u16(code).expect("a code");
    response
}

/// Holds what watches show as long as their collection lags.
fn lagging(client: kube::Client, lagging: &watch::Sender<Option<&'static str>>) -> kube::Client {
    let lagging = lagging.subscribe();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, lagging) = (client.clone(), lagging.clone());
        async move {
            let watches = request.uri().query().is_some_and(|query| query.contains("watch="));
            let collection = watches.then(|| request.uri().path().to_owned());
            let response = client.send(request).await?;
            Ok::<_, kube::Error>(response.map(|inner| Held { inner, collection, lagging, opening: None }))
        }
    });
    kube::Client::new(service, "default")
}

/// A body of which nothing comes as long as the collection that it watches lags.
struct Held {
    inner: Body,
    collection: Option<String>,
    lagging: watch::Receiver<Option<&'static str>>,
    opening: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl hyper::body::Body for Held {
    type Data = Bytes;
    type Error = kube::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        poller: &mut Poller<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, kube::Error>>> {
        loop {
            if let Some(opening) = &mut self.opening {
                ready!(opening.as_mut().poll(poller));
                self.opening = None;
            }
            let lagging = *self.lagging.borrow();
            if lagging.is_none() || lagging != self.collection.as_deref() {
                return Pin::new(&mut self.inner).poll_frame(poller);
            }
            let mut changing = self.lagging.clone();
            self.opening = Some(Box::pin(async move {
                let _ = changing.wait_for(|now| *now != lagging).await;
            }));
        }
    }
}
