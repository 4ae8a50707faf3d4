//! `kubectl cluster-info`.

use super::Command;
use crate::cli::{
    config,
    context::{Call, Context},
    failure::Outcome,
};

/// The table row.
pub const COMMAND: Command =
    Command { name: "cluster-info", aliases: &[], flags: &[], sub: &[], run: super::action!(run) };

async fn run(context: Context) -> Outcome {
    let built = config::client_config(config::load(&context.flags)?, &context.flags).await?;
    let server = built.cluster_url.to_string();
    let server = server.trim_end_matches('/');
    let call = Call::get("/api/v1/namespaces/kube-system/services")
        .query("labelSelector", "kubernetes.io/cluster-service=true");
    let services = context.json(call).await?;
    context.print(&format!("Kubernetes control plane is running at {server}\n"))?;
    for service in services["items"].as_array().into_iter().flatten() {
        let name = service["metadata"]["name"].as_str().unwrap_or_default();
        let label = service["metadata"]["labels"]["kubernetes.io/name"].as_str().unwrap_or(name);
        let port = service["spec"]["ports"][0]["name"].as_str().map(|port| format!(":{port}")).unwrap_or_default();
        context.print(&format!(
            "{label} is running at {server}/api/v1/namespaces/kube-system/services/{name}{port}/proxy\n"
        ))?;
    }
    context.print("\nTo further debug and diagnose cluster problems, use 'kubectl cluster-info dump'.\n")
}
