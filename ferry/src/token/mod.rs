//! `ferry token create|list|revoke`: what other machines join with. Each is a bootstrap token of the cluster, a Secret in
//! `kube-system` as kubeadm's are, so that `kubectl` sees them too and the controller manager deletes those whose time is
//! over. Asked for with the administrator's kubeconfig, which servers have.

mod rights;
mod secret;
mod table;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};

use crate::join::keys::Keys;
use crate::join::token::{Pin, Token};
use crate::up::{Layout, Store};

pub use secret::{NAMESPACE, PREFIX, Terms, decode};

const USAGE: &str = "What other machines join with.

  create   makes one, and prints the command that joins a machine
  list     those there are
  revoke   ends some: ferry token revoke ID...

Each takes --help.
";

/// Where the administrator's kubeconfig is.
#[derive(Debug, Clone, clap::Args)]
struct Administrator {
    /// Where the cluster's state is kept
    #[arg(long, default_value = "/var/lib/ferry")]
    data_dir: PathBuf,
    /// The administrator's kubeconfig; admin.conf in --data-dir by default
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
}

/// Makes a token, and prints the command with which another machine joins.
#[derive(Debug, Clone, clap::Args)]
struct Create {
    #[command(flatten)]
    administrator: Administrator,
    /// For how long it is good; 0: until it is revoked
    #[arg(long, value_parser = machinery::duration::length, default_value = "24h")]
    ttl: Duration,
    /// It is good for one machine
    #[arg(long)]
    single_use: bool,
    /// Machines may join as servers with it: whoever has it, has the cluster
    #[arg(long)]
    server: bool,
    /// What it is for
    #[arg(long, default_value = "")]
    description: String,
    /// Print the token alone
    #[arg(long, short)]
    quiet: bool,
}

/// Lists the tokens there are, without their secrets.
#[derive(Debug, Clone, clap::Args)]
struct List {
    #[command(flatten)]
    administrator: Administrator,
    /// json: for programs
    #[arg(long, short, default_value = "")]
    output: String,
}

/// Ends tokens: no machine joins with them any more. Those that have joined stay.
#[derive(Debug, Clone, clap::Args)]
struct Revoke {
    #[command(flatten)]
    administrator: Administrator,
    /// The tokens' ids, as `ferry token list` prints them, or the tokens
    #[arg(required = true)]
    ids: Vec<String>,
}

/// `ferry token`.
///
/// # Errors
/// In one line.
pub async fn main(mut argv: Vec<String>) -> anyhow::Result<()> {
    let verb = if argv.is_empty() { String::new() } else { argv.remove(0) };
    match verb.as_str() {
        "create" => create(component::flags::parse("ferry token create", &argv, &[])?).await,
        "list" | "ls" => list(component::flags::parse("ferry token list", &argv, &[])?).await,
        "revoke" | "delete" | "rm" => revoke(component::flags::parse("ferry token revoke", &argv, &[])?).await,
        "" | "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(())
        }
        other => bail!("unknown command {other:?} (ferry token --help lists them)"),
    }
}

/// The cluster as its administrator sees it.
pub struct Cluster {
    client: kube::Client,
    /// Where its API server is, as a machine that joins is told.
    pub server: String,
    pin: Pin,
}

impl Administrator {
    fn connect(&self) -> anyhow::Result<Cluster> {
        let path = self.kubeconfig.clone().unwrap_or_else(|| self.data_dir.join("admin.conf"));
        if !path.exists() {
            bail!(
                "{} does not exist: this is said on a server (where `ferry up` runs), or with --kubeconfig",
                path.display()
            );
        }
        let client = client::from_kubeconfig(&path, &client::user_agent("ferry", "token"))?;
        let kubeconfig = kube::config::Kubeconfig::read_from(&path)?;
        let cluster = kubeconfig.clusters.iter().find_map(|named| named.cluster.as_ref());
        let server = cluster.and_then(|cluster| cluster.server.as_deref()).context("the kubeconfig names no server")?;
        let server = server.trim_start_matches("https://").to_owned();
        let authority = cluster.map(|cluster| {
            let inline = cluster.certificate_authority_data.as_ref().map(|text| secret::decode(text));
            let file = || cluster.certificate_authority.as_ref().map(std::fs::read);
            inline.or_else(|| Some(file()?.map_err(Into::into))).context("the kubeconfig names no authority")?
        });
        let authority = authority.context("the kubeconfig has no cluster")??;
        Cluster::new(client, server, &authority)
    }
}

impl Cluster {
    /// With a client of its administrator, and its authority as PEM.
    ///
    /// # Errors
    /// The authority's certificate can't be read.
    pub fn new(client: kube::Client, server: String, authority: &[u8]) -> anyhow::Result<Self> {
        let pin = Pin::all_of(authority)?.first().copied().context("the cluster's authority has no certificate")?;
        Ok(Self { client, server, pin })
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Makes a token; with `keys`, one for servers.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn create(&self, terms: &Terms, keys: Option<&Keys>) -> anyhow::Result<Token> {
        let token = Token::new(self.pin, keys.is_some())?;
        let sealed = keys.map(|keys| keys.seal(&token)).transpose()?;
        let secret = terms.secret(&token, sealed, Timestamp::now())?;
        let made = self.secrets().create(&PostParams::default(), &secret).await;
        let made = made.map_err(said).context("making the token")?;
        if keys.is_some() {
            rights::grant(&self.client, &token, &made).await.map_err(said).context("giving the token its rights")?;
        }
        Ok(token)
    }
}

/// How a machine joins with it.
pub fn command(server: &str, token: &Token) -> String {
    let role = if token.key().is_some() { "--server " } else { "" };
    format!("ferry join {server} {role}--token {}", token.reveal())
}

async fn create(flags: Create) -> anyhow::Result<()> {
    let cluster = flags.administrator.connect()?;
    let terms = Terms {
        ttl: Some(flags.ttl).filter(|ttl| !ttl.is_zero()),
        single_use: flags.single_use,
        description: flags.description.clone(),
    };
    let keys = flags.server.then(|| own_keys(&flags.administrator.data_dir)).transpose()?;
    let token = cluster.create(&terms, keys.as_ref()).await?;
    match flags.quiet {
        true => println!("{}", token.reveal()),
        false => println!("{}", command(&cluster.server, &token)),
    }
    Ok(())
}

/// The keys of the cluster, as this server has them.
///
/// # Errors
/// This machine is no server, or of a cluster that can have but one.
pub fn own_keys(data: &Path) -> anyhow::Result<Keys> {
    let layout = Layout::new(data)?;
    let Some(store) = Store::read(&layout)? else {
        bail!("{} holds no server: say this on one (where `ferry up` runs)", data.display());
    };
    if !store.is_shared() {
        bail!(
            "this cluster keeps its state in one server's own store: started again with `ferry up --replicated` (or on etcd, with \
             --etcd-servers) it can have several"
        );
    }
    Keys::read(&layout.pki(), &store)
}

async fn list(flags: List) -> anyhow::Result<()> {
    if !["", "json"].contains(&flags.output.as_str()) {
        bail!("unable to match a printer suitable for the output format {:?}, allowed formats are: json", flags.output);
    }
    let cluster = flags.administrator.connect()?;
    let kind = ListParams::default().fields(&format!("type={}", secret::KIND));
    let secrets = cluster.secrets().list(&kind).await.map_err(said)?;
    let now = Timestamp::now();
    let rows: Vec<_> = secrets.items.iter().filter_map(|secret| table::Row::of(secret, now)).collect();
    match flags.output.as_str() {
        "json" => println!("{}", serde_json::to_string_pretty(&table::json(&rows))?),
        _ if rows.is_empty() => println!("no tokens: `ferry token create` makes one"),
        _ => print!("{}", table::text(&rows)),
    }
    Ok(())
}

async fn revoke(flags: Revoke) -> anyhow::Result<()> {
    let cluster = flags.administrator.connect()?;
    for given in &flags.ids {
        // Whoever pastes the whole token has none of it repeated.
        let id = match given.parse::<Token>() {
            Ok(token) => token.id,
            Err(_) => given.split('.').next().unwrap_or_default().to_owned(),
        };
        match cluster.secrets().delete(&format!("{PREFIX}{id}"), &DeleteParams::default()).await {
            Ok(_) => println!("token {id} revoked"),
            Err(error) if client::is_not_found(&error) => {
                bail!("there is no token {id:?} (`ferry token list` prints them)")
            }
            Err(error) => return Err(said(error)),
        }
    }
    Ok(())
}

/// The API server's own words.
fn said(error: kube::Error) -> anyhow::Error {
    match &error {
        kube::Error::Api(status) => anyhow::anyhow!("{}", status.message),
        _ => anyhow::Error::from(error).context("the API server does not answer"),
    }
}
