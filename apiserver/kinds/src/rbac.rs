//! Roles and bindings (`pkg/apis/rbac/validation`).

use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::{meta, names};
use model::check::Faults;
use serde_json::Value;

use super::checked::Checked;

const GROUP: &str = "rbac.authorization.k8s.io";

/// Roles.
pub fn roles() -> Checked {
    Checked::object(|role| rules(role, true))
}

/// ClusterRoles.
pub fn cluster_roles() -> Checked {
    Checked::object(|role| {
        let mut errors = rules(role, false);
        if let Some(rule) = role.sub("aggregationRule") {
            let at = Path::new("aggregationRule").child("clusterRoleSelectors");
            let selectors = rule.list("clusterRoleSelectors");
            if selectors.is_empty() {
                errors.required(&at, "at least one clusterRoleSelector required if aggregationRule is non-nil");
            }
            for (i, selector) in selectors.iter().enumerate() {
                errors.extend(meta::validate_label_selector(Some(selector), false, &at.index(i)));
            }
        }
        errors
    })
}

/// RoleBindings.
pub fn role_bindings() -> Checked {
    Checked { object: |binding| check_binding(binding, true), update: role_ref_update }
}

/// ClusterRoleBindings.
pub fn cluster_role_bindings() -> Checked {
    Checked { object: |binding| check_binding(binding, false), update: role_ref_update }
}

fn rules(role: &Value, namespaced: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    for (i, rule) in role.list("rules").iter().enumerate() {
        let at = Path::new("rules").index(i);
        if rule.list("verbs").is_empty() {
            errors.required(&at.child("verbs"), "verbs must contain at least one value");
        }
        let urls = rule.list("nonResourceURLs");
        let resources = ["apiGroups", "resources", "resourceNames"].iter().any(|f| !rule.list(f).is_empty());
        if !urls.is_empty() {
            let at = at.child("nonResourceURLs");
            if namespaced {
                errors.invalid(&at, urls.to_vec(), "namespaced rules cannot apply to non-resource URLs");
            }
            if resources {
                let detail = "rules cannot apply to both regular resources and non-resource URLs";
                errors.invalid(&at, urls.to_vec(), detail);
            }
            continue;
        }
        if rule.list("apiGroups").is_empty() {
            errors.required(&at.child("apiGroups"), "resource rules must supply at least one api group");
        }
        if rule.list("resources").is_empty() {
            errors.required(&at.child("resources"), "resource rules must supply at least one resource");
        }
    }
    errors
}

fn check_binding(binding: &Value, namespaced: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("roleRef");
    let role = &binding["roleRef"];
    if role.text("apiGroup") != GROUP {
        errors.unsupported(&at.child("apiGroup"), role.text("apiGroup"), &[GROUP]);
    }
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if !kinds.contains(&role.text("kind")) {
        errors.unsupported(&at.child("kind"), role.text("kind"), kinds);
    }
    let name = role.text("name");
    if name.is_empty() {
        errors.required(&at.child("name"), "");
    } else {
        errors.each(&at.child("name"), name, names::path_segment(name));
    }
    for (i, subject) in binding.list("subjects").iter().enumerate() {
        check_subject(subject, namespaced, &Path::new("subjects").index(i), &mut errors);
    }
    errors
}

fn check_subject(subject: &Value, namespaced: bool, at: &Path, errors: &mut ErrorList) {
    let (name, group) = (subject.text("name"), subject.text("apiGroup"));
    if name.is_empty() {
        errors.required(&at.child("name"), "");
    }
    match subject.text("kind") {
        "ServiceAccount" => {
            if !name.is_empty() {
                errors.each(&at.child("name"), name, names::dns1123_subdomain(name));
            }
            if !group.is_empty() {
                errors.unsupported(&at.child("apiGroup"), group, &[""]);
            }
            if !namespaced && subject.text("namespace").is_empty() {
                errors.required(&at.child("namespace"), "");
            }
        }
        "User" | "Group" => {
            if group != GROUP {
                errors.unsupported(&at.child("apiGroup"), group, &[GROUP]);
            }
        }
        other => errors.unsupported(&at.child("kind"), other, &["ServiceAccount", "User", "Group"]),
    }
}

fn role_ref_update(binding: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    if binding.sub("roleRef") != old.sub("roleRef") {
        errors.invalid(&Path::new("roleRef"), binding.sub("roleRef").cloned(), "cannot change roleRef");
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::check::said;
    use serde_json::json;

    #[test]
    fn rules_and_bindings() {
        let role = json!({"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}, {"verbs": []}]});
        assert_eq!(
            said(&(roles().object)(&role)),
            [
                "rules[0].nonResourceURLs: Invalid value: [\"/x\"]: namespaced rules cannot apply to non-resource URLs",
                "rules[1].verbs: Required value: verbs must contain at least one value",
                "rules[1].apiGroups: Required value: resource rules must supply at least one api group",
                "rules[1].resources: Required value: resource rules must supply at least one resource",
            ]
        );
        let good = json!({"roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": "system:x"},
            "subjects": [{"kind": "ServiceAccount", "name": "a", "namespace": "b"}]});
        assert!((cluster_role_bindings().object)(&good).is_empty());
        let bad = json!({"roleRef": {"kind": "Role", "name": "a/b"}, "subjects": [{"kind": "Robot", "name": ""}]});
        assert_eq!(
            said(&(cluster_role_bindings().object)(&bad)),
            [
                "roleRef.apiGroup: Unsupported value: \"\": supported values: \"rbac.authorization.k8s.io\"",
                "roleRef.kind: Unsupported value: \"Role\": supported values: \"ClusterRole\"",
                "roleRef.name: Invalid value: \"a/b\": may not contain '/'",
                "subjects[0].name: Required value",
                "subjects[0].kind: Unsupported value: \"Robot\": supported values: \"ServiceAccount\", \"User\", \"Group\"",
            ]
        );
        assert_eq!((role_bindings().update)(&bad, &good).len(), 1);
    }
}
