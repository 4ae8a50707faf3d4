//! A server and a controller manager in one process, each controller under its own identity and role; the requests of
//! the controllers are noted.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use controller_manager::Config;
use http::{Method, Request, Response};
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::Value;
use testkit::{Answer, Caller, Cluster, Lines};
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

/// Controllers that run until this is dropped.
pub struct World {
    pub cluster: Cluster,
    pub admin: Caller,
    sent: Arc<Mutex<Vec<Sent>>>,
    cancel: CancellationToken,
    running: Option<JoinHandle<anyhow::Result<()>>>,
}

impl World {
    /// A server; no controller runs yet.
    pub async fn new() -> anyhow::Result<Self> {
        let cluster = Cluster::start().await?;
        let admin = cluster.admin();
        Ok(Self { cluster, admin, sent: Arc::default(), cancel: CancellationToken::new(), running: None })
    }

    /// A server and these controllers.
    pub async fn with(controllers: &[&str]) -> anyhow::Result<Self> {
        let mut world = Self::new().await?;
        world.start(controllers);
        Ok(world)
    }

    /// Starts the controllers, each with one worker: keys are taken in the order in which they were queued.
    pub fn start(&mut self, controllers: &[&str]) {
        let groups = ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"];
        let clients: Vec<(&str, Caller)> = ACCOUNTS
            .iter()
            .map(|account| {
                let user = format!("system:serviceaccount:kube-system:{account}");
                (*account, self.cluster.caller(&user, &groups))
            })
            .collect();
        let sent = self.sent.clone();
        let client_for = move |account: &'static str| {
            let own = clients.iter().find(|(name, _)| *name == account).map(|(_, caller)| caller.kube());
            let client = own.map(|client| noting(client, account, sent.clone()));
            Box::pin(async move { client.with_context(|| format!("no identity for {account}")) }) as _
        };
        let config = Config {
            controllers: controllers.iter().map(|name| (*name).to_owned()).collect(),
            client_for: Some(Arc::new(client_for)),
            concurrent_deployment_syncs: 1,
            concurrent_endpoint_syncs: 1,
            ..Config::default()
        };
        let manager = self.cluster.caller("system:kube-controller-manager", &["system:authenticated"]).kube();
        self.running = Some(tokio::spawn(controller_manager::run(config, manager, self.cancel.clone())));
    }

    /// What the controllers have sent so far, in the order of the answers.
    pub fn sent(&self) -> Vec<Sent> {
        self.sent.lock().clone()
    }

    /// Creates an object.
    pub async fn create(&self, collection: &str, object: Value) -> anyhow::Result<Value> {
        expect(201, self.admin.send(Method::POST, collection, Some(&object)).await?)
    }

    /// Changes an object by a merge patch.
    pub async fn patch(&self, path: &str, patch: Value) -> anyhow::Result<Value> {
        expect(200, self.admin.send_as(Method::PATCH, path, "application/merge-patch+json", Some(&patch)).await?)
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
    "deployment-controller",
    "endpoint-controller",
    "namespace-controller",
    "pv-protection-controller",
    "pvc-protection-controller",
    "service-account-controller",
    "volumeattributesclass-protection-controller",
];

fn expect(code: u16, answer: Answer) -> anyhow::Result<Value> {
    anyhow::ensure!(answer.code == code, "{} instead of {code}: {}", answer.code, answer.body);
    Ok(answer.body)
}

fn noting(client: kube::Client, account: &'static str, sent: Arc<Mutex<Vec<Sent>>>) -> kube::Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, sent) = (client.clone(), sent.clone());
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        async move {
            let response: Response<Body> = client.send(request).await?;
            sent.lock().push(Sent { account, method, path, code: response.status().as_u16() });
            Ok::<_, kube::Error>(response)
        }
    });
    kube::Client::new(service, "default")
}
