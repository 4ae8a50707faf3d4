//! A rule, what it allows, and a role: its rules, found by resource.

use std::collections::HashMap;

use machinery::json::Fields;
use model::values::quoted_list;
use serde_json::{Value, json};

use crate::authz::Attributes;

/// One PolicyRule. It is of resources or of paths, never both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Rule {
    /// API groups, `*` for all.
    pub api_groups: Vec<String>,
    /// Resources as `pods` or `pods/log`; `*` for all, `*/scale` for that subresource of all.
    pub resources: Vec<String>,
    /// Object names; empty for all.
    pub resource_names: Vec<String>,
    /// Paths that are no resource's; `*` at the end stands for anything.
    pub non_resource_urls: Vec<String>,
    /// Verbs, `*` for all.
    pub verbs: Vec<String>,
}

fn any(list: &[String], wanted: &str) -> bool {
    list.iter().any(|have| have == "*" || have == wanted)
}

impl Rule {
    /// From a role's `rules`.
    pub fn read(value: &Value) -> Self {
        Self {
            api_groups: value.texts("apiGroups").map(str::to_owned).collect(),
            resources: value.texts("resources").map(str::to_owned).collect(),
            resource_names: value.texts("resourceNames").map(str::to_owned).collect(),
            non_resource_urls: value.texts("nonResourceURLs").map(str::to_owned).collect(),
            verbs: value.texts("verbs").map(str::to_owned).collect(),
        }
    }

    /// All rules of a role object.
    pub fn read_all(role: &Value) -> Vec<Self> {
        role.list("rules").iter().map(Self::read).collect()
    }

    /// As a role's `rules` have it.
    pub fn to_value(&self) -> Value {
        let mut value = json!({"verbs": self.verbs});
        let optional = [
            ("apiGroups", &self.api_groups),
            ("resources", &self.resources),
            ("resourceNames", &self.resource_names),
            ("nonResourceURLs", &self.non_resource_urls),
        ];
        for (key, list) in optional.into_iter().filter(|(_, list)| !list.is_empty()) {
            value[key] = json!(list);
        }
        value
    }

    /// Two rules that allow all.
    pub fn everything() -> Vec<Self> {
        let all = || vec!["*".to_owned()];
        vec![
            Rule { verbs: all(), api_groups: all(), resources: all(), ..Rule::default() },
            Rule { verbs: all(), non_resource_urls: all(), ..Rule::default() },
        ]
    }

    /// Whether the rule allows what is asked.
    pub fn allows(&self, asked: &Attributes<'_>) -> bool {
        if !any(&self.verbs, asked.verb) {
            return false;
        }
        if asked.resource_request {
            let names = &self.resource_names;
            any(&self.api_groups, asked.group)
                && self.resources.iter().any(|have| matches_resource(have, asked))
                && (names.is_empty() || names.iter().any(|n| n == asked.name))
        } else {
            self.non_resource_urls.iter().any(|have| matches_url(have, asked.path))
        }
    }

    /// Upstream's short form of a rule in messages.
    pub fn compact(&self) -> String {
        let parts = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        let parts: Vec<String> = parts
            .iter()
            .filter(|(_, list)| !list.is_empty())
            .map(|(name, list)| format!("{name}:{}", quoted_list(list)))
            .collect();
        format!("{{{}}}", parts.join(", "))
    }
}

fn matches_resource(have: &str, asked: &Attributes<'_>) -> bool {
    if have == "*" {
        return true;
    }
    if asked.subresource.is_empty() {
        return have == asked.resource;
    }
    match have.split_once('/') {
        Some((resource, subresource)) => {
            subresource == asked.subresource && (resource == "*" || resource == asked.resource)
        }
        None => false,
    }
}

/// Whether a path is among those that `have` stands for.
pub(super) fn matches_url(have: &str, path: &str) -> bool {
    have == path || have.ends_with('*') && path.starts_with(have.trim_end_matches('*'))
}

/// A role's rules, with those that can matter for a resource found at once.
#[derive(Debug, Default)]
pub struct Role {
    /// All rules, in the role's order.
    pub rules: Vec<Rule>,
    by_resource: HashMap<String, Vec<u32>>,
    /// Rules with a `*` in a resource.
    wild: Vec<u32>,
    paths: Vec<u32>,
}

impl Role {
    /// A role of these rules.
    pub fn new(rules: Vec<Rule>) -> Self {
        let mut role = Role::default();
        for (at, rule) in (0u32..).zip(&rules) {
            if !rule.non_resource_urls.is_empty() {
                role.paths.push(at);
            }
            if rule.resources.iter().any(|r| r.starts_with('*')) {
                role.wild.push(at);
            }
            for resource in rule.resources.iter().filter(|r| !r.starts_with('*')) {
                // Keyed without the subresource, so that a question need not be put together.
                let resource = resource.split('/').next().unwrap_or_default().to_owned();
                let list = role.by_resource.entry(resource).or_default();
                if list.last() != Some(&at) {
                    list.push(at);
                }
            }
        }
        Role { rules, ..role }
    }

    /// Whether any rule allows what is asked.
    pub fn allows(&self, asked: &Attributes<'_>) -> bool {
        let allow = |list: &[u32]| list.iter().any(|at| self.rules[*at as usize].allows(asked));
        if !asked.resource_request {
            return allow(&self.paths);
        }
        allow(&self.wild) || self.by_resource.get(asked.resource).is_some_and(|list| allow(list))
    }
}
