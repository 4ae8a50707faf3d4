//! What a new cluster has from the start: system namespaces, roles and bindings, priority classes, the flow control's
//! levels and schemas, and how front proxies are told from others.
//!
//! All of it is reconciled at every start as upstream does: what is missing is added, what an administrator added is
//! left, and what an administrator protects by annotation is not touched. Writes go through the registry like any
//! other and in parallel, so that a durable store syncs a few times and not two hundred.

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use kinds::flowcontrol;
use machinery::gvk::GroupResource;
use machinery::meta;
use machinery::status::StatusError;
use model::resources::{CONFIG_MAPS, FLOW_SCHEMAS, NAMESPACES, PRIORITY_CLASSES, PRIORITY_LEVELS};
use serde_json::{Value, json};
use writes::Registry;

mod default_range;
pub mod identity;
pub mod kubernetes_service;
pub mod presence;
pub mod rbac;
mod reconcile;

/// Namespaces that every cluster has.
pub const SYSTEM_NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];
/// Writes under way at a time.
const PARALLEL: usize = 64;

const PRIORITY_CLASS_OBJECTS: &str = include_str!("priority_classes.json");

/// What the rest cannot know: the server's own authorities.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The authorities of client certificates, PEM.
    pub client_ca: Option<String>,
    /// The authorities of front proxies, PEM, and what they send.
    pub request_header: Option<(String, access::authn::request_header::Headers)>,
    /// The user as which the server speaks to kubelets, where that is our own making: kubelets ask back what it may.
    pub kubelet_client: Option<String>,
    /// The server's own Service; `None` where it has none (tests).
    pub service: Option<kubernetes_service::Facts>,
}

/// Brings the cluster's own objects to what they should be.
pub async fn run(registry: &Registry, facts: &Facts) -> Result<(), StatusError> {
    // First: the others live in them.
    let namespaces = SYSTEM_NAMESPACES.map(|name| {
        json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name},
        })
    });
    ensure(registry, &NAMESPACES, namespaces.into_iter().collect(), keep).await?;
    let flow_schemas = objects(flowcontrol::FLOW_SCHEMAS, "flowcontrol.apiserver.k8s.io/v1", "FlowSchema");
    let levels = objects(flowcontrol::PRIORITY_LEVELS, "flowcontrol.apiserver.k8s.io/v1", "PriorityLevelConfiguration");
    let classes = objects(PRIORITY_CLASS_OBJECTS, "scheduling.k8s.io/v1", "PriorityClass");
    futures::try_join!(
        rbac::run(registry, facts.kubelet_client.as_deref()),
        ensure(registry, &PRIORITY_CLASSES, classes, keep),
        ensure(registry, &PRIORITY_LEVELS, levels, reconcile::flow_control),
        ensure(registry, &FLOW_SCHEMAS, flow_schemas, reconcile::flow_control),
        trust(registry, facts),
        ensure(registry, &CONFIG_MAPS, vec![tracking(Timestamp::now())], keep),
    )?;
    match &facts.service {
        Some(service) => kubernetes_service::run(registry, service).await,
        None => Ok(()),
    }
}

fn objects(text: &str, api_version: &str, kind: &str) -> Vec<Value> {
    let mut objects: Vec<Value> = serde_json::from_str(text).expect("committed data, parsed by a test");
    for object in &mut objects {
        object["apiVersion"] = api_version.into();
        object["kind"] = kind.into();
    }
    objects
}

/// For objects that are only ever created.
fn keep(_: &Value, _: &Value) -> Option<Value> {
    None
}

/// The ConfigMap by which extension servers know front proxies (`clusterauthenticationtrust`).
fn authentication(facts: &Facts) -> Value {
    let mut data = serde_json::Map::new();
    if let Some(pem) = &facts.client_ca {
        data.insert("client-ca-file".into(), pem.clone().into());
    }
    if let Some((pem, headers)) = &facts.request_header {
        data.insert("requestheader-client-ca-file".into(), pem.clone().into());
        let lists = [
            ("allowed-names", &headers.allowed_names),
            ("extra-headers-prefix", &headers.extra_prefix),
            ("group-headers", &headers.group),
            ("uid-headers", &headers.uid),
            ("username-headers", &headers.username),
        ];
        for (key, list) in lists {
            data.insert(format!("requestheader-{key}"), json!(list).to_string().into());
        }
    }
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": "kube-system", "name": "extension-apiserver-authentication"},
        "data": data,
    })
}

/// Since when the use of tokens in Secrets is noted (`legacytokentracking`): the controller that removes unused ones
/// waits for it.
fn tracking(now: Timestamp) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": "kube-system", "name": "kube-apiserver-legacy-service-account-token-tracking"},
        "data": {"since": now.strftime("%Y-%m-%d").to_string()},
    })
}

/// What an existing object should become; `None` where it is right.
type Reconcile = fn(existing: &Value, expected: &Value) -> Option<Value>;

/// Says who signs for clients and for front proxies, as it is now.
pub async fn trust(registry: &Registry, facts: &Facts) -> Result<(), StatusError> {
    ensure(registry, &CONFIG_MAPS, vec![authentication(facts)], reconcile::data).await
}

/// Creates what is missing and changes what `reconcile` says.
async fn ensure(
    registry: &Registry,
    resource: &GroupResource,
    objects: Vec<Value>,
    reconcile: Reconcile,
) -> Result<(), StatusError> {
    let one = |object: Value| async move { ensure_one(registry, resource, object, reconcile).await };
    stream::iter(objects).map(one).buffer_unordered(PARALLEL).try_collect::<()>().await
}

async fn ensure_one(
    registry: &Registry,
    resource: &GroupResource,
    expected: Value,
    reconcile: Reconcile,
) -> Result<(), StatusError> {
    let (namespace, name) = (meta::namespace(&expected).to_owned(), meta::name(&expected).to_owned());
    let namespace = Some(namespace.as_str()).filter(|n| !n.is_empty());
    match registry.get(resource, namespace, &name) {
        Some(existing) if reconcile(&existing, &expected).is_none() => return Ok(()),
        Some(_) => {}
        None => match registry.create(resource, namespace, expected.clone()).await {
            Err(error) if error.is_already_exists() => {}
            outcome => return outcome.map(drop),
        },
    }
    let mut change = |existing: &Value| Ok(reconcile(existing, &expected).unwrap_or_else(|| existing.clone()));
    match registry.update(resource, namespace, &name, &mut change).await {
        // Deleted in between: the next start makes it.
        Err(error) if error.is_not_found() => Ok(()),
        outcome => outcome.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_is_well_formed() {
        assert_eq!(objects(PRIORITY_CLASS_OBJECTS, "scheduling.k8s.io/v1", "PriorityClass").len(), 2);
        assert_eq!(objects(flowcontrol::PRIORITY_LEVELS, "x/v1", "PriorityLevelConfiguration").len(), 8);
        let schemas = objects(flowcontrol::FLOW_SCHEMAS, "x/v1", "FlowSchema");
        assert!(schemas.iter().any(|s| meta::name(s) == "catch-all"));
    }

    #[test]
    fn front_proxies_are_told_by_a_config_map() {
        let headers =
            access::authn::request_header::Headers { username: vec!["X-Remote-User".into()], ..Default::default() };
        let map = authentication(&Facts {
            client_ca: Some("PEM".into()),
            request_header: Some(("PEM2".into(), headers)),
            ..Facts::default()
        });
        assert_eq!(map["data"]["client-ca-file"], "PEM");
        assert_eq!(map["data"]["requestheader-username-headers"], r#"["X-Remote-User"]"#);
        assert_eq!(map["data"]["requestheader-allowed-names"], "[]");
        assert_eq!(authentication(&Facts::default())["data"], json!({}));
    }
}
