//! TLS for servers: load, reload when the files change, ask for client certificates.

use std::{path::Path, sync::Arc};

use anyhow::{Context, bail};
use rustls::{
    ServerConfig, SignatureScheme,
    client::ResolvesClientCert,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
};

mod authorities;
mod followed;
pub mod issue;
pub mod pki;
pub mod request;
mod rotating;
mod store;
mod trusted;

pub use authorities::Authorities;
pub use followed::Followed;
pub use rotating::{Certificate, Facts, Rotating};
pub use store::Store;
pub use trusted::TrustedServers;

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

/// As [`server_config_with`], with the authorities of a PEM text.
///
/// # Errors
/// The CA holds no usable certificate.
pub fn server_config(resolver: Arc<dyn ResolvesServerCert>, client_ca: Option<&[u8]>) -> anyhow::Result<ServerConfig> {
    server_config_with(resolver, client_ca.map(Authorities::of_pem).transpose()?.map(Arc::new))
}

/// A server's TLS: HTTP/2 and HTTP/1.1, certificate from `resolver`, and client certificates asked for (not demanded)
/// if there are authorities to check them against. Who presents none is anonymous, not refused.
///
/// # Errors
/// The TLS library refuses its own defaults.
pub fn server_config_with(
    resolver: Arc<dyn ResolvesServerCert>,
    authorities: Option<Arc<Authorities>>,
) -> anyhow::Result<ServerConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = match authorities {
        None => builder.with_no_client_auth(),
        Some(authorities) => builder.with_client_cert_verifier(authorities),
    }
    .with_cert_resolver(resolver);
    // A session taken up again would bring its client's certificate along unchecked, after its authority is gone.
    config.session_storage = Arc::new(NoServerSessionStorage {});
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
#[derive(Debug)]
pub struct Reloading(Followed<CertifiedKey>);

impl Reloading {
    /// Loads it for the first time.
    ///
    /// # Errors
    /// The files can't be read or don't belong together.
    pub fn new(cert: &Path, key: &Path) -> anyhow::Result<Self> {
        let (cert, key) = (cert.to_owned(), key.to_owned());
        Ok(Self(Followed::new(vec![cert.clone(), key.clone()], move || load_pair(&cert, &key))?))
    }
}

/// For clients, which forget sessions that could be taken up again: with one of them its certificate would go on.
impl ResolvesClientCert for Reloading {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Reloading {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current())
    }
}

fn load_pair(cert: &Path, key: &Path) -> anyhow::Result<CertifiedKey> {
    let cert_pem = std::fs::read(cert).with_context(|| cert.display().to_string())?;
    let key_pem = std::fs::read(key).with_context(|| key.display().to_string())?;
    certified_key(&cert_pem, &key_pem).with_context(|| cert.display().to_string())
}
