//! What is inside: a PKCS#10 request signed with its own key, and certificates. Go's words where a fault has some that do not
//! depend on its parser.

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo};

use super::pem;

/// What is wrong with a request in PEM.
pub(super) fn request(text: &str) -> Result<(), String> {
    let block = pem::decode(text).map(|(block, _)| block).filter(|block| block.kind == "CERTIFICATE REQUEST");
    let block = block.ok_or("PEM block type must be CERTIFICATE REQUEST")?;
    let (rest, request) =
        X509CertificationRequest::from_der(&block.bytes).map_err(|fault| format!("asn1: structure error: {fault}"))?;
    if !rest.is_empty() {
        return Err("asn1: syntax error: trailing data".to_owned());
    }
    let info = &request.certification_request_info;
    let (algorithm, fault) = algorithm(&request.signature_algorithm, &info.subject_pki)?;
    let key = UnparsedPublicKey::new(algorithm, &info.subject_pki.subject_public_key.data);
    key.verify(info.raw, &request.signature_value.data).map_err(|_| fault.to_owned())
}

type Algorithm = (&'static dyn VerificationAlgorithm, &'static str);

/// How a signature is checked, and the fault when it does not fit.
fn algorithm(algorithm: &AlgorithmIdentifier<'_>, key: &SubjectPublicKeyInfo<'_>) -> Result<Algorithm, String> {
    const RSA: &str = "crypto/rsa: verification error";
    const ECDSA: &str = "x509: ECDSA verification failure";
    const UNKNOWN: &str = "x509: cannot verify signature: algorithm unimplemented";
    let curve = key.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
    let curve = curve.map(|oid| oid.to_id_string()).unwrap_or_default();
    let insecure = |name: &str| Err(format!("x509: cannot verify signature: insecure algorithm {name}"));
    let found: Algorithm = match (algorithm.algorithm.to_id_string().as_str(), curve.as_str()) {
        ("1.2.840.113549.1.1.4", _) => return insecure("MD5-RSA"),
        ("1.2.840.113549.1.1.5", _) => return insecure("SHA1-RSA"),
        ("1.2.840.10045.4.1", _) => return insecure("ECDSA-SHA1"),
        ("1.2.840.113549.1.1.11", _) => (&signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RSA),
        ("1.2.840.113549.1.1.12", _) => (&signature::RSA_PKCS1_2048_8192_SHA384, RSA),
        ("1.2.840.113549.1.1.13", _) => (&signature::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY, RSA),
        ("1.2.840.113549.1.1.10", _) => (pss(algorithm).ok_or(UNKNOWN)?, RSA),
        ("1.3.101.112", _) => (&signature::ED25519, "x509: Ed25519 verification failure"),
        ("1.2.840.10045.4.3.2", P256) => (&signature::ECDSA_P256_SHA256_ASN1, ECDSA),
        ("1.2.840.10045.4.3.3", P256) => (&signature::ECDSA_P256_SHA384_ASN1, ECDSA),
        ("1.2.840.10045.4.3.4", P256) => (&signature::ECDSA_P256_SHA512_ASN1, ECDSA),
        ("1.2.840.10045.4.3.2", P384) => (&signature::ECDSA_P384_SHA256_ASN1, ECDSA),
        ("1.2.840.10045.4.3.3", P384) => (&signature::ECDSA_P384_SHA384_ASN1, ECDSA),
        ("1.2.840.10045.4.3.4", P384) => (&signature::ECDSA_P384_SHA512_ASN1, ECDSA),
        ("1.2.840.10045.4.3.2", P521) => (&signature::ECDSA_P521_SHA256_ASN1, ECDSA),
        ("1.2.840.10045.4.3.3", P521) => (&signature::ECDSA_P521_SHA384_ASN1, ECDSA),
        ("1.2.840.10045.4.3.4", P521) => (&signature::ECDSA_P521_SHA512_ASN1, ECDSA),
        _ => return Err(UNKNOWN.to_owned()),
    };
    Ok(found)
}

const P256: &str = "1.2.840.10045.3.1.7";
const P384: &str = "1.3.132.0.34";
const P521: &str = "1.3.132.0.35";

/// RSA-PSS names its hash in its parameters.
fn pss(algorithm: &AlgorithmIdentifier<'_>) -> Option<&'static dyn VerificationAlgorithm> {
    let parameters = algorithm.parameters.as_ref()?;
    let parameters = x509_parser::signature_algorithm::RsaSsaPssParams::try_from(parameters).ok()?;
    Some(match parameters.hash_algorithm_oid().to_id_string().as_str() {
        "2.16.840.1.101.3.4.2.1" => &signature::RSA_PSS_2048_8192_SHA256,
        "2.16.840.1.101.3.4.2.2" => &signature::RSA_PSS_2048_8192_SHA384,
        "2.16.840.1.101.3.4.2.3" => &signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

/// What is wrong with certificates in PEM; none at all are right.
pub(super) fn certificates(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    let mut rest = text;
    let mut blocks = 0;
    while let Some((block, after)) = pem::decode(rest) {
        if block.kind != "CERTIFICATE" {
            return Err(format!(
                "only CERTIFICATE PEM blocks are allowed, found {}",
                machinery::go::quote(&block.kind)
            ));
        }
        if block.headers {
            return Err("no PEM block headers are permitted".to_owned());
        }
        blocks += 1;
        if block.bytes.is_empty() {
            return Err("found CERTIFICATE PEM block containing 0 certificates".to_owned());
        }
        let mut der = &block.bytes[..];
        while !der.is_empty() {
            (der, _) = X509Certificate::from_der(der).map_err(|_| "x509: malformed certificate".to_owned())?;
        }
        rest = after;
    }
    if blocks == 0 {
        return Err("must contain at least one CERTIFICATE PEM block".to_owned());
    }
    Ok(())
}
