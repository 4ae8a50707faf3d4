//! The target of a proxied request: `[scheme:]name[:port]` of a pod, a service or a node. Follows ResourceLocation of
//! `pkg/registry/core/{pod,node}/strategy.go` and `pkg/registry/core/service/storage/storage.go`.

use std::net::IpAddr;

use machinery::gvk::GroupResource;
use machinery::json::Fields;
use machinery::status::StatusError;
use rand::seq::SliceRandom;
use serde_json::Value;

use super::super::super::Call;
use super::super::nodes::Location;
use model::resource::Resource;

/// Where the request goes.
pub(super) struct Target {
    /// `host:port`.
    pub authority: String,
    /// The host alone, for TLS.
    pub host: String,
    /// Whether the backend speaks TLS. Its certificate is nobody's to check, as upstream.
    pub tls: bool,
    /// The kubelet, reached with the server's own credentials.
    pub kubelet: Option<Location>,
}

impl Target {
    fn new(scheme: &str, host: &str, port: &str) -> Self {
        let tls = scheme == "https";
        let port = match (port, tls) {
            ("", true) => "443",
            ("", false) => "80",
            (port, _) => port,
        };
        let bracketed = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        Self { authority: format!("{bracketed}:{port}"), host: host.to_owned(), tls, kubelet: None }
    }
}

pub(super) async fn locate(call: &Call, row: &Resource) -> Result<Target, StatusError> {
    let what = row.singular.as_ref();
    let (scheme, name, port) = parse(&call.info.name)
        .ok_or_else(|| StatusError::bad_request(format!("invalid {what} request \"{}\"", call.info.name)))?;
    match row.resource.as_ref() {
        "pods" => pod(call, scheme, name, port).await,
        "services" => service(call, scheme, name, port).await,
        _ => node(call, scheme, name, port),
    }
}

/// Scheme, name and port; the scheme and the port may be empty.
fn parse(id: &str) -> Option<(&str, &str, &str)> {
    let parts: Vec<&str> = id.split(':').collect();
    let (scheme, name, port) = match parts.as_slice() {
        [name] => ("", *name, ""),
        [name, port] => ("", *name, *port),
        [scheme, name, port] => (*scheme, *name, *port),
        _ => return None,
    };
    (!name.is_empty() && matches!(scheme, "" | "http" | "https")).then_some((scheme, name, port))
}

async fn pod(call: &Call, scheme: &str, name: &str, port: &str) -> Result<Target, StatusError> {
    let pod = get(call, "pods", name).await?;
    let first = || pod["spec"].list("containers").iter().find_map(|c| c["ports"][0]["containerPort"].as_i64());
    let port = if port.is_empty() { first().map(|p| p.to_string()).unwrap_or_default() } else { port.to_owned() };
    let ip = pod["status"]["podIPs"][0]["ip"].as_str().or(pod["status"]["podIP"].as_str()).unwrap_or_default();
    if !ip.parse().is_ok_and(is_global_unicast) {
        return Err(StatusError::bad_request("address not allowed"));
    }
    Ok(Target::new(scheme, ip, &port))
}

/// Go's `IP.IsGlobalUnicast`, which private addresses are too.
fn is_global_unicast(ip: IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || link_local)
}

async fn service(call: &Call, scheme: &str, name: &str, port: &str) -> Result<Target, StatusError> {
    let unavailable =
        |id: &str| StatusError::service_unavailable(format!("no endpoints available for service \"{id}\""));
    // A number is the Service's port; endpoints know ports by name.
    let port_name = match port.parse::<i64>() {
        Ok(number) => {
            let service = get(call, "services", name).await?;
            let found = service["spec"].list("ports").iter().find(|p| p["port"].as_i64() == Some(number));
            let found = found.map(|p| p.text("name").to_owned());
            found.ok_or_else(|| {
                StatusError::service_unavailable(format!("no service port {number} found for service \"{name}\""))
            })?
        }
        Err(_) => port.to_owned(),
    };
    let endpoints = get(call, "endpoints", name).await?;
    let mut subsets: Vec<&Value> = endpoints.list("subsets").iter().collect();
    if subsets.is_empty() {
        return Err(unavailable(name));
    }
    subsets.shuffle(&mut rand::rng());
    for subset in subsets {
        let Some(port) = subset.list("ports").iter().find(|p| p.text("name") == port_name) else {
            continue;
        };
        let mut addresses: Vec<&Value> = subset.list("addresses").iter().collect();
        addresses.shuffle(&mut rand::rng());
        if let Some(ip) = addresses.into_iter().find_map(|address| of_pod(call, address)) {
            return Ok(Target::new(scheme, ip, &port["port"].to_string()));
        }
    }
    Err(unavailable(&call.info.name))
}

/// The address, if a pod has it: whoever writes Endpoints must not make the server reach anything else.
fn of_pod<'a>(call: &Call, address: &'a Value) -> Option<&'a str> {
    let (ip, target) = (address["ip"].as_str()?, &address["targetRef"]);
    if target["kind"] != "Pod" {
        return None;
    }
    let pods = GroupResource::new("", "pods");
    let pod = call.server.registry.get(&pods, target["namespace"].as_str(), target["name"].as_str()?)?;
    pod["status"].list("podIPs").iter().any(|p| p["ip"] == ip).then_some(ip)
}

fn node(call: &Call, scheme: &str, name: &str, port: &str) -> Result<Target, StatusError> {
    let kubelet = call.server.nodes.locate(&call.server.registry, name)?;
    if !kubelet.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback() || is_global_unicast(ip)) {
        return Err(StatusError::bad_request("address not allowed"));
    }
    if port.is_empty() || kubelet.authority.ends_with(&format!(":{port}")) {
        let target = Target::new("https", &kubelet.host, port);
        return Ok(Target { authority: kubelet.authority.clone(), kubelet: Some(kubelet), ..target });
    }
    Ok(Target::new(scheme, &kubelet.host, port))
}

async fn get(call: &Call, resource: &str, name: &str) -> Result<std::sync::Arc<Value>, StatusError> {
    let resource = GroupResource::new("", resource);
    let found = call.server.registry.get_consistent(&resource, call.namespace(), name).await?;
    found.ok_or_else(|| StatusError::not_found(&resource, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_carry_scheme_and_port() {
        for (id, expect) in [
            ("a", Some(("", "a", ""))),
            ("a:80", Some(("", "a", "80"))),
            ("https:a:", Some(("https", "a", ""))),
            ("https:a:web", Some(("https", "a", "web"))),
            ("ftp:a:21", None),
            (":80", None),
            ("a:b:c:d", None),
        ] {
            assert_eq!(parse(id), expect, "{id}");
        }
    }

    #[test]
    fn nothing_of_the_machine_itself_is_proxied_to() {
        for (ip, expect) in [
            ("10.244.0.7", true),
            ("fd00::7", true),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("0.0.0.0", false),
            ("224.0.0.1", false),
            ("fe80::1", false),
        ] {
            assert_eq!(is_global_unicast(ip.parse().expect("an address")), expect, "{ip}");
        }
    }
}
