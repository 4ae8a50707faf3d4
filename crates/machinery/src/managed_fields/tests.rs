//! managedFields of a small deployment-like kind, as upstream writes them.

use super::*;
use serde_json::{Value, json};
use std::sync::LazyLock;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Root,
    Metadata,
    Labels,
    Finalizers,
    Spec,
    Containers,
    Container,
    Ports,
    Port,
    Leaf,
    Status,
}

static EMPTY: LazyLock<Value> = LazyLock::new(|| json!({}));
static TCP: LazyLock<Value> = LazyLock::new(|| json!("TCP"));

impl MergeSchema<'static> for Kind {
    fn relation(self) -> Relation<'static, Self> {
        match self {
            Kind::Root | Kind::Metadata | Kind::Spec | Kind::Container | Kind::Port | Kind::Status => Relation::Struct,
            Kind::Labels => Relation::Map(Kind::Leaf),
            Kind::Finalizers => Relation::Set,
            Kind::Containers => Relation::Keyed(Kind::Container, &["name"]),
            Kind::Ports => Relation::Keyed(Kind::Port, &["containerPort", "protocol"]),
            Kind::Leaf => Relation::Leaf,
        }
    }

    fn field(self, name: &str) -> Option<Self> {
        Some(match (self, name) {
            (Kind::Root, "metadata") => Kind::Metadata,
            (Kind::Root, "spec") => Kind::Spec,
            (Kind::Root, "status") => Kind::Status,
            (Kind::Metadata, "labels") => Kind::Labels,
            (Kind::Metadata, "finalizers") => Kind::Finalizers,
            (Kind::Spec, "containers") => Kind::Containers,
            (Kind::Container, "ports") => Kind::Ports,
            _ => Kind::Leaf,
        })
    }

    fn always(self, visit: &mut dyn FnMut(&'static str, &'static Value, Self)) {
        match self {
            Kind::Root => {
                visit("metadata", &EMPTY, Kind::Metadata);
                visit("spec", &EMPTY, Kind::Spec);
            }
            Kind::Spec => visit("containers", &Value::Null, Kind::Containers),
            Kind::Container => visit("resources", &EMPTY, Kind::Leaf),
            _ => {}
        }
    }

    fn key_default(self, key: &str) -> Option<&'static Value> {
        (self == Kind::Port && key == "protocol").then(|| &*TCP)
    }
}

/// A kind of one version.
struct One;

impl Versions<'static> for One {
    type Schema = Kind;

    fn schema(&self, api_version: &str) -> Option<Kind> {
        (api_version == "v1").then_some(Kind::Root)
    }

    fn convert(&self, _: &Value, _: &str, _: &str) -> Option<Value> {
        None
    }
}

fn write<'w>(manager: &'w str, second: i64) -> Update<'w> {
    Update {
        manager,
        api_version: "v1",
        subresource: "",
        now: jiff::Timestamp::from_second(second).expect("in range"),
        resets: Resets(&[&["status"]]),
    }
}

fn created() -> Value {
    let mut new = json!({
        "apiVersion": "v1", "kind": "X",
        "metadata": {"name": "a", "uid": "1", "labels": {"app": "a"}, "finalizers": ["f"]},
        "spec": {"replicas": 1, "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]},
        "status": {"x": 1},
    });
    update(&Value::Null, &mut new, &One, &write("kubectl", 10));
    new
}

#[test]
fn a_create_owns_what_it_writes() {
    assert_eq!(
        created()["metadata"]["managedFields"],
        json!([{
            "manager": "kubectl", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
            "time": "1970-01-01T00:00:10Z",
            "fieldsV1": {
                "f:metadata": {"f:labels": {".": {}, "f:app": {}}, "f:finalizers": {".": {}, "v:\"f\"": {}}},
                "f:spec": {
                    "f:replicas": {},
                    "f:containers": {"k:{\"name\":\"c\"}": {
                        ".": {}, "f:name": {}, "f:image": {}, "f:resources": {},
                        "f:ports": {".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
                    }},
                },
            },
        }])
    );
}

#[test]
fn an_update_takes_what_it_changes() {
    let live = created();
    let mut new = live.clone();
    new["spec"]["replicas"] = json!(2);
    new["metadata"]["labels"] = json!({"b": "1"});
    update(&live, &mut new, &One, &write("controller", 20));
    let entries = new["metadata"]["managedFields"].as_array().expect("a list").clone();
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0]["manager"], "kubectl");
    assert_eq!(entries[0]["fieldsV1"]["f:metadata"]["f:labels"], json!({}));
    assert_eq!(entries[0]["fieldsV1"]["f:spec"].get("f:replicas"), None);
    assert_eq!(entries[1]["fieldsV1"], json!({"f:metadata": {"f:labels": {"f:b": {}}}, "f:spec": {"f:replicas": {}}}));
    // A write that changes nothing leaves them alone, whatever list the client sent back.
    let before = new.clone();
    update(&before, &mut new, &One, &write("controller", 30));
    assert_eq!(new, before);
    update(&before, &mut new, &One, &write("", 30));
    assert_eq!(new, before);
}

#[test]
fn subresources_have_entries_of_their_own() {
    let live = created();
    let mut new = live.clone();
    new["status"] = json!({"x": 2});
    new["spec"]["replicas"] = json!(5);
    let write = Update { subresource: "status", resets: Resets(&[&["spec"]]), ..write("kubelet", 20) };
    update(&live, &mut new, &One, &write);
    let entries = &new["metadata"]["managedFields"];
    assert_eq!(entries[1]["subresource"], "status");
    assert_eq!(entries[1]["fieldsV1"], json!({"f:status": {"f:x": {}}}));
}

#[test]
fn resets_untracked_and_caps() {
    let live = created();
    let mut new = live.clone();
    new["metadata"]["managedFields"] = json!([{}]);
    update(&live, &mut new, &One, &write("x", 20));
    assert_eq!(new["metadata"].get("managedFields"), None);

    let mut next = new.clone();
    next["spec"]["replicas"] = json!(9);
    update(&new, &mut next, &One, &write("x", 20));
    assert_eq!(next["metadata"].get("managedFields"), None);

    let mut live = created();
    for i in 0..20 {
        let mut new = live.clone();
        new["metadata"]["labels"][format!("l{i}")] = json!("1");
        update(&live, &mut new, &One, &write(&format!("m{i}"), 100 + i));
        live = new;
    }
    let entries = live["metadata"]["managedFields"].as_array().expect("a list");
    assert_eq!(entries.len(), 10);
    assert_eq!(entries[0]["manager"], "ancient-changes");
    assert_eq!(entries[9]["manager"], "m19");
}

#[test]
fn sets() {
    let text = json!({"f:a": {".": {}, "f:b": {}}, "k:{\"name\":\"x\"}": {"f:c": {}}, "v:1": {}, "i:0": {}});
    let set = Set::from_value(&text).expect("valid");
    assert_eq!(set.to_value(), text);
    assert!(set.contains(&["f:a"]) && set.contains(&["f:a", "f:b"]) && !set.contains(&["k:{\"name\":\"x\"}"]));
    let mut rest = set.clone();
    rest.subtract(&Set::of(&["a"]));
    assert_eq!(rest.to_value()["f:a"], json!({"f:b": {}}));
    let mut rest = set.clone();
    rest.subtract_below_path(&["a"]);
    assert_eq!(rest.to_value().get("f:a"), None);
    let mut common = set;
    common.intersect(&Set::of(&["a", "b"]));
    assert_eq!(common.to_value(), json!({"f:a": {"f:b": {}}}));
    assert!(Set::from_value(&json!({"x": {}})).is_err());
    assert!(Set::from_value(&json!({"f:x": 1})).is_err());
}

#[test]
fn duplicates_in_keyed_lists_are_one_value() {
    let object = |list: Value| json!({"spec": {"containers": list}});
    let one = object(json!([{"name": "c", "image": "1"}]));
    let two = object(json!([{"name": "c", "image": "1"}, {"name": "c", "image": "2"}]));
    let found = compare(&one, &two, Kind::Root);
    assert_eq!(found.added.to_value(), json!({"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {}}}}));
    assert!(!found.removed.is_empty());
}

mod apply;
