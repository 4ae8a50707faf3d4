//! A watch on etcd that outlives its connections: a task a watch, which knows the next revision it wants and asks for it
//! again, on the next member if need be, until history there is compacted or nobody reads.
//!
//! A gRPC stream a watch, not one for all: a slow reader then stops its own stream by flow control and no other's, and a
//! progress answer belongs to one watch. They share one connection.

use std::sync::Arc;
use std::time::Duration;

use component::supervisor::{Name, detached, guarded_future};
use futures::StreamExt;
use parking_lot::Mutex;
use proto::etcd::etcdserverpb as pb;
use proto::etcd::mvccpb;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};

use super::transport::{self, Transport};
use super::{key_value, prefix_end};
use crate::{Error, Event, EventKind, Result, Revision, WatchItem, WatchStream};

/// Items that wait for the reader; more stay in etcd.
const BUFFERED_ITEMS: usize = 16;
/// etcd drops a progress request while a watch is catching up, so it is repeated.
const PROGRESS_REPEAT: Duration = Duration::from_millis(100);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The open watches, for progress requests.
#[derive(Default)]
pub(super) struct Watchers(Mutex<Vec<(Box<str>, watch::Sender<Revision>)>>);

impl Watchers {
    pub(super) fn open(&self, transport: Arc<Transport>, prefix: &str, from: Revision, progress: bool) -> WatchStream {
        let (items, stream) = mpsc::channel(BUFFERED_ITEMS);
        let (want, wanted) = watch::channel(0);
        let mut watchers = self.0.lock();
        watchers.retain(|(_, sender)| !sender.is_closed());
        watchers.push((prefix.into(), want));
        drop(watchers);
        let watcher =
            Watcher { transport, prefix: prefix.to_owned(), next: from, progress, items, wanted, reported: 0 };
        run(prefix, watcher.items.clone(), watcher.run());
        WatchStream::new(ReceiverStream::new(stream))
    }

    /// Wants a progress of at least this revision from the watches on this prefix.
    pub(super) fn request_progress(&self, prefix: &str, revision: Revision) {
        for (_, want) in self.0.lock().iter().filter(|(p, _)| &**p == prefix) {
            // A request for what was reported before still gets an answer: the value changes in any case.
            want.send_modify(|wanted| *wanted = revision.max(*wanted));
        }
    }
}

/// Runs a watch. Its panic is its last item: what it knew of its place is not trusted, its reader begins again from its own.
fn run(prefix: &str, items: mpsc::Sender<Result<WatchItem>>, watch: impl Future<Output = ()> + Send + 'static) {
    let name = Name::from(("etcd-watch", prefix));
    detached(name.clone(), async move {
        if let Err(ended) = guarded_future(name, watch).await {
            drop(items.send(Err(Error::Unavailable(ended.to_string()))).await);
        }
    });
}

struct Watcher {
    transport: Arc<Transport>,
    prefix: String,
    /// The first revision not delivered yet.
    next: Revision,
    /// Whether progress can be relied on.
    progress: bool,
    items: mpsc::Sender<Result<WatchItem>>,
    /// The revision that a reader waits to hear about.
    wanted: watch::Receiver<Revision>,
    /// The newest revision told by events or progress.
    reported: Revision,
}

/// Why a connection's turn ended.
enum End {
    /// Nobody reads any more.
    Unread,
    /// The watch can't go on.
    Over(Error),
    /// The connection failed; it had worked if `true`.
    Lost { reason: String, worked: bool },
}

impl Watcher {
    async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let (index, channel) = self.transport.channel();
            match self.serve(transport::watch(channel)).await {
                End::Unread => return,
                End::Over(error) => {
                    drop(self.items.send(Err(error)).await);
                    return;
                }
                End::Lost { reason, worked } => {
                    tracing::debug!(prefix = %self.prefix, next = self.next, reason, "watch lost its connection");
                    self.transport.failed(index);
                    if worked {
                        pause = FIRST_PAUSE;
                    }
                }
            }
            tokio::select! {
                () = self.items.closed() => return,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            }
        }
    }

    /// Watches over one connection until it ends.
    async fn serve(&mut self, mut client: pb::watch_client::WatchClient<tonic::transport::Channel>) -> End {
        let (requests, outgoing) = mpsc::channel(4);
        let create = pb::WatchCreateRequest {
            key: if self.prefix.is_empty() { vec![0] } else { self.prefix.clone().into_bytes() },
            range_end: prefix_end(&self.prefix),
            start_revision: self.next,
            progress_notify: true,
            prev_kv: true,
        };
        let create = pb::watch_request::RequestUnion::CreateRequest(create);
        drop(requests.send(pb::WatchRequest { request_union: Some(create) }).await);
        let mut request = Request::new(ReceiverStream::new(outgoing));
        // A member that has lost the others ends the watch instead of going silent.
        request.metadata_mut().insert("hasleader", tonic::metadata::MetadataValue::from_static("true"));
        let mut answers = tokio::select! {
            () = self.items.closed() => return End::Unread,
            answer = client.watch(request) => match answer {
                Ok(answer) => answer.into_inner(),
                Err(status) => return End::Lost { reason: status.to_string(), worked: false },
            },
        };
        let mut worked = false;
        loop {
            let asking = self.reported < *self.wanted.borrow();
            let answer = tokio::select! {
                () = self.items.closed() => return End::Unread,
                answer = next(&mut answers) => answer,
                changed = self.wanted.changed() => {
                    if changed.is_err() { return End::Unread; }
                    self.ask_progress(&requests);
                    continue;
                }
                () = tokio::time::sleep(PROGRESS_REPEAT), if asking => {
                    self.ask_progress(&requests);
                    continue;
                }
            };
            match answer {
                Ok(answer) => {
                    worked = true;
                    if let Err(end) = self.deliver(answer).await {
                        return end;
                    }
                }
                Err(reason) => return End::Lost { reason, worked },
            }
        }
    }

    fn ask_progress(&self, requests: &mpsc::Sender<pb::WatchRequest>) {
        let progress = pb::watch_request::RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
        // Full means that requests are waiting already.
        drop(requests.try_send(pb::WatchRequest { request_union: Some(progress) }));
    }

    async fn deliver(&mut self, answer: pb::WatchResponse) -> std::result::Result<(), End> {
        let revision = self.transport.seen(answer.header.as_ref());
        if answer.canceled {
            if answer.compact_revision > 0 {
                return Err(End::Over(Error::Compacted { floor: answer.compact_revision }));
            }
            return Err(End::Lost { reason: format!("canceled: {}", answer.cancel_reason), worked: false });
        }
        if answer.created {
            return Ok(());
        }
        let item = if answer.events.is_empty() {
            if !self.progress || revision < self.reported {
                return Ok(());
            }
            self.reported = revision;
            self.next = self.next.max(revision + 1);
            WatchItem::Progress(revision)
        } else {
            let events: Result<Vec<Event>> = answer.events.into_iter().map(event).collect();
            let events = events.map_err(End::Over)?;
            let newest = events.last().map_or(0, |e| e.revision);
            self.next = self.next.max(newest + 1);
            self.reported = self.reported.max(newest);
            WatchItem::Events(events)
        };
        self.items.send(Ok(item)).await.map_err(|_| End::Unread)
    }
}

async fn next(answers: &mut Streaming<pb::WatchResponse>) -> std::result::Result<pb::WatchResponse, String> {
    match answers.next().await {
        Some(Ok(answer)) => Ok(answer),
        Some(Err(status)) => Err(status.to_string()),
        None => Err("ended by etcd".to_owned()),
    }
}

fn event(event: mvccpb::Event) -> Result<Event> {
    let kind = match event.r#type() {
        mvccpb::event::EventType::Put => EventKind::Put,
        mvccpb::event::EventType::Delete => EventKind::Delete,
    };
    let previous = event.prev_kv.map(key_value).transpose()?;
    let kv = event.kv.ok_or_else(|| Error::Corrupt("an event of etcd without a key".to_owned())).and_then(key_value)?;
    let create_revision = match kind {
        EventKind::Put => kv.create_revision,
        EventKind::Delete => previous.as_ref().map_or(0, |p| p.create_revision),
    };
    Ok(Event { key: kv.key, kind, value: kv.value, previous, revision: kv.mod_revision, create_revision })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_watch_that_panics_ends_with_an_error_that_its_reader_sees() {
        let (items, stream) = mpsc::channel(1);
        let watch = items.clone();
        run("/registry/", items, async move {
            watch.send(Ok(WatchItem::Progress(3))).await.unwrap();
            panic!("in the middle of it");
        });
        let seen: Vec<_> = ReceiverStream::new(stream).collect().await;
        let [Ok(WatchItem::Progress(3)), Err(Error::Unavailable(why))] = &seen[..] else { panic!("{seen:?}") };
        assert!(why.starts_with("etcd-watch//registry/ panicked: in the middle of it"), "{why}");
    }
}
