//! List, then watch, for ever: the state machine under every informer.
//!
//! A watch resumes at the last resourceVersion seen, bookmarks keep that fresh, and 410 (as an answer or as an event)
//! starts over with a list, so a reader is never deaf after compaction. Failures are retried with jittered backoff as
//! in upstream's reflector (client-go `tools/cache/reflector.go`): 0.8 s doubling to 30 s. There it begins anew after two
//! minutes without a failure, here with the first list or watch that the server grants: otherwise each short restart of a
//! server costs its clients twice what the last one did.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    time::{Duration, Instant},
};

use futures::TryStreamExt;
use http::Request;
use kube::{Client, Error, api::WatchEvent, core::Status};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use crate::lenient::{Decoded, Unreadable};

/// Objects asked for at a time; keeps the memory of a first list small.
const PAGE: u32 = 500;

/// Where the objects are.
#[derive(Clone, Debug)]
pub struct Target {
    /// Path of the collection, such as `/api/v1/pods`.
    pub path: String,
    /// Further query, already encoded, such as `fieldSelector=spec.nodeName%3Dn1`; empty for none.
    pub query: String,
    /// Ask for metadata only (`PartialObjectMetadata`).
    pub metadata_only: bool,
}

/// What a reflector tells. After `Restart` comes the whole state as `Apply`s, closed by `Restarted`.
#[derive(Debug)]
pub enum Event<K> {
    /// A list begins: what is not applied before `Restarted` is gone.
    Restart,
    /// The object is there, in this state.
    Apply(K),
    /// The object was deleted; this was its last state.
    Delete(K),
    /// The list is complete, as of that resourceVersion.
    Restarted(String),
}

/// Keeps telling `sink` about the objects at `target`.
pub struct Reflector {
    /// Whom to ask.
    pub client: Client,
    /// What for.
    pub target: Target,
}

/// Its objects are read one at a time, as they are told: typed they take many times the memory of their text.
#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: PageMeta,
    #[serde(default)]
    items: Option<Vec<Box<RawValue>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct PageMeta {
    resource_version: String,
    #[serde(rename = "continue")]
    continue_token: Option<String>,
}

/// True if the error says that the resourceVersion is too old to go on from.
pub fn relist_needed(error: &Error) -> bool {
    matches!(error, Error::Api(s) if s.code == 410 || s.reason == "Expired" || s.reason == "Gone")
}

impl Reflector {
    /// Lists and watches until cancelled. `version_of` reads an object's resourceVersion.
    pub async fn run<K, V, S>(&self, cancel: CancellationToken, version_of: V, mut sink: S)
    where
        K: DeserializeOwned + Clone + Send + 'static,
        V: Fn(&K) -> Option<&str> + Send + Sync,
        S: FnMut(Event<K>) + Send,
    {
        let work = async {
            let mut backoff = Backoff::default();
            loop {
                let mut version = match self.list(&mut sink).await {
                    Ok(version) => version,
                    Err(e) => {
                        backoff.failed(&self.target.path, "list", &e).await;
                        continue;
                    }
                };
                backoff.granted();
                loop {
                    match self.watch(&mut version, &version_of, &mut sink, &mut backoff).await {
                        Ok(()) => backoff.ended().await,
                        Err(e) if relist_needed(&e) => break,
                        Err(e) => backoff.failed(&self.target.path, "watch", &e).await,
                    }
                }
            }
        };
        // Told to end first: what fails because everything ends is no news.
        tokio::select! { biased; () = cancel.cancelled() => {}, () = work => {} }
    }

    async fn list<K, S>(&self, sink: &mut S) -> Result<String, Error>
    where
        K: DeserializeOwned,
        S: FnMut(Event<K>),
    {
        sink(Event::Restart);
        let mut token: Option<String> = None;
        let mut limit = PAGE;
        loop {
            let mut query = format!("limit={limit}");
            if let Some(t) = &token {
                query = format!("{query}&continue={}", escape(t));
            }
            match self.client.request::<Page>(self.request(&query, "List")?).await {
                Ok(page) => {
                    for item in page.items.into_iter().flatten() {
                        match Decoded::read(&item).map_err(Error::SerdeError)? {
                            Decoded::Object(k) => sink(Event::Apply(k)),
                            Decoded::Unreadable(u) => self.skipped(&u),
                        }
                    }
                    token = page.metadata.continue_token.filter(|t| !t.is_empty());
                    if token.is_none() {
                        let version = page.metadata.resource_version;
                        sink(Event::Restarted(version.clone()));
                        return Ok(version);
                    }
                }
                // A token can expire under a long list; then everything at once, as upstream's pager does.
                Err(e) if relist_needed(&e) && token.is_some() => {
                    (token, limit) = (None, 0);
                    sink(Event::Restart);
                }
                Err(e) => return Err(e),
            }
        }
    }

    async fn watch<K, V, S>(
        &self,
        version: &mut String,
        version_of: &V,
        sink: &mut S,
        backoff: &mut Backoff,
    ) -> Result<(), Error>
    where
        K: DeserializeOwned + Clone + Send + 'static,
        V: Fn(&K) -> Option<&str>,
        S: FnMut(Event<K>),
    {
        let seconds = 300 + random() % 300;
        let query =
            format!("watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={}", escape(version));
        let events = self.client.request_events::<Decoded<K>>(self.request(&query, "")?);
        // A peer that vanished without a word is noticed at last when the server should have closed the watch.
        let deadline = tokio::time::Instant::now() + Duration::from_secs(seconds + 30);
        let body = async {
            let mut events = std::pin::pin!(events.await?);
            backoff.granted();
            while let Some(event) = events.try_next().await? {
                let (k, deleted) = match event {
                    WatchEvent::Added(k) | WatchEvent::Modified(k) => (k, false),
                    WatchEvent::Deleted(k) => (k, true),
                    WatchEvent::Bookmark(b) => {
                        *version = b.metadata.resource_version;
                        continue;
                    }
                    WatchEvent::Error(status) => return Err(Error::Api(status)),
                };
                let k = match k {
                    Decoded::Object(k) => k,
                    Decoded::Unreadable(u) => {
                        self.skipped(&u);
                        if deleted {
                            // Its going can only be told by its absence from a list.
                            return Err(Error::Api(Box::new(Status { code: 410, ..Status::default() })));
                        }
                        u.resource_version.into_iter().for_each(|v| *version = v);
                        continue;
                    }
                };
                if let Some(v) = version_of(&k) {
                    v.clone_into(version);
                }
                sink(if deleted { Event::Delete(k) } else { Event::Apply(k) });
            }
            Ok(())
        };
        tokio::time::timeout_at(deadline, body).await.unwrap_or(Ok(()))
    }

    fn skipped(&self, object: &Unreadable) {
        tracing::warn!(
            path = self.target.path,
            name = object.name,
            error = object.error,
            "object can't be read; skipped"
        );
    }

    fn request(&self, query: &str, list: &str) -> Result<Request<Vec<u8>>, Error> {
        let Target { path, query: more, metadata_only } = &self.target;
        let and = if more.is_empty() { "" } else { "&" };
        let mut request = Request::get(format!("{path}?{query}{and}{more}"));
        if *metadata_only {
            let accept = format!("application/json;as=PartialObjectMetadata{list};g=meta.k8s.io;v=v1,application/json");
            request = request.header(http::header::ACCEPT, accept);
        }
        request.body(Vec::new()).map_err(Error::HttpError)
    }
}

/// Percent-encodes everything that is not plainly safe in a query.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(b as char),
            _ => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

/// Good enough to spread clients over time; nothing depends on it being unguessable.
fn random() -> u64 {
    RandomState::new().hash_one(0u8)
}

struct Backoff {
    next: Duration,
    last_watch: Option<Instant>,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: Self::FIRST, last_watch: None }
    }
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(800);
    const MOST: Duration = Duration::from_secs(30);

    fn granted(&mut self) {
        self.next = Self::FIRST;
    }

    /// A watch that ended well is resumed at once, unless it ended just after it began.
    async fn ended(&mut self) {
        let hasty = self.last_watch.is_some_and(|t| t.elapsed() < Duration::from_secs(1));
        self.last_watch = Some(Instant::now());
        if hasty {
            tokio::time::sleep(Self::FIRST).await;
        }
    }

    async fn failed(&mut self, path: &str, verb: &str, error: &Error) {
        let jitter = self.next.mul_f64(random() as f64 / u64::MAX as f64);
        tracing::warn!(path, verb, %error, "retrying");
        tokio::time::sleep(self.next + jitter).await;
        self.next = (self.next * 2).min(Self::MOST);
    }
}
