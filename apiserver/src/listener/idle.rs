//! The end of a connection that asks nothing: after upstream's 90 s it is told to close, and a client that does not hear
//! even that (it never spoke) is cut off soon after. Thousands of silent connections end by themselves.
//!
//! A connection is busy while a request of it is served or its answer streams: a watch may be quiet for hours.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Response;
use http_body::Body as _;
use http_body_util::BodyExt;
use negotiation::Body;
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep};

/// How long a connection may be idle, as upstream's.
pub(super) const LIMIT: Duration = Duration::from_secs(90);
/// How long one that was told to close may take for it.
const GRACE: Duration = Duration::from_secs(10);

struct State {
    busy: AtomicUsize,
    /// When it was last busy.
    since: Mutex<Instant>,
}

/// What is to be done with a connection that asks nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Tell it to close.
    Close,
    /// Cut it off.
    Cut,
}

/// Watches one connection.
pub(super) struct Idle {
    state: Arc<State>,
    /// `None`: it may be idle as long as it likes.
    timer: Option<(Duration, Pin<Box<Sleep>>)>,
    told: bool,
}

impl Idle {
    /// Ends a connection that was idle for that long.
    pub(super) fn after(limit: Duration) -> Self {
        Self { timer: Some((limit, Box::pin(tokio::time::sleep(limit)))), ..Self::never() }
    }

    /// Ends none.
    pub(super) fn never() -> Self {
        let state = State { busy: AtomicUsize::new(0), since: Mutex::new(Instant::now()) };
        Self { state: Arc::new(state), timer: None, told: false }
    }

    /// What its requests are noted with.
    pub(super) fn activity(&self) -> Activity {
        Activity(self.state.clone())
    }

    /// The next step, when its time has come.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        let Some((limit, timer)) = &mut self.timer else { return Poll::Pending };
        loop {
            ready!(timer.as_mut().poll(cx));
            let now = Instant::now();
            let since = if self.state.busy.load(Ordering::Acquire) > 0 { now } else { *self.state.since.lock() };
            let wait = if self.told { GRACE } else { *limit };
            if since + wait > now {
                timer.as_mut().reset(since + wait);
                continue;
            }
            if self.told {
                return Poll::Ready(Step::Cut);
            }
            self.told = true;
            *self.state.since.lock() = now;
            timer.as_mut().reset(now + GRACE);
            // For its waker; it has just been set.
            let _ = timer.as_mut().poll(cx);
            return Poll::Ready(Step::Close);
        }
    }
}

/// See [`Idle::activity`].
#[derive(Clone)]
pub(super) struct Activity(Arc<State>);

impl Activity {
    /// A request begins.
    pub(super) fn busy(&self) -> Busy {
        self.0.busy.fetch_add(1, Ordering::AcqRel);
        Busy(self.0.clone())
    }
}

/// A request and its answer.
pub(super) struct Busy(Arc<State>);

impl Busy {
    /// Goes on while the answer streams; one that is whole already is the connection's to send.
    pub(super) fn until_sent(self, response: Response<Body>) -> Response<Body> {
        if response.body().size_hint().exact().is_some() {
            return response;
        }
        response.map(|body| {
            body.map_frame(move |frame| {
                let _busy = &self;
                frame
            })
            .boxed_unsync()
        })
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        *self.0.since.lock() = Instant::now();
        self.0.busy.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_is_told_to_close_and_then_cut() {
        let (mut idle, began) = (Idle::after(LIMIT), Instant::now());
        assert_eq!(poll_fn(|cx| idle.poll(cx)).await, Step::Close);
        assert_eq!(began.elapsed().as_secs(), 90);
        assert_eq!(poll_fn(|cx| idle.poll(cx)).await, Step::Cut);
        assert_eq!(began.elapsed().as_secs(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_streams_keeps_it() {
        let (mut idle, began) = (Idle::after(LIMIT), Instant::now());
        let request = idle.activity().busy();
        let stream = http_body_util::StreamBody::new(futures::stream::pending()).boxed_unsync();
        let answer = request.until_sent(Response::new(stream));
        let quiet = tokio::time::timeout(Duration::from_secs(1000), poll_fn(|cx| idle.poll(cx))).await;
        assert!(quiet.is_err(), "{quiet:?}");
        drop(answer);
        assert_eq!(poll_fn(|cx| idle.poll(cx)).await, Step::Close);
        assert_eq!(began.elapsed().as_secs(), 1090);
    }
}
