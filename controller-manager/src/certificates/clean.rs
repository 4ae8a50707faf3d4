//! Which requests are old enough to go: they come by machines, and nobody deletes them. Upstream: `cleaner/cleaner.go`.

use std::time::Duration;

use client::Informer;
use component::tls::issue;
use k8s_openapi::{
    api::certificates::v1::CertificateSigningRequest as Csr,
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};
use kube::{Api, api::DeleteParams};

use super::{conditions, is_issued};
use crate::{context::Context, util::key};

const PERIOD: Duration = Duration::from_secs(3600);
/// How long a request stays that was decided on.
const DECIDED: SignedDuration = SignedDuration::from_hours(1);
/// How long a request may wait: for a decision, or for its certificate.
const WAITING: SignedDuration = SignedDuration::from_hours(24);

/// Why a request is to go; none if it stays.
pub(super) fn why(csr: &Csr, now: Timestamp) -> Option<&'static str> {
    let older = |at: Option<&Time>, than| at.is_some_and(|at| now.duration_since(at.0) > than);
    let since = |state: &str, than| {
        conditions(csr).iter().any(|c| c.type_ == state && older(c.last_update_time.as_ref(), than))
    };
    let approved = conditions(csr).iter().any(|c| c.type_ == "Approved");
    let certificate = csr.status.as_ref().and_then(|s| s.certificate.as_ref());
    let expired = || certificate.and_then(|c| issue::not_after(&c.0)).is_some_and(|until| now > until);
    let issued = is_issued(csr);
    match () {
        () if issued && since("Approved", DECIDED) => Some("approved and issued"),
        () if since("Denied", DECIDED) => Some("denied"),
        () if since("Failed", DECIDED) => Some("failed"),
        () if conditions(csr).is_empty() && older(csr.metadata.creation_timestamp.as_ref(), WAITING) => {
            Some("unhandled")
        }
        () if issued && approved && expired() => Some("its certificate is expired"),
        () if !issued && since("Approved", WAITING) => Some("approved but unissued"),
        () => None,
    }
}

pub(super) async fn run(context: Context) -> anyhow::Result<()> {
    let requests: Informer<Csr> = context.informers.of();
    requests.synced().await;
    let api: Api<Csr> = Api::all(context.client.clone());
    let clean = async {
        loop {
            for csr in requests.list() {
                let Some(why) = why(&csr, Timestamp::now()) else { continue };
                let name = key::name(&csr.metadata);
                tracing::info!(name, why, "certificate signing request deleted");
                match api.delete(name, &DeleteParams::default()).await {
                    Err(error) if !client::is_not_found(&error) => {
                        tracing::warn!(name, %error, "certificate signing request not deleted");
                    }
                    _ => {}
                }
            }
            tokio::time::sleep(PERIOD).await;
        }
    };
    context.cancel.run_until_cancelled(clean).await;
    Ok(())
}
