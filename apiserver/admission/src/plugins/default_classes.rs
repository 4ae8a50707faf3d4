//! DefaultStorageClass and DefaultIngressClass: an object that names no class gets the newest one that is marked as
//! the default.

use std::sync::Arc;

use async_trait::async_trait;
use machinery::json::Fields;
use machinery::meta;
use machinery::status::StatusError;
use model::resources::{INGRESS_CLASSES, STORAGE_CLASSES};
use serde_json::Value;
use writes::admission::{Plugin, Request};

/// See the module.
pub struct DefaultStorageClass;

/// See the module.
pub struct DefaultIngressClass;

/// The newest of those that any of the annotations marks; of several as new the first by name.
fn default_of(classes: &[Arc<Value>], annotations: &[&str]) -> Option<String> {
    let marked = classes.iter().filter(|c| annotations.iter().any(|a| meta::annotation(c, a) == Some("true")));
    let newest = marked.min_by(|a, b| {
        let key = |c: &Arc<Value>| (meta::creation_timestamp(c).to_owned(), meta::name(c).to_owned());
        let ((at_a, name_a), (at_b, name_b)) = (key(a), key(b));
        at_b.cmp(&at_a).then(name_a.cmp(&name_b))
    })?;
    Some(meta::name(newest).to_owned())
}

#[async_trait]
impl Plugin for DefaultStorageClass {
    fn handles(&self, request: &Request<'_>) -> bool {
        request.creates() && request.is_whole("", "persistentvolumeclaims")
    }

    async fn admit(&self, request: &Request<'_>, claim: &mut Value) -> Result<(), StatusError> {
        let has_class = claim.at("/spec/storageClassName").is_some()
            || claim["metadata"]["annotations"].get("volume.beta.kubernetes.io/storage-class").is_some();
        if !has_class {
            let marks =
                ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
            if let Some(name) = default_of(&request.registry.list(&STORAGE_CLASSES, None), &marks) {
                claim["spec"]["storageClassName"] = name.into();
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Plugin for DefaultIngressClass {
    fn handles(&self, request: &Request<'_>) -> bool {
        request.creates() && request.is_whole("networking.k8s.io", "ingresses")
    }

    async fn admit(&self, request: &Request<'_>, ingress: &mut Value) -> Result<(), StatusError> {
        let has_class = ingress.at("/spec/ingressClassName").is_some()
            || ingress["metadata"]["annotations"].get("kubernetes.io/ingress.class").is_some();
        if !has_class {
            let marks = ["ingressclass.kubernetes.io/is-default-class"];
            if let Some(name) = default_of(&request.registry.list(&INGRESS_CLASSES, None), &marks) {
                ingress["spec"]["ingressClassName"] = name.into();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_newest_default_counts() {
        let class = |name: &str, at: &str, mark: &str| {
            Arc::new(json!({"metadata": {"name": name, "creationTimestamp": at, "annotations": {"default": mark}}}))
        };
        let old = class("a", "2026-01-01T00:00:00Z", "true");
        let new = class("b", "2026-01-02T00:00:00Z", "true");
        let same = class("aa", "2026-01-02T00:00:00Z", "true");
        let not = class("c", "2026-01-03T00:00:00Z", "false");
        assert_eq!(default_of(std::slice::from_ref(&not), &["default"]), None);
        assert_eq!(default_of(&[old.clone(), not.clone()], &["default"]).as_deref(), Some("a"));
        assert_eq!(default_of(&[old, new, same, not], &["default"]).as_deref(), Some("aa"));
    }
}
