//! Certificate signing requests: those of kubelets are approved, approved ones are signed for the signers of Kubernetes,
//! and old ones are deleted. Three controllers, one service account; and one of its own that approves certificates of
//! kubelets' ports (`serving.rs`).
//!
//! Upstream: `pkg/controller/certificates`.

mod approve;
mod clean;
mod serving;
mod sign;
pub(crate) mod usages;

use std::{future::Future, sync::Arc};

use client::{Change, Informer};
use controller::{Queue, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest as Csr, CertificateSigningRequestCondition as Condition,
};
use kube::{Api, Client, api::PostParams};

use crate::{context::Context, util::key};

pub(crate) use serving::start as start_approving_serving;
pub(crate) use sign::{SIGNERS, authority};

const WORKERS: usize = 5;

/// Runs the approver.
pub(crate) fn start_approving(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(async move {
        let client = context.client.clone();
        run(context, WORKERS, move |csr| approve::reconcile(client.clone(), csr)).await
    })
}

/// Runs the signers that have a certificate and a key.
pub(crate) fn start_signing(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(async move {
        let (client, config) = (context.client.clone(), context.config.clone());
        if config.signing.files.is_empty() {
            tracing::info!("no certificate and key given: nothing is signed");
            return Ok(());
        }
        run(context, WORKERS, move |csr| sign::reconcile(client.clone(), config.clone(), csr)).await
    })
}

/// Runs the cleaner.
pub(crate) fn start_cleaning(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(clean::run(context))
}

/// Hands each request that has no certificate to `reconcile`, so many at once.
pub(crate) async fn run<F, Fut>(context: Context, workers: usize, reconcile: F) -> anyhow::Result<()>
where
    F: Fn(Arc<Csr>) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let requests: Informer<Csr> = context.informers.of();
    let queue: Queue<String> = Queue::new();
    let wake = queue.clone();
    requests.on_change(move |change| {
        if !matches!(change, Change::Deleted(_)) {
            wake.add(key::name(&change.object().metadata).to_owned());
        }
    });
    requests.synced().await;
    let (requests, reconcile) = (&requests, &reconcile);
    run_workers(context.name, &queue, workers, context.cancel.clone(), |name: String| async move {
        match requests.get(None, &name).filter(|csr| !is_issued(csr)) {
            Some(csr) => reconcile(csr).await,
            None => Ok(()),
        }
    })
    .await;
    Ok(())
}

fn conditions(csr: &Csr) -> &[Condition] {
    csr.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default()
}

fn is_issued(csr: &Csr) -> bool {
    csr.status.as_ref().and_then(|s| s.certificate.as_ref()).is_some_and(|c| !c.0.is_empty())
}

/// Whether a request is in a state at all, true or not.
pub(crate) fn has(csr: &Csr, state: &str) -> bool {
    conditions(csr).iter().any(|c| c.type_ == state)
}

/// Writes a request's approval or its status.
pub(crate) async fn write(client: &Client, csr: &Csr, part: &str) -> kube::Result<()> {
    let api: Api<Csr> = Api::all(client.clone());
    match api.replace_subresource(part, key::name(&csr.metadata), &PostParams::default(), csr).await {
        Err(e) if !client::is_not_found(&e) => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
