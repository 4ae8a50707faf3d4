//! Rules of schemas (`x-kubernetes-validations`; `apiserver/schema/cel`): compiled once for a version, tried on each write.

use std::collections::BTreeMap;
use std::sync::Arc;

use cel::value::Value as Cel;
use cel::{EvalError, Program};
use machinery::field::{Error, ErrorList, Path};
use serde_json::Value;

use super::correlate::{Correlated, find};
use super::definition::valid_field_path;
use super::parse::{Rule, Schema};

mod bind;
mod decl;
mod define;
#[cfg(test)]
mod tests;

pub(super) use define::{Costs, Scope, validate};

/// What all rules of one object may cost together.
const BUDGET: i64 = 10_000_000;
/// The longest message that an expression may make.
const MAX_MESSAGE_BYTES: usize = 5 * 1024;

/// The rules of a node and of those below it; there is one where there are rules.
#[derive(Debug)]
pub(super) struct Rules {
    own: Vec<Compiled>,
    /// Whether the node is a resource, whose metadata rules may read.
    resource: bool,
    properties: BTreeMap<String, Rules>,
    /// Of elements, or of other entries.
    elements: Option<Box<Rules>>,
}

/// One rule, understood.
#[derive(Debug)]
struct Compiled {
    rule: Result<Program, String>,
    message: Option<Program>,
    /// Where faults are told, below the node; may be empty.
    path: String,
    uses_old: bool,
}

const SELF: &str = "self";
const OLD_SELF: &str = "oldSelf";

/// Variables of a rule. The error is what makes the type of the data impossible to say.
fn variables(ty: &cel::types::Type, rule: &Rule) -> Vec<(String, cel::types::Type)> {
    let old = match rule.optional_old_self {
        Some(true) => cel::types::Type::Optional(Arc::new(ty.clone())),
        _ => ty.clone(),
    };
    vec![(SELF.to_owned(), ty.clone()), (OLD_SELF.to_owned(), old)]
}

impl Rules {
    /// Of a schema; None where it has no rules.
    pub(super) fn of(schema: &Schema, resource: bool) -> Option<Self> {
        if !schema.any(&|s| !s.rules.is_empty()) {
            return None;
        }
        let own = match (schema.rules.is_empty(), decl::of(schema, resource)) {
            (true, _) | (_, None) => Vec::new(),
            (false, Some(decl)) => schema.rules.iter().map(|rule| compile(schema, rule, &decl.ty)).collect(),
        };
        let properties: BTreeMap<String, Rules> = schema
            .properties
            .iter()
            .filter_map(|(name, field)| Some((name.clone(), Rules::of(field, field.embedded)?)))
            .collect();
        let element = schema.item().or_else(|| schema.other());
        let elements = element.and_then(|e| Rules::of(e, e.embedded)).map(Box::new);
        let any = !own.is_empty() || !properties.is_empty() || elements.is_some();
        any.then_some(Self { own, resource, properties, elements })
    }

    /// Faults of a value. With an old one, what did not change may break rules that do not compare the two.
    pub(super) fn validate(
        &self,
        value: &Value,
        old: Option<&Value>,
        ratchet: bool,
        schema: &Schema,
        path: &Path,
    ) -> Found {
        let mut run = Run { found: Found::default(), budget: BUDGET };
        let current = old.filter(|_| ratchet).map(|old| Correlated { new: value, old, schema });
        run.node(self, value, old, schema, Ratchet { current, parent: None }, path);
        run.found
    }
}

/// What rules said.
#[derive(Default)]
pub(super) struct Found {
    pub errors: ErrorList,
    /// Of unchanged parts, which may break them.
    pub forgiven: Vec<String>,
}

fn compile(schema: &Schema, rule: &Rule, ty: &cel::types::Type) -> Compiled {
    let variables = variables(ty, rule);
    let program = Program::compile(&rule.rule, &variables);
    let message = (!rule.message_expression.is_empty())
        .then(|| Program::compile(&rule.message_expression, &variables).ok())
        .flatten();
    let path = if rule.field_path.is_empty() { None } else { valid_field_path(&rule.field_path, schema, true).ok() };
    let uses_old = program.as_ref().is_ok_and(|p| p.uses(OLD_SELF));
    Compiled { rule: program, message, path: path.map(|(path, _)| path).unwrap_or_default(), uses_old }
}

/// Faults of a default: as a value that was there before, and as a new one.
pub(super) fn validate_default(value: &Value, schema: &Schema, resource: bool, path: &Path) -> ErrorList {
    let Some(rules) = Rules::of(schema, resource) else { return ErrorList::new() };
    let errors = rules.validate(value, Some(value), false, schema, path).errors;
    if errors.is_empty() { rules.validate(value, None, false, schema, path).errors } else { errors }
}

/// What a node's faults are forgiven by: itself, or the nearest node above that has an old value.
#[derive(Clone, Copy)]
struct Ratchet<'a> {
    current: Option<Correlated<'a>>,
    parent: Option<Correlated<'a>>,
}

impl<'a> Ratchet<'a> {
    fn key(self, name: &str) -> Self {
        match self.current {
            None => self,
            // The version of an object is never unchanged.
            Some(_) if self.parent.is_none() && (name == "apiVersion" || name == "kind") => {
                Ratchet { current: None, parent: None }
            }
            Some(current) => Ratchet { current: current.key(name), parent: Some(current) },
        }
    }

    fn index(self, index: usize) -> Self {
        match self.current {
            None => self,
            Some(current) => Ratchet { current: current.index(index), parent: Some(current) },
        }
    }

    fn forgives(self) -> bool {
        self.current.or(self.parent).is_some_and(|c| c.unchanged())
    }
}

struct Run {
    found: Found,
    /// What is left; negative when no more rules are tried.
    budget: i64,
}

impl Run {
    fn node(
        &mut self,
        rules: &Rules,
        value: &Value,
        old: Option<&Value>,
        schema: &Schema,
        ratchet: Ratchet<'_>,
        path: &Path,
    ) {
        if value.is_null() || self.budget < 0 {
            return;
        }
        let old = old.filter(|old| !old.is_null());
        self.own(rules, value, old, schema, ratchet, path);
        match value {
            Value::Object(map) => {
                for (name, inner) in map {
                    let old = old.and_then(|old| old.get(name));
                    if let (Some(rules), Some(field)) = (rules.properties.get(name), schema.properties.get(name)) {
                        self.node(rules, inner, old, field, ratchet.key(name), &path.child(name));
                    } else if let (Some(rules), Some(other)) = (&rules.elements, schema.other()) {
                        self.node(rules, inner, old, other, ratchet.key(name), &path.key(name));
                    }
                }
            }
            Value::Array(items) => {
                let (Some(rules), Some(item)) = (&rules.elements, schema.item()) else { return };
                let old = old.and_then(Value::as_array).filter(|_| schema.is_map_list());
                for (i, inner) in items.iter().enumerate() {
                    let old = old.and_then(|old| find(old, inner, schema));
                    self.node(rules, inner, old, item, ratchet.index(i), &path.index(i));
                }
            }
            _ => {}
        }
    }

    fn own(
        &mut self,
        rules: &Rules,
        value: &Value,
        old: Option<&Value>,
        schema: &Schema,
        ratchet: Ratchet<'_>,
        path: &Path,
    ) {
        if rules.own.is_empty() || self.budget < 0 {
            return;
        }
        let ty = schema.ty.as_str();
        if self.budget == 0 {
            return self.stop(out_of_budget(path, ty));
        }
        let this = bind::value(value, schema, rules.resource);
        let old = old.map(|old| bind::value(old, schema, rules.resource));
        for (compiled, rule) in rules.own.iter().zip(&schema.rules) {
            if rule.rule.trim().is_empty() {
                continue;
            }
            let program = match &compiled.rule {
                Ok(program) => program,
                Err(fault) => {
                    let detail = format!("rule compile error: compilation failed: {fault}");
                    self.found.errors.push(Error::invalid(path, ty, detail));
                    continue;
                }
            };
            let optional = rule.optional_old_self == Some(true);
            if compiled.uses_old && old.is_none() && !optional {
                continue;
            }
            let before = if optional { Some(Cel::Optional(old.clone().map(Arc::new))) } else { old.clone() };
            let given = || [(SELF, Some(this.clone())), (OLD_SELF, before.clone())];
            let bound = || given().into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
            let (outcome, cost) = program.run(bound());
            if !self.spend(cost) {
                return self.stop(out_of_budget(path, ty));
            }
            match outcome {
                Ok(Cel::Bool(true)) => {}
                Ok(_) => {
                    let message = compiled.message.as_ref().map(|message| message.run(bound()));
                    let forgiven = !compiled.uses_old && ratchet.forgives();
                    self.broken(compiled, rule, message, value, ty, forgiven, path);
                }
                Err(error) => {
                    let shown = shown(rule);
                    let detail = match &error {
                        EvalError::Cost => {
                            let detail = format!(
                                "'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {shown}"
                            );
                            return self.stop(Error::invalid(path, ty, detail));
                        }
                        EvalError::Fault(text) if text.starts_with("no such overload") => format!(
                            "'{error}': call arguments did not match a supported operator, function or macro signature for rule: {shown}"
                        ),
                        EvalError::Fault(_) => format!("{error} evaluating rule: {shown}"),
                    };
                    self.found.errors.push(Error::invalid(path, ty, detail));
                }
            }
            if self.budget < 0 {
                return;
            }
        }
    }

    fn spend(&mut self, cost: u64) -> bool {
        let cost = i64::try_from(cost).unwrap_or(i64::MAX);
        let enough = cost <= self.budget;
        self.budget = self.budget.saturating_sub(cost);
        enough
    }

    fn stop(&mut self, error: Error) {
        self.found.errors.push(error);
        self.budget = -1;
    }

    #[allow(clippy::too_many_arguments)]
    fn broken(
        &mut self,
        compiled: &Compiled,
        rule: &Rule,
        message: Option<(Result<Cel, EvalError>, u64)>,
        value: &Value,
        ty: &str,
        forgiven: bool,
        path: &Path,
    ) {
        let at = if compiled.path.is_empty() { path.clone() } else { path.child(&compiled.path) };
        let mut said = None;
        if let Some((outcome, cost)) = message {
            if !self.spend(cost) {
                let detail = "messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run";
                return self.stop(Error::invalid(&at, ty, detail));
            }
            match outcome {
                Err(EvalError::Cost) => {
                    let expression = machinery::go::quote(&rule.message_expression);
                    let detail = format!(
                        "no further validation rules will be run due to call cost exceeds limit for messageExpression: {expression}"
                    );
                    return self.stop(Error::invalid(&at, ty, detail));
                }
                Ok(Cel::String(text)) => {
                    let text = text.trim();
                    let fits = !text.is_empty() && text.len() <= MAX_MESSAGE_BYTES && !text.contains('\n');
                    said = fits.then(|| text.to_owned());
                }
                _ => {}
            }
        }
        let detail = said.unwrap_or_else(|| {
            if rule.message.is_empty() {
                format!("failed rule: {}", shown(rule))
            } else {
                rule.message.trim().to_owned()
            }
        });
        let mut error = match rule.reason.as_deref() {
            Some("FieldValueForbidden") => Error::forbidden(&at, detail),
            Some("FieldValueRequired") => Error::required(&at, detail),
            Some("FieldValueDuplicate") => Error::duplicate(&at, value.clone()),
            _ => Error::invalid(&at, value.clone(), detail),
        };
        if ty == "object" || ty == "array" {
            error.bad_value = None;
        }
        match forgiven {
            true => self.found.forgiven.push(error.to_string()),
            false => self.found.errors.push(error),
        }
    }
}

fn out_of_budget(path: &Path, ty: &str) -> Error {
    let detail = "validation failed due to running out of cost budget, no further validation rules will be run";
    Error::invalid(path, ty, detail)
}

fn shown(rule: &Rule) -> &str {
    if rule.message.is_empty() { rule.rule.trim() } else { rule.message.trim() }
}
