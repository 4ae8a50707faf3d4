//! Observation: when a request begins, when its answer begins and when the last byte of that is sent, whoever tells of requests
//! reads its record: metrics and the access log. What ends without an answer, since its client has gone, ends here too.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use endpoints::metrics::Seen;
use http::Response;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use model::record::Record;
use negotiation::Body;

use super::audit;
use crate::Server;

/// A request until the last byte of its answer.
pub struct UnderWay {
    server: Arc<Server>,
    record: Arc<Record>,
    seen: Option<Seen>,
}

/// A request whose head is there.
pub fn begin(server: &Arc<Server>, record: &Arc<Record>) -> UnderWay {
    server.metrics.begun(record);
    UnderWay { server: server.clone(), record: record.clone(), seen: None }
}

impl UnderWay {
    /// The answer begins. Its body is followed where somebody wants to know of its end.
    pub fn answered(mut self, response: Response<Body>) -> Response<Body> {
        self.record.answered(response.status().as_u16());
        let registry = &self.server.registry;
        let served = |info: &model::request_info::RequestInfo| {
            registry.rows().at_path(&info.group, &info.version, &info.resource).is_some()
        };
        let seen = self.seen.insert(self.server.metrics.answered(&self.record, served));
        match response.body().size_hint().exact() {
            Some(bytes) if !seen.long_running() => self.record.sent(bytes),
            _ if seen.until_the_end() || audit::logs() => {
                return response.map(|body| Sending { body, under_way: self }.boxed_unsync());
            }
            _ => {}
        }
        response
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        match self.seen.take() {
            Some(seen) => seen.ended(&self.record),
            None => self.server.metrics.abandoned(&self.record),
        }
        if audit::logs() {
            audit::ended(&self.record);
        }
    }
}

/// An answer's body that is followed to its end.
struct Sending {
    body: Body,
    under_way: UnderWay,
}

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.under_way.record.sent(frame.data_ref().map_or(0, |data| data.len() as u64));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
