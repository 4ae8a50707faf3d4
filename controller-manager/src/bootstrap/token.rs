//! Secrets that are bootstrap tokens: what they are for, until when, and how one signs.
//!
//! Upstream: `k8s.io/cluster-bootstrap`.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use k8s_openapi::{api::core::v1::Secret, jiff::Timestamp};
use serde_json::json;

use crate::util::key;

/// The type of such Secrets.
pub(super) const KIND: &str = "bootstrap.kubernetes.io/token";
const PREFIX: &str = "bootstrap-token-";

/// For how long a token is good.
#[derive(Debug, PartialEq)]
pub(super) enum Life {
    Unlimited,
    For(Duration),
    /// Also if its end can't be read.
    Over,
}

fn text<'a>(secret: &'a Secret, key: &str) -> &'a str {
    let value = secret.data.as_ref().and_then(|data| data.get(key));
    value.and_then(|value| std::str::from_utf8(&value.0).ok()).unwrap_or_default()
}

pub(super) fn life(secret: &Secret, now: Timestamp) -> Life {
    let expiration = text(secret, "expiration");
    if expiration.is_empty() {
        return Life::Unlimited;
    }
    let left = expiration.parse::<Timestamp>().ok().and_then(|at| Duration::try_from(at.duration_since(now)).ok());
    left.filter(|left| !left.is_zero()).map_or(Life::Over, Life::For)
}

/// Id and secret of a token that signs.
pub(super) fn signing(secret: &Secret, now: Timestamp) -> Option<(&str, &str)> {
    let named = key::name(&secret.metadata).strip_prefix(PREFIX)?;
    let plain = named.len() == 6 && named.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let (id, value) = (text(secret, "token-id"), text(secret, "token-secret"));
    let signs = text(secret, "usage-bootstrap-signing") == "true";
    let good = plain && id == named && !value.is_empty() && signs && life(secret, now) != Life::Over;
    good.then_some((id, value))
}

/// The signature of a content (a JSON web signature without it), by which one who knows the token trusts the content.
pub(super) fn signature(content: &str, id: &str, secret: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(json!({"alg": "HS256", "kid": id}).to_string());
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(content));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    format!("{header}..{}", URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes())))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    fn secret(name: &str, data: &[(&str, &str)]) -> Secret {
        let mut secret = Secret::default();
        secret.metadata.name = Some(name.into());
        let data = data.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())));
        secret.data = Some(data.collect());
        secret
    }

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_token_lives_until_its_expiration() {
        let check = |expiration: &str, want: Life| {
            assert_eq!(life(&secret("x", &[("expiration", expiration)]), now()), want, "{expiration}");
        };
        check("", Life::Unlimited);
        check("2026-01-01T00:01:00Z", Life::For(Duration::from_secs(60)));
        check("2026-01-01T01:01:00+01:00", Life::For(Duration::from_secs(60)));
        check("2026-01-01T00:00:00Z", Life::Over);
        check("2025-12-31T23:59:59Z", Life::Over);
        check("garbage", Life::Over);
        assert_eq!(life(&secret("x", &[]), now()), Life::Unlimited);
    }

    #[test]
    fn only_a_token_for_signing_signs() {
        let usual = [("token-id", "abc123"), ("token-secret", "tokenSecret"), ("usage-bootstrap-signing", "true")];
        let check = |name: &str, change: (&str, &str), want: bool| {
            let data: Vec<_> = usual.iter().copied().chain([change]).collect();
            let secret = secret(name, &data);
            assert_eq!(signing(&secret, now()), want.then_some(("abc123", "tokenSecret")), "{name} {change:?}");
        };
        let (name, same) = ("bootstrap-token-abc123", ("description", ""));
        check(name, same, true);
        check(name, ("expiration", "2026-01-01T01:00:00Z"), true);
        check(name, ("expiration", "2025-12-31T23:00:00Z"), false);
        check(name, ("expiration", "garbage"), false);
        check(name, ("usage-bootstrap-signing", ""), false);
        check(name, ("usage-bootstrap-signing", "yes"), false);
        check(name, ("token-id", "def456"), false);
        check(name, ("token-secret", ""), false);
        check("bootstrap-token-def456", same, false);
        check("bootstrap-token-ABC123", ("token-id", "ABC123"), false);
        check("some-token-abc123", same, false);
    }

    #[test]
    fn signatures_are_those_of_upstream() {
        let content = "Hello from the other side. I must have called a thousand times.";
        let (id, secret) = ("joshua", "my voice is my passcode");
        let header = "eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9";
        let check = |content, secret, want| assert_eq!(signature(content, id, secret), format!("{header}..{want}"));
        check(content, secret, "VShe2taLd-YTrmWuRkcL_8QTNDHYxQIEBsAYYiIj1_8");
        check("", secret, "7Ui1ALizW4jXphVUB7xUqC9vLYLL9RZeOFfVLoB7Tgk");
        check(content, "", "UfkqvDGiIFxrMnFseDj9LYJOLNrvjW8aHhF71mvvAs8");
    }
}
