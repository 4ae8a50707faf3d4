//! The controllers: one folder each, a pure `sync` and a shell around it.
//!
//! What it knows: the API, as a client of it, and what each controller makes of it. What it must **not** know: storage,
//! the other components, how the API server works.
//!
//! All controllers share one set of informers under the manager's identity; each writes under its own. Each is a
//! restarting task: one that panics or fails to start is run again after a back-off, and the others go on.

mod attachdetach;
mod bootstrap;
mod catalogue;
mod certificates;
mod cloudnodes;
mod clusterrole_aggregation;
mod context;
mod cronjob;
mod daemonset;
mod deployment;
mod devicetainteviction;
mod disruption;
mod endpoint;
mod endpointslice;
mod endpointslicemirroring;
mod ephemeralvolume;
mod expand;
mod garbage_collector;
mod identity;
mod job;
mod joining;
mod local_volumes;
mod metrics;
mod namespace;
mod nodeipam;
mod nodelifecycle;
mod noderoutes;
mod options;
mod persistentvolume;
mod podautoscaler;
mod podgc;
mod policystatus;
mod pvcprotection;
mod pvprotection;
mod replicaset;
mod resourceclaim;
mod resourcequota;
mod root_ca;
mod selinux_warning;
mod serviceaccount;
mod serviceaccount_token;
mod servicecidrs;
mod servicelb;
pub mod serving;
mod statefulset;
mod tainteviction;
mod ttl;
mod ttlafterfinished;
mod util;
mod vacprotection;

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use client::{Informers, delegated::Port};
use component::Supervisor;
use controller::{
    Recorder,
    leader_election::{self, Election, Outcome},
};
use kube::Client;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

pub use ::cloud;
use catalogue::Entry;
use context::Context;
pub use context::{Autoscaling, ClientFor, Config, Signing, read_root_ca};
pub use nodeipam::{Ranges as NodeRanges, Sizes as NodeRangeSizes};

/// The program that upstream has for us: what the server notes as the manager of the fields that controllers write.
pub const COMPONENT: &str = "kube-controller-manager";

/// Runs the controllers until cancelled, and returns when all of them have finished what they had in hand.
///
/// # Errors
/// `config` names a controller that does not exist.
pub async fn run(config: Config, client: Client, cancel: CancellationToken) -> anyhow::Result<()> {
    let selected = catalogue::selected(&config)?;
    let stop = cancel.child_token();
    let _ended = stop.clone().drop_guard();
    let tasks = Supervisor::under(&stop);
    let informers = Informers::new(client.clone(), &tasks);
    let manager = Manager { config: Arc::new(config), informers, client };
    selected.into_iter().for_each(|entry| manager.start(entry, &tasks));
    tasks.finish().await
}

/// What all controllers share.
#[derive(Clone)]
struct Manager {
    config: Arc<Config>,
    informers: Informers,
    client: Client,
}

impl Manager {
    fn start(&self, entry: &'static Entry, tasks: &Supervisor) {
        // A controller that runs again is who it was before.
        let (manager, own) = (self.clone(), Arc::new(OnceCell::new()));
        tasks.restarting(("controller", entry.name), move |run| manager.clone().run_once(entry, own.clone(), run));
    }

    async fn run_once(self, entry: &'static Entry, own: Arc<OnceCell<Client>>, run: Supervisor) -> anyhow::Result<()> {
        let Self { config, informers, client: manager } = self;
        let make = || async {
            match &config.client_for {
                Some(client_for) if !entry.service_account.is_empty() => client_for(entry.service_account).await,
                _ => Ok(manager),
            }
        };
        let Some(client) = run.until_stopped(own.get_or_try_init(make)).await.transpose()?.cloned() else {
            return Ok(());
        };
        let (name, informers) = (entry.name, informers.owned_by(entry.name, &run));
        let recorder = Recorder::new(client.clone(), entry.event_source(), "", &run);
        let cancel = run.token();
        (entry.start)(Context { name, config, informers, client, recorder, tasks: run, cancel }).await
    }
}

/// `ferry controller-manager`: a process of its own, with upstream's flags.
///
/// # Errors
/// Wrong flags, an unusable kubeconfig, or leadership lost.
pub async fn main(argv: Vec<String>) -> anyhow::Result<()> {
    let options: options::Options = component::flags::parse("controller-manager", &argv, options::UNSUPPORTED)?;
    component::init_logging(options.v);
    let tasks = component::supervised();
    let mut config = options.config()?;
    let kubeconfig = options.kubeconfig.clone().context("--kubeconfig is required")?;
    let client = client::from_kubeconfig(&kubeconfig, &client::user_agent(COMPONENT, COMPONENT))?;
    if options.use_service_account_credentials {
        let (manager, tasks) = (client.clone(), tasks.clone());
        config.client_for = Some(Arc::new(move |account| {
            Box::pin(identity::client_for(manager.clone(), kubeconfig.clone(), account, tasks.clone()))
        }));
    }
    if options.secure_port != 0 {
        let address = SocketAddr::new(options.bind_address, options.secure_port);
        let certificate = (options.tls_cert_file.as_deref(), options.tls_private_key_file.as_deref());
        let user_agent = client::user_agent(COMPONENT, COMPONENT);
        let port = Port::of_flags(&options.delegated, address, certificate, COMPONENT, &user_agent).await?;
        serving::serve(port, &config, &tasks).await?;
    }
    tasks.vital("controllers", move |own| lead(options, config, client, own));
    tasks.finish().await
}

/// Runs the controllers: at once, or as long as this process is the leader.
async fn lead(options: options::Options, config: Config, client: Client, own: Supervisor) -> anyhow::Result<()> {
    if !options.leader_elect {
        return run(config, client, own.token()).await;
    }
    let host = hostname();
    let mut election =
        Election::new(&options.leader_elect_resource_name, format!("{host}_{:016x}", rand::random::<u64>()));
    election.namespace = options.leader_elect_resource_namespace.clone();
    election.lease_duration = options.leader_elect_lease_duration;
    election.renew_deadline = options.leader_elect_renew_deadline;
    election.retry_period = options.leader_elect_retry_period;
    let mut result = Ok(());
    let recorder = Recorder::new(client.clone(), COMPONENT, "", &own);
    let outcome = leader_election::run(election, client.clone(), recorder, own.token(), |leading| async {
        result = run(config, client, leading).await;
    })
    .await;
    anyhow::ensure!(outcome != Outcome::Lost, "leaderelection lost");
    result
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map(|h| h.trim().to_owned()).unwrap_or_else(|_| "ferry".into())
}

#[cfg(test)]
mod tests;
