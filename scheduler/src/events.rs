//! Events as upstream's scheduler writes them: `events.k8s.io/v1`, where the same event about the same object becomes a
//! series instead of a new object (client-go `tools/events`).
//!
//! Recording never waits: events go through a bounded channel and are dropped when it is full.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use component::{Supervisor, supervisor::Inbox};
use http::{Method, Request};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

use crate::cache::pod::PodInfo;

/// Events waiting to be written; more are dropped.
const WAITING: usize = 8192;
/// Requests at a time.
const AT_ONCE: usize = 16;
/// After this long without a repetition a series ends.
const SERIES_ENDS: Duration = Duration::from_secs(6 * 60);
/// A note longer than this is cut.
const NOTE_BYTES: usize = 1024;
/// Attempts to write an event while the server can't be reached.
const ATTEMPTS: u32 = 12;

/// What is said about a pod.
#[derive(Debug)]
pub struct Note {
    /// The pod.
    pub pod: Arc<PodInfo>,
    /// Another pod it has to do with.
    pub related: Option<Arc<PodInfo>>,
    /// spec.schedulerName: who says it.
    pub controller: Arc<str>,
    /// `Warning`, otherwise `Normal`.
    pub warning: bool,
    /// Such as `Scheduled`.
    pub reason: &'static str,
    /// Such as `Binding`.
    pub action: &'static str,
    /// The text.
    pub note: String,
}

type Key = (Arc<str>, &'static str, &'static str, Option<Arc<str>>);

struct Series {
    name: String,
    count: u32,
    last: Instant,
}

/// See the module.
#[derive(Clone)]
pub struct Recorder(mpsc::Sender<Note>);

impl Recorder {
    /// Records.
    pub fn record(&self, note: Note) {
        if let Err(error) = self.0.try_send(note) {
            tracing::warn!(%error, "dropped an event");
        }
    }

    /// One that nobody hears.
    #[cfg(test)]
    pub fn unheard() -> Self {
        Self(mpsc::channel(1).0)
    }

    /// A recorder, and the task that writes.
    pub fn start(client: kube::Client, host: String, tasks: &Supervisor) -> Self {
        let writer = Arc::new(Writer { client, host, known: Mutex::default() });
        let name = ("event_writer", "scheduler");
        Self(tasks.receiving(name, WAITING, move |notes, own| writer.clone().run(notes, own)))
    }
}

struct Writer {
    client: kube::Client,
    host: String,
    known: Mutex<HashMap<Key, Series>>,
}

fn reference(pod: &PodInfo) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "namespace": &*pod.namespace,
        "name": &*pod.name,
        "uid": &*pod.uid,
        "resourceVersion": &*pod.resource_version,
    })
}

fn micro_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// Cut as upstream cuts, but never inside a character.
pub fn truncated(note: &str) -> String {
    const SUFFIX: &str = " ...";
    if note.len() <= NOTE_BYTES {
        return note.to_owned();
    }
    let mut end = NOTE_BYTES - SUFFIX.len();
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{SUFFIX}", &note[..end])
}

impl Writer {
    async fn run(self: Arc<Self>, mut notes: Inbox<Note>, own: Supervisor) {
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        let mut swept = Instant::now();
        while let Some(note) = notes.recv().await {
            if swept.elapsed() > SERIES_ENDS {
                swept = Instant::now();
                self.known.lock().retain(|_, series| series.last.elapsed() < SERIES_ENDS);
            }
            let Ok(slot) = slots.clone().acquire_owned().await else { break };
            let (writer, told) = (self.clone(), own.token());
            own.one_shot("event", async move {
                told.run_until_cancelled(writer.write(note)).await;
                drop(slot);
            });
        }
    }

    async fn write(&self, note: Note) {
        // The resource version is part of what upstream compares, so a pod that changed meanwhile gets a new event.
        let about: Arc<str> = Arc::from(format!("{}@{}", note.pod.uid, note.pod.resource_version));
        let key: Key = (about, note.reason, note.action, note.related.as_ref().map(|pod| pod.uid.clone()));
        let now = Timestamp::now();
        let namespace = &*note.pod.namespace;
        let collection = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
        let repeated = {
            let mut known = self.known.lock();
            match known.get_mut(&key) {
                Some(series) => {
                    series.count += 1;
                    series.last = Instant::now();
                    // The second makes it a series; later ones are counted here and written no more often.
                    if series.count > 2 {
                        return;
                    }
                    Ok(series.name.clone())
                }
                None => {
                    let name = format!("{}.{:x}", note.pod.name, now.as_nanosecond());
                    known.insert(key, Series { name: name.clone(), count: 1, last: Instant::now() });
                    Err(name)
                }
            }
        };
        match repeated {
            Ok(name) => {
                let patch = json!({"series": {"count": 2, "lastObservedTime": micro_time(now)}});
                let uri = format!("{collection}/{name}");
                self.send(Method::PATCH, &uri, "application/strategic-merge-patch+json", &patch).await;
            }
            Err(name) => {
                let event = json!({
                    "apiVersion": "events.k8s.io/v1",
                    "kind": "Event",
                    "metadata": {"name": name, "namespace": namespace},
                    "eventTime": micro_time(now),
                    "reportingController": &*note.controller,
                    "reportingInstance": format!("{}-{}", note.controller, self.host),
                    "action": note.action,
                    "reason": note.reason,
                    "regarding": reference(&note.pod),
                    "related": note.related.as_deref().map(reference),
                    "note": truncated(&note.note),
                    "type": if note.warning { "Warning" } else { "Normal" },
                });
                self.send(Method::POST, &collection, "application/json", &event).await;
            }
        }
    }

    async fn send(&self, method: Method, uri: &str, content_type: &str, body: &Value) {
        let body = body.to_string().into_bytes();
        for attempt in 1..=ATTEMPTS {
            let request = Request::builder()
                .method(method.clone())
                .uri(uri)
                .header("content-type", content_type)
                .body(body.clone());
            let Ok(request) = request else { return };
            match self.client.request::<IgnoredAny>(request).await {
                Ok(_) => return,
                Err(kube::Error::Api(status)) => {
                    tracing::debug!(message = status.message, "the server rejected an event");
                    return;
                }
                Err(error) if attempt == ATTEMPTS => tracing::warn!(%error, "gave an event up"),
                Err(_) => tokio::time::sleep(Duration::from_secs(10)).await,
            }
        }
    }
}
