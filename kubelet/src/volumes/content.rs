//! What is in the volumes made from the API: ConfigMaps, Secrets, the downward API, tokens, and all of them projected into one.
//! Upstream: pkg/volume/{configmap,secret,downwardapi,projected}.

use super::atomic_writer::{File, Payload};
use crate::{
    container::fields::{self, NodeFacts},
    objects::{self, Objects},
    pod,
    tokens::{Tokens, Wanted},
};
use k8s_openapi::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, ProjectedVolumeSource, Secret, Volume,
};
use std::collections::BTreeMap;

/// What the content is made with.
pub(crate) struct Sources<'a> {
    pub(crate) objects: &'a dyn Objects,
    pub(crate) tokens: &'a Tokens,
    pub(crate) facts: &'a NodeFacts,
}

const DEFAULT_MODE: i32 = 0o644;

/// The files of a volume that is made from the API; `None` for every other kind.
pub(crate) async fn content(pod: &Pod, volume: &Volume, sources: &Sources<'_>) -> Option<Result<Payload, String>> {
    Some(if let Some(source) = &volume.config_map {
        config_map(pod, &source.name, &source.items, source.optional, source.default_mode, sources).await
    } else if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        secret(pod, name, &source.items, source.optional, source.default_mode, sources).await
    } else if let Some(source) = &volume.downward_api {
        downward(pod, &source.items, source.default_mode, sources)
    } else if let Some(source) = &volume.projected {
        projected(pod, source, sources).await
    } else {
        return None;
    })
}

fn absent(error: objects::Error, optional: Option<bool>) -> Result<(), String> {
    if error.not_found && optional == Some(true) { Ok(()) } else { Err(error.message) }
}

async fn config_map(
    pod: &Pod,
    name: &str,
    items: &Option<Vec<KeyToPath>>,
    optional: Option<bool>,
    mode: Option<i32>,
    sources: &Sources<'_>,
) -> Result<Payload, String> {
    let map = match sources.objects.config_map(pod::namespace(pod), name).await {
        Ok(map) => map,
        Err(error) => {
            absent(error, optional)?;
            Default::default()
        }
    };
    pick(&config_map_bytes(&map), items, optional, mode, "configmap references non-existent config key: ")
}

async fn secret(
    pod: &Pod,
    name: &str,
    items: &Option<Vec<KeyToPath>>,
    optional: Option<bool>,
    mode: Option<i32>,
    sources: &Sources<'_>,
) -> Result<Payload, String> {
    let secret = match sources.objects.secret(pod::namespace(pod), name).await {
        Ok(secret) => secret,
        Err(error) => {
            absent(error, optional)?;
            Default::default()
        }
    };
    pick(&secret_bytes(&secret), items, optional, mode, "references non-existent secret key: ")
}

fn config_map_bytes(map: &ConfigMap) -> BTreeMap<&str, &[u8]> {
    let text = map.data.iter().flatten().map(|(k, v)| (k.as_str(), v.as_bytes()));
    text.chain(map.binary_data.iter().flatten().map(|(k, v)| (k.as_str(), v.0.as_slice()))).collect()
}

fn secret_bytes(secret: &Secret) -> BTreeMap<&str, &[u8]> {
    secret.data.iter().flatten().map(|(k, v)| (k.as_str(), v.0.as_slice())).collect()
}

fn pick(
    all: &BTreeMap<&str, &[u8]>,
    items: &Option<Vec<KeyToPath>>,
    optional: Option<bool>,
    mode: Option<i32>,
    missing: &str,
) -> Result<Payload, String> {
    let mode = mode.unwrap_or(DEFAULT_MODE);
    let file = |data: &[u8], mode: i32| File { data: data.to_vec(), mode: mode as u32, user: None };
    let Some(items) = items.as_ref().filter(|i| !i.is_empty()) else {
        return Ok(all.iter().map(|(key, data)| ((*key).to_owned(), file(data, mode))).collect());
    };
    let mut payload = Payload::new();
    for item in items {
        match all.get(item.key.as_str()) {
            Some(data) => drop(payload.insert(item.path.clone(), file(data, item.mode.unwrap_or(mode)))),
            None if optional == Some(true) => {}
            None => return Err(format!("{missing}{}", item.key)),
        }
    }
    Ok(payload)
}

fn downward(
    pod: &Pod,
    items: &Option<Vec<DownwardAPIVolumeFile>>,
    mode: Option<i32>,
    sources: &Sources<'_>,
) -> Result<Payload, String> {
    let mut payload = Payload::new();
    for item in items.iter().flatten() {
        let text = if let Some(selector) = &item.field_ref {
            fields::field(pod, &selector.field_path, sources.facts)?
        } else if let Some(selector) = &item.resource_field_ref {
            fields::resource(pod, None, selector, sources.facts)?
        } else {
            continue;
        };
        let mode = item.mode.or(mode).unwrap_or(DEFAULT_MODE);
        payload.insert(clean(&item.path), File { data: text.into_bytes(), mode: mode as u32, user: None });
    }
    Ok(payload)
}

/// A path without `.` and doubled slashes.
fn clean(path: &str) -> String {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>().join("/")
}

async fn projected(pod: &Pod, source: &ProjectedVolumeSource, sources: &Sources<'_>) -> Result<Payload, String> {
    let mode = source.default_mode;
    let mut all = Payload::new();
    let mut faults = Vec::new();
    for part in source.sources.iter().flatten() {
        let payload = if let Some(p) = &part.config_map {
            config_map(pod, &p.name, &p.items, p.optional, mode, sources).await
        } else if let Some(p) = &part.secret {
            secret(pod, &p.name, &p.items, p.optional, mode, sources).await
        } else if let Some(p) = &part.downward_api {
            downward(pod, &p.items, mode, sources)
        } else if let Some(p) = &part.service_account_token {
            let wanted = Wanted {
                namespace: pod::namespace(pod).to_owned(),
                account: pod::spec(pod).service_account_name.clone().unwrap_or_else(|| "default".into()),
                audience: p.audience.clone().filter(|a| !a.is_empty()),
                expiration_secs: p.expiration_seconds.unwrap_or(3600),
                pod_name: pod::name(pod).to_owned(),
                pod_uid: pod::uid(pod).to_owned(),
            };
            sources.tokens.get(&wanted).await.map(|token| {
                let group = pod::spec(pod).security_context.as_ref().and_then(|s| s.fs_group);
                let user = single_user(pod);
                // A token that belongs to somebody is nobody else's.
                let mode = if user.is_some() || group.is_some() { 0o600 } else { mode.unwrap_or(DEFAULT_MODE) };
                Payload::from([(p.path.clone(), File { data: token.into_bytes(), mode: mode as u32, user })])
            })
        } else {
            Err("cluster trust bundles and pod certificates are not supported".to_owned())
        };
        match payload {
            Ok(payload) => all.extend(payload),
            Err(fault) => faults.push(fault),
        }
    }
    match faults.len() {
        0 => Ok(all),
        1 => Err(faults.remove(0)),
        _ => Err(format!("[{}]", faults.join(", "))),
    }
}

/// The user, if all containers run as the same one.
fn single_user(pod: &Pod) -> Option<u32> {
    let spec = pod::spec(pod);
    let whole = spec.security_context.as_ref().and_then(|s| s.run_as_user);
    let mut users = spec
        .containers
        .iter()
        .chain(pod::init_containers(pod))
        .map(|c| c.security_context.as_ref().and_then(|s| s.run_as_user).or(whole));
    let first = users.next()??;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok())?
}
