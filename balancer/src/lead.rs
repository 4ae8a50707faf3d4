//! One process of the cluster gives out addresses: the one that holds the Lease.

use std::sync::Arc;

use client::Informers;
use cloud::services::{Figures, Parts};
use component::Supervisor;
use component::metrics::{Counter, Histogram};
use controller::leader_election::{self, Election, Outcome};
use controller::{Recorder, key};
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::ListParams;
use tokio_util::sync::CancellationToken;

use crate::COMPONENT;
use crate::config::Config;
use crate::provider::Provider;

/// Services that are worked on at once: each is a write or two.
const WORKERS: usize = 5;
/// How long a list of all Services takes at most in one answer.
const PAGE: u32 = 500;

/// Waits for the Lease, and gives out addresses until stopped.
///
/// # Errors
/// The Lease is another's now, or the server did not say what there is: to be begun again.
pub async fn run(config: Config, client: kube::Client, informers: Informers, tasks: Supervisor) -> anyhow::Result<()> {
    let identity = format!("{}_{:016x}", config.node_name, rand::random::<u64>());
    let recorder = Recorder::new(client.clone(), COMPONENT, "", &tasks);
    let (told, asked) = (recorder.clone(), client.clone());
    let mut outcome = Ok(());
    let lead = async |leading: CancellationToken| {
        outcome = serve(config, asked, informers, told, leading).await;
    };
    let election = Election::new(COMPONENT, identity);
    let ended = leader_election::run(election, client, recorder, tasks.token(), lead).await;
    outcome?;
    anyhow::ensure!(ended == Outcome::Cancelled, "the Lease {COMPONENT} is another's now");
    Ok(())
}

async fn serve(
    config: Config,
    client: kube::Client,
    informers: Informers,
    recorder: Recorder,
    leading: CancellationToken,
) -> anyhow::Result<()> {
    // Informers may not have yet what the leader before wrote last.
    let Some(seen) = leading.run_until_cancelled(all_services(client.clone())).await else { return Ok(()) };
    let provider = Provider::start(config.class, config.pool, &informers, &seen?);
    let figures = Figures {
        syncs: Arc::new(Counter::default()),
        node_errors: Arc::new(Counter::default()),
        node_seconds: Arc::new(Histogram::new(&[])),
        seconds: Arc::new(Histogram::new(&[])),
    };
    let parts = Parts {
        name: "service-lb-controller",
        cluster_name: config.cluster_name,
        workers: WORKERS,
        client,
        informers,
        recorder,
        balancers: provider,
        figures,
    };
    cloud::services::run(parts, leading).await;
    Ok(())
}

async fn all_services(client: kube::Client) -> anyhow::Result<Vec<Service>> {
    let api: Api<Service> = Api::all(client);
    let (mut all, mut page) = (Vec::new(), ListParams::default().limit(PAGE));
    loop {
        let found = api.list(&page).await?;
        // Whatever else is in them is not kept.
        all.extend(found.items.into_iter().filter(|service| !key::uid(&service.metadata).is_empty()));
        match found.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(all),
        }
    }
}
