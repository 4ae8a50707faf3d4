//! The cluster that a token is for, found by the address of one of its servers: the authority that all later connections
//! trust. Anybody may answer at that address; only the cluster's own authority has the hash that is in the token.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams};

use super::token::{Pin, Token};
use super::write;

/// Where the cluster tells strangers of itself, as kubeadm's do.
const NAMESPACE: &str = "kube-public";
const NAME: &str = "cluster-info";
/// How long a server may take to answer a stranger.
const PATIENCE: Duration = Duration::from_secs(15);
/// The port of a server that names none.
const PORT: u16 = 6443;
const AGENT: &str = "ferry";
/// A name that all servers have a certificate for, whatever their addresses.
pub const SERVER_NAME: &str = "kubernetes";

/// A server as it was given: `HOST`, `HOST:PORT` or a URL of them.
///
/// # Errors
/// It is none of that.
pub fn address(given: &str) -> anyhow::Result<String> {
    let bare = given.trim().trim_start_matches("https://").trim_end_matches('/');
    if bare.is_empty() || bare.contains(['/', '@', ' ']) || bare.starts_with('-') {
        bail!("{given:?} is not where a server can be: give HOST or HOST:PORT");
    }
    let v6 = bare.parse::<std::net::Ipv6Addr>();
    let has_port = bare.rsplit_once(':').is_some_and(|(host, port)| port.parse::<u16>().is_ok() && !host.is_empty());
    Ok(match (v6, has_port) {
        (Ok(address), _) => format!("[{address}]:{PORT}"),
        (Err(_), true) => bare.to_owned(),
        (Err(_), false) => format!("{bare}:{PORT}"),
    })
}

/// A kubeconfig for the cluster at `servers`; without an authority for whoever answers there.
pub fn kubeconfig(servers: &[String], authority: Option<&Path>, user: &str) -> String {
    let text = |value: &str| serde_json::Value::from(value).to_string();
    let trust = match authority {
        Some(file) => format!("    certificate-authority: {}\n", text(&file.display().to_string())),
        None => "    insecure-skip-tls-verify: true\n".to_owned(),
    };
    let list = serde_json::Value::from(servers.to_vec());
    let first = servers.first().map(String::as_str).unwrap_or_default();
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: ferry\n  cluster:\n    server: {}\n    tls-server-name: {SERVER_NAME}\n{trust}    \
         extensions:\n    - name: {}\n      extension: {list}\nusers:\n- name: node\n  user: {user}\ncontexts:\n- name: node@ferry\n  \
         context:\n    cluster: ferry\n    user: node\ncurrent-context: node@ferry\n",
        text(&format!("https://{first}")),
        client::SERVERS,
    )
}

/// Has strangers told where the cluster is and what its authority is; `client` is of the administrator.
///
/// # Errors
/// The API server refuses it.
pub async fn publish(client: kube::Client, url: &str, authority: &str) -> anyhow::Result<()> {
    use base64::Engine;
    let data = base64::engine::general_purpose::STANDARD.encode(authority);
    let cluster = format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: \"\"\n  cluster:\n    server: {url}\n    certificate-authority-data: {data}\n"
    );
    let map = ConfigMap {
        metadata: ObjectMeta { name: Some(NAME.into()), ..ObjectMeta::default() },
        data: Some([("kubeconfig".to_owned(), cluster)].into()),
        ..ConfigMap::default()
    };
    let maps: Api<ConfigMap> = Api::namespaced(client, NAMESPACE);
    maps.patch(NAME, &PatchParams::apply("ferry-up").force(), &Patch::Apply(&map)).await?;
    Ok(())
}

/// Finds the cluster's authority; `folder` is for what is needed on the way.
///
/// # Errors
/// In one line: nobody answers, it is no cluster that can be joined, or not the one that the token is for.
pub async fn authority(server: &str, token: &Token, folder: &Path) -> anyhow::Result<String> {
    let (stranger, candidate) = (folder.join("stranger.conf"), folder.join("candidate.crt"));
    let found = async {
        let servers = [server.to_owned()];
        write(&stranger, &kubeconfig(&servers, None, "{}"), 0o600)?;
        let told = told(client::unverified(&stranger, AGENT)?, server).await?;
        let pins = Pin::all_of(told.as_bytes()).with_context(|| format!("what {server} says of its cluster"))?;
        if !pins.contains(&token.pin) {
            bail!(
                "{server} is not of the cluster that the token is for: its authority has the hash {}, and not {}",
                pins.first().map(ToString::to_string).unwrap_or_default(),
                token.pin
            );
        }
        // Only what the token vouches for is trusted, and asked again: others may have come with it on the way.
        write(&candidate, &only(&told, token.pin)?, 0o600)?;
        write(&stranger, &kubeconfig(&servers, Some(&candidate), "{}"), 0o600)?;
        self::told(client::anonymous(&stranger, AGENT)?, server).await
    };
    let found = found.await;
    for file in [&stranger, &candidate] {
        let _ = std::fs::remove_file(file);
    }
    found
}

/// The certificates of a PEM text with that key.
fn only(pem: &str, pin: Pin) -> anyhow::Result<String> {
    let mut kept = String::new();
    for block in x509_parser::pem::Pem::iter_from_buffer(pem.as_bytes()) {
        let text = pem::encode(&pem::Pem::new("CERTIFICATE", block?.contents));
        if Pin::all_of(text.as_bytes())?.contains(&pin) {
            kept += &text;
        }
    }
    Ok(kept)
}

/// The authority that a server names.
async fn told(client: kube::Client, server: &str) -> anyhow::Result<String> {
    let maps: Api<ConfigMap> = Api::namespaced(client, NAMESPACE);
    let answer = tokio::time::timeout(PATIENCE, maps.get_opt(NAME)).await;
    let answer = answer.ok().with_context(|| {
        format!("{server} does not answer within {} s: is it on, and no firewall between?", PATIENCE.as_secs())
    })?;
    let map = match answer {
        Ok(Some(map)) => map,
        Ok(None) => {
            bail!("{server} is an API server, but of a cluster that nobody can join: it has no {NAMESPACE}/{NAME}")
        }
        Err(kube::Error::Api(status)) => {
            bail!("{server} does not tell strangers of its cluster: {}", status.message)
        }
        Err(error) => return Err(unreachable(server, &error)),
    };
    let text = map.data.and_then(|mut data| data.remove("kubeconfig")).unwrap_or_default();
    let kubeconfig = kube::config::Kubeconfig::from_yaml(&text)
        .with_context(|| format!("what {server} says of its cluster ({NAMESPACE}/{NAME})"))?;
    let cluster = kubeconfig.clusters.into_iter().find_map(|named| named.cluster);
    let data = cluster.and_then(|cluster| cluster.certificate_authority_data).unwrap_or_default();
    Ok(String::from_utf8(crate::token::decode(&data)?)?)
}

/// Why nothing came of a connection.
fn unreachable(server: &str, error: &kube::Error) -> anyhow::Error {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    let words = deepest.to_string();
    let hint = match () {
        () if words.contains("Connection refused") => {
            "nothing listens there: is the port right, and `ferry up` running?"
        }
        () if words.contains("No route to host") || words.contains("unreachable") => {
            "no way leads there from this machine"
        }
        () if words.contains("lookup") => "no such host is known here",
        () => "is the port that of an API server?",
    };
    anyhow::anyhow!("{server} cannot be reached: {words}; {hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_given_in_many_ways() {
        let check = |given: &str, want: &str| assert_eq!(address(given).unwrap(), want, "{given}");
        check("192.0.2.1", "192.0.2.1:6443");
        check("192.0.2.1:7443", "192.0.2.1:7443");
        check("https://192.0.2.1:6443/", "192.0.2.1:6443");
        check(" server.example ", "server.example:6443");
        check("2001:db8::1", "[2001:db8::1]:6443");
        check("[2001:db8::1]:7443", "[2001:db8::1]:7443");
        for bad in ["", "https://", "a/b", "user@host", "--token"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_kubeconfig_of_several_servers_is_one_of_the_first_for_others() {
        let text = kubeconfig(&["a:1".into(), "b:2".into()], Some(Path::new("/x/ca.crt")), "{ token: t }");
        let read = kube::config::Kubeconfig::from_yaml(&text).unwrap();
        let cluster = read.clusters[0].cluster.clone().unwrap();
        assert_eq!(cluster.server.as_deref(), Some("https://a:1"));
        assert_eq!(cluster.tls_server_name.as_deref(), Some(SERVER_NAME));
        let extension = &cluster.extensions.unwrap()[0];
        assert_eq!(
            (extension.name.as_str(), extension.extension.to_string().as_str()),
            (client::SERVERS, r#"["a:1","b:2"]"#)
        );
    }
}
