//! A pool of certificate authorities that client certificates are checked against.
//!
//! As upstream, TLS only asks for a certificate and proves that the client has its key; whether it is one of ours is
//! decided here, a pool a purpose, and a foreign one is a 401 and not a broken handshake. Chains, validity and the
//! `clientAuth` usage are webpki's business.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use bytes::Bytes;
use jiff::Timestamp;
use parking_lot::Mutex;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use super::version1;

/// See the module.
#[derive(Debug)]
pub struct CaPool {
    verifier: ArcSwap<Loaded>,
    file: Option<(PathBuf, Mutex<Looked>)>,
}

#[derive(Debug)]
struct Loaded {
    pem: String,
    authorities: Vec<Vec<u8>>,
    verifier: Arc<dyn ClientCertVerifier>,
}

#[derive(Debug)]
struct Looked {
    at: Instant,
    modified: Option<SystemTime>,
}

/// How often a bundle's file is looked at.
const LOOK: Duration = Duration::from_secs(1);

impl CaPool {
    /// The authorities of a PEM bundle.
    pub fn new(pem: &str) -> anyhow::Result<Self> {
        Ok(Self { verifier: ArcSwap::from_pointee(Loaded::new(pem)?), file: None })
    }

    /// The authorities of a file, which is read again when it changes.
    pub fn file(path: &Path) -> anyhow::Result<Self> {
        let modified = modified(path);
        let pem = std::fs::read_to_string(path)?;
        let looked = Mutex::new(Looked { at: Instant::now(), modified });
        Ok(Self { file: Some((path.to_owned(), looked)), ..Self::new(&pem)? })
    }

    /// Reads the file again if it is another.
    fn refresh(&self) {
        let Some((path, looked)) = &self.file else { return };
        let Some(mut looked) = looked.try_lock().filter(|l| l.at.elapsed() >= LOOK) else { return };
        looked.at = Instant::now();
        let modified = modified(path);
        if modified == looked.modified {
            return;
        }
        // A half-written bundle is left for the next look; the old one counts until then.
        let read = std::fs::read_to_string(path).map_err(anyhow::Error::from);
        match read.and_then(|pem| self.replace(&pem)) {
            Ok(()) => looked.modified = modified,
            Err(error) => tracing::warn!(file = %path.display(), %error, "authorities not reloaded"),
        }
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
        self.refresh();
        Arc::as_ptr(&*self.verifier.load()) as usize
    }

    /// The names of the authorities, which TLS tells the client.
    pub fn subjects(&self) -> Vec<rustls::DistinguishedName> {
        self.verifier.load().verifier.root_hint_subjects().to_vec()
    }

    /// Whether the chain (leaf first) leads to one of the authorities at that time and may be a client's.
    pub fn verify(&self, chain: &[Bytes], now: Timestamp) -> Result<(), String> {
        let (leaf, intermediates) = chain.split_first().ok_or("no certificate")?;
        self.refresh();
        if let Some(leaf) = version1::parse(leaf) {
            return version1::verify(&leaf, &self.verifier.load().authorities, now);
        }
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
        let mut authorities = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate = certificate?;
            authorities.push(certificate.to_vec());
            roots.add(certificate)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
        Ok(Self { pem: pem.to_owned(), authorities, verifier })
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|m| m.modified()).ok()
}
