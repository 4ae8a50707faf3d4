//! A container's environment, in the order in which later values may refer to earlier ones. Upstream: kubelet_pods.go,
//! makeEnvironmentVariables.

use super::{
    expand::expand,
    fields::{self, NodeFacts},
};
use crate::{objects::Objects, pod};
use k8s_openapi::api::core::v1::{Container, EnvVarSource, Pod};
use std::collections::BTreeMap;

pub(crate) type Env = BTreeMap<String, String>;

/// Errors are upstream's sentences; they become the container's `CreateContainerConfigError`.
pub(crate) async fn environment(
    pod: &Pod,
    container: &Container,
    services: &Env,
    facts: &NodeFacts,
    objects: &dyn Objects,
) -> Result<Env, String> {
    let namespace = pod::namespace(pod);
    let mut env = Env::new();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &source.config_map_ref {
            if let Some(map) = optional(objects.config_map(namespace, &reference.name).await, reference.optional)? {
                env.extend(map.data.iter().flatten().map(|(k, v)| (format!("{prefix}{k}"), v.clone())));
            }
        } else if let Some(reference) = &source.secret_ref
            && let Some(secret) = optional(objects.secret(namespace, &reference.name).await, reference.optional)?
        {
            env.extend(
                secret
                    .data
                    .iter()
                    .flatten()
                    .map(|(k, v)| (format!("{prefix}{k}"), String::from_utf8_lossy(&v.0).into_owned())),
            );
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(value), _) if !value.is_empty() => {
                expand(value, &|name| env.get(name).or_else(|| services.get(name)).cloned())
            }
            (_, Some(source)) => match from(pod, container, source, facts, objects).await? {
                Some(value) => value,
                None => continue,
            },
            _ => String::new(),
        };
        env.insert(variable.name.clone(), value);
    }
    for (name, value) in services {
        env.entry(name.clone()).or_insert_with(|| value.clone());
    }
    Ok(env)
}

/// Nothing, if it is not there and need not be.
fn optional<T>(found: Result<T, crate::objects::Error>, optional: Option<bool>) -> Result<Option<T>, String> {
    match found {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.not_found && optional == Some(true) => Ok(None),
        Err(error) => Err(error.message),
    }
}

async fn from(
    pod: &Pod,
    container: &Container,
    source: &EnvVarSource,
    facts: &NodeFacts,
    objects: &dyn Objects,
) -> Result<Option<String>, String> {
    let namespace = pod::namespace(pod);
    if let Some(selector) = &source.field_ref {
        return fields::field(pod, &selector.field_path, facts).map(Some);
    }
    if let Some(selector) = &source.resource_field_ref {
        return fields::resource(pod, Some(container), selector, facts).map(Some);
    }
    let missing = |key: &str, kind: &str, name: &str, is_optional: Option<bool>| {
        if is_optional == Some(true) {
            Ok(None)
        } else {
            Err(format!("couldn't find key {key} in {kind} {namespace}/{name}"))
        }
    };
    if let Some(selector) = &source.config_map_key_ref {
        let Some(map) = optional(objects.config_map(namespace, &selector.name).await, selector.optional)? else {
            return Ok(None);
        };
        return match map.data.as_ref().and_then(|d| d.get(&selector.key)) {
            Some(value) => Ok(Some(value.clone())),
            None => missing(&selector.key, "ConfigMap", &selector.name, selector.optional),
        };
    }
    if let Some(selector) = &source.secret_key_ref {
        let Some(secret) = optional(objects.secret(namespace, &selector.name).await, selector.optional)? else {
            return Ok(None);
        };
        return match secret.data.as_ref().and_then(|d| d.get(&selector.key)) {
            Some(value) => Ok(Some(String::from_utf8_lossy(&value.0).into_owned())),
            None => missing(&selector.key, "Secret", &selector.name, selector.optional),
        };
    }
    Ok(Some(String::new()))
}
