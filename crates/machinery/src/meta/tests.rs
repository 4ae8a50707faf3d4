//! Metadata's rules, messages as upstream's.

use super::*;
use crate::field::Path;
use crate::names::name_is_dns_subdomain;
use serde_json::{Value, json};

fn said(errors: Vec<crate::field::Error>) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn create_rules() {
    let at = Path::new("metadata");
    for (object, want) in [
        (json!({"metadata": {"name": "a", "namespace": "b"}}), vec![]),
        (
            json!({"metadata": {}}),
            vec![
                "metadata.name: Required value: name or generateName is required",
                "metadata.namespace: Required value",
            ],
        ),
        (
            json!({"metadata": {"name": "a", "namespace": "b.c", "generation": -1}}),
            vec![
                "metadata.namespace: Invalid value: \"b.c\": must not contain dots",
                "metadata.generation: Invalid value: -1: must be greater than or equal to 0",
            ],
        ),
        (
            json!({"metadata": {"name": "a", "namespace": "b", "labels": {"x": "a".repeat(64)}}}),
            vec![
                "metadata.labels: Invalid value: \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\": must be no more than 63 bytes",
            ],
        ),
        (
            json!({"metadata": {"name": "a", "namespace": "b", "annotations": {"UPPER": "a".repeat(256 << 10)}}}),
            vec!["metadata.annotations: Too long: may not be more than 262144 bytes"],
        ),
        (
            json!({"metadata": {"name": "a", "namespace": "b", "finalizers": ["orphan", "foregroundDeletion"],
                "ownerReferences": [{"apiVersion": "v1", "kind": "A", "name": "x"}]}}),
            vec![
                "metadata.ownerReferences.uid: Invalid value: \"\": must not be empty",
                "metadata.finalizers: Invalid value: [\"orphan\",\"foregroundDeletion\"]: finalizer orphan and foregroundDeletion cannot be both set",
            ],
        ),
        (
            json!({"metadata": {"name": "a", "namespace": "b", "managedFields": [{"operation": "X", "manager": "a\u{1}"}]}}),
            vec![
                "metadata.managedFields[0].operation: Invalid value: \"X\": must be `Apply` or `Update`",
                "metadata.managedFields[0].manager: Invalid value: \"a\\x01\": invalid character U+0001 (at position 1)",
            ],
        ),
    ] {
        assert_eq!(said(validate_object_meta(&object, true, name_is_dns_subdomain, &at)), want);
    }
    let cluster = json!({"metadata": {"name": "a", "namespace": "b"}});
    assert_eq!(
        said(validate_object_meta(&cluster, false, name_is_dns_subdomain, &at)),
        ["metadata.namespace: Forbidden: not allowed on this type"]
    );
    let two = json!({"metadata": {"name": "a", "ownerReferences": [
        {"apiVersion": "v1", "kind": "A", "name": "x", "uid": "1", "controller": true},
        {"apiVersion": "v1", "kind": "B", "name": "y", "uid": "2", "controller": true}]}});
    let errors = said(validate_object_meta(&two, false, name_is_dns_subdomain, &at));
    assert!(errors[0].ends_with("Found \"true\" in references for A/x and B/y"), "{errors:?}");
}

#[test]
fn update_rules() {
    let at = Path::new("metadata");
    let old = json!({"metadata": {"name": "a", "namespace": "b", "uid": "1", "resourceVersion": "5", "generation": 2,
        "creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x/y"]}});
    let check = |change: fn(&mut Value), want: &[&str]| {
        let mut new = old.clone();
        change(&mut new);
        assert_eq!(said(validate_object_meta_update(&new, &old, &at)), want);
    };
    check(|_| {}, &[]);
    check(|v| set_name(v, "c"), &["metadata.name: Invalid value: \"c\": field is immutable"]);
    check(|v| set_uid(v, ""), &["metadata.uid: Invalid value: \"\": field is immutable"]);
    check(|v| remove(v, "deletionTimestamp"), &["metadata.deletionTimestamp: Invalid value: null: field is immutable"]);
    check(|v| set_generation(v, 1), &["metadata.generation: Invalid value: 1: must not be decremented"]);
    check(
        |v| remove(v, "resourceVersion"),
        &["metadata.resourceVersion: Invalid value: \"\": must be specified for an update"],
    );
    check(
        |v| assert!(add_finalizer(v, "new/one")),
        &[
            "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"new/one\"}",
        ],
    );
}

#[test]
fn readers_and_writers() {
    let mut object = json!({"metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
    set_label(&mut object, "k", "v");
    assert_eq!(label(&object, "k"), Some("v"));
    assert!(add_finalizer(&mut object, "f"));
    assert!(!add_finalizer(&mut object, "f"));
    assert!(remove_finalizer(&mut object, "f"));
    assert!(object["metadata"].get("finalizers").is_none());
    assert!(deletion_timestamp(&object).is_some());
    set_creation_timestamp(&mut object, "2026-01-02T03:04:05.678Z".parse().expect("valid"));
    assert_eq!(creation_timestamp(&object), "2026-01-02T03:04:05Z");
    assert_eq!(name(&Value::Null), "");
}

#[test]
fn options() {
    assert_eq!(
        said(validate_patch_options("", Some(true), &["Some".to_owned()], "Loud", false)),
        [
            "force: Forbidden: may not be specified for non-apply patch",
            "dryRun: Unsupported value: [\"Some\"]: supported values: \"All\"",
            "fieldValidation: Unsupported value: \"Loud\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"",
        ]
    );
    assert_eq!(
        said(validate_delete_options(&json!({"propagationPolicy": "Never", "orphanDependents": true}))),
        [
            "propagationPolicy: Invalid value: \"Never\": orphanDependents and deletionPropagation cannot be both set",
            "propagationPolicy: Unsupported value: \"Never\": supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"",
        ]
    );
}

#[test]
fn label_selectors_in_specs() {
    let selector = json!({"matchLabels": {"a": "b c"}, "matchExpressions": [
        {"key": "x", "operator": "In"}, {"key": "", "operator": "Exists", "values": ["a"]}, {"key": "x", "operator": "?"}]});
    let errors = said(validate_label_selector(Some(&selector), false, &Path::new("spec").child("selector")));
    assert_eq!(
        errors[1],
        "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"
    );
    assert_eq!(
        errors[2],
        "spec.selector.matchExpressions[1].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
    );
    assert_eq!(
        errors.last().map(String::as_str),
        Some("spec.selector.matchExpressions[2].operator: Invalid value: \"?\": not a valid selector operator")
    );
}
