//! A container runtime's socket, as `ferry up` and `ferry down` speak to it: to ask what it has, before there is a kubelet
//! or after it.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use hyper_util::rt::TokioIo;
use proto::cri::runtime_service_client::RuntimeServiceClient;
use tonic::transport::{Channel, Endpoint, Uri};

/// A client of a runtime.
pub type Client = RuntimeServiceClient<Channel>;

/// The path of an endpoint's socket.
pub fn path_of(endpoint: &str) -> PathBuf {
    endpoint.trim_start_matches("unix://").into()
}

/// The path of an endpoint's socket, where a person has named the endpoint.
pub fn checked_path_of(endpoint: &str) -> anyhow::Result<PathBuf> {
    let path = path_of(endpoint);
    if !path.is_absolute() {
        bail!(
            "--container-runtime-endpoint {endpoint:?} is no unix socket: unix:///run/containerd/containerd.sock is one"
        );
    }
    Ok(path)
}

/// Connects to the socket.
pub async fn connect(socket: &Path) -> anyhow::Result<Client> {
    // Asked first for its own words: the transport's are "transport error".
    tokio::net::UnixStream::connect(socket).await.with_context(|| socket.display().to_string())?;
    let socket = socket.to_path_buf();
    let channel = Endpoint::from_static("http://runtime")
        .connect_with_connector(tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
        }))
        .await?;
    Ok(RuntimeServiceClient::new(channel))
}
