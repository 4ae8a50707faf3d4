//! Signing approved requests for the signers of Kubernetes, each with an authority of its own or all with one.
//! Upstream: `signer/signer.go`, `authority`.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use component::tls::issue::{Authority, Request, Terms};
use k8s_openapi::{
    ByteString,
    api::certificates::v1::{CertificateSigningRequest as Csr, CertificateSigningRequestCondition as Condition},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};
use kube::Client;

use super::{conditions, has, usages};
use crate::{
    context::Config,
    util::{conditions::quote, key},
};

/// The signers, and how the flags name each: `--cluster-signing-<flag>-cert-file`.
pub(crate) const SIGNERS: [(&str, &str); 4] = [
    ("kubernetes.io/kubelet-serving", "kubelet-serving"),
    ("kubernetes.io/kube-apiserver-client-kubelet", "kubelet-client"),
    ("kubernetes.io/kube-apiserver-client", "kube-apiserver-client"),
    ("kubernetes.io/legacy-unknown", "legacy-unknown"),
];

/// Clocks of a cluster differ a little; less than the shortest certificate lasts.
const BACKDATE: Duration = Duration::from_secs(5 * 60);
/// Nobody gets a certificate for less.
const SHORTEST: Duration = Duration::from_secs(10 * 60);
/// A certificate that lasts less is not cut by the backdating.
const SHORT: Duration = Duration::from_secs(8 * 3600);

/// What becomes of an approved request.
#[derive(Debug, PartialEq)]
pub(super) enum Decision {
    /// It is no affair of these signers.
    Leave,
    /// It is to be signed.
    Sign,
    /// It can't be what it says it is.
    Fail(String),
}

/// Decides; the request itself is read only if it has to be.
pub(super) fn decide(csr: &Csr, read: impl FnOnce() -> anyhow::Result<Request>) -> anyhow::Result<Decision> {
    let failed = conditions(csr).iter().any(|c| c.type_ == "Failed" && (c.status.is_empty() || c.status == "True"));
    let known = SIGNERS.iter().any(|(name, _)| *name == csr.spec.signer_name);
    if !has(csr, "Approved") || has(csr, "Denied") || failed || !known {
        return Ok(Decision::Leave);
    }
    let (request, wanted) = (read()?, csr.spec.usages.clone().unwrap_or_default());
    let fault = match csr.spec.signer_name.as_str() {
        "kubernetes.io/kubelet-serving" => usages::kubelet_serving(&request, &wanted),
        "kubernetes.io/kube-apiserver-client-kubelet" => usages::kubelet_client(&request, &wanted),
        "kubernetes.io/kube-apiserver-client" => usages::client(&wanted),
        _ => Ok(()),
    };
    Ok(fault.map_or_else(Decision::Fail, |()| Decision::Sign))
}

/// How long a certificate lasts, given how long it may at most.
pub(super) fn lasts(asked: Option<i32>, most: Duration) -> Duration {
    let Some(asked) = asked else { return most };
    let asked = Duration::from_secs(u64::try_from(asked).unwrap_or(0));
    if asked > most { most } else { asked.max(SHORTEST) }
}

/// What the certificate says, given until when the authority's own is valid.
///
/// # Errors
/// The authority's own has run out, or a usage is none.
pub(super) fn terms(
    usages: &[String],
    lasts: Duration,
    authority_until: Timestamp,
    now: Timestamp,
) -> anyhow::Result<Terms> {
    let (key_usage, extended_usages) = usages::encoded(usages).map_err(anyhow::Error::msg)?;
    let length = if lasts < SHORT { lasts } else { lasts - BACKDATE };
    let not_before = now.saturating_sub(SignedDuration::try_from(BACKDATE)?)?;
    let not_after = now.saturating_add(SignedDuration::try_from(length)?)?.min(authority_until);
    anyhow::ensure!(not_before < authority_until, "the signer has expired: NotAfter={authority_until}");
    anyhow::ensure!(
        now < authority_until,
        "refusing to sign a certificate that expired in the past: NotAfter={authority_until}"
    );
    Ok(Terms { not_before, not_after, key_usage, extended_usages })
}

/// Reads an authority from its files.
///
/// # Errors
/// They can't be read, or don't make one.
pub(crate) fn authority((cert, key): &(PathBuf, PathBuf)) -> anyhow::Result<Authority> {
    let read = |path: &PathBuf| std::fs::read(path).with_context(|| path.display().to_string());
    let (cert_pem, key_pem) = (read(cert)?, read(key)?);
    Authority::from_pem(&cert_pem, &key_pem).with_context(|| format!("error reading CA cert file {:?}", cert.display()))
}

pub(super) async fn reconcile(client: Client, config: Arc<Config>, csr: Arc<Csr>) -> anyhow::Result<()> {
    let Some(files) = config.signing.files.get(csr.spec.signer_name.as_str()) else { return Ok(()) };
    let name = quote(key::name(&csr.metadata));
    let read = || {
        let request = Request::parse(&csr.spec.request.0);
        request.map_err(|error| anyhow::anyhow!("unable to parse csr {name}: {error:#}"))
    };
    let mut signed = (*csr).clone();
    let status = signed.status.get_or_insert_default();
    match decide(&csr, read)? {
        Decision::Leave => return Ok(()),
        Decision::Fail(why) => status.conditions.get_or_insert_default().push(Condition {
            type_: "Failed".into(),
            status: "True".into(),
            reason: Some("SignerValidationFailure".into()),
            message: Some(why),
            last_update_time: Some(Time(Timestamp::now())),
            ..Default::default()
        }),
        Decision::Sign => {
            // Read each time: certificates are rare, and whoever rotates the authority waits for nothing.
            let authority = authority(files)?;
            let lasts = lasts(csr.spec.expiration_seconds, config.signing.duration);
            let usages = csr.spec.usages.clone().unwrap_or_default();
            let terms =
                terms(&usages, lasts, authority.not_after, Timestamp::now()).context("error auto signing csr")?;
            let pem = authority.sign(&read()?, &terms, rand::random()).context("error auto signing csr")?;
            status.certificate = Some(ByteString(pem.into_bytes()));
        }
    }
    Ok(super::write(&client, &signed, "status").await?)
}
