//! Who asks: client certificates, bearer tokens, the identity of an in-process listener, and otherwise
//! `system:anonymous`. An authenticator that knows nothing of a request passes it on; one that knows a credential to
//! be wrong refuses it (401), so that a bad token never becomes anonymous.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use machinery::status::StatusError;

pub mod bearer;
pub mod bootstrap_token;
pub mod ca;
pub mod claims;
pub mod client_certificates;
pub mod jwt;
pub mod keys;
pub mod request_header;
pub mod service_account;
pub mod token_file;
pub mod union;
mod version1;
pub mod x509;

/// The group of every authenticated caller.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group of callers without credentials.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The user name of callers without credentials.
pub const ANONYMOUS: &str = "system:anonymous";
/// The group that RBAC cannot refuse.
pub const MASTERS: &str = "system:masters";
/// The group of kubelets.
pub const NODES: &str = "system:nodes";
/// The key in `extra` that tells one credential from another.
pub const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// An authenticated caller, shaped as TokenReview's `status.user`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserInfo {
    /// The name, for example `system:node:a` or `system:serviceaccount:default:web`.
    pub name: String,
    /// The uid, often empty.
    pub uid: String,
    /// Groups, without order.
    pub groups: Vec<String>,
    /// Further facts, for example `authentication.kubernetes.io/pod-name`.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// The caller without credentials.
    pub fn anonymous() -> Self {
        Self { name: ANONYMOUS.into(), groups: vec![UNAUTHENTICATED.into()], ..Self::default() }
    }

    /// Whether the caller is in that group.
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// The node whose kubelet this is: a `system:node:` name in the group of kubelets. May be empty.
    pub fn node(&self) -> Option<&str> {
        let name = self.name.strip_prefix("system:node:")?;
        self.in_group(NODES).then_some(name)
    }
}

/// What is known of the connection a request came over.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// The client's certificates in DER, leaf first, as TLS received them: the chain is verified by the TLS layer
    /// against the client CA before this is filled.
    pub certificates: Vec<Bytes>,
    /// The identity that an in-process listener was given; outranks everything else.
    pub identity: Option<Arc<UserInfo>>,
    /// The remote address, for audit and events.
    pub address: Option<std::net::SocketAddr>,
}

/// One way of telling who asks.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// `Ok(None)`: no credential of this sort. `Err(why)`: a credential that is wrong; `why` goes to the log.
    async fn authenticate(&self, request: &http::request::Parts, peer: &Peer) -> Result<Option<UserInfo>, String>;
}

/// Who asks, or 401: for a credential that is wrong, and without one where anonymous requests are off. Why goes to the
/// log only.
pub async fn identify(
    authenticator: &dyn Authenticator,
    request: &http::request::Parts,
    peer: &Peer,
) -> Result<UserInfo, StatusError> {
    let why = match authenticator.authenticate(request, peer).await {
        Ok(Some(user)) => return Ok(user),
        Ok(None) => "no credentials".to_string(),
        Err(why) => why,
    };
    tracing::debug!(%why, address = ?peer.address, "unable to authenticate the request");
    Err(StatusError::unauthorized("Unauthorized"))
}
