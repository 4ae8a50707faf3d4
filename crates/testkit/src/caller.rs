//! A client for tests: JSON in, status and JSON out, nothing interpreted.

use http::{Method, Request};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;

/// What the server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub code: u16,
    /// The body, as JSON or as a text.
    pub body: Value,
    /// `Warning` headers, without code and agent.
    pub warnings: Vec<String>,
}

/// One identity's way to the server.
#[derive(Clone)]
pub struct Caller {
    client: kube::Client,
}

impl Caller {
    pub(crate) fn new(client: kube::Client) -> Self {
        Self { client }
    }

    /// The same identity as a kube client.
    pub fn kube(&self) -> kube::Client {
        self.client.clone()
    }

    /// Sends a JSON body, or none.
    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Answer> {
        self.send_as(method, path, "application/json", body).await
    }

    /// Sends a body of a media type.
    pub async fn send_as(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Answer> {
        let bytes = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
        let request =
            Request::builder().method(method).uri(path).header("content-type", content_type).body(Body::from(bytes))?;
        let response = self.client.send(request).await?;
        let code = response.status().as_u16();
        let warnings = response.headers().get_all("warning").iter().filter_map(|w| w.to_str().ok());
        let warnings = warnings.filter_map(|w| Some(w.split_once('"')?.1.trim_end_matches('"').to_owned())).collect();
        let bytes = response.into_body().collect().await?.to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into());
        Ok(Answer { code, body, warnings })
    }

    /// GET.
    pub async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.send(Method::GET, path, None).await
    }

    /// The first event of a watch, as `{type, object}`.
    pub async fn first_event(&self, path: &str) -> anyhow::Result<Value> {
        let request = Request::builder().uri(path).body(Body::empty())?;
        let mut body = self.client.send(request).await?.into_body();
        let mut line = Vec::new();
        while let Some(frame) = body.frame().await {
            line.extend_from_slice(frame?.data_ref().map(|d| d.as_ref()).unwrap_or_default());
            if let Some(end) = line.iter().position(|b| *b == b'\n') {
                return Ok(serde_json::from_slice(&line[..end])?);
            }
        }
        anyhow::bail!("the watch ended without an event: {}", String::from_utf8_lossy(&line))
    }
}
