//! Authentication: client certificates, bearer tokens, the identity of an in-process listener, and otherwise
//! `system:anonymous`. An authenticator that knows nothing of a request passes it on; one that knows a credential to
//! be wrong refuses it (401), so that a bad token never becomes anonymous.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use machinery::status::StatusError;
use model::user::UserInfo;

pub mod bearer;
pub mod bootstrap_token;
pub mod ca;
pub mod claims;
pub mod client_certificates;
pub mod legacy_token;
pub mod request_header;
pub mod service_account;
pub mod token_file;
pub mod union;
mod version1;
pub mod x509;

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
