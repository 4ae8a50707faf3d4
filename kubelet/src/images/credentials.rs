//! Credentials for a registry from a pod's `imagePullSecrets`. Upstream: pkg/credentialprovider.

use super::name;
use base64::{Engine, engine::general_purpose::STANDARD};
use k8s_openapi::api::core::v1::Secret;
use proto::cri::AuthConfig;
use serde::Deserialize;
use std::{collections::BTreeMap, sync::Arc};

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    username: String,
    password: String,
    auth: String,
    identitytoken: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ConfigJson {
    auths: BTreeMap<String, Entry>,
}

/// Those that fit the image, the most specific first.
pub(crate) fn for_image(image: &str, secrets: &[Arc<Secret>]) -> Vec<AuthConfig> {
    let (host, path) = name::repository(image);
    let mut found: Vec<(usize, AuthConfig)> = Vec::new();
    for secret in secrets {
        let data = |key: &str| secret.data.as_ref().and_then(|d| d.get(key)).map(|v| v.0.as_slice());
        let auths = match (data(".dockerconfigjson"), data(".dockercfg")) {
            (Some(json), _) => serde_json::from_slice::<ConfigJson>(json).unwrap_or_default().auths,
            (None, Some(json)) => serde_json::from_slice(json).unwrap_or_default(),
            (None, None) => continue,
        };
        for (key, entry) in auths {
            let server = key.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
            let server = server.strip_suffix("/v1").or_else(|| server.strip_suffix("/v2")).unwrap_or(server);
            let (server_host, server_path) = server.split_once('/').unwrap_or((server, ""));
            let same = host_matches(server_host, &host)
                && (server_path.is_empty() || path == server_path || path.starts_with(&format!("{server_path}/")));
            if same {
                found.push((server.len(), auth(&key, entry)));
            }
        }
    }
    found.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    found.into_iter().map(|(_, auth)| auth).collect()
}

/// `*` stands for one label's letters.
fn host_matches(pattern: &str, host: &str) -> bool {
    if matches!(pattern, "index.docker.io" | "registry-1.docker.io") && host == "docker.io" {
        return true;
    }
    let (pattern, host): (Vec<&str>, Vec<&str>) = (pattern.split('.').collect(), host.split('.').collect());
    let label = |p: &str, h: &str| match p.split_once('*') {
        Some((before, after)) => h.len() >= before.len() + after.len() && h.starts_with(before) && h.ends_with(after),
        None => p == h,
    };
    pattern.len() == host.len() && pattern.iter().zip(&host).all(|(p, h)| label(p, h))
}

fn auth(server: &str, entry: Entry) -> AuthConfig {
    let mut auth = AuthConfig {
        username: entry.username,
        password: entry.password,
        server_address: server.to_owned(),
        identity_token: entry.identitytoken,
        ..Default::default()
    };
    if auth.username.is_empty()
        && let Ok(decoded) = STANDARD.decode(entry.auth.trim())
        && let Some((user, password)) = String::from_utf8_lossy(&decoded).split_once(':')
    {
        auth.username = user.to_owned();
        auth.password = password.trim_end_matches('\0').to_owned();
    }
    auth
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_first() {
        let config = r#"{"auths": {"reg.example": {"auth": "dTpw"}, "https://reg.example/team/": {"username": "a", "password": "b"}, "other": {}}}"#;
        let data = [(".dockerconfigjson".to_owned(), k8s_openapi::ByteString(config.into()))].into();
        let secret = Secret { data: Some(data), ..Default::default() };
        let secrets = [Arc::new(secret)];
        let users = |image: &str| for_image(image, &secrets).into_iter().map(|a| a.username).collect::<Vec<_>>();
        assert_eq!(users("reg.example/team/app:1"), ["a", "u"]);
        assert_eq!(users("reg.example/teams/app"), ["u"]);
        assert!(users("busybox").is_empty());
        assert!(host_matches("*.example.com", "a.example.com") && !host_matches("*.example.com", "a.b.example.com"));
    }
}
