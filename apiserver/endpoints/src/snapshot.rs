//! `/ferry/snapshot`: the whole store at one revision, as a snapshot file's bytes, while the server goes on serving.
//!
//! It is read through the storage trait, so it is the same on every engine: pages at one revision, a few chunks of them in
//! memory, compressed two at a time. A reader that is slower than the store's compaction (five to ten minutes) gets a stream
//! that breaks off, which is no snapshot to anybody. Follows in its idea etcd's `Maintenance.Snapshot`.

use std::io;
use std::sync::Arc;

use access::authz::{Attributes, Decision};
use bytes::Bytes;
use component::supervisor::blocking;
use futures::{StreamExt, TryStreamExt, stream};
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use jiff::Timestamp;
use machinery::meta;
use machinery::status::StatusError;
use model::VERSION;
use model::resource::Sort;
use model::resources::NAMESPACES;
use model::store::unavailable;
use negotiation::Body;
use snapshots::{CHUNK_BYTES, Encoder, Header, Kind, Object, Packed};
use storage::{KeyValue, RangeOptions, Revision, Storage};
use tokio::sync::{Semaphore, SemaphorePermit};
use writes::Registry;

use super::Call;

/// Everything of the cluster's is below it.
const ROOT: &str = "/registry/";
/// Keys of the first page: their size is not known yet.
const FIRST_PAGE: usize = 64;
const PAGE_MOST: usize = 2_000;
/// So much is wanted of a page.
const PAGE_BYTES: usize = 2 * CHUNK_BYTES;
/// Chunks that are packed at a time.
const AT_A_TIME: usize = 2;
/// What is left of a key's life where its engine does not say.
const UNKNOWN_TTL_SECONDS: u64 = 60;

/// Snapshots that are taken at a time: each has a few chunks in memory as long as its reader takes.
static TAKEN: Semaphore = Semaphore::const_new(4);

pub(super) async fn serve(call: &Call) -> Result<Response<Body>, StatusError> {
    allowed(call)?;
    let seat = TAKEN.try_acquire().map_err(|_| {
        StatusError::too_many_requests("several snapshots are being taken already, please try again later", 30)
    })?;
    let registry = &call.server.registry;
    let storage = registry.storage().clone();
    let revision = storage.revision().await.map_err(unavailable)?;
    let options = RangeOptions { revision: Some(revision), count_only: true, ..RangeOptions::default() };
    let keys = storage.range(ROOT, options).await.map_err(unavailable)?.count;
    let system = registry.get(&NAMESPACES, None, "kube-system");
    let header = Header {
        cluster: system.map(|namespace| meta::uid(&namespace).to_owned()).unwrap_or_default(),
        revision,
        server_version: VERSION.to_owned(),
        time: Timestamp::from_second(call.now.as_second()).unwrap_or(call.now).to_string(),
        keys: u64::try_from(keys).unwrap_or(0),
        canonical: !storage.is_shared(),
        cluster_keys: false,
        volumes: String::new(),
        data_dir: String::new(),
        encryption: None,
    };
    let (encoder, begin) = Encoder::begin(&header, None).map_err(|error| {
        tracing::error!(%error, "no snapshot can be begun");
        StatusError::internal("the snapshot could not be begun")
    })?;
    let mut response = Response::new(match call.parts.method {
        Method::HEAD => negotiation::full(""),
        _ => body(Pages::new(storage, registry, revision, call.now), encoder, begin, seat),
    });
    *response.status_mut() = StatusCode::OK;
    let kind = HeaderValue::from_static("application/vnd.ferry.snapshot");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// The path is open to whoever may get it; what it gives is everything, Secrets too. So a role for all paths, as monitoring
/// often has, is not enough: its reader has to be somebody who may list everything anyway.
fn allowed(call: &Call) -> Result<(), StatusError> {
    let everything = Attributes::resource(call.user(), "list", "*", "*");
    match call.server.authorizer.authorize(&everything) {
        Decision::Allow(_) => Ok(()),
        _ => Err(access::authz::forbidden(&everything, "a snapshot holds every object")),
    }
}

fn body(pages: Pages, encoder: Encoder, begin: Vec<u8>, seat: SemaphorePermit<'static>) -> Body {
    let packed = stream::try_unfold(pages, Pages::next)
        .map_ok(|objects| async move {
            blocking("a snapshot's chunk", move || pack(&objects)).await.map_err(io::Error::other)?
        })
        .try_buffered(AT_A_TIME);
    let begun = stream::once(async { Ok(Bytes::from(begin)) });
    let chunks = stream::unfold(Some((encoder, packed.boxed())), |state| async move {
        let (mut encoder, mut packed) = state?;
        let piece = match packed.next().await {
            Some(Ok(chunk)) => encoder.chunk(chunk).map(|bytes| (bytes, Some((encoder, packed)))),
            Some(Err(error)) => return Some((Err(error), None)),
            None => encoder.end().map(|(bytes, _)| (bytes, None)),
        };
        Some(match piece {
            Ok((bytes, state)) => (Ok(Bytes::from(bytes)), state),
            Err(error) => (Err(io::Error::other(error)), None),
        })
    });
    let frames = begun.chain(chunks).map(move |piece| {
        // Taken until the last of it is sent, or nobody wants it any more.
        let _taken = &seat;
        piece.map(Frame::data).inspect_err(|error| tracing::warn!(%error, "a snapshot broke off"))
    });
    StreamBody::new(frames).boxed_unsync()
}

fn pack(objects: &[Object]) -> io::Result<Packed> {
    let mut content = Vec::with_capacity(objects.iter().map(Object::size).sum());
    objects.iter().try_for_each(|object| object.encode(&mut content)).map_err(io::Error::other)?;
    let count = u32::try_from(objects.len()).map_err(io::Error::other)?;
    Packed::new(Kind::Objects, count, &content).map_err(io::Error::other)
}

/// The store at one revision, a chunk's objects at a time.
struct Pages {
    storage: Arc<dyn Storage>,
    revision: Revision,
    now: i64,
    /// Times to live by the keys' prefix, where the engine does not tell when a key expires.
    ttls: Option<Vec<(String, u64)>>,
    limit: usize,
    page: std::vec::IntoIter<KeyValue>,
    last: Option<String>,
    more: bool,
}

impl Pages {
    fn new(storage: Arc<dyn Storage>, registry: &Registry, revision: Revision, now: Timestamp) -> Self {
        let prefix = |row: &model::resource::Resource| match (&row.sort, row.ttl_seconds) {
            (Sort::Stored { prefix }, Some(seconds)) => Some((format!("{ROOT}{prefix}/"), seconds)),
            _ => None,
        };
        let ttls =
            storage.is_shared().then(|| registry.built_in().iter().filter_map(|kind| prefix(&kind.row)).collect());
        let (now, page) = (now.as_second(), Vec::new().into_iter());
        Self { storage, revision, now, ttls, limit: FIRST_PAGE, page, last: None, more: true }
    }

    /// Objects for a chunk, and what follows.
    async fn next(mut self) -> io::Result<Option<(Vec<Object>, Self)>> {
        let (mut objects, mut size) = (Vec::new(), 0);
        while size < CHUNK_BYTES {
            match self.page.next() {
                Some(kv) => {
                    let object = self.object(kv);
                    size += object.size();
                    objects.push(object);
                }
                None if self.more => self.read().await?,
                None => break,
            }
        }
        Ok((!objects.is_empty()).then_some((objects, self)))
    }

    async fn read(&mut self) -> io::Result<()> {
        let (revision, start_after) = (Some(self.revision), self.last.clone());
        let options = RangeOptions { revision, limit: self.limit, start_after, ..RangeOptions::default() };
        let page = self.storage.range(ROOT, options).await.map_err(io::Error::other)?;
        let bytes: usize = page.kvs.iter().map(|kv| kv.key.len() + kv.value.len()).sum();
        // As many as fill a page by what these took, and no leap upwards.
        let fitting = page.kvs.len() * PAGE_BYTES / bytes.max(1);
        self.limit = fitting.clamp(1, (self.limit * 4).min(PAGE_MOST));
        self.more = page.more;
        self.last = page.kvs.last().map(|kv| kv.key.to_string());
        self.page = page.kvs.into_iter();
        Ok(())
    }

    fn object(&self, kv: KeyValue) -> Object {
        let expires = match (&self.ttls, kv.lease) {
            (_, 0) => 0,
            // The embedded store's is the time itself.
            (None, expires) => expires,
            // etcd's is a number: at most so long from now, since it was written before.
            (Some(ttls), _) => {
                let ttl = ttls.iter().find(|(prefix, _)| kv.key.starts_with(prefix.as_str()));
                let seconds = ttl.map_or(UNKNOWN_TTL_SECONDS, |(_, seconds)| *seconds);
                self.now.saturating_add_unsigned(seconds)
            }
        };
        Object {
            key: kv.key.to_string(),
            value: kv.value,
            mod_revision: kv.mod_revision,
            create_revision: kv.create_revision,
            version: kv.version,
            expires,
        }
    }
}
