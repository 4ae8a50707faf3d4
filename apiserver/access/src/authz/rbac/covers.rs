//! Whether some rules allow all that others do: what nobody may exceed when giving rights away, and what a role lacks
//! of its defaults. Follows `component-helpers/auth/rbac/validation/policy_comparator.go`.

use super::rule::{Rule, matches_url};

/// A rule as the simplest rules that together say the same.
pub fn breakdown(rule: &Rule) -> Vec<Rule> {
    let one = |text: &String| vec![text.clone()];
    let mut simple = Vec::new();
    for group in &rule.api_groups {
        for resource in &rule.resources {
            for verb in &rule.verbs {
                let base =
                    Rule { api_groups: one(group), resources: one(resource), verbs: one(verb), ..Rule::default() };
                if rule.resource_names.is_empty() {
                    simple.push(base);
                } else {
                    simple.extend(
                        rule.resource_names.iter().map(|name| Rule { resource_names: one(name), ..base.clone() }),
                    );
                }
            }
        }
    }
    for url in &rule.non_resource_urls {
        simple.extend(rule.verbs.iter().map(|verb| Rule {
            non_resource_urls: one(url),
            verbs: one(verb),
            ..Rule::default()
        }));
    }
    simple
}

/// What of `wanted` the `held` rules do not allow, broken down.
pub fn missing(held: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    let simple = wanted.iter().flat_map(breakdown);
    simple.filter(|rule| !held.iter().any(|holder| covers_simple(holder, rule))).collect()
}

/// Whether `held` rules allow all of `wanted`.
pub fn covers(held: &[Rule], wanted: &[Rule]) -> bool {
    missing(held, wanted).is_empty()
}

fn all(held: &[String], wanted: &[String]) -> bool {
    wanted.iter().all(|w| held.contains(w))
}

fn all_or_star(held: &[String], wanted: &[String]) -> bool {
    held.iter().any(|h| h == "*") || all(held, wanted)
}

fn covers_simple(held: &Rule, wanted: &Rule) -> bool {
    let names = if wanted.resource_names.is_empty() {
        held.resource_names.is_empty()
    } else {
        held.resource_names.is_empty() || all(&held.resource_names, &wanted.resource_names)
    };
    names
        && all_or_star(&held.verbs, &wanted.verbs)
        && all_or_star(&held.api_groups, &wanted.api_groups)
        && resources(&held.resources, &wanted.resources)
        && wanted.non_resource_urls.iter().all(|url| held.non_resource_urls.iter().any(|h| matches_url(h, url)))
}

fn resources(held: &[String], wanted: &[String]) -> bool {
    all_or_star(held, wanted)
        || wanted.iter().all(|resource| {
            held.contains(resource)
                || resource.split_once('/').is_some_and(|(_, subresource)| held.contains(&format!("*/{subresource}")))
        })
}
