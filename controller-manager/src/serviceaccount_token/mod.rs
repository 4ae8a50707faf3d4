//! Tokens in Secrets: a Secret of the type for it, which names a service account, is given a token of that account; and
//! goes with the account.
//!
//! Upstream: `pkg/controller/serviceaccount/tokens_controller.go`. Nobody makes such Secrets by himself any more; users
//! still may. It acts as the manager itself: what makes the controllers' own tokens in a cluster of old can't need one.

mod clean;
mod sync;

use std::sync::Arc;

use client::{Change, Informer, Scope};
use controller::{Queue, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams, Preconditions},
};
use tokens::{jwt, keys::SigningKey};

use crate::{
    context::Context,
    util::key::{self, Key},
};
use sync::{KIND, Next};

pub(crate) use clean::start as start_cleaning;

/// How often a key that fails is tried again.
const TRIES: u32 = 10;

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Work {
    /// An account, by name and UID.
    Account(Key, String),
    /// A Secret, by name and UID, and the account that it is for.
    Secret(Key, String, sync::Account),
}

struct Shell {
    context: Context,
    client: Client,
    signing: SigningKey,
    accounts: Informer<ServiceAccount>,
    secrets: Informer<Secret>,
    queue: Queue<Work>,
}

/// Secrets of that type alone: all the Secrets of a cluster are many.
fn secrets(context: &Context) -> Informer<Secret> {
    let field_selector = Some(format!("type={KIND}"));
    context.informers.scoped(Scope { field_selector, ..Default::default() })
}

async fn run(context: Context) -> anyhow::Result<()> {
    let Some(pem) = &context.config.service_account_key else {
        tracing::info!("no private key given: no tokens are made");
        return Ok(());
    };
    let signing = SigningKey::from_pem(pem.as_bytes())?;
    let (accounts, secrets) = (context.informers.of(), secrets(&context));
    let (workers, cancel) = (context.config.concurrent_serviceaccount_token_syncs, context.cancel.clone());
    let client = context.client.clone();
    let shell = Arc::new(Shell { context, client, signing, accounts, secrets, queue: Queue::new() });
    let s = shell.clone();
    shell.accounts.on_change(move |change| {
        let meta = &change.object().metadata;
        // A living account asks for nothing.
        if matches!(change, Change::Deleted(_)) {
            s.queue.add(Work::Account(Key::of(meta), key::uid(meta).to_owned()));
        }
    });
    let s = shell.clone();
    shell.secrets.on_change(move |change| {
        let secret = change.object();
        if let Some(account) = sync::account_of(secret) {
            let meta = &secret.metadata;
            s.queue.add(Work::Secret(Key::of(meta), key::uid(meta).to_owned(), account));
        }
    });
    shell.accounts.synced().await;
    shell.secrets.synced().await;
    let queue = &shell.queue;
    run_workers(shell.context.name, queue, workers, cancel, |work: Work| {
        let shell = &shell;
        async move {
            match shell.reconcile(&work).await {
                Err(error) if queue.num_requeues(&work) >= TRIES => {
                    tracing::warn!(?work, %error, "given up");
                    Ok(())
                }
                outcome => outcome,
            }
        }
    })
    .await;
    Ok(())
}

impl Shell {
    async fn reconcile(&self, work: &Work) -> anyhow::Result<()> {
        match work {
            Work::Account(key, uid) => {
                let now = self.accounts.get(Some(&key.namespace), &key.name);
                if now.is_some_and(|now| key::uid(&now.metadata) == uid) {
                    return Ok(());
                }
                let gone = sync::Account { name: key.name.clone(), uid: uid.clone() };
                for secret in self.secrets.list_namespace(&key.namespace) {
                    if sync::account_of(&secret).is_some_and(|named| named.may_be(&gone)) {
                        self.delete(&Key::of(&secret.metadata), key::uid(&secret.metadata)).await?;
                    }
                }
                Ok(())
            }
            Work::Secret(key, uid, named) => {
                let cached = self.secrets.get(Some(&key.namespace), &key.name);
                let Some(cached) = cached.filter(|s| key::uid(&s.metadata) == uid) else {
                    return self.forget(key, named).await;
                };
                match self.account(&key.namespace, named).await? {
                    None => self.delete(key, uid).await,
                    Some(account) => self.fill(key, &account, &cached).await,
                }
            }
        }
    }

    /// The account, also where the informer has not seen it yet.
    async fn account(&self, namespace: &str, named: &sync::Account) -> kube::Result<Option<ServiceAccount>> {
        let is = |account: &ServiceAccount| named.uid.is_empty() || key::uid(&account.metadata) == named.uid;
        if let Some(account) = self.accounts.get(Some(namespace), &named.name).filter(|a| is(a)) {
            return Ok(Some((*account).clone()));
        }
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        match api.get(&named.name).await {
            Ok(account) => Ok(Some(account).filter(|a| is(a))),
            Err(e) if client::is_not_found(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    async fn delete(&self, key: &Key, uid: &str) -> anyhow::Result<()> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &key.namespace);
        let preconditions = Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None });
        match api.delete(&key.name, &DeleteParams { preconditions, ..Default::default() }).await {
            Err(e) if !client::is_not_found(&e) && !client::is_conflict(&e) => Err(e.into()),
            _ => Ok(()),
        }
    }

    /// Puts into a Secret what it lacks.
    async fn fill(&self, key: &Key, account: &ServiceAccount, cached: &Secret) -> anyhow::Result<()> {
        let ca = self.context.config.root_ca.as_deref();
        if sync::sync(cached, account, ca) == Next::Nothing {
            return Ok(());
        }
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &key.namespace);
        let live = match api.get(&key.name).await {
            Err(e) if client::is_not_found(&e) => return Ok(()),
            live => live?,
        };
        // What changed meanwhile will be told.
        if live.metadata.resource_version != cached.metadata.resource_version {
            return Ok(());
        }
        let Next::Fill(mut secret, claims) = sync::sync(&live, account, ca) else { return Ok(()) };
        if let Some(claims) = claims {
            sync::set_token(&mut secret, jwt::sign(&self.signing, &claims)?);
        }
        match api.replace(&key.name, &PostParams::default(), &secret).await {
            Err(e) if !client::is_not_found(&e) && !client::is_conflict(&e) => Err(e.into()),
            _ => Ok(()),
        }
    }

    /// Takes a Secret that is gone from the account that names it.
    async fn forget(&self, key: &Key, named: &sync::Account) -> anyhow::Result<()> {
        let known = self.accounts.get(Some(&key.namespace), &named.name);
        let is = |account: &ServiceAccount| named.uid.is_empty() || key::uid(&account.metadata) == named.uid;
        if !known.is_some_and(|account| is(&account) && sync::without(&account, &key.name).is_some()) {
            return Ok(());
        }
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &key.namespace);
        let live = match api.get(&named.name).await {
            Err(e) if client::is_not_found(&e) => return Ok(()),
            live => live?,
        };
        let Some(changed) = sync::without(&live, &key.name).filter(|_| is(&live)) else { return Ok(()) };
        match api.replace(&named.name, &PostParams::default(), &changed).await {
            Err(e) if !client::is_not_found(&e) => Err(e.into()),
            _ => Ok(()),
        }
    }
}
