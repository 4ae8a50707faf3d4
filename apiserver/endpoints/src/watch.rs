//! Watch: a cursor into the cache's window, turned into frames. Frames that only copy an event's object are made once
//! and shared; what waits is sent in one write. A watcher that falls out of the window is told so (410) and ends.

use std::borrow::Cow;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use api::protobuf::Part;
use bytes::{Bytes, BytesMut};
use cache::{Change, ChangeKind, Entry, Expired, WatchCache, Watcher};
use futures::stream;
use http::{HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use machinery::gvk::GroupVersionKind;
use machinery::status::StatusError;
use model::encoding::Encoding;
use model::options::List;
use model::resource::Resource;
use negotiation::{Accept, Body, Form};
use rand::RngExt;
use serde_json::{Value, json};
use tokio::time::{Instant, Sleep};
use writes::convert;
use writes::selection::Selection;
use writes::strategy::Kind;

use super::respond::{self, Copied};
use super::{Call, list};
use crate::metrics::WatchEvents;

/// How often a watcher that wants bookmarks gets one.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// How long before its end a watcher gets a last one.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);
/// A watch without timeoutSeconds lives this long at least, and twice that at most.
const LIFETIME_SECONDS: u64 = 1_800;
/// Bytes of waiting events put in one write.
const PIECE_BYTES: usize = 64 * 1024;

pub(super) async fn handle(call: Call, row: &Kind) -> Result<Response<Body>, StatusError> {
    let accept = call.answer.negotiate_stream(crate::dispatch::offer(&row.kind()))?;
    if accept.form == Form::Table {
        respond::check_form(&call, row, &accept, true)?;
    }
    let options = List::parse_watch(&call.info.query)?;
    let registry = call.server.registry.clone();
    let cache = registry.cache(row).ok_or_else(crate::dispatch::no_such_path)?;
    let mut selection = Selection::new(&registry, row, &*list::named(&options, &call.info.name)?)?;
    selection.within(call.namespace());
    let started = begin(&call, row, &cache, &options, &selection).await;
    let copied = Copied::of(&accept);
    let lifetime = match options.timeout_seconds {
        None | Some(0) => rand::rng().random_range(LIFETIME_SECONDS..LIFETIME_SECONDS * 2),
        Some(seconds) => u64::try_from(seconds).unwrap_or_default(),
    };
    let end = Instant::now() + Duration::from_secs(lifetime);
    let events = call.server.metrics.watch_events(&row.group, &row.version, &row.resource);
    let encoder = Encoder { events, call, row: row.clone(), accept, copied, selection, first_table: true };
    let close = options.initial_events == Some(true) && options.bookmarks;
    // As upstream: once access was granted and the options are good, faults are events.
    let (state, watcher) = match started {
        // Less than no time.
        Ok(_) if lifetime == 0 => (State::Ended, None),
        Ok((initial, watcher)) => (State::Initial { initial, close }, Some(watcher)),
        Err(error) => (State::Failed(error), None),
    };
    // The stream hands it from one event to the next: a pointer, not all of it.
    let session = Box::new(Session { schedule: Schedule::until(end, options.bookmarks), state, watcher, encoder });
    let content = session.encoder.accept.encoding.stream_type();
    let pieces = stream::unfold(session, |mut session| async move {
        let piece = session.next().await?;
        Some((Ok::<_, std::io::Error>(Frame::data(piece)), session))
    });
    let mut response = Response::new(StreamBody::new(pieces).boxed_unsync());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content));
    Ok(response)
}

/// The objects that a watch begins with, and the cursor after them.
async fn begin(
    call: &Call,
    row: &Resource,
    cache: &Arc<WatchCache>,
    options: &List,
    selection: &Selection,
) -> Result<(Vec<Arc<Entry>>, Watcher), StatusError> {
    let feed = call.server.registry.feed();
    let revision = options.resource_version;
    let with_state = options.initial_events.unwrap_or(revision.unwrap_or(0) == 0);
    if with_state {
        match revision {
            Some(0) => {}
            Some(revision) => feed.reached(revision).await?,
            None => feed.caught_up().await?,
        }
    } else if revision.is_none() {
        feed.caught_up().await?;
    }
    let snapshot = cache.snapshot();
    let (initial, from) = match revision {
        _ if with_state => {
            if let Some(key) = snapshot.unreadable(call.namespace()) {
                return Err(model::store::unreadable(key, "of a watch's initial state"));
            }
            let range = snapshot.range(call.namespace(), None);
            let mut selected: Vec<Arc<Entry>> = match selection.is_of_version() {
                true => selection.in_version(&call.server.registry, row, range).await?,
                false => range.filter(|entry| selection.matches_key(entry)).cloned().collect(),
            };
            selected.retain(|entry| selection.matches(entry));
            (selected, snapshot.revision)
        }
        Some(revision) if revision > 0 => (Vec::new(), revision),
        _ => (Vec::new(), snapshot.revision),
    };
    let watcher = cache.watch(from).map_err(|expired| StatusError::expired(expired.to_string()))?;
    Ok((initial, watcher))
}

/// What a watch does by the clock: it ends, and before that may tell bookmarks, at intervals and shortly before its end, so
/// that the next one need not begin long ago (`cacher/cache_watcher.go`).
struct Schedule {
    end: Instant,
    bookmarks: bool,
    next: Instant,
    timer: Pin<Box<Sleep>>,
    /// The task that the timer will wake. It is asked once and not at each event: there are many watches, and each event
    /// wakes them all.
    wakes: Option<Waker>,
}

enum Due {
    Bookmark,
    End,
}

impl Schedule {
    fn until(end: Instant, bookmarks: bool) -> Self {
        let timer = Box::pin(tokio::time::sleep_until(end));
        let mut schedule = Self { end, bookmarks, next: end, timer, wakes: None };
        schedule.set(Instant::now());
        schedule
    }

    fn set(&mut self, now: Instant) {
        let last = self.end.checked_sub(BOOKMARK_BEFORE_END).filter(|last| *last > now).unwrap_or(self.end);
        self.next = if self.bookmarks { last.min(now + BOOKMARK_EVERY) } else { self.end };
        self.timer.as_mut().reset(self.next);
        self.wakes = None;
    }

    /// What is to be done next, when it is time.
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Due> {
        let now = Instant::now();
        if now < self.next {
            if self.wakes.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                return Poll::Pending;
            }
            self.wakes = Some(cx.waker().clone());
            // Whatever this task's budget: a timer that was not asked wakes nobody.
            ready!(pin!(tokio::task::unconstrained(self.timer.as_mut())).poll(cx));
        }
        if self.next >= self.end {
            return Poll::Ready(Due::End);
        }
        self.set(now);
        Poll::Ready(Due::Bookmark)
    }
}

enum State {
    /// The objects that were there, and whether a bookmark closes them.
    Initial {
        initial: Vec<Arc<Entry>>,
        close: bool,
    },
    Live,
    /// To be told and ended.
    Failed(StatusError),
    Ended,
}

struct Session {
    schedule: Schedule,
    state: State,
    watcher: Option<Watcher>,
    encoder: Encoder,
}

impl Session {
    /// The next bytes to send; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            match std::mem::replace(&mut self.state, State::Live) {
                State::Ended => {
                    self.state = State::Ended;
                    return None;
                }
                State::Failed(error) => {
                    self.state = State::Ended;
                    return Some(self.encoder.error(&error));
                }
                State::Initial { mut initial, close } => {
                    if initial.is_empty() {
                        if close {
                            return Some(self.encoder.bookmark(self.watcher.as_ref()?.cursor(), true));
                        }
                        // Headers go out before the first event: an empty state still needs a first write.
                        continue;
                    }
                    let mut out = BytesMut::new();
                    let mut sent = 0;
                    let mut failed = None;
                    for entry in &initial {
                        if out.len() >= PIECE_BYTES {
                            break;
                        }
                        match self.encoder.event(ChangeKind::Added, entry).await {
                            Ok(frame) => out.extend_from_slice(&frame),
                            Err(error) => {
                                failed = Some(error);
                                break;
                            }
                        }
                        sent += 1;
                    }
                    if let Some(error) = failed {
                        out.extend_from_slice(&self.encoder.error(&error));
                        self.state = State::Ended;
                        return Some(out.freeze());
                    }
                    initial.drain(..sent);
                    self.state = State::Initial { initial, close };
                    return Some(out.freeze());
                }
                State::Live => {}
            }
            let (watcher, schedule) = (self.watcher.as_mut()?, &mut self.schedule);
            let next = poll_fn(|cx| match watcher.poll_next(cx) {
                Poll::Ready(told) => Poll::Ready(Next::Told(told)),
                Poll::Pending => schedule.poll_due(cx).map(Next::Due),
            });
            match next.await {
                Next::Told(Ok(Some(batch))) => match self.encoder.batch(&batch).await {
                    Ok(Some(piece)) => return Some(piece),
                    Ok(None) => {}
                    Err(error) => self.state = State::Failed(error),
                },
                Next::Told(Ok(None)) | Next::Due(Due::End) => self.state = State::Ended,
                Next::Told(Err(expired)) => self.state = State::Failed(StatusError::expired(expired.to_string())),
                Next::Due(Due::Bookmark) => {
                    if let Some(revision) = watcher.bookmark() {
                        return Some(self.encoder.bookmark(revision, false));
                    }
                }
            }
        }
    }
}

/// What a watch goes on with.
enum Next {
    /// What the cache tells: events, or that there will be none.
    Told(Result<Option<Vec<Arc<Change>>>, Expired>),
    /// What the clock does.
    Due(Due),
}

/// Turns events into the frames that one client asked for.
struct Encoder {
    call: Call,
    row: Kind,
    accept: Accept,
    /// What of an entry in the client's version is copied.
    copied: Option<Copied>,
    selection: Selection,
    first_table: bool,
    events: WatchEvents,
}

impl Encoder {
    /// The frames of those events that the client selects, in one piece; `None` where it selects none.
    async fn batch(&mut self, batch: &[Arc<Change>]) -> Result<Option<Bytes>, StatusError> {
        let mut frames: Vec<Bytes> = Vec::with_capacity(batch.len());
        for change in batch {
            let Some((kind, entry)) = self.selected(change).await? else { continue };
            // What the event is to everybody is made once.
            let shared = match self.copied {
                _ if kind != change.kind || !self.is_whole(change, &entry) => None,
                Some(Copied::Json) => Some(change.frame()),
                Some(Copied::Protobuf(Part::Whole)) => change.protobuf_frame(),
                _ => None,
            };
            frames.push(match shared {
                Some(frame) => {
                    self.events.sent(frame.len());
                    frame
                }
                None => self.event(kind, &entry).await?,
            });
        }
        Ok(match frames.len() {
            0 => None,
            1 => frames.pop(),
            _ => Some(frames.concat().into()),
        })
    }

    /// What the event is to this client: objects enter and leave its selection.
    async fn selected<'c>(&self, change: &'c Change) -> Result<Option<(ChangeKind, Cow<'c, Arc<Entry>>)>, StatusError> {
        let (mut entry, mut previous) = (Cow::Borrowed(&change.entry), change.previous.as_ref().map(Cow::Borrowed));
        if self.selection.is_of_version() && self.selection.matches_key(&entry) {
            let both = [Some(&change.entry), change.previous.as_ref()].into_iter().flatten();
            let mut both = self.selection.in_version(&self.call.server.registry, &self.row, both).await?.into_iter();
            entry = both.next().map_or(entry, Cow::Owned);
            previous = both.next().map(Cow::Owned);
        }
        let before = previous.as_ref().is_some_and(|entry| self.selection.matches(entry));
        let after = change.kind != ChangeKind::Deleted && self.selection.matches(&entry);
        Ok(match (before, after) {
            (false, true) => Some((ChangeKind::Added, entry)),
            (true, true) => Some((ChangeKind::Modified, entry)),
            (true, false) if change.kind == ChangeKind::Deleted => Some((ChangeKind::Deleted, entry)),
            // The old object, at the revision of the change that took it out of the selection.
            (true, false) => previous.map(|old| (ChangeKind::Deleted, Cow::Owned(Arc::new(old.at(change.revision()))))),
            (false, false) => None,
        })
    }

    /// Whether an event's object is sent to this client as it is cached.
    fn is_whole(&self, change: &Change, entry: &Arc<Entry>) -> bool {
        Arc::ptr_eq(&change.entry, entry) && convert::is_in(&self.call.server.registry, &self.row, entry)
    }

    async fn event(&mut self, kind: ChangeKind, entry: &Arc<Entry>) -> Result<Bytes, StatusError> {
        let frame = self.encoded(kind, entry).await?;
        self.events.sent(frame.len());
        Ok(frame)
    }

    async fn encoded(&mut self, kind: ChangeKind, entry: &Arc<Entry>) -> Result<Bytes, StatusError> {
        let entry = convert::entry(&self.call.server.registry, &self.row, entry).await?;
        let copied = match (self.copied, self.accept.encoding, self.accept.form) {
            (Some(Copied::Json), ..) => Some(cache::frame(kind, &entry)),
            (Some(Copied::Protobuf(part)), ..) => cache::protobuf_frame(kind, &entry, part),
            (None, Encoding::Json, Form::Metadata | Form::MetadataList) => {
                cache::metadata_frame(kind, &entry, self.accept.form_version)
            }
            _ => None,
        };
        Ok(copied.unwrap_or_else(|| self.value(kind.as_str(), entry.decode())))
    }

    fn value(&mut self, name: &str, object: Value) -> Bytes {
        let (object, kind) = match self.accept.form {
            Form::Plain => (object, self.row.kind()),
            Form::Metadata | Form::MetadataList => {
                (respond::partial(&object, &self.accept), respond::meta_kind("PartialObjectMetadata", &self.accept))
            }
            Form::Table => {
                let metadata = json!({ "resourceVersion": object["metadata"]["resourceVersion"] });
                let mut table = respond::table(&self.call, &self.row, vec![object], metadata, &self.accept);
                // Columns are said once.
                if !std::mem::take(&mut self.first_table) {
                    table["columnDefinitions"] = Value::Null;
                }
                (table, respond::meta_kind("Table", &self.accept))
            }
        };
        self.raw(name, &object, &kind)
    }

    fn raw(&self, name: &str, object: &Value, kind: &GroupVersionKind) -> Bytes {
        if self.accept.encoding == Encoding::Protobuf {
            let (bytes, mut out) = (model::encoding::protobuf(object, kind), Vec::new());
            api::protobuf::frame(name, bytes.len(), |out| out.extend_from_slice(&bytes), &mut out);
            return out.into();
        }
        let mut out = format!("{{\"type\":\"{name}\",\"object\":").into_bytes();
        out.extend_from_slice(&model::encoding::encode(object, kind));
        out.extend_from_slice(b"}\n");
        out.into()
    }

    fn bookmark(&mut self, revision: i64, closes_initial: bool) -> Bytes {
        let mut metadata = json!({ "resourceVersion": revision.to_string(), "creationTimestamp": null });
        if closes_initial {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        let object = json!({ "kind": self.row.kind, "apiVersion": self.row.api_version(), "metadata": metadata });
        match self.accept.form {
            Form::Plain => self.raw("BOOKMARK", &object, &self.row.kind()),
            _ => self.value("BOOKMARK", object),
        }
    }

    fn error(&self, error: &StatusError) -> Bytes {
        self.raw("ERROR", &error.to_value(), &GroupVersionKind::new("", "v1", "Status"))
    }
}
