//! Which certificates of clients a component's port takes: those of the authorities in a bundle, which may be a file that
//! changes, or be replaced by who knows better. Before any authority is known no certificate is asked for. Of two authorities in it, as while one replaces the other, either will do.
//!
//! A client is not told which authorities there are: it presents what it has, and what it is told could be out of date.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use parking_lot::RwLock;
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

type Verifier = Arc<dyn ClientCertVerifier>;

#[derive(Debug)]
enum Source {
    File(Followed<Verifier>),
    Given(RwLock<Option<Verifier>>),
}

/// See the module.
#[derive(Debug)]
pub struct Authorities {
    provider: Arc<CryptoProvider>,
    source: Source,
}

impl Authorities {
    /// Those of a PEM text.
    ///
    /// # Errors
    /// It holds no usable certificate.
    pub fn of_pem(pem: &[u8]) -> anyhow::Result<Self> {
        Ok(Self::new(Source::Given(RwLock::new(Some(verifier(pem)?)))))
    }

    /// None, until there are some.
    pub fn unknown() -> Self {
        Self::new(Source::Given(RwLock::new(None)))
    }

    /// Takes those of a PEM text in place of those before. Those of a file stay.
    ///
    /// # Errors
    /// It holds no usable certificate; those before stay.
    pub fn replace(&self, pem: &[u8]) -> anyhow::Result<()> {
        let new = verifier(pem)?;
        if let Source::Given(current) = &self.source {
            *current.write() = Some(new);
        }
        Ok(())
    }

    /// Those of a file, which is read again when it changes.
    ///
    /// # Errors
    /// It can't be read, or holds no usable certificate.
    pub fn of_file(path: &Path) -> anyhow::Result<Self> {
        let path = path.to_owned();
        let followed = Followed::new(vec![path.clone()], move || {
            let pem = std::fs::read(&path).with_context(|| path.display().to_string())?;
            verifier(&pem).with_context(|| path.display().to_string())
        });
        Ok(Self::new(Source::File(followed?)))
    }

    fn new(source: Source) -> Self {
        Self { provider: Arc::new(aws_lc_rs::default_provider()), source }
    }

    fn verifier(&self) -> Option<Verifier> {
        match &self.source {
            Source::File(followed) => Some((*followed.current()).clone()),
            Source::Given(current) => current.read().clone(),
        }
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
    fn offer_client_auth(&self) -> bool {
        self.verifier().is_some()
    }

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
        let verifier = self.verifier().ok_or_else(|| Error::General("no authority is known".into()))?;
        verifier.verify_client_cert(leaf, intermediates, now)
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
