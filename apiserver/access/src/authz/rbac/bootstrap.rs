//! Upstream's default roles and bindings, from a text of one line a rule (`bootstrap.txt`):
//!
//! ```text
//! ClusterRole NAME [+LABEL ...] [=LABEL]     +LABEL: counts into that aggregation; =LABEL: is that aggregation
//!   VERBS GROUPS RESOURCES [NAMES]           a rule; `core` is the group without name
//!   VERBS path PATHS                         a rule of paths
//! ClusterRoleBinding NAME ROLE SUBJECT ...   a subject is KIND:NAME, or ServiceAccount:NAMESPACE/NAME
//! Role NAMESPACE/NAME, RoleBinding NAMESPACE/NAME ROLE SUBJECT ...
//! ```
//!
//! Aggregated roles are given their rules here, as the aggregation controller will find them, so that `admin`, `edit`
//! and `view` mean something before any controller runs.

use machinery::json::Fields;
use machinery::meta;
use serde_json::{Value, json};

const TEXT: &str = include_str!("bootstrap.txt");
const GROUP: &str = "rbac.authorization.k8s.io";

/// The default ClusterRoles.
pub fn cluster_roles() -> Vec<Value> {
    parse(TEXT).cluster_roles
}

/// All of them, by kind.
#[derive(Default)]
pub struct Objects {
    /// ClusterRoles, aggregated ones with their rules.
    pub cluster_roles: Vec<Value>,
    /// ClusterRoleBindings.
    pub cluster_role_bindings: Vec<Value>,
    /// Roles.
    pub roles: Vec<Value>,
    /// RoleBindings.
    pub role_bindings: Vec<Value>,
}

/// The default objects, and where there is a user that the server calls kubelets as, that user's rights on them.
pub fn objects(kubelet_client: Option<&str>) -> Objects {
    let mut all = parse(TEXT);
    if let Some(user) = kubelet_client {
        let binding = object("ClusterRoleBinding", user);
        let subject = format!("User:{user}");
        all.cluster_role_bindings.push(bind(binding, "ClusterRole", "system:kubelet-api-admin", &[&subject]));
    }
    all
}

fn parse(text: &str) -> Objects {
    let mut all = Objects::default();
    let mut cluster = false;
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["ClusterRole", name, marks @ ..] => {
                all.cluster_roles.push(cluster_role(name, marks));
                cluster = true;
            }
            ["Role", name] => {
                all.roles.push(object("Role", name));
                cluster = false;
            }
            ["ClusterRoleBinding", name, role, subjects @ ..] => {
                all.cluster_role_bindings.push(bind(object("ClusterRoleBinding", name), "ClusterRole", role, subjects));
            }
            ["RoleBinding", name, role, subjects @ ..] => {
                all.role_bindings.push(bind(object("RoleBinding", name), "Role", role, subjects));
            }
            rule => {
                let list = if cluster { &mut all.cluster_roles } else { &mut all.roles };
                let rules = list.last_mut().and_then(|role| role.get_mut("rules")).and_then(Value::as_array_mut);
                rules
                    .expect("a rule stands below its role; the text is committed and parsed by a test")
                    .push(read_rule(rule));
            }
        }
    }
    aggregate(&mut all.cluster_roles);
    all
}

fn object(kind: &str, name: &str) -> Value {
    let mut object = json!({
        "apiVersion": format!("{GROUP}/v1"),
        "kind": kind,
        "metadata": {
            "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
            "name": name,
        },
    });
    if let Some((namespace, name)) = name.split_once('/') {
        object["metadata"]["namespace"] = namespace.into();
        object["metadata"]["name"] = name.into();
    }
    if kind.ends_with("Role") {
        object["rules"] = json!([]);
    }
    object
}

fn cluster_role(name: &str, marks: &[&str]) -> Value {
    let mut role = object("ClusterRole", name);
    for mark in marks {
        let label = format!("rbac.authorization.k8s.io/{}", &mark[1..]);
        if mark.starts_with('+') {
            role["metadata"]["labels"][label] = "true".into();
        } else {
            role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
        }
    }
    role
}

fn bind(mut binding: Value, kind: &str, role: &str, subjects: &[&str]) -> Value {
    binding["roleRef"] = json!({"apiGroup": GROUP, "kind": kind, "name": role});
    let subject = |word: &&str| {
        let (kind, name) = word.split_once(':').unwrap_or_default();
        match name.split_once('/') {
            Some((namespace, name)) if kind == "ServiceAccount" => {
                json!({"kind": kind, "namespace": namespace, "name": name})
            }
            _ => json!({"apiGroup": GROUP, "kind": kind, "name": name}),
        }
    };
    if !subjects.is_empty() {
        binding["subjects"] = subjects.iter().map(subject).collect::<Vec<_>>().into();
    }
    binding
}

fn read_rule(words: &[&str]) -> Value {
    fn list(word: &str) -> Vec<&str> {
        word.split(',').map(|w| if w == "core" { "" } else { w }).collect()
    }
    match words {
        [verbs, "path", paths] => json!({"verbs": list(verbs), "nonResourceURLs": list(paths)}),
        [verbs, groups, resources] => {
            json!({"verbs": list(verbs), "apiGroups": list(groups), "resources": list(resources)})
        }
        [verbs, groups, resources, names] => {
            json!({"verbs": list(verbs), "apiGroups": list(groups), "resources": list(resources), "resourceNames": list(names)})
        }
        _ => Value::Null,
    }
}

/// Gives aggregated roles the rules of the roles that count into them, as the controller does: by name, each once.
fn aggregate(roles: &mut [Value]) {
    // An aggregated role may count into another: as many rounds as there are of them settle it.
    let rounds = roles.iter().filter(|r| r.get("aggregationRule").is_some()).count();
    for _ in 0..rounds {
        for at in 0..roles.len() {
            let Some(label) =
                roles[at].pointer("/aggregationRule/clusterRoleSelectors/0/matchLabels").and_then(Value::as_object)
            else {
                continue;
            };
            let label = label.keys().next().cloned().unwrap_or_default();
            let mut counted: Vec<&Value> =
                roles.iter().filter(|r| r["metadata"]["labels"].get(&label).is_some()).collect();
            counted.sort_by_key(|r| meta::name(r));
            let mut rules: Vec<Value> = Vec::new();
            for rule in counted.iter().flat_map(|r| r.list("rules")) {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
            roles[at]["rules"] = rules.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::rbac::{Rule, covers};

    #[test]
    fn the_text_is_well_formed() {
        let all = parse(TEXT);
        for role in all.cluster_roles.iter().chain(&all.roles) {
            assert!(!role.list("rules").iter().any(Value::is_null), "{role}");
        }
        for binding in all.cluster_role_bindings.iter().chain(&all.role_bindings) {
            let (kind, name) = (binding.sub("roleRef").text("kind"), binding.sub("roleRef").text("name"));
            let roles = if kind == "Role" { &all.roles } else { &all.cluster_roles };
            assert!(roles.iter().any(|r| meta::name(r) == name), "{binding}");
        }
        assert!(
            all.cluster_role_bindings.iter().all(|b| meta::name(b) != "system:node" || b.get("subjects").is_none())
        );
    }

    #[test]
    fn aggregated_roles_have_rules_from_the_start() {
        let roles = cluster_roles();
        let rules = |name: &str| Rule::read_all(roles.iter().find(|r| meta::name(r) == name).unwrap());
        assert!(covers(&rules("admin"), &rules("edit")) && covers(&rules("edit"), &rules("view")));
        assert!(!covers(&rules("view"), &rules("edit")));
        assert!(covers(&rules("view"), &rules("system:aggregate-to-view")) && !rules("view").is_empty());
    }
}
