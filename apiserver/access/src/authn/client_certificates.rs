//! The part of client certificates that TLS does: ask for one, and make sure that the client has its key.
//!
//! Whose it is and whether it is ours is the authenticators' business, which know more than one authority. A client
//! with a foreign certificate is thereby told 401, as by upstream, and one with a token besides gets through by that.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::ca::CaPool;
use super::version1;

/// See the module.
#[derive(Debug)]
pub struct Requested {
    provider: Arc<CryptoProvider>,
    subjects: Vec<DistinguishedName>,
}

impl Requested {
    /// Asks for certificates, naming these authorities.
    pub fn new(pools: &[Arc<CaPool>]) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Self { provider, subjects: pools.iter().flat_map(|pool| pool.subjects()).collect() }
    }
}

impl Requested {
    /// What webpki says; of certificates that it cannot read, what we say.
    fn or_version1(
        &self,
        verified: Result<HandshakeSignatureValid, Error>,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verified.or_else(|error| match version1::parse(cert) {
            Some(leaf) if version1::verify_handshake(&leaf, message, signed) => {
                Ok(HandshakeSignatureValid::assertion())
            }
            _ => Err(error),
        })
    }
}

impl ClientCertVerifier for Requested {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.or_version1(
            verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms),
            message,
            cert,
            dss,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.or_version1(
            verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms),
            message,
            cert,
            dss,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// A server's TLS: HTTP/2 and HTTP/1.1, client certificates asked for and not demanded.
pub fn server_config(
    certificate: Arc<dyn rustls::server::ResolvesServerCert>,
    pools: &[Arc<CaPool>],
) -> anyhow::Result<rustls::ServerConfig> {
    let requested = Requested::new(pools);
    let builder = rustls::ServerConfig::builder_with_provider(requested.provider.clone())
        .with_safe_default_protocol_versions()?;
    let mut config = builder.with_client_cert_verifier(Arc::new(requested)).with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
