//! Each controller's own identity in a stand-alone process: a service account in kube-system and a token for it.
//!
//! As upstream's dynamic client builder: the account is made where it is missing, a token is asked for by TokenRequest
//! and renewed when four fifths of its life are over. A controller that can't renew goes on with the token it has.

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use component::Supervisor;
use k8s_openapi::{
    api::{
        authentication::v1::{TokenRequest, TokenRequestSpec},
        core::v1::ServiceAccount,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};
use tokio::sync::watch;

const NAMESPACE: &str = "kube-system";
const TOKEN_SECONDS: i64 = 3600;
const RETRY: Duration = Duration::from_secs(2);

/// A client that authenticates as `account`; `manager` is allowed to make tokens. `tasks` renew its token.
pub(crate) async fn client_for(
    manager: Client,
    kubeconfig: PathBuf,
    account: &'static str,
    tasks: Supervisor,
) -> anyhow::Result<Client> {
    // The server may have just started: its roles and kube-system come by and by.
    let (token, expires) = loop {
        match token(&manager, account).await {
            Ok(token) => break token,
            Err(error) => tracing::info!(account, error = format!("{error:#}"), "no token yet"),
        }
        tokio::time::sleep(RETRY).await;
    };
    let (sender, receiver) = watch::channel(token);
    tasks.restarting(("token", account), move |own| {
        let renewing = renew(manager.clone(), account, expires, sender.clone());
        async move {
            own.until_stopped(renewing).await;
        }
    });
    let name = format!("system:serviceaccount:{NAMESPACE}:{account}");
    client::from_token(&kubeconfig, receiver, &client::user_agent(crate::COMPONENT, &name))
}

async fn renew(manager: Client, account: &'static str, mut expires: Timestamp, sender: watch::Sender<String>) {
    loop {
        let left = Duration::try_from(expires.duration_since(Timestamp::now())).unwrap_or_default();
        tokio::time::sleep((left * 4 / 5).max(RETRY)).await;
        match token(&manager, account).await {
            Ok((token, until)) => {
                expires = until;
                sender.send_replace(token);
            }
            Err(error) => tracing::warn!(account, error = format!("{error:#}"), "token not renewed"),
        }
    }
}

async fn token(manager: &Client, account: &str) -> anyhow::Result<(String, Timestamp)> {
    let api: Api<ServiceAccount> = Api::namespaced(manager.clone(), NAMESPACE);
    let wanted = TokenRequest {
        spec: Some(TokenRequestSpec { expiration_seconds: Some(TOKEN_SECONDS), ..Default::default() }),
        ..Default::default()
    };
    let answer = match api.create_token_request(account, &PostParams::default(), &wanted).await {
        Err(e) if client::is_not_found(&e) => {
            let metadata = ObjectMeta { name: Some(account.into()), ..Default::default() };
            let made = api.create(&PostParams::default(), &ServiceAccount { metadata, ..Default::default() }).await;
            if let Err(e) = made
                && !client::is_already_exists(&e)
            {
                return Err(e).with_context(|| format!("creating service account {account}"));
            }
            api.create_token_request(account, &PostParams::default(), &wanted).await?
        }
        other => other?,
    };
    let status = answer.status.context("a token request without an answer")?;
    let token = status.token.context("a token request without a token")?;
    let expires = status.expiration_timestamp.context("a token without an end")?;
    Ok((token, expires.0))
}
