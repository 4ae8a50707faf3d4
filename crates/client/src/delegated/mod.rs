//! Who asks a component's own server, and whether they may: client certificates and tokens, then the API server's word,
//! remembered for a while.
//!
//! Upstream: apiserver's delegating authenticator and authorizer, which the kubelet's server and the schedulers' and
//! controllers' share.

mod clients;
mod flags;
mod gate;
mod port;

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    time::{Duration, Instant},
};

use component::serving::PeerCertificates;
use http::{header, request::Parts};
use k8s_openapi::{
    api::{
        authentication::v1::{TokenReview, TokenReviewSpec},
        authorization::v1::{NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
    },
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

pub use flags::Flags;
pub use gate::{Gate, status};
pub use port::{Port, configz};

/// Answers that are remembered, of each sort.
const REMEMBERED: usize = 1000;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct User {
    /// The name.
    pub name: String,
    /// The uid; empty for those without one.
    pub uid: String,
    /// The groups.
    pub groups: Vec<String>,
    /// Whatever else the API server knows of them.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// Somebody without credentials.
    pub fn anonymous() -> Self {
        Self {
            name: "system:anonymous".into(),
            uid: String::new(),
            groups: vec!["system:unauthenticated".into()],
            extra: BTreeMap::new(),
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Asked {
    /// A subresource of a node.
    Node {
        /// Such as `get`.
        verb: &'static str,
        /// The subresource.
        subresource: &'static str,
        /// The node.
        name: String,
    },
    /// A path that is no resource's.
    Path {
        /// Such as `get`.
        verb: &'static str,
        /// The path.
        path: String,
    },
}

struct Memory<K, V>(Mutex<HashMap<K, (V, Instant)>>);

impl<K: Hash + Eq, V: Clone> Memory<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        self.0.lock().get(key).filter(|(_, until)| Instant::now() < *until).map(|(value, _)| value.clone())
    }

    fn put(&self, key: K, value: V, lasts: Duration) {
        let mut all = self.0.lock();
        if all.len() >= REMEMBERED {
            let now = Instant::now();
            all.retain(|_, (_, until)| now < *until);
            if all.len() >= REMEMBERED {
                all.clear();
            }
        }
        all.insert(key, (value, Instant::now() + lasts));
    }
}

/// How long answers are remembered.
#[derive(Debug, Clone, Copy)]
pub struct Lasting {
    /// Whose a token is.
    pub token: Duration,
    /// That somebody may.
    pub allowed: Duration,
    /// That somebody may not.
    pub denied: Duration,
}

impl Default for Lasting {
    /// As the flags are by default.
    fn default() -> Self {
        let ten_seconds = Duration::from_secs(10);
        Self { token: ten_seconds, allowed: ten_seconds, denied: ten_seconds }
    }
}

/// See the module.
pub struct Delegated {
    client: Client,
    lasting: Lasting,
    users: Memory<[u8; 32], User>,
    decisions: Memory<(User, Asked), bool>,
}

impl Delegated {
    /// Asks the API server by that client.
    pub fn new(client: Client, lasting: Lasting) -> Self {
        Self { client, lasting, users: Memory(Mutex::default()), decisions: Memory(Mutex::default()) }
    }

    /// Whose token it is; `None`: nobody's.
    ///
    /// # Errors
    /// The API server gave no answer.
    pub async fn of_token(&self, token: &str) -> Result<Option<User>, String> {
        let key: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(user) = self.users.get(&key) {
            return Ok(Some(user));
        }
        let review =
            TokenReview { spec: TokenReviewSpec { token: token.to_owned(), audiences: None }, ..Default::default() };
        let answer = Api::<TokenReview>::all(self.client.clone())
            .create(&PostParams::default(), &review)
            .await
            .map_err(|e| e.to_string())?;
        let status = answer.status.unwrap_or_default();
        if status.authenticated != Some(true) {
            return Ok(None);
        }
        let info = status.user.unwrap_or_default();
        let user = User {
            name: info.username.unwrap_or_default(),
            uid: info.uid.unwrap_or_default(),
            groups: info.groups.unwrap_or_default(),
            extra: info.extra.unwrap_or_default(),
        };
        self.users.put(key, user.clone(), self.lasting.token);
        Ok(Some(user))
    }

    /// Whether they may.
    ///
    /// # Errors
    /// The API server gave no answer.
    pub async fn allows(&self, user: &User, asked: Asked) -> Result<bool, String> {
        let key = (user.clone(), asked);
        if let Some(known) = self.decisions.get(&key) {
            return Ok(known);
        }
        let mut spec = SubjectAccessReviewSpec {
            user: Some(user.name.clone()),
            uid: Some(user.uid.clone()),
            groups: Some(user.groups.clone()),
            extra: Some(user.extra.clone()),
            ..Default::default()
        };
        match &key.1 {
            Asked::Node { verb, subresource, name } => {
                spec.resource_attributes = Some(ResourceAttributes {
                    verb: Some((*verb).to_owned()),
                    version: Some("v1".into()),
                    resource: Some("nodes".into()),
                    subresource: Some((*subresource).to_owned()),
                    name: Some(name.clone()),
                    ..Default::default()
                });
            }
            Asked::Path { verb, path } => {
                spec.non_resource_attributes =
                    Some(NonResourceAttributes { path: Some(path.clone()), verb: Some((*verb).to_owned()) });
            }
        }
        let review = SubjectAccessReview { spec, ..Default::default() };
        let answer = Api::<SubjectAccessReview>::all(self.client.clone())
            .create(&PostParams::default(), &review)
            .await
            .map_err(|e| e.to_string())?;
        let allowed = answer.status.is_some_and(|s| s.allowed);
        self.decisions.put(key, allowed, if allowed { self.lasting.allowed } else { self.lasting.denied });
        Ok(allowed)
    }
}

/// Whom the certificate of a connection names, which was verified when it was made, until it expires.
pub fn of_certificate(parts: &Parts) -> Option<User> {
    let certificate = parts.extensions.get::<PeerCertificates>().and_then(|peer| peer.0.first())?;
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    // The connection may be older than that.
    if certificate.validity().not_after.timestamp() < Timestamp::now().as_second() {
        return None;
    }
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let mut groups: Vec<String> =
        subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect();
    groups.push("system:authenticated".into());
    Some(User { name, uid: String::new(), groups, extra: BTreeMap::new() })
}

/// The token that a request bears.
pub fn bearer(parts: &Parts) -> Option<&str> {
    let value = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ").map(str::trim).filter(|token| !token.is_empty())
}

/// The verb of a method.
pub fn verb(method: &http::Method) -> &'static str {
    match *method {
        http::Method::POST => "create",
        http::Method::GET => "get",
        http::Method::PUT => "update",
        http::Method::PATCH => "patch",
        http::Method::DELETE => "delete",
        _ => "",
    }
}
