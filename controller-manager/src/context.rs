//! What a controller is given: shared informers, a client under its own identity, a recorder, the end.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use client::Informers;
use component::Supervisor;
use controller::Recorder;
use futures::future::BoxFuture;
use kube::Client;
use tokio_util::sync::CancellationToken;

use crate::certificates::SIGNERS;

/// Makes the client of one controller: it gets the name of a service account in kube-system.
pub type ClientFor = Arc<dyn Fn(&'static str) -> BoxFuture<'static, anyhow::Result<Client>> + Send + Sync>;

/// What signs certificates, and for how long.
#[derive(Clone)]
pub struct Signing {
    /// The certificate and the key of each signer, by the signer's name; those without sign nothing.
    pub files: BTreeMap<&'static str, (PathBuf, PathBuf)>,
    /// The longest that a certificate is valid.
    pub duration: Duration,
}

impl Default for Signing {
    fn default() -> Self {
        Self { files: BTreeMap::new(), duration: Duration::from_secs(365 * 24 * 3600) }
    }
}

impl Signing {
    /// All signers sign with the same.
    pub fn with(cert: PathBuf, key: PathBuf) -> Self {
        let files = SIGNERS.iter().map(|(signer, _)| (*signer, (cert.clone(), key.clone()))).collect();
        Self { files, ..Self::default() }
    }
}

/// What can be chosen about the controllers, in upstream's terms; the defaults are upstream's.
#[derive(Clone)]
pub struct Config {
    /// As `--controllers`: `*`, names, and `-name` for all but that.
    pub controllers: Vec<String>,
    /// Clients of the controllers' own identities. None: all use the manager's.
    pub client_for: Option<ClientFor>,
    /// The CA that pods get to verify the API server with (PEM); none: the publisher does not run.
    pub root_ca: Option<String>,
    /// The key that signs tokens in Secrets (PEM); none: no such tokens are made.
    pub service_account_key: Option<String>,
    /// How certificate signing requests are signed.
    pub signing: Signing,
    /// Workers of the deployment controller.
    pub concurrent_deployment_syncs: usize,
    /// Workers of the DaemonSet controller.
    pub concurrent_daemonset_syncs: usize,
    /// Workers of the StatefulSet controller.
    pub concurrent_statefulset_syncs: usize,
    /// Workers of the ReplicaSet controller.
    pub concurrent_replicaset_syncs: usize,
    /// Workers of the ReplicationController controller.
    pub concurrent_rc_syncs: usize,
    /// Workers of the ResourceQuota controller, for quotas that have figures and for those that have none each.
    pub concurrent_resource_quota_syncs: usize,
    /// How often all quotas are counted again; zero: never.
    pub resource_quota_sync_period: Duration,
    /// Workers of the controller of tokens in Secrets.
    pub concurrent_serviceaccount_token_syncs: usize,
    /// For how long a token in a Secret that was made by itself may be unused.
    pub legacy_service_account_token_clean_up_period: Duration,
    /// Workers of the EndpointSlice controller.
    pub concurrent_service_endpoint_syncs: usize,
    /// Workers of the EndpointSlice mirroring controller.
    pub mirroring_concurrent_service_endpoint_syncs: usize,
    /// How long changes of mirrored slices are waited for, so that several are one.
    pub mirroring_endpointslice_updates_batch_period: Duration,
    /// Most addresses of a subset of Endpoints that are mirrored.
    pub mirroring_max_endpoints_per_subset: usize,
    /// Workers of the endpoints controller.
    pub concurrent_endpoint_syncs: usize,
    /// Workers of the job controller.
    pub concurrent_job_syncs: usize,
    /// Workers of the CronJob controller.
    pub concurrent_cron_job_syncs: usize,
    /// Workers of the TTL-after-finished controller.
    pub concurrent_ttl_syncs: usize,
    /// Workers of the namespace controller.
    pub concurrent_namespace_syncs: usize,
    /// Workers of the garbage collector.
    pub concurrent_gc_syncs: usize,
    /// Most endpoints in one slice.
    pub max_endpoints_per_slice: usize,
    /// Finished pods that may stay around.
    pub terminated_pod_gc_threshold: usize,
    /// How long a node may be silent before it is Unknown.
    pub node_monitor_grace_period: Duration,
    /// How long a new node may take to speak at all.
    pub node_startup_grace_period: Duration,
    /// How often silent nodes are looked for.
    pub node_monitor_period: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            controllers: vec!["*".into()],
            client_for: None,
            root_ca: None,
            service_account_key: None,
            signing: Signing::default(),
            concurrent_serviceaccount_token_syncs: 5,
            legacy_service_account_token_clean_up_period: Duration::from_secs(365 * 24 * 3600),
            concurrent_deployment_syncs: 5,
            concurrent_daemonset_syncs: 2,
            concurrent_statefulset_syncs: 5,
            concurrent_replicaset_syncs: 5,
            concurrent_rc_syncs: 5,
            concurrent_resource_quota_syncs: 5,
            resource_quota_sync_period: Duration::from_secs(300),
            concurrent_service_endpoint_syncs: 5,
            mirroring_concurrent_service_endpoint_syncs: 5,
            mirroring_endpointslice_updates_batch_period: Duration::ZERO,
            mirroring_max_endpoints_per_subset: 1000,
            concurrent_endpoint_syncs: 5,
            concurrent_job_syncs: 5,
            concurrent_cron_job_syncs: 5,
            concurrent_ttl_syncs: 5,
            concurrent_namespace_syncs: 10,
            concurrent_gc_syncs: 20,
            max_endpoints_per_slice: 100,
            terminated_pod_gc_threshold: 12500,
            node_monitor_grace_period: Duration::from_secs(50),
            node_startup_grace_period: Duration::from_secs(60),
            node_monitor_period: Duration::from_secs(5),
        }
    }
}

/// Reads the root CA from a file.
///
/// # Errors
/// The file can't be read or holds no certificate.
pub fn read_root_ca(path: &PathBuf) -> anyhow::Result<String> {
    let pem =
        std::fs::read_to_string(path).with_context(|| format!("error reading root-ca-file at {}", path.display()))?;
    component::tls::certificates(pem.as_bytes())
        .with_context(|| format!("error parsing root-ca-file at {}", path.display()))?;
    Ok(pem)
}

/// The surroundings of one run of a controller.
#[derive(Clone)]
pub(crate) struct Context {
    /// As the catalogue has it.
    pub(crate) name: &'static str,
    pub(crate) config: Arc<Config>,
    /// Shared by all controllers, under the manager's identity. Handlers are dropped at the end of this run.
    pub(crate) informers: Informers,
    /// Under the controller's own identity: for everything that is written.
    pub(crate) client: Client,
    pub(crate) recorder: Recorder,
    /// Owner of what this run starts.
    pub(crate) tasks: Supervisor,
    /// Cancelled when this run has to end.
    pub(crate) cancel: CancellationToken,
}
