//! One request for a certificate: posted, or found where an earlier run posted it, and its answer waited for.
//!
//! Upstream: client-go `util/certificate/csr/csr.go`.

use std::time::Duration;

use component::tls::{Facts, issue, request::Key};
use futures::StreamExt;
use k8s_openapi::{
    ByteString,
    api::certificates::v1::{CertificateSigningRequest as Csr, CertificateSigningRequestSpec},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{ListParams, PostParams, WatchEvent, WatchParams},
};

use super::{Fault, Purpose, fault::Cause};

/// A request that is with the cluster.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its name.
    pub name: String,
    /// Tells it from another of its name.
    pub uid: String,
}

/// Posts a request (PEM) that was made with `key`; `name` or none, if the server is to name it. One of that name that is there
/// is taken up, if it is for the same key.
///
/// # Errors
/// The server refuses, or there is another of that name.
pub async fn ask(
    client: &Client,
    (pem, key): (&str, &Key),
    name: Option<&str>,
    purpose: Purpose,
    lasts: Option<Duration>,
) -> Result<Asked, Fault> {
    let api: Api<Csr> = Api::all(client.clone());
    let mut csr = Csr {
        spec: CertificateSigningRequestSpec {
            request: ByteString(pem.as_bytes().to_vec()),
            signer_name: purpose.signer.to_owned(),
            usages: Some(purpose.usages.map(str::to_owned).to_vec()),
            expiration_seconds: lasts.map(|lasts| i32::try_from(lasts.as_secs()).unwrap_or(i32::MAX)),
            ..CertificateSigningRequestSpec::default()
        },
        ..Csr::default()
    };
    csr.metadata.name = name.map(str::to_owned);
    csr.metadata.generate_name = name.is_none().then(|| "csr-".to_owned());
    let of =
        |csr: Csr| Asked { name: csr.metadata.name.unwrap_or_default(), uid: csr.metadata.uid.unwrap_or_default() };
    match (api.create(&PostParams::default(), &csr).await, name) {
        (Ok(made), _) => Ok(of(made)),
        (Err(error), Some(name)) if crate::is_already_exists(&error) => {
            tracing::info!(name, "the certificate signing request is there already, it is taken up");
            let there =
                api.get(name).await.map_err(|e| Fault::of("cannot retrieve certificate signing request", &e))?;
            compatible(&there, &csr, key, Timestamp::now())
                .map_err(|why| Fault::new(Cause::Stale, format!("retrieved csr {name} is not compatible: {why}")))?;
            Ok(of(there))
        }
        (Err(error), _) => Err(Fault::of("cannot create certificate signing request", &error)),
    }
}

/// Why a request that is there is not the one that was to be posted.
fn compatible(there: &Csr, own: &Csr, key: &Key, now: Timestamp) -> Result<(), String> {
    let read = |csr: &Csr| issue::Request::parse(&csr.spec.request.0).map_err(|error| format!("{error:#}"));
    let (a, b) = (read(there)?, read(own)?);
    if (a.common_name(), a.organizations()) != (b.common_name(), b.organizations()) {
        return Err("the subjects differ".into());
    }
    if there.spec.signer_name != own.spec.signer_name {
        return Err(format!("the signers differ: {:?} and {:?}", there.spec.signer_name, own.spec.signer_name));
    }
    if a.public_key() != key.public_der() {
        return Err("it is for another key".into());
    }
    let certificate = there.status.as_ref().and_then(|status| status.certificate.as_ref());
    let leaf = certificate.and_then(|c| component::tls::certificates(&c.0).ok()).and_then(|c| c.into_iter().next());
    match leaf.and_then(|leaf| Facts::of(&leaf).ok()) {
        Some(facts) if facts.not_after < now => Err(format!("its certificate has expired: {}", facts.not_after)),
        _ => Ok(()),
    }
}

/// Waits for the certificate (PEM), without end.
///
/// # Errors
/// The request is denied, has failed or is gone; the server refuses that it is looked at.
pub async fn wait(client: &Client, asked: &Asked) -> Result<Vec<u8>, Fault> {
    let api: Api<Csr> = Api::all(client.clone());
    let selector = format!("metadata.name={}", asked.name);
    loop {
        match api.list(&ListParams::default().fields(&selector)).await {
            Ok(list) => {
                let Some(csr) = list.items.first() else { return Err(deleted(asked)) };
                if let Some(pem) = answer(csr, asked)? {
                    return Ok(pem);
                }
                let version = list.metadata.resource_version.unwrap_or_default();
                if let Some(pem) = follow(&api, &selector, &version, asked).await? {
                    return Ok(pem);
                }
            }
            Err(error) => {
                let fault = Fault::of("cannot watch on the certificate signing request", &error);
                if fault.is_lasting() {
                    return Err(fault);
                }
                tracing::debug!(%fault, "looking at the certificate signing request");
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// The certificate, or nothing when the watch has ended without one.
async fn follow(api: &Api<Csr>, selector: &str, version: &str, asked: &Asked) -> Result<Option<Vec<u8>>, Fault> {
    let Ok(events) = api.watch(&WatchParams::default().fields(selector), version).await else { return Ok(None) };
    let mut events = std::pin::pin!(events);
    while let Some(Ok(event)) = events.next().await {
        match event {
            WatchEvent::Added(csr) | WatchEvent::Modified(csr) => {
                if let Some(pem) = answer(&csr, asked)? {
                    return Ok(Some(pem));
                }
            }
            WatchEvent::Deleted(_) => return Err(deleted(asked)),
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(_) => break,
        }
    }
    Ok(None)
}

fn deleted(asked: &Asked) -> Fault {
    Fault::new(Cause::Other, format!("csr {:?} was deleted", asked.name))
}

/// What has become of a request.
fn answer(csr: &Csr, asked: &Asked) -> Result<Option<Vec<u8>>, Fault> {
    if csr.metadata.uid.as_deref().unwrap_or_default() != asked.uid {
        return Err(Fault::new(Cause::Other, format!("csr {:?} changed UIDs", asked.name)));
    }
    let status = csr.status.as_ref();
    let mut approved = false;
    for condition in status.and_then(|status| status.conditions.as_ref()).into_iter().flatten() {
        let said = |verb: &str| {
            let (reason, message) = (condition.reason.as_deref(), condition.message.as_deref());
            let (reason, message) = (reason.unwrap_or_default(), message.unwrap_or_default());
            format!("certificate signing request {} {verb}, reason: {reason}, message: {message}", asked.name)
        };
        match condition.type_.as_str() {
            "Denied" => return Err(Fault::new(Cause::Denied, said("is denied"))),
            "Failed" => return Err(Fault::new(Cause::Denied, said("failed"))),
            "Approved" => approved = true,
            _ => {}
        }
    }
    let certificate = status.and_then(|status| status.certificate.as_ref()).filter(|c| approved && !c.0.is_empty());
    Ok(certificate.map(|certificate| certificate.0.clone()))
}
