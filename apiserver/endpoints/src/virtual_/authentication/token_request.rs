//! `serviceaccounts/token`: a token for a service account, bound to an object whose end is also the token's. Follows
//! `pkg/registry/core/serviceaccount/storage/token.go`.

use std::sync::Arc;

use access::authn::claims::{Claims, EXTENDED_SECONDS, Ref, WARN_ONLY_SECONDS};
use access::authn::service_account::Issuer;
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use machinery::field::{Error, ErrorList, Path};
use machinery::gvk::{GroupKind, GroupResource};
use machinery::json::Fields;
use machinery::meta;
use machinery::status::StatusError;
use model::lookup::Lookup;
use model::request_info::RequestInfo;
use model::resources::{NODES, PODS, SECRETS, SERVICE_ACCOUNTS};
use serde_json::{Value, json};
use writes::strategy::WriteContext;

use crate::Server;
use crate::virtual_::Virtual;

const GROUP: &str = "authentication.k8s.io";
const KIND: &str = "TokenRequest";
const LEAST_SECONDS: i64 = 600;
const MOST_SECONDS: i64 = 1 << 32;

/// See the module.
pub struct TokenRequest;

#[async_trait]
impl Virtual for TokenRequest {
    async fn serve(
        &self,
        server: &Server,
        cx: &WriteContext<'_>,
        info: &RequestInfo,
        body: Value,
    ) -> Result<Value, StatusError> {
        let issuer = server.issuer.as_ref().ok_or_else(StatusError::no_such_resource)?;
        let lookup: &dyn Lookup = cx.registry;
        request(issuer, lookup, cx.namespace.unwrap_or_default(), &info.name, cx.now, cx.dry_run, body).await
    }
}

async fn get(lookup: &dyn Lookup, resource: &GroupResource, namespace: Option<&str>, name: &str) -> Option<Arc<Value>> {
    match lookup.get(resource, namespace, name) {
        Some(found) => Some(found),
        None => lookup.get_fresh(resource, namespace, name).await,
    }
}

async fn required(
    lookup: &dyn Lookup,
    resource: &GroupResource,
    namespace: Option<&str>,
    name: &str,
) -> Result<Arc<Value>, StatusError> {
    get(lookup, resource, namespace, name).await.ok_or_else(|| StatusError::not_found(resource, name))
}

async fn request(
    issuer: &Issuer,
    lookup: &dyn Lookup,
    namespace: &str,
    name: &str,
    now: Timestamp,
    dry_run: bool,
    mut body: Value,
) -> Result<Value, StatusError> {
    for (field, value, what) in [("name", name, "name"), ("namespace", namespace, "namespace")] {
        let given = body.sub("metadata").text(field);
        if !given.is_empty() && given != value {
            let detail = format!("must match the service account {what} if specified");
            return Err(invalid(name, Error::invalid(&Path::new("metadata").child(field), given, detail)));
        }
    }
    let account = required(lookup, &SERVICE_ACCOUNTS, Some(namespace), name).await?;
    let uid = meta::uid(&account);
    let given = meta::uid(&body);
    if !given.is_empty() && given != uid {
        let why =
            format!("the UID in the token request ({given}) does not match the UID of the service account ({uid})");
        return Err(StatusError::conflict(&GroupResource::new(GROUP, KIND), name, why));
    }
    let audiences: Vec<String> = body.sub("spec").texts("audiences").map(str::to_owned).collect();
    let audiences = if audiences.is_empty() { issuer.audiences.clone() } else { audiences };
    let seconds = body.at("/spec/expirationSeconds").and_then(Value::as_i64).unwrap_or(3_600);
    let path = Path::new("spec").child("expirationSeconds");
    if seconds < LEAST_SECONDS {
        return Err(invalid("", Error::invalid(&path, seconds, "may not specify a duration less than 10 minutes")));
    }
    if seconds > MOST_SECONDS {
        return Err(invalid("", Error::invalid(&path, seconds, "may not specify a duration larger than 2^32 seconds")));
    }
    let bound = bound(lookup, namespace, name, &body["spec"]["boundObjectRef"]).await?;
    let seconds = issuer.max_expiration_seconds.filter(|most| *most > 0).map_or(seconds, |most| seconds.min(most));
    let extend = issuer.extend_expiration
        && bound.pod.is_some()
        && seconds == WARN_ONLY_SECONDS
        && audiences.iter().all(|a| issuer.audiences.contains(a));
    let claims = Claims {
        audiences: audiences.clone(),
        namespace: namespace.to_owned(),
        service_account: Ref::to(&account),
        lifetime_seconds: if extend { EXTENDED_SECONDS } else { seconds },
        warn_after_seconds: extend.then_some(seconds),
        id: model::random::random_uuid(),
        ..bound
    };
    // A dry run shows what would be said, and gives nothing away.
    let token = if dry_run {
        String::new()
    } else {
        issuer.issue(claims, now).map_err(|e| StatusError::internal(format!("failed to generate token: {e}")))?
    };
    let expires = now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
    let expires = expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    body["apiVersion"] = format!("{GROUP}/v1").into();
    body["kind"] = KIND.into();
    body["metadata"]["name"] = name.into();
    body["metadata"]["namespace"] = namespace.into();
    body["metadata"]["uid"] = uid.into();
    machinery::meta::set_creation_timestamp(&mut body, now);
    body["spec"]["audiences"] = json!(audiences);
    body["spec"]["expirationSeconds"] = seconds.into();
    body["status"] = json!({"token": token, "expirationTimestamp": expires});
    Ok(body)
}

fn invalid(name: &str, error: Error) -> StatusError {
    StatusError::invalid(&GroupKind::new(GROUP, KIND), name, ErrorList::from_iter([error]))
}

/// The object that a token is bound to, as claims.
async fn bound(lookup: &dyn Lookup, namespace: &str, account: &str, reference: &Value) -> Result<Claims, StatusError> {
    if reference.is_null() {
        return Ok(Claims::default());
    }
    let (version, kind, name) = (reference.text("apiVersion"), reference.text("kind"), reference.text("name"));
    let (object, claims) = match (version.contains('/'), kind) {
        (false, "Pod") => {
            let pod = required(lookup, &PODS, Some(namespace), name).await?;
            if pod.sub("spec").text("serviceAccountName") != account {
                let account = model::values::quoted(account);
                return Err(StatusError::bad_request(format!(
                    "cannot bind token for serviceaccount {account} to pod running with different serviceaccount name."
                )));
            }
            let on = pod.sub("spec").text("nodeName");
            let node = match on {
                "" => None,
                on => Some(match get(lookup, &NODES, None, on).await {
                    Some(node) => Ref::to(&node),
                    None => Ref { name: on.to_owned(), ..Ref::default() },
                }),
            };
            let claims = Claims { pod: Some(Ref::to(&pod)), node, ..Claims::default() };
            (pod, claims)
        }
        (false, "Node") => {
            let node = required(lookup, &NODES, None, name).await?;
            let claims = Claims { node: Some(Ref::to(&node)), ..Claims::default() };
            (node, claims)
        }
        (false, "Secret") => {
            let secret = required(lookup, &SECRETS, Some(namespace), name).await?;
            let claims = Claims { secret: Some(Ref::to(&secret)), ..Claims::default() };
            (secret, claims)
        }
        _ => {
            let (group, version) = version.split_once('/').unwrap_or(("", version));
            return Err(StatusError::bad_request(format!(
                "cannot bind token to object of type {group}/{version}, Kind={kind}"
            )));
        }
    };
    let uid = reference.text("uid");
    if !uid.is_empty() && uid != meta::uid(&object) {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(StatusError::conflict(&GroupResource::new("", kind), name, why));
    }
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use rcgen::KeyPair;

    use super::*;
    use access::testing::Objects;

    fn issuer() -> Issuer {
        let pem = KeyPair::generate().unwrap().serialize_pem();
        Issuer::new(vec!["https://k".into()], vec![], &[], Some(pem.as_bytes())).unwrap()
    }

    async fn ask(body: Value) -> Result<Value, String> {
        let objects = Objects::default();
        objects.put(&SERVICE_ACCOUNTS, json!({"metadata": {"namespace": "ns", "name": "web", "uid": "sa"}}));
        objects.put(&PODS, json!({"metadata": {"namespace": "ns", "name": "p", "uid": "pod"}, "spec": {"serviceAccountName": "web", "nodeName": "n"}}));
        objects.put(
            &PODS,
            json!({"metadata": {"namespace": "ns", "name": "q", "uid": "q"}, "spec": {"serviceAccountName": "other"}}),
        );
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        request(&issuer(), &objects, "ns", "web", now, false, body).await.map_err(|e| e.message)
    }

    #[tokio::test]
    async fn a_pods_token_outlives_what_was_asked_for() {
        let body = json!({"spec": {"expirationSeconds": 3607, "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "pod"}}});
        let answer = ask(body).await.unwrap();
        assert_eq!(answer["metadata"]["uid"], "sa");
        assert_eq!(answer["spec"]["audiences"], json!(["https://k"]));
        assert_eq!(answer["status"]["expirationTimestamp"], "2027-01-15T09:00:07Z");
        let claims = tokens::jwt::claims(answer.sub("status").text("token")).unwrap();
        assert_eq!(claims["exp"].as_i64(), Some(1_800_000_000 + EXTENDED_SECONDS));
        assert_eq!(claims["sub"], "system:serviceaccount:ns:web");
        let kubernetes = &claims["kubernetes.io"];
        assert_eq!(kubernetes["warnafter"].as_i64(), Some(1_800_003_607));
        assert_eq!(
            (&kubernetes["pod"], &kubernetes["node"]),
            (&json!({"name": "p", "uid": "pod"}), &json!({"name": "n"}))
        );
    }

    #[tokio::test]
    async fn what_cannot_be_had_is_refused_in_upstreams_words() {
        let bound = |kind: &str, name: &str, uid: &str| json!({"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": kind, "name": name, "uid": uid}}});
        for (body, expect) in [
            (
                json!({"spec": {"expirationSeconds": 599}}),
                r#"TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes"#,
            ),
            (
                json!({"metadata": {"name": "x"}, "spec": {}}),
                r#"TokenRequest.authentication.k8s.io "web" is invalid: metadata.name: Invalid value: "x": must match the service account name if specified"#,
            ),
            (bound("Pod", "none", ""), r#"pods "none" not found"#),
            (
                bound("Pod", "q", ""),
                r#"cannot bind token for serviceaccount "web" to pod running with different serviceaccount name."#,
            ),
            (
                bound("Pod", "p", "x"),
                r#"Operation cannot be fulfilled on Pod "p": the UID in the bound object reference (x) does not match the UID in record. The object might have been deleted and then recreated"#,
            ),
            (bound("Service", "s", ""), "cannot bind token to object of type /v1, Kind=Service"),
        ] {
            assert_eq!(ask(body).await.unwrap_err(), expect);
        }
    }
}
