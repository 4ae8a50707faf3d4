//! `extenders` of the configuration file, and what may be wrong with them (`apis/config/validation`).

use std::collections::HashSet;

use machinery::field::{self, Path};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// One extender, as upstream's Extender.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[allow(missing_docs, reason = "upstream's fields")]
pub struct ExtenderConfig {
    pub url_prefix: String,
    pub filter_verb: String,
    pub preempt_verb: String,
    pub prioritize_verb: String,
    pub weight: i64,
    pub bind_verb: String,
    #[serde(rename = "enableHTTPS")]
    pub enable_https: bool,
    pub tls_config: Option<TlsConfig>,
    #[serde(rename = "httpTimeout")]
    pub http_timeout: Option<String>,
    pub node_cache_capable: bool,
    pub managed_resources: Vec<ManagedResource>,
    pub ignorable: bool,
}

/// A resource that an extender looks after.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[allow(missing_docs, reason = "upstream's fields")]
pub struct ManagedResource {
    pub name: String,
    pub ignored_by_scheduler: bool,
}

/// How an extender is known, and how the scheduler shows who it is. Data are base64, and go before files.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[allow(missing_docs, reason = "upstream's fields")]
pub struct TlsConfig {
    pub insecure: bool,
    pub server_name: String,
    pub cert_file: String,
    pub key_file: String,
    pub ca_file: String,
    pub cert_data: String,
    #[serde(skip_serializing)]
    pub key_data: String,
    pub ca_data: String,
}

impl ExtenderConfig {
    /// Where it is and who is who, as a kubeconfig says it.
    pub fn kubeconfig(&self) -> Value {
        let tls = self.tls_config.clone().unwrap_or_default();
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let authority = given(&tls.ca_file).or(given(&tls.ca_data)).is_some();
        // Upstream trusts everybody where HTTPS is asked for without a word on whom to trust.
        let trusting = tls.insecure || (self.enable_https && !authority);
        json!({
            "clusters": [{"name": "extender", "cluster": {
                "server": self.url_prefix.trim_end_matches('/'),
                "insecure-skip-tls-verify": trusting,
                "certificate-authority": given(&tls.ca_file).filter(|_| tls.ca_data.is_empty() && !trusting),
                "certificate-authority-data": given(&tls.ca_data).filter(|_| !trusting),
                "tls-server-name": given(&tls.server_name),
            }}],
            "users": [{"name": "extender", "user": {
                "client-certificate": given(&tls.cert_file).filter(|_| tls.cert_data.is_empty()),
                "client-certificate-data": given(&tls.cert_data),
                "client-key": given(&tls.key_file).filter(|_| tls.key_data.is_empty()),
                "client-key-data": given(&tls.key_data),
            }}],
            "contexts": [{"name": "extender", "context": {"cluster": "extender", "user": "extender"}}],
            "current-context": "extender",
        })
    }
}

/// What is wrong with extenders, if something is.
///
/// # Errors
/// All that is wrong.
pub fn validate(extenders: &[ExtenderConfig]) -> Result<(), String> {
    let path = Path::new("extenders");
    let mut faults = Vec::new();
    let mut managed = HashSet::new();
    for (index, extender) in extenders.iter().enumerate() {
        let path = path.index(index);
        if !extender.prioritize_verb.is_empty() && extender.weight <= 0 {
            let why = "must have a positive weight applied to it";
            faults.push(field::Error::invalid(&path.child("weight"), extender.weight, why));
        }
        for (index, resource) in extender.managed_resources.iter().enumerate() {
            let path = path.child("managedResources").index(index).child("name");
            let name = &resource.name;
            if !is_extended(name) {
                faults.push(field::Error::invalid(&path, name.as_str(), "is an invalid extended resource name"));
            }
            if !managed.insert(name) {
                faults.push(field::Error::invalid(&path, name.as_str(), "duplicate extender managed resource name"));
            }
        }
        if let Some(timeout) = &extender.http_timeout
            && let Err(why) = machinery::duration::length(timeout)
        {
            faults.push(field::Error::invalid(&path.child("httpTimeout"), timeout.as_str(), why));
        }
    }
    let binders = extenders.iter().filter(|extender| !extender.bind_verb.is_empty()).count();
    if binders > 1 {
        let found = format!("found {binders} extenders implementing bind");
        faults.push(field::Error::invalid(&path, found, "only one extender can implement bind"));
    }
    field::aggregate(&faults).map_or(Ok(()), Err)
}

/// Whether it is a resource of somebody else's than Kubernetes'.
fn is_extended(name: &str) -> bool {
    let Some((domain, rest)) = name.split_once('/') else { return false };
    let native = domain == "kubernetes.io" || domain.ends_with(".kubernetes.io");
    !domain.is_empty() && !rest.is_empty() && !rest.contains('/') && !native && !name.starts_with("requests.")
}
