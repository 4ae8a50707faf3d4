//! Events: what an operator reads in `kubectl describe`.
//!
//! Recording never blocks and never fails the work it tells of: a bounded channel, a task that writes, and what does
//! not fit is dropped. Before writing, events are correlated as upstream does (client-go
//! `tools/record/events_cache.go`): an object that talks too much is cut short, ten similar events become one
//! "combined from similar events", and a repeated event is counted up on the one that exists.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use component::{Supervisor, supervisor::Inbox};
use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::{sync::mpsc, time::Instant};

/// Events waiting to be written; more are dropped.
const WAITING: usize = 1000;
/// What is remembered about past events.
const REMEMBERED: usize = 4096;
const SPAM_BURST: f64 = 25.0;
const SPAM_REFILL: Duration = Duration::from_secs(300);
const SIMILAR: usize = 10;
const SIMILAR_WINDOW: Duration = Duration::from_secs(600);
const TRIES: u32 = 12;

/// Writes core/v1 Events under one component's name. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    source: Arc<EventSource>,
    out: mpsc::Sender<Event>,
}

impl Recorder {
    /// The writer is a restarting task of `tasks`; it ends with them, or when the last clone is dropped.
    pub fn new(client: Client, component: &str, host: &str, tasks: &Supervisor) -> Self {
        let some = |s: &str| (!s.is_empty()).then(|| s.to_owned());
        let source = Arc::new(EventSource { component: some(component), host: some(host) });
        let out = tasks.receiving(("event_writer", component), WAITING, move |events, _| write(client.clone(), events));
        Self { source, out }
    }

    /// Says that something of `kind` ("Normal" or "Warning") happened to `object`.
    pub fn event(&self, object: &ObjectReference, kind: &str, reason: &str, message: impl Into<String>) {
        let now = Timestamp::now();
        let event = Event {
            metadata: ObjectMeta {
                name: Some(event_name(object, now)),
                namespace: Some(object.namespace.clone().filter(|n| !n.is_empty()).unwrap_or_else(|| "default".into())),
                ..Default::default()
            },
            involved_object: object.clone(),
            reason: Some(reason.to_owned()),
            message: Some(message.into()),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            count: Some(1),
            type_: Some(kind.to_owned()),
            source: Some((*self.source).clone()),
            reporting_component: self.source.component.clone(),
            reporting_instance: self.source.host.clone(),
            ..Default::default()
        };
        if self.out.try_send(event).is_err() {
            tracing::warn!(reason, "event dropped: too many are waiting");
        }
    }
}

fn event_name(object: &ObjectReference, now: Timestamp) -> String {
    // A name of 253 characters leaves no room for the time; upstream falls back to the time alone.
    let name = object.name.as_deref().filter(|n| n.len() + 17 <= 253).unwrap_or("event");
    format!("{name}.{:x}", now.as_nanosecond())
}

async fn write(client: Client, mut events: Inbox<Event>) {
    let mut correlator = Correlator::default();
    while let Some(event) = events.recv().await {
        let Some((key, mut event)) = correlator.correlate(event, Instant::now()) else { continue };
        let api: Api<Event> = Api::namespaced(client.clone(), event.metadata.namespace.as_deref().unwrap_or("default"));
        for attempt in 1..=TRIES {
            match send(&api, &mut event).await {
                Ok(written) => {
                    correlator.written(key, &written);
                    break;
                }
                // Refused for good: the namespace is going away, the object is nonsense, or it may not be said.
                Err(kube::Error::Api(status)) if (400..500).contains(&status.code) && status.code != 429 => {
                    tracing::debug!(%status, "event refused");
                    break;
                }
                Err(error) if attempt == TRIES => tracing::warn!(%error, "event given up"),
                Err(_) => tokio::time::sleep(Duration::from_secs(10)).await,
            }
        }
    }
}

async fn send(api: &Api<Event>, event: &mut Event) -> kube::Result<Event> {
    let name = event.metadata.name.clone().unwrap_or_default();
    if event.count > Some(1) {
        let patch = json!({"count": event.count, "lastTimestamp": event.last_timestamp, "message": event.message});
        match api.patch(&name, &PatchParams::default(), &Patch::Strategic(patch)).await {
            // It expired meanwhile: tell it anew, under a name of its own.
            Err(e) if client::is_not_found(&e) => {
                event.metadata.name = Some(event_name(&event.involved_object, Timestamp::now()));
                event.metadata.resource_version = None;
            }
            done => return done,
        }
    }
    api.create(&PostParams::default(), event).await
}

type Key = Vec<Option<String>>;

struct Similar {
    messages: HashSet<String>,
    last: Instant,
}

struct Written {
    name: String,
    first: Option<Time>,
    count: i32,
}

#[derive(Default)]
struct Correlator {
    spam: HashMap<Key, (f64, Instant)>,
    similar: HashMap<Key, Similar>,
    written: HashMap<Key, Written>,
}

impl Correlator {
    /// The event as it should be written and the key under which it is remembered; nothing if it is spam, which is counted.
    fn correlate(&mut self, mut event: Event, now: Instant) -> Option<(Key, Event)> {
        let key = self.aggregate(&mut event, now);
        if let Some(earlier) = self.written.get(&key) {
            event.metadata.name = Some(earlier.name.clone());
            event.first_timestamp = earlier.first.clone();
            event.count = Some(earlier.count + 1);
        }
        self.written(key.clone(), &event);
        self.within_budget(&event, now).then_some((key, event))
    }

    fn written(&mut self, key: Key, event: &Event) {
        let name = event.metadata.name.clone().unwrap_or_default();
        let record = Written { name, first: event.first_timestamp.clone(), count: event.count.unwrap_or(1) };
        remember(&mut self.written, key, record);
    }

    fn within_budget(&mut self, event: &Event, now: Instant) -> bool {
        let key = object_key(event, &[&event.type_]);
        let (mut tokens, since) = self.spam.get(&key).copied().unwrap_or((SPAM_BURST, now));
        tokens = (tokens + (now - since).as_secs_f64() / SPAM_REFILL.as_secs_f64()).min(SPAM_BURST);
        let ok = tokens >= 1.0;
        remember(&mut self.spam, key, (if ok { tokens - 1.0 } else { tokens }, now));
        ok
    }

    fn aggregate(&mut self, event: &mut Event, now: Instant) -> Key {
        let reason = &event.reason;
        let similar = object_key(event, &[&event.type_, reason]);
        let own = object_key(event, &[&event.type_, reason, &event.message, &event.involved_object.field_path]);
        let message = event.message.clone().unwrap_or_default();
        let fresh = || Similar { messages: HashSet::new(), last: now };
        let mut record = self.similar.remove(&similar).unwrap_or_else(fresh);
        if now - record.last > SIMILAR_WINDOW {
            record = fresh();
        }
        record.last = now;
        record.messages.insert(message.clone());
        let many = record.messages.len() >= SIMILAR;
        if many && let Some(any) = record.messages.iter().next().cloned() {
            record.messages.remove(&any);
        }
        remember(&mut self.similar, similar.clone(), record);
        if !many {
            return own;
        }
        event.message = Some(format!("(combined from similar events): {message}"));
        // Upstream makes such an event anew, of nothing but what the similar ones share.
        (event.reporting_component, event.reporting_instance) = Default::default();
        (event.metadata.annotations, event.metadata.labels) = Default::default();
        similar
    }
}

fn object_key(event: &Event, more: &[&Option<String>]) -> Key {
    let o = &event.involved_object;
    let source = event.source.as_ref();
    let (component, host) = (source.and_then(|s| s.component.clone()), source.and_then(|s| s.host.clone()));
    let object = [&o.kind, &o.namespace, &o.name, &o.uid, &o.api_version];
    [component, host].into_iter().chain(object.into_iter().chain(more.iter().copied()).cloned()).collect()
}

/// Bounded memory: when full, everything is forgotten, which at worst tells an event anew.
fn remember<V>(map: &mut HashMap<Key, V>, key: Key, value: V)
where
    Key: Hash + Eq,
{
    if map.len() >= REMEMBERED && !map.contains_key(&key) {
        map.clear();
    }
    map.insert(key, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, message: &str) -> Event {
        Event {
            involved_object: ObjectReference { name: Some(name.into()), ..Default::default() },
            metadata: ObjectMeta { name: Some(format!("{name}.1")), ..Default::default() },
            message: Some(message.into()),
            count: Some(1),
            ..Default::default()
        }
    }

    #[test]
    fn a_repeated_event_counts_up_under_its_first_name() {
        let (mut c, now) = (Correlator::default(), Instant::now());
        let (key, first) = c.correlate(event("a", "m"), now).unwrap();
        c.written(key, &first);
        let mut again = event("a", "m");
        again.metadata.name = Some("a.2".into());
        let (_, second) = c.correlate(again, now).unwrap();
        assert_eq!((second.count, second.metadata.name.as_deref()), (Some(2), Some("a.1")));
    }

    #[test]
    fn ten_similar_events_are_combined() {
        let (mut c, now) = (Correlator::default(), Instant::now());
        let similar = |i| {
            let reporter = Some("somebody".to_owned());
            Event { reporting_component: reporter, ..event("a", &format!("m{i}")) }
        };
        let events: Vec<_> = (0..11).map(|i| c.correlate(similar(i), now).unwrap().1).collect();
        let said = |i: usize| (events[i].message.as_deref().unwrap(), events[i].reporting_component.as_deref());
        assert_eq!(said(8), ("m8", Some("somebody")));
        assert_eq!(said(9), ("(combined from similar events): m9", None));
        assert_eq!(said(10), ("(combined from similar events): m10", None));
    }

    #[test]
    fn an_object_may_say_25_things_and_one_more_every_five_minutes() {
        let (mut c, now) = (Correlator::default(), Instant::now());
        let said = (0..40).filter(|_| c.correlate(event("a", "m"), now).is_some()).count();
        assert_eq!(said, 25);
        assert!(c.correlate(event("b", "m"), now).is_some(), "others are not affected");
        let (_, next) = c.correlate(event("a", "m"), now + SPAM_REFILL).unwrap();
        assert_eq!(next.count, Some(41), "what was not told is counted");
        assert!(c.correlate(event("a", "m"), now + SPAM_REFILL).is_none());
    }
}
