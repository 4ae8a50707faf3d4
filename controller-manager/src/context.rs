//! What a controller is given: shared informers, a client under its own identity, a recorder, the end.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use client::Informers;
use component::{Supervisor, feature_gates::FeatureGates};
use controller::Recorder;
use futures::future::BoxFuture;
use kube::Client;
use tokio_util::sync::CancellationToken;

use crate::{certificates::SIGNERS, cloud::Cloud, nodeipam::Ranges};

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

/// Makes of one table how autoscalers work, and upstream's flags for it: lengths in seconds, and how the flag has them by
/// default.
macro_rules! autoscaling {
    ($($(#[$meta:meta])* $length:ident = $flag:literal $seconds:literal;)*) => {
        /// How autoscalers work where they do not say so themselves.
        #[derive(clap::Args, Clone, Debug, PartialEq)]
        pub struct Autoscaling {
            $(
                $(#[$meta])*
                #[arg(long = $flag, value_parser = machinery::duration::length, default_value = concat!($seconds, "s"))]
                pub $length: Duration,
            )*
            /// By which part the usage may differ from the target without anything being done.
            #[arg(long = "horizontal-pod-autoscaler-tolerance", default_value_t = TOLERANCE)]
            pub tolerance: f64,
        }

        impl Default for Autoscaling {
            fn default() -> Self {
                Self { $($length: Duration::from_secs($seconds),)* tolerance: TOLERANCE }
            }
        }
    };
}

/// A tenth of what is wanted, as upstream.
const TOLERANCE: f64 = 0.1;

autoscaling! {
    /// Between two turns of one autoscaler.
    sync_period = "horizontal-pod-autoscaler-sync-period" 15;
    /// How far back the largest recommendation is looked for before there are fewer pods.
    downscale_stabilization = "horizontal-pod-autoscaler-downscale-stabilization" 300;
    /// How long after a pod's start its processor time may be skipped.
    cpu_initialization_period = "horizontal-pod-autoscaler-cpu-initialization-period" 300;
    /// How long after a pod's start it is taken for one that was never ready.
    initial_readiness_delay = "horizontal-pod-autoscaler-initial-readiness-delay" 30;
}

/// Makes of one table what is chosen about the controllers, and upstream's flags for it: counts, lengths in
/// seconds, rates, switches.
macro_rules! settings {
    (
        counts { $($(#[$of_count:meta])* $count:ident = $usual:literal;)* }
        lengths { $($(#[$of_length:meta])* $length:ident = $seconds:literal;)* }
        rates { $($(#[$of_rate:meta])* $rate:ident = $number:literal;)* }
        switches { $($(#[$of_switch:meta])* $switch:ident = $on:literal;)* }
    ) => {
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
            /// Where nodes' ranges of pods' addresses come from; none: they get none.
            pub node_ranges: Option<Ranges>,
            /// The cloud that the cluster is in, if a program brings one along.
            pub cloud: Option<Arc<dyn Cloud>>,
            /// What the cloud calls the cluster.
            pub cluster_name: String,
            /// Features that are switched.
            pub feature_gates: FeatureGates,
            /// How autoscalers work.
            pub horizontal_pod_autoscaler: Autoscaling,
            $($(#[$of_count])* pub $count: usize,)*
            $($(#[$of_length])* pub $length: Duration,)*
            $($(#[$of_rate])* pub $rate: f64,)*
            $($(#[$of_switch])* pub $switch: bool,)*
        }

        impl Default for Config {
            fn default() -> Self {
                Self {
                    controllers: vec!["*".into()],
                    client_for: None,
                    root_ca: None,
                    service_account_key: None,
                    signing: Signing::default(),
                    node_ranges: None,
                    cloud: None,
                    cluster_name: "kubernetes".into(),
                    feature_gates: FeatureGates::default(),
                    horizontal_pod_autoscaler: Autoscaling::default(),
                    $($count: $usual,)*
                    $($length: Duration::from_secs($seconds),)*
                    $($rate: $number,)*
                    $($switch: $on,)*
                }
            }
        }

        /// The flags of what is a count, a length, a rate or a switch.
        #[derive(clap::Args, Debug)]
        pub(crate) struct Settings {
            $($(#[$of_count])* #[arg(long, default_value_t = $usual)] $count: usize,)*
            $(
                $(#[$of_length])*
                #[arg(long, value_parser = machinery::duration::length, default_value = concat!($seconds, "s"))]
                $length: Duration,
            )*
            $($(#[$of_rate])* #[arg(long, default_value_t = $number)] $rate: f64,)*
            $($(#[$of_switch])* #[arg(long, default_value_t = $on)] $switch: bool,)*
        }

        impl Settings {
            /// The configuration with what the flags say.
            pub(crate) fn put(&self, config: Config) -> Config {
                Config { $($count: self.$count,)* $($length: self.$length,)* $($rate: self.$rate,)* $($switch: self.$switch,)* ..config }
            }
        }
    };
}

settings! {
    counts {
        /// Workers of the deployment controller.
        concurrent_deployment_syncs = 5;
        /// Workers of the controller that evicts pods from tainted devices.
        concurrent_device_taint_eviction_syncs = 8;
        /// Workers of the DaemonSet controller.
        concurrent_daemonset_syncs = 2;
        /// Workers of the StatefulSet controller.
        concurrent_statefulset_syncs = 5;
        /// Workers of the ReplicaSet controller.
        concurrent_replicaset_syncs = 5;
        /// Workers of the ReplicationController controller.
        concurrent_rc_syncs = 5;
        /// Workers of the ResourceClaim controller.
        concurrent_resourceclaim_syncs = 50;
        /// Workers of the ResourceQuota controller, for quotas that have figures and for those that have none each.
        concurrent_resource_quota_syncs = 5;
        /// Workers of the controller of tokens in Secrets.
        concurrent_serviceaccount_token_syncs = 5;
        /// Workers of the controller of ephemeral volumes.
        concurrent_ephemeralvolume_syncs = 5;
        /// Workers of the EndpointSlice controller.
        concurrent_service_endpoint_syncs = 5;
        /// Workers of the EndpointSlice mirroring controller.
        mirroring_concurrent_service_endpoint_syncs = 5;
        /// Most addresses of a subset of Endpoints that are mirrored.
        mirroring_max_endpoints_per_subset = 1000;
        /// Workers of the controller of a cloud's load balancers.
        concurrent_service_syncs = 1;
        /// Workers of the endpoints controller.
        concurrent_endpoint_syncs = 5;
        /// Workers of the job controller.
        concurrent_job_syncs = 5;
        /// Workers of the CronJob controller.
        concurrent_cron_job_syncs = 5;
        /// Workers of the controller of autoscalers.
        concurrent_horizontal_pod_autoscaler_syncs = 5;
        /// Workers of the TTL-after-finished controller.
        concurrent_ttl_after_finished_syncs = 5;
        /// Workers of the namespace controller.
        concurrent_namespace_syncs = 10;
        /// Workers of the garbage collector.
        concurrent_gc_syncs = 20;
        /// Workers of the controller of the status of ValidatingAdmissionPolicies.
        concurrent_validating_admission_policy_status_syncs = 5;
        /// Most endpoints in one slice.
        max_endpoints_per_slice = 100;
        /// Nodes beyond which a zone is large; in a smaller one that is not well no node's pods are evicted.
        large_cluster_size_threshold = 50;
        /// Finished pods that may stay around.
        terminated_pod_gc_threshold = 12500;
    }
    lengths {
        /// How often all quotas are counted again; zero: never.
        resource_quota_sync_period = 300;
        /// For how long a token in a Secret that was made by itself may be unused.
        legacy_service_account_token_clean_up_period = 31536000;
        /// How long changes of pods are waited for before the EndpointSlices of their Services change.
        endpointslice_updates_batch_period = 0;
        /// How long changes of pods are waited for before the Endpoints of their Services change.
        endpoint_updates_batch_period = 0;
        /// How long changes of mirrored slices are waited for, so that several are one.
        mirroring_endpointslice_updates_batch_period = 0;
        /// How long a node may be silent before it is Unknown.
        node_monitor_grace_period = 50;
        /// How long a new node may take to speak at all.
        node_startup_grace_period = 60;
        /// How often a cloud's routes are looked at.
        route_reconciliation_period = 10;
        /// How often silent nodes are looked for.
        node_monitor_period = 5;
        /// How often claims that are not bound, and volumes that could not be reclaimed, are looked at again.
        pvclaimbinder_sync_period = 15;
        /// How often it is checked whether volumes are still attached.
        attach_detach_reconcile_sync_period = 60;
    }
    rates {
        /// Nodes a second whose pods are evicted in a zone that is well, once they do not answer.
        node_eviction_rate = 0.1;
        /// The same in a large zone that is not well.
        secondary_node_eviction_rate = 0.01;
        /// The share of unready nodes, of three at least, from which on a zone is not well.
        unhealthy_zone_threshold = 0.55;
    }
    switches {
        /// Have provisioners make volumes for claims.
        enable_dynamic_provisioning = true;
        /// Do not check whether volumes are still attached.
        disable_attach_detach_reconcile_sync = false;
        /// Never detach a volume that its node may have mounted, however long the node is silent.
        disable_force_detach_on_timeout = false;
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
