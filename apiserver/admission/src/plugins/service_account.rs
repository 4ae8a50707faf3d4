//! ServiceAccount: every pod runs as some service account, and gets its token as a volume. Follows
//! `plugin/pkg/admission/serviceaccount`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use access::authn::claims::WARN_ONLY_SECONDS;
use access::pod_refs;
use async_trait::async_trait;
use machinery::gvk::GroupResource;
use machinery::json::Fields;
use machinery::meta;
use machinery::status::StatusError;
use model::resources::SERVICE_ACCOUNTS;
use serde_json::{Value, json};
use writes::admission::{Operation, Plugin, Request};

use super::{forbidden, list};

const DEFAULT: &str = "default";
const VOLUME_PREFIX: &str = "kube-api-access-";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";
/// A namespace's default account is made by a controller after the namespace: a pod that comes first waits this often.
const TRIES: usize = 10;
const WAIT: Duration = Duration::from_millis(150);

/// See the module.
pub struct ServiceAccount;

#[async_trait]
impl Plugin for ServiceAccount {
    fn handles(&self, request: &Request<'_>) -> bool {
        request.is("", "pods")
            && match request.subresource {
                None => request.creates(),
                Some(part) => part == "ephemeralcontainers" && request.operation == Operation::Update,
            }
    }

    async fn admit(&self, request: &Request<'_>, pod: &mut Value) -> Result<(), StatusError> {
        if request.subresource.is_some() || pod_refs::is_mirror(pod) {
            return Ok(());
        }
        if pod.sub("spec").text("serviceAccountName").is_empty() {
            pod["spec"]["serviceAccountName"] = DEFAULT.into();
        }
        // The deprecated alias of the field is always the same.
        pod["spec"]["serviceAccount"] = pod["spec"]["serviceAccountName"].clone();
        let account = account(request, pod).await?;
        if automounts(&account, pod) {
            mount(pod, &model::random::random_suffix());
        }
        let pull = account.list("imagePullSecrets");
        if pod.sub("spec").list("imagePullSecrets").is_empty() && !pull.is_empty() {
            let names: Vec<Value> = pull.iter().map(|s| json!({"name": s.text("name")})).collect();
            pod["spec"]["imagePullSecrets"] = names.into();
        }
        Ok(())
    }

    async fn validate(&self, request: &Request<'_>, pod: &Value) -> Result<(), StatusError> {
        let refuse = |why: String| Err(forbidden(request, pod, why));
        if request.subresource.is_none() && pod_refs::is_mirror(pod) {
            return mirror(pod).map_err(|why| forbidden(request, pod, why));
        }
        if pod.sub("spec").text("serviceAccountName").is_empty() {
            let namespace = request.namespace.unwrap_or_default();
            return refuse(format!("no service account specified for pod {namespace}/{}", meta::name(pod)));
        }
        let account = account(request, pod).await?;
        if !enforces(&account) {
            return Ok(());
        }
        let sorts: &[(&str, &str)] = match request.subresource {
            None => &[("init container", "initContainers"), ("container", "containers")],
            Some(_) => &[("ephemeral container", "ephemeralContainers")],
        };
        limit(&account, pod, sorts, request.subresource.is_none()).map_err(|why| forbidden(request, pod, why))
    }
}

/// The pod's service account.
async fn account(request: &Request<'_>, pod: &Value) -> Result<Arc<Value>, StatusError> {
    let (namespace, name) = (request.namespace, pod.sub("spec").text("serviceAccountName"));
    if let Some(found) = request.registry.get(&SERVICE_ACCOUNTS, namespace, name) {
        return Ok(found);
    }
    let tries = if name == DEFAULT { TRIES } else { 1 };
    for attempt in 0..tries {
        if attempt > 0 {
            tokio::time::sleep(WAIT).await;
        }
        if let Some(found) = request.registry.get_consistent(&SERVICE_ACCOUNTS, namespace, name).await? {
            return Ok(found);
        }
    }
    let missing = StatusError::not_found(&GroupResource::new("", "serviceaccount"), name);
    let namespace = namespace.unwrap_or_default();
    Err(forbidden(request, pod, format!("error looking up service account {namespace}/{name}: {missing}")))
}

fn automounts(account: &Value, pod: &Value) -> bool {
    let says = |value: Option<&Value>| value.and_then(Value::as_bool);
    says(pod.at("/spec/automountServiceAccountToken"))
        .or(says(account.get("automountServiceAccountToken")))
        .unwrap_or(true)
}

/// Mounts the token into every container that has nothing at its place, from a volume made for it.
fn mount(pod: &mut Value, suffix: &str) {
    let names = pod.sub("spec").list("volumes").iter().map(|v| v.text("name"));
    let existing = names.filter(|name| name.starts_with(VOLUME_PREFIX)).map(str::to_owned).next();
    let name = existing.clone().unwrap_or_else(|| format!("{VOLUME_PREFIX}{suffix}"));
    let mut mounted = false;
    for sort in ["initContainers", "containers"] {
        for container in pod["spec"].get_mut(sort).and_then(Value::as_array_mut).into_iter().flatten() {
            if container.list("volumeMounts").iter().any(|m| m.text("mountPath") == MOUNT_PATH) {
                continue;
            }
            list(container, "volumeMounts").push(json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH}));
            mounted = true;
        }
    }
    if mounted && existing.is_none() {
        list(&mut pod["spec"], "volumes").push(volume(&name));
    }
}

fn volume(name: &str) -> Value {
    json!({
        "name": name,
        "projected": {
            "defaultMode": 0o644,
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": WARN_ONLY_SECONDS, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
            ],
        },
    })
}

/// What a pod that mirrors a file may not have.
fn mirror(pod: &Value) -> Result<(), &'static str> {
    if !pod.sub("spec").text("serviceAccountName").is_empty() {
        return Err("a mirror pod may not reference service accounts");
    }
    if !pod_refs::secrets(pod).is_empty() {
        return Err("a mirror pod may not reference secrets");
    }
    let sources = pod.sub("spec").list("volumes").iter().flat_map(|v| v.sub("projected").list("sources"));
    if sources.into_iter().any(|s| s.get("serviceAccountToken").is_some()) {
        return Err("a mirror pod may not use ServiceAccountToken volume projections");
    }
    Ok(())
}

fn enforces(account: &Value) -> bool {
    let value = account["metadata"]["annotations"].get(ENFORCE).and_then(Value::as_str);
    value.is_some_and(|v| matches!(v, "1" | "t" | "T" | "true" | "TRUE" | "True"))
}

/// Whether the pod keeps to the secrets that its account lists.
fn limit(account: &Value, pod: &Value, sorts: &[(&str, &str)], whole: bool) -> Result<(), String> {
    let names = |list: &str| account.list(list).iter().map(|s| s.text("name").to_owned()).collect::<BTreeSet<_>>();
    let (mountable, own) = (names("secrets"), meta::name(account));
    let allowed = |name: &str| mountable.contains(name);
    let tail = format!("is not allowed because service account {own} does not reference that");
    if whole {
        for volume in pod.sub("spec").list("volumes").iter().filter(|v| v.get("secret").is_some()) {
            let secret = volume.sub("secret").text("secretName");
            if !allowed(secret) {
                return Err(format!("volume with secret.secretName=\"{secret}\" {tail} secret"));
            }
        }
    }
    for (what, sort) in sorts {
        for container in pod.sub("spec").list(sort) {
            let name = container.text("name");
            for env in container.list("env").iter().filter(|e| e.at("/valueFrom/secretKeyRef").is_some()) {
                let secret = env.at("/valueFrom/secretKeyRef").text("name");
                if !allowed(secret) {
                    let env = env.text("name");
                    return Err(format!(
                        "{what} {name} with envVar {env} referencing secret.secretName=\"{secret}\" {tail} secret"
                    ));
                }
            }
            for from in container.list("envFrom").iter().filter(|e| e.get("secretRef").is_some()) {
                let secret = from.sub("secretRef").text("name");
                if !allowed(secret) {
                    return Err(format!(
                        "{what} {name} with envFrom referencing secret.secretName=\"{secret}\" {tail} secret"
                    ));
                }
            }
        }
    }
    let pull = names("imagePullSecrets");
    for (at, secret) in pod.sub("spec").list("imagePullSecrets").iter().enumerate().filter(|_| whole) {
        let secret = secret.text("name");
        if !pull.contains(secret) {
            return Err(format!("imagePullSecrets[{at}].name=\"{secret}\" {tail} imagePullSecret"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_mounted_once_everywhere() {
        let mut pod = json!({"spec": {
            "initContainers": [{"name": "i"}],
            "containers": [{"name": "a"}, {"name": "b", "volumeMounts": [{"name": "own", "mountPath": MOUNT_PATH}]}],
        }});
        mount(&mut pod, "abcde");
        assert_eq!(pod.at("/spec/initContainers/0/volumeMounts/0").text("name"), "kube-api-access-abcde");
        assert_eq!(pod.at("/spec/containers/0/volumeMounts/0").text("mountPath"), MOUNT_PATH);
        assert_eq!(pod.at("/spec/containers/1").list("volumeMounts").len(), 1);
        assert_eq!(
            pod.pointer("/spec/volumes/0/projected/sources/0/serviceAccountToken/expirationSeconds"),
            Some(&json!(3607))
        );
        let once = pod.clone();
        mount(&mut pod, "other");
        assert_eq!(pod, once);
    }

    #[test]
    fn pod_then_account_decide_on_mounting() {
        let says = |value: Option<bool>, key: &str| match value {
            Some(value) => json!({"spec": {key: value}, key: value}),
            None => json!({"spec": {}}),
        };
        const KEY: &str = "automountServiceAccountToken";
        for (pod, account, expect) in [
            (None, None, true),
            (Some(false), None, false),
            (None, Some(false), false),
            (Some(true), Some(false), true),
        ] {
            assert_eq!(automounts(&says(account, KEY), &says(pod, KEY)), expect);
        }
    }

    #[test]
    fn mirror_pods_have_no_account() {
        for (spec, expect) in [
            (json!({}), Ok(())),
            (json!({"serviceAccountName": "x"}), Err("a mirror pod may not reference service accounts")),
            (json!({"volumes": [{"secret": {"secretName": "s"}}]}), Err("a mirror pod may not reference secrets")),
            (
                json!({"volumes": [{"projected": {"sources": [{"serviceAccountToken": {}}]}}]}),
                Err("a mirror pod may not use ServiceAccountToken volume projections"),
            ),
        ] {
            assert_eq!(mirror(&json!({"spec": spec})), expect);
        }
    }

    #[test]
    fn listed_secrets_alone_where_the_account_says_so() {
        let account = json!({"metadata": {"name": "sa", "annotations": {ENFORCE: "true"}}, "secrets": [{"name": "s"}], "imagePullSecrets": [{"name": "p"}]});
        assert!(enforces(&account) && !enforces(&json!({"metadata": {}})));
        let sorts = [("container", "containers")];
        let check = |spec: Value| limit(&account, &json!({"spec": spec}), &sorts, true).err().unwrap_or_default();
        assert_eq!(
            check(json!({"volumes": [{"secret": {"secretName": "s"}}], "imagePullSecrets": [{"name": "p"}]})),
            ""
        );
        assert_eq!(
            check(json!({"volumes": [{"secret": {"secretName": "x"}}]})),
            "volume with secret.secretName=\"x\" is not allowed because service account sa does not reference that secret"
        );
        assert_eq!(
            check(
                json!({"containers": [{"name": "c", "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "x"}}}]}]})
            ),
            "container c with envVar E referencing secret.secretName=\"x\" is not allowed because service account sa does not reference that secret"
        );
        assert_eq!(
            check(json!({"imagePullSecrets": [{"name": "x"}]})),
            "imagePullSecrets[0].name=\"x\" is not allowed because service account sa does not reference that imagePullSecret"
        );
    }
}
