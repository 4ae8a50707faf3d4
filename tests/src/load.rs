//! A load on several servers at once, as clients make it that go on where a server ends: what fails is told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use testkit::{Answer, Caller};

/// Where the load's objects are.
const NAMESPACE: &str = "default";
/// Between two requests of one client.
pub const PACE: Duration = Duration::from_millis(100);

/// How clients find a server that takes their request.
#[derive(Clone, Copy, PartialEq)]
pub enum Finds {
    /// A balancer knows who is ready.
    ByReadiness,
    /// They try the next one where the first can't be reached, or sends them away.
    ByTrying,
}

/// All servers, as a client sees them.
pub struct Balanced {
    callers: Vec<Caller>,
    ready: Vec<AtomicBool>,
    next: AtomicUsize,
    finds: Finds,
    /// Requests that were answered or failed.
    pub done: AtomicUsize,
    /// Requests that went on to another server.
    pub elsewhere: AtomicUsize,
}

impl Balanced {
    /// With a client of each.
    pub fn new(callers: Vec<Caller>, finds: Finds) -> Arc<Self> {
        let ready = callers.iter().map(|_| AtomicBool::new(true)).collect();
        let zero = AtomicUsize::default;
        Arc::new(Self { callers, ready, next: zero(), finds, done: zero(), elsewhere: zero() })
    }

    /// Asks each server again and again whether it is ready, as a balancer does.
    pub async fn look(self: Arc<Self>) {
        loop {
            for (caller, ready) in self.callers.iter().zip(&self.ready) {
                let answer = tokio::time::timeout(Duration::from_secs(1), caller.get("/readyz")).await;
                ready.store(matches!(answer, Ok(Ok(Answer { code: 200, .. }))), Ordering::SeqCst);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Whether all of them are ready.
    pub fn all_ready(&self) -> bool {
        self.ready.iter().all(|ready| ready.load(Ordering::SeqCst))
    }

    fn any(&self) -> usize {
        loop {
            let at = self.next.fetch_add(1, Ordering::Relaxed) % self.callers.len();
            if self.finds == Finds::ByTrying || self.ready[at].load(Ordering::SeqCst) {
                return at;
            }
        }
    }

    /// Sends to any of them.
    ///
    /// # Errors
    /// None of them answers.
    pub async fn send(&self, method: Method, path: &str, media: &str, body: Option<&Value>) -> anyhow::Result<Answer> {
        let mut tries = 0;
        loop {
            tries += 1;
            let answer = self.callers[self.any()].send_as(method.clone(), path, media, body).await;
            let tries_others = self.finds == Finds::ByTrying;
            let again = match &answer {
                // As clients in Go do.
                Ok(Answer { code: 429 | 500.., body, .. }) => {
                    tries_others && body["details"]["retryAfterSeconds"].is_u64()
                }
                Ok(_) => false,
                Err(error) => not_looked_at(error) || tries_others && not_reached(error),
            };
            if !again || tries > 10 * self.callers.len() {
                self.done.fetch_add(1, Ordering::Relaxed);
                return answer;
            }
            self.elsewhere.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Whether the server has ended the connection and said that it has not looked at the request (GOAWAY), which clients in Go then
/// send again by themselves.
fn not_looked_at(error: &anyhow::Error) -> bool {
    chain(error).ends_with("connection error received: not a result of an error")
}

/// Whether there was no connection that the request could have gone over.
fn not_reached(error: &anyhow::Error) -> bool {
    chain(error).contains("client error (Connect)")
}

fn chain(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// A kind that the load makes objects of.
#[derive(Clone, Copy)]
pub struct Made {
    /// The path of its collection.
    pub collection: &'static str,
    /// Version and kind, as an object says them.
    pub kind: (&'static str, &'static str),
    /// The rest of an object.
    pub body: fn() -> Value,
    /// A change, and its media type beside merge and apply.
    pub patch: Option<fn() -> Value>,
}

const STRATEGIC: &str = "application/strategic-merge-patch+json";
const MERGE: &str = "application/merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const JSON: &str = "application/json";

fn pod() -> Value {
    json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "example.com/c:1",
        "ports": [{"containerPort": 80}], "env": [{"name": "A", "value": "1"}]}], "tolerations": [{"operator": "Exists"}]}})
}

/// What the load is made of.
pub const MADE: &[Made] = &[
    Made {
        collection: "/api/v1/namespaces/default/configmaps",
        kind: ("v1", "ConfigMap"),
        body: || json!({"data": {"a": "1"}, "binaryData": {"b": "AAH/"}}),
        patch: Some(|| json!({"data": {"a": null, "c": "3"}})),
    },
    Made {
        collection: "/apis/apps/v1/namespaces/default/deployments",
        kind: ("apps/v1", "Deployment"),
        body: || json!({"spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}, "template": pod()}}),
        patch: Some(|| {
            json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "env": [{"name": "B", "value": "2"}]},
                {"name": "d", "image": "example.com/d:1"}]}}}})
        }),
    },
    Made {
        collection: "/api/v1/namespaces/default/services",
        kind: ("v1", "Service"),
        body: || json!({"spec": {"type": "NodePort", "selector": {"a": "b"}, "ports": [{"port": 80, "name": "http"}]}}),
        patch: Some(|| json!({"spec": {"ports": [{"port": 81, "name": "more"}]}})),
    },
    Made {
        collection: "/apis/coordination.k8s.io/v1/namespaces/default/leases",
        kind: ("coordination.k8s.io/v1", "Lease"),
        body: || json!({"spec": {"holderIdentity": "x", "renewTime": "2026-01-02T03:04:05.678901Z"}}),
        patch: Some(|| json!({"spec": {"leaseDurationSeconds": 7}})),
    },
    Made {
        collection: "/apis/load.example.org/v1/namespaces/default/xs",
        kind: ("load.example.org/v1", "X"),
        body: || json!({"spec": {"n": 1, "list": ["a"], "any": {"deep": {"er": [1, 2.5, null]}}}}),
        patch: None,
    },
];

/// The definition of the custom kind in [`MADE`].
pub fn definition() -> Value {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "n": {"type": "integer"}, "d": {"type": "string", "default": "given"},
        "list": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "xs.load.example.org"}, "spec": {"group": "load.example.org", "scope": "Namespaced",
        "names": {"plural": "xs", "singular": "x", "kind": "X", "listKind": "XList"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}})
}

/// A client that makes an object of a kind, reads, changes in every way, lists and deletes it, again and again: what failed.
pub async fn work(balanced: Arc<Balanced>, made: Made, number: usize, going: Arc<AtomicBool>) -> Vec<String> {
    let mut failed = Vec::new();
    let mut turn = 0;
    while going.load(Ordering::Relaxed) {
        turn += 1;
        let name = format!("w{number}-{turn}");
        let path = format!("{}/{name}", made.collection);
        let object = |more: Value| {
            let mut object = more;
            (object["apiVersion"], object["kind"]) = (made.kind.0.into(), made.kind.1.into());
            object["metadata"]["name"] = name.as_str().into();
            object["metadata"]["namespace"] = NAMESPACE.into();
            object
        };
        let whole = object((made.body)());
        let labels = json!({"metadata": {"labels": {"turn": turn.to_string()}}});
        let applied = object(json!({"metadata": {"annotations": {"applied": "yes"}}}));
        let apply = format!("{path}?fieldManager=load&force=true");
        let list = format!("{}?limit=5", made.collection);
        let patch = made.patch.map(|patch| patch());
        let mut steps = vec![
            (Method::POST, made.collection, JSON, Some(&whole), 201),
            (Method::GET, path.as_str(), JSON, None, 200),
            (Method::PATCH, path.as_str(), MERGE, Some(&labels), 200),
            (Method::PATCH, apply.as_str(), APPLY, Some(&applied), 200),
        ];
        steps.extend(patch.as_ref().map(|patch| (Method::PATCH, path.as_str(), STRATEGIC, Some(patch), 200)));
        steps.push((Method::GET, list.as_str(), JSON, None, 200));
        // Some stay, to be looked at.
        if turn % 4 != 0 {
            steps.push((Method::DELETE, path.as_str(), JSON, None, 200));
        }
        for (method, path, media, body, code) in steps {
            match balanced.send(method.clone(), path, media, body).await {
                Ok(answer) if answer.code == code => {}
                Ok(answer) => failed.push(format!("{method} {path}: {} {}", answer.code, answer.body)),
                Err(error) => failed.push(format!("{method} {path}: {error:?}")),
            }
            tokio::time::sleep(PACE).await;
        }
    }
    failed
}

/// What a watch begins with: what is there, and its revision.
async fn list(caller: &Caller, collection: &str) -> anyhow::Result<(BTreeSet<String>, String)> {
    let list = caller.get(collection).await?.body;
    let items = list["items"].as_array().into_iter().flatten();
    Ok((items.map(name).collect(), text(&list["metadata"]["resourceVersion"])))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn name(object: &Value) -> String {
    text(&object["metadata"]["name"])
}

/// A watch that goes on at the next server where it ends, and begins anew where that one does not know so old a revision: it
/// must see each object of the load come and go once. How many events it saw, and how often it began.
///
/// # Errors
/// It saw what can't be.
pub async fn watch(callers: Vec<Caller>, collection: &str, going: Arc<AtomicBool>) -> anyhow::Result<(usize, usize)> {
    let (mut alive, mut revision) = list(&callers[0], collection).await?;
    let (mut at, mut seen, mut begun) = (0, 0, 0);
    while going.load(Ordering::Relaxed) {
        let path = format!("{collection}?watch=true&resourceVersion={revision}&allowWatchBookmarks=true");
        at += 1;
        let caller = &callers[at % callers.len()];
        let Ok(mut events) = caller.open(&path).await else { continue };
        if events.code != 200 {
            continue;
        }
        begun += 1;
        // Now and then it goes on elsewhere by itself.
        while let Ok(Some(event)) = tokio::time::timeout(Duration::from_secs(2), events.next()).await {
            let object = &event["object"];
            if event["type"] == "ERROR" {
                anyhow::ensure!(object["code"] == 410, "{event}");
                if let Ok(listed) = list(caller, collection).await {
                    (alive, revision) = listed;
                }
                break;
            }
            revision = text(&object["metadata"]["resourceVersion"]);
            if event["type"] == "BOOKMARK" {
                continue;
            }
            seen += 1;
            match event["type"].as_str() {
                Some("ADDED") => anyhow::ensure!(alive.insert(name(object)), "came twice: {event}"),
                Some("DELETED") => anyhow::ensure!(alive.remove(&name(object)), "went twice: {event}"),
                _ => anyhow::ensure!(alive.contains(&name(object)), "is not there: {event}"),
            }
        }
    }
    Ok((seen, begun))
}
