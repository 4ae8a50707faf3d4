//! Nobody gives away rights that they do not have: what a writer of roles and bindings must hold.
//!
//! Follows `pkg/registry/rbac/*/policybased/storage.go` and `validation/rule.go`. It runs as the last mutating
//! admission step (`admission/plugins/rbac_escalation.rs`), which is where upstream's storage wrapper stands.

use std::collections::{BTreeMap, BTreeSet};

use model::user::UserInfo;
use model::values::{quoted, quoted_list};

use super::covers::missing;
use super::rule::Rule;
use crate::authz::Rules;

/// Whether the user holds all of `wanted`; the message lists what is missing.
pub fn confirm(user: &UserInfo, held: &Rules, wanted: &[Rule]) -> Result<(), String> {
    let lacking = missing(&held.rules, wanted);
    if lacking.is_empty() {
        return Ok(());
    }
    let lines: BTreeSet<String> = compact(lacking).iter().map(Rule::compact).collect();
    let lines: Vec<String> = lines.into_iter().collect();
    let mut message = format!(
        "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        quoted(&user.name),
        quoted_list(&user.groups),
        lines.join("\n")
    );
    if !held.errors.is_empty() {
        message.push_str(&format!("; resolution errors: [{}]", super::aggregate(&held.errors)));
    }
    Err(message)
}

/// Joins rules that differ in verbs alone.
fn compact(rules: Vec<Rule>) -> Vec<Rule> {
    let (mut joined, mut rest) = (BTreeMap::<(String, String, Option<String>), Rule>::new(), Vec::new());
    for rule in rules {
        let simple = rule.non_resource_urls.is_empty() && rule.resource_names.len() < 2;
        match (rule.api_groups.as_slice(), rule.resources.as_slice()) {
            ([group], [resource]) if simple => {
                let key = (group.clone(), resource.clone(), rule.resource_names.first().cloned());
                joined.entry(key).and_modify(|r| r.verbs.extend(rule.verbs.iter().cloned())).or_insert(rule);
            }
            _ => rest.push(rule),
        }
    }
    rest.extend(joined.into_values());
    rest
}
