//! What all clients share: the clock, the record, and when to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ferry_tests::history::{Action, History, Item, Op, Outcome, Selection, Tick, Watch};
use http::Method;
use serde_json::{Value, json};
use std::sync::Mutex;
use testkit::Caller;
use tokio::sync::watch;

pub const NAMESPACES: &[&str] = &["linear-a", "linear-b"];
pub const COLORS: &[&str] = &["red", "blue"];

#[derive(Default)]
struct Record {
    ops: Vec<Op>,
    watches: Vec<Watch>,
}

/// See the module.
pub struct World {
    clock: AtomicU64,
    values: AtomicU64,
    record: Mutex<Record>,
    running: watch::Sender<bool>,
    /// The last objects of the run: a watch that has seen its own has seen everything.
    last: watch::Sender<Option<Vec<Item>>>,
}

impl World {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            clock: AtomicU64::new(1),
            values: AtomicU64::new(1),
            record: Mutex::default(),
            running: watch::Sender::new(true),
            last: watch::Sender::new(None),
        })
    }

    pub fn tick(&self) -> Tick {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// A value that nobody has written.
    pub fn value(&self, client: usize) -> String {
        format!("{client}-{}", self.values.fetch_add(1, Ordering::Relaxed))
    }

    pub async fn prepare(&self, admin: &Caller) -> anyhow::Result<()> {
        for namespace in NAMESPACES {
            let body = json!({"metadata": {"name": namespace}});
            let answer = admin.send(Method::POST, "/api/v1/namespaces", Some(&body)).await?;
            anyhow::ensure!(answer.code == 201, "{answer:?}");
        }
        Ok(())
    }

    pub fn op(&self, op: Op) {
        self.record.lock().unwrap().ops.push(op);
    }

    pub fn watch(&self, watch: Watch) {
        self.record.lock().unwrap().watches.push(watch);
    }

    pub fn running(&self) -> bool {
        *self.running.borrow()
    }

    pub fn stop_operators(&self) {
        self.running.send_replace(false);
    }

    /// Writes one last object for every selection.
    pub async fn finish(&self, admin: &Caller) -> anyhow::Result<()> {
        let mut last = Vec::new();
        for (namespace, color) in NAMESPACES.iter().flat_map(|n| COLORS.iter().map(move |c| (n, c))) {
            let (key, value, call) = (format!("{namespace}/zz-{color}"), self.value(99), self.tick());
            let body = body(&key, &value, color, None);
            let answer = admin.send(Method::POST, &collection(Some(namespace)), Some(&body)).await?;
            anyhow::ensure!(answer.code == 201, "{answer:?}");
            let item = item(&answer.body).unwrap();
            last.push(item.clone());
            let action = Action::Create { key, value };
            self.op(Op { client: 99, call, ret: self.tick(), action, outcome: Outcome::Item(item) });
        }
        self.last.send_replace(Some(last));
        Ok(())
    }

    /// The revision at which a watch of a selection has seen everything; pending before the run ends.
    pub async fn end(&self, selection: &Selection) -> i64 {
        let mut last = self.last.subscribe();
        let last = last.wait_for(Option::is_some).await.unwrap().clone().unwrap();
        last.iter().filter(|item| selection.matches(item)).map(|item| item.revision).max().unwrap()
    }

    pub fn history(&self, seed: u64) -> History {
        let record = std::mem::take(&mut *self.record.lock().unwrap());
        History { seed, ops: record.ops, watches: record.watches }
    }
}

/// Where the objects of a namespace, or all, are.
pub fn collection(namespace: Option<&str>) -> String {
    namespace.map_or_else(|| "/api/v1/configmaps".into(), |n| format!("/api/v1/namespaces/{n}/configmaps"))
}

pub fn path(key: &str) -> String {
    let (namespace, name) = key.split_once('/').unwrap();
    format!("{}/{name}", collection(Some(namespace)))
}

pub fn body(key: &str, value: &str, color: &str, revision: Option<i64>) -> Value {
    let (namespace, name) = key.split_once('/').unwrap();
    let mut metadata = json!({"namespace": namespace, "name": name, "labels": {"color": color}});
    if let Some(revision) = revision {
        metadata["resourceVersion"] = revision.to_string().into();
    }
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"value": value}})
}

/// An object of the run; `None` for what others keep in the namespaces.
pub fn item(object: &Value) -> Option<Item> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    Some(Item {
        key: format!("{}/{}", text("/metadata/namespace")?, text("/metadata/name")?),
        revision: text("/metadata/resourceVersion")?.parse().ok()?,
        uid: text("/metadata/uid")?,
        value: text("/data/value")?,
        color: text("/metadata/labels/color")?,
    })
}
