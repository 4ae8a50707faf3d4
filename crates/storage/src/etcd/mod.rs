//! The etcd engine: for more than one API server, and for taking over (or handing back) an existing cluster's data.
//!
//! Keys and values go in and out as they are. Every call is linearizable unless its doc says otherwise. What is not obvious
//! is in the parts: `transport` (several endpoints, what may be retried), `watch` (resuming), `revision` (one request for
//! all who ask at a time), `lease` (sharing), `status` (etcd's errors in this crate's words).

mod lease;
mod revision;
mod status;
mod transport;
mod watch;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use component::supervisor::Ended;
use proto::etcd::etcdserverpb as pb;
use proto::etcd::mvccpb;

use crate::{Error, Expect, KeyValue, Outcome, RangeOptions, RangeResult, Result, Revision, Storage, WatchStream};
use lease::Leases;
use revision::SharedRevision;
use transport::{Retry, Transport};

/// Keys asked for at once: a range of any size takes so much memory beside its result, and etcd's other users are not kept
/// waiting for it.
const PAGE_KEYS: i64 = 2_000;

/// How to reach an etcd.
#[derive(Debug, Clone)]
pub struct EtcdConfig {
    /// `http://` or `https://` URLs of the members. One is used until it fails, then the next.
    pub endpoints: Vec<String>,
    /// PEM file of the authority that signed the members' certificates. Needed for `https://`.
    pub ca_file: Option<PathBuf>,
    /// PEM files of the client certificate and its key, where etcd asks for one.
    pub cert_file: Option<PathBuf>,
    /// See `cert_file`.
    pub key_file: Option<PathBuf>,
    /// A request that takes longer fails with `Unavailable`.
    pub request_timeout: Duration,
}

impl EtcdConfig {
    /// Plain endpoints, without TLS files.
    pub fn new(endpoints: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            ca_file: None,
            cert_file: None,
            key_file: None,
            request_timeout: Duration::from_secs(10),
        }
    }
}

/// A store that is an etcd.
pub struct EtcdStore {
    transport: Arc<Transport>,
    revision: SharedRevision,
    leases: Leases,
    watchers: watch::Watchers,
    /// The lowest version found among the members.
    version: (u32, u32, u32),
}

impl fmt::Debug for EtcdStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdStore").field("version", &self.version).finish_non_exhaustive()
    }
}

impl EtcdStore {
    /// Connects, and asks the members for their version. Fails with `Unavailable` if none of them answers; later failures heal
    /// by themselves.
    pub async fn connect(config: EtcdConfig) -> Result<Self> {
        let transport = Arc::new(Transport::new(&config)?);
        let version = transport.lowest_version().await?;
        tracing::info!("etcd {}.{}.{} at {}", version.0, version.1, version.2, config.endpoints.join(", "));
        Ok(Self {
            revision: SharedRevision::start(transport.clone()),
            leases: Leases::default(),
            watchers: watch::Watchers::default(),
            transport,
            version,
        })
    }

    async fn range_page(&self, request: pb::RangeRequest) -> Result<pb::RangeResponse> {
        self.transport.call(Retry::Always, request, async |channel, r| transport::kv(channel).range(r).await).await
    }

    /// A write that happens if `key` was last written at `mod_revision` (0: if it does not exist).
    async fn write(&self, key: &str, mod_revision: Revision, write: pb::request_op::Request) -> Result<Outcome> {
        use pb::{request_op::Request, response_op::Response};
        let read = pb::RangeRequest { key: key.into(), ..Default::default() };
        let request = pb::TxnRequest {
            compare: vec![pb::Compare {
                result: pb::compare::CompareResult::Equal.into(),
                target: pb::compare::CompareTarget::Mod.into(),
                key: key.into(),
                target_union: Some(pb::compare::TargetUnion::ModRevision(mod_revision)),
            }],
            success: vec![pb::RequestOp { request: Some(write) }],
            failure: vec![pb::RequestOp { request: Some(Request::RequestRange(read)) }],
        };
        let answer = self
            .transport
            .call(Retry::IfNotSent, request, async |channel, r| transport::kv(channel).txn(r).await)
            .await?;
        let revision = self.transport.seen(answer.header.as_ref());
        if answer.succeeded {
            return Ok(Outcome::Done { revision });
        }
        let current = match answer.responses.into_iter().next().and_then(|r| r.response) {
            Some(Response::ResponseRange(range)) => range.kvs.into_iter().next().map(key_value).transpose()?,
            _ => return Err(Error::Corrupt("etcd answered a transaction with something else".to_owned())),
        };
        Ok(Outcome::Conflict { current, revision })
    }
}

#[async_trait]
impl Storage for EtcdStore {
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision)> {
        let answer = self.range_page(pb::RangeRequest { key: key.into(), ..Default::default() }).await?;
        let revision = self.transport.seen(answer.header.as_ref());
        Ok((answer.kvs.into_iter().next().map(key_value).transpose()?, revision))
    }

    async fn range(&self, prefix: &str, options: RangeOptions) -> Result<RangeResult> {
        let limit = if options.limit == 0 { i64::MAX } else { i64::try_from(options.limit).unwrap_or(i64::MAX) };
        let mut start = match options.start_after.filter(|after| after.as_str() >= prefix) {
            Some(after) => successor(&after),
            None => prefix.as_bytes().to_vec(),
        };
        let mut at = options.revision.unwrap_or(0);
        let mut result: Option<RangeResult> = None;
        loop {
            let have = result.as_ref().map_or(0, |r| r.kvs.len() as i64);
            let request = pb::RangeRequest {
                // etcd reads an empty key as an error, and a zero byte as the first key there is.
                key: if start.is_empty() { vec![0] } else { start.clone() },
                range_end: prefix_end(prefix),
                limit: PAGE_KEYS.min(limit - have),
                revision: at,
                keys_only: options.keys_only,
                count_only: options.count_only,
                ..Default::default()
            };
            let answer = self.range_page(request).await?;
            let seen = self.transport.seen(answer.header.as_ref());
            let result = result.get_or_insert_with(|| RangeResult {
                revision: if at == 0 { seen } else { at },
                kvs: Vec::new(),
                more: false,
                count: answer.count,
            });
            at = result.revision;
            for kv in answer.kvs {
                result.kvs.push(key_value(kv)?);
            }
            result.more = answer.more && !options.count_only;
            match result.kvs.last() {
                Some(last) if result.more && (result.kvs.len() as i64) < limit => start = successor(&last.key),
                _ => break,
            }
        }
        result.ok_or_else(|| Error::Corrupt("etcd answered without a page".to_owned()))
    }

    async fn put(&self, key: &str, value: Bytes, expect: Expect, ttl_seconds: Option<u64>) -> Result<Outcome> {
        let mod_revision = match expect {
            Expect::Absent => 0,
            Expect::ModRevision(revision) => revision,
        };
        let mut attempt = 0;
        loop {
            let lease = match ttl_seconds {
                Some(ttl) => self.leases.get(&self.transport, ttl).await?,
                None => 0,
            };
            let put = pb::PutRequest { key: key.into(), value: value.to_vec(), lease };
            match self.write(key, mod_revision, pb::request_op::Request::RequestPut(put)).await {
                // The shared lease ended between here and there; nothing was written.
                Err(Error::Unavailable(reason)) if attempt == 0 && reason == status::LEASE_NOT_FOUND => {
                    self.leases.forget(lease).await;
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    async fn delete(&self, key: &str, mod_revision: Revision) -> Result<Outcome> {
        if mod_revision <= 0 {
            // Revision 0 would mean "absent" to etcd, and deleting nothing would succeed.
            let (current, revision) = self.get(key).await?;
            return Ok(Outcome::Conflict { current, revision });
        }
        let delete = pb::DeleteRangeRequest { key: key.into(), ..Default::default() };
        self.write(key, mod_revision, pb::request_op::Request::RequestDeleteRange(delete)).await
    }

    async fn revision(&self) -> Result<Revision> {
        self.revision.get().await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream> {
        Ok(self.watchers.open(self.transport.clone(), prefix, from.max(1), self.reports_progress()))
    }

    fn request_progress(&self, prefix: &str) {
        if self.reports_progress() {
            self.watchers.request_progress(prefix, self.transport.newest_seen());
        }
    }

    fn reports_progress(&self) -> bool {
        match self.version {
            (3, 4, patch) => patch >= 31,
            (3, 5, patch) => patch >= 13,
            other => other >= (3, 6, 0),
        }
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn failed(&self) -> Ended {
        std::future::pending().await
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        let request = pb::CompactionRequest { revision, physical: false };
        match self
            .transport
            .call(Retry::Always, request, async |channel, r| transport::kv(channel).compact(r).await)
            .await
        {
            Ok(_) | Err(Error::Compacted { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn key_value(kv: mvccpb::KeyValue) -> Result<KeyValue> {
    let key = String::from_utf8(kv.key).map_err(|_| Error::Corrupt("a key in etcd is not UTF-8".to_owned()))?;
    Ok(KeyValue {
        key: key.into(),
        value: kv.value.into(),
        mod_revision: kv.mod_revision,
        create_revision: kv.create_revision,
        version: kv.version,
        lease: kv.lease,
    })
}

/// The first key after `key`.
fn successor(key: &str) -> Vec<u8> {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend(key.as_bytes());
    next.push(0);
    next
}

/// The first key after all those with the prefix; a zero byte is etcd's "no end".
fn prefix_end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.last_mut() {
        if *last < 0xff {
            *last += 1;
            return end;
        }
        end.pop();
    }
    vec![0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_key_that_lacks_it() {
        for (prefix, want) in [("/a/", &b"/a0"[..]), ("", b"\0"), ("\u{7f}", b"\x80")] {
            assert_eq!(prefix_end(prefix), want, "{prefix:?}");
        }
    }
}
