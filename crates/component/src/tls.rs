//! TLS for servers: load, reload when the files change, ask for client certificates.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, bail};
use parking_lot::Mutex;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};

pub mod issue;
pub mod pki;

/// The certificates in a PEM file.
///
/// # Errors
/// The file can't be read or holds no certificate.
pub fn load_certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let pem = std::fs::read(path).with_context(|| path.display().to_string())?;
    certificates(&pem).with_context(|| path.display().to_string())
}

/// The certificates in PEM text.
///
/// # Errors
/// The text is broken or holds no certificate.
pub fn certificates(pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let certs = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
    if certs.is_empty() {
        bail!("no certificate found");
    }
    Ok(certs)
}

/// A certificate chain with its key, from PEM text.
///
/// # Errors
/// Either is broken, or they don't belong together.
pub fn certified_key(cert_pem: &[u8], key_pem: &[u8]) -> anyhow::Result<CertifiedKey> {
    let key = PrivateKeyDer::from_pem_slice(key_pem).context("private key")?;
    let certified = CertifiedKey::from_der(certificates(cert_pem)?, key, &aws_lc_rs::default_provider())?;
    Ok(certified)
}

/// A server's TLS: HTTP/2 and HTTP/1.1, certificate from `resolver`, and client certificates asked for (not demanded)
/// if there is a CA to check them against. Who presents none is anonymous, not refused.
///
/// # Errors
/// The CA holds no usable certificate.
pub fn server_config(resolver: Arc<dyn ResolvesServerCert>, client_ca: Option<&[u8]>) -> anyhow::Result<ServerConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let mut config = match client_ca {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for cert in certificates(pem).context("client CA")? {
                roots.add(cert).context("client CA")?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.allow_unauthenticated().build()?)
        }
    }
    .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The certificate in the files given (certificate, key), reloaded as they change; without files, a self-signed one.
///
/// # Errors
/// The files can't be used.
pub fn resolver(files: Option<(&Path, &Path)>, common_name: &str) -> anyhow::Result<Arc<dyn ResolvesServerCert>> {
    if let Some((cert, key)) = files {
        return Ok(Arc::new(Reloading::new(cert, key)?));
    }
    let pair =
        pki::self_signed(common_name, &["localhost".into(), "127.0.0.1".into()], time::OffsetDateTime::now_utc())?;
    Ok(Arc::new(Fixed(Arc::new(certified_key(pair.cert_pem.as_bytes(), pair.key_pem.as_bytes())?))))
}

/// A certificate that stays the same.
#[derive(Debug)]
pub struct Fixed(pub Arc<CertifiedKey>);

impl ResolvesServerCert for Fixed {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// A certificate in files that is read again when they change: rotation needs no restart.
pub struct Reloading {
    cert: PathBuf,
    key: PathBuf,
    state: Mutex<Loaded>,
}

struct Loaded {
    current: Arc<CertifiedKey>,
    modified: Option<SystemTime>,
    checked: Instant,
}

const CHECK_INTERVAL: Duration = Duration::from_secs(1);

impl Reloading {
    /// Loads it for the first time.
    ///
    /// # Errors
    /// The files can't be read or don't belong together.
    pub fn new(cert: &Path, key: &Path) -> anyhow::Result<Self> {
        let current = Arc::new(load_pair(cert, key)?);
        let state = Mutex::new(Loaded { current, modified: modified(cert, key), checked: Instant::now() });
        Ok(Self { cert: cert.into(), key: key.into(), state })
    }

    fn current(&self) -> Arc<CertifiedKey> {
        let mut state = self.state.lock();
        if state.checked.elapsed() >= CHECK_INTERVAL {
            state.checked = Instant::now();
            let modified = modified(&self.cert, &self.key);
            if modified != state.modified {
                // Half-written pairs are left for the next look; the old one serves until then.
                match load_pair(&self.cert, &self.key) {
                    Ok(new) => (state.current, state.modified) = (Arc::new(new), modified),
                    Err(error) => tracing::warn!(cert = %self.cert.display(), %error, "certificate not reloaded"),
                }
            }
        }
        state.current.clone()
    }
}

impl fmt::Debug for Reloading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloading").field("cert", &self.cert).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Reloading {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

fn load_pair(cert: &Path, key: &Path) -> anyhow::Result<CertifiedKey> {
    let cert_pem = std::fs::read(cert).with_context(|| cert.display().to_string())?;
    let key_pem = std::fs::read(key).with_context(|| key.display().to_string())?;
    certified_key(&cert_pem, &key_pem).with_context(|| cert.display().to_string())
}

fn modified(cert: &Path, key: &Path) -> Option<SystemTime> {
    let of = |p: &Path| std::fs::metadata(p).and_then(|m| m.modified()).ok();
    of(cert).max(of(key))
}
