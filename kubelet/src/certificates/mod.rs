//! The node's certificates: the first one, asked for with a bootstrap token, and those after it.
//!
//! Upstream: cmd/kubelet/app/server.go (buildKubeletClientConfig), pkg/kubelet/certificate.

mod bootstrap;
mod serving;

pub use bootstrap::{bootstrap, needed};
pub(crate) use serving::serve;

use std::{path::PathBuf, sync::Arc};

use anyhow::Context;
use client::certificates::{KUBELET_CLIENT, Renewal, renew};
use component::{
    Supervisor,
    tls::{Certificate, Rotating, Store, request::Template},
};
use jiff::Timestamp;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::sync::watch;

/// The feature that has the cluster sign the certificate of the node's port.
pub(crate) const SERVING: &str = "RotateKubeletServerCertificate";
/// The feature that has such a certificate asked for by a node without an address.
const NAMES_DO: &str = "AllowDNSOnlyNodeCSR";

/// Where a node's credentials are.
#[derive(Debug, Clone)]
pub struct Files {
    /// How the node reaches the API server once it has a certificate. Written by [`bootstrap`].
    pub kubeconfig: PathBuf,
    /// With what it asks for its first certificate.
    pub bootstrap_kubeconfig: Option<PathBuf>,
    /// Its certificates.
    pub cert_dir: PathBuf,
}

impl Files {
    fn store(&self) -> Store {
        Store::new(&self.cert_dir, "kubelet-client")
    }
}

/// What a node's client certificate says.
fn template(node: &str) -> Template {
    Template {
        common_name: format!("system:node:{node}"),
        organization: Some("system:nodes".into()),
        ..Template::default()
    }
}

/// The client certificate of a kubeconfig, as far as it has a good one.
fn certificate_of(kubeconfig: &Kubeconfig) -> anyhow::Result<(Certificate, Vec<u8>, Vec<u8>)> {
    // The loader is async by type only; it reads files and nothing else.
    let current = KubeConfigOptions::default();
    let loaded = kube::Config::from_custom_kubeconfig(kubeconfig.clone(), &current);
    let own = serde_json::to_value(futures::executor::block_on(loaded)?.auth_info)?;
    let pem = |inline: &str, file: &str| -> anyhow::Result<Vec<u8>> {
        if let Some(data) = own[inline].as_str().filter(|data| !data.is_empty()) {
            use base64::Engine;
            return Ok(base64::engine::general_purpose::STANDARD.decode(data)?);
        }
        let path = own[file].as_str().with_context(|| format!("it has no {file}"))?;
        std::fs::read(path).with_context(|| path.to_owned())
    };
    let cert = pem("client-certificate-data", "client-certificate")?;
    let key = pem("client-key-data", "client-key")?;
    Ok((Certificate::from_pem(&cert, &key)?, cert, key))
}

/// The certificate that a store has, unless it has expired or can't be read, as after a loss of power: another is asked for
/// then.
fn kept(store: &Store, now: Timestamp) -> Option<Certificate> {
    match store.current() {
        Ok(kept) => kept.filter(|kept| now < kept.facts.not_after),
        Err(error) => {
            tracing::warn!(error = format!("{error:#}"), "a kept certificate is not used");
            None
        }
    }
}

/// Keeps the node's client certificate good as a task of `tasks`; a client has it by `client::renewed`.
///
/// The one to begin with is the store's, or, where that has none that is good, the kubeconfig's, which is then replaced at
/// once: it may be one of more rights, as kubeadm's on a control plane was.
///
/// # Errors
/// There is none to begin with, and nothing to ask for one with.
pub fn rotate(files: &Files, node: &str, tasks: &Supervisor) -> anyhow::Result<Arc<Rotating>> {
    let store = files.store();
    let now = Timestamp::now();
    let (first, at_once) = match kept(&store, now) {
        Some(kept) => (Some(kept), false),
        None => {
            let kubeconfig = Kubeconfig::read_from(&files.kubeconfig)
                .with_context(|| format!("kubeconfig {}", files.kubeconfig.display()))?;
            let given = certificate_of(&kubeconfig).and_then(|(certificate, cert, key)| {
                let until = certificate.facts.not_after;
                anyhow::ensure!(now < until, "its client certificate expired {until}");
                store.update(&cert, &key, now)
            });
            match given {
                Ok(first) => (Some(first), true),
                Err(_) if files.bootstrap_kubeconfig.as_ref().is_some_and(|file| file.exists()) => (None, true),
                Err(error) => {
                    return Err(error).with_context(|| {
                        format!(
                            "{} is of no use, and there is no --bootstrap-kubeconfig to ask for a certificate with",
                            files.kubeconfig.display()
                        )
                    });
                }
            }
        }
    };
    let certificate = Rotating::new(first);
    let agent = client::user_agent("kubelet", "");
    let own = client::renewed(&files.kubeconfig, certificate.clone(), &agent)?;
    let bootstrap = files.bootstrap_kubeconfig.clone();
    let asker = Arc::new(move |good: bool| match bootstrap.as_ref().filter(|file| !good && file.exists()) {
        Some(file) => client::from_kubeconfig(file, &agent),
        None => Ok(own.clone()),
    });
    let renewal = Renewal {
        purpose: KUBELET_CLIENT,
        // It never changes, so that nobody need hold the other end.
        template: watch::channel(Some(template(node))).1,
        certificate: certificate.clone(),
        store,
        asker,
        at_once,
        lasts: None,
    };
    crate::start::keep(tasks, "client certificate", move || renew(renewal.clone()));
    Ok(certificate)
}
