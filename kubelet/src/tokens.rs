//! Service account tokens for projected volumes: asked for per pod, kept, and asked for again in time.
//! Upstream: pkg/kubelet/token/token_manager.go.

use crate::objects::api_message;
use component::Clock;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{Api, Client, api::PostParams};
use parking_lot::Mutex;
use std::collections::HashMap;

/// A token of a day is renewed daily even if it lives longer.
const AGE_LIMIT: SignedDuration = SignedDuration::from_hours(24);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Wanted {
    pub(crate) namespace: String,
    pub(crate) account: String,
    pub(crate) audience: Option<String>,
    pub(crate) expiration_secs: i64,
    pub(crate) pod_name: String,
    pub(crate) pod_uid: String,
}

#[derive(Debug, Clone)]
struct Held {
    token: String,
    issued: Timestamp,
    expires: Timestamp,
}

impl Held {
    /// At four fifths of its life, or after a day.
    fn renews(&self) -> Timestamp {
        let life = self.expires.duration_since(self.issued);
        let at = self.issued + (life * 4) / 5;
        at.min(self.issued + AGE_LIMIT)
    }
}

pub(crate) struct Tokens {
    client: Client,
    clock: Clock,
    held: Mutex<HashMap<Wanted, Held>>,
}

impl Tokens {
    pub(crate) fn new(client: Client, clock: Clock) -> Self {
        Self { client, clock, held: Mutex::default() }
    }

    /// A token that is good for some time yet. An old one is used as long as it lives if no new one can be had.
    pub(crate) async fn get(&self, wanted: &Wanted) -> Result<String, String> {
        let now = self.clock.now();
        let held = self.held.lock().get(wanted).cloned();
        if let Some(held) = held.as_ref().filter(|h| now < h.renews()) {
            return Ok(held.token.clone());
        }
        match self.request(wanted).await {
            Ok(fresh) => {
                let token = fresh.token.clone();
                let mut all = self.held.lock();
                all.retain(|_, h| h.expires > now);
                all.insert(wanted.clone(), fresh);
                Ok(token)
            }
            Err(message) => match held.filter(|h| now < h.expires) {
                Some(held) => {
                    tracing::warn!(account = wanted.account, message, "couldn't update a token, the old one is used");
                    Ok(held.token)
                }
                None => Err(format!("failed to fetch token: {message}")),
            },
        }
    }

    /// When one of the pod's tokens has to be renewed next.
    pub(crate) fn next_renewal(&self, pod_uid: &str) -> Option<Timestamp> {
        self.held.lock().iter().filter(|(w, _)| w.pod_uid == pod_uid).map(|(_, h)| h.renews()).min()
    }

    pub(crate) fn forget(&self, pod_uid: &str) {
        self.held.lock().retain(|w, _| w.pod_uid != pod_uid);
    }

    async fn request(&self, wanted: &Wanted) -> Result<Held, String> {
        let bound = BoundObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            name: Some(wanted.pod_name.clone()),
            uid: Some(wanted.pod_uid.clone()),
        };
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: wanted.audience.iter().cloned().collect::<Vec<_>>().into(),
                expiration_seconds: Some(wanted.expiration_secs),
                bound_object_ref: Some(bound),
            }),
            ..Default::default()
        };
        let api = Api::<ServiceAccount>::namespaced(self.client.clone(), &wanted.namespace);
        let issued = self.clock.now();
        let answer: TokenRequest = api
            .create_subresource("token", &wanted.account, &PostParams::default(), &request)
            .await
            .map_err(|error| api_message(&error))?;
        let status = answer.status.ok_or("the answer carries no token")?;
        let token = status.token.ok_or("the answer carries no token")?;
        let expires = status.expiration_timestamp.ok_or("the answer says not when the token ends")?.0;
        Ok(Held { token, issued, expires })
    }
}
