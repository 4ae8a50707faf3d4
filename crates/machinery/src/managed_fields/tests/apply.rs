//! Server-side apply over the same small kind: several appliers, lists, conflicts, what goes and what stays.

use super::super::{Apply, apply, nothing};
use super::{One, write};
use crate::managed_fields::{Resets, update};
use crate::status::StatusError;
use serde_json::{Value, json};

fn configuration(spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "X", "metadata": {"name": "a"}, "spec": spec})
}

fn by(manager: &'static str, second: i64, force: bool) -> Apply<'static> {
    Apply {
        manager,
        api_version: "v1",
        kind: "X",
        subresource: "",
        now: jiff::Timestamp::from_second(second).expect("in range"),
        resets: Resets(&[&["status"]]),
        force,
    }
}

fn applied(live: &Value, manager: &'static str, second: i64, spec: Value) -> Result<Value, StatusError> {
    apply(live, &configuration(spec), &One, &by(manager, second, false))
}

fn forced(live: &Value, manager: &'static str, second: i64, spec: Value) -> Value {
    apply(live, &configuration(spec), &One, &by(manager, second, true)).expect("forced")
}

fn new(spec: Value) -> Value {
    let mut object = applied(&nothing("v1", "X"), "a", 10, spec).expect("nobody is there to conflict with");
    object["metadata"]["uid"] = json!("1");
    object
}

fn entry<'v>(object: &'v Value, manager: &str) -> &'v Value {
    let entries = object["metadata"]["managedFields"].as_array().expect("a list");
    entries.iter().find(|e| e["manager"] == manager).unwrap_or(&Value::Null)
}

#[test]
fn an_apply_owns_what_it_says_and_nothing_more() {
    let object = new(json!({"replicas": 1, "containers": [{"name": "c", "ports": [{"containerPort": 80}]}]}));
    assert_eq!(
        object["metadata"]["managedFields"],
        json!([{
            "manager": "a", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
            "time": "1970-01-01T00:00:10Z",
            "fieldsV1": {"f:spec": {
                "f:replicas": {},
                "f:containers": {"k:{\"name\":\"c\"}": {
                    ".": {}, "f:name": {},
                    "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
                }},
            }},
        }])
    );
}

#[test]
fn an_apply_of_the_same_changes_nothing() {
    let object = new(json!({"replicas": 1}));
    assert_eq!(applied(&object, "a", 20, json!({"replicas": 1})), Ok(object.clone()));
    // Who applies the same as another shares it, and upstream notes no time for that.
    let shared = applied(&object, "b", 20, json!({"replicas": 1})).expect("the same");
    assert_eq!(entry(&shared, "b")["time"], Value::Null);
    assert_eq!(entry(&shared, "b")["fieldsV1"], entry(&shared, "a")["fieldsV1"]);
    // Then it stays until neither applies it.
    let shared = applied(&shared, "a", 30, json!({})).expect("no conflict");
    assert_eq!(shared["spec"]["replicas"], 1);
    assert_eq!(entry(&shared, "a")["fieldsV1"], json!({"f:spec": {}}));
    let shared = applied(&shared, "b", 30, json!({})).expect("no conflict");
    assert_eq!(shared["spec"].get("replicas"), None);
}

#[test]
fn another_managers_field_is_a_conflict_unless_forced() {
    let live = new(json!({"replicas": 1, "containers": [{"name": "c", "image": "1"}]}));
    let error = applied(&live, "b", 20, json!({"replicas": 2})).expect_err("owned by a");
    assert_eq!(error.message, r#"Apply failed with 1 conflict: conflict with "a": .spec.replicas"#);
    let error = applied(&live, "b", 20, json!({"replicas": 2, "containers": [{"name": "c", "image": "2"}]}))
        .expect_err("owned by a");
    let lines = "- .spec.replicas\n- .spec.containers[name=\"c\"].image";
    assert_eq!(error.message, format!("Apply failed with 2 conflicts: conflicts with \"a\":\n{lines}"));
    let causes = error.details.expect("causes").causes;
    assert_eq!(
        (causes.len(), &*causes[0].kind, causes[0].message.as_str()),
        (2, "FieldManagerConflict", "conflict with \"a\"")
    );

    let taken = forced(&live, "b", 20, json!({"replicas": 2}));
    assert_eq!(taken["spec"]["replicas"], 2);
    assert_eq!(entry(&taken, "a")["fieldsV1"]["f:spec"].get("f:replicas"), None);
    assert_eq!(entry(&taken, "b")["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
}

#[test]
fn updates_conflict_with_applies_too() {
    let live = new(json!({"replicas": 1}));
    let mut next = live.clone();
    next["spec"]["replicas"] = json!(5);
    update(&live, &mut next, &One, &write("kubectl", 20));
    let error = applied(&next, "a", 30, json!({"replicas": 1})).expect_err("the update took it");
    assert_eq!(error.message, r#"Apply failed with 1 conflict: conflict with "kubectl" using v1: .spec.replicas"#);
}

#[test]
fn what_is_no_longer_applied_goes_and_what_others_put_in_it_stays() {
    let live = new(json!({"replicas": 1, "containers": [
        {"name": "c", "image": "1", "ports": [{"containerPort": 80}]}, {"name": "d", "image": "1"}]}));
    let live = applied(&live, "b", 20, json!({"containers": [{"name": "c", "extra": "x"}]})).expect("no conflict");
    let live = applied(&live, "a", 30, json!({"containers": [{"name": "d", "image": "1"}]})).expect("no conflict");
    assert_eq!(live["spec"], json!({"containers": [{"name": "c", "extra": "x"}, {"name": "d", "image": "1"}]}));
    let live = applied(&live, "b", 40, json!({})).expect("no conflict");
    assert_eq!(live["spec"], json!({"containers": [{"name": "d", "image": "1"}]}));
}

#[test]
fn defaults_below_what_is_applied_stay_with_it() {
    let mut live = new(json!({"containers": [{"name": "c"}, {"name": "d"}]}));
    live["spec"]["containers"][0]["policy"] = json!("Always");
    live["spec"]["extra"] = json!("x");
    let live = applied(&live, "a", 20, json!({"containers": [{"name": "c"}]})).expect("no conflict");
    assert_eq!(live["spec"], json!({"containers": [{"name": "c", "policy": "Always"}], "extra": "x"}));
    let live = applied(&live, "a", 20, json!({})).expect("no conflict");
    assert_eq!(live["spec"], json!({"extra": "x"}));
}

#[test]
fn lists_keep_the_configurations_order_and_the_place_of_others() {
    let check = |live: &[&str], config: &[&str], expected: &[&str]| {
        let list = |names: &[&str]| json!({"containers": names.iter().map(|n| json!({"name": n})).collect::<Vec<_>>()});
        let object = forced(&configuration(list(live)), "a", 10, list(config));
        let names: Vec<&str> = object["spec"]["containers"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|c| c["name"].as_str().expect("text"))
            .collect();
        assert_eq!(names, expected, "{live:?} with {config:?}");
    };
    check(&["a", "b"], &["c"], &["a", "b", "c"]);
    check(&["a", "b"], &["b", "a"], &["b", "a"]);
    check(&["a", "x", "b"], &["b", "a"], &["x", "b", "a"]);
    check(&["a", "b", "c"], &["a", "n", "c"], &["a", "b", "n", "c"]);
    check(&["1", "2", "3"], &["3", "4", "1"], &["2", "3", "4", "1"]);
    check(&[], &["b", "a"], &["b", "a"]);
}

#[test]
fn sets_maps_and_defaulted_keys() {
    let config = |metadata: Value, ports: Value| json!({"apiVersion": "v1", "kind": "X", "metadata": metadata, "spec": {"containers": [{"name": "c", "ports": ports}]}});
    let live = config(
        json!({"name": "a", "labels": {"x": "1"}, "finalizers": ["one", "two"]}),
        json!([{"containerPort": 80, "protocol": "TCP", "hostPort": 1}]),
    );
    let mine = config(
        json!({"name": "a", "labels": {"y": "2"}, "finalizers": ["three", "two"]}),
        json!([{"containerPort": 80, "name": "web"}, {"containerPort": 80, "protocol": "UDP"}]),
    );
    let object = apply(&live, &mine, &One, &by("a", 10, true)).expect("forced");
    assert_eq!(object["metadata"]["labels"], json!({"x": "1", "y": "2"}));
    assert_eq!(object["metadata"]["finalizers"], json!(["one", "three", "two"]));
    assert_eq!(
        object["spec"]["containers"][0]["ports"],
        json!([
            {"containerPort": 80, "protocol": "TCP", "hostPort": 1, "name": "web"},
            {"containerPort": 80, "protocol": "UDP"},
        ])
    );
}

#[test]
fn duplicates_may_be_there_and_may_not_be_applied() {
    let twice = json!({"containers": [{"name": "c", "image": "1"}, {"name": "c", "image": "2"}, {"name": "d"}]});
    let error = applied(&nothing("v1", "X"), "a", 10, twice.clone()).expect_err("twice");
    assert_eq!(error.message, "failed to merge config: duplicate entries for key [name=\"c\"]");
    let live = configuration(twice);
    let object = forced(&live, "a", 10, json!({"containers": [{"name": "d", "image": "3"}]}));
    assert_eq!(object["spec"]["containers"].as_array().map(Vec::len), Some(3), "those of others stay as they are");
    let object = forced(&live, "a", 10, json!({"containers": [{"name": "c", "image": "3"}]}));
    assert_eq!(object["spec"]["containers"], json!([{"name": "c", "image": "3"}, {"name": "d"}]));
}

#[test]
fn the_first_apply_to_an_untracked_object_finds_an_owner_there() {
    let live = configuration(json!({"replicas": 1, "containers": [{"name": "c"}]}));
    let error = applied(&live, "a", 10, json!({"replicas": 2})).expect_err("owned from before");
    assert_eq!(
        error.message,
        r#"Apply failed with 1 conflict: conflict with "before-first-apply" using v1: .spec.replicas"#
    );
    let object = applied(&live, "a", 10, json!({"replicas": 1})).expect("the same");
    assert_eq!(entry(&object, "before-first-apply")["operation"], "Update");
}

#[test]
fn fields_that_the_write_resets_are_not_owned() {
    let mut config = configuration(json!({"replicas": 1}));
    config["status"] = json!({"ready": 1});
    let object = apply(&nothing("v1", "X"), &config, &One, &by("a", 10, false)).expect("new");
    assert_eq!(entry(&object, "a")["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
}

#[test]
fn managers_of_versions_that_are_gone_are_forgotten() {
    let mut live = new(json!({"replicas": 1}));
    live["metadata"]["managedFields"][0]["apiVersion"] = json!("v0");
    live["metadata"]["managedFields"][0]["manager"] = json!("old");
    let object = applied(&live, "a", 20, json!({"replicas": 2})).expect("nobody is left to conflict with");
    assert_eq!(entry(&object, "old"), &Value::Null);
}

#[test]
fn kubectl_goes_on_with_what_it_applied_on_its_own_side() {
    const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
    let mut live = configuration(json!({"replicas": 3}));
    let last = configuration(json!({"replicas": 3})).to_string();
    live["metadata"]["annotations"] = json!({ANNOTATION: last});
    live["metadata"]["uid"] = json!("1");
    let mut tracked = live.clone();
    update(&Value::Null, &mut tracked, &One, &write("kubectl-client-side-apply", 10));

    let object = applied(&tracked, "kubectl", 20, json!({"replicas": 4})).expect("its own");
    assert_eq!(object["spec"]["replicas"], 4);
    let renewed = object["metadata"]["annotations"][ANNOTATION].as_str().expect("text");
    assert_eq!(renewed, configuration(json!({"replicas": 4})).to_string() + "\n");
    // Another name has no such past.
    applied(&tracked, "other", 20, json!({"replicas": 4})).expect_err("kubectl's");
    // What has changed since is somebody else's.
    let mut scaled = tracked.clone();
    scaled["spec"]["replicas"] = json!(9);
    update(&tracked, &mut scaled, &One, &write("scaler", 15));
    let error = applied(&scaled, "kubectl", 20, json!({"replicas": 4})).expect_err("the scaler's");
    assert_eq!(error.message, r#"Apply failed with 1 conflict: conflict with "scaler" using v1: .spec.replicas"#);
}

#[test]
fn what_is_no_configuration_of_the_kind_is_refused() {
    let refused = |config: Value| {
        let error = apply(&nothing("v1", "X"), &config, &One, &by("a", 10, false)).expect_err("refused");
        (error.code, error.message)
    };
    assert_eq!(refused(json!({"apiVersion": "g/v2", "kind": "Y"})), (400, "invalid object type: g/v2, Kind=Y".into()));
    assert_eq!(refused(json!({})), (400, "invalid object type: /, Kind=".into()));
    assert_eq!(
        refused(json!({"apiVersion": "v1", "kind": "X", "metadata": {"managedFields": []}})),
        (400, "metadata.managedFields must be nil".into())
    );
}
