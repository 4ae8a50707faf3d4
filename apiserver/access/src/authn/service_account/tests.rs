//! Tokens of service accounts: which are taken, as whom, and why the others are not.

use std::sync::Arc;

use model::resources::{NODES, PODS, SECRETS, SERVICE_ACCOUNTS};
use model::user::CREDENTIAL_ID;
use rcgen::KeyPair;

use super::*;
use crate::authn::bearer::Presented;
use crate::authn::claims::{Ref, split_username};
use crate::testing::Objects;

const NOW: i64 = 1_800_000_000;

fn now(offset: i64) -> Timestamp {
    Timestamp::from_second(NOW + offset).unwrap()
}

fn issuer() -> Issuer {
    let pem = KeyPair::generate().unwrap().serialize_pem();
    Issuer::new(vec!["https://kubernetes.default.svc".into()], vec![], &[], Some(pem.as_bytes())).unwrap()
}

fn cluster() -> Arc<Objects> {
    let objects = Objects::default();
    let object = |name: &str, uid: &str| json!({"metadata": {"namespace": "ns", "name": name, "uid": uid}});
    objects
        .put(&SERVICE_ACCOUNTS, object("web", "sa-1"))
        .put(&PODS, object("web-0", "pod-1"))
        .put(&SECRETS, object("s", "secret-1"));
    objects.put(&NODES, json!({"metadata": {"name": "n", "uid": "node-1"}}));
    Arc::new(objects)
}

fn reference(name: &str, uid: &str) -> Ref {
    Ref { name: name.into(), uid: uid.into() }
}

fn claims() -> Claims {
    Claims {
        audiences: vec!["https://kubernetes.default.svc".into()],
        namespace: "ns".into(),
        service_account: reference("web", "sa-1"),
        lifetime_seconds: 3_600,
        id: "id-1".into(),
        ..Claims::default()
    }
}

#[tokio::test]
async fn a_bound_token_says_who_and_where() {
    let issuer = Arc::new(issuer());
    let accounts = ServiceAccount::new(issuer.clone(), cluster());
    let claims = Claims { pod: Some(reference("web-0", "pod-1")), node: Some(reference("n", "node-1")), ..claims() };
    let token = issuer.issue(claims, now(0)).unwrap();
    let bearer = accounts.authenticate_token(&Presented::new(&token), &[], now(10)).await.unwrap().unwrap();
    assert_eq!(bearer.user.name, "system:serviceaccount:ns:web");
    assert_eq!(bearer.user.groups, ["system:serviceaccounts", "system:serviceaccounts:ns"]);
    let extra: Vec<String> =
        bearer.user.extra.iter().map(|(k, v)| format!("{}={}", k.rsplit('/').next().unwrap(), v[0])).collect();
    assert_eq!(extra, ["credential-id=JTI=id-1", "node-name=n", "node-uid=node-1", "pod-name=web-0", "pod-uid=pod-1"]);
    assert!(bearer.user.extra.contains_key(CREDENTIAL_ID));
    assert_eq!(bearer.audiences, ["https://kubernetes.default.svc"]);
}

#[tokio::test]
async fn a_token_that_no_longer_holds_says_why() {
    let issuer = Arc::new(issuer());
    let deleted = Objects::default();
    let at = |seconds: i64| now(seconds).to_string();
    deleted.put(&SERVICE_ACCOUNTS, json!({"metadata": {"namespace": "ns", "name": "web", "uid": "sa-1"}}));
    deleted.put(
        &PODS,
        json!({"metadata": {"namespace": "ns", "name": "web-0", "uid": "pod-1", "deletionTimestamp": at(-61)}}),
    );
    let deleted: Arc<Objects> = Arc::new(deleted);
    let cases: Vec<(Claims, Arc<Objects>, i64, &str)> = vec![
        (claims(), cluster(), 3_700, "service account token has expired"),
        (claims(), cluster(), 3_650, ""),
        (claims(), cluster(), -61, "service account token is not valid yet"),
        (
            Claims { service_account: reference("no", "x"), ..claims() },
            cluster(),
            0,
            "serviceaccounts \"no\" not found",
        ),
        (
            Claims { service_account: reference("web", "x"), ..claims() },
            cluster(),
            0,
            "service account UID (sa-1) does not match claim (x)",
        ),
        (
            Claims { pod: Some(reference("no", "x")), ..claims() },
            cluster(),
            0,
            "service account token has been invalidated",
        ),
        (
            Claims { pod: Some(reference("web-0", "x")), ..claims() },
            cluster(),
            0,
            "pod UID (pod-1) does not match service account pod ref claim (x)",
        ),
        (
            Claims { pod: Some(reference("web-0", "pod-1")), ..claims() },
            deleted,
            0,
            "service account token has been invalidated",
        ),
        (
            Claims { node: Some(reference("n", "x")), ..claims() },
            cluster(),
            0,
            "node UID (node-1) does not match service account node ref claim (x)",
        ),
        (Claims { secret: Some(reference("s", "secret-1")), ..claims() }, cluster(), 0, ""),
        (
            Claims { audiences: vec!["x".into()], ..claims() },
            cluster(),
            0,
            r#"token audiences ["x"] is invalid for the target audiences ["https://kubernetes.default.svc"]"#,
        ),
    ];
    for (claims, cluster, offset, expect) in cases {
        let token = issuer.issue(claims.clone(), now(0)).unwrap();
        let outcome = ServiceAccount::new(issuer.clone(), cluster)
            .authenticate_token(&Presented::new(&token), &[], now(offset))
            .await;
        assert_eq!(outcome.err().unwrap_or_default(), expect, "{claims:?}");
    }
}

#[tokio::test]
async fn tokens_of_others_are_not_ours_to_judge() {
    let accounts = ServiceAccount::new(Arc::new(issuer()), cluster());
    let mut other = issuer();
    let forged = other.issue(claims(), now(0)).unwrap();
    assert_eq!(
        accounts.authenticate_token(&Presented::new(&forged), &[], now(0)).await,
        Err("invalid signature, no keys found".into())
    );
    other.issuers = vec!["https://elsewhere".into()];
    let foreign = other.issue(claims(), now(0)).unwrap();
    assert_eq!(accounts.authenticate_token(&Presented::new(&foreign), &[], now(0)).await, Ok(None));
    assert_eq!(accounts.authenticate_token(&Presented::new("opaque"), &[], now(0)).await, Ok(None));
}

#[test]
fn discovery_documents_are_upstreams() {
    let issuer = Issuer { jwks_uri: "https://10.0.0.1:6443/openid/v1/jwks".into(), ..issuer() };
    assert_eq!(
        issuer.configuration(),
        r#"{"issuer":"https://kubernetes.default.svc","jwks_uri":"https://10.0.0.1:6443/openid/v1/jwks","response_types_supported":["id_token"],"subject_types_supported":["public"],"id_token_signing_alg_values_supported":["ES256"]}"#
    );
    let keys: Value = serde_json::from_str(&issuer.key_set()).unwrap();
    assert_eq!(
        (keys["keys"][0]["crv"].as_str(), keys["keys"][0]["kid"].as_str()),
        (Some("P-256"), Some(issuer.keys[0].id.as_str()))
    );
}

#[test]
fn user_names_of_service_accounts_are_taken_apart() {
    for (name, expect) in [
        ("system:serviceaccount:ns:web", Some(("ns", "web"))),
        ("system:serviceaccount:ns", None),
        ("system:serviceaccount:ns:a:b", None),
        ("system:serviceaccount:Ns:a", None),
        ("jane", None),
    ] {
        assert_eq!(split_username(name), expect, "{name}");
    }
}
