//! The `KubeletConfiguration` file (`kubelet.config.k8s.io/v1beta1`), as far as it is supported; what is not is named and warned of.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// A Go duration in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        machinery::duration::length(&text).map(Span).map_err(D::Error::custom)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        machinery::duration::text(i64::try_from(self.0.as_nanos()).unwrap_or(i64::MAX)).serialize(serializer)
    }
}

/// Who may ask.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Authentication {
    /// Client certificates.
    pub x509: X509,
    /// Tokens, reviewed by the API server.
    pub webhook: WebhookAuthentication,
    /// Callers without credentials.
    pub anonymous: Anonymous,
}

/// Client certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct X509 {
    /// PEM file of the authority that signs them.
    #[serde(rename = "clientCAFile")]
    pub client_ca_file: Option<PathBuf>,
}

/// Tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WebhookAuthentication {
    /// Whether they are accepted.
    pub enabled: bool,
    /// How long an answer is believed.
    #[serde(rename = "cacheTTL")]
    pub cache_ttl: Span,
}

impl Default for WebhookAuthentication {
    fn default() -> Self {
        Self { enabled: true, cache_ttl: Span(Duration::from_secs(120)) }
    }
}

/// Callers without credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Anonymous {
    /// Whether they are let through to authorization.
    pub enabled: bool,
}

/// Who may do what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Authorization {
    /// `Webhook` or `AlwaysAllow`.
    pub mode: String,
    /// How long answers are believed.
    pub webhook: WebhookAuthorization,
}

impl Default for Authorization {
    fn default() -> Self {
        Self { mode: "Webhook".into(), webhook: WebhookAuthorization::default() }
    }
}

/// How long answers are believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WebhookAuthorization {
    /// A yes.
    #[serde(rename = "cacheAuthorizedTTL")]
    pub cache_authorized_ttl: Span,
    /// A no.
    #[serde(rename = "cacheUnauthorizedTTL")]
    pub cache_unauthorized_ttl: Span,
}

impl Default for WebhookAuthorization {
    fn default() -> Self {
        Self {
            cache_authorized_ttl: Span(Duration::from_secs(300)),
            cache_unauthorized_ttl: Span(Duration::from_secs(30)),
        }
    }
}

/// A taint of a new node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value, which may be empty.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

/// Field names and defaults are upstream's.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct KubeletConfiguration {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub feature_gates: BTreeMap<String, bool>,
    pub static_pod_path: Option<PathBuf>,
    pub sync_frequency: Span,
    pub file_check_frequency: Span,
    pub address: String,
    pub port: u16,
    pub tls_cert_file: Option<PathBuf>,
    pub tls_private_key_file: Option<PathBuf>,
    pub rotate_certificates: bool,
    #[serde(rename = "serverTLSBootstrap")]
    pub server_tls_bootstrap: bool,
    pub authentication: Authentication,
    pub authorization: Authorization,
    pub enable_debugging_handlers: bool,
    pub enable_system_log_handler: bool,
    pub healthz_port: u16,
    pub healthz_bind_address: String,
    pub cluster_domain: String,
    #[serde(rename = "clusterDNS")]
    pub cluster_dns: Vec<String>,
    pub node_status_update_frequency: Span,
    pub node_status_report_frequency: Span,
    pub node_lease_duration_seconds: i32,
    #[serde(rename = "imageMinimumGCAge")]
    pub image_minimum_gc_age: Span,
    #[serde(rename = "imageMaximumGCAge")]
    pub image_maximum_gc_age: Span,
    #[serde(rename = "imageGCHighThresholdPercent")]
    pub image_gc_high_threshold_percent: u64,
    #[serde(rename = "imageGCLowThresholdPercent")]
    pub image_gc_low_threshold_percent: u64,
    pub cgroup_root: String,
    pub cgroups_per_qos: bool,
    pub cgroup_driver: String,
    pub runtime_request_timeout: Span,
    pub max_pods: i64,
    pub pod_pids_limit: i64,
    pub pod_cidr: String,
    pub resolv_conf: Option<String>,
    #[serde(rename = "cpuCFSQuota")]
    pub cpu_cfs_quota: bool,
    #[serde(rename = "cpuCFSQuotaPeriod")]
    pub cpu_cfs_quota_period: Span,
    pub serialize_image_pulls: bool,
    pub max_parallel_image_pulls: Option<usize>,
    pub eviction_hard: BTreeMap<String, String>,
    pub eviction_soft: BTreeMap<String, String>,
    pub eviction_soft_grace_period: BTreeMap<String, String>,
    pub eviction_minimum_reclaim: BTreeMap<String, String>,
    pub eviction_pressure_transition_period: Span,
    pub eviction_max_pod_grace_period: i64,
    pub merge_default_eviction_settings: bool,
    pub fail_swap_on: bool,
    #[serde(rename = "failCgroupV1")]
    pub fail_cgroup_v1: bool,
    pub container_log_max_size: String,
    pub container_log_max_files: usize,
    pub container_log_monitor_interval: Span,
    pub system_reserved: BTreeMap<String, String>,
    pub kube_reserved: BTreeMap<String, String>,
    pub seccomp_default: bool,
    pub register_node: bool,
    pub register_with_taints: Vec<Taint>,
    #[serde(rename = "providerID")]
    pub provider_id: String,
    pub container_runtime_endpoint: String,
    pub pod_logs_dir: String,
    pub allowed_unsafe_sysctls: Vec<String>,
    pub content_type: String,
    /// Fields that are not supported.
    #[serde(flatten, skip_serializing)]
    pub rest: BTreeMap<String, serde_json::Value>,
}

const fn secs(seconds: u64) -> Span {
    Span(Duration::from_secs(seconds))
}

impl Default for KubeletConfiguration {
    fn default() -> Self {
        let eviction = [
            ("memory.available", "100Mi"),
            ("nodefs.available", "10%"),
            ("nodefs.inodesFree", "5%"),
            ("imagefs.available", "15%"),
            ("imagefs.inodesFree", "5%"),
        ];
        Self {
            static_pod_path: None,
            sync_frequency: secs(60),
            file_check_frequency: secs(20),
            address: "0.0.0.0".into(),
            port: 10250,
            feature_gates: BTreeMap::new(),
            tls_cert_file: None,
            tls_private_key_file: None,
            rotate_certificates: false,
            server_tls_bootstrap: false,
            authentication: Authentication::default(),
            authorization: Authorization::default(),
            enable_debugging_handlers: true,
            enable_system_log_handler: true,
            healthz_port: 10248,
            healthz_bind_address: "127.0.0.1".into(),
            cluster_domain: String::new(),
            cluster_dns: Vec::new(),
            node_status_update_frequency: secs(10),
            node_status_report_frequency: secs(300),
            node_lease_duration_seconds: 40,
            image_minimum_gc_age: secs(120),
            image_maximum_gc_age: secs(0),
            image_gc_high_threshold_percent: 85,
            image_gc_low_threshold_percent: 80,
            cgroup_root: String::new(),
            cgroups_per_qos: true,
            cgroup_driver: "cgroupfs".into(),
            runtime_request_timeout: secs(120),
            max_pods: 110,
            pod_pids_limit: -1,
            pod_cidr: String::new(),
            resolv_conf: Some("/etc/resolv.conf".into()),
            cpu_cfs_quota: true,
            cpu_cfs_quota_period: Span(Duration::from_millis(100)),
            serialize_image_pulls: true,
            max_parallel_image_pulls: None,
            eviction_hard: eviction.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            eviction_soft: BTreeMap::new(),
            eviction_soft_grace_period: BTreeMap::new(),
            eviction_minimum_reclaim: BTreeMap::new(),
            eviction_pressure_transition_period: secs(300),
            eviction_max_pod_grace_period: 0,
            merge_default_eviction_settings: false,
            fail_swap_on: true,
            fail_cgroup_v1: true,
            container_log_max_size: "10Mi".into(),
            container_log_max_files: 5,
            container_log_monitor_interval: secs(10),
            system_reserved: BTreeMap::new(),
            kube_reserved: BTreeMap::new(),
            seccomp_default: false,
            register_node: true,
            register_with_taints: Vec::new(),
            provider_id: String::new(),
            container_runtime_endpoint: "unix:///run/containerd/containerd.sock".into(),
            pod_logs_dir: "/var/log/pods".into(),
            allowed_unsafe_sysctls: Vec::new(),
            content_type: String::new(),
            rest: BTreeMap::new(),
        }
    }
}
