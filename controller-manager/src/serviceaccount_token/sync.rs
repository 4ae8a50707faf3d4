//! The decisions: what a Secret with a token lacks, and what the token says.

use std::collections::BTreeMap;

use k8s_openapi::{
    ByteString,
    api::core::v1::{Secret, ServiceAccount},
};
use serde_json::{Value, json};

use crate::util::key;

/// The type of a Secret with a token.
pub(super) const KIND: &str = "kubernetes.io/service-account-token";
const NAME: &str = "kubernetes.io/service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";
const CA: &str = "ca.crt";
const NAMESPACE: &str = "namespace";
const TOKEN: &str = "token";

/// The account that a Secret names; its UID is empty where the Secret does not say it yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) uid: String,
}

impl Account {
    /// Whether it can be that one.
    pub(super) fn may_be(&self, other: &Account) -> bool {
        self.name == other.name && (self.uid.is_empty() || self.uid == other.uid)
    }
}

/// The account that a Secret is for.
pub(super) fn account_of(secret: &Secret) -> Option<Account> {
    let annotation = |of: &str| secret.metadata.annotations.as_ref()?.get(of).filter(|v| !v.is_empty()).cloned();
    let token = secret.type_.as_deref() == Some(KIND);
    let name = annotation(NAME).filter(|_| token)?;
    Some(Account { name, uid: annotation(UID).unwrap_or_default() })
}

/// What becomes of a Secret.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// It has all.
    Nothing,
    /// It is written so, with a token that says this if it has none.
    Fill(Box<Secret>, Option<Value>),
}

/// Decides; `ca` is what verifies the API server.
pub(super) fn sync(secret: &Secret, account: &ServiceAccount, ca: Option<&str>) -> Next {
    let none = BTreeMap::new();
    let data = secret.data.as_ref().unwrap_or(&none);
    let has = |name: &str| data.get(name).is_some_and(|value| !value.0.is_empty());
    let ca = ca.filter(|ca| data.get(CA).is_none_or(|has| has.0 != ca.as_bytes()));
    if ca.is_none() && has(NAMESPACE) && has(TOKEN) {
        return Next::Nothing;
    }
    let token = (!has(TOKEN)).then(|| claims(secret, account));
    let mut secret = Box::new(secret.clone());
    let namespace = key::namespace(&secret.metadata).to_owned();
    let add_namespace = !has(NAMESPACE);
    let data = secret.data.get_or_insert_default();
    if let Some(ca) = ca {
        data.insert(CA.into(), ByteString(ca.as_bytes().to_vec()));
    }
    if add_namespace {
        data.insert(NAMESPACE.into(), ByteString(namespace.into_bytes()));
    }
    let annotations = secret.metadata.annotations.get_or_insert_default();
    annotations.insert(NAME.into(), key::name(&account.metadata).into());
    annotations.insert(UID.into(), key::uid(&account.metadata).into());
    Next::Fill(secret, token)
}

fn claims(secret: &Secret, account: &ServiceAccount) -> Value {
    let (namespace, name) = (key::namespace(&account.metadata), key::name(&account.metadata));
    json!({
        "iss": "kubernetes/serviceaccount",
        "kubernetes.io/serviceaccount/namespace": namespace,
        "kubernetes.io/serviceaccount/secret.name": key::name(&secret.metadata),
        "kubernetes.io/serviceaccount/service-account.name": name,
        "kubernetes.io/serviceaccount/service-account.uid": key::uid(&account.metadata),
        "sub": format!("system:serviceaccount:{namespace}:{name}"),
    })
}

/// Puts the token in.
pub(super) fn set_token(secret: &mut Secret, token: String) {
    secret.data.get_or_insert_default().insert(TOKEN.into(), ByteString(token.into_bytes()));
}

/// The account without a Secret; none if it does not name it.
pub(super) fn without(account: &ServiceAccount, secret: &str) -> Option<ServiceAccount> {
    let named = |reference: &k8s_openapi::api::core::v1::ObjectReference| reference.name.as_deref() == Some(secret);
    account.secrets.iter().flatten().any(named).then(|| {
        let mut account = account.clone();
        account.secrets.get_or_insert_default().retain(|reference| !named(reference));
        account
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(annotations: Value, data: &[(&str, &str)]) -> Secret {
        let mut secret: Secret = serde_json::from_value(json!({
            "metadata": {"name": "s", "namespace": "ns", "uid": "x", "annotations": annotations}, "type": KIND,
        }))
        .unwrap();
        let bytes = |value: &str| ByteString(value.as_bytes().to_vec());
        secret.data = Some(data.iter().map(|(name, value)| ((*name).to_owned(), bytes(value))).collect());
        secret
    }

    fn account(secrets: &[&str]) -> ServiceAccount {
        let secrets: Vec<_> = secrets.iter().map(|name| json!({"name": name})).collect();
        let meta = json!({"name": "web", "namespace": "ns", "uid": "u"});
        serde_json::from_value(json!({"metadata": meta, "secrets": secrets})).unwrap()
    }

    #[test]
    fn a_secret_gets_what_it_lacks() {
        let full = [(CA, "ca"), (NAMESPACE, "ns"), (TOKEN, "t")];
        let named = || json!({NAME: "web"});
        let check = |data: &[(&str, &str)], ca: Option<&str>, want: Option<(&[(&str, &str)], bool)>| {
            let got = match sync(&secret(named(), data), &account(&[]), ca) {
                Next::Nothing => None,
                Next::Fill(filled, token) => Some((*filled, token.is_some())),
            };
            let want = want.map(|(data, token)| (secret(json!({NAME: "web", UID: "u"}), data), token));
            assert_eq!(got, want, "{data:?} {ca:?}");
        };
        check(&full, Some("ca"), None);
        check(&full[1..], None, None);
        check(&full, Some("new"), Some((&[(CA, "new"), (NAMESPACE, "ns"), (TOKEN, "t")], false)));
        check(&[], Some("ca"), Some((&full[..2], true)));
        check(&[], None, Some((&full[1..2], true)));
        check(
            &[(NAMESPACE, "other"), (TOKEN, "t")],
            Some("ca"),
            Some((&[(CA, "ca"), (NAMESPACE, "other"), (TOKEN, "t")], false)),
        );
    }

    #[test]
    fn a_token_says_whose_it_is_and_where() {
        let Next::Fill(_, Some(claims)) = sync(&secret(json!({}), &[]), &account(&[]), None) else {
            panic!("no token")
        };
        assert_eq!(claims["sub"], "system:serviceaccount:ns:web");
        assert_eq!(claims["kubernetes.io/serviceaccount/secret.name"], "s");
        assert_eq!(claims["kubernetes.io/serviceaccount/service-account.uid"], "u");
        assert!(claims["exp"].is_null());
    }

    #[test]
    fn secrets_name_their_accounts() {
        let check = |annotations: Value, want: Option<(&str, &str)>| {
            let got = account_of(&secret(annotations.clone(), &[])).map(|a| (a.name, a.uid));
            assert_eq!(got, want.map(|(name, uid)| (name.to_owned(), uid.to_owned())), "{annotations}");
        };
        check(json!({NAME: "web"}), Some(("web", "")));
        check(json!({NAME: "web", UID: "u"}), Some(("web", "u")));
        check(json!({UID: "u"}), None);
        let mut other = secret(json!({NAME: "web"}), &[]);
        other.type_ = Some("Opaque".into());
        assert_eq!(account_of(&other), None);
        let of = |name: &str, uid: &str| Account { name: name.into(), uid: uid.into() };
        assert!(of("web", "").may_be(&of("web", "u")) && of("web", "u").may_be(&of("web", "u")));
        assert!(!of("web", "v").may_be(&of("web", "u")) && !of("db", "").may_be(&of("web", "u")));
    }

    #[test]
    fn an_account_forgets_a_secret() {
        assert_eq!(without(&account(&["a", "s"]), "s"), Some(account(&["a"])));
        assert_eq!(without(&account(&["a"]), "s"), None);
    }
}
