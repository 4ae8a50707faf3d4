//! Bootstrap tokens (`abcdef.0123456789abcdef`), with which a machine asks for its first certificate: a Secret in
//! `kube-system` each. Follows `plugin/pkg/auth/authenticator/token/bootstrap`.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use machinery::json::Fields;
use model::lookup::Lookup;
use model::resources::SECRETS;
use model::user::UserInfo;
use serde_json::Value;

use super::bearer::{Bearer, Presented, Token};

/// See the module.
pub struct BootstrapToken {
    lookup: Arc<dyn Lookup>,
}

impl BootstrapToken {
    /// Tokens whose Secrets are found there.
    pub fn new(lookup: Arc<dyn Lookup>) -> Self {
        Self { lookup }
    }
}

#[async_trait]
impl Token for BootstrapToken {
    async fn authenticate_token(
        &self,
        token: &Presented<'_>,
        _: &[String],
        now: Timestamp,
    ) -> Result<Option<Bearer>, String> {
        let Some((id, secret)) = parse(token.text) else { return Ok(None) };
        let name = format!("bootstrap-token-{id}");
        let Some(object) = self.lookup.get(&SECRETS, Some("kube-system"), &name) else { return Ok(None) };
        match user(&object, id, secret, now) {
            Ok(user) => Ok(Some(Bearer { user, audiences: Vec::new() })),
            Err(why) => {
                tracing::debug!(secret = %name, why, "a bootstrap token is refused");
                Ok(None)
            }
        }
    }
}

/// Id and secret of a token.
fn parse(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain = |s: &str, len: usize| s.len() == len && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (plain(id, 6) && plain(secret, 16)).then_some((id, secret))
}

fn user(object: &Value, id: &str, secret: &str, now: Timestamp) -> Result<UserInfo, &'static str> {
    let data = |key: &str| STANDARD.decode(object.sub("data").text(key)).unwrap_or_default();
    if object.pointer("/metadata/deletionTimestamp").is_some() {
        return Err("it is deleted and awaiting removal");
    }
    if object.text("type") != "bootstrap.kubernetes.io/token" {
        return Err("the Secret has another type");
    }
    if verify_slices_are_equal(&data("token-secret"), secret.as_bytes()).is_err() {
        return Err("the secret differs");
    }
    if data("token-id") != id.as_bytes() {
        return Err("the id differs");
    }
    let expiration = data("expiration");
    if !expiration.is_empty() {
        let expires: Option<Timestamp> = std::str::from_utf8(&expiration).ok().and_then(|t| t.parse().ok());
        if expires.is_none_or(|at| at <= now) {
            return Err("it has expired");
        }
    }
    if data("usage-bootstrap-authentication") != b"true" {
        return Err("it is not for authentication");
    }
    let mut groups = BTreeSet::from(["system:bootstrappers".to_owned()]);
    let extra = String::from_utf8(data("auth-extra-groups")).map_err(|_| "its groups are not text")?;
    for group in extra.split(',').filter(|_| !extra.is_empty()) {
        let name = group.strip_prefix("system:bootstrappers:").ok_or("a group is no bootstrapper's")?;
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        if name.len() > 256
            || !name.bytes().all(|b| plain(b) || b == b':' || b == b'-')
            || !name.bytes().last().is_some_and(plain)
        {
            return Err("a group is no bootstrapper's");
        }
        groups.insert(group.to_owned());
    }
    Ok(UserInfo { name: format!("system:bootstrap:{id}"), groups: groups.into_iter().collect(), ..UserInfo::default() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secret(changes: &[(&str, &str)]) -> Value {
        let mut data = serde_json::Map::new();
        let usual =
            [("token-id", "abcdef"), ("token-secret", "0123456789abcdef"), ("usage-bootstrap-authentication", "true")];
        for (key, value) in usual.iter().chain(changes) {
            data.insert((*key).into(), STANDARD.encode(value).into());
        }
        json!({"metadata": {"name": "bootstrap-token-abcdef"}, "type": "bootstrap.kubernetes.io/token", "data": data})
    }

    #[test]
    fn a_token_is_good_or_not() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let ask = |changes: &[(&str, &str)]| {
            user(&secret(changes), "abcdef", "0123456789abcdef", now).map(|u| u.groups.join(","))
        };
        for (changes, expect) in [
            (&[][..], Ok("system:bootstrappers")),
            (
                &[("auth-extra-groups", "system:bootstrappers:kubeadm:default-node-token")],
                Ok("system:bootstrappers,system:bootstrappers:kubeadm:default-node-token"),
            ),
            (&[("expiration", "2026-01-02T00:00:00Z")], Ok("system:bootstrappers")),
            (&[("expiration", "2025-12-31T00:00:00Z")], Err("it has expired")),
            (&[("expiration", "soon")], Err("it has expired")),
            (&[("token-secret", "x")], Err("the secret differs")),
            (&[("token-id", "x")], Err("the id differs")),
            (&[("usage-bootstrap-authentication", "yes")], Err("it is not for authentication")),
            (&[("auth-extra-groups", "system:masters")], Err("a group is no bootstrapper's")),
        ] {
            assert_eq!(ask(changes), expect.map(str::to_owned), "{changes:?}");
        }
    }

    #[test]
    fn only_six_and_sixteen_characters_are_one() {
        assert_eq!(parse("abcdef.0123456789abcdef"), Some(("abcdef", "0123456789abcdef")));
        for token in ["abcdef", "abcdef.0123", "ABCDEF.0123456789abcdef", "abcdef.0123456789abcde."] {
            assert_eq!(parse(token), None, "{token}");
        }
    }
}
