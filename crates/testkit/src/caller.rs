//! A client for tests: JSON in, status and JSON out, nothing interpreted.

use anyhow::Context;
use http::{Method, Request};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;

use crate::Lines;

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

/// What the server answered, not interpreted.
#[derive(Debug, Clone)]
pub struct Raw {
    /// The status code.
    pub code: u16,
    /// The headers.
    pub headers: http::HeaderMap,
    /// The body.
    pub bytes: Vec<u8>,
}

impl Raw {
    /// A header's text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }
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

    /// The identity that a kubeconfig has, at the server that it names.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn from_kubeconfig(file: &std::path::Path) -> anyhow::Result<Self> {
        Ok(Self::new(client::from_kubeconfig(file, "testkit")?))
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
        let warnings = warnings.filter_map(|w| Some(w.split_once('"')?.1.strip_suffix('"')?.to_owned())).collect();
        let bytes = response.into_body().collect().await?.to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into());
        Ok(Answer { code, body, warnings })
    }

    /// Sends bytes with headers.
    pub async fn raw(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> anyhow::Result<Raw> {
        let request = Request::builder().method(method).uri(path);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let response = self.client.send(request.body(Body::from(body))?).await?;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await?.to_bytes().to_vec();
        Ok(Raw { code: parts.status.as_u16(), headers: parts.headers, bytes })
    }

    /// The first event of a watch in an encoding whose frames begin with their length: without it.
    pub async fn first_frame(&self, path: &str, accept: &str) -> anyhow::Result<Raw> {
        let request = Request::builder().uri(path).header("accept", accept).body(Body::empty())?;
        let (parts, mut body) = self.client.send(request).await?.into_parts();
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            bytes.extend_from_slice(frame?.data_ref().map(|d| d.as_ref()).unwrap_or_default());
            let Some((length, event)) = bytes.split_first_chunk::<4>() else { continue };
            let length = u32::from_be_bytes(*length) as usize;
            if event.len() >= length {
                let bytes = event[..length].to_vec();
                return Ok(Raw { code: parts.status.as_u16(), headers: parts.headers, bytes });
            }
        }
        anyhow::bail!("the watch ended without an event: {bytes:?}")
    }

    /// GET.
    pub async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.send(Method::GET, path, None).await
    }

    /// GET, read line by line.
    pub async fn open(&self, path: &str) -> anyhow::Result<Lines> {
        let response = self.client.send(Request::builder().uri(path).body(Body::empty())?).await?;
        Ok(Lines::new(response.status().as_u16(), response.into_body()))
    }

    /// The first event of a watch, as `{type, object}`.
    pub async fn first_event(&self, path: &str) -> anyhow::Result<Value> {
        self.open(path).await?.next().await.context("the watch ended without an event")
    }
}
