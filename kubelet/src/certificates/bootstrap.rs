//! The first certificate: a kubeconfig whose credentials may ask for one (a bootstrap token) becomes one with a certificate.
//!
//! The key is kept until its request is answered, and the request is named after it: a kubelet that starts again, or crashes
//! anywhere on the way, finds its own request and posts no other.
//!
//! Upstream: pkg/kubelet/certificate/bootstrap/bootstrap.go.

use std::{fs, io::ErrorKind, path::Path, time::Duration};

use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use client::certificates::{Cause, Fault, KUBELET_CLIENT, ask, explain, wait};
use component::{
    files::write,
    tls::request::{Key, Template},
};
use jiff::Timestamp;
use kube::config::{KubeConfigOptions, Kubeconfig};
use sha2::{Digest, Sha512_256};
use tokio::time::Instant;

use super::{Files, certificate_of, template};

/// The key whose request is not answered yet.
const PENDING_KEY: &str = "kubelet-client.key.tmp";
/// How long the server may be away.
const REACH: Duration = Duration::from_secs(60);
/// How long the request may wait for an approval.
const WAIT: Duration = Duration::from_secs(3600);

/// Sees to it that there is a kubeconfig with a good client certificate: asks for one unless it is there.
///
/// # Errors
/// One line that says why there is none, for whoever is to mend it; see [`Fault`].
pub async fn bootstrap(files: &Files, node: &str) -> anyhow::Result<()> {
    let Some(bootstrap) = &files.bootstrap_kubeconfig else { return Ok(()) };
    let pending = files.cert_dir.join(PENDING_KEY);
    match standing(&files.kubeconfig)? {
        Standing::Good => {
            // Left by a crash after the last step.
            let _ = fs::remove_file(&pending);
            return Ok(());
        }
        Standing::Missing => {}
        Standing::Bad(why) => tracing::warn!(why, "the kubeconfig is not used, a certificate is asked for"),
    }
    let kubeconfig = Kubeconfig::read_from(bootstrap)
        .with_context(|| format!("unable to load bootstrap kubeconfig: {}", bootstrap.display()))?;
    let place = Place::of(&kubeconfig).with_context(|| format!("bootstrap kubeconfig {}", bootstrap.display()))?;
    let client = client::from_kubeconfig(bootstrap, &client::user_agent("kubelet", ""))?;
    let until = Instant::now() + REACH;
    let (mut told, mut anew) = (false, false);
    let (cert, key) = loop {
        let key = pending_key(&pending)?;
        let fault = match request(&client, &key, node).await {
            Ok(cert) => break (cert, key),
            Err(fault) => fault,
        };
        if fault.cause == Cause::Stale && !anew {
            tracing::warn!(%fault, "another key is taken");
            fs::remove_file(&pending).with_context(|| pending.display().to_string())?;
            anew = true;
            continue;
        }
        if fault.cause == Cause::Denied {
            // Whoever mends why it was denied, and starts again, has another request.
            let _ = fs::remove_file(&pending);
        }
        if fault.is_lasting() || Instant::now() >= until {
            return Err(explain(fault, bootstrap, &place.server, place.token.as_deref()).await.into());
        }
        if !told {
            tracing::info!(server = place.server, %fault, "waiting for the API server, to ask for a certificate");
            told = true;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    };
    let store = files.store();
    let certificate = store.update(&cert, key.pem().as_bytes(), Timestamp::now())?;
    check_clock(certificate.facts.not_before, certificate.facts.not_after, Timestamp::now())?;
    write(&files.kubeconfig, &place.with_certificate(&store.current_path()), 0o600)?;
    if let Err(error) = fs::remove_file(&pending) {
        tracing::warn!(file = %pending.display(), %error, "the key that is no longer pending stays");
    }
    tracing::info!(until = %certificate.facts.not_after, "the node has a client certificate");
    Ok(())
}

/// Whether the kubeconfig has no good client certificate.
///
/// # Errors
/// It can't be read.
pub fn needed(kubeconfig: &Path) -> anyhow::Result<bool> {
    Ok(!matches!(standing(kubeconfig)?, Standing::Good))
}

/// Whether there is need of a certificate.
enum Standing {
    Good,
    Missing,
    Bad(String),
}

fn standing(kubeconfig: &Path) -> anyhow::Result<Standing> {
    match fs::metadata(kubeconfig) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Standing::Missing),
        Err(error) => return Err(error).with_context(|| format!("reading {}", kubeconfig.display())),
    }
    let read = Kubeconfig::read_from(kubeconfig).map_err(anyhow::Error::from);
    Ok(match read.and_then(|read| certificate_of(&read)) {
        Ok((certificate, ..)) if Timestamp::now() <= certificate.facts.not_after => Standing::Good,
        Ok((certificate, ..)) => Standing::Bad(format!("its certificate expired {}", certificate.facts.not_after)),
        Err(error) => Standing::Bad(format!("{error:#}")),
    })
}

/// The key of the request that is under way, or a new one.
fn pending_key(path: &Path) -> anyhow::Result<Key> {
    match fs::read_to_string(path).map(|pem| Key::from_pem(&pem)) {
        Ok(Ok(key)) => return Ok(key),
        Ok(Err(error)) => {
            tracing::warn!(file = %path.display(), %error, "the pending key can't be read, it is replaced")
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    }
    let key = Key::generate()?;
    write(path, &key.pem(), 0o600)?;
    Ok(key)
}

async fn request(client: &kube::Client, key: &Key, node: &str) -> Result<Vec<u8>, Fault> {
    let template = template(node);
    let pem = key.request(&template).map_err(|error| Fault::new(Cause::Other, format!("{error:#}")))?;
    let name = name(key, &template);
    let asked = ask(client, (&pem, key), Some(&name), KUBELET_CLIENT, None).await?;
    tracing::info!(name, "waiting for the client certificate to be issued");
    match tokio::time::timeout(WAIT, wait(client, &asked)).await {
        Ok(answer) => answer,
        Err(_) => Err(Fault::new(
            Cause::Other,
            format!(
                "the certificate signing request {name} was not approved within an hour (kubectl certificate approve)"
            ),
        )),
    }
}

/// The name of a request: what it is about, digested as upstream does it, each part encoded so that no two lists of parts
/// read the same.
fn name(key: &Key, template: &Template) -> String {
    let mut hash = Sha512_256::new();
    let mut add = |part: &[u8]| {
        hash.update(URL_SAFE_NO_PAD.encode(part));
        hash.update(b"|");
    };
    add(&key.public_der());
    add(template.common_name.as_bytes());
    template.organization.iter().for_each(|group| add(group.as_bytes()));
    KUBELET_CLIENT.usages.iter().for_each(|usage| add(usage.as_bytes()));
    format!("node-csr-{}", URL_SAFE_NO_PAD.encode(hash.finalize()))
}

/// A certificate that was signed just now is valid now: by the clock of who signed it.
fn check_clock(not_before: Timestamp, not_after: Timestamp, now: Timestamp) -> anyhow::Result<()> {
    let seconds = |from: Timestamp, to: Timestamp| jiff::SignedDuration::from_secs(to.duration_since(from).as_secs());
    if now < not_before {
        bail!(
            "this machine's clock is at least {:#} behind the cluster's: the certificate that it got is valid from {not_before}, \
             and here it is {now}; set it right",
            seconds(now, not_before)
        );
    }
    if now > not_after {
        bail!(
            "this machine's clock is at least {:#} ahead of the cluster's: the certificate that it got is valid until \
             {not_after}, and here it is {now}; set it right",
            seconds(not_after, now)
        );
    }
    Ok(())
}

/// Where the cluster is, and the token for it.
struct Place {
    server: String,
    authority_file: Option<String>,
    authority: Option<String>,
    server_name: Option<String>,
    insecure: bool,
    token: Option<String>,
}

impl Place {
    fn of(kubeconfig: &Kubeconfig) -> anyhow::Result<Self> {
        let current = KubeConfigOptions::default();
        let loaded = kube::Config::from_custom_kubeconfig(kubeconfig.clone(), &current);
        let loaded = futures::executor::block_on(loaded)?;
        let context = kubeconfig.current_context.as_ref();
        let context = kubeconfig.contexts.iter().find(|c| Some(&c.name) == context).and_then(|c| c.context.as_ref());
        let cluster = context.and_then(|context| kubeconfig.clusters.iter().find(|c| c.name == context.cluster));
        let cluster = cluster.and_then(|cluster| cluster.cluster.as_ref()).context("it names no cluster")?;
        let own = serde_json::to_value(&loaded.auth_info)?;
        let text = |key: &str| own[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let from_file = || fs::read_to_string(text("tokenFile")?).ok().map(|token| token.trim().to_owned());
        Ok(Self {
            server: cluster.server.clone().context("its cluster has no server")?,
            authority_file: cluster.certificate_authority.clone(),
            authority: cluster.certificate_authority_data.clone(),
            server_name: cluster.tls_server_name.clone(),
            insecure: cluster.insecure_skip_tls_verify.unwrap_or_default(),
            token: text("token").or_else(from_file),
        })
    }

    /// The kubeconfig of the node, with upstream's names.
    fn with_certificate(&self, current: &Path) -> String {
        // What is a text in JSON is one in YAML.
        let text = |value: &str| serde_json::Value::from(value).to_string();
        let mut cluster = format!("    server: {}\n", text(&self.server));
        let mut line = |key: &str, value: &Option<String>| {
            if let Some(value) = value {
                cluster += &format!("    {key}: {}\n", text(value));
            }
        };
        match &self.authority_file {
            Some(_) => line("certificate-authority", &self.authority_file),
            None => line("certificate-authority-data", &self.authority),
        }
        line("tls-server-name", &self.server_name);
        if self.insecure {
            cluster += "    insecure-skip-tls-verify: true\n";
        }
        let current = text(&current.display().to_string());
        format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: default-cluster\n  cluster:\n{cluster}users:\n- name: default-auth\n  \
             user:\n    client-certificate: {current}\n    client-key: {current}\ncontexts:\n- name: default-context\n  \
             context:\n    cluster: default-cluster\n    namespace: default\n    user: default-auth\ncurrent-context: \
             default-context\n"
        )
    }
}

#[cfg(test)]
mod tests;
