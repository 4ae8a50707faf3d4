//! A certificate that is replaced while it is in use: by servers and by clients, for their next connection.
//!
//! Whoever renews it (`client::certificates`, a task of the API server's own keys) puts the new one in; whoever presents it
//! need not know that it is renewed. Clients that keep connections learn by [`Rotating::version`] that theirs are of an older
//! one.

use std::{fmt, net::IpAddr, sync::Arc};

use anyhow::Context;
use jiff::Timestamp;
use rustls::{
    SignatureScheme,
    client::ResolvesClientCert,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::sync::watch;
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

use super::certified_key;

/// What a leaf says of its holder, and how long.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// From when.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
    /// The holder.
    pub common_name: String,
    /// Their groups.
    pub organizations: Vec<String>,
    /// Host names.
    pub dns_names: Vec<String>,
    /// Addresses.
    pub ips: Vec<IpAddr>,
}

impl Facts {
    /// Of a certificate in DER.
    ///
    /// # Errors
    /// It can't be read.
    pub fn of(der: &[u8]) -> anyhow::Result<Self> {
        let (_, leaf) = X509Certificate::from_der(der).context("certificate")?;
        let validity = leaf.validity();
        let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
        let subject = leaf.subject();
        let mut facts = Self {
            not_before: Timestamp::from_second(validity.not_before.timestamp())?,
            not_after: Timestamp::from_second(validity.not_after.timestamp())?,
            common_name: text(subject.iter_common_name().next().and_then(|name| name.as_str().ok())),
            organizations: subject.iter_organization().map(|name| text(name.as_str().ok())).collect(),
            dns_names: Vec::new(),
            ips: Vec::new(),
        };
        let names = leaf.subject_alternative_name().ok().flatten();
        for name in names.iter().flat_map(|extension| &extension.value.general_names) {
            match name {
                GeneralName::DNSName(name) => facts.dns_names.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => {
                    let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                    facts.ips.extend(v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)));
                }
                _ => {}
            }
        }
        Ok(facts)
    }
}

/// A certificate (with those that lead to its authority) and its key, read.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// As TLS uses it.
    pub key: Arc<CertifiedKey>,
    /// What it says.
    pub facts: Facts,
}

impl Certificate {
    /// From PEM; both texts may be the same one.
    ///
    /// # Errors
    /// They can't be read, or don't belong together.
    pub fn from_pem(cert: &[u8], key: &[u8]) -> anyhow::Result<Self> {
        let key = certified_key(cert, key)?;
        let facts = Facts::of(key.cert.first().context("no certificate found")?)?;
        Ok(Self { key: Arc::new(key), facts })
    }
}

/// See the module.
pub struct Rotating(watch::Sender<(u64, Option<Arc<Certificate>>)>);

impl Rotating {
    /// With the first one, if there is one already.
    pub fn new(first: Option<Certificate>) -> Arc<Self> {
        Arc::new(Self(watch::Sender::new((0, first.map(Arc::new)))))
    }

    /// The one in force, which may have expired.
    pub fn current(&self) -> Option<Arc<Certificate>> {
        self.0.borrow().1.clone()
    }

    /// How often it was replaced.
    pub fn version(&self) -> u64 {
        self.0.borrow().0
    }

    /// Puts another in force: for each connection from now on.
    pub fn replace(&self, new: Certificate) {
        self.0.send_modify(|(version, current)| (*version, *current) = (*version + 1, Some(Arc::new(new))));
    }

    /// Returns when there is another one than that of `version`.
    pub async fn replaced(&self, version: u64) {
        // The sender is ours: it can't be gone.
        let _ = self.0.subscribe().wait_for(|(now, _)| *now != version).await;
    }

    /// As TLS uses it; one that has expired is none, as upstream's.
    fn valid(&self) -> Option<Arc<CertifiedKey>> {
        let current = self.current()?;
        (Timestamp::now() <= current.facts.not_after).then(|| current.key.clone())
    }
}

impl fmt::Debug for Rotating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rotating").field("facts", &self.current().map(|c| c.facts.clone())).finish()
    }
}

impl ResolvesServerCert for Rotating {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.valid()
    }
}

impl ResolvesClientCert for Rotating {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.valid()
    }

    fn has_certs(&self) -> bool {
        true
    }
}
