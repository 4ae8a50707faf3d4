//! Which servers a client trusts: those with a certificate by the authorities in a file, which may change. Of two authorities in
//! it, as while one replaces the other, either will do.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use rustls::{
    DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::{Followed, load_certificates};

/// See the module.
#[derive(Debug)]
pub struct TrustedServers(Followed<Arc<WebPkiServerVerifier>>);

impl TrustedServers {
    /// By the authorities of a file, which is read again when it changes.
    ///
    /// # Errors
    /// It can't be read, or holds no usable certificate.
    pub fn of_file(path: &Path) -> anyhow::Result<Self> {
        let path = path.to_owned();
        Ok(Self(Followed::new(vec![path.clone()], move || {
            let mut roots = RootCertStore::empty();
            for certificate in load_certificates(&path)? {
                roots.add(certificate).with_context(|| path.display().to_string())?;
            }
            let provider = Arc::new(aws_lc_rs::default_provider());
            Ok(WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?)
        })?))
    }
}

impl ServerCertVerifier for TrustedServers {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.0.current().verify_server_cert(leaf, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.current().verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.current().verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.current().supported_verify_schemes()
    }
}
