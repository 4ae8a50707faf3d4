//! Machines become nodes: one that has a token (`ferry token`) is given the certificate of a node of a name that nobody
//! has, and a node that of its own agent, which is all that runs beside its kubelet. A token for one machine is gone with the
//! first. Who may renew a certificate is upstream's approver's business, and what is approved the signer's.
//!
//! Off by default, since upstream has none like it: there whoever has a token may be any node, also one that is there.
//! `deploy/joining.yaml` has its rights.

mod decide;

use std::sync::Arc;

use component::tls::issue::Request;
use futures::future::BoxFuture;
use k8s_openapi::api::{
    certificates::v1::{CertificateSigningRequest as Csr, CertificateSigningRequestCondition as Condition},
    core::v1::{Node, Secret},
};
use kube::{
    Api, Client,
    api::{DeleteParams, Preconditions},
};

use crate::{
    certificates::{has, run, write},
    context::Context,
    util::key,
};
use decide::{Verdict, Wish, verdict, wish};

/// One after the other: a token for one machine is for one of two that come at once.
const WORKERS: usize = 1;

/// Runs it.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(async move {
        let client = context.client.clone();
        run(context, WORKERS, move |csr| reconcile(client.clone(), csr)).await
    })
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
                spend(&secrets, &secret).await?;
            }
            conclude(&client, &csr, "Approved", "AutoApproved", "It has a token, and the name is free.").await
        }
    }
}

async fn spend(secrets: &Api<Secret>, secret: &Secret) -> anyhow::Result<()> {
    let preconditions = Preconditions { uid: secret.metadata.uid.clone(), resource_version: None };
    let only = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    secrets.delete(key::name(&secret.metadata), &only).await?;
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
