//! Many requests over several connections.

use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::try_join_all;
use hyper::Method;

use super::connection::Access;

/// A request's body and its media type.
pub(crate) type Body = Option<(&'static str, Bytes)>;

/// Makes requests `range` over so many connections, each taking the next number as it gets free. Gives how long each took.
pub(crate) async fn load(
    access: &Access,
    connections: usize,
    range: Range<usize>,
    request: impl Fn(usize) -> (Method, String, Body),
) -> anyhow::Result<Vec<Duration>> {
    let next = std::cell::Cell::new(range.start);
    let workers = (0..connections).map(|_| async {
        let mut connection = access.http1().await?;
        let mut latencies = Vec::new();
        loop {
            let i = next.get();
            if i >= range.end {
                return anyhow::Ok(latencies);
            }
            next.set(i + 1);
            let (method, path, body) = request(i);
            let begin = Instant::now();
            connection.call(method, &path, body).await?;
            latencies.push(begin.elapsed());
        }
    });
    Ok(try_join_all(workers).await?.into_iter().flatten().collect())
}
