//! The connection to a kubelet: the address its Node reports, TLS with the server's own client certificate.

use std::sync::Arc;
use std::time::Duration;

use machinery::gvk::GroupResource;
use machinery::status::StatusError;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use writes::Registry;

/// How long a connection to a node or what runs on it may take to stand.
pub(super) const CONNECT: Duration = Duration::from_secs(10);

/// What the server needs to dial kubelets.
#[derive(Clone)]
pub struct Nodes {
    /// Client certificate and the CA that kubelets' certificates are checked with (or none, as upstream without
    /// `--kubelet-certificate-authority`).
    pub tls: Arc<rustls::ClientConfig>,
    /// For what is proxied to: no certificate of ours, theirs is not checked, as upstream.
    pub backend_tls: Arc<rustls::ClientConfig>,
    /// Address types by preference: upstream's `--kubelet-preferred-address-types`.
    pub address_types: Vec<String>,
}

/// A kubelet's place.
pub struct Location {
    /// `host:port`, for the Host header and the dial.
    pub authority: String,
    pub(super) host: String,
}

impl Nodes {
    /// Where a node's kubelet listens, from the Node object.
    pub fn locate(&self, registry: &Registry, node: &str) -> Result<Location, StatusError> {
        let nodes = GroupResource::new("", "nodes");
        let object = registry.get(&nodes, None, node).ok_or_else(|| StatusError::not_found(&nodes, node))?;
        let addresses = object["status"]["addresses"].as_array().cloned().unwrap_or_default();
        let host = self
            .address_types
            .iter()
            .find_map(|kind| addresses.iter().find(|a| a["type"] == kind.as_str()).and_then(|a| a["address"].as_str()))
            .ok_or_else(|| {
                StatusError::internal(format!("no preferred addresses found; known addresses: {addresses:?}"))
            })?;
        let port = object["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_i64().unwrap_or(10250);
        let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        Ok(Location { authority, host: host.to_string() })
    }

    /// A connection to a kubelet.
    pub async fn connect(&self, location: &Location) -> Result<TlsStream<TcpStream>, StatusError> {
        let failed = |why: String| {
            StatusError::internal(format!("error dialing backend: dial tcp {}: {why}", location.authority))
        };
        let name = ServerName::try_from(location.host.clone()).map_err(|e| failed(e.to_string()))?;
        let dial = async {
            let stream = TcpStream::connect(&location.authority).await.map_err(|e| failed(e.to_string()))?;
            let _ = stream.set_nodelay(true);
            TlsConnector::from(self.tls.clone()).connect(name, stream).await.map_err(|e| failed(e.to_string()))
        };
        tokio::time::timeout(CONNECT, dial).await.unwrap_or_else(|_| Err(failed("i/o timeout".into())))
    }
}
