//! `kubectl create role|clusterrole|rolebinding|clusterrolebinding NAME`.

use serde_json::{Value, json};

use super::{FLAGS, exact_name, generated};
use crate::{
    cli::{
        context::Context,
        failure::{Failure, Outcome},
        flags::{Flag, value},
    },
    commands::{Command, action},
    printers,
};

const RULES: &[Flag] = &[value("verb"), value("resource"), value("resource-name"), value("non-resource-url")];
const SUBJECTS: &[Flag] =
    &[value("role"), value("clusterrole"), value("user"), value("group"), value("serviceaccount")];

/// The table row.
pub const ROLE: Command =
    Command { name: "role", aliases: &[], flags: &[FLAGS, RULES, printers::FLAGS], sub: &[], run: action!(role) };
/// The table row.
pub const CLUSTER_ROLE: Command = Command {
    name: "clusterrole",
    aliases: &[],
    flags: &[FLAGS, RULES, printers::FLAGS],
    sub: &[],
    run: action!(cluster_role),
};
/// The table row.
pub const ROLE_BINDING: Command = Command {
    name: "rolebinding",
    aliases: &[],
    flags: &[FLAGS, SUBJECTS, printers::FLAGS],
    sub: &[],
    run: action!(role_binding),
};
/// The table row.
pub const CLUSTER_ROLE_BINDING: Command = Command {
    name: "clusterrolebinding",
    aliases: &[],
    flags: &[FLAGS, SUBJECTS, printers::FLAGS],
    sub: &[],
    run: action!(cluster_role_binding),
};

/// Verbs that upstream takes without a warning.
const VERBS: &[&str] = &[
    "*",
    "get",
    "delete",
    "list",
    "create",
    "update",
    "patch",
    "watch",
    "proxy",
    "deletecollection",
    "use",
    "bind",
    "escalate",
    "impersonate",
];

async fn rules(context: &Context) -> Outcome<Vec<Value>> {
    let flags = &context.flags;
    let verbs = flags.list("verb");
    if verbs.is_empty() {
        return Err(Failure::new("at least one verb must be specified"));
    }
    for verb in verbs.iter().filter(|verb| !VERBS.contains(&verb.as_str())) {
        context.note(format_args!("Warning: '{verb}' is not a standard resource verb"));
    }
    let urls = flags.list("non-resource-url");
    if !urls.is_empty() {
        return Ok(vec![json!({"verbs": verbs, "nonResourceURLs": urls})]);
    }
    let resources = flags.list("resource");
    if resources.is_empty() {
        return Err(Failure::new("at least one resource must be specified"));
    }
    let mapper = context.mapper().await?;
    // Resources of one group share a rule.
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for name in resources {
        let (plain, sub) = name.split_once('/').map_or((name.as_str(), None), |(plain, sub)| (plain, Some(sub)));
        let (group, plural) = match plain {
            "*" => (String::new(), "*".to_owned()),
            _ => {
                let resource = mapper.require(plain)?;
                (resource.group.clone(), resource.plural.clone())
            }
        };
        let full = sub.map_or(plural.clone(), |sub| format!("{plural}/{sub}"));
        match groups.iter_mut().find(|(known, _)| *known == group) {
            Some((_, all)) => all.push(full),
            None => groups.push((group, vec![full])),
        }
    }
    let names = flags.list("resource-name");
    Ok(groups
        .into_iter()
        .map(|(group, resources)| {
            let mut rule = json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
            if !names.is_empty() {
                rule["resourceNames"] = json!(names);
            }
            rule
        })
        .collect())
}

async fn with_rules(context: Context, kind: &str) -> Outcome {
    let name = exact_name(&context)?;
    let rules = rules(&context).await?;
    let object =
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "rules": rules});
    generated(&context, object).await
}

async fn role(context: Context) -> Outcome {
    with_rules(context, "Role").await
}

async fn cluster_role(context: Context) -> Outcome {
    with_rules(context, "ClusterRole").await
}

async fn binding(context: Context, kind: &str) -> Outcome {
    const GROUP: &str = "rbac.authorization.k8s.io";
    let name = exact_name(&context)?;
    let flags = &context.flags;
    let role = match (flags.get("clusterrole"), flags.get("role").filter(|_| kind == "RoleBinding")) {
        (Some(name), None) => json!({"apiGroup": GROUP, "kind": "ClusterRole", "name": name}),
        (None, Some(name)) => json!({"apiGroup": GROUP, "kind": "Role", "name": name}),
        _ => return Err(Failure::new("exactly one of clusterrole or role must be specified")),
    };
    let mut subjects = Vec::new();
    for (flag, kind) in [("user", "User"), ("group", "Group")] {
        subjects
            .extend(flags.list(flag).into_iter().map(|name| json!({"apiGroup": GROUP, "kind": kind, "name": name})));
    }
    for account in flags.list("serviceaccount") {
        let Some((namespace, name)) = account.split_once(':').filter(|(a, b)| !a.is_empty() && !b.is_empty()) else {
            return Err(Failure::new("serviceaccount must be <namespace>:<name>"));
        };
        subjects.push(json!({"kind": "ServiceAccount", "name": name, "namespace": namespace}));
    }
    let mut object =
        json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": {"name": name}, "roleRef": role});
    if !subjects.is_empty() {
        object["subjects"] = Value::Array(subjects);
    }
    generated(&context, object).await
}

async fn role_binding(context: Context) -> Outcome {
    binding(context, "RoleBinding").await
}

async fn cluster_role_binding(context: Context) -> Outcome {
    binding(context, "ClusterRoleBinding").await
}
