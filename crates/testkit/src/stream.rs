//! Frames of a watch as they come: JSON values, one a line.

use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;

/// An answer that is read line by line.
pub struct Lines {
    /// The status code.
    pub code: u16,
    body: Body,
    read: Vec<u8>,
}

impl Lines {
    pub(crate) fn new(code: u16, body: Body) -> Self {
        Self { code, body, read: Vec::new() }
    }

    /// The next value; `None` at the end or where the connection breaks. Cancel-safe.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return serde_json::from_slice(&line).ok();
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.read.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
                Some(Err(_)) | None => return serde_json::from_slice(&std::mem::take(&mut self.read)).ok(),
            }
        }
    }
}
