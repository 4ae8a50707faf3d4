//! Service accounts: each namespace has one called `default`, which pods use that name none.
//!
//! Upstream: `pkg/controller/serviceaccount`.

use std::sync::Arc;

use client::{Change, Informer};
use controller::{Queue, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::{
    api::core::v1::{Namespace, ServiceAccount},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, api::PostParams};

use crate::{
    context::Context,
    util::{key, namespaces},
};

const NAME: &str = "default";

/// Runs the service account controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

async fn run(context: Context) -> anyhow::Result<()> {
    let namespaces: Informer<Namespace> = context.informers.of();
    let accounts: Informer<ServiceAccount> = context.informers.of();
    let queue: Queue<String> = Queue::new();
    let wake = queue.clone();
    namespaces.on_change(move |change| {
        if !matches!(change, Change::Deleted(_)) {
            wake.add(key::name(&change.object().metadata).to_owned());
        }
    });
    let wake = queue.clone();
    accounts.on_change(move |change| {
        if let Change::Deleted(account) = change
            && key::name(&account.metadata) == NAME
        {
            wake.add(key::namespace(&account.metadata).to_owned());
        }
    });
    namespaces.synced().await;
    accounts.synced().await;
    let (namespaces, accounts, client) = (&Arc::new(namespaces), &Arc::new(accounts), &context.client);
    run_workers(context.name, &queue, 1, context.cancel.clone(), |namespace: String| async move {
        let active = namespaces.get(None, &namespace).is_some_and(|n| namespaces::is_active(&n));
        if !active || accounts.get(Some(&namespace), NAME).is_some() {
            return Ok(());
        }
        let metadata = ObjectMeta { name: Some(NAME.into()), ..Default::default() };
        let account = ServiceAccount { metadata, ..Default::default() };
        let made = Api::namespaced(client.clone(), &namespace).create(&PostParams::default(), &account).await;
        namespaces::unless_going(made)
    })
    .await;
    Ok(())
}
