//! The node agent: pods become containers through a CRI runtime.
//!
//! It knows the API's pods, nodes and leases, the runtime's interface, and this machine's files, mounts and cgroups. It must not
//! know storage, or any other component: it is a client of the API server and no more.

mod backoff;
pub mod certificates;
mod cgroups;
mod config;
mod container;
mod cri;
mod events;
mod eviction;
mod hooks;
mod housekeeping;
mod http;
mod images;
mod logs;
mod node;
mod node_agent;
mod objects;
mod pleg;
mod pod;
mod pod_worker;
mod probes;
mod qos;
mod quantity;
mod server;
mod start;
mod stats;
mod status;
#[cfg(test)]
mod testing;
mod tokens;
mod volumes;

pub use config::{Authentication, Authorization, Config, KubeletConfiguration, Span, Taint};
pub use node::ready::until_ready;
pub use start::run;

use anyhow::Context;

/// A kubelet as a process of its own, with upstream's flags and configuration file.
///
/// # Errors
/// Flags or files are wrong, or the node cannot work at all; what can mend itself is waited for.
pub async fn main(argv: Vec<String>) -> anyhow::Result<()> {
    let (config, flags) = config::flags::parse(&argv)?;
    component::init_logging(flags.v);
    for field in config.file.rest.keys() {
        tracing::warn!(field, "KubeletConfiguration field is not supported, it is ignored");
    }
    config.feature_gates.warn(&[]);
    let kubeconfig =
        flags.kubeconfig.context("--kubeconfig is required: a kubelet without an API server is not supported")?;
    let (root, manager) = (component::supervised(), component::notify::Manager::of_this_process());
    let (bootstrap_kubeconfig, cert_dir) = (flags.bootstrap_kubeconfig, flags.cert_dir);
    let files = certificates::Files { kubeconfig, bootstrap_kubeconfig, cert_dir };
    manager.status("waiting for a certificate");
    match root.until_stopped(certificates::bootstrap(&files, &config.node_name)).await {
        Some(outcome) => outcome?,
        None => return root.finish().await,
    }
    let rotating = match config.file.rotate_certificates {
        true => Some(certificates::rotate(&files, &config.node_name, &root)?),
        false => None,
    };
    let agent = client::user_agent("kubelet", "");
    let connect = || match &rotating {
        Some(certificate) => client::renewed(&files.kubeconfig, certificate.clone(), &agent),
        None => client::from_kubeconfig(&files.kubeconfig, &agent),
    };
    // A connection of its own: the heartbeat waits for nothing.
    let (client, heartbeat) = (connect()?, connect()?);
    manager.status("waiting for the node to be Ready");
    let name = config.node_name.clone();
    let ready = until_ready(client.clone(), &name);
    root.vital("kubelet", move |own| start::run_with(config, client, heartbeat, own));
    manager.tell(ready, || async { component::notify::tasks() }, root.stopping()).await;
    root.finish().await
}
