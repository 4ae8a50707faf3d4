//! The Lease by which a server says that it is there: `apiserver-<hash of its host's name>` in `kube-system`. It is renewed
//! every ten seconds, lasts an hour, and goes with the server; what others left is removed once it has ended.
//!
//! Follows `component-helpers/apimachinery/lease`, `pkg/controlplane/apiserver/server.go` and
//! `pkg/controlplane/controller/apiserverleasegc`. Two servers of one host share it, as upstream's do. It does not say where
//! the server is reached by its peers (`kubernetes.io/peer-advertise-address`): requests of theirs are not served here.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use machinery::gvk::GroupResource;
use machinery::json::Fields;
use machinery::meta;
use machinery::status::StatusError;
use machinery::time::rfc3339_micro;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use writes::Registry;

static LEASES: LazyLock<GroupResource> = LazyLock::new(|| GroupResource::new("coordination.k8s.io", "leases"));
const NAMESPACE: &str = "kube-system";
/// What the Lease is of; the garbage collection looks at no others.
const IDENTITY: &str = "apiserver.kubernetes.io/identity";
const KUBE_APISERVER: &str = "kube-apiserver";
const HOSTNAME: &str = "kubernetes.io/hostname";
/// How long it lasts.
const DURATION_SECONDS: i64 = 3_600;
/// Between two looks for Leases that have ended.
pub(super) const COLLECT_EVERY: Duration = Duration::from_secs(3_600);

/// A server's identity.
pub struct Identity {
    name: String,
    holder: String,
    hostname: String,
    /// The server ends.
    leaving: AtomicBool,
    /// One change at a time.
    turn: Mutex<()>,
}

impl Identity {
    /// That of a server on a host.
    pub fn of_host(hostname: &str) -> Self {
        let name = name(hostname);
        let holder = format!("{name}_{}", model::random::random_uuid());
        Self { name, holder, hostname: hostname.to_owned(), leaving: AtomicBool::default(), turn: Mutex::default() }
    }

    /// Removes what a former run of this server left, before this one serves.
    pub(super) async fn arrive(&self, registry: &Registry) {
        let _turn = self.turn.lock().await;
        self.remove(registry).await;
    }

    /// Says that this server is there.
    pub(super) async fn renew(&self, registry: &Registry) -> Result<(), StatusError> {
        let _turn = self.turn.lock().await;
        if self.leaving.load(Ordering::SeqCst) {
            return Ok(());
        }
        let (holder, hostname) = (self.holder.as_str(), self.hostname.as_str());
        let mut change = |old: &Value| Ok(renewed(old, hostname, Timestamp::now()));
        match registry.update(&LEASES, Some(NAMESPACE), &self.name, &mut change).await {
            Err(error) if error.is_not_found() => {}
            outcome => return outcome.map(drop),
        }
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "name": self.name, "namespace": NAMESPACE },
            "spec": { "holderIdentity": holder },
        });
        let lease = renewed(&lease, hostname, Timestamp::now());
        match registry.create(&LEASES, Some(NAMESPACE), lease).await {
            // Another server of this host: it is renewed the next time.
            Err(error) if error.is_already_exists() => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    /// Says that this server is gone.
    pub(super) async fn leave(&self, registry: &Registry) {
        self.leaving.store(true, Ordering::SeqCst);
        let _turn = self.turn.lock().await;
        self.remove(registry).await;
    }

    async fn remove(&self, registry: &Registry) {
        match registry.delete(&LEASES, Some(NAMESPACE), &self.name).await {
            Err(error) if !error.is_not_found() => {
                tracing::warn!(%error, lease = self.name, "the Lease of this server could not be deleted");
            }
            _ => {}
        }
    }
}

/// Removes the Leases of servers that have ended.
pub(super) async fn collect(registry: &Registry) {
    let ended = |lease: &Value| is_ended(lease, Timestamp::now());
    for lease in registry.list(&LEASES, Some(NAMESPACE)) {
        if lease["metadata"]["labels"].text(IDENTITY) != KUBE_APISERVER || !ended(&lease) {
            continue;
        }
        let name = meta::name(&lease);
        // It may have been renewed since, as far as this server's caches know.
        let now = registry.get_consistent(&LEASES, Some(NAMESPACE), name).await;
        if !matches!(now, Ok(Some(now)) if ended(&now)) {
            continue;
        }
        match registry.delete(&LEASES, Some(NAMESPACE), name).await {
            Ok(()) => tracing::info!(lease = name, "removed the Lease of a server that is gone"),
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                tracing::warn!(%error, lease = name, "the Lease of a server that is gone could not be deleted")
            }
        }
    }
}

/// The Lease as it is after a renewal.
fn renewed(lease: &Value, hostname: &str, now: Timestamp) -> Value {
    let mut lease = lease.clone();
    if lease["metadata"]["labels"].is_null() {
        lease["metadata"]["labels"] = json!({});
    }
    lease["metadata"]["labels"][IDENTITY] = KUBE_APISERVER.into();
    lease["metadata"]["labels"][HOSTNAME] = hostname.into();
    lease["spec"]["leaseDurationSeconds"] = DURATION_SECONDS.into();
    lease["spec"]["renewTime"] = rfc3339_micro(now).into();
    lease
}

/// One that does not say how long it lasts is none of a server that runs.
fn is_ended(lease: &Value, now: Timestamp) -> bool {
    let spec = &lease["spec"];
    let renewed = spec.text("renewTime").parse::<Timestamp>().ok();
    match (renewed, spec.int("leaseDurationSeconds")) {
        (Some(renewed), Some(seconds)) => now.duration_since(renewed).as_secs_f64() > seconds as f64,
        _ => true,
    }
}

/// The name that upstream's server has on a host: a hash of the host's name and of what it is.
fn name(hostname: &str) -> String {
    let mut hashed = Vec::new();
    for text in [hostname, KUBE_APISERVER] {
        hashed.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
        hashed.extend(text.as_bytes());
    }
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &hashed);
    format!("apiserver-{}", base32(&hash.as_ref()[..16]))
}

/// RFC 4648, in small letters and without padding.
fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let bit = |at: usize| bytes.get(at / 8).is_some_and(|byte| byte & (0x80 >> (at % 8)) != 0);
    let digit = |from: usize| (from..from + 5).fold(0, |digit, at| digit << 1 | usize::from(bit(at)));
    (0..bytes.len() * 8).step_by(5).map(|from| ALPHABET[digit(from)] as char).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_after_its_host() {
        for (bytes, text) in [(&b"f"[..], "my"), (b"fo", "mzxq"), (b"foo", "mzxw6"), (b"foobar", "mzxw6ytboi")] {
            assert_eq!(base32(bytes), text);
        }
        let of = name("host-a");
        assert_eq!((of.len(), &of[..10]), (36, "apiserver-"));
        assert_ne!(of, name("host-b"));
    }

    #[test]
    fn a_lease_ends_an_hour_after_it_was_renewed() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let lease = renewed(&json!({ "metadata": { "labels": { "a": "b" } }, "spec": {} }), "h", now);
        assert_eq!(lease["spec"]["renewTime"], "2026-01-01T00:00:00.000000Z");
        assert_eq!(lease["metadata"]["labels"], json!({ "a": "b", IDENTITY: KUBE_APISERVER, HOSTNAME: "h" }));
        let after = |seconds: i64| is_ended(&lease, now + jiff::SignedDuration::from_secs(seconds));
        assert_eq!([after(0), after(3_600), after(3_601)], [false, false, true]);
        assert!(is_ended(&json!({ "spec": { "leaseDurationSeconds": 5 } }), now));
    }
}
