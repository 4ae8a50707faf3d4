//! Another server: it is given the cluster's own keys, which lie sealed in its token's Secret, and then is what the first one
//! is (`ferry up`), on the store that they share.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use component::Supervisor;
use k8s_openapi::api::core::v1::{Node, Secret};
use kube::Api;

use super::flags::Join;
use super::keys::{self, Keys};
use super::settings::Settings;
use super::token::Token;
use super::{discovery, write};
use crate::token::{NAMESPACE, PREFIX};
use crate::up::{self, Layout, Progress, Store, Up};

/// Starts everything of a server as tasks of `root`.
///
/// # Errors
/// In one line: why this machine is no server of the cluster.
pub async fn begin(
    flags: &Join,
    layout: &Layout,
    name: String,
    token: Option<Token>,
    progress: Arc<Progress>,
    root: &Supervisor,
) -> anyhow::Result<()> {
    let copy = layout.data.join("settings.json");
    let store = match Store::read(layout)? {
        Some(store) => store,
        None => become_one(flags, layout, &name, token, &copy, &progress).await?,
    };
    let settings: Settings = serde_json::from_str(&std::fs::read_to_string(&copy)?)
        .with_context(|| format!("reading {}", copy.display()))?;
    let up = Up::of_server(flags, &settings, &store)?;
    up::begin(&up, layout, name, progress, root).await
}

/// Has this machine given what a server needs.
async fn become_one(
    flags: &Join,
    layout: &Layout,
    name: &str,
    token: Option<Token>,
    copy: &Path,
    progress: &Progress,
) -> anyhow::Result<Store> {
    let server = discovery::address(flags.cluster.as_deref().context("give a server of the cluster")?)?;
    let token = token.context("a token is needed (--token): `ferry token create --server` on a server prints one")?;
    if token.key().is_none() {
        bail!("with this token agents join: `ferry token create --server` makes one for servers");
    }
    let authority = discovery::authority(&server, &token, &layout.data).await?;
    progress.say(&format!("{server} is of the cluster that the token is for"));
    let (trusted, stranger) = (layout.data.join("candidate.crt"), layout.data.join("bootstrap.conf"));
    write(&trusted, &authority, 0o644)?;
    let user = format!("{{ token: {} }}", token.bearer());
    write(&stranger, &discovery::kubeconfig(&[server], Some(&trusted), &user), 0o600)?;
    let given = given(client::from_kubeconfig(&stranger, "ferry")?, &token, name, copy).await;
    for file in [&trusted, &stranger] {
        let _ = std::fs::remove_file(file);
    }
    let store = given?.install(&layout.pki())?;
    store.write(layout)?;
    progress.say("the cluster has taken this machine up as a server");
    Ok(store)
}

/// What the cluster has for whoever has the token.
async fn given(client: kube::Client, token: &Token, name: &str, copy: &Path) -> anyhow::Result<Keys> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let secret = match secrets.get(&format!("{PREFIX}{}", token.id)).await {
        Ok(secret) => secret,
        Err(kube::Error::Api(status)) if status.code == 401 => {
            bail!("the cluster does not know the token (any more): `ferry token create --server` makes another")
        }
        Err(error) => bail!("the cluster does not give its keys: {}", client::message(&error)),
    };
    if Api::<Node>::all(client.clone()).get_opt(name).await?.is_some() {
        bail!(
            "a node named {name:?} is in the cluster already: give this machine another name (--node-name), or delete that node first"
        );
    }
    Settings::fetch(client, copy).await?;
    let sealed = secret.data.unwrap_or_default().remove(keys::KEY).context("the token is not one for servers")?;
    Keys::open(&sealed.0, token)
}
