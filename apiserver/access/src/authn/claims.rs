//! The claims of a service account token, and their validation against the objects that the token is bound to. Follows `pkg/serviceaccount/claims.go`.

use jiff::Timestamp;
use machinery::json::Fields;
use machinery::meta;
use model::lookup::Lookup;
use model::resources::{NODES, PODS, SECRETS, SERVICE_ACCOUNTS};
use model::user::{CREDENTIAL_ID, UserInfo};
use serde_json::{Value, json};

/// Clocks may differ by this much, and an object's grace after its deletion is this long.
const LEEWAY_SECONDS: i64 = 60;
/// Tokens asked for with exactly this lifetime (the kubelet's default) are made for [`EXTENDED_SECONDS`], and noted
/// when used past it: pods that read their token once go on.
pub const WARN_ONLY_SECONDS: i64 = 3_607;
/// A year.
pub const EXTENDED_SECONDS: i64 = 365 * 24 * 60 * 60;

/// Another object, by name and identity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ref {
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
}

impl Ref {
    /// Of an object.
    pub fn to(object: &Value) -> Self {
        Self { name: meta::name(object).to_owned(), uid: meta::uid(object).to_owned() }
    }

    fn value(&self) -> Value {
        let mut value = json!({"name": self.name});
        if !self.uid.is_empty() {
            value["uid"] = self.uid.clone().into();
        }
        value
    }

    fn read(claims: &Value, what: &str) -> Option<Self> {
        let value = claims.get("kubernetes.io")?.get(what)?;
        Some(Self { name: value.text("name").to_owned(), uid: value.text("uid").to_owned() })
    }
}

/// What a token is to say.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    /// Who issues it.
    pub issuer: String,
    /// Whom it is for.
    pub audiences: Vec<String>,
    /// The service account's namespace.
    pub namespace: String,
    /// The service account.
    pub service_account: Ref,
    /// The pod that it is bound to.
    pub pod: Option<Ref>,
    /// The Secret that it is bound to.
    pub secret: Option<Ref>,
    /// The pod's node, or the node that it is bound to.
    pub node: Option<Ref>,
    /// How long it is good.
    pub lifetime_seconds: i64,
    /// After how long its use is noted.
    pub warn_after_seconds: Option<i64>,
    /// An id of its own.
    pub id: String,
}

/// The name of a service account as a user.
pub fn username(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

/// Namespace and name of the service account that a user is.
pub fn split_username(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let namespace_ok = machinery::names::dns1123_label(namespace).is_empty();
    let name_ok = machinery::names::dns1123_subdomain(name).is_empty();
    (namespace_ok && name_ok).then_some((namespace, name))
}

/// The groups of a service account.
pub fn groups(namespace: &str) -> Vec<String> {
    vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")]
}

impl Claims {
    /// The token's payload.
    pub fn payload(&self, now: Timestamp) -> Value {
        let now = now.as_second();
        let mut kubernetes = json!({"namespace": self.namespace, "serviceaccount": self.service_account.value()});
        for (key, object) in [("pod", &self.pod), ("secret", &self.secret), ("node", &self.node)] {
            if let Some(object) = object {
                kubernetes[key] = object.value();
            }
        }
        if let Some(seconds) = self.warn_after_seconds {
            kubernetes["warnafter"] = (now + seconds).into();
        }
        json!({
            "aud": self.audiences,
            "exp": now + self.lifetime_seconds,
            "iat": now,
            "iss": self.issuer,
            "jti": self.id,
            "kubernetes.io": kubernetes,
            "nbf": now,
            "sub": username(&self.namespace, &self.service_account.name),
        })
    }
}

/// The object, also where the cache has not seen it yet.
async fn find(
    lookup: &dyn Lookup,
    resource: &machinery::gvk::GroupResource,
    namespace: Option<&str>,
    of: &Ref,
) -> Option<std::sync::Arc<Value>> {
    match lookup.get(resource, namespace, &of.name) {
        Some(object) if meta::uid(&object) == of.uid => Some(object),
        _ => lookup.get_fresh(resource, namespace, &of.name).await,
    }
}

fn gone(object: &Value, now: Timestamp) -> bool {
    let deleted: Option<Timestamp> =
        object.pointer("/metadata/deletionTimestamp").and_then(Value::as_str).and_then(|t| t.parse().ok());
    deleted.is_some_and(|at| at.as_second() < now.as_second() - LEEWAY_SECONDS)
}

/// Whether verified claims hold now, and whose they are.
pub async fn validate(claims: &Value, lookup: &dyn Lookup, now: Timestamp) -> Result<UserInfo, String> {
    const INVALIDATED: &str = "service account token has been invalidated";
    let at = |key: &str| claims.get(key).and_then(Value::as_f64).map(|seconds| seconds as i64);
    let second = now.as_second();
    if at("nbf").is_some_and(|nbf| second + LEEWAY_SECONDS < nbf) {
        return Err("service account token is not valid yet".into());
    }
    if at("exp").is_some_and(|exp| second - LEEWAY_SECONDS > exp) {
        return Err("service account token has expired".into());
    }
    if at("iat").is_some_and(|iat| second + LEEWAY_SECONDS < iat) {
        return Err("service account token is issued in the future".into());
    }
    let namespace = claims.pointer("/kubernetes.io/namespace").and_then(Value::as_str).unwrap_or_default();
    let account = Ref::read(claims, "serviceaccount").unwrap_or_default();
    let (pod, secret, node) = (Ref::read(claims, "pod"), Ref::read(claims, "secret"), Ref::read(claims, "node"));

    let found = find(lookup, &SERVICE_ACCOUNTS, Some(namespace), &account).await;
    let object = found.ok_or_else(|| format!("serviceaccounts \"{}\" not found", account.name))?;
    let uid = meta::uid(&object);
    if uid != account.uid {
        return Err(format!("service account UID ({uid}) does not match claim ({})", account.uid));
    }
    if gone(&object, now) {
        return Err(format!("service account {namespace}/{} has been deleted", account.name));
    }
    let node_alone = node.as_ref().filter(|_| pod.is_none());
    let bound = [
        (&*SECRETS, Some(namespace), secret.as_ref(), "secret UID", "service account secret ref"),
        (&*PODS, Some(namespace), pod.as_ref(), "pod UID", "service account pod ref"),
        (&*NODES, None, node_alone, "node UID", "service account node ref"),
    ];
    for (resource, namespace, reference, what, claim) in bound {
        let Some(reference) = reference else { continue };
        let object = find(lookup, resource, namespace, reference).await.ok_or(INVALIDATED)?;
        let uid = meta::uid(&object);
        if uid != reference.uid {
            return Err(format!("{what} ({uid}) does not match {claim} claim ({})", reference.uid));
        }
        if gone(&object, now) {
            return Err(INVALIDATED.into());
        }
    }
    if at_warn_after(claims).is_some_and(|after| second > after) {
        tracing::debug!(subject = claims["sub"].as_str(), "a service account token is used past its time");
    }
    let mut user = UserInfo {
        name: username(namespace, &account.name),
        uid: account.uid,
        groups: groups(namespace),
        ..UserInfo::default()
    };
    let mut say =
        |key: &str, value: String| user.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value]);
    if let Some(pod) = pod.filter(|p| !p.name.is_empty() && !p.uid.is_empty()) {
        say("pod-name", pod.name);
        say("pod-uid", pod.uid);
    }
    if let Some(node) = node.filter(|n| !n.name.is_empty()) {
        say("node-name", node.name);
        if !node.uid.is_empty() {
            say("node-uid", node.uid);
        }
    }
    if let Some(id) = claims.get("jti").and_then(Value::as_str).filter(|id| !id.is_empty()) {
        user.extra.insert(CREDENTIAL_ID.into(), vec![format!("JTI={id}")]);
    }
    Ok(user)
}

fn at_warn_after(claims: &Value) -> Option<i64> {
    claims.pointer("/kubernetes.io/warnafter").and_then(Value::as_i64)
}
