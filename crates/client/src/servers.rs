//! The API servers of a cluster, any of which will do: where they are, and connections to whichever answers.
//!
//! The one that answered last is tried first. One that refuses is passed over at once; beside one that is silent the next
//! is tried after a moment, and the first to answer has the connection. So a client stays with one server, and is with
//! another a moment after that is gone. Which servers there are is said from outside, as it changes.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use anyhow::Context as _;
use futures::{StreamExt, stream::FuturesUnordered};
use http::Uri;
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use kube::config::Cluster;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tower::BoxError;

/// How long a server may be silent before the next is tried beside it.
const HEAD_START: Duration = Duration::from_millis(300);
/// How long all of them may be.
const PATIENCE: Duration = Duration::from_secs(10);

/// The extension of a kubeconfig's cluster that lists them, each `HOST:PORT`, in a JSON list. All have a certificate for the
/// cluster's `tls-server-name`; `server` is one of them, for programs that do not know the extension.
pub const SERVERS: &str = "ferry.dev/servers";

/// Those that a kubeconfig lists, if it does.
///
/// # Errors
/// The list is none of texts.
pub(crate) fn named(cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    let list = cluster.extensions.iter().flatten().find(|extension| extension.name == SERVERS);
    let Some(list) = list else { return Ok(Vec::new()) };
    serde_json::from_value(list.extension.clone()).with_context(|| format!("the extension {SERVERS}"))
}

/// How a connection to a server is made.
#[derive(Debug, Clone)]
pub(crate) enum Dial {
    /// To the host that a URL names.
    Host(HttpConnector),
    /// To any of those.
    Any(Servers),
}

impl Dial {
    pub(crate) fn new(servers: &[String]) -> Self {
        if !servers.is_empty() {
            return Self::Any(Servers::new(servers.iter().cloned()));
        }
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(PATIENCE));
        Self::Host(tcp)
    }

    /// There are others now; whether that can be followed.
    pub(crate) fn replace(&self, servers: &[String]) -> bool {
        match self {
            Self::Host(_) => false,
            Self::Any(known) => {
                known.replace(servers);
                true
            }
        }
    }
}

impl tower::Service<Uri> for Dial {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self {
            Self::Host(tcp) => tcp.poll_ready(cx).map_err(BoxError::from),
            Self::Any(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        match self {
            Self::Host(tcp) => {
                let connecting = tcp.call(uri);
                Box::pin(async move { Ok(connecting.await?) })
            }
            Self::Any(servers) => {
                let servers = servers.clone();
                Box::pin(async move { Ok(servers.connect().await.map(TokioIo::new)?) })
            }
        }
    }
}

/// See the module; clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Servers(Arc<Mutex<Vec<String>>>);

impl Servers {
    /// Those, each `HOST:PORT`; the first is tried first.
    fn new(addresses: impl IntoIterator<Item = String>) -> Self {
        Self(Arc::new(Mutex::new(addresses.into_iter().collect())))
    }

    /// Where they are, in the order in which they are tried.
    fn addresses(&self) -> Vec<String> {
        self.0.lock().clone()
    }

    /// There are others now; whether that is news. None at all says nothing of those that were known: what told it may
    /// be a server that is starting.
    fn replace(&self, addresses: &[String]) -> bool {
        let mut known = self.0.lock();
        let mut kept: Vec<String> = known.iter().filter(|address| addresses.contains(address)).cloned().collect();
        kept.extend(addresses.iter().filter(|address| !known.contains(address)).cloned());
        let news = !addresses.is_empty() && kept != *known;
        if news {
            *known = kept;
        }
        news
    }

    fn answered(&self, address: &str) {
        let mut known = self.0.lock();
        if let Some(at) = known.iter().position(|one| one == address) {
            known[..=at].rotate_right(1);
        }
    }

    async fn connect(self) -> io::Result<TcpStream> {
        let connected = tokio::time::timeout(PATIENCE, race(self.addresses(), TcpStream::connect)).await;
        let silent = || io::Error::new(io::ErrorKind::TimedOut, "no API server answers");
        let (address, stream) = connected.unwrap_or_else(|_| Err(silent()))?;
        self.answered(&address);
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// The first to answer, and its address; the last one's error if none does.
async fn race<T, F>(addresses: Vec<String>, connect: impl Fn(String) -> F) -> io::Result<(String, T)>
where
    F: Future<Output = io::Result<T>>,
{
    let mut left = addresses.into_iter();
    let mut trying = FuturesUnordered::new();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "no API server is known");
    loop {
        if let Some(address) = left.next() {
            let attempt = connect(address.clone());
            trying.push(async move { (attempt.await, address) });
        }
        let more = left.len() > 0;
        tokio::select! {
            ended = trying.next() => match ended {
                Some((Ok(stream), address)) => return Ok((address, stream)),
                Some((Err(error), _)) => failure = error,
                None => return Err(failure),
            },
            () = tokio::time::sleep(HEAD_START), if more => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn who_answered_last_is_first_and_who_is_gone_is_gone() {
        let servers = Servers::new(names(&["a", "b", "c"]));
        servers.answered("c");
        assert_eq!(servers.addresses(), ["c", "a", "b"]);
        assert!(!servers.replace(&names(&["a", "b", "c"])), "the order is the client's own");
        assert!(servers.replace(&names(&["d", "b", "c"])));
        assert_eq!(servers.addresses(), ["c", "b", "d"]);
        assert!(!servers.replace(&[]));
        servers.answered("unknown");
        assert_eq!(servers.addresses(), ["c", "b", "d"]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_to_answer_has_the_connection() {
        let start = tokio::time::Instant::now();
        let reached = async |list: &[&str]| {
            let connect = |address: String| async move {
                match address.as_str() {
                    "silent" => pending().await,
                    "refuses" => Err(io::ErrorKind::ConnectionRefused.into()),
                    "slow" => {
                        tokio::time::sleep(Duration::from_millis(400)).await;
                        Ok(())
                    }
                    _ => Ok(()),
                }
            };
            race(names(list), connect).await.map(|(address, ())| address).map_err(|error| error.kind())
        };
        assert_eq!(reached(&["refuses", "refuses", "good", "other"]).await.unwrap(), "good");
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(reached(&["silent", "good"]).await.unwrap(), "good");
        assert_eq!(start.elapsed(), HEAD_START);
        assert_eq!(reached(&["slow", "silent"]).await.unwrap(), "slow");
        assert_eq!(reached(&["refuses"]).await.unwrap_err(), io::ErrorKind::ConnectionRefused);
        assert_eq!(reached(&[]).await.unwrap_err(), io::ErrorKind::NotFound);
    }
}
