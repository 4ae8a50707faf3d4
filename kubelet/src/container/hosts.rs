//! Host names and the `/etc/hosts` that the kubelet manages. Upstream: kubelet_pods.go.

use crate::pod;
use k8s_openapi::api::core::v1::{HostAlias, Pod};
use machinery::names;

const HEADER: &str = "# Kubernetes-managed hosts file.\n";
const HOST_NETWORK_HEADER: &str = "# Kubernetes-managed hosts file (host network).\n";
/// What the kernel takes for a host name.
const HOST_NAME_LIMIT: usize = 63;

/// The file of a pod with a network of its own.
pub(crate) fn managed(ips: &[String], host: &str, domain: &str, aliases: &[HostAlias]) -> String {
    let mut file = format!(
        "{HEADER}127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\n\
         fe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n"
    );
    for ip in ips {
        match domain {
            "" => file.push_str(&format!("{ip}\t{host}\n")),
            domain => file.push_str(&format!("{ip}\t{host}.{domain}\t{host}\n")),
        }
    }
    file + &aliased(aliases)
}

/// The file of a pod on the node's network: the node's own, and the aliases.
pub(crate) fn host_network(node_file: &str, aliases: &[HostAlias]) -> String {
    format!("{HOST_NETWORK_HEADER}{node_file}{}", aliased(aliases))
}

fn aliased(aliases: &[HostAlias]) -> String {
    if aliases.is_empty() {
        return String::new();
    }
    let lines =
        aliases.iter().map(|a| format!("{}\t{}\n", a.ip, a.hostnames.as_deref().unwrap_or_default().join("\t")));
    std::iter::once("\n# Entries added by HostAliases.\n".to_owned()).chain(lines).collect()
}

/// A pod's host name and its domain, which may be empty.
pub(crate) fn name_and_domain(pod: &Pod, cluster_domain: &str) -> Result<(String, String), String> {
    let spec = pod::spec(pod);
    if let Some(host) = spec.hostname_override.as_deref() {
        let faults = names::dns1123_subdomain(host);
        if !faults.is_empty() {
            return Err(format!("pod HostnameOverride {host:?} is not a valid DNS subdomain: {}", faults.join(";")));
        }
        return Ok((cut(pod::name(pod), host)?, String::new()));
    }
    let label = |value: &str, what: &str| {
        let faults = names::dns1123_label(value);
        if faults.is_empty() {
            Ok(())
        } else {
            Err(format!("pod {what} {value:?} is not a valid DNS label: {}", faults.join(";")))
        }
    };
    let given = spec.hostname.as_deref().filter(|h| !h.is_empty());
    if let Some(host) = given {
        label(host, "Hostname")?;
    }
    let host = cut(pod::name(pod), given.unwrap_or(pod::name(pod)))?;
    let domain = match spec.subdomain.as_deref().filter(|s| !s.is_empty()) {
        Some(subdomain) => {
            label(subdomain, "Subdomain")?;
            format!("{subdomain}.{}.svc.{cluster_domain}", pod::namespace(pod))
        }
        None => String::new(),
    };
    Ok((host, domain))
}

fn cut(pod: &str, host: &str) -> Result<String, String> {
    if host.len() <= HOST_NAME_LIMIT {
        return Ok(host.to_owned());
    }
    match host[..HOST_NAME_LIMIT].trim_end_matches(['-', '.']) {
        "" => Err(format!("hostname for pod {pod:?} was invalid: {host:?}")),
        short => Ok(short.to_owned()),
    }
}

/// What the pod's UTS namespace is called.
pub(crate) fn kernel_name(pod: &Pod, host: &str, domain: &str) -> Result<String, String> {
    if pod::spec(pod).set_hostname_as_fqdn != Some(true) || domain.is_empty() {
        return Ok(host.to_owned());
    }
    let full = format!("{host}.{domain}");
    if full.len() > 64 {
        return Err(format!(
            "Failed to construct FQDN from pod hostname and cluster domain, FQDN {full} is too long (64 characters is the max, {} characters requested)",
            full.len()
        ));
    }
    Ok(full)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_by_spec() {
        for (spec, expected) in [
            (json!({"containers": []}), Ok(("web-0".to_owned(), String::new()))),
            (
                json!({"containers": [], "hostname": "h", "subdomain": "s"}),
                Ok(("h".to_owned(), "s.ns.svc.cluster.local".to_owned())),
            ),
        ] {
            let pod = serde_json::from_value(json!({"metadata": {"name": "web-0", "namespace": "ns"}, "spec": spec}))
                .expect("a pod");
            assert_eq!(name_and_domain(&pod, "cluster.local"), expected);
        }
    }

    #[test]
    fn aliases_are_appended() {
        let alias = HostAlias { ip: "1.2.3.4".into(), hostnames: Some(vec!["a".into(), "b".into()]) };
        let file = managed(&["10.0.0.1".into()], "h", "d", &[alias]);
        assert!(file.ends_with("10.0.0.1\th.d\th\n\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"), "{file}");
    }
}
