//! Bootstrap tokens: with each, the ConfigMap that tells a new machine of its cluster is signed; those whose time is over
//! are deleted.
//!
//! Upstream: `pkg/controller/bootstrap`; neither controller is on by default.

mod token;

use std::{collections::BTreeMap, sync::Arc};

use client::{Informer, Scope};
use controller::{Queue, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::{
    api::core::v1::{ConfigMap, Secret},
    jiff::Timestamp,
};
use kube::{
    Api,
    api::{DeleteParams, PostParams, Preconditions},
};

use crate::{context::Context, util::key};
use token::Life;

const PUBLIC: &str = "kube-public";
const CLUSTER_INFO: &str = "cluster-info";
const KUBECONFIG: &str = "kubeconfig";
/// Before the token's id in the key of a signature.
const SIGNATURE: &str = "jws-kubeconfig-";
const SYSTEM: &str = "kube-system";

/// Runs the controller that signs.
pub(crate) fn start_signing(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(sign(context))
}

/// Runs the controller that deletes what is over.
pub(crate) fn start_cleaning(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(clean(context))
}

/// The tokens there are.
fn tokens(context: &Context) -> Informer<Secret> {
    let field_selector = Some(format!("type={}", token::KIND));
    context.informers.scoped(Scope { namespace: Some(SYSTEM.into()), field_selector, ..Scope::default() })
}

async fn sign(context: Context) -> anyhow::Result<()> {
    let tokens = tokens(&context);
    let field_selector = Some(format!("metadata.name={CLUSTER_INFO}"));
    let scope = Scope { namespace: Some(PUBLIC.into()), field_selector, ..Scope::default() };
    let maps: Informer<ConfigMap> = context.informers.scoped(scope);
    // There is one thing to do, whoever asks for it.
    let queue: Queue<()> = Queue::new();
    let wake = queue.clone();
    maps.on_change(move |_| wake.add(()));
    let wake = queue.clone();
    tokens.on_change(move |_| wake.add(()));
    maps.synced().await;
    tokens.synced().await;
    let (maps, tokens, api) = (&maps, &tokens, &Api::<ConfigMap>::namespaced(context.client.clone(), PUBLIC));
    run_workers(context.name, &queue, 1, context.cancel.clone(), |()| async move {
        let Some(map) = maps.get(Some(PUBLIC), CLUSTER_INFO) else { return Ok(()) };
        let Some(data) = signed(&map, &tokens.list(), Timestamp::now()) else { return Ok(()) };
        let map = ConfigMap { data: Some(data), ..(*map).clone() };
        match api.replace(CLUSTER_INFO, &PostParams::default(), &map).await {
            Err(e) if !client::is_not_found(&e) => Err(e.into()),
            _ => Ok(()),
        }
    })
    .await;
    Ok(())
}

/// What the map should say; nothing if it says that, or has nothing to be signed.
fn signed(map: &ConfigMap, tokens: &[Arc<Secret>], now: Timestamp) -> Option<BTreeMap<String, String>> {
    let data = map.data.as_ref()?;
    let content = data.get(KUBECONFIG)?;
    let mut wanted = data.clone();
    wanted.retain(|key, _| !key.starts_with(SIGNATURE));
    for (id, secret) in tokens.iter().filter_map(|secret| token::signing(secret, now)) {
        wanted.insert(format!("{SIGNATURE}{id}"), token::signature(content, id, secret));
    }
    (wanted != *data).then_some(wanted)
}

async fn clean(context: Context) -> anyhow::Result<()> {
    let tokens = tokens(&context);
    let queue: Queue<String> = Queue::new();
    let wake = queue.clone();
    tokens.on_change(move |change| wake.add(key::name(&change.object().metadata).to_owned()));
    tokens.synced().await;
    let (tokens, again, api) = (&tokens, &queue, &Api::<Secret>::namespaced(context.client.clone(), SYSTEM));
    run_workers(context.name, &queue, 1, context.cancel.clone(), |name: String| async move {
        let Some(secret) = tokens.get(Some(SYSTEM), &name) else { return Ok(()) };
        match token::life(&secret, Timestamp::now()) {
            Life::Unlimited => {}
            Life::For(left) => again.add_after(name, left),
            Life::Over => {
                let preconditions = Preconditions { uid: secret.metadata.uid.clone(), resource_version: None };
                let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
                if let Err(error) = api.delete(&name, &params).await
                    && !client::is_not_found(&error)
                    && !client::is_conflict(&error)
                {
                    return Err(error.into());
                }
            }
        }
        Ok(())
    })
    .await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_map_has_the_signatures_of_the_tokens_there_are() {
        let secret = json!({
            "metadata": {"name": "bootstrap-token-abc123"},
            "data": {"token-id": "YWJjMTIz", "token-secret": "dG9rZW5TZWNyZXQ=", "usage-bootstrap-signing": "dHJ1ZQ=="},
        });
        let tokens = [Arc::new(serde_json::from_value(secret).unwrap())];
        let check = |data: serde_json::Value, tokens: &[Arc<Secret>], want: Option<&[&str]>| {
            let map = serde_json::from_value(json!({ "data": data })).unwrap();
            let got = signed(&map, tokens, "2026-01-01T00:00:00Z".parse().unwrap());
            let keys = got.map(|data| data.into_keys().collect::<Vec<_>>());
            assert_eq!(
                keys.as_deref().map(|keys| keys.iter().map(String::as_str).collect::<Vec<_>>()),
                want.map(Vec::from)
            );
        };
        let right = "eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiYzEyMyJ9..QSxpUG7Q542CirTI2ECPSZjvBOJURUW5a7XqFpNI958";
        let both: &[&str] = &["jws-kubeconfig-abc123", "kubeconfig"];
        check(json!({"kubeconfig": "payload"}), &tokens, Some(both));
        check(json!({"kubeconfig": "payload", "jws-kubeconfig-abc123": right}), &tokens, None);
        check(json!({"kubeconfig": "payload", "jws-kubeconfig-abc123": "old"}), &tokens, Some(both));
        check(json!({"kubeconfig": "payload", "jws-kubeconfig-abc123": right}), &[], Some(&["kubeconfig"]));
        check(json!({"kubeconfig": "payload"}), &[], None);
        check(json!({"other": "payload"}), &tokens, None);
    }
}
