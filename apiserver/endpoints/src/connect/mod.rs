//! Connect: subresources whose answer is a stream from a node (log, exec, attach, port-forward) or from what runs there
//! (proxy). The API server finds
//! the node, authenticates to its kubelet, and carries bytes; what it translates is only the client's WebSocket into
//! the SPDY that container runtimes speak.

use http::Response;
use machinery::gvk::GroupResource;
use machinery::meta;
use machinery::status::StatusError;
use model::resource::Resource;
use negotiation::Body;
use serde_json::Value;
use writes::admission::{self, Operation, Options};
use writes::strategy::Kind;

use super::Call;
use crate::dispatch::no_such_path;

mod log;
mod nodes;
mod proxy;
mod streams;

pub use nodes::Nodes;

/// Whether a subresource of that row is a stream.
pub fn serves(row: &Resource, subresource: &str) -> bool {
    let of_pod = row.resource == "pods" && matches!(subresource, "log" | "exec" | "attach" | "portforward");
    let proxied = subresource == "proxy" && matches!(row.resource.as_ref(), "pods" | "services" | "nodes");
    row.group.is_empty() && (of_pod || proxied)
}

pub(super) async fn handle(call: Call, row: &Kind) -> Result<Response<Body>, StatusError> {
    let allowed: &[&str] = match call.info.subresource.as_str() {
        "log" => &["get"],
        // OPTIONS has no verb.
        "proxy" => &["get", "create", "update", "patch", "delete", ""],
        _ => &["get", "create"],
    };
    if !allowed.contains(&call.info.verb) {
        return Err(StatusError::method_not_supported(&row.group_resource(), call.info.verb));
    }
    {
        let cx = call.write_context(row, false);
        let request = admission::Request::new(&cx, Operation::Connect, &call.info.name, None, Options::None);
        cx.registry.admission().admit(&request, &mut Value::Null).await?;
        cx.registry.admission().validate(&request, &Value::Null).await?;
    }
    if call.info.subresource == "proxy" {
        return proxy::handle(call, row).await;
    }
    let pods = GroupResource::new("", "pods");
    let pod = call
        .server
        .registry
        .get_consistent(&pods, call.namespace(), &call.info.name)
        .await?
        .ok_or_else(|| StatusError::not_found(&pods, &call.info.name))?;
    match call.info.subresource.as_str() {
        "log" => log::handle(call, &pod).await,
        "exec" | "attach" | "portforward" => streams::handle(call, &pod).await,
        _ => Err(no_such_path()),
    }
}

/// The container that a request is for: the named one, or the only one. Follows `pkg/registry/core/pod/strategy.go`.
fn container<'a>(pod: &'a Value, named: Option<&'a str>) -> Result<&'a str, StatusError> {
    let name = meta::name(pod);
    let names = |list: &str| -> Vec<&'a str> {
        pod["spec"][list].as_array().map(|c| c.iter().filter_map(|c| c["name"].as_str()).collect()).unwrap_or_default()
    };
    let (containers, init, ephemeral) = (names("containers"), names("initContainers"), names("ephemeralContainers"));
    if let Some(wanted) = named {
        if containers.iter().chain(&init).chain(&ephemeral).any(|c| *c == wanted) {
            return Ok(wanted);
        }
        return Err(StatusError::bad_request(format!("container {wanted} is not valid for pod {name}")));
    }
    match containers.as_slice() {
        [only] => Ok(only),
        [] => Err(StatusError::bad_request(format!("a container name must be specified for pod {name}"))),
        several => {
            let mut message =
                format!("a container name must be specified for pod {name}, choose one of: [{}]", several.join(" "));
            if !init.is_empty() {
                message.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
            }
            Err(StatusError::bad_request(message))
        }
    }
}

/// The node that runs a pod; 400 while there is none.
fn node_of(pod: &Value) -> Result<&str, StatusError> {
    pod["spec"]["nodeName"]
        .as_str()
        .filter(|node| !node.is_empty())
        .ok_or_else(|| StatusError::bad_request(format!("pod {} does not have a host assigned", meta::name(pod))))
}
