//! The manager's own server: health for everybody, metrics for those whom the API server lets read them.
//!
//! Upstream: `cmd/kube-controller-manager/app/controllermanager.go`.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use component::{Supervisor, serving, tls};

use crate::{COMPONENT, metrics, options::Options};

/// Serves until `tasks` end.
///
/// # Errors
/// The address is taken, or a file can't be used.
pub(crate) async fn serve(options: &Options, tasks: &Supervisor) -> anyhow::Result<()> {
    let pair = options.tls_cert_file.as_deref().zip(options.tls_private_key_file.as_deref());
    let resolver = tls::resolver(pair, COMPONENT)?;
    let user_agent = client::user_agent(COMPONENT, COMPONENT);
    let gate = options.delegated.gate(&user_agent)?;
    let client_ca = options.delegated.client_ca(&user_agent).await?;
    let config = Arc::new(tls::server_config(resolver, client_ca.as_deref())?);
    let address = SocketAddr::new(options.bind_address, options.secure_port);
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("failed to create listener on {address}"))?;
    let server = gate.guard(serving::Server::default().tls(config).metrics(metrics::write));
    tasks.vital("serving", move |own| server.serve(listener, own));
    Ok(())
}
