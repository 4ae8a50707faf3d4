//! Rules when they are defined: do they compile, and what could they cost (`validation/cel_validation.go`).

use cel::Program;
use cel::types::Type;
use machinery::field::{Error, ErrorList, Path};

use super::{OLD_SELF, decl, variables};
use crate::definition::rule_fault;
use crate::parse::{Rule, Schema};

/// Of one expression, times as often as it can be evaluated for one object.
const EXPRESSION_LIMIT: u64 = 10_000_000;
/// The most that all rules of one schema may cost.
const SCHEMA_LIMIT: u64 = 100_000_000;

/// What is known of a node: how often there can be values of it, where that is bounded.
#[derive(Clone, Copy)]
pub(crate) struct Scope {
    times: Option<u64>,
    root: bool,
}

impl Scope {
    pub(crate) const ROOT: Self = Scope { times: Some(1), root: true };

    /// Of a node directly below this schema's.
    pub(crate) fn below(self, schema: &Schema) -> Self {
        let most = |max: Option<i64>| max.map(|n| u64::try_from(n).unwrap_or(0));
        let elements = match schema.ty.as_str() {
            "object" if schema.additional.is_some() => most(schema.max_properties),
            "array" => most(schema.max_items),
            _ => Some(1),
        };
        let times = self.times.zip(elements).map(|(a, b)| a.saturating_mul(b));
        Scope { times, root: false }
    }
}

/// The costs of a schema's expressions.
#[derive(Default)]
pub(crate) struct Costs {
    total: u64,
    /// The four worst of those that matter.
    worst: Vec<(Path, u64)>,
    /// Whether single expressions may be too expensive, because they were there before.
    forgiving: bool,
}

fn exceeds(what: &str, cost: u64, limit: u64) -> String {
    let times = cost as f64 / limit as f64;
    let factor = if times > 100.0 {
        "more than 100x".to_owned()
    } else if times < 1.5 {
        format!("{times:.6}x")
    } else {
        format!("{times:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}

impl Costs {
    pub(crate) fn new(forgiving: bool) -> Self {
        Self { forgiving, ..Self::default() }
    }

    fn observe(&mut self, path: Path, cost: u64) {
        self.total = self.total.saturating_add(cost);
        if cost >= SCHEMA_LIMIT / 100 {
            self.worst.push((path, cost));
            self.worst.sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
            self.worst.truncate(4);
        }
    }

    /// Faults of the sum.
    pub(crate) fn total_faults(&self, path: &Path) -> ErrorList {
        if self.total <= SCHEMA_LIMIT {
            return ErrorList::new();
        }
        let detail = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
        let mut errors: ErrorList = self.worst.iter().map(|(at, _)| Error::forbidden(at, detail)).collect();
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.push(Error::forbidden(path, exceeds(what, self.total, SCHEMA_LIMIT)));
        errors
    }
}

/// Faults of a node's rules; `path` is of their list.
pub(crate) fn validate(
    schema: &Schema,
    scope: Scope,
    costs: &mut Costs,
    uncorrelated: Option<&Path>,
    path: &Path,
    errors: &mut ErrorList,
) {
    let Some(decl) = decl::of(schema, scope.root || schema.embedded) else {
        let detail = "internal error: failed to construct type information for x-kubernetes-validations rules: unable to convert structural schema to CEL declarations";
        return errors.push(Error::internal(path, detail));
    };
    let times = scope.times.unwrap_or(decl::MAX_REQUEST_BYTES / (decl.min_bytes + 1));
    for (i, rule) in schema.rules.iter().enumerate() {
        one(rule, &decl.ty, times, costs, uncorrelated, &path.index(i), errors);
    }
}

fn one(
    rule: &Rule,
    ty: &Type,
    times: u64,
    costs: &mut Costs,
    uncorrelated: Option<&Path>,
    path: &Path,
    errors: &mut ErrorList,
) {
    let at = path.child("rule");
    let variables = variables(ty, rule);
    let compiled = Program::compile(&rule.rule, &variables).map_err(|issues| format!("compilation failed: {issues}"));
    let compiled = compiled.and_then(|program| match program.result {
        Type::Bool => Ok(program),
        _ => Err("cel expression must evaluate to a bool".to_owned()),
    });
    let mut count = |cost: u64, what: &str, at: Path, costs: &mut Costs, errors: &mut ErrorList| {
        if !costs.forgiving && cost > EXPRESSION_LIMIT {
            errors.push(Error::forbidden(&at, exceeds(what, cost, EXPRESSION_LIMIT)));
        }
        costs.observe(at, cost);
    };
    let uses_old = match &compiled {
        Ok(program) => {
            let cost = program.max_cost.saturating_mul(times);
            count(cost, "estimated rule cost", at.clone(), costs, errors);
            message(rule, &variables, costs, path, &mut count, errors);
            program.uses(OLD_SELF)
        }
        Err(fault) => {
            errors.push(rule_fault(&at, rule, fault));
            false
        }
    };
    match (uses_old, uncorrelated) {
        (true, Some(within)) => {
            let detail = format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {within}");
            errors.push(Error::invalid(&at, rule.rule.as_str(), detail));
        }
        (false, _) => {
            if let Some(optional) = rule.optional_old_self {
                let detail = "may not be set if oldSelf is not used in rule";
                errors.push(Error::invalid(&path.child("optionalOldSelf"), optional, detail));
            }
        }
        _ => {}
    }
}

fn message(
    rule: &Rule,
    variables: &[(String, Type)],
    costs: &mut Costs,
    path: &Path,
    count: &mut dyn FnMut(u64, &str, Path, &mut Costs, &mut ErrorList),
    errors: &mut ErrorList,
) {
    if rule.message_expression.is_empty() {
        return;
    }
    let at = path.child("messageExpression");
    let fault = match Program::compile(&rule.message_expression, variables) {
        Err(issues) => format!("messageExpression compilation failed: {issues}"),
        Ok(program) if !matches!(program.result, Type::String(_)) => {
            "messageExpression must evaluate to a string".to_owned()
        }
        Ok(program) => return count(program.max_cost, "estimated messageExpression cost", at, costs, errors),
    };
    errors.push(rule_fault(&at, rule, &fault));
}
