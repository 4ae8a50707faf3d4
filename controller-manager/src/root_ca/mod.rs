//! The root CA publisher: `kube-root-ca.crt` in every namespace, with which pods verify the API server.
//!
//! Upstream: `pkg/controller/certificates/rootcacertpublisher`. Without a CA to publish it does not run.

use std::time::Instant;

use client::{Change, Informer, Scope};
use controller::{Queue, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::{
    api::core::v1::{ConfigMap, Namespace},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, api::PostParams};

use crate::{
    context::Context,
    metrics,
    util::{key, namespaces},
};

const NAME: &str = "kube-root-ca.crt";
const ANNOTATION: &str = "kubernetes.io/description";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
    endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
    distributions of Kubernetes clusters.";

/// Runs the publisher.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

async fn run(context: Context) -> anyhow::Result<()> {
    let Some(ca) = &context.config.root_ca else {
        tracing::info!("no root CA given: {NAME} is not published");
        return Ok(());
    };
    let namespaces: Informer<Namespace> = context.informers.of();
    // Only these: all the ConfigMaps of a cluster are many.
    let field_selector = Some(format!("metadata.name={NAME}"));
    let maps: Informer<ConfigMap> = context.informers.scoped(Scope { field_selector, ..Default::default() });
    let queue: Queue<String> = Queue::new();
    let wake = queue.clone();
    namespaces.on_change(move |change| {
        if !matches!(change, Change::Deleted(_)) {
            wake.add(key::name(&change.object().metadata).to_owned());
        }
    });
    let wake = queue.clone();
    maps.on_change(move |change| {
        if !matches!(change, Change::Added(_)) {
            wake.add(key::namespace(&change.object().metadata).to_owned());
        }
    });
    namespaces.synced().await;
    maps.synced().await;
    let (namespaces, maps, client) = (&namespaces, &maps, &context.client);
    run_workers(context.name, &queue, 1, context.cancel.clone(), |namespace: String| async move {
        if !namespaces.get(None, &namespace).is_some_and(|n| namespaces::is_active(&n)) {
            return Ok(());
        }
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
        let begun = Instant::now();
        let outcome = match maps.get(Some(&namespace), NAME) {
            None => namespaces::unless_going(api.create(&PostParams::default(), &wanted(None, ca)).await),
            Some(current) => match wanted(Some(&current), ca) {
                wanted if wanted == *current => Ok(()),
                wanted => api.replace(NAME, &PostParams::default(), &wanted).await.map(drop).map_err(Into::into),
            },
        };
        let code = match outcome.as_ref().map_err(anyhow::Error::downcast_ref::<kube::Error>) {
            Ok(()) => 200,
            Err(Some(kube::Error::Api(status))) => status.code,
            Err(_) => 500,
        };
        let code = code.to_string();
        metrics::ROOT_CA_SYNCS.with(&[&code]).add(1);
        metrics::ROOT_CA_SECONDS.with(&[&code]).observe(begun.elapsed().as_secs_f64());
        outcome
    })
    .await;
    Ok(())
}

/// The map as it should be; a description of somebody else's is left alone.
fn wanted(current: Option<&ConfigMap>, ca: &str) -> ConfigMap {
    let mut map = current.cloned().unwrap_or_else(|| ConfigMap {
        metadata: ObjectMeta { name: Some(NAME.into()), ..Default::default() },
        ..Default::default()
    });
    let same = map.data.as_ref().is_some_and(|d| d.len() == 1 && d.get("ca.crt").is_some_and(|c| c == ca));
    map.data = Some([("ca.crt".to_owned(), ca.to_owned())].into());
    let description = map.metadata.annotations.get_or_insert_default().entry(ANNOTATION.into()).or_default();
    if !same || description.is_empty() {
        *description = DESCRIPTION.into();
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_changed_is_put_right() {
        let made = wanted(None, "CA");
        assert_eq!(wanted(Some(&made), "CA"), made);
        let mut changed = made.clone();
        changed.data = Some([("ca.crt".to_owned(), "evil".to_owned()), ("more".to_owned(), String::new())].into());
        assert_eq!(wanted(Some(&changed), "CA"), made);
        let mut described = made.clone();
        described.metadata.annotations = Some([(ANNOTATION.to_owned(), "mine".to_owned())].into());
        assert_eq!(wanted(Some(&described), "CA"), described);
    }
}
