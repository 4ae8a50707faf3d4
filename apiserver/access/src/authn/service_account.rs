//! Service account tokens: issued here, verified here.
//!
//! A token is taken for one of ours by its issuer, then must have a signature by one of our keys, an audience that was
//! asked for, and refer to objects that still exist. Follows `pkg/serviceaccount/jwt.go`.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use model::lookup::Lookup;
use model::values::quoted_list;
use serde_json::{Value, json};
use tokens::jwt;
use tokens::keys::{self, PublicKey, SigningKey};

use super::bearer::{Bearer, Presented, Token};
use super::claims::{Claims, validate};

/// Issuers, keys and audiences: the `--service-account-*` and `--api-audiences` flags.
pub struct Issuer {
    /// Issuers that are accepted; the first issues.
    pub issuers: Vec<String>,
    /// Audiences of the API server itself.
    pub audiences: Vec<String>,
    /// Keys that verify.
    pub keys: Vec<PublicKey>,
    /// The key that signs.
    pub signing: Option<SigningKey>,
    /// Where the key set document is.
    pub jwks_uri: String,
    /// The longest lifetime that a token gets.
    pub max_expiration_seconds: Option<i64>,
    /// Whether tokens of the kubelet's default lifetime are made for longer.
    pub extend_expiration: bool,
}

impl Issuer {
    /// From PEM files; `issuers` must not be empty, and are the audiences where none are given. The signing key
    /// verifies too where no other keys are given.
    pub fn new(
        issuers: Vec<String>,
        audiences: Vec<String>,
        key_files: &[Vec<u8>],
        signing: Option<&[u8]>,
    ) -> anyhow::Result<Self> {
        let signing = signing.map(SigningKey::from_pem).transpose()?;
        let mut public = Vec::new();
        for pem in key_files {
            public.extend(keys::public_keys(pem)?);
        }
        if public.is_empty() {
            public.extend(signing.as_ref().map(|key| key.public.clone()));
        }
        let audiences = if audiences.is_empty() { issuers.iter().take(1).cloned().collect() } else { audiences };
        Ok(Self {
            issuers,
            audiences,
            keys: public,
            signing,
            jwks_uri: String::new(),
            max_expiration_seconds: None,
            extend_expiration: true,
        })
    }

    /// A token with these claims; the issuer is filled in.
    pub fn issue(&self, mut claims: Claims, now: Timestamp) -> anyhow::Result<String> {
        let key = self.signing.as_ref().ok_or_else(|| anyhow::anyhow!("no signing key"))?;
        claims.issuer = self.issuers.first().cloned().unwrap_or_default();
        jwt::sign(key, &claims.payload(now))
    }

    /// The audiences of a token, of those asked for; one that names none is for the API server.
    pub(super) fn both(&self, own: Vec<String>, asked: &[String]) -> Result<Vec<String>, String> {
        let own = if own.is_empty() { self.audiences.clone() } else { own };
        let asked = if asked.is_empty() { &self.audiences } else { asked };
        let both: Vec<String> = own.iter().filter(|a| asked.contains(a)).cloned().collect();
        if both.is_empty() && !self.audiences.is_empty() {
            let (own, asked) = (quoted_list(&own), quoted_list(asked));
            return Err(format!("token audiences {own} is invalid for the target audiences {asked}"));
        }
        Ok(both)
    }

    /// `/.well-known/openid-configuration`.
    pub fn configuration(&self) -> String {
        let mut algorithms: Vec<_> = self.keys.iter().map(|k| k.algorithm.as_str()).collect();
        algorithms.sort_unstable();
        algorithms.dedup();
        let issuer = self.issuers.first().map(String::as_str).unwrap_or_default();
        // By hand, for upstream's order.
        format!(
            r#"{{"issuer":{},"jwks_uri":{},"response_types_supported":["id_token"],"subject_types_supported":["public"],"id_token_signing_alg_values_supported":{}}}"#,
            json!(issuer),
            json!(self.jwks_uri),
            json!(algorithms)
        )
    }

    /// `/openid/v1/jwks`.
    pub fn key_set(&self) -> String {
        let keys: Vec<String> = self.keys.iter().map(|k| serde_json::to_string(k.jwk()).unwrap_or_default()).collect();
        format!(r#"{{"keys":[{}]}}"#, keys.join(","))
    }
}

/// See the module.
pub struct ServiceAccount {
    issuer: Arc<Issuer>,
    lookup: Arc<dyn Lookup>,
}

impl ServiceAccount {
    /// Tokens of that issuer, for accounts found there.
    pub fn new(issuer: Arc<Issuer>, lookup: Arc<dyn Lookup>) -> Self {
        Self { issuer, lookup }
    }
}

#[async_trait]
impl Token for ServiceAccount {
    async fn authenticate_token(
        &self,
        token: &Presented<'_>,
        audiences: &[String],
        now: Timestamp,
    ) -> Result<Option<Bearer>, String> {
        let Some(claims) = token.claims() else { return Ok(None) };
        let issuer = claims.get("iss").and_then(Value::as_str).unwrap_or_default();
        if !self.issuer.issuers.iter().any(|i| i == issuer) {
            return Ok(None);
        }
        jwt::verify(token.text, &self.issuer.keys)?;
        let both = self.issuer.both(audience(claims), audiences)?;
        let user = validate(claims, &*self.lookup, now).await?;
        Ok(Some(Bearer { user, audiences: both }))
    }
}

fn audience(claims: &Value) -> Vec<String> {
    match claims.get("aud") {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
