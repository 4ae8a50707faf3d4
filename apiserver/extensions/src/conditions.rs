//! Conditions of a definition's status: setting one keeps the time of its last transition where its status stays. And the
//! conditions that tell whether a group of the Kubernetes community may be used so, and what of a definition from v1beta1 is
//! not structural. Follows `apiextensions-apiserver/pkg/apihelpers/helpers.go` and `.../controller/{apiapproval,
//! nonstructuralschema}`.

use machinery::go::quote;
use machinery::json::Fields;
use serde_json::{Value, json};

use super::definition::condition;
use structural::definition_faults;

/// A condition to be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    kind: &'static str,
    status: &'static str,
    reason: String,
    message: String,
}

impl Condition {
    /// By its parts.
    pub fn of(kind: &'static str, status: &'static str, reason: &str, message: &str) -> Self {
        Self { kind, status, reason: reason.into(), message: message.into() }
    }
}

/// Sets a condition in a definition's status.
pub fn set(definition: &mut Value, new: &Condition, now: &str) {
    let status = &mut definition["status"];
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(conditions) = status["conditions"].as_array_mut() else { return };
    match conditions.iter_mut().find(|c| c["type"] == new.kind) {
        Some(there) => {
            if there["status"] != new.status || there["lastTransitionTime"].is_null() {
                there["lastTransitionTime"] = now.into();
            }
            there["status"] = new.status.into();
            there["reason"] = new.reason.as_str().into();
            there["message"] = new.message.as_str().into();
        }
        None => conditions.push(json!({
            "type": new.kind,
            "status": new.status,
            "lastTransitionTime": now,
            "reason": new.reason,
            "message": new.message,
        })),
    }
}

/// Takes a condition away.
pub fn remove(definition: &mut Value, kind: &str) {
    if condition(definition, kind).is_some()
        && let Some(conditions) = definition["status"]["conditions"].as_array_mut()
    {
        conditions.retain(|c| c["type"] != kind);
    }
}

const APPROVED: &str = "api-approved.kubernetes.io";

/// Whether a definition in one of the community's groups says who approved of it; nothing to say of other groups.
pub fn approval(definition: &Value) -> Option<Condition> {
    let group = definition["spec"].text("group");
    let protected = ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|community| group.strip_suffix(community).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')));
    if !protected {
        return None;
    }
    let kind = "KubernetesAPIApprovalPolicyConformant";
    let annotation = definition["metadata"]["annotations"][APPROVED].as_str().unwrap_or_default();
    let see = "see https://github.com/kubernetes/enhancements/pull/1111";
    let asked = format!("protected groups must have approval annotation {}", quote(APPROVED));
    let url = annotation.parse::<http::Uri>().is_ok_and(|uri| uri.scheme().is_some() && uri.host().is_some());
    Some(if annotation.is_empty() {
        Condition::of(kind, "False", "MissingAnnotation", &format!("{asked}, {see}"))
    } else if annotation.starts_with("unapproved") {
        Condition::of(kind, "False", "UnapprovedAnnotation", &format!("not approved: {}", quote(annotation)))
    } else if url {
        Condition::of(kind, "True", "ApprovedAnnotation", &format!("approved in {annotation}"))
    } else {
        let why = format!("{asked} with either a URL or a reason starting with \"unapproved\", {see}");
        Condition::of(kind, "False", "InvalidAnnotation", &why)
    })
}

/// The condition that tells that a definition is not structural.
pub const NON_STRUCTURAL: &str = "NonStructuralSchema";

/// What of a definition is not structural; nothing where all is.
pub fn non_structural(definition: &Value) -> Option<Condition> {
    let faults = match definition_faults(definition) {
        Ok(faults) => faults,
        Err(why) => return Some(Condition::of(NON_STRUCTURAL, "Unknown", "StructuralError", &why)),
    };
    let mut told: Vec<String> = Vec::new();
    for fault in faults {
        let fault = fault.to_string();
        if !told.contains(&fault) {
            told.push(fault);
        }
    }
    let message = match told.as_slice() {
        [] => return None,
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    };
    Some(Condition::of(NON_STRUCTURAL, "True", "Violations", &message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_condition_is_that_of_its_last_transition() {
        let mut definition = json!({});
        set(&mut definition, &Condition::of("Established", "False", "Installing", "a"), "1");
        set(&mut definition, &Condition::of("Established", "False", "NotAccepted", "b"), "2");
        let found = condition(&definition, "Established").expect("set");
        assert_eq!((&found["lastTransitionTime"], &found["reason"]), (&json!("1"), &json!("NotAccepted")));
        set(&mut definition, &Condition::of("Established", "True", "x", "c"), "3");
        assert_eq!(condition(&definition, "Established").expect("set")["lastTransitionTime"], "3");
        remove(&mut definition, "Established");
        assert!(condition(&definition, "Established").is_none());
    }

    #[test]
    fn what_is_not_structural_is_told() {
        let of = |spec: Value| non_structural(&json!({ "spec": spec })).map(|c| (c.status, c.message));
        let schema = |schema: Value| json!({ "versions": [{ "name": "v1", "schema": { "openAPIV3Schema": schema } }] });
        assert_eq!(of(schema(json!({ "type": "object" }))), None);
        assert_eq!(of(json!({ "versions": [{ "name": "v1" }] })), None);
        let at = "spec.versions[0].schema.openAPIV3Schema";
        let mut untyped = schema(json!({ "properties": { "a": {} } }));
        let type_of_a =
            format!("{at}.properties[a].type: Required value: must not be empty for specified object fields");
        let type_of_root = format!("{at}.type: Required value: must not be empty at the root");
        assert_eq!(of(untyped.clone()), Some(("True", format!("[{type_of_a}, {type_of_root}]"))));
        untyped["versions"] = json!([]);
        untyped["preserveUnknownFields"] = json!(true);
        let why = "spec.preserveUnknownFields: Invalid value: true: must be false";
        assert_eq!(of(untyped), Some(("True", why.into())));
    }

    #[test]
    fn groups_of_the_community_need_an_approval() {
        let reason = |group: &str, annotation: &str| {
            let definition =
                json!({ "metadata": { "annotations": { APPROVED: annotation } }, "spec": { "group": group } });
            approval(&definition).map(|c| c.reason)
        };
        for (group, annotation, expect) in [
            ("example.com", "", None),
            ("fork8s.io", "", None),
            ("k8s.io", "", Some("MissingAnnotation")),
            ("gateway.networking.k8s.io", "https://github.com/kubernetes/pull/1", Some("ApprovedAnnotation")),
            ("x.kubernetes.io", "unapproved, experimental-only", Some("UnapprovedAnnotation")),
            ("x.k8s.io", "because", Some("InvalidAnnotation")),
        ] {
            assert_eq!(reason(group, annotation).as_deref(), expect, "{group} {annotation}");
        }
    }
}
