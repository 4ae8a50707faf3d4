//! Reviews are pure, so they are tested without a webhook.

use serde_json::{Value, json};

use super::review::{Subject, accept, converted, request};

fn object(version: &str) -> Value {
    json!({ "apiVersion": format!("example.com/{version}"), "kind": "W", "spec": { "version": version },
        "metadata": { "name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7", "labels": { "a": "b" } } })
}

#[test]
fn a_review_is_sent_in_the_first_version_that_both_know() {
    let old = object("v1");
    let ask = |versions: &[&str]| {
        let versions: Vec<String> = versions.iter().map(ToString::to_string).collect();
        request(&versions, &[&old], "example.com/v2", "1")
    };
    let review = ask(&["v9", "v1beta1", "v1"]).expect("v1beta1 is known");
    assert_eq!(review["apiVersion"], "apiextensions.k8s.io/v1beta1");
    assert_eq!(review["request"], json!({ "uid": "1", "desiredAPIVersion": "example.com/v2", "objects": [old] }));
    assert_eq!(ask(&["v9"]).expect_err("none is known"), "no supported conversion review versions");
}

#[test]
fn an_answer_must_be_one_to_what_was_asked() {
    let review = request(&["v1".to_string()], &[&object("v1")], "example.com/v2", "1").expect("a review");
    let good = json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": {
        "uid": "1", "result": { "status": "Success" }, "convertedObjects": [object("v2")] } });
    assert_eq!(converted(&review, good.clone(), "1"), Ok(vec![object("v2")]));
    for (pointer, value, expect) in [
        ("/response/uid", json!("2"), "expected response.uid=\"1\", got \"2\""),
        ("/response/result", json!({ "status": "Failure", "message": "no" }), "no"),
        ("/response/result", json!({}), "response.result.status was '', not 'Success'"),
        ("/response", Value::Null, "no response provided"),
        (
            "/kind",
            json!("Other"),
            "no kind \"Other\" is registered for version \"apiextensions.k8s.io/v1\" in scheme \"k8s.io/apiserver/pkg/util/webhook/client.go:71\"",
        ),
    ] {
        let mut answer = good.clone();
        *answer.pointer_mut(pointer).expect("a place") = value;
        assert_eq!(converted(&review, answer, "1").expect_err(pointer), expect);
    }
}

#[test]
fn labels_and_annotations_are_the_webhooks_and_the_rest_of_the_metadata_the_servers() {
    let old = object("v1");
    let of = Subject::of(&old, false);
    let take = |new: Value| accept(&of, &old, new, "example.com/v2", 0);
    let mut new = object("v2");
    new["metadata"]["labels"] = json!({ "c": "d" });
    new["metadata"]["resourceVersion"] = json!("9");
    new["metadata"]["finalizers"] = json!(["x"]);
    let accepted = take(new).expect("accepted");
    assert_eq!(accepted["metadata"]["labels"], json!({ "c": "d" }));
    assert_eq!(accepted["metadata"]["resourceVersion"], "7");
    assert_eq!(accepted["metadata"].get("finalizers"), None);
    assert_eq!(accepted["spec"], json!({ "version": "v2" }));
    for (pointer, value, expect) in [
        (
            "/apiVersion",
            json!("example.com/v3"),
            "invalid object at index 0: invalid groupVersion (expected example.com/v2, received example.com/v3)",
        ),
        ("/kind", json!("X"), "invalid object at index 0: invalid kind (expected W, received X)"),
        ("/metadata/name", json!("b"), "invalid object: must have the same name: a != b"),
        ("/metadata/namespace", json!("m"), "invalid object: must have the same namespace: n != m"),
        ("/metadata/uid", json!("v"), "invalid object: must have the same UID: u != v"),
    ] {
        let mut new = object("v2");
        *new.pointer_mut(pointer).expect("a place") = value;
        let why = take(new).expect_err(pointer);
        assert_eq!(why, format!("conversion webhook for example.com/v1, Kind=W returned {expect}"));
    }
}
