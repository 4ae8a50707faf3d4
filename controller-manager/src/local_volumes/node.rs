//! What is asked of a node's kubelet, through the API server.

use http::{Method, Request};
use kube::Client;
use serde::Deserialize;
use serde_json::json;

use super::sync::Place;

/// A volume that the node has.
#[derive(Debug, Deserialize)]
pub(super) struct Kept {
    pub(super) path: String,
    /// Whether it can't grow beyond its capacity.
    pub(super) limited: bool,
}

/// Why the node has not done it.
pub(super) struct Fault {
    pub(super) message: String,
    /// Another node may have the room that this one lacks.
    pub(super) full: bool,
}

impl From<kube::Error> for Fault {
    fn from(error: kube::Error) -> Self {
        let full = matches!(&error, kube::Error::Api(status) if status.code == 507);
        Self { message: client::message(&error).trim().to_owned(), full }
    }
}

fn request(method: Method, node: &str, volume: &str, body: Vec<u8>) -> Result<Request<Vec<u8>>, Fault> {
    let path = format!("/api/v1/nodes/{node}/proxy/localVolumes/{volume}");
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json").body(body);
    request.map_err(|error| Fault { message: error.to_string(), full: false })
}

/// Has the node make the volume, or give it another capacity.
pub(super) async fn keep(client: &Client, place: &Place) -> Result<Kept, Fault> {
    let body = json!({"bytes": place.bytes, "block": place.block}).to_string().into_bytes();
    Ok(client.request(request(Method::PUT, &place.node, &place.volume, body)?).await?)
}

/// Has the node remove the volume.
pub(super) async fn remove(client: &Client, node: &str, volume: &str) -> Result<(), Fault> {
    client.request_text(request(Method::DELETE, node, volume, Vec::new())?).await?;
    Ok(())
}
