//! The events of a watch: lines, as they come.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;

/// A watch's answer. Mostly a frame is whole lines; only what is not is copied.
pub(crate) struct Lines {
    body: Incoming,
    frame: Bytes,
    /// The beginning of a line whose end is still to come.
    rest: BytesMut,
}

impl Lines {
    pub(crate) fn new(body: Incoming) -> Self {
        Self { body, frame: Bytes::new(), rest: BytesMut::new() }
    }

    /// The next line; `None` at the end of the watch.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Bytes>> {
        loop {
            if let Some(end) = self.frame.iter().position(|b| *b == b'\n') {
                let line = self.frame.split_to(end + 1);
                if self.rest.is_empty() {
                    return Ok(Some(line));
                }
                self.rest.extend_from_slice(&line);
                return Ok(Some(std::mem::take(&mut self.rest).freeze()));
            }
            self.rest.extend_from_slice(&self.frame);
            self.frame = Bytes::new();
            match self.body.frame().await {
                Some(frame) => self.frame = frame?.into_data().unwrap_or_default(),
                None => return Ok(None),
            }
        }
    }
}
