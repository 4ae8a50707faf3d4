//! All ways of telling who asks, in upstream's order (`kubeapiserver/authenticator/config.go`): front proxy, client
//! certificate, bearer token, anonymous.
//!
//! A credential that one of them finds wrong does not stop the others; but where none of them knows the caller and one
//! complained, the answer is 401 and not anonymous.

use std::sync::Arc;

use async_trait::async_trait;
use model::user::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, UserInfo};

use super::bearer::Tokens;
use super::request_header::RequestHeader;
use super::x509::X509;
use super::{Authenticator, Peer};

/// See the module.
#[derive(Default)]
pub struct Union {
    /// A proxy in front.
    pub request_header: Option<RequestHeader>,
    /// Client certificates.
    pub x509: Option<X509>,
    /// Bearer tokens.
    pub tokens: Option<Arc<Tokens>>,
    /// Whether callers without credentials are `system:anonymous`, or else refused.
    pub anonymous: bool,
}

#[async_trait]
impl Authenticator for Union {
    async fn authenticate(&self, request: &http::request::Parts, peer: &Peer) -> Result<Option<UserInfo>, String> {
        if let Some(identity) = &peer.identity {
            return Ok(Some(authenticated((**identity).clone())));
        }
        let mut errors = Vec::new();
        let ways: [Option<&dyn Authenticator>; 3] = [
            self.request_header.as_ref().map(|a| a as &dyn Authenticator),
            self.x509.as_ref().map(|a| a as &dyn Authenticator),
            self.tokens.as_deref().map(|a| a as &dyn Authenticator),
        ];
        for way in ways.into_iter().flatten() {
            match way.authenticate(request, peer).await {
                Ok(Some(user)) => return Ok(Some(authenticated(user))),
                Ok(None) => {}
                Err(why) => errors.push(why),
            }
        }
        match errors.len() {
            0 => Ok(self.anonymous.then(UserInfo::anonymous)),
            1 => Err(errors.swap_remove(0)),
            _ => Err(format!("[{}]", errors.join(", "))),
        }
    }
}

/// Adds the group of authenticated callers, once.
pub fn authenticated(mut user: UserInfo) -> UserInfo {
    if user.name != ANONYMOUS && !user.in_group(AUTHENTICATED) && !user.in_group(UNAUTHENTICATED) {
        user.groups.push(AUTHENTICATED.into());
    }
    user
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use jiff::Timestamp;

    use super::*;
    use crate::authn::bearer::{Bearer, Presented, Token};

    struct Jane;

    #[async_trait]
    impl Token for Jane {
        async fn authenticate_token(
            &self,
            token: &Presented<'_>,
            _: &[String],
            _: Timestamp,
        ) -> Result<Option<Bearer>, String> {
            let user = UserInfo { name: "jane".into(), ..UserInfo::default() };
            Ok((token.text == "jane").then(|| Bearer { user, audiences: vec![] }))
        }
    }

    fn request(authorization: &str) -> http::request::Parts {
        let mut builder = http::Request::builder();
        if !authorization.is_empty() {
            builder = builder.header("authorization", authorization);
        }
        builder.body(()).unwrap().into_parts().0
    }

    #[tokio::test]
    async fn nobody_is_anonymous_and_a_wrong_token_is_refused() {
        let mut union = Union {
            tokens: Some(Arc::new(Tokens::new(vec![Box::new(Jane)], vec![]))),
            anonymous: true,
            ..Union::default()
        };
        let peer = Peer::default();
        let jane = union.authenticate(&request("Bearer jane"), &peer).await.unwrap().unwrap();
        assert_eq!((jane.name.as_str(), jane.groups), ("jane", vec![AUTHENTICATED.to_owned()]));
        assert_eq!(union.authenticate(&request(""), &peer).await, Ok(Some(UserInfo::anonymous())));
        assert!(union.authenticate(&request("Bearer joe"), &peer).await.is_err());
        union.anonymous = false;
        assert_eq!(union.authenticate(&request(""), &peer).await, Ok(None));
        let inside = UserInfo { name: "system:kube-scheduler".into(), ..UserInfo::default() };
        let peer = Peer { identity: Some(Arc::new(inside)), ..Peer::default() };
        let user = union.authenticate(&request("Bearer jane"), &peer).await.unwrap().unwrap();
        assert_eq!(user.name, "system:kube-scheduler", "the listener's identity outranks headers");
    }
}
