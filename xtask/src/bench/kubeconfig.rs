//! A kubeconfig's current context, as far as a load generator needs it: server, authority, client certificate or token.

use std::path::{Path, PathBuf};

use anyhow::Context;
use base64::Engine;
use serde::Deserialize;

use super::connection::Access;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    current_context: String,
    clusters: Vec<Named>,
    users: Vec<Named>,
    contexts: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    cluster: Option<Cluster>,
    user: Option<User>,
    context: Option<Context_>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    token: Option<String>,
}

#[derive(Deserialize)]
struct Context_ {
    cluster: String,
    user: String,
}

/// Reads the current context.
pub(crate) fn read(path: &Path) -> anyhow::Result<Access> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    let file: File = serde_saphyr::from_str(&text).with_context(|| format!("{}", path.display()))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let named = |list: Vec<Named>, name: &str, what: &str| {
        list.into_iter().find(|n| n.name == name).with_context(|| format!("{}: no {what} {name:?}", path.display()))
    };
    let context = named(file.contexts, &file.current_context, "context")?.context.context("empty context")?;
    let cluster = named(file.clusters, &context.cluster, "cluster")?.cluster.context("empty cluster")?;
    let user = named(file.users, &context.user, "user")?.user.unwrap_or_default();
    let part = |data: Option<String>, file: Option<PathBuf>| -> anyhow::Result<Option<Vec<u8>>> {
        Ok(match (data, file) {
            (Some(data), _) => Some(base64::engine::general_purpose::STANDARD.decode(data.trim())?),
            (None, Some(file)) => {
                Some(std::fs::read(folder.join(&file)).with_context(|| format!("{}", file.display()))?)
            }
            (None, None) => None,
        })
    };
    let ca = part(cluster.certificate_authority_data, cluster.certificate_authority)?.context("no authority")?;
    let certificate = part(user.client_certificate_data, user.client_certificate)?;
    let key = part(user.client_key_data, user.client_key)?;
    let server = cluster.server.strip_prefix("https://").context("the server is no https URL")?.trim_end_matches('/');
    let (host, port) = server.rsplit_once(':').unwrap_or((server, "443"));
    let pair = certificate.as_deref().zip(key.as_deref());
    Access::new(host.trim_matches(['[', ']']), port.parse()?, &ca, pair, user.token.as_deref())
}
