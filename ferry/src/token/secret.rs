//! A token as a Secret: kubeadm's bootstrap tokens, and two facts more.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::join::keys::KEY;
use crate::join::token::Token;

/// Where they are.
pub const NAMESPACE: &str = "kube-system";
/// Their names: this and the token's id.
pub const PREFIX: &str = "bootstrap-token-";
/// Their type.
pub const KIND: &str = "bootstrap.kubernetes.io/token";
/// Who has a token is in this group.
pub const GROUP: &str = "system:bootstrappers:ferry:nodes";
/// For how many machines a token is good, where that is limited.
pub const USES: &str = "ferry-uses";

/// What a token is good for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// For how long; `None`: until it is revoked.
    pub ttl: Option<Duration>,
    /// For one machine.
    pub single_use: bool,
    /// In its owner's words.
    pub description: String,
}

impl Terms {
    /// For a day, as often as one likes.
    pub fn of_a_day(description: &str) -> Self {
        Self { ttl: Some(Duration::from_secs(24 * 3600)), description: description.to_owned(), ..Self::default() }
    }

    /// A token on these terms, as the cluster keeps it; with the sealed keys of the cluster, it is one for servers.
    ///
    /// # Errors
    /// It would be good for longer than time can be told.
    pub fn secret(&self, token: &Token, keys: Option<Vec<u8>>, now: Timestamp) -> anyhow::Result<Secret> {
        let mut data = BTreeMap::from([
            ("token-id", token.id.clone()),
            ("token-secret", token.secret().to_owned()),
            ("usage-bootstrap-authentication", "true".to_owned()),
            ("usage-bootstrap-signing", "true".to_owned()),
            ("auth-extra-groups", GROUP.to_owned()),
        ]);
        if let Some(ttl) = self.ttl {
            let ttl = SignedDuration::try_from(ttl).context("--ttl is too long")?;
            let end = now.checked_add(ttl).context("--ttl is too long")?;
            data.insert("expiration", end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        }
        if self.single_use {
            data.insert(USES, "1".to_owned());
        }
        if !self.description.is_empty() {
            data.insert("description", self.description.clone());
        }
        let texts = data.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes())));
        let data = texts.chain(keys.map(|keys| (KEY.to_owned(), ByteString(keys)))).collect();
        Ok(Secret {
            metadata: ObjectMeta {
                name: Some(format!("{PREFIX}{}", token.id)),
                namespace: Some(NAMESPACE.to_owned()),
                ..ObjectMeta::default()
            },
            type_: Some(KIND.to_owned()),
            data: Some(data),
            ..Secret::default()
        })
    }
}

/// A value of such a Secret; empty where it is not there.
pub fn text<'a>(secret: &'a Secret, key: &str) -> &'a str {
    let value = secret.data.as_ref().and_then(|data| data.get(key));
    value.and_then(|value| std::str::from_utf8(&value.0).ok()).unwrap_or_default()
}

/// Base64, as kubeconfigs have it.
///
/// # Errors
/// It is not.
pub fn decode(text: &str) -> anyhow::Result<Vec<u8>> {
    STANDARD.decode(text.trim()).context("certificate-authority-data")
}
