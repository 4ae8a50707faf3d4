//! Machines become nodes: one that has a token (`ferry token`) is given the certificate of a node of a name that nobody
//! has, and a node that of its own agent, which is all that runs beside its kubelet. A token for one machine is gone with the
//! first. Who may renew a certificate is upstream's approver's business, and what is approved the signer's. And a node that
//! says that it leaves (`ferry leave`) is deleted: it may say so of itself, and no node may delete a node.
//!
//! Off by default, since upstream has none like it: there whoever has a token may be any node, also one that is there.
//! `deploy/joining.yaml` has its rights.

mod decide;

use std::{fmt::Debug, sync::Arc};

use client::{Change, Informer};
use component::tls::issue::Request;
use controller::{Queue, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::api::{
    certificates::v1::{CertificateSigningRequest as Csr, CertificateSigningRequestCondition as Condition},
    core::v1::{Node, Secret},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Client,
    api::{DeleteParams, Preconditions},
};

use serde::de::DeserializeOwned;

use crate::{
    certificates::{has, run, write},
    context::Context,
    util::key,
};
use decide::{Verdict, Wish, verdict, wish};

/// One after the other: a token for one machine is for one of two that come at once.
const WORKERS: usize = 1;

/// On a Node: it is to be deleted.
const LEAVING: &str = "ferry.dev/leaving";
const QUEUE: &str = "node-leaving";

/// Runs it.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(async move {
        let client = context.client.clone();
        let farewell = leaving(context.clone());
        let (joined, left) = tokio::join!(run(context, WORKERS, move |csr| reconcile(client.clone(), csr)), farewell);
        joined.and(left)
    })
}

/// Deletes nodes on their own wish.
async fn leaving(context: Context) -> anyhow::Result<()> {
    let nodes: Informer<Node> = context.informers.of();
    let queue: Queue<String> = Queue::new();
    let wake = queue.clone();
    nodes.on_change(move |change| {
        let metadata = &change.object().metadata;
        let leaves = metadata.annotations.as_ref().is_some_and(|all| all.contains_key(LEAVING));
        if leaves && !matches!(change, Change::Deleted(_)) {
            wake.add(key::name(metadata).to_owned());
        }
    });
    let api: Api<Node> = Api::all(context.client.clone());
    let (api, nodes) = (&api, &nodes);
    run_workers(QUEUE, &queue, WORKERS, context.cancel.clone(), |name: String| async move {
        let Some(node) = nodes.get(None, &name) else { return Ok(()) };
        tracing::info!(node = name, "it leaves the cluster");
        delete(api, &node.metadata).await
    })
    .await;
    Ok(())
}

async fn reconcile(client: Client, csr: Arc<Csr>) -> anyhow::Result<()> {
    if has(&csr, "Approved") || has(&csr, "Denied") {
        return Ok(());
    }
    // What cannot be read is not approved by anybody.
    let Ok(request) = Request::parse(&csr.spec.request.0) else { return Ok(()) };
    let (node, token) = match wish(&csr, &request) {
        Wish::Other => return Ok(()),
        Wish::Agent => {
            return conclude(&client, &csr, "Approved", "AutoApproved", "It is the node's own agent.").await;
        }
        Wish::Join { node, token } => (node, token),
    };
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "kube-system");
    let secret = secrets.get_opt(&format!("bootstrap-token-{token}")).await?;
    let exists = Api::<Node>::all(client.clone()).get_metadata_opt(node).await?.is_some();
    match verdict(node, exists, secret.as_ref()) {
        Verdict::Deny(reason, words) => conclude(&client, &csr, "Denied", reason, &words).await,
        Verdict::Approve { spent } => {
            // First: better no machine has joined with it than two.
            if let Some(secret) = secret.filter(|_| spent) {
                delete(&secrets, &secret.metadata).await?;
            }
            conclude(&client, &csr, "Approved", "AutoApproved", "It has a token, and the name is free.").await
        }
    }
}

/// Deletes that very object.
async fn delete<K: kube::Resource + Clone + DeserializeOwned + Debug>(
    api: &Api<K>,
    metadata: &ObjectMeta,
) -> anyhow::Result<()> {
    let preconditions = Preconditions { uid: metadata.uid.clone(), resource_version: None };
    let only = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    api.delete(key::name(metadata), &only).await?;
    Ok(())
}

async fn conclude(client: &Client, csr: &Csr, state: &str, reason: &str, message: &str) -> anyhow::Result<()> {
    let mut csr = csr.clone();
    csr.status.get_or_insert_default().conditions.get_or_insert_default().push(Condition {
        type_: state.into(),
        status: "True".into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        ..Default::default()
    });
    Ok(write(client, &csr, "approval").await?)
}
