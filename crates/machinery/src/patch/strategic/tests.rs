//! Cases from the shapes that kubectl and controllers send, on a small schema of a pod's.

use super::*;
use serde_json::json;

/// merging lists (with key), merging primitive lists, maps, retainKeys and replace.
struct Struct;
struct Opaque;

impl PatchSchema for Opaque {
    fn field(&self, _: &str) -> Result<PatchField<'_>, String> {
        Err("merging an object in json but data type is not struct, instead is: map".to_owned())
    }
    fn name(&self) -> &str {
        "map"
    }
}

impl PatchSchema for Struct {
    fn field(&self, name: &str) -> Result<PatchField<'_>, String> {
        let field =
            PatchField { schema: Box::new(Struct), merge: false, replace: false, retain_keys: false, merge_key: None };
        Ok(match name {
            "containers" | "env" | "volumes" => {
                PatchField { merge: true, merge_key: Some("name"), retain_keys: name == "volumes", ..field }
            }
            "ports" => PatchField { merge: true, merge_key: Some("port"), ..field },
            "finalizers" => PatchField { merge: true, ..field },
            "strategy" => PatchField { retain_keys: true, ..field },
            "atomic" => PatchField { replace: true, ..field },
            "labels" => PatchField { schema: Box::new(Opaque), ..field },
            "metadata" | "spec" | "args" | "rolling" => field,
            other => {
                return Err(format!("unable to find api field in struct Test for the json field {other:?}"));
            }
        })
    }
}

fn check(original: Value, patch: Value, want: Value) {
    let shown = patch.to_string();
    assert_eq!(apply(original, patch, &Struct), Ok(want), "{shown}");
}

#[test]
fn applies() {
    let pod = || json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "args": ["x"]}]});
    check(
        pod(),
        json!({"containers": [{"name": "b", "image": "2"}]}),
        json!({"containers": [
        {"name": "a", "image": "1"}, {"name": "b", "args": ["x"], "image": "2"}]}),
    );
    check(
        pod(),
        json!({"containers": [{"name": "b", "args": ["y"]}]}),
        json!({"containers": [
        {"name": "a", "image": "1"}, {"name": "b", "args": ["y"]}]}),
    );
    check(
        pod(),
        json!({"containers": [{"name": "c"}]}),
        json!({"containers": [
        {"name": "c"}, {"name": "a", "image": "1"}, {"name": "b", "args": ["x"]}]}),
    );
    check(
        pod(),
        json!({"containers": [{"name": "a", "$patch": "delete"}]}),
        json!({"containers": [
        {"name": "b", "args": ["x"]}]}),
    );
    check(pod(), json!({"containers": [{"$patch": "replace"}, {"name": "z"}]}), json!({"containers": [{"name": "z"}]}));
    check(
        pod(),
        json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}),
        json!({"containers": [
        {"name": "b", "args": ["x"]}, {"name": "a", "image": "1"}]}),
    );
    check(
        pod(),
        json!({"$setElementOrder/containers": [{"name": "n"}, {"name": "b"}, {"name": "a"}], "containers": [{"name": "n", "image": "3"}]}),
        json!({"containers": [{"name": "n", "image": "3"}, {"name": "b", "args": ["x"]}, {"name": "a", "image": "1"}]}),
    );
    check(json!({"finalizers": ["a", "b"]}), json!({"finalizers": ["c", "a"]}), json!({"finalizers": ["c", "a", "b"]}));
    check(
        json!({"finalizers": ["a", "b", "c"]}),
        json!({"$deleteFromPrimitiveList/finalizers": ["b"], "$setElementOrder/finalizers": ["c", "a"]}),
        json!({"finalizers": ["c", "a"]}),
    );
    check(json!({"args": ["a", "b"]}), json!({"args": ["c"]}), json!({"args": ["c"]}));
    check(
        json!({"labels": {"a": "1", "b": "2"}}),
        json!({"labels": {"a": null, "c": "3"}}),
        json!({"labels": {"b": "2", "c": "3"}}),
    );
    check(
        json!({"labels": {"a": "1"}}),
        json!({"labels": {"$patch": "replace", "z": "1"}}),
        json!({"labels": {"z": "1"}}),
    );
    check(json!({"labels": {"a": "1"}}), json!({"labels": {"$patch": "delete"}}), json!({"labels": {}}));
    check(json!({"labels": {"a": "1"}}), json!({"labels": null}), json!({}));
    check(json!({}), json!({"labels": {"a": null, "b": "1"}}), json!({"labels": {"b": "1"}}));
    check(json!({}), json!({"containers": [{"name": "a", "$patch": "delete"}]}), json!({"containers": []}));
    check(
        json!({"strategy": {"type": "Rolling", "rolling": {"x": 1}}}),
        json!({"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}),
        json!({"strategy": {"type": "Recreate"}}),
    );
    check(json!({"atomic": {"a": 1}}), json!({"atomic": {"b": 1}}), json!({"atomic": {"b": 1}}));
    check(json!({"containers": 1}), json!({"containers": [{"name": "a"}]}), json!({"containers": [{"name": "a"}]}));
    check(
        json!({"ports": [{"port": 80, "n": 1}]}),
        json!({"ports": [{"port": 80, "n": 2}, {"port": 81}]}),
        json!({"ports": [{"port": 80, "n": 2}, {"port": 81}]}),
    );
}

#[test]
fn refuses() {
    let pod = || json!({"containers": [{"name": "a"}], "finalizers": ["a"], "strategy": {"a": 1}});
    for (patch, message) in [
        (json!({"containers": [{"image": "x"}]}), "map: map[image:x] does not contain declared merge key: name"),
        (json!({"$patch": "burn"}), "unknown patch type: burn in map: map[$patch:burn]"),
        (
            json!({"containers": [{"name": "a", "$patch": "merge"}]}),
            "merging lists cannot yet be specified in the patch",
        ),
        (json!({"containers": ["x"]}), "list element types are not identical: [[map[name:a]] [x]]"),
        (json!({"finalizers": [["x"]]}), "list element types are not identical: [[a] [[x]]]"),
        (json!({"strategy": {"$retainKeys": ["a"], "b": 1}}), "invalid patch format of retainKeys"),
        (json!({"$setElementOrder/containers": 1}), "expected a []interface {}, but received a int64"),
        (
            json!({"$setElementOrder/containers": [{"name": "a"}, {"name": "b"}], "containers": [{"name": "b"}, {"name": "a"}]}),
            "The order in patch list:\n[map[name:b] map[name:a]]\n doesn't match $setElementOrder list:\n[map[name:a] map[name:b]]\n",
        ),
        (json!([]), "json: cannot unmarshal array into Go value of type map[string]interface {}"),
    ] {
        let shown = patch.to_string();
        assert_eq!(apply(pod(), patch, &Struct).unwrap_err().to_string(), message, "{shown}");
    }
    let unknown = apply(json!({"what": {"a": 1}}), json!({"what": {"b": 1}}), &Struct).unwrap_err();
    assert_eq!(unknown.to_string(), "unable to find api field in struct Test for the json field \"what\"");
    let status: StatusError = Error::RETAIN_KEYS.into();
    assert_eq!(status.code, 400);
}

#[test]
fn two_way_patches_lead_from_one_to_the_other() {
    let cases = [
        (
            json!({"containers": [{"name": "a", "image": "1"}, {"name": "b"}]}),
            json!({"containers": [{"name": "b"}, {"name": "c"}]}),
        ),
        (json!({"finalizers": ["a", "b"]}), json!({"finalizers": ["c", "a"]})),
        (json!({"labels": {"a": "1"}}), json!({"labels": {"b": "2"}})),
        (json!({"strategy": {"type": "R", "x": 1}}), json!({"strategy": {"type": "S"}})),
        (json!({"containers": [{"name": "a"}, {"name": "b"}]}), json!({"containers": [{"name": "b"}, {"name": "a"}]})),
        (
            json!({"containers": [{"name": "a", "env": [{"name": "X", "value": "1"}]}]}),
            json!({"containers": [{"name": "a", "env": []}]}),
        ),
        (json!({"volumes": [{"name": "v", "a": {"x": 1}}]}), json!({"volumes": [{"name": "v", "b": {"x": 1}}]})),
    ];
    for (original, modified) in cases {
        let patch = two_way(&original, &modified, &Struct).expect("a patch");
        assert_eq!(apply(original, patch.clone(), &Struct), Ok(modified), "{patch}");
    }
    let patch = two_way(
        &json!({"containers": [{"name": "a"}, {"name": "b"}]}),
        &json!({"containers": [{"name": "b", "image": "x"}]}),
        &Struct,
    );
    assert_eq!(
        patch,
        Ok(json!({
            "$setElementOrder/containers": [{"name": "b"}],
            "containers": [{"name": "b", "image": "x"}, {"$patch": "delete", "name": "a"}],
        }))
    );
    let patch = two_way(&json!({"strategy": {"type": "R", "x": 1}}), &json!({"strategy": {"type": "S"}}), &Struct);
    assert_eq!(patch, Ok(json!({"strategy": {"$retainKeys": ["type"], "type": "S", "x": null}})));
}

#[test]
fn three_way_keeps_what_others_set() {
    let original = json!({"labels": {"a": "1", "gone": "1"}, "containers": [{"name": "a", "image": "1"}, {"name": "gone"}], "finalizers": ["x", "gone"]});
    let modified = json!({"labels": {"a": "2"}, "containers": [{"name": "a", "image": "2"}], "finalizers": ["x"]});
    let current = json!({"labels": {"a": "1", "gone": "1", "theirs": "1"},
        "containers": [{"name": "a", "image": "1", "args": ["theirs"]}, {"name": "gone"}, {"name": "sidecar"}],
        "finalizers": ["x", "gone", "theirs"]});
    let patch = three_way(&original, &modified, &current, &Struct).expect("a patch");
    assert_eq!(
        patch,
        json!({
            "labels": {"a": "2", "gone": null},
            "$setElementOrder/containers": [{"name": "a"}],
            "containers": [{"name": "a", "image": "2"}, {"name": "gone", "$patch": "delete"}],
            "$deleteFromPrimitiveList/finalizers": ["gone"],
            "$setElementOrder/finalizers": ["x"],
        })
    );
    let merged = apply(current, patch, &Struct).expect("merges");
    assert_eq!(merged["labels"], json!({"a": "2", "theirs": "1"}));
    assert_eq!(merged["containers"], json!([{"name": "a", "image": "2", "args": ["theirs"]}, {"name": "sidecar"}]));
    assert_eq!(merged["finalizers"], json!(["x", "theirs"]));
}
