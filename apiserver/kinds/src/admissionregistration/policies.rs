//! Admission policies: what they match, their variables, and what they validate, note or change.

use machinery::field::{ErrorList, Path};
use machinery::gvk::GroupVersion;
use machinery::json::Fields;
use machinery::{meta, names};
use serde_json::Value;

use super::expressions::{self, Sight, Variables, Wanted};
use super::{FAILURE_POLICIES, REINVOCATION_POLICIES, conditions, matching};
use cel::types::Type;
use model::check::{Faults, same};

const MOST_ANNOTATIONS: usize = 20;
const MOST_ANNOTATION_BYTES: usize = 5 * 1024;

pub(super) fn validating(policy: &Value, old: Option<&Value>) -> ErrorList {
    let (spec, at) = (&policy["spec"], Path::new("spec"));
    let mut errors = ErrorList::new();
    common(spec, old, &at, false, &mut errors);
    let given = spec.list("variables");
    let variables = self::variables(spec, &at, &mut errors);
    let sight = Sight {
        params: spec.has("paramKind"),
        variables: (!given.is_empty()).then_some(&variables),
        ..Sight::AUTHORIZER
    };
    let (validations, annotations) = (spec.list("validations"), spec.list("auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        for field in ["validations", "auditAnnotations"] {
            errors.required(&at.child(field), "validations or auditAnnotations must contain at least one item");
        }
        return errors;
    }
    for (i, validation) in validations.iter().enumerate() {
        self::validation(validation, sight, &at.child("validations").index(i), &mut errors);
    }
    let at = at.child("auditAnnotations");
    if annotations.len() > MOST_ANNOTATIONS {
        let detail = format!("must not have more than {MOST_ANNOTATIONS} auditAnnotations");
        let ty = api::schema::named("admissionregistration.v1", "AuditAnnotation").expect("the table has the type");
        let printed = api::internal::show_list(spec.get("auditAnnotations"), ty);
        errors.push(machinery::field::Error::invalid(&at, Value::Null, detail).printed(&printed));
    }
    for (i, annotation) in annotations.iter().enumerate() {
        let (at, key) = (at.index(i), annotation.text("key"));
        audit_annotation(annotation, meta::name(policy), sight, &at, &mut errors);
        if annotations[..i].iter().any(|earlier| earlier.text("key") == key) {
            errors.duplicate(&at.child("key"), key);
        }
    }
    errors
}

pub(super) fn mutating(policy: &Value, old: Option<&Value>) -> ErrorList {
    let (spec, at) = (&policy["spec"], Path::new("spec"));
    let mut errors = ErrorList::new();
    common(spec, old, &at, true, &mut errors);
    let variables = self::variables(spec, &at, &mut errors);
    let params = spec.has("paramKind");
    let sight = Sight { params, made: true, variables: Some(&variables), ..Sight::AUTHORIZER };
    if spec.list("mutations").is_empty() {
        errors.required(&at.child("mutations"), "mutations must contain at least one item");
    }
    for (i, mutation) in spec.list("mutations").iter().enumerate() {
        self::mutation(mutation, sight, &at.child("mutations").index(i), &mut errors);
    }
    errors.one_of(&at.child("reinvocationPolicy"), spec.text("reinvocationPolicy"), &REINVOCATION_POLICIES);
    errors
}

/// What both sorts of policies have, up to their variables.
fn common(spec: &Value, old: Option<&Value>, at: &Path, mutating: bool, errors: &mut ErrorList) {
    match spec.sub("failurePolicy").and_then(Value::as_str) {
        None => errors.required(&at.child("failurePolicy"), ""),
        Some(policy) if FAILURE_POLICIES.contains(&policy) => {}
        Some(policy) => errors.unsupported(&at.child("failurePolicy"), policy, &FAILURE_POLICIES),
    }
    if let Some(kind) = spec.sub("paramKind") {
        param_kind(kind, &at.child("paramKind"), errors);
    }
    let here = at.child("matchConstraints");
    match spec.sub("matchConstraints") {
        None => errors.required(&here, ""),
        Some(matches) => {
            matching::resources_of(matches, &here, errors);
            if matches.list("resourceRules").is_empty() {
                errors.required(&here.child("resourceRules"), "");
            }
            if mutating {
                matching::mutable_operations(matches, &here, errors);
            }
        }
    }
    let unchanged = |old: &Value| {
        ["paramKind", "matchConditions"].iter().all(|field| same(spec.sub(field), old["spec"].sub(field)))
    };
    if !old.is_some_and(unchanged) {
        let sight = Sight { params: spec.has("paramKind"), ..Sight::AUTHORIZER };
        conditions::validate(spec, sight, at, errors);
    }
}

fn param_kind(kind: &Value, at: &Path, errors: &mut ErrorList) {
    let (version, name) = (kind.text("apiVersion"), kind.text("kind"));
    let here = at.child("apiVersion");
    match GroupVersion::parse(version) {
        _ if version.is_empty() => errors.required(&here, ""),
        Err(fault) => errors.invalid(&here, version, fault),
        Ok(parsed) => {
            let mut joined = |text: &str, faults: Vec<String>| {
                if !faults.is_empty() {
                    errors.invalid(&here, text, faults.join(","));
                }
            };
            if !parsed.group.is_empty() {
                joined(&parsed.group, names::dns1123_subdomain(&parsed.group));
            }
            match parsed.version.as_str() {
                "" => errors.invalid(&here, version, "version must be specified"),
                part => joined(part, names::dns1035_label(part)),
            }
        }
    }
    let faults = names::dns1035_label(&name.to_lowercase());
    if name.is_empty() {
        errors.required(&at.child("kind"), "");
    } else if !faults.is_empty() {
        let detail = format!("may have mixed case, but should otherwise match: {}", faults.join(","));
        errors.invalid(&at.child("kind"), name, detail);
    }
}

/// Checks the variables, and gives their types: of those that are not understood anything may come.
fn variables(spec: &Value, at: &Path, errors: &mut ErrorList) -> Variables {
    let mut known = Variables::new();
    for (i, variable) in spec.list("variables").iter().enumerate() {
        let at = at.child("variables").index(i);
        let (name, expression) = (variable.text("name"), variable.text("expression"));
        if name.trim().is_empty() {
            errors.required(&at.child("name"), "name is not specified");
        } else if !is_identifier(name) {
            errors.invalid(&at.child("name"), name, "must be a valid CEL identifier");
        }
        if expression.trim().is_empty() {
            errors.required(&at.child("expression"), "expression is not specified");
            continue;
        }
        let sight = Sight { params: spec.has("paramKind"), variables: Some(&known), ..Sight::AUTHORIZER };
        let ty = match expressions::compile(expression, sight, Wanted::Any) {
            Ok(program) => expressions::of_variable(&program.result),
            Err(fault) => {
                errors.invalid(&at.child("expression"), expression, fault);
                Type::ANY
            }
        };
        known.insert(name.to_owned(), ty);
    }
    known
}

fn is_identifier(name: &str) -> bool {
    const RESERVED: [&str; 21] = [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "false",
        "for",
        "function",
        "if",
        "import",
        "in",
        "let",
        "loop",
        "namespace",
        "null",
        "package",
        "return",
        "true",
        "var",
        "void",
        "while",
    ];
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit()) && !RESERVED.contains(&name)
}

fn validation(validation: &Value, sight: Sight<'_>, at: &Path, errors: &mut ErrorList) {
    let text = |field: &str| (validation.text(field), validation.text(field).trim(), at.child(field));
    let (expression, trimmed, here) = text("expression");
    if trimmed.is_empty() {
        errors.required(&here, "expression is not specified");
    } else {
        expressions::check(expression, sight, Wanted::Bool, &here, errors);
    }
    let (expression, trimmed, here) = text("messageExpression");
    if !trimmed.is_empty() {
        let sight = Sight { authorizer: false, ..sight };
        expressions::check(expression, sight, Wanted::String, &here, errors);
    } else if !expression.is_empty() {
        errors.invalid(&here, expression, "must be non-empty if specified");
    }
    let (message, trimmed, here) = text("message");
    if !message.is_empty() && trimmed.is_empty() {
        errors.invalid(&here, message, "must be non-empty if specified");
    } else if trimmed.contains(['\n', '\r']) {
        errors.invalid(&here, message, "must not contain line breaks");
    }
    const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
    if let Some(reason) = validation.sub("reason").and_then(Value::as_str).filter(|reason| !REASONS.contains(reason)) {
        errors.unsupported(&at.child("reason"), reason, &REASONS);
    }
}

fn audit_annotation(annotation: &Value, policy: &str, sight: Sight<'_>, at: &Path, errors: &mut ErrorList) {
    let key = annotation.text("key");
    if policy.is_empty() {
        errors.invalid(&at.child("key"), key, "requires metadata.name be non-empty");
    } else {
        let whole = format!("{policy}/{key}");
        errors.each(&at.child("key"), &whole, names::qualified_name(&whole));
    }
    let (expression, at) = (annotation.text("valueExpression"), at.child("valueExpression"));
    let trimmed = expression.trim();
    if trimmed.is_empty() {
        errors.required(&at, "valueExpression is not specified");
    } else if trimmed.len() > MOST_ANNOTATION_BYTES {
        errors.required(&at, &format!("must not exceed {MOST_ANNOTATION_BYTES} bytes in length"));
    } else if let Err(fault) = expressions::compile(trimmed, sight, Wanted::StringOrNull) {
        errors.invalid(&at, expression, fault);
    }
}

/// The types of patches with their fields.
const PATCHES: [(&str, &str, Wanted); 2] =
    [("ApplyConfiguration", "applyConfiguration", Wanted::Object), ("JSONPatch", "jsonPatch", Wanted::Patches)];

fn mutation(mutation: &Value, sight: Sight<'_>, at: &Path, errors: &mut ErrorList) {
    let kind = mutation.text("patchType");
    errors.one_of(&at.child("patchType"), kind, &PATCHES.map(|(known, ..)| known));
    let Some((_, own, wanted)) = PATCHES.into_iter().find(|(known, ..)| *known == kind) else { return };
    let here = at.child(own);
    match mutation.sub(own).map(|patch| patch.text("expression").trim()) {
        None => errors.required(&here, &format!("must be specified when patchType is {kind}")),
        Some("") => errors.required(&here.child("expression"), ""),
        Some(expression) => expressions::check(expression, sight, wanted, &here.child("expression"), errors),
    }
    for (_, other, _) in PATCHES.into_iter().filter(|(_, field, _)| *field != own && mutation.has(field)) {
        let detail = format!("must not be specified when patchType is {kind}");
        errors.invalid(&at.child(other), format!("{{{other}}}"), detail);
    }
}
