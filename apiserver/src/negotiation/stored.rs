//! What the store holds, as this server would have written it. On etcd another server may have written: upstream's stores
//! built-in kinds as protobuf, in the storage version of its own choice. An object that could not be read would be missing
//! from every list, and what controllers and kubelets do about missing objects cannot be taken back.

use api::protobuf::{self, MAGIC};
use bytes::Bytes;
use machinery::gvk::GroupVersionKind;
use serde_json::Value;

use super::{convert, encode};
use crate::registry::catalogue::Resource;
use crate::registry::types::{Source, Types};

/// A stored value as this server would have written it: decoded, defaulted, encoded. `None` where the bytes cannot be
/// decoded; they are then served as they are.
pub fn canonicalise(row: &Resource, stored: &Bytes) -> Option<Bytes> {
    let mut value = match row.types.custom() {
        Some(custom) => {
            let mut value = serde_json::from_slice(stored).ok()?;
            custom.restore(&mut value);
            // Stored in another version, before the definition changed: the same fields, by conversion strategy None.
            value["apiVersion"] = row.api_version().into();
            value["kind"] = row.kind.as_ref().into();
            value
        }
        None => built_in(&row.storage_version, stored)?,
    };
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("resourceVersion");
    }
    Some(encode(&value, &row.storage_version))
}

fn built_in(storage: &GroupVersionKind, stored: &[u8]) -> Option<Value> {
    if !stored.starts_with(MAGIC) {
        let types = Types::of(storage);
        let mut value = types.decode(Source::Json(stored)).ok()?.value;
        types.default(storage, &mut value);
        return Some(value);
    }
    let envelope = protobuf::open(stored).ok()?;
    let kind = GroupVersionKind::from_api_version(envelope.api_version, envelope.kind);
    let types = Types::of(&kind);
    let mut value = types.decode(Source::Protobuf(envelope.raw)).ok()?.value;
    value["apiVersion"] = envelope.api_version.into();
    value["kind"] = envelope.kind.into();
    types.default(&kind, &mut value);
    Some(convert(&value, &kind, storage).unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(resource: &str) -> Resource {
        let rows = crate::registry::catalogue::rows();
        rows.into_iter().find(|row| row.resource == resource).expect("a row")
    }

    fn in_protobuf(object: &Value) -> Bytes {
        let text = |key: &str| object[key].as_str().expect("set");
        let ty =
            api::schema::of(&GroupVersionKind::from_api_version(text("apiVersion"), text("kind"))).expect("a type");
        let mut out = Vec::new();
        protobuf::encode(object, ty, &mut out);
        out.into()
    }

    #[test]
    fn upstreams_protobuf_is_read_as_json_is() {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "n", "labels": {"k": "v"}},
            "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]},
        });
        let row = row("pods");
        let from_json = canonicalise(&row, &pod.to_string().into()).expect("read");
        assert_eq!(canonicalise(&row, &in_protobuf(&pod)).expect("read"), from_json);
        let read: Value = serde_json::from_slice(&from_json).expect("JSON");
        assert_eq!(read["kind"], "Pod");
        assert_eq!(read["spec"]["containers"][0]["ports"][0]["protocol"], "TCP", "defaulted");
    }

    #[test]
    fn another_storage_version_is_converted() {
        let row = row("horizontalpodautoscalers");
        for version in ["autoscaling/v1", "autoscaling/v2"] {
            let stored = json!({
                "apiVersion": version, "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a", "namespace": "n"},
                "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}},
            });
            let read = canonicalise(&row, &in_protobuf(&stored)).expect("read");
            let read: Value = serde_json::from_slice(&read).expect("JSON");
            assert_eq!(
                GroupVersionKind::from_api_version(
                    read["apiVersion"].as_str().expect("set"),
                    "HorizontalPodAutoscaler"
                ),
                row.storage_version
            );
            assert_eq!(read["spec"]["maxReplicas"], 3);
        }
    }

    #[test]
    fn what_is_no_object_is_not_made_one() {
        for bytes in [&b"k8s\0\xff\xff"[..], b"k8s\0", b"no object"] {
            assert_eq!(canonicalise(&row("pods"), &Bytes::from_static(bytes)), None);
        }
    }
}
