//! Asks all kubelets, while somebody wants to know.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use component::{Supervisor, http1};
use futures::{StreamExt, stream};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::SendRequest;
use machinery::gvk::GroupResource;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};
use tokio::time::{self, Instant};

use super::points::{Points, RESOLUTION_MS};
use super::text::{self, Batch};
use crate::Server;

/// Between two measurements, as metrics-server's.
const RESOLUTION: Duration = Duration::from_millis(RESOLUTION_MS as u64);
/// Between the first two, for which somebody waits.
const FIRST: Duration = Duration::from_secs(2);
/// How long the first who asks waits for two measurements.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long kubelets are asked after the last question.
const LINGER: Duration = Duration::from_secs(300);
/// What one kubelet may take, as metrics-server's `--kubelet-request-timeout`.
const KUBELET: Duration = Duration::from_secs(10);
/// Kubelets asked at once: 5,000 of them are asked within seconds, and no burst of connections is made.
const AT_ONCE: usize = 64;
const LIMIT_BYTES: usize = 32 << 20;

/// A connection to a kubelet that is kept, and its name in requests.
struct Line {
    sender: SendRequest<Empty<Bytes>>,
    authority: String,
}

/// See the module.
pub(super) struct Scraper {
    pub points: RwLock<Points>,
    /// When somebody asked last.
    asked: Mutex<Option<Instant>>,
    wake: Notify,
    /// How many measurements there were since kubelets are being asked.
    rounds: watch::Sender<u32>,
}

impl Default for Scraper {
    fn default() -> Self {
        let (rounds, _) = watch::channel(0);
        Self { points: RwLock::default(), asked: Mutex::new(None), wake: Notify::new(), rounds }
    }
}

impl Scraper {
    /// Somebody asks: returns when there is something to tell, or that long has been waited for it.
    pub(super) async fn asked(&self) {
        *self.asked.lock() = Some(Instant::now());
        self.wake.notify_one();
        let mut rounds = self.rounds.subscribe();
        let _ = time::timeout(PATIENCE, rounds.wait_for(|rounds| *rounds >= 2)).await;
    }

    fn is_idle(&self) -> bool {
        self.asked.lock().is_none_or(|at| at.elapsed() >= LINGER)
    }

    /// Asks kubelets whenever it is time, for ever.
    pub(super) async fn run(&self, server: &Server, own: &Supervisor) {
        let mut lines = HashMap::new();
        loop {
            if self.is_idle() {
                lines.clear();
                *self.points.write() = Points::default();
                self.rounds.send_replace(0);
                // A question that came meanwhile is a permit that waits.
                self.wake.notified().await;
                continue;
            }
            let began = Instant::now();
            self.round(server, own, &mut lines).await;
            let mut done = 0;
            self.rounds.send_modify(|rounds| {
                *rounds = rounds.saturating_add(1);
                done = *rounds;
            });
            time::sleep_until(began + if done < 2 { FIRST } else { RESOLUTION }).await;
        }
    }

    /// One measurement of every node.
    async fn round(&self, server: &Server, own: &Supervisor, lines: &mut HashMap<String, Line>) {
        let nodes: Vec<String> = node_names(server);
        let mut known = std::mem::take(lines);
        let asked = nodes.into_iter().map(|node| {
            let line = known.remove(&node);
            async move {
                let answer = time::timeout(KUBELET, ask(server, own, &node, line)).await;
                (node, answer.unwrap_or_else(|_| Err("context deadline exceeded".into())))
            }
        });
        let mut asked = stream::iter(asked.collect::<Vec<_>>()).buffer_unordered(AT_ONCE);
        while let Some((node, answer)) = asked.next().await {
            match answer {
                Ok((line, batch)) => {
                    self.points.write().store(&node, batch);
                    lines.insert(node, line);
                }
                Err(error) => {
                    tracing::debug!(node, error = &*error, "failed to scrape node");
                    self.points.write().forget(&node);
                }
            }
        }
        drop(asked);
        self.points.write().retain(|node| lines.contains_key(node));
    }
}

fn node_names(server: &Server) -> Vec<String> {
    let nodes = server.registry.built_in().of(&GroupResource::new("", "nodes"));
    let cache = nodes.and_then(|row| server.registry.cache(row));
    cache.map_or_else(Vec::new, |cache| cache.snapshot().range(None, None).map(|e| e.name().to_owned()).collect())
}

/// Over the connection that there is, if it still stands; else over a new one.
async fn ask(server: &Server, own: &Supervisor, node: &str, line: Option<Line>) -> Result<(Line, Batch), Arc<str>> {
    let told = |error: &dyn std::fmt::Display| -> Arc<str> { error.to_string().into() };
    if let Some(mut line) = line
        && line.sender.ready().await.is_ok()
        && let Ok(batch) = figures(&mut line).await
    {
        return Ok((line, batch));
    }
    let location = server.nodes.locate(&server.registry, node).map_err(|e| told(&e.message))?;
    let stream = server.nodes.connect(&location).await.map_err(|e| told(&e.message))?;
    let opened = http1::handshake_under(own, "connection to a kubelet for metrics", stream).await;
    let (sender, _) = opened.map_err(|e| told(&e))?;
    let mut line = Line { sender, authority: location.authority };
    let batch = figures(&mut line).await.map_err(|e| told(&e))?;
    Ok((line, batch))
}

async fn figures(line: &mut Line) -> Result<Batch, Box<dyn std::error::Error + Send + Sync>> {
    let request = Request::get("/metrics/resource").header(header::HOST, &line.authority).body(Empty::new())?;
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let answer = line.sender.send_request(request).await?;
    let code = answer.status();
    let body = Limited::new(answer.into_body(), LIMIT_BYTES).collect().await?.to_bytes();
    if code != StatusCode::OK {
        return Err(format!("request failed, status: {code}").into());
    }
    Ok(text::parse(std::str::from_utf8(&body)?, now_ms))
}
