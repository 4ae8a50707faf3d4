//! A pool of certificate authorities that client certificates are checked against.
//!
//! As upstream, TLS only asks for a certificate and proves that the client has its key; whether it is one of ours is
//! decided here, a pool a purpose, and a foreign one is a 401 and not a broken handshake. Chains, validity and the
//! `clientAuth` usage are webpki's business.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

/// See the module.
#[derive(Debug)]
pub struct CaPool {
    verifier: ArcSwap<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    pem: String,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl CaPool {
    /// The authorities of a PEM bundle.
    pub fn new(pem: &str) -> anyhow::Result<Self> {
        Ok(Self { verifier: ArcSwap::from_pointee(Loaded::new(pem)?) })
    }

    /// Takes another bundle; the old one stays where the new one cannot be read.
    pub fn replace(&self, pem: &str) -> anyhow::Result<()> {
        self.verifier.store(Arc::new(Loaded::new(pem)?));
        Ok(())
    }

    /// The bundle in force.
    pub fn pem(&self) -> String {
        self.verifier.load().pem.clone()
    }

    /// Whether this is the very same bundle as at an earlier look: what results are remembered by.
    pub(super) fn version(&self) -> usize {
        Arc::as_ptr(&*self.verifier.load()) as usize
    }

    /// The names of the authorities, which TLS tells the client.
    pub fn subjects(&self) -> Vec<rustls::DistinguishedName> {
        self.verifier.load().verifier.root_hint_subjects().to_vec()
    }

    /// Whether the chain (leaf first) leads to one of the authorities at that time and may be a client's.
    pub fn verify(&self, chain: &[Bytes], now: Timestamp) -> Result<(), String> {
        let (leaf, intermediates) = chain.split_first().ok_or("no certificate")?;
        let leaf = CertificateDer::from(&leaf[..]);
        let intermediates: Vec<CertificateDer<'_>> =
            intermediates.iter().map(|c| CertificateDer::from(&c[..])).collect();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now.as_second().max(0) as u64));
        self.verifier.load().verifier.verify_client_cert(&leaf, &intermediates, now).map_err(|e| e.to_string())?;
        Ok(())
    }
}

impl Loaded {
    fn new(pem: &str) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
        Ok(Self { pem: pem.to_owned(), verifier })
    }
}
