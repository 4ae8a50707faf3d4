//! Protobuf both ways, by hand-made messages; whole objects are in `tests/tests/golden`.

use serde_json::{Value, json};

use super::*;

fn round(api_version: &str, kind: &str, value: Value) -> Value {
    let ty = schema::of_object(api_version, kind).unwrap();
    let mut bytes = Vec::new();
    encode(&value, ty, &mut bytes);
    let envelope = open(&bytes).unwrap();
    let mut map = decode(envelope.raw, ty).unwrap();
    for (key, text) in [("apiVersion", envelope.api_version), ("kind", envelope.kind)] {
        if !text.is_empty() {
            map.insert(key.into(), text.into());
        }
    }
    map.into()
}

#[test]
fn objects_come_back_as_they_were() {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "a", "creationTimestamp": "2026-01-02T03:04:05Z", "labels": {"b": "", "a": "x"}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "100m"}}, "livenessProbe": {"httpGet": {"port": "http"}}}],
            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "s", "secret": {"secretName": "x", "defaultMode": 420}}],
            "tolerations": [{"tolerationSeconds": -1}],
        },
    });
    assert_eq!(round("v1", "Pod", pod.clone()), pod);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "AAEC"}, "type": "Opaque"});
    assert_eq!(round("v1", "Secret", secret.clone()), secret);
}

/// What a resident encoding shows is what encoding the object at that revision makes.
#[test]
fn a_resident_encoding_serves_every_revision() {
    let long = "x".repeat(300);
    for metadata in [json!({}), json!({"name": "a", "uid": "u", "labels": {"a": "b"}}), json!({"name": long})] {
        for revision in ["7", "123456789012"] {
            let mut pod =
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata.clone(), "spec": {"nodeName": "n"}});
            let ty = schema::of_object("v1", "Pod").unwrap();
            let resident = Resident::new(&pod, ty).unwrap();
            pod["metadata"]["resourceVersion"] = revision.into();
            let partial =
                json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": pod["metadata"]});
            let list = json!({"apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": "9"}, "items": [pod.clone(), pod.clone()]});
            let plain = |value: &Value| {
                let (version, kind) = (value["apiVersion"].as_str().unwrap(), value["kind"].as_str().unwrap());
                let mut out = Vec::new();
                encode(value, schema::of_object(version, kind).unwrap(), &mut out);
                out
            };
            let revision = revision.as_bytes();
            for (part, value) in [(Part::Whole, &pod), (Part::Metadata, &partial)] {
                let mut out = Vec::new();
                resident.write(revision, part, &mut out);
                assert_eq!(out, plain(value));
                assert_eq!(out.len(), resident.length(revision, part));
            }
            let mut out = Vec::new();
            let items = resident.item_length(revision, Part::Whole) * 2;
            list_head("v1", "PodList", &list["metadata"], items, &mut out);
            (0..2).for_each(|_| resident.write_item(revision, Part::Whole, &mut out));
            out.extend_from_slice(TAIL);
            assert_eq!(out, plain(&list));
        }
    }
    let status = json!({"kind": "Status", "apiVersion": "v1"});
    assert!(Resident::new(&status, schema::of_object("v1", "Status").unwrap()).is_none(), "it has no revision");
}

#[test]
fn a_frame_is_a_length_and_an_event_around_an_object() {
    let object = [MAGIC, &[7; 200]].concat();
    let mut out = Vec::new();
    frame("ADDED", object.len(), |out| out.extend_from_slice(&object), &mut out);
    let (length, event) = out.split_at(4);
    assert_eq!(u32::from_be_bytes(length.try_into().unwrap()) as usize, event.len());
    assert_eq!(super::event(event), Ok(("ADDED", object.as_slice())));
}

#[test]
fn zero_values_mean_not_set() {
    let value =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "", "generation": 0}, "immutable": false});
    assert_eq!(round("v1", "ConfigMap", value), json!({"apiVersion": "v1", "kind": "ConfigMap", "immutable": false}));
}

#[test]
fn what_is_no_object_is_refused() {
    assert!(open(b"{}").is_err());
    let ty = schema::of_object("v1", "Pod").unwrap();
    for bytes in [&[0x0a, 9][..], &[0x08, 1], &[0xff; 12]] {
        assert!(decode(bytes, ty).is_err(), "{bytes:?}");
    }
    let props = schema::named("apiextensions.v1", "JSONSchemaProps").unwrap();
    let number = props.field("not").unwrap().numbers[0];
    let mut deep = Vec::new();
    for _ in 0..1_000 {
        let mut outer = Vec::new();
        wire::write_bytes(number, &deep, &mut outer);
        deep = outer;
    }
    assert_eq!(decode(&deep, props), Err(Error("exceeded max depth".into())));
}

/// What a decoder or a strategy may have left in an object, and no encoder writes.
#[test]
fn what_json_leaves_out_is_not_in_protobuf_either() {
    let ty = schema::of_object("v1", "Pod").unwrap();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "a", "labels": {}, "finalizers": [], "annotations": null, "generateName": "", "generation": 0,
            "managedFields": [{"manager": "m", "operation": "Update", "fieldsV1": {"f:spec": {"f:containers": {}}}}]},
        "spec": {"hostNetwork": false, "nodeSelector": {}, "containers": [{"name": "c", "args": [], "stdin": false}],
            "volumes": [{"name": "v", "downwardAPI": {"items": []}}]},
        "status": {},
    });
    let (mut direct, mut read) = (Vec::new(), Vec::new());
    encode(&pod, ty, &mut direct);
    let json = crate::encode::to_vec(&pod, ty);
    encode(&serde_json::from_slice(&json).unwrap(), ty, &mut read);
    assert_eq!(direct, read);
    assert_eq!(Resident::of_json(&json), Resident::new(&pod, ty));
    assert_eq!(Resident::new(&pod, ty).unwrap().stored(), read);
}

/// Nobody checks them in a template: whatever JSON they are, they come back as that.
#[test]
fn sets_of_fields_are_any_json() {
    for set in [json!("f:spec"), json!("{}"), json!(1), json!(["a"]), json!({"f:spec": {}})] {
        let template = json!({
            "apiVersion": "v1", "kind": "PodTemplate",
            "template": {"metadata": {"managedFields": [{"manager": "m", "fieldsV1": set}]}},
        });
        let shown = &round("v1", "PodTemplate", template)["template"]["metadata"]["managedFields"][0]["fieldsV1"];
        assert_eq!(*shown, set);
    }
}
