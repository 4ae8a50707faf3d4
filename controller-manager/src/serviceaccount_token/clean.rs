//! Tokens that nobody uses: those that were made by themselves in clusters of old are marked as invalid when they were
//! not used for long, and deleted when that did not matter to anybody for as long again.
//!
//! Upstream: `pkg/controller/serviceaccount/legacy_serviceaccount_token_cleaner.go`.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use client::Informer;
use futures::future::BoxFuture;
use k8s_openapi::{
    api::core::v1::{ConfigMap, Pod, Secret, ServiceAccount},
    jiff::{SignedDuration, Timestamp, ToSpan, civil::Date, tz::TimeZone},
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde_json::{Value, json};

use super::sync;
use crate::{context::Context, util::key};

const PERIOD: Duration = Duration::from_secs(24 * 3600);
const TRACKING: &str = "kube-apiserver-legacy-service-account-token-tracking";
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";

/// What becomes of a Secret.
#[derive(Debug, PartialEq)]
enum Fate {
    Stays,
    /// It is marked as invalid since that day.
    Invalid(String),
    Goes,
}

fn day(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

/// Whether uses were noted for long enough that a Secret without a note was not used.
fn tracked_enough(since: Date, unused: Duration, now: Timestamp) -> bool {
    // The day on which it began is not whole.
    let begun = since.saturating_add(1.day()).to_zoned(TimeZone::UTC).map(|at| at.timestamp());
    let unused = SignedDuration::try_from(unused).unwrap_or(SignedDuration::MAX);
    begun.is_ok_and(|begun| now.duration_since(begun) >= unused)
}

/// Decides. `own`: the Secret was made for its account by itself, and no pod uses it; asked last.
fn fate(secret: &Secret, unused: Duration, now: Timestamp, own: impl FnOnce() -> bool) -> Fate {
    let meta = &secret.metadata;
    let Ok(kept_since) = SignedDuration::try_from(unused).map_err(drop).and_then(|u| now.checked_sub(u).map_err(drop))
    else {
        return Fate::Stays;
    };
    let kept_day = day(kept_since);
    let young = meta.creation_timestamp.as_ref().is_none_or(|at| at.0 >= kept_since);
    let label = |name: &str| meta.labels.as_ref().and_then(|l| l.get(name));
    // What is no day says nothing of when it was.
    let used = label(LAST_USED)
        .is_some_and(|text| text.parse::<Date>().is_ok_and(|d| d >= kept_day) || text.parse::<Date>().is_err());
    if young || meta.deletion_timestamp.is_some() || used || !own() {
        return Fate::Stays;
    }
    match label(INVALID_SINCE).and_then(|text| text.parse::<Date>().ok()) {
        None => Fate::Invalid(day(now).to_string()),
        Some(since) if since >= kept_day => Fate::Stays,
        Some(_) => Fate::Goes,
    }
}

/// Runs the cleaner.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

async fn run(context: Context) -> anyhow::Result<()> {
    let secrets = super::secrets(&context);
    let (accounts, pods): (Informer<ServiceAccount>, Informer<Pod>) = (context.informers.of(), context.informers.of());
    secrets.synced().await;
    accounts.synced().await;
    pods.synced().await;
    let clean = async {
        loop {
            if let Err(error) = clean(&context, &secrets, &accounts, &pods).await {
                tracing::warn!(error = format!("{error:#}"), "unused tokens not looked for");
            }
            tokio::time::sleep(PERIOD).await;
        }
    };
    context.cancel.run_until_cancelled(clean).await;
    Ok(())
}

async fn clean(
    context: &Context,
    secrets: &Informer<Secret>,
    accounts: &Informer<ServiceAccount>,
    pods: &Informer<Pod>,
) -> anyhow::Result<()> {
    let unused = context.config.legacy_service_account_token_clean_up_period;
    let tracking: ConfigMap = Api::namespaced(context.client.clone(), "kube-system").get(TRACKING).await?;
    let since = tracking.data.as_ref().and_then(|d| d.get("since")).context("configMap does not have since label")?;
    let since: Date = since.parse().context("error parsing trackedSince time")?;
    let now = Timestamp::now();
    if !tracked_enough(since, unused, now) {
        return Ok(());
    }
    let mut mounted: HashMap<String, HashSet<String>> = HashMap::new();
    for secret in secrets.list() {
        let (namespace, name) = (key::namespace(&secret.metadata), key::name(&secret.metadata));
        let own = || {
            let named = sync::account_of(&secret);
            let account = named.and_then(|named| {
                let account = accounts.get(Some(namespace), &named.name)?;
                let is = named.uid.is_empty() || named.uid == key::uid(&account.metadata);
                is.then_some(account)
            });
            let made = account.is_some_and(|account| sync::without(&account, name).is_some());
            let used =
                mounted.entry(namespace.to_owned()).or_insert_with(|| used_secrets(pods.list_namespace(namespace)));
            made && !used.contains(name)
        };
        let api: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
        let done = match fate(&secret, unused, now, own) {
            Fate::Stays => continue,
            Fate::Invalid(day) => {
                tracing::info!(namespace, name, "unused token marked as invalid");
                let meta = json!({"uid": secret.metadata.uid, "labels": {INVALID_SINCE: day}});
                let patch = Patch::Merge(json!({"metadata": meta}));
                api.patch(name, &PatchParams::default(), &patch).await.map(drop)
            }
            Fate::Goes => {
                tracing::info!(namespace, name, "unused token deleted");
                let resource_version = secret.metadata.resource_version.clone();
                let preconditions = Some(Preconditions { uid: None, resource_version });
                api.delete(name, &DeleteParams { preconditions, ..Default::default() }).await.map(drop)
            }
        };
        if let Err(error) =
            done.or_else(|e| if client::is_not_found(&e) || client::is_conflict(&e) { Ok(()) } else { Err(e) })
        {
            tracing::warn!(namespace, name, %error, "unused token left");
        }
    }
    Ok(())
}

/// The Secrets that pods name, wherever they do.
fn used_secrets(pods: Vec<Arc<Pod>>) -> HashSet<String> {
    let mut names = HashSet::new();
    for pod in pods {
        let spec = serde_json::to_value(&pod.spec).unwrap_or_default();
        collect(&spec, &mut names);
    }
    names
}

/// Every reference to a Secret in a pod's spec: by the field that holds its name, at any depth.
fn collect(value: &Value, names: &mut HashSet<String>) {
    let mut take = |name: &Value| names.extend(name.as_str().map(str::to_owned));
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                match field.as_str() {
                    "secretName" => take(value),
                    "secret" | "secretRef" | "secretKeyRef" | "nodePublishSecretRef" => take(&value["name"]),
                    "imagePullSecrets" => value.as_array().into_iter().flatten().for_each(|r| take(&r["name"])),
                    _ => {}
                }
            }
            fields.values().for_each(|value| collect(value, names));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

    fn now() -> Timestamp {
        "2026-01-10T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn unused_tokens_are_marked_and_then_go() {
        let check = |created: &str, labels: Value, own: bool, want: Fate| {
            let meta = json!({"name": "s", "creationTimestamp": created, "labels": labels});
            let secret: Secret = serde_json::from_value(json!({"metadata": meta})).unwrap();
            assert_eq!(fate(&secret, YEAR, now(), || own), want, "{created} {labels}");
        };
        let old = "2020-01-01T00:00:00Z";
        let marked = || Fate::Invalid("2026-01-10".into());
        check(old, json!({}), true, marked());
        check(old, json!({}), false, Fate::Stays);
        check("2025-01-10T12:00:00Z", json!({}), true, Fate::Stays);
        check("2025-01-10T11:59:59Z", json!({}), true, marked());
        check(old, json!({LAST_USED: "2025-01-10"}), true, Fate::Stays);
        check(old, json!({LAST_USED: "2025-01-09"}), true, marked());
        check(old, json!({LAST_USED: "some day"}), true, Fate::Stays);
        check(old, json!({INVALID_SINCE: "2025-01-10"}), true, Fate::Stays);
        check(old, json!({INVALID_SINCE: "2025-01-09"}), true, Fate::Goes);
        check(old, json!({INVALID_SINCE: "some day"}), true, marked());
        check(old, json!({INVALID_SINCE: "2025-01-09", LAST_USED: "2026-01-09"}), true, Fate::Stays);
    }

    #[test]
    fn nothing_is_unused_before_uses_were_noted_for_long_enough() {
        let check = |since: &str, want: bool| {
            assert_eq!(tracked_enough(since.parse().unwrap(), YEAR, now()), want, "{since}");
        };
        check("2025-01-09", true);
        check("2025-01-10", false);
    }

    #[test]
    fn pods_use_secrets_in_many_places() {
        let spec = json!({
            "imagePullSecrets": [{"name": "a"}],
            "volumes": [
                {"name": "v", "secret": {"secretName": "b"}},
                {"name": "w", "projected": {"sources": [{"secret": {"name": "c"}}]}},
                {"name": "x", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "e"}}},
            ],
            "containers": [{
                "name": "c", "envFrom": [{"secretRef": {"name": "f"}}],
                "env": [{"name": "n", "valueFrom": {"secretKeyRef": {"name": "g", "key": "k"}}}],
            }],
        });
        let pod = serde_json::from_value(json!({"spec": spec})).unwrap();
        let mut names: Vec<_> = used_secrets(vec![Arc::new(pod)]).into_iter().collect();
        names.sort();
        assert_eq!(names, ["a", "b", "c", "e", "f", "g"]);
    }
}
