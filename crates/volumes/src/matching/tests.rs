//! Which volume a claim gets, and which does not suffice.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;

/// A claim in `ns` for one gibibyte, `ReadWriteOnce`; `more` goes over its specification.
fn wanted(name: &str, more: Value) -> Wanted {
    let mut spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "volumeMode": "Filesystem"});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let claim = json!({"metadata": {"name": name, "namespace": "ns", "uid": format!("{name}-uid")}, "spec": spec});
    Wanted::new(Arc::new(serde_json::from_value(claim).unwrap())).unwrap()
}

fn size(size: &str) -> Value {
    json!({"resources": {"requests": {"storage": size}}})
}

/// An available volume of that size with these modes (their initials), with `more` merged over its parts.
fn volume(name: &str, size: &str, modes: &str, more: Value) -> Arc<PersistentVolume> {
    let modes: Vec<&str> = modes
        .chars()
        .map(|mode| match mode {
            'o' => "ReadWriteOnce",
            'r' => "ReadOnlyMany",
            'w' => "ReadWriteMany",
            _ => "ReadWriteOncePod",
        })
        .collect();
    let mut volume = json!({
        "metadata": {"name": name},
        "spec": {"capacity": {"storage": size}, "accessModes": modes},
        "status": {"phase": "Available"},
    });
    for (part, fields) in more.as_object().unwrap() {
        volume[part].as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    }
    Arc::new(serde_json::from_value(volume).unwrap())
}

fn reserved(claim: &str) -> Value {
    json!({"claimRef": {"name": claim, "namespace": "ns"}})
}

fn name(of: Option<&Arc<PersistentVolume>>) -> &str {
    of.and_then(|volume| volume.metadata.name.as_deref()).unwrap_or_default()
}

#[test]
fn the_smallest_available_volume_that_is_as_wanted_is_the_best() {
    let bound = json!({"spec": {"claimRef": {"uid": "other"}}, "status": {"phase": "Bound"}});
    let labelled =
        |class: &str| json!({"metadata": {"labels": {"should-exist": "true"}}, "spec": {"storageClassName": class}});
    let class = |class: &str| json!({"spec": {"storageClassName": class}});
    let volumes = [
        volume("gce-10", "10G", "or", json!({})),
        volume("gce-20", "20G", "or", bound.clone()),
        volume("nfs-5", "5G", "orw", json!({})),
        volume("gce-1", "1G", "or", bound),
        volume("nfs-10", "10G", "orw", json!({})),
        volume("gce-5", "5G", "or", json!({})),
        volume("nfs-1", "1G", "orw", json!({})),
        volume("gce-2", "20000G", "o", labelled("")),
        volume("silver-1", "10000G", "o", labelled("silver")),
        volume("silver-2", "100G", "o", class("silver")),
        volume("very-large", "200E", "orw", class("large")),
        volume("extremely-large", "800E", "orw", class("large")),
        volume("pending", "200G", "or", json!({"spec": {"storageClassName": "wait"}, "status": {"phase": "Pending"}})),
        volume("failed", "200G", "or", json!({"spec": {"storageClassName": "wait"}, "status": {"phase": "Failed"}})),
        volume(
            "released",
            "200G",
            "or",
            json!({"spec": {"storageClassName": "wait"}, "status": {"phase": "Released"}}),
        ),
        volume("attributes", "100G", "or", json!({"spec": {"volumeAttributesClassName": "silver"}})),
    ];
    let check = |storage: &str, more: Value, want: &str| {
        let mut spec = size(storage);
        spec["accessModes"] = json!(["ReadOnlyMany", "ReadWriteOnce"]);
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let found = wanted("c", spec.clone());
        assert_eq!(name(found.best(&volumes, false)), want, "{spec}");
        assert_eq!(name(found.best(&volumes, true)), "", "{spec}");
    };
    let once = |more: Value| {
        let mut spec = json!({"accessModes": ["ReadWriteOnce"]});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    let labels = |label: &str| json!({"selector": {"matchLabels": {label: "true"}}});
    check("8G", json!({}), "gce-10");
    check("5G", json!({"accessModes": ["ReadOnlyMany", "ReadWriteOnce", "ReadWriteMany"]}), "nfs-5");
    check("1G", json!({}), "gce-5");
    check("999G", json!({}), "");
    check("1G", labels("should-not-exist"), "");
    check("20000G", labels("should-exist"), "");
    check("20000G", once(labels("should-exist")), "gce-2");
    check("20001G", once(labels("should-exist")), "");
    check("8G", json!({"volumeAttributesClassName": ""}), "gce-10");
    check("1G", json!({"volumeAttributesClassName": "silver"}), "attributes");
    check("1G", json!({"volumeAttributesClassName": "none"}), "");
    check("1G", once(json!({"storageClassName": "silver"})), "silver-2");
    let both = json!({"storageClassName": "silver", "selector": {"matchLabels": {"should-exist": "true"}}});
    check("1G", once(both), "silver-1");
    check("1E", once(json!({"storageClassName": "large"})), "very-large");
    check("800E", once(json!({"storageClassName": "large"})), "extremely-large");
    check("950E", once(json!({"storageClassName": "large"})), "");
    check("1G", once(json!({"storageClassName": "wait"})), "");
}

#[test]
fn volumes_with_fewer_access_modes_come_first() {
    let check = |modes: &[&str], taken: &[&str], want: &str| {
        let of = |name: &str, modes: &str| {
            let claim_ref = if taken.contains(&name) { json!({"spec": {"claimRef": {}}}) } else { json!({}) };
            volume(name, "10G", modes, claim_ref)
        };
        let volumes = [of("gce", "or"), of("ebs", "o"), of("nfs", "rwo")];
        let found = wanted("c", json!({"accessModes": modes}));
        assert_eq!(name(found.best(&volumes, false)), want, "{modes:?} {taken:?}");
    };
    let (once, read, write) = ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany");
    check(&[once], &[], "ebs");
    check(&[once, read], &[], "gce");
    check(&[write, once, read], &[], "nfs");
    check(&[write], &[], "nfs");
    check(&[once], &["ebs"], "gce");
    check(&[once], &["ebs", "gce"], "nfs");
    check(&[read], &["ebs"], "gce");
    check(&["ReadWriteOncePod"], &[], "");
}

#[test]
fn a_reserved_volume_goes_before_a_smaller_one_that_is_free() {
    let check = |volumes: [Arc<PersistentVolume>; 3], want: &str, delayed: &str| {
        let found = wanted("c", json!({"storageClassName": "gold"}));
        assert_eq!(name(found.best(&volumes, false)), want);
        assert_eq!(name(found.best(&volumes, true)), delayed);
    };
    let gold = || json!({"spec": {"storageClassName": "gold"}});
    let free = || [volume("v1", "1Gi", "o", gold()), volume("v5", "5Gi", "o", gold())];
    let with = |third| {
        let [a, b] = free();
        [a, b, third]
    };
    check(with(volume("v8", "8Gi", "o", gold())), "v1", "");
    check(with(volume("v8", "8Gi", "o", json!({"spec": reserved("c")}))), "v8", "v8");
    check(with(volume("v8", "8Gi", "o", json!({"spec": reserved("other")}))), "v1", "");
    // It must have the modes, and among those with as many of them.
    check(with(volume("v8", "8Gi", "w", json!({"spec": reserved("c")}))), "v1", "");
    check(with(volume("v8", "8Gi", "ow", json!({"spec": reserved("c")}))), "v1", "v8");
    // It may be bound and of another class, but not too small, of another mode, or on its way out.
    let bound = |uid: &str| {
        let of = json!({"name": "c", "namespace": "ns", "uid": uid});
        json!({"spec": {"claimRef": of, "storageClassName": "silver"}, "status": {"phase": "Bound"}})
    };
    check(with(volume("v8", "8Gi", "o", bound("c-uid"))), "v8", "v8");
    check(with(volume("v8", "8Gi", "o", bound("other"))), "v1", "");
    check(with(volume("v8", "1023Mi", "o", bound("c-uid"))), "v1", "");
    let mut block = bound("c-uid");
    block["spec"]["volumeMode"] = json!("Block");
    check(with(volume("v8", "8Gi", "o", block)), "v1", "");
    let mut leaving = bound("c-uid");
    leaving["metadata"] = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
    check(with(volume("v8", "8Gi", "o", leaving)), "v1", "");
}

#[test]
fn a_missing_volume_mode_is_filesystem() {
    let modes = [Value::Null, json!("Filesystem"), json!("Block")];
    for (i, of_claim) in modes.iter().enumerate() {
        for (j, of_volume) in modes.iter().enumerate() {
            let found = wanted("c", json!({"volumeMode": of_claim}));
            let volume = volume("v", "1Gi", "o", json!({"spec": {"volumeMode": of_volume}}));
            assert_eq!(found.fit(&volume).is_some(), (i == 2) == (j == 2), "{of_claim} {of_volume}");
        }
    }
}

#[test]
fn the_scheduler_takes_what_its_node_reaches() {
    let on = |value: &str, mut spec: Value| {
        let key = json!({"matchExpressions": [{"key": "key1", "operator": "In", "values": [value]}]});
        spec["storageClassName"] = json!("wait");
        spec["nodeAffinity"] = json!({"required": {"nodeSelectorTerms": [key]}});
        json!({"spec": spec})
    };
    let mut unavailable = on("value4", json!({}));
    unavailable["status"] = json!({"phase": "Pending"});
    let volumes = [
        volume("small", "5G", "or", json!({})),
        volume("large", "200E", "or", json!({"spec": {"storageClassName": "large"}})),
        volume("v1", "100G", "or", on("value1", json!({}))),
        volume("v2", "150G", "or", on("value1", json!({}))),
        volume("prebound", "100G", "or", on("value1", reserved("claim02"))),
        volume("v3", "200G", "or", on("value3", json!({}))),
        volume("v4", "200G", "or", unavailable),
    ];
    let check = |claim: &str, more: Value, value: &str, taken: &[&str], want: &str| {
        let mut spec = size("100G");
        spec["storageClassName"] = json!("wait");
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let labels = BTreeMap::from([("key1".to_owned(), value.to_owned())]);
        let taken = |volume: &PersistentVolume| taken.contains(&volume.metadata.name.as_deref().unwrap());
        let found = wanted(claim, spec);
        assert_eq!(name(found.best_on_node(&volumes, &labels, taken)), want, "{claim} {more} {value}");
    };
    check("claim01", json!({}), "value1", &[], "v1");
    check("claim02", json!({}), "value1", &[], "prebound");
    check("claim01", json!({}), "value1", &["v1"], "v2");
    check("claim01", json!({}), "value1", &["v1", "v2"], "");
    check("claim01", json!({"accessModes": ["ReadWriteMany"]}), "value1", &[], "");
    check("claim01", json!({}), "value2", &[], "");
    check("claim02", json!({}), "value3", &[], "");
    check("claim04", json!({}), "value4", &[], "");
    check("claim03", json!({}), "value3", &[], "v3");
    check("claim01", json!({"volumeAttributesClassName": "silver"}), "value1", &[], "");
}

#[test]
fn a_selector_that_cannot_be_read_is_an_error() {
    let selector = json!({"matchExpressions": [{"key": "a", "operator": "Near"}]});
    let claim = json!({"metadata": {"name": "c", "namespace": "ns"}, "spec": {"selector": selector}});
    let why = Wanted::new(Arc::new(serde_json::from_value(claim).unwrap())).unwrap_err();
    let want =
        "error creating internal label selector for claim: ns/c: \"Near\" is not a valid label selector operator";
    assert_eq!(why, want);
}
