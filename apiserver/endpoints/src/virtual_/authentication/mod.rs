//! The reviews of `authentication.k8s.io`: whose token is this, and who am I. Follows `pkg/registry/authentication`.

use access::authn::bearer::Tokens;
use access::authn::union::authenticated;
use async_trait::async_trait;
use machinery::json::Fields;
use machinery::status::StatusError;
use model::request_info::RequestInfo;
use model::user::UserInfo;
use serde_json::{Value, json};
use writes::strategy::WriteContext;

use crate::Server;
use crate::virtual_::Virtual;

pub mod token_request;

/// `tokenreviews`.
pub struct TokenReview;

/// `selfsubjectreviews`.
pub struct SelfSubjectReview;

#[async_trait]
impl Virtual for TokenReview {
    async fn serve(
        &self,
        server: &Server,
        _: &WriteContext<'_>,
        _: &RequestInfo,
        body: Value,
    ) -> Result<Value, StatusError> {
        review(&server.tokens, body).await
    }
}

#[async_trait]
impl Virtual for SelfSubjectReview {
    async fn serve(
        &self,
        _: &Server,
        cx: &WriteContext<'_>,
        _: &RequestInfo,
        mut body: Value,
    ) -> Result<Value, StatusError> {
        machinery::meta::set_creation_timestamp(&mut body, cx.now);
        body["status"] = json!({"userInfo": shown(cx.user)});
        Ok(body)
    }
}

/// A user as reviews show it.
fn shown(user: &UserInfo) -> Value {
    let mut shown = json!({"username": user.name});
    if !user.uid.is_empty() {
        shown["uid"] = user.uid.clone().into();
    }
    if !user.groups.is_empty() {
        shown["groups"] = json!(user.groups);
    }
    if !user.extra.is_empty() {
        shown["extra"] = json!(user.extra);
    }
    shown
}

async fn review(tokens: &Tokens, mut body: Value) -> Result<Value, StatusError> {
    let token = body.sub("spec").text("token");
    if token.is_empty() {
        return Err(StatusError::bad_request("token is required for TokenReview in authentication"));
    }
    let asked: Vec<String> = body.sub("spec").texts("audiences").map(str::to_owned).collect();
    let asked = if asked.is_empty() { tokens.audiences().to_vec() } else { asked };
    body["status"] = match tokens.authenticate(token, &asked).await {
        Ok(bearer) => {
            let mut status = json!({"authenticated": true, "user": shown(&authenticated(bearer.user))});
            if !bearer.audiences.is_empty() {
                status["audiences"] = json!(bearer.audiences);
            }
            status
        }
        Err(why) => json!({"error": why, "user": {}}),
    };
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use access::authn::token_file::TokenFile;

    #[tokio::test]
    async fn a_token_is_somebodys_or_nobodys() {
        let file = TokenFile::new("secret,jane,1,devs").unwrap();
        let tokens = Tokens::new(vec![Box::new(file)], vec!["api".into()]);
        let ask = async |spec: Value| review(&tokens, json!({"spec": spec})).await.map(|v| v["status"].clone());
        assert_eq!(
            ask(json!({"token": "secret"})).await.unwrap(),
            json!({"authenticated": true, "audiences": ["api"], "user": {"username": "jane", "uid": "1", "groups": ["devs", "system:authenticated"]}})
        );
        assert_eq!(ask(json!({"token": "other"})).await.unwrap(), json!({"error": "invalid bearer token", "user": {}}));
        assert_eq!(
            ask(json!({"token": "secret", "audiences": ["x"]})).await.unwrap(),
            json!({"error": "invalid bearer token", "user": {}})
        );
        assert_eq!(ask(json!({})).await.unwrap_err().message, "token is required for TokenReview in authentication");
    }
}
