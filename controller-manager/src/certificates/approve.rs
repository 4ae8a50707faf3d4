//! Which requests are approved by themselves: those of kubelets for client certificates, where the requester may have
//! one. Upstream: `approver/sarapprove.go`.

use std::sync::Arc;

use component::tls::issue::Request;
use k8s_openapi::api::{
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
    certificates::v1::{CertificateSigningRequest as Csr, CertificateSigningRequestCondition as Condition},
};
use kube::{Api, Client, api::PostParams};

use super::{has, usages};
use crate::util::{conditions::quote, key};

const SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";

/// What the requester must be allowed to create, and what the approval says.
type Kind = (&'static str, &'static str);

/// What a request is recognised as, in the order in which it is tried.
pub(super) fn kinds(csr: &Csr, request: &Request) -> Vec<Kind> {
    let usages = csr.spec.usages.clone().unwrap_or_default();
    if csr.spec.signer_name != SIGNER || usages::kubelet_client(request, &usages).is_err() {
        return vec![];
    }
    let own = csr.spec.username.as_deref().unwrap_or_default() == request.common_name();
    let itself = ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview.");
    let other = ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.");
    own.then_some(itself).into_iter().chain([other]).collect()
}

pub(super) async fn reconcile(client: Client, csr: Arc<Csr>) -> anyhow::Result<()> {
    if has(&csr, "Approved") || has(&csr, "Denied") {
        return Ok(());
    }
    let name = quote(key::name(&csr.metadata));
    let request = Request::parse(&csr.spec.request.0)
        .map_err(|error| anyhow::anyhow!("unable to parse csr {name}: {error:#}"))?;
    let kinds = kinds(&csr, &request);
    for (kind, message) in &kinds {
        if may(&client, &csr, kind).await? {
            let mut csr = (*csr).clone();
            csr.status.get_or_insert_default().conditions.get_or_insert_default().push(Condition {
                type_: "Approved".into(),
                status: "True".into(),
                reason: Some("AutoApproved".into()),
                message: Some((*message).into()),
                ..Default::default()
            });
            return Ok(super::write(&client, &csr, "approval").await?);
        }
    }
    let tried: Vec<_> = kinds.iter().map(|(kind, _)| *kind).collect();
    // Its role may be given later.
    anyhow::ensure!(
        tried.is_empty(),
        "recognized csr {name} as [{}] but subject access review was not approved",
        tried.join(" ")
    );
    Ok(())
}

/// Whether who asked may have such a certificate.
async fn may(client: &Client, csr: &Csr, kind: &str) -> kube::Result<bool> {
    let attributes = ResourceAttributes {
        group: Some("certificates.k8s.io".into()),
        resource: Some("certificatesigningrequests".into()),
        verb: Some("create".into()),
        subresource: Some(kind.into()),
        version: Some("*".into()),
        ..Default::default()
    };
    let spec = SubjectAccessReviewSpec {
        user: csr.spec.username.clone(),
        uid: csr.spec.uid.clone(),
        groups: csr.spec.groups.clone(),
        extra: csr.spec.extra.clone(),
        resource_attributes: Some(attributes),
        ..Default::default()
    };
    let review = SubjectAccessReview { spec, ..Default::default() };
    let answer = Api::<SubjectAccessReview>::all(client.clone()).create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|s| s.allowed))
}
