//! `anyOf`, `oneOf`, `allOf`, `not`.

use machinery::go::quote;
use serde_json::Value;

use super::fault::{Fault, Outcome};
use super::node;
use crate::parse::Schema;

pub(super) fn check(value: &Value, schema: &Schema, path: &str) -> Outcome {
    let mut out = Outcome::default();
    any(value, &schema.any_of, path, &mut out);
    one(value, &schema.one_of, path, &mut out);
    all(value, &schema.all_of, path, &mut out);
    if schema.not.as_ref().is_some_and(|not| node(value, not, path, None).valid()) {
        out.add(Fault::whole(format!("{} must not validate the schema (not)", quote(path))));
    }
    out.matches += 1;
    out
}

// Of the failures, the one that got furthest is told.
fn keep_best(best: &mut Option<Outcome>, failure: Outcome) {
    if best.as_ref().is_none_or(|b| failure.matches > b.matches) {
        *best = Some(failure);
    }
}

fn any(value: &Value, alternatives: &[Schema], path: &str, out: &mut Outcome) {
    let mut best = None;
    for alternative in alternatives {
        let result = node(value, alternative, path, None);
        if result.valid() {
            return out.merge(result);
        }
        keep_best(&mut best, result);
    }
    if let Some(best) = best {
        out.add(Fault::whole(format!("{} must validate at least one schema (anyOf)", quote(path))));
        out.merge(best);
    }
}

fn one(value: &Value, alternatives: &[Schema], path: &str, out: &mut Outcome) {
    if alternatives.is_empty() {
        return;
    }
    let (mut valid, mut first, mut best) = (0, None, None);
    for alternative in alternatives {
        let result = node(value, alternative, path, None);
        if result.valid() {
            valid += 1;
            first.get_or_insert(result);
        } else if valid == 0 {
            keep_best(&mut best, result);
        }
    }
    match (valid, first) {
        (1, Some(first)) => out.merge(first),
        (0, _) => {
            let message = format!("{} must validate one and only one schema (oneOf). Found none valid", quote(path));
            out.add(Fault::whole(message));
            if let Some(best) = best {
                out.merge(best);
            }
        }
        (n, _) => out.add(Fault::whole(format!(
            "{} must validate one and only one schema (oneOf). Found {n} valid alternatives",
            quote(path)
        ))),
    }
}

fn all(value: &Value, parts: &[Schema], path: &str, out: &mut Outcome) {
    let mut valid = 0;
    for part in parts {
        let result = node(value, part, path, None);
        valid += usize::from(result.valid());
        out.merge(result);
    }
    if valid != parts.len() {
        let more = if valid == 0 { ". None validated" } else { "" };
        out.add(Fault::whole(format!("{} must validate all the schemas (allOf){more}", quote(path))));
    }
}
