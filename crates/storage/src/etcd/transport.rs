//! Connections to the members: one lazy HTTP/2 channel each, one of them in use, the next when it fails.
//!
//! Not tonic's own balancer: it spreads requests over members that are down too, and a watch wants to stay where it is.
//! What may be sent twice is decided here: reads always, a write only if the first try certainly never left.

use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use proto::etcd::etcdserverpb as pb;
use proto::etcd::etcdserverpb::{
    kv_client::KvClient, lease_client::LeaseClient, maintenance_client::MaintenanceClient, watch_client::WatchClient,
};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Response, Status};

use super::EtcdConfig;
use super::status::{self, was_never_sent};
use crate::{Error, Result, Revision};

/// Whether a failed request may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    /// It changes nothing, or changing it twice is the same.
    Always,
    /// Only if no connection could be made.
    IfNotSent,
}

pub(super) struct Transport {
    channels: Vec<Channel>,
    current: AtomicUsize,
    timeout: Duration,
    newest_seen: AtomicI64,
}

impl Transport {
    pub(super) fn new(config: &EtcdConfig) -> Result<Self> {
        let invalid = |e: &dyn std::fmt::Display| Error::Unavailable(format!("etcd configuration: {e}"));
        if config.endpoints.is_empty() {
            return Err(invalid(&"no endpoints"));
        }
        let mut channels = Vec::new();
        for url in &config.endpoints {
            let mut endpoint = Endpoint::from_shared(url.clone())
                .map_err(|e| invalid(&format!("{url}: {e}")))?
                .connect_timeout(Duration::from_secs(5))
                .http2_keep_alive_interval(Duration::from_secs(30))
                .keep_alive_timeout(Duration::from_secs(10))
                .keep_alive_while_idle(true)
                .tcp_nodelay(true)
                // A list of thousands of objects must not crawl through 64 KiB windows.
                .initial_stream_window_size(8 << 20)
                .initial_connection_window_size(16 << 20);
            if url.starts_with("https://") {
                endpoint = endpoint.tls_config(tls(config)?).map_err(|e| invalid(&format!("{url}: {e}")))?;
            }
            channels.push(endpoint.connect_lazy());
        }
        Ok(Self {
            channels,
            current: AtomicUsize::new(0),
            timeout: config.request_timeout,
            newest_seen: AtomicI64::new(0),
        })
    }

    /// The member in use, and which one it is, for `failed`.
    pub(super) fn channel(&self) -> (usize, Channel) {
        let index = self.current.load(Ordering::Relaxed);
        (index, self.channels[index].clone())
    }

    /// Goes on to the next member, if nobody did already.
    pub(super) fn failed(&self, index: usize) {
        let next = (index + 1) % self.channels.len();
        let _moved = self.current.compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Notes the revision that a header tells, and returns it.
    pub(super) fn seen(&self, header: Option<&pb::ResponseHeader>) -> Revision {
        let revision = header.map_or(0, |h| h.revision);
        self.newest_seen.fetch_max(revision, Ordering::SeqCst);
        revision
    }

    /// The newest revision that any member told.
    pub(super) fn newest_seen(&self) -> Revision {
        self.newest_seen.load(Ordering::SeqCst)
    }

    /// Makes one unary call, on another member if the one in use is gone.
    pub(super) async fn call<Q: Clone, A>(
        &self,
        retry: Retry,
        request: Q,
        send: impl AsyncFn(Channel, Request<Q>) -> std::result::Result<Response<A>, Status>,
    ) -> Result<A> {
        // One more than there are members: the connection in use may just have been found dead.
        let mut attempts = self.channels.len() + 1;
        loop {
            attempts -= 1;
            let (index, channel) = self.channel();
            let answer = tokio::time::timeout(self.timeout, send(channel, Request::new(request.clone()))).await;
            let status = match answer {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) => status,
                Err(_) => {
                    self.failed(index);
                    return Err(Error::Unavailable(format!("etcd did not answer within {:?}", self.timeout)));
                }
            };
            let elsewhere = status::is_unavailable(&status);
            if elsewhere {
                self.failed(index);
            }
            let again = elsewhere && (retry == Retry::Always || was_never_sent(&status));
            if !again || attempts == 0 {
                return Err(status::to_error(&status));
            }
        }
    }

    /// The lowest version among the members that answer.
    pub(super) async fn lowest_version(&self) -> Result<(u32, u32, u32)> {
        let mut lowest = None;
        let mut failure = Error::Unavailable("no endpoints".to_owned());
        for (index, channel) in self.channels.iter().enumerate() {
            let ask = async { MaintenanceClient::new(channel.clone()).status(pb::StatusRequest {}).await };
            match tokio::time::timeout(self.timeout, ask).await {
                Ok(Ok(answer)) => {
                    let answer = answer.into_inner();
                    self.seen(answer.header.as_ref());
                    let version = parse_version(&answer.version).ok_or_else(|| {
                        Error::Unavailable(format!("etcd version {:?} is not understood", answer.version))
                    })?;
                    if lowest.is_none() {
                        self.current.store(index, Ordering::Relaxed);
                    }
                    lowest = Some(lowest.map_or(version, |l: (u32, u32, u32)| l.min(version)));
                }
                Ok(Err(status)) => failure = status::to_error(&status),
                Err(_) => failure = Error::Unavailable(format!("etcd did not answer within {:?}", self.timeout)),
            }
        }
        lowest.ok_or(failure)
    }
}

// Whatever etcd agreed to store it may also send: lists and watch batches are bounded by page sizes, not by this.

pub(super) fn kv(channel: Channel) -> KvClient<Channel> {
    KvClient::new(channel).max_decoding_message_size(usize::MAX).max_encoding_message_size(usize::MAX)
}

pub(super) fn watch(channel: Channel) -> WatchClient<Channel> {
    WatchClient::new(channel).max_decoding_message_size(usize::MAX)
}

pub(super) fn lease(channel: Channel) -> LeaseClient<Channel> {
    LeaseClient::new(channel)
}

fn tls(config: &EtcdConfig) -> Result<ClientTlsConfig> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|e| Error::Unavailable(format!("etcd configuration: {}: {e}", path.display())))
    };
    let Some(ca) = &config.ca_file else {
        return Err(Error::Unavailable("etcd configuration: https needs a CA file".to_owned()));
    };
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?));
    match (&config.cert_file, &config.key_file) {
        (Some(cert), Some(key)) => tls = tls.identity(Identity::from_pem(read(cert)?, read(key)?)),
        (None, None) => {}
        _ => return Err(Error::Unavailable("etcd configuration: certificate and key go together".to_owned())),
    }
    Ok(tls)
}

fn parse_version(text: &str) -> Option<(u32, u32, u32)> {
    let release = text.split(['-', '+']).next()?;
    let mut parts = release.split('.').map(|p| p.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests {
    use super::parse_version;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(parse_version("3.4.23"), Some((3, 4, 23)));
        assert_eq!(parse_version("3.6.0-rc.1"), Some((3, 6, 0)));
        assert_eq!(parse_version("x"), None);
        assert!(parse_version("3.10.0") > parse_version("3.9.9"));
    }
}
