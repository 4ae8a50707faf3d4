//! Which certificates of clients a component's port takes: those of the authorities in a bundle, which may be a file that
//! changes. Of two authorities in it, as while one replaces the other, either will do.
//!
//! A client is not told which authorities there are: it presents what it has, and what it is told could be out of date.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::{certificates, followed::Followed};

/// See the module.
#[derive(Debug)]
pub struct Authorities {
    provider: Arc<CryptoProvider>,
    verifier: Followed<Arc<dyn ClientCertVerifier>>,
}

impl Authorities {
    /// Those of a PEM text.
    ///
    /// # Errors
    /// It holds no usable certificate.
    pub fn of_pem(pem: &[u8]) -> anyhow::Result<Self> {
        let verifier = verifier(pem)?;
        Self::new(Followed::new(Vec::new(), move || Ok(verifier.clone())))
    }

    /// Those of a file, which is read again when it changes.
    ///
    /// # Errors
    /// It can't be read, or holds no usable certificate.
    pub fn of_file(path: &Path) -> anyhow::Result<Self> {
        let path = path.to_owned();
        Self::new(Followed::new(vec![path.clone()], move || {
            let pem = std::fs::read(&path).with_context(|| path.display().to_string())?;
            verifier(&pem).with_context(|| path.display().to_string())
        }))
    }

    fn new(verifier: anyhow::Result<Followed<Arc<dyn ClientCertVerifier>>>) -> anyhow::Result<Self> {
        Ok(Self { provider: Arc::new(aws_lc_rs::default_provider()), verifier: verifier? })
    }
}

fn verifier(pem: &[u8]) -> anyhow::Result<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    for cert in certificates(pem).context("client CA")? {
        roots.add(cert).context("client CA")?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    Ok(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?)
}

impl ClientCertVerifier for Authorities {
    /// Who presents none is anonymous, not refused.
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verifier.current().verify_client_cert(leaf, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
