//! Finished jobs go when their time to live is over.
//!
//! Upstream: `pkg/controller/ttlafterfinished`. What is deleted is read again from the server before: its time to live may
//! have been changed.

mod sync;

use client::{Change, Informer};
use controller::{Queue, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::{api::batch::v1::Job, jiff::Timestamp};
use kube::{
    Api, Resource,
    api::{DeleteParams, Preconditions},
};

use crate::{context::Context, metrics, util::key::Key};
use sync::Life;

/// Runs the TTL-after-finished controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

async fn run(context: Context) -> anyhow::Result<()> {
    let jobs: Informer<Job> = context.informers.of();
    let queue: Queue<Key> = Queue::new();
    let wake = queue.clone();
    jobs.on_change(move |change| {
        let job = change.object();
        if !matches!(change, Change::Deleted(_)) && sync::is_mortal(job) {
            wake.add(Key::of(job.meta()));
        }
    });
    jobs.synced().await;
    let (jobs, queue, client) = (&jobs, &queue, &context.client);
    let workers = context.config.concurrent_ttl_after_finished_syncs;
    run_workers(context.name, queue, workers, context.cancel.clone(), |key: Key| async move {
        let Some(job) = jobs.get(Some(&key.namespace), &key.name) else { return Ok(()) };
        if !is_over(queue, &key, &job)? {
            return Ok(());
        }
        let api: Api<Job> = Api::namespaced(client.clone(), &key.namespace);
        let Some(job) = api.get_opt(&key.name).await? else { return Ok(()) };
        if !is_over(queue, &key, &job)? {
            return Ok(());
        }
        let late = sync::end(&job).map(|end| Timestamp::now().duration_since(end).as_secs_f64());
        let uid = Some(Preconditions { uid: job.metadata.uid, resource_version: None });
        api.delete(&key.name, &DeleteParams { preconditions: uid, ..DeleteParams::foreground() }).await?;
        metrics::TTL_SECONDS.with(&[]).observe(late.unwrap_or_default());
        Ok(())
    })
    .await;
    Ok(())
}

/// Whether the job has to go; if it has to later, it is looked at then.
fn is_over(queue: &Queue<Key>, key: &Key, job: &Job) -> anyhow::Result<bool> {
    match sync::life(job, Timestamp::now()).map_err(anyhow::Error::msg)? {
        Life::Over => return Ok(true),
        Life::Left(time) => queue.add_after(key.clone(), time),
        Life::Endless => {}
    }
    Ok(false)
}
