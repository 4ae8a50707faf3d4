//! An agent's kubeconfig names all servers of the cluster, as the endpoints of the `kubernetes` Service do: written again when
//! these change, and followed by every client that was made of it.

use std::path::PathBuf;
use std::sync::Arc;

use client::{Informers, Scope};
use component::Supervisor;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio::sync::Notify;

use super::{discovery, write};

/// Where the file is, and what is in it beside the servers.
#[derive(Debug, Clone)]
pub struct File {
    /// Itself.
    pub path: PathBuf,
    /// The cluster's authority.
    pub authority: PathBuf,
    /// The node's certificate with its key.
    pub certificate: PathBuf,
}

impl File {
    /// Names those servers in it.
    ///
    /// # Errors
    /// It can't be written.
    pub fn write(&self, servers: &[String]) -> anyhow::Result<()> {
        let certificate = serde_json::Value::from(self.certificate.display().to_string());
        let user = format!("{{ client-certificate: {certificate}, client-key: {certificate} }}");
        let text = discovery::kubeconfig(servers, Some(&self.authority), &user);
        if std::fs::read_to_string(&self.path).is_ok_and(|old| old == text) {
            return Ok(());
        }
        write(&self.path, &text, 0o600)
    }
}

/// Keeps the file's servers those that there are, until told to end.
pub async fn follow(file: File, informers: Informers, own: Supervisor) -> anyhow::Result<()> {
    let scope = Scope {
        namespace: Some("default".into()),
        label_selector: Some("kubernetes.io/service-name=kubernetes".into()),
        ..Scope::default()
    };
    let slices = informers.scoped::<EndpointSlice>(scope);
    let changed = Arc::new(Notify::new());
    let told = changed.clone();
    slices.on_change(move |_| told.notify_one());
    slices.synced().await;
    while own.until_stopped(changed.notified()).await.is_some() {
        let slices = slices.list();
        let servers = addresses(slices.iter().map(AsRef::as_ref));
        // A list without any is what a server shows that has just begun.
        if !servers.is_empty() {
            tracing::info!(?servers, "the cluster's servers");
            file.write(&servers)?;
        }
    }
    Ok(())
}

fn addresses<'a>(slices: impl Iterator<Item = &'a EndpointSlice>) -> Vec<String> {
    let mut all: Vec<String> = slices
        .flat_map(|slice| {
            let ports: Vec<i32> = slice.ports.iter().flatten().filter_map(|port| port.port).collect();
            let ready = slice.endpoints.iter().flatten().filter(|endpoint| {
                endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
            });
            let hosts = ready.flat_map(|endpoint| endpoint.addresses.iter()).map(|host| match host.contains(':') {
                true => format!("[{host}]"),
                false => host.clone(),
            });
            hosts.flat_map(move |host| ports.clone().into_iter().map(move |port| format!("{host}:{port}")))
        })
        .collect();
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn servers_are_the_ready_endpoints_of_the_kubernetes_service() {
        let slice = |kind: &str, endpoints: serde_json::Value| -> EndpointSlice {
            serde_json::from_value(json!({
                "metadata": { "name": kind }, "addressType": kind, "endpoints": endpoints, "ports": [{ "port": 6443 }],
            }))
            .unwrap()
        };
        let slices = [
            slice(
                "IPv4",
                json!([
                    { "addresses": ["192.0.2.2"] },
                    { "addresses": ["192.0.2.1"], "conditions": { "ready": true } },
                    { "addresses": ["192.0.2.3"], "conditions": { "ready": false } },
                ]),
            ),
            slice("IPv6", json!([{ "addresses": ["2001:db8::1"] }])),
        ];
        assert_eq!(addresses(slices.iter()), ["192.0.2.1:6443", "192.0.2.2:6443", "[2001:db8::1]:6443"]);
    }
}
