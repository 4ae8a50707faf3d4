//! Upstream's flags of kube-controller-manager: those that do something here, and what becomes of the others.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use component::flags::{Refuse, Unsupported, Warn};

use crate::{
    certificates::{SIGNERS, authority},
    context::{Config, Signing},
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
    #[arg(long, default_value_t = 10257)]
    pub(crate) secure_port: u16,
    #[arg(long, default_value = "0.0.0.0")]
    pub(crate) bind_address: std::net::IpAddr,
    #[arg(long)]
    pub(crate) tls_cert_file: Option<PathBuf>,
    #[arg(long)]
    pub(crate) tls_private_key_file: Option<PathBuf>,
    #[arg(long, default_value_t = 5)]
    pub(crate) concurrent_deployment_syncs: usize,
    #[arg(long, default_value_t = 2)]
    pub(crate) concurrent_daemonset_syncs: usize,
    #[arg(long, default_value_t = 5)]
    pub(crate) concurrent_statefulset_syncs: usize,
    #[arg(long, default_value_t = 5)]
    pub(crate) concurrent_replicaset_syncs: usize,
    #[arg(long, default_value_t = 5)]
    pub(crate) concurrent_rc_syncs: usize,
    #[arg(long, default_value_t = 5)]
    pub(crate) concurrent_resource_quota_syncs: usize,
    /// How often all quotas are counted again.
    #[arg(long, value_parser = machinery::duration::length, default_value = "5m0s")]
    pub(crate) resource_quota_sync_period: Duration,
    #[arg(long, default_value_t = 5)]
    pub(crate) concurrent_serviceaccount_token_syncs: usize,
    #[arg(long, value_parser = machinery::duration::length, default_value = "8760h0m0s")]
    pub(crate) legacy_service_account_token_clean_up_period: Duration,
    #[arg(long, default_value_t = 5)]
    pub(crate) concurrent_service_endpoint_syncs: usize,
    #[arg(long, default_value_t = 5)]
    pub(crate) mirroring_concurrent_service_endpoint_syncs: usize,
    #[arg(long, value_parser = machinery::duration::length, default_value = "0s")]
    pub(crate) mirroring_endpointslice_updates_batch_period: Duration,
    #[arg(long, default_value_t = 1000)]
    pub(crate) mirroring_max_endpoints_per_subset: usize,
    #[arg(long, default_value_t = 5)]
    pub(crate) concurrent_endpoint_syncs: usize,
    #[arg(long, default_value_t = 5)]
    pub(crate) concurrent_job_syncs: usize,
    #[arg(long, default_value_t = 5)]
    pub(crate) concurrent_cron_job_syncs: usize,
    #[arg(long, default_value_t = 5)]
    pub(crate) concurrent_ttl_after_finished_syncs: usize,
    #[arg(long, default_value_t = 10)]
    pub(crate) concurrent_namespace_syncs: usize,
    #[arg(long, default_value_t = 20)]
    pub(crate) concurrent_gc_syncs: usize,
    #[arg(long, default_value_t = 100)]
    pub(crate) max_endpoints_per_slice: usize,
    #[arg(long, default_value_t = 12500)]
    pub(crate) terminated_pod_gc_threshold: usize,
    #[arg(long, value_parser = machinery::duration::length, default_value = "50s")]
    pub(crate) node_monitor_grace_period: Duration,
    #[arg(long, value_parser = machinery::duration::length, default_value = "1m")]
    pub(crate) node_startup_grace_period: Duration,
    #[arg(long, value_parser = machinery::duration::length, default_value = "5s")]
    pub(crate) node_monitor_period: Duration,
    /// Only `false` is possible: nodes get their pod ranges elsewhere.
    #[arg(long)]
    pub(crate) allocate_node_cidrs: bool,
    #[arg(long, hide = true)]
    pub(crate) authentication_kubeconfig: Option<PathBuf>,
    #[arg(long, hide = true)]
    pub(crate) authorization_kubeconfig: Option<PathBuf>,
    /// Log verbosity.
    #[arg(short, long, default_value_t = 0)]
    pub(crate) v: u8,
}

/// Flags of upstream's that change nothing here.
pub(crate) const UNSUPPORTED: &[(&str, Unsupported)] = &[
    ("cloud-provider", Warn),
    ("cloud-config", Refuse),
    ("cluster-cidr", Warn),
    ("node-cidr-mask-size", Warn),
    ("service-cluster-ip-range", Warn),
    ("cluster-name", Warn),
    ("client-ca-file", Warn),
    ("requestheader-client-ca-file", Warn),
    ("requestheader-allowed-names", Warn),
    ("requestheader-username-headers", Warn),
    ("requestheader-group-headers", Warn),
    ("requestheader-extra-headers-prefix", Warn),
    ("authorization-always-allow-paths", Warn),
    ("authentication-skip-lookup", Warn),
    ("authentication-tolerate-lookup-failure", Warn),
    ("kube-api-content-type", Warn),
    ("kube-api-qps", Warn),
    ("kube-api-burst", Warn),
    ("feature-gates", Warn),
    ("profiling", Warn),
    ("master", Refuse),
    ("config", Refuse),
    ("flex-volume-plugin-dir", Warn),
    ("horizontal-pod-autoscaler-sync-period", Warn),
    ("pv-recycler-pod-template-filepath-hostpath", Warn),
    ("pv-recycler-pod-template-filepath-nfs", Warn),
    ("leader-elect-resource-lock", Warn),
    ("min-resync-period", Warn),
    ("namespace-sync-period", Warn),
    ("node-eviction-rate", Warn),
    ("secondary-node-eviction-rate", Warn),
    ("unhealthy-zone-threshold", Warn),
    ("large-cluster-size-threshold", Warn),
    ("permit-port-sharing", Warn),
    ("permit-address-sharing", Warn),
    ("cert-dir", Warn),
    ("tls-cipher-suites", Warn),
    ("tls-min-version", Warn),
    ("logging-format", Warn),
    ("vmodule", Warn),
    ("enable-garbage-collector", Refuse),
];

impl Options {
    /// What they say about the controllers.
    pub(crate) fn config(&self) -> anyhow::Result<Config> {
        anyhow::ensure!(!self.allocate_node_cidrs, "--allocate-node-cidrs=true is not supported yet");
        Ok(Config {
            controllers: self.controllers.clone(),
            client_for: None,
            service_account_key: self.service_account_private_key_file.as_deref().map(key).transpose()?,
            signing: self.signing()?,
            concurrent_serviceaccount_token_syncs: self.concurrent_serviceaccount_token_syncs,
            legacy_service_account_token_clean_up_period: self.legacy_service_account_token_clean_up_period,
            root_ca: self.root_ca_file.as_ref().map(crate::context::read_root_ca).transpose()?,
            concurrent_deployment_syncs: self.concurrent_deployment_syncs,
            concurrent_daemonset_syncs: self.concurrent_daemonset_syncs,
            concurrent_statefulset_syncs: self.concurrent_statefulset_syncs,
            concurrent_replicaset_syncs: self.concurrent_replicaset_syncs,
            concurrent_rc_syncs: self.concurrent_rc_syncs,
            concurrent_resource_quota_syncs: self.concurrent_resource_quota_syncs,
            resource_quota_sync_period: self.resource_quota_sync_period,
            concurrent_service_endpoint_syncs: self.concurrent_service_endpoint_syncs,
            mirroring_concurrent_service_endpoint_syncs: self.mirroring_concurrent_service_endpoint_syncs,
            mirroring_endpointslice_updates_batch_period: self.mirroring_endpointslice_updates_batch_period,
            mirroring_max_endpoints_per_subset: self.mirroring_max_endpoints_per_subset,
            concurrent_endpoint_syncs: self.concurrent_endpoint_syncs,
            concurrent_job_syncs: self.concurrent_job_syncs,
            concurrent_cron_job_syncs: self.concurrent_cron_job_syncs,
            concurrent_ttl_syncs: self.concurrent_ttl_after_finished_syncs,
            concurrent_namespace_syncs: self.concurrent_namespace_syncs,
            concurrent_gc_syncs: self.concurrent_gc_syncs,
            max_endpoints_per_slice: self.max_endpoints_per_slice,
            terminated_pod_gc_threshold: self.terminated_pod_gc_threshold,
            node_monitor_grace_period: self.node_monitor_grace_period,
            node_startup_grace_period: self.node_startup_grace_period,
            node_monitor_period: self.node_monitor_period,
        })
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
