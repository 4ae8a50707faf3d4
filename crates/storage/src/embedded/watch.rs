//! Watches pull: a watcher keeps a revision and reads on from it when it is woken, so a slow one costs no memory and can't
//! hold up anything, and one that falls behind the floor is told so. The writer wakes only those whose prefix it wrote under.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::stream;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::view::View;
use crate::{Error, Result, Revision, WatchItem, WatchStream};

/// Events in one item.
const ITEM_EVENTS: usize = 1_000;

/// The open watches.
#[derive(Default)]
pub struct Watchers(Mutex<Vec<Arc<Watcher>>>);

struct Watcher {
    prefix: Box<str>,
    news: Notify,
    progress_wanted: AtomicBool,
}

impl Watchers {
    /// Wakes those that watch one of these keys.
    pub fn wake<'a>(&self, keys: impl Iterator<Item = &'a str> + Clone) {
        for watcher in self.0.lock().iter() {
            if keys.clone().any(|key| key.starts_with(&*watcher.prefix)) {
                watcher.news.notify_one();
            }
        }
    }

    /// Wakes them all: something is true now that is not under one prefix.
    pub fn wake_all(&self) {
        self.0.lock().iter().for_each(|w| w.news.notify_one());
    }

    /// See `Storage::request_progress`.
    pub fn request_progress(&self, prefix: &str) {
        for watcher in self.0.lock().iter().filter(|w| &*w.prefix == prefix) {
            watcher.progress_wanted.store(true, Ordering::SeqCst);
            watcher.news.notify_one();
        }
    }
}

/// One stream's place in history; takes the watcher off the list when the stream is dropped.
struct Cursor {
    view: Arc<View>,
    watcher: Arc<Watcher>,
    next: Revision,
}

impl Drop for Cursor {
    fn drop(&mut self) {
        self.view.watchers.0.lock().retain(|w| !Arc::ptr_eq(w, &self.watcher));
    }
}

/// A watch; see `Storage::watch`.
pub fn open(view: &Arc<View>, prefix: &str, from: Revision) -> Result<WatchStream> {
    let from = from.max(1);
    view.state.read().events(prefix, from, 1)?; // an answer at once if history does not reach back
    let watcher =
        Arc::new(Watcher { prefix: prefix.into(), news: Notify::new(), progress_wanted: AtomicBool::new(false) });
    view.watchers.0.lock().push(watcher.clone());
    let cursor = Cursor { view: view.clone(), watcher, next: from };
    Ok(WatchStream::new(stream::unfold(Some(cursor), |cursor| async {
        let mut cursor = cursor?;
        let item = cursor.advance().await;
        let cursor = item.is_ok().then_some(cursor);
        Some((item, cursor))
    })))
}

impl Cursor {
    async fn advance(&mut self) -> Result<WatchItem> {
        loop {
            if self.view.is_closed() {
                return Err(Error::Closed);
            }
            // Taken before reading: the answer must not be older than the question.
            let progress_wanted = self.watcher.progress_wanted.swap(false, Ordering::SeqCst);
            let (events, complete) = self.view.state.read().events(&self.watcher.prefix, self.next, ITEM_EVENTS)?;
            self.next = self.next.max(complete + 1);
            if !events.is_empty() {
                if progress_wanted {
                    self.watcher.progress_wanted.store(true, Ordering::SeqCst);
                }
                return Ok(WatchItem::Events(events));
            }
            if progress_wanted {
                return Ok(WatchItem::Progress(complete));
            }
            self.watcher.news.notified().await;
        }
    }
}
