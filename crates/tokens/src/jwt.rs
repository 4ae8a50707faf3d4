//! Signed tokens (RFC 7515, compact form) with our keys, and no more of the standard than that: the algorithm is the
//! key's and never the token's choice.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::keys::{PublicKey, SigningKey};

/// Signs claims.
pub fn sign(key: &SigningKey, claims: &Value) -> anyhow::Result<String> {
    let header = json!({"alg": key.public.algorithm.as_str(), "kid": key.public.id});
    let mut token = URL_SAFE_NO_PAD.encode(header.to_string());
    token.push('.');
    token.push_str(&URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = key.sign(token.as_bytes())?;
    token.push('.');
    token.push_str(&URL_SAFE_NO_PAD.encode(signature));
    Ok(token)
}

#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    alg: String,
    #[serde(default)]
    kid: String,
}

fn part<T: for<'d> Deserialize<'d>>(text: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

/// The claims as the token has them, not verified; `None` where it is no signed token at all.
pub fn claims(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    part(payload)
}

/// Checks the signature against the key that the token names, or against all where it names none.
pub fn verify(token: &str, keys: &[PublicKey]) -> Result<(), String> {
    const INVALID: &str = "go-jose/go-jose: error in cryptographic primitive";
    let (signed, signature) = token.rsplit_once('.').ok_or(INVALID)?;
    let header: Header = signed.split('.').next().and_then(part).ok_or(INVALID)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| INVALID)?;
    let mut candidates = keys.iter().filter(|k| header.kid.is_empty() || header.kid == k.id).peekable();
    if candidates.peek().is_none() {
        return Err("invalid signature, no keys found".into());
    }
    if candidates.any(|key| key.algorithm.as_str() == header.alg && key.verify(signed.as_bytes(), &signature)) {
        return Ok(());
    }
    Err(INVALID.into())
}

#[cfg(test)]
mod tests {
    use rcgen::KeyPair;

    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_pem(KeyPair::generate().unwrap().serialize_pem().as_bytes()).unwrap()
    }

    #[test]
    fn a_token_is_its_signers() {
        let (ours, other) = (key(), key());
        let token = sign(&ours, &json!({"iss": "x"})).unwrap();
        assert_eq!(claims(&token), Some(json!({"iss": "x"})));
        let public = |key: &SigningKey| key.public.clone();
        assert_eq!(verify(&token, &[public(&other), public(&ours)]), Ok(()));
        assert_eq!(verify(&token, &[public(&other)]), Err("invalid signature, no keys found".into()));
        let forged = {
            let mut parts: Vec<&str> = token.split('.').collect();
            let payload = URL_SAFE_NO_PAD.encode(r#"{"iss":"y"}"#);
            parts[1] = &payload;
            parts.join(".")
        };
        assert!(verify(&forged, &[public(&ours)]).is_err());
        let unsigned = format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode("{}"));
        assert!(verify(&unsigned, &[public(&ours)]).is_err());
        for nonsense in ["", "a.b", "a.b.c", "a.b.c.d", "..."] {
            assert!(verify(nonsense, &[public(&ours)]).is_err(), "{nonsense}");
        }
    }
}
