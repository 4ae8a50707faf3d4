//! Services of type LoadBalancer, where the manager was given a cloud that balances load: `cloud::services` does it.

use cloud::services::{Figures, Parts, run};
use futures::future::BoxFuture;

use crate::{context::Context, metrics};

/// Runs the controller, if the cloud has load balancers.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(async move {
        let balancers = context.config.cloud.as_ref().and_then(|cloud| cloud.load_balancers());
        let Some(balancers) = balancers else { return Ok(()) };
        let figures = Figures {
            syncs: metrics::BALANCER_SYNCS.with(&[]),
            node_errors: metrics::BALANCER_NODE_ERRORS.with(&[]),
            node_seconds: metrics::BALANCER_NODE_SECONDS.with(&[]),
            seconds: metrics::BALANCER_SECONDS.with(&[]),
        };
        let parts = Parts {
            name: context.name,
            cluster_name: context.config.cluster_name.clone(),
            workers: context.config.concurrent_service_syncs,
            client: context.client,
            informers: context.informers,
            recorder: context.recorder,
            balancers,
            figures,
        };
        run(parts, context.cancel).await;
        Ok(())
    })
}
