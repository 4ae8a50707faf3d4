//! Leader election on a coordination/v1 Lease, compatible with client-go's (`tools/leaderelection`).
//!
//! Clocks of different machines are never compared: a candidate measures, by its own clock, how long it has seen the
//! lease unchanged. A leader that cannot renew within the renew deadline stops before another may start.

use std::{future::Future, time::Duration};

use k8s_openapi::{
    api::{
        coordination::v1::{Lease, LeaseSpec},
        core::v1::ObjectReference,
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::{Recorder, object_reference};

/// Which lease, who asks, and how long things take. The defaults are upstream's.
#[derive(Clone, Debug)]
pub struct Election {
    /// Namespace of the lease.
    pub namespace: String,
    /// Name of the lease.
    pub name: String,
    /// Who asks; must be unique among the candidates.
    pub identity: String,
    /// How long a lease that is not renewed stays taken.
    pub lease_duration: Duration,
    /// How long a leader tries to renew before it gives up.
    pub renew_deadline: Duration,
    /// Time between tries.
    pub retry_period: Duration,
}

impl Election {
    /// Lease `kube-system/<name>` with upstream's times, under an identity made of host name and a random part.
    pub fn new(name: &str, identity: String) -> Self {
        Self {
            namespace: "kube-system".into(),
            name: name.into(),
            identity,
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was cancelled; if it led, it gave the lease back.
    Cancelled,
    /// Another took over or the lease could not be renewed: the work was stopped. Upstream's processes exit then.
    Lost,
}

/// Waits for leadership, runs `lead` with a token that is cancelled when leadership ends, and returns after it did. What
/// becomes of it `recorder` tells of the lease.
pub async fn run<F, Fut>(
    election: Election,
    client: Client,
    recorder: Recorder,
    cancel: CancellationToken,
    lead: F,
) -> Outcome
where
    F: FnOnce(CancellationToken) -> Fut,
    Fut: Future<Output = ()>,
{
    let mut elector = Elector {
        api: Api::namespaced(client, &election.namespace),
        election,
        seen: None,
        lease: ObjectReference::default(),
    };
    while !elector.try_acquire().await {
        tokio::select! {
            () = cancel.cancelled() => return Outcome::Cancelled,
            () = tokio::time::sleep(elector.election.retry_period) => {}
        }
    }
    tracing::info!(lease = elector.election.name, identity = elector.election.identity, "became leader");
    elector.say(&recorder, "became leader");
    let leading = cancel.child_token();
    let renew = async {
        let lost = loop {
            tokio::select! {
                () = leading.cancelled() => break false,
                () = tokio::time::sleep(elector.election.retry_period) => {}
            }
            if !elector.renew_until_deadline(&leading).await {
                break !leading.is_cancelled();
            }
        };
        leading.cancel();
        lost
    };
    let work = async {
        lead(leading.clone()).await;
        leading.cancel();
    };
    let (lost, ()) = futures::join!(renew, work);
    elector.say(&recorder, "stopped leading");
    if lost {
        tracing::warn!(lease = elector.election.name, "leadership lost");
        return Outcome::Lost;
    }
    elector.release().await;
    Outcome::Cancelled
}

struct Elector {
    api: Api<Lease>,
    election: Election,
    /// The lease as last seen, and since when it looks like that.
    seen: Option<(LeaseSpec, Instant)>,
    /// The lease, for events.
    lease: ObjectReference,
}

impl Elector {
    async fn renew_until_deadline(&mut self, leading: &CancellationToken) -> bool {
        let (deadline, retry) = (self.election.renew_deadline, self.election.retry_period);
        let tries = async {
            while !self.try_acquire().await {
                tokio::time::sleep(retry).await;
            }
        };
        tokio::select! {
            renewed = timeout(deadline, tries) => renewed.is_ok(),
            () = leading.cancelled() => false,
        }
    }

    async fn try_acquire(&mut self) -> bool {
        match self.acquire().await {
            Ok(held) => held,
            Err(error) => {
                tracing::info!(%error, lease = self.election.name, "lease not acquired");
                false
            }
        }
    }

    async fn acquire(&mut self) -> kube::Result<bool> {
        let now = MicroTime(Timestamp::now());
        let Some(mut lease) = self.api.get_opt(&self.election.name).await? else {
            let spec = self.spec(&now, &now, 0);
            let metadata = ObjectMeta { name: Some(self.election.name.clone()), ..Default::default() };
            let lease = Lease { metadata, spec: Some(spec) };
            let made = self.api.create(&PostParams::default(), &lease).await?;
            self.lease = object_reference(&made);
            self.seen = made.spec.map(|s| (s, Instant::now()));
            return Ok(true);
        };
        let spec = lease.spec.clone().unwrap_or_default();
        if self.seen.as_ref().is_none_or(|(seen, _)| *seen != spec) {
            self.seen = Some((spec.clone(), Instant::now()));
        }
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        let ours = holder == self.election.identity;
        let duration = Duration::from_secs(spec.lease_duration_seconds.unwrap_or(0).max(0) as u64);
        let fresh = self.seen.as_ref().is_some_and(|(_, since)| since.elapsed() < duration);
        if !holder.is_empty() && !ours && fresh {
            return Ok(false);
        }
        let transitions = spec.lease_transitions.unwrap_or(0);
        lease.spec = Some(match ours {
            true => self.spec(spec.acquire_time.as_ref().unwrap_or(&now), &now, transitions),
            false => self.spec(&now, &now, transitions + 1),
        });
        let updated = self.api.replace(&self.election.name, &PostParams::default(), &lease).await?;
        self.lease = object_reference(&updated);
        self.seen = updated.spec.map(|s| (s, Instant::now()));
        Ok(true)
    }

    fn say(&self, recorder: &Recorder, what: &str) {
        recorder.event(&self.lease, "Normal", "LeaderElection", format!("{} {what}", self.election.identity));
    }

    fn spec(&self, acquired: &MicroTime, renewed: &MicroTime, transitions: i32) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.election.identity.clone()),
            lease_duration_seconds: Some(self.election.lease_duration.as_secs() as i32),
            acquire_time: Some(acquired.clone()),
            renew_time: Some(renewed.clone()),
            lease_transitions: Some(transitions),
            ..Default::default()
        }
    }

    /// Gives the lease back, so that the next need not wait for it to expire.
    async fn release(&self) {
        let give_back = async {
            let Some(mut lease) = self.api.get_opt(&self.election.name).await? else { return Ok(()) };
            let Some(spec) = lease.spec.as_mut() else { return Ok(()) };
            if spec.holder_identity.as_ref() != Some(&self.election.identity) {
                return Ok(());
            }
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
            self.api.replace(&self.election.name, &PostParams::default(), &lease).await.map(|_| ())
        };
        if let Ok(Err(error)) = timeout(self.election.retry_period, give_back).await {
            let error: kube::Error = error;
            tracing::info!(%error, "lease not released");
        }
    }
}
