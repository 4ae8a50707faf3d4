//! Copying between two upgraded connections, when both ends speak the same protocol.
//!
//! Each direction closes by itself, since the end of one may be all that the other waits for. But a peer that vanishes
//! after its half is done must not hold the pair for ever: what remains then has to move, at least every
//! [`Options::linger`].

use std::io;
use std::sync::Mutex;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

/// When to give up on a silent pair.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// End after this long without a byte either way.
    pub idle_timeout: Option<Duration>,
    /// The same, once one direction is finished.
    pub linger: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options { idle_timeout: None, linger: Duration::from_secs(30) }
    }
}

/// When something last happened. Shared by the directions of a connection.
pub(crate) struct Activity(Mutex<Instant>);

impl Activity {
    pub(crate) fn new() -> Activity {
        Activity(Mutex::new(Instant::now()))
    }

    pub(crate) fn touch(&self) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Instant::now();
    }

    /// Ends once nothing has happened for `limit`; never if there is none.
    pub(crate) async fn idle_for(&self, limit: Option<Duration>) {
        let Some(limit) = limit else { return std::future::pending().await };
        loop {
            let end = *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) + limit;
            if Instant::now() >= end {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}

/// Copies both ways until both directions have ended, or one failed, or nothing moves any more.
///
/// # Errors
/// The first failure of either side; `TimedOut` when idle.
pub async fn proxy_upgraded<A, B>(a: A, b: B, options: Options) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let activity = Activity::new();
    let (a_read, a_write) = tokio::io::split(a);
    let (b_read, b_write) = tokio::io::split(b);
    let there = pump(a_read, b_write, &activity);
    let back = pump(b_read, a_write, &activity);
    tokio::pin!(there, back);
    let there_first = tokio::select! {
        done = &mut there => { done?; true }
        done = &mut back => { done?; false }
        () = activity.idle_for(options.idle_timeout) => return Err(io::ErrorKind::TimedOut.into()),
    };
    activity.touch();
    let rest = async { if there_first { back.await } else { there.await } };
    tokio::select! {
        done = rest => done,
        () = activity.idle_for(Some(options.linger)) => Ok(()),
    }
}

async fn pump<R, W>(mut from: R, mut to: W, activity: &Activity) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; 16 << 10];
    loop {
        let n = from.read(&mut buffer).await?;
        activity.touch();
        if n == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..n]).await?;
        to.flush().await?;
        activity.touch();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn copies_both_ways_and_half_closes() {
        let (mut client, a) = tokio::io::duplex(64);
        let (b, mut server) = tokio::io::duplex(64);
        let proxy = tokio::spawn(proxy_upgraded(a, b, Options::default()));
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut got = String::new();
        server.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "question");
        server.write_all(b"answer").await.unwrap();
        drop(server);
        got.clear();
        client.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "answer");
        proxy.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn idle_pairs_end() {
        let (_client, a) = tokio::io::duplex(64);
        let (b, _server) = tokio::io::duplex(64);
        let options = Options { idle_timeout: Some(Duration::from_secs(60)), ..Options::default() };
        let error = proxy_upgraded(a, b, options).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_finished_half_does_not_hold_the_other_for_ever() {
        let (client, a) = tokio::io::duplex(64);
        let (b, _server) = tokio::io::duplex(64);
        drop(client);
        proxy_upgraded(a, b, Options::default()).await.unwrap();
    }
}
