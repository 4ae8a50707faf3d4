//! Reconciliation of one bootstrap object with what it should be: pure, an object in and an object or nothing out.
//! Follows `component-helpers/auth/rbac/reconciliation`.

use access::authz::rbac::{Rule, missing};
use machinery::json::Fields;
use machinery::meta;
use serde_json::{Map, Value, json};

const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const AUTOUPDATE_SPEC: &str = "apf.kubernetes.io/autoupdate-spec";

fn protected(object: &Value) -> bool {
    meta::annotation(object, AUTOUPDATE) == Some("false")
}

/// Adds the expected labels and annotations where none of that key is there.
fn metadata(object: &mut Value, expected: &Value) {
    for what in ["annotations", "labels"] {
        let Some(wanted) = expected["metadata"][what].as_object() else { continue };
        let have = &mut object["metadata"][what];
        if have.is_null() {
            *have = Map::new().into();
        }
        for (key, value) in wanted {
            if have.get(key).is_none() {
                have[key] = value.clone();
            }
        }
    }
}

fn changed(existing: &Value, object: Value) -> Option<Value> {
    (object != *existing).then_some(object)
}

fn append(object: &mut Value, key: &str, more: Vec<Value>) {
    if more.is_empty() {
        return;
    }
    match object[key].as_array_mut() {
        Some(list) => list.extend(more),
        None => object[key] = more.into(),
    }
}

/// A role: missing rules and aggregation selectors are added.
pub fn role(existing: &Value, expected: &Value) -> Option<Value> {
    if protected(existing) {
        return None;
    }
    let mut object = existing.clone();
    metadata(&mut object, expected);
    // Of an aggregated role the rules are the aggregation controller's.
    if expected.get("aggregationRule").is_none() {
        let lacking = missing(&Rule::read_all(existing), &Rule::read_all(expected));
        append(&mut object, "rules", lacking.iter().map(Rule::to_value).collect());
    }
    match (expected.get("aggregationRule"), existing.get("aggregationRule")) {
        (None, Some(_)) => drop(object.as_object_mut().map(|o| o.remove("aggregationRule"))),
        (Some(wanted), have) => {
            let have = have.map(|h| h.list("clusterRoleSelectors")).unwrap_or_default();
            let lacking: Vec<Value> =
                wanted.list("clusterRoleSelectors").iter().filter(|s| !have.contains(s)).cloned().collect();
            if !lacking.is_empty() {
                if object["aggregationRule"].is_null() {
                    object["aggregationRule"] = json!({});
                }
                append(&mut object["aggregationRule"], "clusterRoleSelectors", lacking);
            }
        }
        (None, None) => {}
    }
    changed(existing, object)
}

/// Whether a binding is of another role than it should be: it is then made anew, its role cannot change.
pub fn other_role(existing: &Value, expected: &Value) -> bool {
    !protected(existing)
        && ["kind", "name"].iter().any(|name| existing.sub("roleRef").text(name) != expected.sub("roleRef").text(name))
}

/// A binding: missing subjects are added.
pub fn binding(existing: &Value, expected: &Value) -> Option<Value> {
    if protected(existing) {
        return None;
    }
    let mut object = existing.clone();
    metadata(&mut object, expected);
    let have = existing.list("subjects");
    let lacking = expected.list("subjects").iter().filter(|s| !have.contains(s)).cloned().collect();
    append(&mut object, "subjects", lacking);
    changed(existing, object)
}

/// A flow schema or priority level: its spec is ours where the annotation says so.
pub fn flow_control(existing: &Value, expected: &Value) -> Option<Value> {
    if meta::annotation(existing, AUTOUPDATE_SPEC) != Some("true") {
        return None;
    }
    let mut object = existing.clone();
    merge(&mut object["spec"], &expected["spec"]);
    changed(existing, object)
}

/// Sets what `wanted` has; defaults that the stored object has besides are left.
fn merge(have: &mut Value, wanted: &Value) {
    match (have, wanted) {
        (Value::Object(have), Value::Object(wanted)) => {
            for (key, value) in wanted {
                merge(have.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (Value::Array(have), Value::Array(wanted)) if have.len() == wanted.len() => {
            have.iter_mut().zip(wanted).for_each(|(have, wanted)| merge(have, wanted));
        }
        (have, wanted) => *have = wanted.clone(),
    }
}

/// A ConfigMap: the expected keys have the expected values.
pub fn data(existing: &Value, expected: &Value) -> Option<Value> {
    let mut object = existing.clone();
    if object["data"].is_null() {
        object["data"] = json!({});
    }
    for (key, value) in expected["data"].as_object().into_iter().flatten() {
        object["data"][key] = value.clone();
    }
    changed(existing, object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_gets_back_what_it_lacks_and_keeps_what_it_got() {
        let expected = json!({
            "metadata": {"name": "r", "labels": {"a": "b"}, "annotations": {AUTOUPDATE: "true"}},
            "rules": [{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}],
        });
        assert_eq!(role(&expected, &expected), None);
        let reduced = json!({
            "metadata": {"name": "r", "labels": {"a": "c"}},
            "rules": [{"verbs": ["get", "watch"], "apiGroups": [""], "resources": ["pods"]}],
        });
        let mended = role(&reduced, &expected).unwrap();
        assert_eq!(mended["metadata"], json!({"name": "r", "labels": {"a": "c"}, "annotations": {AUTOUPDATE: "true"}}));
        assert_eq!(mended["rules"][1], json!({"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]}));
        assert_eq!(role(&mended, &expected), None);
        let mut kept = reduced;
        kept["metadata"]["annotations"] = json!({AUTOUPDATE: "false"});
        assert_eq!(role(&kept, &expected), None);
    }

    #[test]
    fn an_aggregated_role_keeps_the_controllers_rules() {
        let selector = |name: &str| json!({"matchLabels": {name: "true"}});
        let expected = json!({"metadata": {}, "aggregationRule": {"clusterRoleSelectors": [selector("x")]}, "rules": [{"verbs": ["get"], "nonResourceURLs": ["/a"]}]});
        let existing =
            json!({"metadata": {}, "aggregationRule": {"clusterRoleSelectors": [selector("y")]}, "rules": []});
        let mended = role(&existing, &expected).unwrap();
        assert_eq!(mended["rules"], json!([]));
        assert_eq!(mended["aggregationRule"]["clusterRoleSelectors"], json!([selector("y"), selector("x")]));
        let plain = json!({"metadata": {}, "rules": []});
        assert_eq!(role(&existing, &plain).unwrap().get("aggregationRule"), None);
    }

    #[test]
    fn a_binding_gets_back_its_subjects() {
        let subject = |name: &str| json!({"kind": "User", "name": name});
        let bound = |subjects: Value| json!({"metadata": {}, "roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": subjects});
        let expected = bound(json!([subject("a")]));
        let existing = bound(json!([subject("b")]));
        assert_eq!(binding(&existing, &expected).unwrap()["subjects"], json!([subject("b"), subject("a")]));
        assert_eq!(binding(&expected, &expected), None);
        let mut other = existing;
        other["roleRef"]["name"] = "s".into();
        assert!(other_role(&other, &expected) && !other_role(&expected, &expected));
    }

    #[test]
    fn flow_control_is_ours_unless_taken_over() {
        let expected = json!({"metadata": {}, "spec": {"matchingPrecedence": 1}});
        let mut existing = json!({"metadata": {"annotations": {AUTOUPDATE_SPEC: "true"}}, "spec": {"matchingPrecedence": 2, "defaulted": 3}});
        assert_eq!(
            flow_control(&existing, &expected).unwrap()["spec"],
            json!({"matchingPrecedence": 1, "defaulted": 3})
        );
        existing["metadata"]["annotations"][AUTOUPDATE_SPEC] = "false".into();
        assert_eq!(flow_control(&existing, &expected), None);
    }
}
