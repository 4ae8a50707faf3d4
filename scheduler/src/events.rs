//! Events as upstream's scheduler writes them: `events.k8s.io/v1`, where the same event about the same object becomes a
//! series instead of a new object (client-go `tools/events/event_broadcaster.go`).
//!
//! The second occurrence makes the series; later ones are counted here. Their number is written when none came for six
//! minutes, which ends the series, and every half hour before that, so that the event outlives the server's hour.
//!
//! Recording never waits: events go through a bounded channel and are dropped when it is full.

use std::{collections::HashMap, sync::Arc, time::Duration};

use component::{Supervisor, supervisor::Inbox};
use http::{Method, Request};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::{
    sync::{Semaphore, mpsc},
    time::Instant,
};

use crate::cache::pod::PodInfo;

/// Events waiting to be written; more are dropped.
const WAITING: usize = 8192;
/// Requests at a time.
const AT_ONCE: usize = 16;
/// After this long without a repetition a series ends.
const SERIES_ENDS: Duration = Duration::from_secs(6 * 60);
/// A series that goes on is written anew after this long.
const REFRESHED: Duration = Duration::from_secs(30 * 60);
/// A note longer than this is cut.
const NOTE_BYTES: usize = 1024;
/// Attempts to write an event while the server can't be reached.
const ATTEMPTS: u32 = 12;
/// Between them.
const PAUSE: Duration = Duration::from_secs(10);

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
    /// When the first occurred.
    began: Timestamp,
    count: u32,
    /// When the newest did, by both clocks.
    last: Instant,
    observed: Timestamp,
    /// As it is written, from the second occurrence on.
    event: Option<Value>,
}

impl Series {
    /// To be written with its count.
    fn repeated(&self) -> Option<Value> {
        let mut event = self.event.clone()?;
        event["series"] = json!({"count": self.count, "lastObservedTime": micro_time(self.observed)});
        Some(event)
    }
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
        let (mut ends, mut refreshes) = (ticks(SERIES_ENDS), ticks(REFRESHED));
        loop {
            let note = tokio::select! {
                // One that is over is not written twice.
                biased;
                _ = ends.tick() => {
                    self.end_series().await;
                    continue;
                }
                _ = refreshes.tick() => {
                    self.refresh_series().await;
                    continue;
                }
                note = notes.recv() => note,
            };
            let Some(note) = note else { break };
            let Ok(slot) = slots.clone().acquire_owned().await else { break };
            let (writer, told) = (self.clone(), own.token());
            own.one_shot("event", async move {
                told.run_until_cancelled(writer.write(note)).await;
                drop(slot);
            });
        }
    }

    /// Forgets what has not occurred for long; of a series the count is written first.
    async fn end_series(&self) {
        let over = |series: &Series| series.last.elapsed() >= SERIES_ENDS;
        let mut ended = Vec::new();
        self.known.lock().retain(|key, series| {
            let written = over(series).then(|| series.repeated()).flatten();
            let stays = !over(series) || written.is_some();
            ended.extend(written.map(|event| (key.clone(), event)));
            stays
        });
        for (key, event) in ended {
            if self.record(&event).await {
                // One that occurred meanwhile goes on.
                self.known.lock().extract_if(|known, series| *known == key && over(series)).for_each(drop);
            }
        }
    }

    /// Writes how often all series have occurred so far.
    async fn refresh_series(&self) {
        let events: Vec<Value> = self.known.lock().values().filter_map(Series::repeated).collect();
        for event in events {
            self.record(&event).await;
        }
    }

    async fn write(&self, note: Note) {
        // The resource version is part of what upstream compares, so a pod that changed meanwhile gets a new event.
        let about: Arc<str> = Arc::from(format!("{}@{}", note.pod.uid, note.pod.resource_version));
        let key: Key = (about, note.reason, note.action, note.related.as_ref().map(|pod| pod.uid.clone()));
        let now = Timestamp::now();
        let event = {
            let mut known = self.known.lock();
            match known.get_mut(&key) {
                Some(series) => {
                    series.count += 1;
                    (series.last, series.observed) = (Instant::now(), now);
                    if series.event.is_some() {
                        return;
                    }
                    series.event = Some(self.event(&note, &series.name, series.began));
                    series.repeated()
                }
                None => {
                    let name = format!("{}.{:x}", note.pod.name, now.as_nanosecond());
                    let event = self.event(&note, &name, now);
                    let last = Instant::now();
                    known.insert(key, Series { name, began: now, count: 1, last, observed: now, event: None });
                    Some(event)
                }
            }
        };
        let Some(event) = event else { return };
        for attempt in 1..=ATTEMPTS {
            if self.record(&event).await {
                return;
            }
            if attempt < ATTEMPTS {
                tokio::time::sleep(PAUSE).await;
            }
        }
        tracing::warn!(reason = note.reason, "gave an event up");
    }

    fn event(&self, note: &Note, name: &str, at: Timestamp) -> Value {
        json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": &*note.pod.namespace},
            "eventTime": micro_time(at),
            "reportingController": &*note.controller,
            "reportingInstance": format!("{}-{}", note.controller, self.host),
            "action": note.action,
            "reason": note.reason,
            "regarding": reference(&note.pod),
            "related": note.related.as_deref().map(reference),
            "note": truncated(&note.note),
            "type": if note.warning { "Warning" } else { "Normal" },
        })
    }

    /// Writes an event once; false if that is worth another attempt.
    async fn record(&self, event: &Value) -> bool {
        let text = |path: &str| event["metadata"][path].as_str().unwrap_or_default();
        let collection = format!("/apis/events.k8s.io/v1/namespaces/{}/events", text("namespace"));
        let series = &event["series"];
        if !series.is_null() {
            let uri = format!("{collection}/{}", text("name"));
            let kind = "application/strategic-merge-patch+json";
            let patched = self.send(Method::PATCH, &uri, kind, &json!({"series": series})).await;
            // One that is gone, or that was not written yet, is made.
            if !patched.as_ref().is_err_and(client::is_not_found) {
                return done(patched);
            }
        }
        let created = self.send(Method::POST, &collection, "application/json", event).await;
        // Made in the meantime: the next attempt finds it.
        let overtaken = !series.is_null() && created.as_ref().is_err_and(client::is_already_exists);
        done(created) && !overtaken
    }

    async fn send(&self, method: Method, uri: &str, content_type: &str, body: &Value) -> kube::Result<()> {
        let request = Request::builder().method(method).uri(uri).header("content-type", content_type);
        let request = request.body(body.to_string().into_bytes()).map_err(kube::Error::HttpError)?;
        self.client.request::<IgnoredAny>(request).await.map(drop)
    }
}

fn done(outcome: kube::Result<()>) -> bool {
    match outcome {
        Ok(()) => true,
        Err(kube::Error::Api(status)) => {
            tracing::debug!(message = status.message, "the server rejected an event");
            true
        }
        Err(error) => {
            tracing::debug!(%error, "an event could not be written");
            false
        }
    }
}

/// The first after one period.
fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use http::Response;
    use http_body_util::BodyExt;
    use kube::client::Body;

    use super::*;
    use crate::cache::Cache;

    /// A server that has what was written and not deleted: by name, how often it occurred.
    #[derive(Default)]
    struct Server {
        events: Mutex<HashMap<String, i64>>,
        requests: Mutex<Vec<String>>,
        away: AtomicBool,
    }

    impl Server {
        async fn answer(&self, request: Request<Body>) -> std::io::Result<Response<Body>> {
            let (parts, body) = request.into_parts();
            let body: Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
            if self.away.load(Ordering::Relaxed) {
                return Err(std::io::ErrorKind::ConnectionRefused.into());
            }
            let last = parts.uri.path().rsplit('/').next().unwrap_or_default().to_owned();
            let count = body["series"]["count"].as_i64().unwrap_or(1);
            self.requests.lock().push(format!("{} {count}", parts.method));
            let mut events = self.events.lock();
            let status = match parts.method {
                Method::PATCH if !events.contains_key(&last) => 404,
                Method::PATCH => {
                    events.insert(last, count);
                    200
                }
                _ => {
                    assert_eq!(
                        (&body["regarding"]["name"], &body["reason"]),
                        (&json!("p"), &json!("FailedScheduling"))
                    );
                    events.insert(body["metadata"]["name"].as_str().unwrap().to_owned(), count);
                    201
                }
            };
            let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": status});
            Ok(Response::builder().status(status).body(Body::from(body.to_string().into_bytes())).unwrap())
        }

        fn requests(&self) -> String {
            std::mem::take(&mut *self.requests.lock()).join(", ")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_series_is_written_when_it_begins_goes_on_and_ends() {
        let server = Arc::new(Server::default());
        let answers = server.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = answers.clone();
            async move { server.answer(request).await }
        });
        let tasks = Supervisor::new();
        let recorder = Recorder::start(kube::Client::new(service, "default"), "host".to_owned(), &tasks);
        let pod = json!({"metadata": {"name": "p", "namespace": "default", "uid": "u", "resourceVersion": "1"}});
        let pod = Cache::default().read_pod(&serde_json::from_value(pod).unwrap());
        let occurs = async |times: u64| {
            for _ in 0..times {
                recorder.record(Note {
                    pod: pod.clone(),
                    related: None,
                    controller: Arc::from("default-scheduler"),
                    warning: true,
                    reason: "FailedScheduling",
                    action: "Scheduling",
                    note: "0/1 nodes are available".to_owned(),
                });
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
        };
        // Between the ticks.
        tokio::time::sleep(Duration::from_secs(30)).await;
        occurs(1).await;
        assert_eq!(server.requests(), "POST 1");
        occurs(20).await;
        assert_eq!(server.requests(), "PATCH 2");
        // After half an hour, and again; the event was deleted meanwhile.
        occurs(20).await;
        assert_eq!(server.requests(), "PATCH 30");
        server.events.lock().clear();
        occurs(30).await;
        assert_eq!(server.requests(), "PATCH 60, POST 60");
        // It ends, at the third try.
        server.away.store(true, Ordering::Relaxed);
        tokio::time::sleep(SERIES_ENDS * 3).await;
        server.away.store(false, Ordering::Relaxed);
        assert_eq!(server.requests(), "");
        tokio::time::sleep(SERIES_ENDS).await;
        assert_eq!(server.requests(), "PATCH 71");
        // What occurs now is another, and alone.
        occurs(1).await;
        tokio::time::sleep(SERIES_ENDS * 3).await;
        assert_eq!(server.requests(), "POST 1");
        assert_eq!(server.events.lock().len(), 2);
        tasks.shutdown().await;
    }
}
