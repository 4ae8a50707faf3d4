//! The keys of service account tokens: one signs, any of several verify. RSA signs RS256; elliptic curves ES256, ES384
//! and ES512, by their size. A key's id is the hash of its public half, as upstream's, so that a token says by itself
//! which key to try.

use anyhow::{Context, bail};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use sha2::{Digest, Sha256};
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo, X509Certificate};
use x509_parser::public_key::PublicKey as Parsed;

/// How a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Algorithm {
    Es256,
    Es384,
    Es512,
    Rs256,
}

impl Algorithm {
    /// The name in tokens and key sets.
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::Es256 => "ES256",
            Algorithm::Es384 => "ES384",
            Algorithm::Es512 => "ES512",
            Algorithm::Rs256 => "RS256",
        }
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Algorithm::Es256 => &ECDSA_P256_SHA256_FIXED,
            Algorithm::Es384 => &ECDSA_P384_SHA384_FIXED,
            Algorithm::Es512 => &ECDSA_P521_SHA512_FIXED,
            Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
        }
    }
}

/// A key that verifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// The id: base64 of SHA-256 of the key's DER.
    pub id: String,
    /// How it signs.
    pub algorithm: Algorithm,
    /// What the signature library takes: PKCS#1 for RSA, the point for curves.
    raw: Vec<u8>,
    jwk: Jwk,
}

/// A public key as the key set document has it (RFC 7517), in upstream's order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Jwk {
    #[serde(rename = "use")]
    usage: &'static str,
    kty: &'static str,
    kid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    crv: Option<&'static str>,
    alg: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<String>,
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|b| **b == 0).count();
    &bytes[zeros..]
}

impl PublicKey {
    /// From a SubjectPublicKeyInfo.
    pub fn from_der(spki: &[u8]) -> anyhow::Result<Self> {
        let (_, info) = SubjectPublicKeyInfo::from_der(spki).context("not a public key")?;
        let id = encode(&Sha256::digest(spki));
        let raw = info.subject_public_key.data.to_vec();
        let blank = Jwk {
            usage: "sig",
            kty: "RSA",
            kid: id.clone(),
            crv: None,
            alg: "RS256",
            x: None,
            y: None,
            n: None,
            e: None,
        };
        let (algorithm, jwk) = match info.parsed().context("unknown public key type")? {
            Parsed::RSA(key) => {
                let n = Some(encode(without_leading_zeros(key.modulus)));
                let e = Some(encode(without_leading_zeros(key.exponent)));
                (Algorithm::Rs256, Jwk { n, e, ..blank })
            }
            Parsed::EC(point) => {
                let point = point.data();
                let (algorithm, crv) = match point.len() {
                    65 => (Algorithm::Es256, "P-256"),
                    97 => (Algorithm::Es384, "P-384"),
                    133 => (Algorithm::Es512, "P-521"),
                    _ => bail!("unknown private key curve, must be 256, 384, or 521"),
                };
                let (x, y) = point[1..].split_at(point.len() / 2);
                let (x, y) = (Some(encode(x)), Some(encode(y)));
                (algorithm, Jwk { kty: "EC", crv: Some(crv), alg: algorithm.as_str(), x, y, ..blank })
            }
            _ => bail!("unknown public key type, must be RSA or ECDSA"),
        };
        Ok(Self { id, algorithm, raw, jwk })
    }

    /// Whether the signature is this key's.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(self.algorithm.verification(), &self.raw).verify(message, signature).is_ok()
    }

    /// For the key set document.
    pub fn jwk(&self) -> &Jwk {
        &self.jwk
    }
}

/// All public keys of a PEM file: public keys, certificates, or private keys, whose public half counts.
pub fn public_keys(pem: &[u8]) -> anyhow::Result<Vec<PublicKey>> {
    let mut keys = Vec::new();
    for block in Pem::iter_from_buffer(pem) {
        let block = block.context("not PEM")?;
        match block.label.as_str() {
            "PUBLIC KEY" => keys.push(PublicKey::from_der(&block.contents)?),
            "RSA PUBLIC KEY" => {
                let key = aws_lc_rs::rsa::PublicKey::from_der(&block.contents)?;
                keys.push(PublicKey::from_der(AsDer::<PublicKeyX509Der<'_>>::as_der(&key)?.as_ref())?);
            }
            "CERTIFICATE" => {
                let (_, certificate) = X509Certificate::from_der(&block.contents)?;
                keys.push(PublicKey::from_der(certificate.public_key().raw)?);
            }
            label if label.ends_with("PRIVATE KEY") => keys.push(SigningKey::from_der(&block.contents)?.public),
            _ => {}
        }
    }
    if keys.is_empty() {
        bail!("data does not contain any valid RSA or ECDSA public keys");
    }
    Ok(keys)
}

enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

/// The key that signs.
pub struct SigningKey {
    pair: Pair,
    /// Its public half.
    pub public: PublicKey,
}

impl SigningKey {
    /// From a PEM file: PKCS#8, or the older forms of RSA and elliptic keys.
    pub fn from_pem(pem: &[u8]) -> anyhow::Result<Self> {
        for block in Pem::iter_from_buffer(pem) {
            let block = block.context("not PEM")?;
            if block.label.ends_with("PRIVATE KEY") {
                return Self::from_der(&block.contents);
            }
        }
        bail!("data does not contain a valid RSA or ECDSA private key")
    }

    fn from_der(der: &[u8]) -> anyhow::Result<Self> {
        if let Ok(pair) = RsaKeyPair::from_pkcs8(der).or_else(|_| RsaKeyPair::from_der(der)) {
            let spki = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key())?;
            let public = PublicKey::from_der(spki.as_ref())?;
            return Ok(Self { pair: Pair::Rsa(pair), public });
        }
        for algorithm in
            [&ECDSA_P256_SHA256_FIXED_SIGNING, &ECDSA_P384_SHA384_FIXED_SIGNING, &ECDSA_P521_SHA512_FIXED_SIGNING]
        {
            if let Ok(pair) = EcdsaKeyPair::from_private_key_der(algorithm, der) {
                let spki = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key())?;
                let public = PublicKey::from_der(spki.as_ref())?;
                return Ok(Self { pair: Pair::Ec(pair), public });
            }
        }
        bail!("unknown private key type, must be RSA or ECDSA")
    }

    /// The signature of a message.
    pub fn sign(&self, message: &[u8]) -> anyhow::Result<Vec<u8>> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)?;
                Ok(signature)
            }
            Pair::Ec(pair) => Ok(pair.sign(&random, message)?.as_ref().to_vec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair as Generated, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, RsaKeySize};

    use super::*;

    #[test]
    fn keys_sign_and_verify_and_are_found_by_their_public_half() {
        let rsa = Generated::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let p256 = Generated::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let p384 = Generated::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        for (pair, algorithm) in [(rsa, "RS256"), (p256, "ES256"), (p384, "ES384")] {
            let signing = SigningKey::from_pem(pair.serialize_pem().as_bytes()).unwrap();
            let public = public_keys(pair.public_key_pem().as_bytes()).unwrap().remove(0);
            assert_eq!((&public, public.algorithm.as_str()), (&signing.public, algorithm));
            let signature = signing.sign(b"text").unwrap();
            assert!(public.verify(b"text", &signature));
            assert!(!public.verify(b"other", &signature));
            let jwk = serde_json::to_string(public.jwk()).unwrap();
            assert!(jwk.starts_with(r#"{"use":"sig","kty":""#), "{jwk}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for pem in ["", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
            assert!(public_keys(pem.as_bytes()).is_err());
            assert!(SigningKey::from_pem(pem.as_bytes()).is_err());
        }
    }
}
