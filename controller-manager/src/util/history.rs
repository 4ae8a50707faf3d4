//! The history of a set's pod template: one ControllerRevision for each template that it had.
//!
//! Upstream: `pkg/controller/history`, and what the controllers of DaemonSets and StatefulSets put into it. A revision's
//! data is a strategic merge patch that replaces `spec.template`, as text with sorted keys: upstream compares it byte for
//! byte and hashes it into the revision's name, so everything is written here exactly as Go's encoder writes it. Then
//! either manager can take over a set from the other without rolling it.

use std::cmp::Ordering;

use anyhow::Context as _;
use api::{encode, patch::TypeSchema, schema};
use k8s_openapi::{
    api::{apps::v1::ControllerRevision, core::v1::PodTemplateSpec},
    apimachinery::pkg::{apis::meta::v1::Time, runtime::RawExtension},
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, PostParams},
    core::Request,
};
use machinery::patch::strategic;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{hash, key};

/// The label on pods, and on a DaemonSet's revisions, that says which revision they are of.
pub(crate) const REVISION_LABEL: &str = "controller-revision-hash";
/// The label on a StatefulSet's revisions with their hash.
pub(crate) const HASH_LABEL: &str = "controller.kubernetes.io/hash";

/// Of an owner's name, so much goes into the names of its revisions.
const PREFIX_LIMIT_BYTES: usize = 223;

/// The data of a template's revision.
pub(crate) fn data(template: &PodTemplateSpec) -> Value {
    let ty = schema::named("core.v1", "PodTemplateSpec").expect("the table has it");
    let template = serde_json::to_value(template).unwrap_or_default();
    // Through Go's text form: with its zero values, and without what it leaves out.
    let mut template: Value = serde_json::from_slice(&encode::to_vec(&template, ty)).unwrap_or_default();
    template["$patch"] = json!("replace");
    json!({"spec": {"template": template}})
}

/// The data of a revision; null if it has none.
pub(crate) fn data_of(revision: &ControllerRevision) -> &Value {
    revision.data.as_ref().map_or(&Value::Null, |data| &data.0)
}

/// The hash of a revision's data, changed by the number of collisions met so far.
pub(crate) fn hash(data: &Value, collisions: i32) -> String {
    let mut text = Vec::new();
    encode::write_untyped(data, &mut text);
    text.extend(collisions.to_string().bytes());
    hash::safe(&hash::fnv1(&text).to_string())
}

/// The name of `owner`'s revision of that hash.
pub(crate) fn name(owner: &str, hash: &str) -> String {
    format!("{}-{hash}", owner.get(..PREFIX_LIMIT_BYTES).unwrap_or(owner))
}

/// A revision of that template without a name: who writes it knows the hash.
pub(crate) fn revision_of<K: Resource<DynamicType = ()>>(
    owner: &K,
    template: &PodTemplateSpec,
    number: i64,
) -> ControllerRevision {
    let labels = template.metadata.as_ref().and_then(|m| m.labels.clone());
    let mut revision =
        ControllerRevision { data: Some(RawExtension(data(template))), revision: number, ..Default::default() };
    revision.metadata.namespace = owner.meta().namespace.clone();
    revision.metadata.labels = Some(labels.unwrap_or_default());
    revision.metadata.annotations = owner.meta().annotations.clone();
    revision.metadata.owner_references = Some(vec![controller::controller_ref(owner)]);
    revision
}

/// The lower number first, then the older, then by name.
pub(crate) fn by_number(a: &ControllerRevision, b: &ControllerRevision) -> Ordering {
    let made = |r: &ControllerRevision| r.metadata.creation_timestamp.as_ref().map(|Time(at)| *at);
    let name = |r: &ControllerRevision| r.metadata.name.clone();
    a.revision.cmp(&b.revision).then_with(|| made(a).cmp(&made(b))).then_with(|| name(a).cmp(&name(b)))
}

/// `object` as a revision's data says it was.
///
/// # Errors
/// The data is no patch of such an object.
pub(crate) fn restored<K>(object: &K, data: &Value) -> anyhow::Result<K>
where
    K: Resource<DynamicType = ()> + Serialize + DeserializeOwned,
{
    let (version, kind) = (K::api_version(&()), K::kind(&()));
    let ty = schema::of_object(&version, &kind).with_context(|| format!("no schema of {kind}"))?;
    let patched = strategic::apply(serde_json::to_value(object)?, data.clone(), &TypeSchema(ty))?;
    Ok(serde_json::from_value(patched)?)
}

/// A revision as Go's encoder writes it: a server keeps the data as it is sent.
fn body(revision: &ControllerRevision) -> Vec<u8> {
    let ty = schema::named("apps.v1", "ControllerRevision").expect("the table has it");
    encode::to_vec(&serde_json::to_value(revision).unwrap_or_default(), ty)
}

/// Writes the revisions of a namespace.
pub(crate) struct History<'a> {
    pub(crate) client: &'a Client,
    pub(crate) namespace: &'a str,
}

impl History<'_> {
    fn api(&self) -> Api<ControllerRevision> {
        Api::namespaced(self.client.clone(), self.namespace)
    }

    fn request(&self) -> Request {
        Request::new(ControllerRevision::url_path(&(), Some(self.namespace)))
    }

    pub(crate) async fn get(&self, name: &str) -> kube::Result<ControllerRevision> {
        self.api().get(name).await
    }

    pub(crate) async fn create(&self, revision: &ControllerRevision) -> kube::Result<ControllerRevision> {
        let request =
            self.request().create(&PostParams::default(), body(revision)).map_err(kube::Error::BuildRequest)?;
        self.client.request(request).await
    }

    pub(crate) async fn replace(&self, revision: &ControllerRevision) -> kube::Result<ControllerRevision> {
        let name = key::name(&revision.metadata);
        let request =
            self.request().replace(name, &PostParams::default(), body(revision)).map_err(kube::Error::BuildRequest)?;
        self.client.request(request).await
    }

    /// Gives a revision another number.
    pub(crate) async fn renumber(
        &self,
        revision: &ControllerRevision,
        number: i64,
    ) -> kube::Result<ControllerRevision> {
        self.replace(&ControllerRevision { revision: number, ..revision.clone() }).await
    }

    pub(crate) async fn delete(&self, revision: &ControllerRevision) -> kube::Result<()> {
        self.api().delete(key::name(&revision.metadata), &DeleteParams::default()).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::StatefulSet;

    use super::*;

    /// What upstream v1.34 made of it on a cluster (`statefulset/testdata/compatibility_*_1.34.0.json`).
    fn upstreams() -> (PodTemplateSpec, &'static str, &'static str) {
        let template = json!({
            "metadata": {"annotations": {"test": "value"}, "labels": {"app": "foo"}},
            "spec": {
                "containers": [{
                    "image": "test", "imagePullPolicy": "Always", "name": "test", "resources": {},
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                }],
                "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
                "securityContext": {}, "terminationGracePeriodSeconds": 30,
            },
        });
        let data = r#"{"spec":{"template":{"$patch":"replace","metadata":{"annotations":{"test":"value"},"labels":{"app":"foo"}},"spec":{"containers":[{"image":"test","imagePullPolicy":"Always","name":"test","resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File"}],"dnsPolicy":"ClusterFirst","restartPolicy":"Always","schedulerName":"default-scheduler","securityContext":{},"terminationGracePeriodSeconds":30}}}}"#;
        (serde_json::from_value(template).unwrap(), data, "776999688b")
    }

    #[test]
    fn data_and_hash_are_upstreams() {
        let (template, text, wanted) = upstreams();
        let data = data(&template);
        let mut written = vec![];
        encode::write_untyped(&data, &mut written);
        assert_eq!(String::from_utf8(written).unwrap(), text);
        assert_eq!(hash(&data, 0), wanted);
        assert_ne!(hash(&data, 1), wanted);
        // Of v1.33, which wrote one field more.
        let older = text.replace(r#""labels":{"app""#, r#""creationTimestamp":null,"labels":{"app""#);
        assert_eq!(hash(&serde_json::from_str(&older).unwrap(), 0), "c77f6d978");
    }

    #[test]
    fn the_text_is_gos_where_encoders_differ() {
        let template = json!({
            "metadata": {"annotations": {"note": "a<b & c>d"}, "labels": {}},
            "spec": {"containers": [{"name": "c", "env": [{"name": "E", "value": ""}], "ports": []}], "hostNetwork": false},
        });
        let owner: StatefulSet = serde_json::from_value(json!({"metadata": {"name": "web", "uid": "u"}})).unwrap();
        let revision = revision_of(&owner, &serde_json::from_value(template).unwrap(), 3);
        let body = String::from_utf8(body(&revision)).unwrap();
        let data = r#""data":{"spec":{"template":{"$patch":"replace","metadata":{"annotations":{"note":"a\u003cb \u0026 c\u003ed"}},"spec":{"containers":[{"env":[{"name":"E"}],"name":"c","resources":{}}]}}}},"revision":3"#;
        assert!(body.contains(data), "{body}");
    }

    #[test]
    fn names_leave_room_for_the_hash() {
        assert_eq!(name("web", "776999688b"), "web-776999688b");
        assert_eq!(name(&"x".repeat(253), "h").len(), PREFIX_LIMIT_BYTES + 2);
    }

    #[test]
    fn a_revision_is_restored_over_the_whole_template() {
        let (template, text, _) = upstreams();
        let set: StatefulSet = serde_json::from_value(json!({
            "metadata": {"name": "web"},
            "spec": {
                "replicas": 3, "selector": {"matchLabels": {"app": "foo"}},
                "template": {
                    "metadata": {"labels": {"app": "foo", "new": "label"}},
                    "spec": {"containers": [{"name": "test", "image": "new"}, {"name": "second"}], "hostNetwork": true},
                },
            },
        }))
        .unwrap();
        let restored = restored(&set, &serde_json::from_str(text).unwrap()).unwrap().spec.unwrap();
        assert_eq!((restored.replicas, restored.template), (Some(3), template));
    }

    #[test]
    fn revisions_are_ordered_by_number_age_and_name() {
        let revision = |number: i64, made: &str, name: &str| -> ControllerRevision {
            serde_json::from_value(json!({
                "metadata": {"name": name, "creationTimestamp": format!("2026-01-01T00:00:0{made}Z")}, "revision": number,
            }))
            .unwrap()
        };
        let mut all = [revision(2, "1", "d"), revision(1, "2", "c"), revision(1, "1", "b"), revision(1, "1", "a")];
        all.sort_by(by_number);
        assert_eq!(all.map(|r| r.metadata.name.unwrap()).concat(), "abcd");
    }
}
