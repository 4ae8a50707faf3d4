//! Observation: when a request begins, when its answer begins and when the last byte of that is sent, whoever tells of requests
//! reads its record: metrics and the access log. What ends without an answer, since its client has gone, ends here too.

use std::sync::Arc;

use endpoints::metrics::Seen;
use http::Response;
use http_body::Body as _;
use model::record::Record;
use negotiation::Body;

use super::audit;
use super::following::follow;
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
        let sources = &self.server.sources;
        let served =
            |info: &model::request_info::RequestInfo| sources.serves(&info.group, &info.version, &info.resource);
        let seen = self.seen.insert(self.server.metrics.answered(&self.record, served));
        match response.body().size_hint().exact() {
            Some(bytes) if !seen.long_running() => self.record.sent(bytes),
            _ if seen.until_the_end() || audit::logs() => {
                return response.map(|body| follow(body, self, |under_way, bytes| under_way.record.sent(bytes as u64)));
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
