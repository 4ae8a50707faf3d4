//! Upstream's flags of kube-controller-manager: those that do something here, and what becomes of the others.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use component::flags::{Refuse, Unsupported, Warn};

use crate::{
    catalogue::DEVICE_TAINTS,
    certificates::{SIGNERS, authority},
    context::{Autoscaling, Config, Settings, Signing},
    nodeipam::{Ranges, Sizes},
    podautoscaler::TOLERANCE,
    serving,
};

/// The controllers, with the flags of kube-controller-manager.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Kubeconfig of the manager (system:kube-controller-manager).
    #[arg(long)]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Which controllers to run: `*`, `name`, `-name`.
    #[arg(long, value_delimiter = ',', default_value = "*")]
    pub(crate) controllers: Vec<String>,
    /// Give each controller an identity of its own.
    #[arg(long)]
    pub(crate) use_service_account_credentials: bool,
    /// Run only while holding the lease.
    #[arg(long, default_value_t = true)]
    pub(crate) leader_elect: bool,
    #[arg(long, value_parser = machinery::duration::length, default_value = "15s")]
    pub(crate) leader_elect_lease_duration: Duration,
    #[arg(long, value_parser = machinery::duration::length, default_value = "10s")]
    pub(crate) leader_elect_renew_deadline: Duration,
    #[arg(long, value_parser = machinery::duration::length, default_value = "2s")]
    pub(crate) leader_elect_retry_period: Duration,
    #[arg(long, default_value = "kube-controller-manager")]
    pub(crate) leader_elect_resource_name: String,
    #[arg(long, default_value = "kube-system")]
    pub(crate) leader_elect_resource_namespace: String,
    /// CA that goes into every namespace's kube-root-ca.crt.
    #[arg(long)]
    pub(crate) root_ca_file: Option<PathBuf>,
    /// Key that signs tokens in Secrets.
    #[arg(long)]
    pub(crate) service_account_private_key_file: Option<PathBuf>,
    /// CA that signs certificates for all signers.
    #[arg(long)]
    pub(crate) cluster_signing_cert_file: Option<PathBuf>,
    /// The key of that CA.
    #[arg(long)]
    pub(crate) cluster_signing_key_file: Option<PathBuf>,
    /// CA that signs for kubernetes.io/kubelet-serving.
    #[arg(long)]
    pub(crate) cluster_signing_kubelet_serving_cert_file: Option<PathBuf>,
    #[arg(long)]
    pub(crate) cluster_signing_kubelet_serving_key_file: Option<PathBuf>,
    /// CA that signs for kubernetes.io/kube-apiserver-client-kubelet.
    #[arg(long)]
    pub(crate) cluster_signing_kubelet_client_cert_file: Option<PathBuf>,
    #[arg(long)]
    pub(crate) cluster_signing_kubelet_client_key_file: Option<PathBuf>,
    /// CA that signs for kubernetes.io/kube-apiserver-client.
    #[arg(long)]
    pub(crate) cluster_signing_kube_apiserver_client_cert_file: Option<PathBuf>,
    #[arg(long)]
    pub(crate) cluster_signing_kube_apiserver_client_key_file: Option<PathBuf>,
    /// CA that signs for kubernetes.io/legacy-unknown.
    #[arg(long)]
    pub(crate) cluster_signing_legacy_unknown_cert_file: Option<PathBuf>,
    #[arg(long)]
    pub(crate) cluster_signing_legacy_unknown_key_file: Option<PathBuf>,
    /// The longest that a certificate is valid.
    #[arg(long, value_parser = machinery::duration::length, default_value = "8760h0m0s")]
    pub(crate) cluster_signing_duration: Duration,
    /// Where /healthz and /metrics are served; 0: nowhere.
    #[arg(long, default_value_t = serving::PORT)]
    pub(crate) secure_port: u16,
    #[arg(long, default_value = "0.0.0.0")]
    pub(crate) bind_address: std::net::IpAddr,
    #[arg(long)]
    pub(crate) tls_cert_file: Option<PathBuf>,
    #[arg(long)]
    pub(crate) tls_private_key_file: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    autoscaling: Autoscaling,
    /// Give each node a range of pods' addresses.
    #[arg(long)]
    pub(crate) allocate_node_cidrs: bool,
    #[arg(long, default_value = "RangeAllocator")]
    pub(crate) cidr_allocator_type: String,
    /// The ranges that pods' addresses come from: one, or one of each IP family.
    #[arg(long, default_value = "")]
    pub(crate) cluster_cidr: String,
    /// The ranges of Services, which no node gets.
    #[arg(long, default_value = "")]
    pub(crate) service_cluster_ip_range: String,
    /// Prefix length of a node's range; 0: 24 of IPv4, 64 of IPv6.
    #[arg(long, default_value_t = 0)]
    pub(crate) node_cidr_mask_size: u8,
    #[arg(long, default_value_t = 0)]
    pub(crate) node_cidr_mask_size_ipv4: u8,
    #[arg(long, default_value_t = 0)]
    pub(crate) node_cidr_mask_size_ipv6: u8,
    /// `external`: a program of the cloud's looks after nodes, routes and load balancers. Nothing else is possible.
    #[arg(long, default_value = "")]
    pub(crate) cloud_provider: String,
    /// What a cloud calls the cluster.
    #[arg(long, default_value = "kubernetes")]
    pub(crate) cluster_name: String,
    #[command(flatten)]
    pub(crate) delegated: client::delegated::Flags,
    #[command(flatten)]
    feature_gates: component::feature_gates::Flag,
    /// Log verbosity.
    #[arg(short, long, default_value_t = 0)]
    pub(crate) v: u8,
}

/// Flags of upstream's that change nothing here.
pub(crate) const UNSUPPORTED: &[(&str, Unsupported)] = &[
    ("allow-metric-labels", Warn),
    ("allow-metric-labels-manifest", Warn),
    ("allow-untagged-cloud", Warn),
    ("cert-dir", Warn),
    ("cloud-config", Refuse),
    ("concurrent-device-taint-eviction-syncs", Warn),
    ("concurrent-resourceclaim-syncs", Warn),
    ("configure-cloud-routes", Warn),
    ("contention-profiling", Warn),
    ("controller-start-interval", Warn),
    ("disable-http2-serving", Warn),
    ("disabled-metrics", Warn),
    ("emulated-version", Warn),
    ("emulation-forward-compatible", Warn),
    ("enable-garbage-collector", Refuse),
    ("enable-hostpath-provisioner", Warn),
    ("enable-leader-migration", Warn),
    ("external-cloud-volume-plugin", Warn),
    ("flex-volume-plugin-dir", Warn),
    ("http2-max-streams-per-connection", Warn),
    ("kube-api-burst", Warn),
    ("kube-api-content-type", Warn),
    ("kube-api-qps", Warn),
    ("leader-elect-resource-lock", Warn),
    ("leader-migration-config", Warn),
    ("log-flush-frequency", Warn),
    ("log-json-info-buffer-size", Warn),
    ("log-json-split-stream", Warn),
    ("log-text-info-buffer-size", Warn),
    ("log-text-split-stream", Warn),
    ("logging-format", Warn),
    ("master", Refuse),
    ("min-compatibility-version", Warn),
    ("min-resync-period", Warn),
    ("namespace-sync-period", Warn),
    ("node-sync-period", Warn),
    ("permit-address-sharing", Warn),
    ("permit-port-sharing", Warn),
    ("profiling", Warn),
    ("pv-recycler-increment-timeout-nfs", Warn),
    ("pv-recycler-minimum-timeout-hostpath", Warn),
    ("pv-recycler-minimum-timeout-nfs", Warn),
    ("pv-recycler-pod-template-filepath-hostpath", Warn),
    ("pv-recycler-pod-template-filepath-nfs", Warn),
    ("pv-recycler-timeout-increment-hostpath", Warn),
    ("requestheader-allowed-names", Warn),
    ("requestheader-client-ca-file", Warn),
    ("requestheader-extra-headers-prefix", Warn),
    ("requestheader-group-headers", Warn),
    ("requestheader-uid-headers", Warn),
    ("requestheader-username-headers", Warn),
    ("show-hidden-metrics-for-version", Warn),
    ("tls-cipher-suites", Warn),
    ("tls-curve-preferences", Warn),
    ("tls-min-version", Warn),
    ("tls-sni-cert-key", Warn),
    ("vmodule", Warn),
];

impl Options {
    /// What they say about the controllers.
    pub(crate) fn config(&self) -> anyhow::Result<Config> {
        let provider = self.cloud_provider.as_str();
        anyhow::ensure!(
            matches!(provider, "" | "external"),
            "cloud provider {provider:?} was specified, but built-in cloud providers are disabled. Please set \
             --cloud-provider=external and migrate to an external cloud provider"
        );
        let config = self.settings.put(Config {
            controllers: self.controllers.clone(),
            service_account_key: self.service_account_private_key_file.as_deref().map(key).transpose()?,
            signing: self.signing()?,
            node_ranges: self.node_ranges()?,
            cluster_name: self.cluster_name.clone(),
            root_ca: self.root_ca_file.as_ref().map(crate::context::read_root_ca).transpose()?,
            horizontal_pod_autoscaler: self.autoscaling.clone(),
            feature_gates: self.feature_gates.gates()?,
            ..Config::default()
        });
        config.feature_gates.warn(&[DEVICE_TAINTS, TOLERANCE]);
        let autoscalers = config.concurrent_horizontal_pod_autoscaler_syncs;
        anyhow::ensure!(
            autoscalers > 0,
            "concurrent-horizontal-pod-autoscaler-syncs must be greater than 0, but got {autoscalers}"
        );
        Ok(config)
    }
}

impl Options {
    fn node_ranges(&self) -> anyhow::Result<Option<Ranges>> {
        if !self.allocate_node_cidrs {
            return Ok(None);
        }
        let kind = self.cidr_allocator_type.as_str();
        anyhow::ensure!(
            kind != "CloudAllocator",
            "--cidr-allocator-type is set to 'CloudAllocator' but cloud provider is not configured"
        );
        anyhow::ensure!(kind == "RangeAllocator", "unknown CIDR allocator type: {kind}");
        let sizes = Sizes {
            any: self.node_cidr_mask_size,
            ipv4: self.node_cidr_mask_size_ipv4,
            ipv6: self.node_cidr_mask_size_ipv6,
        };
        Ranges::new(&self.cluster_cidr, &self.service_cluster_ip_range, sizes).map(Some)
    }
}

/// A key that signs tokens.
fn key(path: &Path) -> anyhow::Result<String> {
    let pem = std::fs::read_to_string(path);
    let pem =
        pem.with_context(|| format!("error reading key for service account token controller: {}", path.display()))?;
    tokens::keys::SigningKey::from_pem(pem.as_bytes())
        .with_context(|| format!("error reading key for service account token controller: {}", path.display()))?;
    Ok(pem)
}

impl Options {
    /// Either one authority for all signers, or one for each that signs.
    fn signing(&self) -> anyhow::Result<Signing> {
        let own = [
            (&self.cluster_signing_kubelet_serving_cert_file, &self.cluster_signing_kubelet_serving_key_file),
            (&self.cluster_signing_kubelet_client_cert_file, &self.cluster_signing_kubelet_client_key_file),
            (
                &self.cluster_signing_kube_apiserver_client_cert_file,
                &self.cluster_signing_kube_apiserver_client_key_file,
            ),
            (&self.cluster_signing_legacy_unknown_cert_file, &self.cluster_signing_legacy_unknown_key_file),
        ];
        let mut signing = Signing { files: BTreeMap::new(), duration: self.cluster_signing_duration };
        for ((signer, flag), files) in SIGNERS.into_iter().zip(own) {
            match files {
                (Some(cert), Some(key)) => drop(signing.files.insert(signer, (cert.clone(), key.clone()))),
                (None, Some(_)) => anyhow::bail!("\"cluster-signing-{flag}\": cannot specify key without cert"),
                (Some(_), None) => anyhow::bail!("\"cluster-signing-{flag}\": cannot specify cert without key"),
                (None, None) => {}
            }
        }
        let shared = (&self.cluster_signing_cert_file, &self.cluster_signing_key_file);
        anyhow::ensure!(
            signing.files.is_empty() || shared == (&None, &None),
            "cannot specify --cluster-signing-{{cert,key}}-file and other --cluster-signing-*-file flags at the same time"
        );
        if let (Some(cert), Some(key)) = shared {
            signing.files = Signing::with(cert.clone(), key.clone()).files;
        }
        // Told now rather than when the first request comes.
        for (signer, files) in &signing.files {
            authority(files).with_context(|| format!("failed to init {signer} certificate controller"))?;
        }
        Ok(signing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(argv: &str) -> Options {
        let argv: Vec<_> = argv.split_whitespace().map(str::to_owned).collect();
        component::flags::parse("controller-manager", &argv, UNSUPPORTED).unwrap()
    }

    #[test]
    fn the_flags_of_a_cluster_that_is_set_up_by_hand_are_taken() {
        let o = parsed(
            "--kubeconfig=kcm.conf --authentication-kubeconfig=kcm.conf --authorization-kubeconfig=kcm.conf \
            --use-service-account-credentials=true \
            --cluster-signing-duration=1h --allocate-node-cidrs=false \
            --service-cluster-ip-range=10.96.0.0/16 --leader-elect=false --kube-api-content-type=application/json \
            --controllers=*,-ttl-controller -v=4",
        );
        assert!(o.use_service_account_credentials && !o.leader_elect && !o.allocate_node_cidrs);
        assert_eq!((o.v, o.controllers.len()), (4, 2));
        let config = o.config().unwrap();
        assert_eq!((config.signing.files.len(), config.signing.duration.as_secs()), (0, 3600));
        assert_eq!(config.node_ranges, None);
    }

    #[test]
    fn counts_lengths_and_rates_have_flags_and_upstreams_defaults() {
        let config = parsed("").config().unwrap();
        assert_eq!((config.concurrent_gc_syncs, config.max_endpoints_per_slice), (20, 100));
        assert_eq!(config.node_monitor_grace_period, Duration::from_secs(50));
        let config = parsed("--concurrent-gc-syncs=3 --resource-quota-sync-period=1m30s").config().unwrap();
        assert_eq!((config.concurrent_gc_syncs, config.resource_quota_sync_period), (3, Duration::from_secs(90)));
        assert_eq!((config.node_eviction_rate, config.large_cluster_size_threshold), (0.1, 50));
        let default = Config::default();
        assert_eq!((default.concurrent_job_syncs, default.resource_quota_sync_period), (5, Duration::from_secs(300)));
    }

    #[test]
    fn clouds_are_looked_after_from_outside() {
        let provider = |argv: &str| parsed(argv).config().map(drop).map_err(|e| e.to_string());
        assert_eq!((provider(""), provider("--cloud-provider=external")), (Ok(()), Ok(())));
        assert!(
            provider("--cloud-provider=aws").is_err_and(|why| why.contains("built-in cloud providers are disabled"))
        );
    }

    #[test]
    fn a_feature_that_is_off_has_no_controller() {
        let starts = |argv: &str| {
            let config = parsed(argv).config().unwrap();
            let selected = crate::catalogue::selected(&config).unwrap();
            selected.iter().any(|entry| entry.name == "device-taint-eviction-controller")
        };
        assert!(starts("") && !starts("--feature-gates=DRADeviceTaints=false"));
        let refused = parsed("--feature-gates=Nonsense=true").config().map(drop).map_err(|e| e.to_string());
        assert_eq!(refused, Err("unrecognized feature gate: Nonsense".into()));
    }

    #[test]
    fn nodes_get_ranges_where_that_is_asked_for() {
        let ranges = |argv: &str| parsed(argv).config().map(|config| config.node_ranges).map_err(|e| e.to_string());
        let asked = "--allocate-node-cidrs=true --cluster-cidr=10.244.0.0/16 --service-cluster-ip-range=10.96.0.0/12";
        let got = ranges(asked).unwrap().unwrap();
        assert_eq!(
            (got.cluster, got.services),
            (vec![("10.244.0.0/16".parse().unwrap(), 24)], vec!["10.96.0.0/12".parse().unwrap()])
        );
        let cloud = format!("{asked} --cidr-allocator-type=CloudAllocator");
        let why = "--cidr-allocator-type is set to 'CloudAllocator' but cloud provider is not configured";
        assert_eq!(ranges(&cloud), Err(why.into()));
        assert_eq!(ranges("--allocate-node-cidrs"), Err("invalid CIDR address: ".into()));
    }

    #[test]
    fn signers_have_one_authority_or_several() {
        let dir = tempfile::tempdir().unwrap();
        let ca = component::tls::pki::Ca::new("ca", time::OffsetDateTime::now_utc()).unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let (cert, key) = (path("ca.crt"), path("ca.key"));
        std::fs::write(&cert, &ca.pair().cert_pem).unwrap();
        std::fs::write(&key, &ca.pair().key_pem).unwrap();
        let check = |argv: String, want: Result<&[&str], &str>| {
            let got = parsed(&argv).config().map(|config| config.signing.files.into_keys().collect::<Vec<_>>());
            match (got, want) {
                (Ok(signers), Ok(want)) => assert_eq!(signers, want, "{argv}"),
                (got, want) => assert_eq!(got.unwrap_err().to_string(), want.unwrap_err(), "{argv}"),
            }
        };
        let all = [
            "kubernetes.io/kube-apiserver-client",
            "kubernetes.io/kube-apiserver-client-kubelet",
            "kubernetes.io/kubelet-serving",
            "kubernetes.io/legacy-unknown",
        ];
        let shared = format!("--cluster-signing-cert-file={cert} --cluster-signing-key-file={key}");
        check(shared.clone(), Ok(&all));
        check(format!("--cluster-signing-cert-file={cert}"), Ok(&[]));
        let own = format!(
            "--cluster-signing-kubelet-serving-cert-file={cert} --cluster-signing-kubelet-serving-key-file={key}"
        );
        check(own.clone(), Ok(&all[2..3]));
        let both = "cannot specify --cluster-signing-{cert,key}-file and other --cluster-signing-*-file flags at the same time";
        check(format!("{own} {shared}"), Err(both));
        let half = format!("--cluster-signing-legacy-unknown-key-file={key}");
        check(half, Err("\"cluster-signing-legacy-unknown\": cannot specify key without cert"));
        let wrong = format!("--cluster-signing-cert-file={key} --cluster-signing-key-file={key}");
        check(wrong, Err("failed to init kubernetes.io/kube-apiserver-client certificate controller"));
    }
}
