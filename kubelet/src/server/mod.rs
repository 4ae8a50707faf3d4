//! What the API server, metrics collectors and operators ask a node. Upstream: pkg/kubelet/server/server.go.

mod auth;
mod files;
mod local_volumes;
mod logs;
mod pods;
mod stats;
mod streams;

use crate::{certificates, config::Config, node_agent::Agent};
use anyhow::Context;
use axum::{
    Router,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{any, get},
};
use component::{
    Supervisor,
    serving::{Checks, Server},
    tls::{self, Authorities},
};
use std::{net::IpAddr, sync::Arc};
use tokio::net::TcpListener;

/// Opens the port before anything else is done: a port that is taken is found out at once.
pub(crate) async fn listen(config: &Config) -> anyhow::Result<TcpListener> {
    let address: IpAddr =
        config.file.address.parse().with_context(|| format!("invalid address {:?}", config.file.address))?;
    TcpListener::bind((address, config.file.port))
        .await
        .with_context(|| format!("failed to listen on {address}:{}", config.file.port))
}

pub(crate) async fn serve(agent: Arc<Agent>, listener: TcpListener, own: Supervisor) -> anyhow::Result<()> {
    let config = &agent.config;
    let authorities = match (&config.client_ca_pem, &config.file.authentication.x509.client_ca_file) {
        (Some(pem), _) => Some(Authorities::of_pem(pem.as_bytes())?),
        (None, Some(path)) => Some(Authorities::of_file(path).context("unable to load client CA file")?),
        (None, None) => None,
    };
    let tls = Arc::new(tls::server_config_with(certificate(&agent, &own)?, authorities.map(Arc::new))?);
    let gate = Arc::new(auth::Gate::new(agent.client.clone(), config));
    let server = Server::new(Checks::new(), Checks::new()).tls(tls).guarded(routes(agent.clone()));
    let server = server.authorized(move |parts| {
        let gate = gate.clone();
        async move { gate.refusal(&parts).await }
    });
    server.serve(listener, own).await?;
    Ok(())
}

/// Everything that is served to those who may ask for it.
fn routes(agent: Arc<Agent>) -> Router {
    let file = &agent.config.file;
    let always = Router::new().merge(pods::routes()).merge(stats::routes()).merge(local_volumes::routes());
    let routes = if file.enable_debugging_handlers {
        let files = if file.enable_system_log_handler {
            files::routes()
        } else {
            disabled(&["/logs/", "/logs/{*path}"], "logs endpoint is disabled.")
        };
        always.merge(logs::routes()).merge(streams::routes()).merge(files)
    } else {
        let paths = ["/run", "/exec", "/attach", "/portForward", "/containerLogs", "/logs"];
        let paths: Vec<String> = paths.iter().flat_map(|p| [format!("{p}/"), format!("{p}/{{*path}}")]).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        always.merge(disabled(&paths, "Debug endpoints are disabled."))
    };
    routes.with_state(agent)
}

fn disabled(paths: &[&str], message: &'static str) -> Router<Arc<Agent>> {
    let say = move || async move { refuse(StatusCode::METHOD_NOT_ALLOWED, message) };
    paths.iter().fold(Router::new(), |routes, path| routes.route(path, any(say)))
}

/// Given, signed by the cluster, in files, or one that vouches for itself.
fn certificate(agent: &Agent, own: &Supervisor) -> anyhow::Result<Arc<dyn rustls::server::ResolvesServerCert>> {
    let config = &agent.config;
    if let Some(serving) = &config.serving {
        return Ok(serving.clone());
    }
    if let Some((cert, key)) = &config.serving_pem {
        return Ok(Arc::new(tls::Fixed(Arc::new(tls::certified_key(cert.as_bytes(), key.as_bytes())?))));
    }
    if let (Some(cert), Some(key)) = (&config.file.tls_cert_file, &config.file.tls_private_key_file) {
        return Ok(Arc::new(tls::Reloading::new(cert, key)?));
    }
    if let Some(dir) = config.cert_dir.as_ref().filter(|_| config.file.server_tls_bootstrap) {
        return Ok(certificates::serve(agent, dir, own));
    }
    let now = time::OffsetDateTime::now_utc();
    let ca = tls::pki::Ca::new(&format!("{}-ca@{}", config.node_name, now.unix_timestamp()), now)?;
    let leaf = tls::pki::Leaf {
        common_name: format!("{}@{}", config.node_name, now.unix_timestamp()),
        sans: agent.host_ips.iter().cloned().chain([config.node_name.clone()]).collect(),
        server: true,
        ..tls::pki::Leaf::default()
    };
    let pair = ca.sign(&leaf, now)?;
    Ok(Arc::new(tls::Fixed(Arc::new(tls::certified_key(pair.cert_pem.as_bytes(), pair.key_pem.as_bytes())?))))
}

/// The health port, without TLS, on loopback by default.
pub(crate) async fn healthz(config: &Config, own: Supervisor) -> anyhow::Result<()> {
    let address: IpAddr = config
        .file
        .healthz_bind_address
        .parse()
        .with_context(|| format!("invalid healthzBindAddress {:?}", config.file.healthz_bind_address))?;
    let listener = TcpListener::bind((address, config.file.healthz_port)).await?;
    Server::new(Checks::new(), Checks::new())
        .open(Router::new().route("/", get(|| async { "ok" })))
        .serve(listener, own)
        .await?;
    Ok(())
}

/// An error in plain text, as upstream's kubelet writes them.
fn refuse(status: StatusCode, message: impl Into<String>) -> Response {
    (status, format!("{}\n", message.into())).into_response()
}
