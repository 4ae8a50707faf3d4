//! Upstream's flags of whom a component asks, and for how long it remembers the answers.

use std::{path::PathBuf, time::Duration};

use anyhow::Context;
use component::tls::Authorities;

use super::{Delegated, Gate, Lasting, clients::Clients};
use crate::from_kubeconfig;

/// The flags.
#[derive(clap::Args, Debug)]
// A group would have this type's name, which those who flatten it may have too.
#[group(skip)]
pub struct Flags {
    /// Kubeconfig of the server to ask whose a token is; without it those who bear one are anonymous.
    #[arg(long)]
    authentication_kubeconfig: Option<PathBuf>,
    /// Take nothing that is missing from the cluster: with it, client certificates need --client-ca-file.
    #[arg(long)]
    authentication_skip_lookup: bool,
    /// Start even if what is missing can't be taken from the cluster.
    #[arg(long, default_value_t = true)]
    authentication_tolerate_lookup_failure: bool,
    /// How long it is remembered whose a token is.
    #[arg(long, value_parser = machinery::duration::length, default_value = "10s")]
    authentication_token_webhook_cache_ttl: Duration,
    /// Kubeconfig of the server to ask who may; without it nobody may what is not always allowed.
    #[arg(long)]
    authorization_kubeconfig: Option<PathBuf>,
    /// Paths that everybody may ask; one with * at its end stands for all that begin so.
    #[arg(long, value_delimiter = ',', default_value = "/healthz,/readyz,/livez")]
    authorization_always_allow_paths: Vec<String>,
    /// How long it is remembered that somebody may.
    #[arg(long, value_parser = machinery::duration::length, default_value = "10s")]
    authorization_webhook_cache_authorized_ttl: Duration,
    /// How long it is remembered that somebody may not.
    #[arg(long, value_parser = machinery::duration::length, default_value = "10s")]
    authorization_webhook_cache_unauthorized_ttl: Duration,
    /// Who signs certificates of clients; by default the authorities that the cluster names.
    #[arg(long)]
    client_ca_file: Option<PathBuf>,
}

impl Flags {
    /// Who may ask what is guarded.
    ///
    /// # Errors
    /// A kubeconfig can't be used.
    pub fn gate(&self, user_agent: &str) -> anyhow::Result<Gate> {
        let lasting = Lasting {
            token: self.authentication_token_webhook_cache_ttl,
            allowed: self.authorization_webhook_cache_authorized_ttl,
            denied: self.authorization_webhook_cache_unauthorized_ttl,
        };
        let asking = |kubeconfig: &Option<PathBuf>| -> anyhow::Result<Option<Delegated>> {
            let Some(file) = kubeconfig else { return Ok(None) };
            Ok(Some(Delegated::new(from_kubeconfig(file, user_agent)?, lasting)))
        };
        Ok(Gate::new(
            asking(&self.authentication_kubeconfig)?,
            asking(&self.authorization_kubeconfig)?,
            self.authorization_always_allow_paths.clone(),
        ))
    }

    /// The authorities of clients' certificates: those of the file, as it changes, or those that the cluster names, whom to
    /// ask for them again.
    ///
    /// # Errors
    /// The file can't be read; the cluster does not say, where that is not to be tolerated.
    pub(super) async fn clients(&self, user_agent: &str) -> anyhow::Result<Option<Clients>> {
        if let Some(file) = &self.client_ca_file {
            let authorities = Authorities::of_file(file).context("--client-ca-file")?;
            return Ok(Some(Clients::of(authorities)));
        }
        let Some(kubeconfig) = self.authentication_kubeconfig.as_ref().filter(|_| !self.authentication_skip_lookup)
        else {
            return Ok(None);
        };
        let mut clients = Clients::of_cluster(from_kubeconfig(kubeconfig, user_agent)?);
        match clients.look().await {
            Ok(()) => {}
            Err(error) if self.authentication_tolerate_lookup_failure => {
                tracing::warn!(error = format!("{error:#}"), "could not look up who signs certificates of clients");
            }
            Err(error) => return Err(error).context("looking up who signs certificates of clients"),
        }
        Ok(Some(clients))
    }
}
