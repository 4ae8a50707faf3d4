//! FlowSchemas: which requests of whom go to which priority level.

use std::sync::LazyLock;

use machinery::field::{Error, ErrorList, Path};
use machinery::json::Fields;
use machinery::{meta, names};
use serde_json::Value;

use super::{mandatory, status, whole_spec};
use model::check::{Faults, same};
use writes::strategy::{Strategy, WriteContext};

#[cfg(test)]
mod tests;

const MAX_PRECEDENCE: i64 = 10_000;
const VERBS: [&str; 9] = ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

static MANDATORY: LazyLock<Vec<(String, Value)>> = LazyLock::new(|| mandatory(super::FLOW_SCHEMAS, "FlowSchema"));

/// FlowSchemas.
pub struct FlowSchemas;

impl Strategy for FlowSchemas {
    fn validate(&self, _: &WriteContext<'_>, schema: &Value) -> ErrorList {
        validate(schema)
    }

    fn validate_update(&self, cx: &WriteContext<'_>, schema: &Value, _: &Value) -> ErrorList {
        if cx.subresource == Some("status") { status(schema) } else { validate(schema) }
    }
}

pub(super) fn validate(schema: &Value) -> ErrorList {
    let (name, spec) = (meta::name(schema), &schema["spec"]);
    let mut errors = self::spec(name, spec);
    if MANDATORY.iter().any(|(fixed, wanted)| fixed == name && !same(Some(wanted), Some(spec))) {
        let detail = format!("spec of '{name}' must equal the fixed value");
        errors.push(whole_spec(spec, "FlowSchemaSpec", detail));
    }
    errors.extend(status(schema));
    errors
}

fn spec(name: &str, spec: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("spec");
    let (precedence, here) = (spec.int("matchingPrecedence").unwrap_or(0), at.child("matchingPrecedence"));
    if precedence <= 0 {
        errors.invalid(&here, precedence, "must be a positive value");
    }
    if precedence > MAX_PRECEDENCE {
        errors.invalid(&here, precedence, format!("must not be greater than {MAX_PRECEDENCE}"));
    }
    if precedence == 1 && name != "exempt" {
        errors.invalid(&here, precedence, "only the schema named 'exempt' may have matchingPrecedence 1");
    }
    if let Some(method) = spec.sub("distinguisherMethod")
        && !matches!(method.text("type"), "ByNamespace" | "ByUser")
    {
        let here = at.child("distinguisherMethod").child("type");
        let printed = format!(r#"{{"Type":{}}}"#, machinery::go::json(&method.text("type").into()));
        errors.push(Error::not_supported(&here, Value::Null, ["ByNamespace", "ByUser"]).printed(&printed));
    }
    let level = spec.sub("priorityLevelConfiguration").text("name");
    let here = at.child("priorityLevelConfiguration").child("name");
    if level.is_empty() {
        errors.required(&here, "must reference a priority level");
    } else {
        errors.each(&here, level, names::dns1123_subdomain(level));
    }
    for (i, rule) in spec.list("rules").iter().enumerate() {
        self::rule(rule, &at.child("rules").index(i), &mut errors);
    }
    errors
}

fn rule(rule: &Value, at: &Path, errors: &mut ErrorList) {
    if rule.list("subjects").is_empty() {
        errors.required(&at.child("subjects"), "subjects must contain at least one value");
    }
    for (i, subject) in rule.list("subjects").iter().enumerate() {
        self::subject(subject, &at.child("subjects").index(i), errors);
    }
    if rule.list("resourceRules").is_empty() && rule.list("nonResourceRules").is_empty() {
        errors.required(at, "at least one of resourceRules and nonResourceRules has to be non-empty");
    }
    for (i, rule) in rule.list("resourceRules").iter().enumerate() {
        resource_rule(rule, &at.child("resourceRules").index(i), errors);
    }
    for (i, rule) in rule.list("nonResourceRules").iter().enumerate() {
        non_resource_rule(rule, &at.child("nonResourceRules").index(i), errors);
    }
}

/// The kinds of subjects with their fields, each kind's own first in upstream's order of looking.
const SUBJECTS: [(&str, &str); 3] = [("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];

fn subject(subject: &Value, at: &Path, errors: &mut ErrorList) {
    let kind = subject.text("kind");
    let Some((_, own)) = SUBJECTS.iter().find(|(known, _)| *known == kind) else {
        return errors.unsupported(&at.child("kind"), kind, &["Group", "ServiceAccount", "User"]);
    };
    let here = at.child(own);
    match subject.sub(own) {
        None => errors.required(&here, &format!("{own} is required when subject kind is '{kind}'")),
        Some(account) if *own == "serviceAccount" => service_account(account, &here, errors),
        Some(named) if named.text("name").is_empty() => errors.required(&here.child("name"), ""),
        Some(_) => {}
    }
    for (other_kind, other) in SUBJECTS.iter().filter(|(_, field)| field != own && subject.has(field)) {
        let detail = format!("{other} is forbidden when subject kind is not '{other_kind}'");
        errors.forbidden(&at.child(other), detail);
    }
}

fn service_account(account: &Value, at: &Path, errors: &mut ErrorList) {
    match account.text("name") {
        "" => errors.required(&at.child("name"), ""),
        "*" => {}
        name => errors.each(&at.child("name"), name, names::dns1123_subdomain(name)),
    }
    match account.text("namespace") {
        "" => errors.required(&at.child("namespace"), "must specify namespace for service account"),
        namespace => errors.each(&at.child("namespace"), namespace, names::dns1123_label(namespace)),
    }
}

/// Whether a list says "all"; that it says something beside it is a fault.
fn wildcard(rule: &Value, list: &str, others: &str, at: &Path, errors: &mut ErrorList) -> bool {
    let all = rule.texts(list).any(|member| member == "*");
    if all && rule.list(list).len() > 1 {
        let detail = format!("if '*' is present, must not specify other {others}");
        errors.invalid(&at.child(list), rule.list(list).to_vec(), detail);
    }
    all
}

fn verbs(rule: &Value, at: &Path, errors: &mut ErrorList) {
    if rule.list("verbs").is_empty() {
        return errors.required(&at.child("verbs"), "verbs must contain at least one value");
    }
    if !wildcard(rule, "verbs", "verbs", at, errors) && !rule.texts("verbs").all(|verb| VERBS.contains(&verb)) {
        errors.unsupported(&at.child("verbs"), rule.list("verbs").to_vec(), &VERBS);
    }
}

fn resource_rule(rule: &Value, at: &Path, errors: &mut ErrorList) {
    verbs(rule, at, errors);
    for (list, others, one) in [("apiGroups", "api groups", "api group"), ("resources", "resources", "resource")] {
        if rule.list(list).is_empty() {
            errors.required(&at.child(list), &format!("resource rules must supply at least one {one}"));
        } else {
            wildcard(rule, list, others, at, errors);
        }
    }
    if rule.list("namespaces").is_empty() {
        if rule.flag("clusterScope") != Some(true) {
            let detail = "resource rules that are not cluster scoped must supply at least one namespace";
            errors.required(&at.child("namespaces"), detail);
        }
    } else if !wildcard(rule, "namespaces", "namespaces", at, errors) {
        for (i, namespace) in rule.texts("namespaces").enumerate() {
            let faults = names::dns1123_label(namespace).into_iter();
            let faults =
                faults.map(|fault| format!("each member of this list must be '*' or a DNS-1123 label; {fault}"));
            errors.each(&at.child("namespaces").index(i), namespace, faults.collect());
        }
    }
}

fn non_resource_rule(rule: &Value, at: &Path, errors: &mut ErrorList) {
    verbs(rule, at, errors);
    let here = at.child("nonResourceURLs");
    if rule.list("nonResourceURLs").is_empty() {
        errors.required(&here, "nonResourceURLs must contain at least one value");
    } else if !wildcard(rule, "nonResourceURLs", "non-resource URLs", at, errors) {
        for (i, url) in rule.texts("nonResourceURLs").enumerate() {
            if let Some(fault) = url_fault(url) {
                errors.invalid(&here.index(i), url, fault);
            }
        }
    }
}

fn url_fault(path: &str) -> Option<&'static str> {
    let stars = path.matches('*').count();
    Some(match path {
        "" => "must not be empty",
        "/" => return None,
        _ if !path.starts_with('/') => "must start with slash",
        _ if path.contains(' ') => "must not contain white-space",
        _ if path.contains("//") => "must not contain double slash",
        _ if stars > 1 || (stars == 1 && !path.ends_with("/*")) => "wildcard can only do suffix matching",
        _ => return None,
    })
}
