//! Leases are costly to etcd, so writes with about the same time to live share one, as in upstream's apiserver
//! (storage/etcd3/lease_manager.go): a lease lasts a little longer than asked, 5 % and at most a minute, and is handed out
//! again for that long, to at most 1,000 keys.

use std::time::Duration;

use proto::etcd::etcdserverpb as pb;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::transport::{self, Retry, Transport};
use crate::Result;

const KEYS_PER_LEASE: u32 = 1_000;
const EXTRA_LIMIT_SECONDS: u64 = 60;

#[derive(Default)]
pub(super) struct Leases(Mutex<Option<Lease>>);

struct Lease {
    id: i64,
    ends: Instant,
    keys: u32,
}

/// Longer than asked by this, so that it can be shared.
fn extra_seconds(ttl_seconds: u64) -> u64 {
    (ttl_seconds / 20).min(EXTRA_LIMIT_SECONDS)
}

impl Leases {
    /// A lease that lasts at least so long.
    pub(super) async fn get(&self, transport: &Transport, ttl_seconds: u64) -> Result<i64> {
        let ttl = ttl_seconds.max(1);
        let mut last = self.0.lock().await;
        let now = Instant::now();
        let extra = extra_seconds(ttl);
        if let Some(lease) = &mut *last
            && lease.keys < KEYS_PER_LEASE
            && now + Duration::from_secs(ttl) < lease.ends
            && now + Duration::from_secs(ttl + extra) > lease.ends
        {
            lease.keys += 1;
            return Ok(lease.id);
        }
        let seconds = ttl + extra;
        let request = pb::LeaseGrantRequest { ttl: i64::try_from(seconds).unwrap_or(i64::MAX), id: 0 };
        // A grant whose answer was lost costs etcd an unused lease, nothing more.
        let answer = transport
            .call(Retry::Always, request, async |channel, r| transport::lease(channel).lease_grant(r).await)
            .await?;
        // One that lasts no longer than asked is nobody else's, and takes no place from one that is.
        if extra > 0 {
            *last = Some(Lease { id: answer.id, ends: now + Duration::from_secs(seconds), keys: 1 });
        }
        Ok(answer.id)
    }

    /// The lease is gone on etcd's side.
    pub(super) async fn forget(&self, id: i64) {
        let mut last = self.0.lock().await;
        if last.as_ref().is_some_and(|lease| lease.id == id) {
            *last = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::extra_seconds;

    #[test]
    fn a_shared_lease_lasts_a_little_longer_than_asked() {
        for (ttl, want) in [(1, 0), (20, 1), (600, 30), (3_600, 60), (86_400, 60)] {
            assert_eq!(extra_seconds(ttl), want);
        }
    }
}
