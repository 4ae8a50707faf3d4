//! The heartbeat: a Lease renewed every quarter of its life, by a task and a connection that nothing else uses.
//! Upstream: k8s.io/component-helpers/apimachinery/lease.

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference},
};
use kube::{Api, Client, api::PostParams};
use std::time::Duration;
use tokio::time;

const NAMESPACE: &str = "kube-node-lease";
const TRIES: u32 = 5;
const CALL_LIMIT: Duration = Duration::from_secs(10);

/// Renews for ever. `owner` gives the node's uid once it is registered.
pub(crate) async fn run(client: Client, node: String, seconds: i32, owner: impl Fn() -> Option<String>) {
    let api = Api::<Lease>::namespaced(client, NAMESPACE);
    let mut tick = time::interval(Duration::from_millis(u64::from(seconds.max(4).unsigned_abs()) * 250));
    tick.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    let mut held: Option<Lease> = None;
    loop {
        tick.tick().await;
        for attempt in 1..=TRIES {
            let wanted = renewed(held.as_ref(), &node, seconds, owner().as_deref());
            let renewal = async {
                match &held {
                    Some(_) => api.replace(&node, &PostParams::default(), &wanted).await,
                    None => match api.get_opt(&node).await? {
                        Some(found) => {
                            api.replace(
                                &node,
                                &PostParams::default(),
                                &renewed(Some(&found), &node, seconds, owner().as_deref()),
                            )
                            .await
                        }
                        None => api.create(&PostParams::default(), &wanted).await,
                    },
                }
            };
            match time::timeout(CALL_LIMIT, renewal).await {
                Ok(Ok(lease)) => {
                    held = Some(lease);
                    break;
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, attempt, "failed to update the node's lease");
                    held = None;
                }
                Err(_) => {
                    tracing::warn!(attempt, "the node's lease was not renewed in time");
                    held = None;
                }
            }
            time::sleep(Duration::from_millis(200)).await;
        }
    }
}

fn renewed(held: Option<&Lease>, node: &str, seconds: i32, uid: Option<&str>) -> Lease {
    let owner = uid.map(|uid| {
        vec![OwnerReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: node.into(),
            uid: uid.into(),
            ..Default::default()
        }]
    });
    let mut lease = held.cloned().unwrap_or_else(|| Lease {
        metadata: ObjectMeta { name: Some(node.into()), namespace: Some(NAMESPACE.into()), ..Default::default() },
        ..Default::default()
    });
    if lease.metadata.owner_references.as_ref().is_none_or(Vec::is_empty) {
        lease.metadata.owner_references = owner;
    }
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    spec.holder_identity = Some(node.into());
    spec.lease_duration_seconds = Some(seconds);
    spec.renew_time = Some(MicroTime(Timestamp::now()));
    lease
}
