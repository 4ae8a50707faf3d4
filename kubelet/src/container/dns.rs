//! A pod's `resolv.conf`. Upstream: pkg/kubelet/network/dns/dns.go.

use crate::pod;
use k8s_openapi::api::core::v1::{Pod, PodDNSConfig};
use proto::cri::DnsConfig;

const SEARCH_LIMIT: usize = 32;
const SEARCH_CHARS_LIMIT: usize = 2048;
const NAME_LIMIT: usize = 253;
const SERVERS_LIMIT: usize = 3;

/// The node's part of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    pub(crate) cluster_dns: Vec<String>,
    pub(crate) cluster_domain: String,
    /// The text of the node's own resolv.conf; `None` if there is none configured.
    pub(crate) host: Option<String>,
}

/// Reads the lines that a resolver knows.
pub(crate) fn parse(text: &str) -> DnsConfig {
    let mut config = DnsConfig::default();
    for line in text.lines().map(str::trim).filter(|l| !l.starts_with('#')) {
        let mut fields = line.split_whitespace();
        match fields.next() {
            Some("nameserver") => config.servers.extend(fields.next().map(str::to_owned)),
            Some("search") => {
                config.searches = fields.filter(|s| *s != ".").map(|s| s.trim_end_matches('.').to_owned()).collect()
            }
            Some("options") => config.options.extend(fields.map(str::to_owned)),
            _ => {}
        }
    }
    config
}

fn unique(list: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for item in list {
        if !out.contains(&item) {
            out.push(item);
        }
    }
    out
}

/// The configuration and what was cut, as (reason, message) for events.
pub(crate) fn pod_dns(pod: &Pod, settings: &Settings) -> (DnsConfig, Vec<(&'static str, String)>) {
    let spec = pod::spec(pod);
    let mut warnings = Vec::new();
    let host = || match &settings.host {
        Some(text) => parse(text),
        None => DnsConfig { servers: vec!["127.0.0.1".into()], searches: vec![".".into()], ..Default::default() },
    };
    let mut config = match spec.dns_policy.as_deref() {
        Some("None") => DnsConfig::default(),
        Some("Default") => host(),
        Some("ClusterFirst") if pod::host_network(pod) => host(),
        _ if settings.cluster_dns.is_empty() => {
            let message = "kubelet does not have ClusterDNS IP configured and cannot create Pod using \"ClusterFirst\" policy. Falling back to \"Default\" policy.";
            warnings.push(("MissingClusterDNS", format!("pod: {:?}. {message}", pod::format(pod))));
            host()
        }
        _ => {
            let domain = &settings.cluster_domain;
            let own = match domain.as_str() {
                "" => Vec::new(),
                _ => vec![format!("{}.svc.{domain}", pod::namespace(pod)), format!("svc.{domain}"), domain.clone()],
            };
            let searches = settings.host.as_deref().map(parse).unwrap_or_default().searches;
            DnsConfig {
                servers: settings.cluster_dns.clone(),
                searches: unique(own.into_iter().chain(searches)),
                options: vec!["ndots:5".into()],
            }
        }
    };
    if let Some(own) = &spec.dns_config {
        append(&mut config, own);
    }
    fit(&mut config, &mut warnings);
    (config, warnings)
}

fn append(config: &mut DnsConfig, own: &PodDNSConfig) {
    config.servers =
        unique(std::mem::take(&mut config.servers).into_iter().chain(own.nameservers.clone().unwrap_or_default()));
    config.searches =
        unique(std::mem::take(&mut config.searches).into_iter().chain(own.searches.clone().unwrap_or_default()));
    for option in own.options.iter().flatten() {
        let Some(name) = option.name.as_deref() else { continue };
        config.options.retain(|o| o.split(':').next() != Some(name));
        config.options.push(match option.value.as_deref().filter(|v| !v.is_empty()) {
            Some(value) => format!("{name}:{value}"),
            None => name.to_owned(),
        });
    }
}

fn fit(config: &mut DnsConfig, warnings: &mut Vec<(&'static str, String)>) {
    if config.servers.len() > SERVERS_LIMIT {
        config.servers.truncate(SERVERS_LIMIT);
        let line = config.servers.join(" ");
        warnings.push(("DNSConfigForming", format!("Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {line}")));
    }
    let before = config.searches.len();
    config.searches.truncate(SEARCH_LIMIT);
    config.searches.retain(|s| s.len() <= NAME_LIMIT);
    while config.searches.join(" ").len() > SEARCH_CHARS_LIMIT {
        config.searches.pop();
    }
    if config.searches.len() < before {
        let line = config.searches.join(" ");
        warnings.push(("DNSConfigForming", format!("Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {line}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(spec: serde_json::Value, expected: (&[&str], &[&str], &[&str])) {
        let mut spec = spec;
        spec["containers"] = json!([]);
        let pod =
            serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": spec})).expect("a pod");
        let settings = Settings {
            cluster_dns: vec!["10.96.0.10".into()],
            cluster_domain: "cluster.local".into(),
            host: Some("# x\nnameserver 1.1.1.1\nsearch corp.example. .\noptions edns0\n".into()),
        };
        let (config, _) = pod_dns(&pod, &settings);
        assert_eq!(
            (config.servers, config.searches, config.options),
            (
                expected.0.iter().map(|s| s.to_string()).collect(),
                expected.1.iter().map(|s| s.to_string()).collect(),
                expected.2.iter().map(|s| s.to_string()).collect()
            )
        );
    }

    #[test]
    fn by_policy() {
        let cluster: &[&str] = &["ns.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example"];
        check(json!({"dnsPolicy": "ClusterFirst"}), (&["10.96.0.10"], cluster, &["ndots:5"]));
        check(json!({"dnsPolicy": "ClusterFirst", "hostNetwork": true}), (&["1.1.1.1"], &["corp.example"], &["edns0"]));
        check(
            json!({"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": true}),
            (&["10.96.0.10"], cluster, &["ndots:5"]),
        );
        check(json!({"dnsPolicy": "Default"}), (&["1.1.1.1"], &["corp.example"], &["edns0"]));
        check(
            json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["9.9.9.9"], "searches": ["a"], "options": [{"name": "ndots", "value": "2"}]}}),
            (&["9.9.9.9"], &["a"], &["ndots:2"]),
        );
    }
}
