//! Tokens in Secrets: made by a controller for a Secret of their own type, good until the Secret goes. Each day's first
//! use is noted on the Secret, so that those that nobody uses can be found. Follows `pkg/serviceaccount/legacy.go`.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use machinery::json::Fields;
use machinery::meta;
use model::lookup::Lookup;
use model::resources::{SECRETS, SERVICE_ACCOUNTS};
use model::user::UserInfo;
use serde_json::Value;
use tokens::jwt;

use super::bearer::{Bearer, Presented, Token};
use super::claims::{groups, split_username, username};
use super::service_account::Issuer;

/// Who issued it, whatever the flags say.
const ISSUER: &str = "kubernetes/serviceaccount";
/// The day of a Secret's last use.
pub const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";
const INVALIDATED: &str = "Token has been invalidated";

/// Notes uses.
#[async_trait]
pub trait Uses: Send + Sync {
    /// The Secret of that identity was used on that day.
    async fn used(&self, namespace: &str, name: &str, uid: &str, day: &str);
}

/// See the module.
pub struct LegacyToken {
    issuer: Arc<Issuer>,
    lookup: Arc<dyn Lookup>,
    uses: Arc<dyn Uses>,
}

impl LegacyToken {
    /// Tokens signed with the issuer's keys, for accounts found there.
    pub fn new(issuer: Arc<Issuer>, lookup: Arc<dyn Lookup>, uses: Arc<dyn Uses>) -> Self {
        Self { issuer, lookup, uses }
    }

    async fn validate(&self, token: &str, claims: &Value, now: Timestamp) -> Result<UserInfo, String> {
        let claim = |name: &str, what: &str| match claims.text(&format!("kubernetes.io/serviceaccount/{name}")) {
            "" => Err(format!("{what} claim is missing")),
            value => Ok(value.to_owned()),
        };
        let subject = claims.text("sub");
        if subject.is_empty() {
            return Err("sub claim is missing".into());
        }
        let namespace = claim("namespace", "namespace")?;
        let secret_name = claim("secret.name", "secretName")?;
        let name = claim("service-account.name", "serviceAccountName")?;
        let uid = claim("service-account.uid", "serviceAccountUID")?;
        if split_username(subject) != Some((&namespace, &name)) {
            return Err("sub claim is invalid".into());
        }
        let secret = self.find(&SECRETS, &namespace, &secret_name).await.ok_or(INVALIDATED)?;
        if meta::deletion_timestamp(&secret).is_some() {
            return Err(INVALIDATED.into());
        }
        let stored = STANDARD.decode(secret.sub("data").text("token")).unwrap_or_default();
        if aws_lc_rs::constant_time::verify_slices_are_equal(&stored, token.as_bytes()).is_err() {
            return Err("Token does not match server's copy".into());
        }
        let account = self.find(&SERVICE_ACCOUNTS, &namespace, &name).await;
        let account = account.ok_or_else(|| format!("serviceaccounts {name:?} not found"))?;
        if meta::deletion_timestamp(&account).is_some() {
            return Err(format!("ServiceAccount {namespace}/{name} has been deleted"));
        }
        let now_uid = meta::uid(&account);
        if now_uid != uid {
            return Err(format!("ServiceAccount UID ({now_uid}) does not match claim ({uid})"));
        }
        self.note(&secret, now).await;
        if !label(&secret, INVALID_SINCE).is_empty() {
            return Err(format!(
                "the token in secret {namespace}/{secret_name} for service account {namespace}/{name} has been marked \
                 invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the \
                 '{INVALID_SINCE}' label from the secret to temporarily allow use of this token"
            ));
        }
        let user = username(&namespace, &name);
        Ok(UserInfo { name: user, uid, groups: groups(&namespace), ..UserInfo::default() })
    }

    /// The object, also where the cache has not seen it yet.
    async fn find(&self, resource: &machinery::gvk::GroupResource, namespace: &str, name: &str) -> Option<Arc<Value>> {
        match self.lookup.get(resource, Some(namespace), name) {
            Some(object) => Some(object),
            None => self.lookup.get_fresh(resource, Some(namespace), name).await,
        }
    }

    /// Once a day; servers need not agree on when that ends.
    async fn note(&self, secret: &Value, now: Timestamp) {
        let day = now.to_zoned(TimeZone::UTC).date();
        let (today, tomorrow) = (day.to_string(), day.saturating_add(1.day()).to_string());
        let last = label(secret, LAST_USED);
        if last != today && last != tomorrow {
            self.uses.used(meta::namespace(secret), meta::name(secret), meta::uid(secret), &today).await;
        }
    }
}

fn label<'a>(object: &'a Value, name: &str) -> &'a str {
    object.sub("metadata").sub("labels").text(name)
}

#[async_trait]
impl Token for LegacyToken {
    async fn authenticate_token(
        &self,
        token: &Presented<'_>,
        audiences: &[String],
        now: Timestamp,
    ) -> Result<Option<Bearer>, String> {
        let Some(claims) = token.claims().filter(|claims| claims.text("iss") == ISSUER) else { return Ok(None) };
        jwt::verify(token.text, &self.issuer.keys)?;
        let both = self.issuer.both(Vec::new(), audiences)?;
        Ok(Some(Bearer { user: self.validate(token.text, claims, now).await?, audiences: both }))
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use rcgen::KeyPair;
    use serde_json::json;

    use super::*;
    use crate::testing::Objects;

    #[derive(Default)]
    struct Noted(Mutex<Vec<String>>);

    #[async_trait]
    impl Uses for Noted {
        async fn used(&self, namespace: &str, name: &str, uid: &str, day: &str) {
            self.0.lock().push(format!("{namespace}/{name} {uid} {day}"));
        }
    }

    fn issuer() -> Arc<Issuer> {
        let pem = KeyPair::generate().unwrap().serialize_pem();
        Arc::new(Issuer::new(vec!["https://k".into()], vec![], &[], Some(pem.as_bytes())).unwrap())
    }

    fn claims() -> Value {
        json!({
            "iss": ISSUER, "sub": "system:serviceaccount:ns:web", "kubernetes.io/serviceaccount/namespace": "ns",
            "kubernetes.io/serviceaccount/secret.name": "s", "kubernetes.io/serviceaccount/service-account.name": "web",
            "kubernetes.io/serviceaccount/service-account.uid": "u",
        })
    }

    /// What comes of a token that says this and is in the Secret, and what is noted.
    async fn outcome(
        claims: Value,
        change: impl FnOnce(&mut Value, &mut Value),
    ) -> (Result<String, String>, Vec<String>) {
        let (issuer, noted) = (issuer(), Arc::new(Noted::default()));
        let token = jwt::sign(issuer.signing.as_ref().unwrap(), &claims).unwrap();
        let mut account = json!({"metadata": {"namespace": "ns", "name": "web", "uid": "u"}});
        let mut secret = json!({"metadata": {"namespace": "ns", "name": "s", "uid": "x"}, "data": {"token": STANDARD.encode(&token)}});
        change(&mut account, &mut secret);
        let objects = Objects::default();
        objects.put(&SERVICE_ACCOUNTS, account).put(&SECRETS, secret);
        let tokens = LegacyToken::new(issuer, Arc::new(objects), noted.clone());
        let now = "2026-01-31T23:00:00Z".parse().unwrap();
        let outcome = tokens.authenticate_token(&Presented::new(&token), &[], now).await;
        let noted = noted.0.lock().clone();
        (outcome.map(|bearer| bearer.unwrap().user.name), noted)
    }

    #[tokio::test]
    async fn a_token_is_good_as_long_as_its_secret_and_its_account_are() {
        let check = async |claims: Value, change: fn(&mut Value, &mut Value), want: Result<&str, &str>| {
            let (got, _) = outcome(claims.clone(), change).await;
            assert_eq!(got, want.map(str::to_owned).map_err(str::to_owned), "{claims}");
        };
        let gone = "2026-01-01T00:00:00Z";
        check(claims(), |_, _| {}, Ok("system:serviceaccount:ns:web")).await;
        check(claims(), |_, s| s["metadata"]["name"] = json!("t"), Err(INVALIDATED)).await;
        check(claims(), |_, s| s["data"]["token"] = json!("eA=="), Err("Token does not match server's copy")).await;
        check(claims(), |a, _| a["metadata"]["name"] = json!("b"), Err("serviceaccounts \"web\" not found")).await;
        let other = Err("ServiceAccount UID (v) does not match claim (u)");
        check(claims(), |a, _| a["metadata"]["uid"] = json!("v"), other).await;
        let mut forged = claims();
        forged["sub"] = json!("system:serviceaccount:ns:admin");
        check(forged, |_, _| {}, Err("sub claim is invalid")).await;
        for (claim, what) in [("namespace", "namespace"), ("secret.name", "secretName")] {
            let mut lacking = claims();
            lacking[format!("kubernetes.io/serviceaccount/{claim}")] = json!("");
            check(lacking, |_, _| {}, Err(&format!("{what} claim is missing"))).await;
        }
        let (got, _) = outcome(claims(), |_, s| s["metadata"]["deletionTimestamp"] = json!(gone)).await;
        assert_eq!(got, Err(INVALIDATED.into()));
        let (got, noted) =
            outcome(claims(), |_, s| s["metadata"]["labels"] = json!({INVALID_SINCE: "2026-01-01"})).await;
        assert!(got.is_err_and(|why| why.contains("has been marked invalid")) && noted.len() == 1);
    }

    #[tokio::test]
    async fn the_first_use_of_a_day_is_noted() {
        let check = async |last: &str, want: &[&str]| {
            let (_, noted) = outcome(claims(), |_, s| s["metadata"]["labels"] = json!({LAST_USED: last})).await;
            assert_eq!(noted, want, "{last}");
        };
        check("", &["ns/s x 2026-01-31"]).await;
        check("2026-01-30", &["ns/s x 2026-01-31"]).await;
        check("2026-01-31", &[]).await;
        check("2026-02-01", &[]).await;
    }

    #[tokio::test]
    async fn tokens_of_others_are_passed_on_and_forged_ones_refused() {
        let tokens = LegacyToken::new(issuer(), Arc::new(Objects::default()), Arc::new(Noted::default()));
        let other = issuer();
        let sign = |claims: Value| jwt::sign(other.signing.as_ref().unwrap(), &claims).unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let passed = tokens.authenticate_token(&Presented::new(&sign(json!({"iss": "https://k"}))), &[], now).await;
        assert_eq!(passed, Ok(None));
        assert!(tokens.authenticate_token(&Presented::new(&sign(claims())), &[], now).await.is_err());
    }
}
