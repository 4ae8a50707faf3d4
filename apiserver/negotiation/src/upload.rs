//! A request's body until somebody reads it. Where nobody does (the request is refused before), what the client is still
//! sending is taken and thrown away for a moment, as upstream's server does: a client that is told of a reset while it
//! sends does not look at the answer that came before it.

use std::time::Duration;

use http_body::Body as _;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;

/// What is taken of a body that nobody reads, as upstream.
const LIMIT_BYTES: usize = 256 * 1024;
/// For how long.
const PATIENCE: Duration = Duration::from_secs(1);

/// See the module.
pub struct Upload(Option<Incoming>);

impl Upload {
    /// A body that nobody has read yet.
    pub fn new(body: Incoming) -> Self {
        Self(Some(body))
    }

    /// The body, for whoever reads it; once.
    pub fn take(&mut self) -> Option<Incoming> {
        self.0.take()
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let unread = self.0.take().filter(|body| !body.is_end_stream());
        if let (Some(body), Ok(_)) = (unread, tokio::runtime::Handle::try_current()) {
            let rest = tokio::time::timeout(PATIENCE, Limited::new(body, LIMIT_BYTES).collect());
            component::supervisor::detached("rest of an upload", rest);
        }
    }
}
