//! `ferry join`: this machine becomes a node of a cluster, as an agent or as another server. Which cluster it is says a token
//! (`ferry token create` on a server); what was said once is kept, so that `ferry join` alone starts the node again.
//!
//! An agent has two identities, both of this node alone: its kubelet's, asked for with the token as any kubelet does, and that
//! of everything beside the kubelet, which the node may ask for. Both are renewed while it runs. It knows all servers, and goes
//! on with another when one is gone.

mod agent;
pub mod discovery;
mod flags;
pub mod keys;
mod server;
mod servers;
pub mod settings;
pub mod token;

use std::sync::Arc;

use anyhow::bail;
use component::files::write;

use crate::up::{Progress, checks, dependencies, lock, nat};
pub use flags::{Join, Kept};
use token::Token;

/// `ferry join`.
///
/// # Errors
/// In one line: what is wrong with the token, the cluster or this machine.
pub async fn main(argv: Vec<String>) -> anyhow::Result<()> {
    let given: Join = component::flags::parse("ferry join", &argv, &[])?;
    let data = given.data_dir.clone();
    let kept = Kept::read(&data)?;
    let flags = match (&given.cluster, kept) {
        (Some(_), Some(kept)) if kept.is_server != given.server => bail!(
            "{} holds {}: `ferry leave` first, or give another --data-dir",
            data.display(),
            if kept.is_server { "a server" } else { "an agent" }
        ),
        (Some(_), _) => given,
        (None, Some(kept)) => kept.with(&argv)?,
        (None, None) => bail!(
            "give a server of the cluster and a token: `ferry token create`, said there, prints the whole command"
        ),
    };
    component::init_logging(flags.v);
    let progress = Arc::new(Progress::begin());
    dependencies::check("join", flags.install_deps, flags.container_runtime_endpoint.is_some())?;
    let name = checks::node_name(flags.node_name.as_deref())?;
    let layout = checks::layout(&data)?;
    if Kept::read(&data)?.is_none() && layout.data.join("store").exists() {
        bail!("{} holds a cluster of its own (`ferry up`): give another --data-dir", data.display());
    }
    let _lock = lock::take(&layout)?;
    nat::remember(&layout);
    write(&layout.node_name_file(), &name, 0o644)?;
    let token = flags.token()?.map(|text| text.parse::<Token>()).transpose()?;
    let root = component::supervised();
    let work = async {
        match flags.server {
            true => server::begin(&flags, &layout, name, token, progress.clone(), &root).await,
            false => agent::begin(&flags, &layout, name, token, progress.clone(), &root).await,
        }
    };
    // Who is told to end while it waits for a server ends.
    match root.until_stopped(work).await {
        Some(Err(error)) => {
            root.stop();
            return Err(root.finish().await.err().unwrap_or(error));
        }
        Some(Ok(())) => Kept::write(&data, &argv, flags.server)?,
        None => {}
    }
    root.stopping().cancelled().await;
    progress.manager.stopping();
    println!("stopping; containers go on running (ferry leave takes the node away)");
    root.finish().await
}
