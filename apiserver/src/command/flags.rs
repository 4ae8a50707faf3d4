//! `ferry apiserver`'s flags: kube-apiserver's names and defaults, and `--data-dir` for the embedded store.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use component::flags::{Refuse, Unsupported, Warn};

/// The API server, with the flags of kube-apiserver; on an embedded store (--data-dir) or etcd (--etcd-servers).
#[derive(Debug, Clone, clap::Args)]
pub struct Flags {
    #[command(flatten)]
    pub(super) feature_gates: component::feature_gates::Flag,
    /// Keep objects in the embedded store in this directory (and the server's own certificates, where none are given)
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// Replicate the embedded store: listen here (IP:PORT) for its other members
    #[arg(long, conflicts_with = "etcd_servers", requires = "data_dir")]
    pub cluster_listen: Option<SocketAddr>,
    /// The IP:PORT at which the store's other members reach this one, if not the one that it listens at
    #[arg(long, requires = "cluster_listen")]
    pub cluster_advertise: Option<String>,
    /// Members (IP:PORT) of the cluster that this one joins, comma separated; without any, it begins a cluster
    #[arg(long, value_delimiter = ',', requires = "cluster_listen")]
    pub cluster_join: Vec<String>,
    /// Authority that signs the certificates of the store's members, and of nobody else
    #[arg(long, requires = "cluster_listen")]
    pub cluster_ca_file: Option<PathBuf>,
    /// This member's certificate, which names the address that it advertises, for both sides of a connection
    #[arg(long, requires = "cluster_listen")]
    pub cluster_cert_file: Option<PathBuf>,
    /// Private key of --cluster-cert-file
    #[arg(long, requires = "cluster_listen")]
    pub cluster_key_file: Option<PathBuf>,
    /// List of etcd servers to connect with (scheme://ip:port), comma separated
    #[arg(long, value_delimiter = ',')]
    pub etcd_servers: Vec<String>,
    /// SSL Certificate Authority file used to secure etcd communication
    #[arg(long)]
    pub etcd_cafile: Option<PathBuf>,
    /// SSL certification file used to secure etcd communication
    #[arg(long)]
    pub etcd_certfile: Option<PathBuf>,
    /// SSL key file used to secure etcd communication
    #[arg(long)]
    pub etcd_keyfile: Option<PathBuf>,
    /// The interval of compaction requests; 0: no compaction by this server
    #[arg(long, default_value = "5m0s")]
    pub etcd_compaction_interval: String,
    /// The IP address on which to listen for the --secure-port port
    #[arg(long, default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    /// The port on which to serve HTTPS
    #[arg(long, default_value_t = 6443)]
    pub secure_port: u16,
    /// The IP address on which to advertise the apiserver to members of the cluster
    #[arg(long)]
    pub advertise_address: Option<IpAddr>,
    /// A CIDR notation IP range from which to assign service cluster IPs
    #[arg(long, value_delimiter = ',', default_value = "10.0.0.0/24")]
    pub service_cluster_ip_range: Vec<String>,
    /// A port range to reserve for services with NodePort visibility
    #[arg(long, default_value = "30000-32767")]
    pub service_node_port_range: String,
    /// File containing the default x509 Certificate for HTTPS
    #[arg(long)]
    pub tls_cert_file: Option<PathBuf>,
    /// File containing the default x509 private key matching --tls-cert-file
    #[arg(long)]
    pub tls_private_key_file: Option<PathBuf>,
    /// Authorities that sign client certificates
    #[arg(long)]
    pub client_ca_file: Option<PathBuf>,
    /// Enables anonymous requests to the secure port of the API server
    #[arg(long, default_value_t = true)]
    pub anonymous_auth: bool,
    /// File with static tokens: token,user,uid,"group1,group2"
    #[arg(long)]
    pub token_auth_file: Option<PathBuf>,
    /// Allow bootstrap tokens (secrets in kube-system) to be used for authentication
    #[arg(long)]
    pub enable_bootstrap_token_auth: bool,
    /// Identifier of the service account token issuer
    #[arg(long, value_delimiter = ',')]
    pub service_account_issuer: Vec<String>,
    /// Files with keys used to verify service account tokens
    #[arg(long, value_delimiter = ',')]
    pub service_account_key_file: Vec<PathBuf>,
    /// File with the private key of the current service account token issuer
    #[arg(long)]
    pub service_account_signing_key_file: Option<PathBuf>,
    /// Identifiers of the API
    #[arg(long, value_delimiter = ',')]
    pub api_audiences: Vec<String>,
    /// Ordered list of plug-ins to do authorization on secure port
    #[arg(long, value_delimiter = ',', default_value = "Node,RBAC")]
    pub authorization_mode: Vec<String>,
    /// Admission plugins that should be enabled in addition to default enabled ones
    #[arg(long, value_delimiter = ',')]
    pub enable_admission_plugins: Vec<String>,
    /// Admission plugins that should be disabled
    #[arg(long, value_delimiter = ',')]
    pub disable_admission_plugins: Vec<String>,
    /// Allow privileged containers (always so in this version)
    #[arg(long)]
    pub allow_privileged: bool,
    /// Client certificate for kubelets
    #[arg(long)]
    pub kubelet_client_certificate: Option<PathBuf>,
    /// Client key for kubelets
    #[arg(long)]
    pub kubelet_client_key: Option<PathBuf>,
    /// Authorities that sign kubelets' serving certificates
    #[arg(long)]
    pub kubelet_certificate_authority: Option<PathBuf>,
    /// Preferred NodeAddressTypes to use for kubelet connections
    #[arg(long, value_delimiter = ',', default_value = "Hostname,InternalDNS,InternalIP,ExternalDNS,ExternalIP")]
    pub kubelet_preferred_address_types: Vec<String>,
    /// Authorities that sign front proxies' certificates
    #[arg(long)]
    pub requestheader_client_ca_file: Option<PathBuf>,
    /// Names in front proxies' certificates
    #[arg(long, value_delimiter = ',')]
    pub requestheader_allowed_names: Vec<String>,
    /// Headers to inspect for usernames
    #[arg(long, value_delimiter = ',')]
    pub requestheader_username_headers: Vec<String>,
    /// Headers to inspect for UIDs
    #[arg(long, value_delimiter = ',')]
    pub requestheader_uid_headers: Vec<String>,
    /// Headers to inspect for groups
    #[arg(long, value_delimiter = ',')]
    pub requestheader_group_headers: Vec<String>,
    /// Prefixes of headers to inspect for extra facts
    #[arg(long, value_delimiter = ',')]
    pub requestheader_extra_headers_prefix: Vec<String>,
    /// Client certificate to prove who this server is to extension servers
    #[arg(long)]
    pub proxy_client_cert_file: Option<PathBuf>,
    /// Private key of --proxy-client-cert-file
    #[arg(long)]
    pub proxy_client_key_file: Option<PathBuf>,
    /// The most non-mutating requests in flight
    #[arg(long, default_value_t = 400)]
    pub max_requests_inflight: usize,
    /// The most mutating requests in flight
    #[arg(long, default_value_t = 200)]
    pub max_mutating_requests_inflight: usize,
    /// How long a request that is not long-running may take
    #[arg(long, default_value = "1m0s")]
    pub request_timeout: String,
    /// Amount of time to retain events
    #[arg(long, default_value = "1h0m0s")]
    pub event_ttl: String,
    /// How long requests are still served after the server was told to end
    #[arg(long, default_value = "0s")]
    pub shutdown_delay_duration: String,
    /// While the server ends, answer new requests with 429 and Retry-After until those under way are done
    #[arg(long)]
    pub shutdown_send_retry_after: bool,
    /// The chance, 0 to 0.02, that a connection over HTTP/2 is ended (GOAWAY) after a request, so that clients spread
    #[arg(long, default_value_t = 0.0)]
    pub goaway_chance: f64,
    /// By what the API servers of the cluster are known (master-count, lease, none)
    #[arg(long, default_value = "lease")]
    pub endpoint_reconciler_type: String,
    /// The number of API servers of the cluster, for --endpoint-reconciler-type=master-count
    #[arg(long, default_value_t = 1)]
    pub apiserver_count: i64,
    /// Number for the log level verbosity
    #[arg(long, short = 'v', default_value_t = 0)]
    pub v: u8,
}

/// What kube-apiserver knows and this server does not do yet.
pub const UNSUPPORTED: &[(&str, Unsupported)] = &[
    ("audit-log-path", Refuse),
    ("audit-policy-file", Refuse),
    ("audit-webhook-config-file", Refuse),
    ("authentication-config", Refuse),
    ("authentication-token-webhook-config-file", Refuse),
    ("authorization-config", Refuse),
    ("authorization-webhook-config-file", Refuse),
    ("egress-selector-config-file", Refuse),
    ("encryption-provider-config", Refuse),
    ("oidc-issuer-url", Refuse),
    ("admission-control-config-file", Refuse),
    ("tls-cipher-suites", Refuse),
    ("tls-min-version", Refuse),
    ("etcd-prefix", Refuse),
    ("storage-media-type", Warn),
    ("storage-backend", Warn),
    ("default-watch-cache-size", Warn),
    ("watch-cache", Warn),
    ("watch-cache-sizes", Warn),
    ("runtime-config", Warn),
    ("profiling", Warn),
    ("contention-profiling", Warn),
    ("enable-priority-and-fairness", Warn),
    ("enable-aggregator-routing", Warn),
    ("min-request-timeout", Warn),
    ("etcd-count-metric-poll-period", Warn),
    ("etcd-healthcheck-timeout", Warn),
    ("etcd-readycheck-timeout", Warn),
    ("kubelet-timeout", Warn),
    ("http2-max-streams-per-connection", Warn),
    ("shutdown-watch-termination-grace-period", Warn),
    ("logging-format", Warn),
    ("cert-dir", Warn),
    ("delete-collection-workers", Warn),
    ("service-account-max-token-expiration", Warn),
    ("service-account-extend-token-expiration", Warn),
    ("service-account-jwks-uri", Warn),
    ("service-account-lookup", Warn),
    ("permit-port-sharing", Warn),
    ("permit-address-sharing", Warn),
];
