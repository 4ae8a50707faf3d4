//! X.509 version 1 certificates, which webpki knows nothing of: `openssl x509 -req` makes them where it is given no
//! extensions, and upstream takes them. They cannot say what they are for, so they are good for any use, and only
//! as a leaf that one of the authorities signed itself.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    UnparsedPublicKey, VerificationAlgorithm,
};
use jiff::Timestamp;
use rustls::{DigitallySignedStruct, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

/// The certificate, if it is of version 1.
pub fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    (certificate.version() == X509Version::V1).then_some(certificate)
}

/// Whether an authority signed the certificate and it is good at that time.
pub fn verify(leaf: &X509Certificate<'_>, authorities: &[Vec<u8>], now: Timestamp) -> Result<(), String> {
    let (validity, now) = (leaf.validity(), now.as_second());
    if now < validity.not_before.timestamp() {
        return Err("certificate not valid yet".into());
    }
    if now > validity.not_after.timestamp() {
        return Err("certificate expired".into());
    }
    let signed = authorities.iter().any(|der| {
        let Ok((_, authority)) = X509Certificate::from_der(der) else { return false };
        authority.is_ca() && authority.subject().as_raw() == leaf.issuer().as_raw() && signed_by(leaf, &authority)
    });
    if signed { Ok(()) } else { Err("certificate signed by unknown authority".into()) }
}

fn signed_by(leaf: &X509Certificate<'_>, authority: &X509Certificate<'_>) -> bool {
    let algorithm: &dyn VerificationAlgorithm = match leaf.signature_algorithm.algorithm.to_id_string().as_str() {
        "1.2.840.113549.1.1.11" => &RSA_PKCS1_2048_8192_SHA256,
        "1.2.840.113549.1.1.12" => &RSA_PKCS1_2048_8192_SHA384,
        "1.2.840.113549.1.1.13" => &RSA_PKCS1_2048_8192_SHA512,
        "1.2.840.10045.4.3.2" => &ECDSA_P256_SHA256_ASN1,
        "1.2.840.10045.4.3.3" => &ECDSA_P384_SHA384_ASN1,
        _ => return false,
    };
    let key = UnparsedPublicKey::new(algorithm, &authority.public_key().subject_public_key.data);
    key.verify(leaf.tbs_certificate.as_ref(), &leaf.signature_value.data).is_ok()
}

/// Whether the client of a handshake has the certificate's key.
pub fn verify_handshake(leaf: &X509Certificate<'_>, message: &[u8], signed: &DigitallySignedStruct) -> bool {
    let algorithm: &dyn VerificationAlgorithm = match signed.scheme {
        SignatureScheme::ECDSA_NISTP256_SHA256 => &ECDSA_P256_SHA256_ASN1,
        SignatureScheme::ECDSA_NISTP384_SHA384 => &ECDSA_P384_SHA384_ASN1,
        SignatureScheme::RSA_PSS_SHA256 => &RSA_PSS_2048_8192_SHA256,
        SignatureScheme::RSA_PSS_SHA384 => &RSA_PSS_2048_8192_SHA384,
        SignatureScheme::RSA_PSS_SHA512 => &RSA_PSS_2048_8192_SHA512,
        _ => return false,
    };
    let key = UnparsedPublicKey::new(algorithm, &leaf.public_key().subject_public_key.data);
    key.verify(message, signed.signature()).is_ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::authn::ca::CaPool;
    use crate::authn::x509::X509;

    /// Made by `openssl x509 -req`, since nothing else makes such certificates any more.
    const CA: &str = include_str!("version1/ca.pem");
    const LEAF: &str = include_str!("version1/leaf.pem");

    #[test]
    fn a_certificate_without_extensions_is_a_user() {
        let der =
            Bytes::from(x509_parser::pem::Pem::iter_from_buffer(LEAF.as_bytes()).next().unwrap().unwrap().contents);
        assert!(parse(&der).is_some());
        let x509 = X509::new(Arc::new(CaPool::new(CA).unwrap()));
        let at = |text: &str| x509.identify(std::slice::from_ref(&der), text.parse().unwrap());
        // First: what was verified once is remembered until it ends, for time does not go back.
        assert_eq!(at("2025-01-01T00:00:00Z").unwrap_err(), "verifying certificate failed: certificate not valid yet");
        let jane = at("2027-01-01T00:00:00Z").unwrap().unwrap();
        assert_eq!((jane.name.as_str(), jane.groups.join(",").as_str()), ("jane", "devs"));
        assert_eq!(at("2028-01-01T00:00:00Z").unwrap_err(), "verifying certificate failed: certificate expired");
        let mut damaged = der.to_vec();
        *damaged.last_mut().unwrap() ^= 1;
        assert!(x509.identify(&[damaged.into()], "2027-01-01T00:00:00Z".parse().unwrap()).is_err());
    }
}
