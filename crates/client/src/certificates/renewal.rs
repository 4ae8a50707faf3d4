//! The task that keeps a certificate good: it asks for another when most of its life is over or when it is to say something
//! else, stores it, and puts it in force.
//!
//! Upstream: client-go `util/certificate/certificate_manager.go`. Unlike upstream's, an attempt ends when the certificate with
//! which it is watched expires, and another is made with whatever else is there to ask with; and short lives are provided for
//! (`due.rs`).

use std::{sync::Arc, time::Duration};

use component::tls::{
    Rotating, Store,
    request::{Key, Template},
};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::Client;
use tokio::sync::watch;

use super::{Fault, Purpose, ask, due, fault::Cause, wait};

/// How long a request may wait for its certificate.
const WAIT: Duration = Duration::from_secs(15 * 60);
/// Clocks may be set while one sleeps.
const SLEEP: SignedDuration = SignedDuration::from_secs(30);

/// Yields the client to ask with, given whether the certificate in force is good.
pub type Asker = Arc<dyn Fn(bool) -> anyhow::Result<Client> + Send + Sync>;

/// What is kept good.
#[derive(Clone)]
pub struct Renewal {
    /// What the certificate is for.
    pub purpose: Purpose,
    /// What it shall say; nothing is asked for while there is none.
    pub template: watch::Receiver<Option<Template>>,
    /// Where it is put in force.
    pub certificate: Arc<Rotating>,
    /// Where it is kept.
    pub store: Store,
    /// Whom to ask with.
    pub asker: Asker,
    /// Whether the one in force is to be replaced whatever it says.
    pub at_once: bool,
    /// How long it shall last; the signer decides without.
    pub lasts: Option<Duration>,
}

/// Keeps the certificate good, for ever.
pub async fn renew(mut own: Renewal) {
    let (mut at_once, mut obtained, mut failed) = (own.at_once, None, 0);
    loop {
        let template = own.template.borrow_and_update().clone();
        let Some(template) = template else {
            if own.template.changed().await.is_err() {
                // Nobody will ever say what is wanted.
                return std::future::pending().await;
            }
            continue;
        };
        if let Some(at) = due_at(&own.certificate, &template, obtained, at_once) {
            let left = at.duration_since(Timestamp::now());
            if left.is_positive() {
                let part = Duration::try_from(left.min(SLEEP)).unwrap_or_default();
                tokio::select! {
                    () = tokio::time::sleep(part) => {}
                    Ok(()) = own.template.changed() => {}
                }
                continue;
            }
        }
        match attempt(&own, &template).await {
            Ok(()) => (at_once, obtained, failed) = (false, Some(Timestamp::now()), 0),
            Err(fault) => {
                failed += 1;
                let left = left(&own.certificate);
                let pause = due::pause(failed, left);
                tracing::error!(signer = own.purpose.signer, %fault, ?left, "no new certificate, it is asked for again");
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    Ok(()) = own.template.changed() => {}
                }
            }
        }
    }
}

/// When the certificate in force is to be replaced; none: now.
fn due_at(
    certificate: &Rotating,
    template: &Template,
    obtained: Option<Timestamp>,
    at_once: bool,
) -> Option<Timestamp> {
    let current = certificate.current().filter(|current| !at_once && template.satisfied(&current.facts))?;
    // The same share each time that the same certificate is looked at, and another of another machine's.
    let seed = current.key.cert.first().map_or(0, |leaf| leaf.iter().fold(0u32, |sum, b| mix(sum, *b)));
    Some(due::due(&current.facts, obtained, due::share(f64::from(seed) / f64::from(u32::MAX))))
}

/// A step of FNV-1a.
fn mix(sum: u32, byte: u8) -> u32 {
    (if sum == 0 { 0x811c_9dc5 } else { sum } ^ u32::from(byte)).wrapping_mul(0x0100_0193)
}

/// What is left of the certificate in force; none if there is none.
fn left(certificate: &Rotating) -> Option<Duration> {
    let current = certificate.current()?;
    Some(Duration::try_from(current.facts.not_after.duration_since(Timestamp::now())).unwrap_or_default())
}

async fn attempt(own: &Renewal, template: &Template) -> Result<(), Fault> {
    let other = |error: anyhow::Error| Fault::new(Cause::Other, format!("{error:#}"));
    let key = Key::generate().map_err(other)?;
    let pem = key.request(template).map_err(other)?;
    let left = left(&own.certificate).filter(|left| !left.is_zero());
    let client = (own.asker)(left.is_some()).map_err(other)?;
    // With a certificate that has expired nobody is told how his request stands.
    let limit = left.map_or(WAIT, |left| left.clamp(Duration::from_secs(2), WAIT));
    let answer = async {
        let asked = ask(&client, (&pem, &key), None, own.purpose, own.lasts).await?;
        tracing::debug!(name = asked.name, signer = own.purpose.signer, "certificate signing request created");
        wait(&client, &asked).await
    };
    let mut wanted = own.template.clone();
    let answer = tokio::select! {
        answer = tokio::time::timeout(limit, answer) => answer,
        Ok(_) = wanted.wait_for(|wanted| wanted.as_ref() != Some(template)) => {
            return Err(Fault::new(Cause::Other, "something else is wanted now"));
        }
    };
    let cert = answer.map_err(|_| Fault::new(Cause::Other, "the certificate request was not signed in time"))??;
    let certificate = own.store.update(&cert, key.pem().as_bytes(), Timestamp::now()).map_err(other)?;
    tracing::info!(signer = own.purpose.signer, until = %certificate.facts.not_after, "certificate renewed");
    own.certificate.replace(certificate);
    Ok(())
}
