//! PriorityLevelConfigurations: how many requests of a level run at once, and what becomes of the others.

use std::sync::LazyLock;

use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::meta;
use serde_json::Value;

use super::{mandatory, status, whole_spec};
use model::check::{Faults, keep, same};
use writes::strategy::{Strategy, WriteContext};

#[cfg(test)]
mod tests;

const PRESERVE_ZERO: &str = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares";
const MAX_QUEUES: i64 = 10_000_000;
/// What a request's hash has for dealing hands (`shufflesharding.MaxHashBits`).
const MAX_HASH_BITS: i64 = 60;

static MANDATORY: LazyLock<Vec<(String, Value)>> =
    LazyLock::new(|| mandatory(super::PRIORITY_LEVELS, "PriorityLevelConfiguration"));

/// PriorityLevelConfigurations.
pub struct PriorityLevels;

impl Strategy for PriorityLevels {
    fn validate(&self, _: &WriteContext<'_>, level: &Value) -> ErrorList {
        validate(level)
    }

    fn validate_update(&self, cx: &WriteContext<'_>, level: &Value, _: &Value) -> ErrorList {
        if cx.subresource == Some("status") { status(level) } else { validate(level) }
    }
}

pub(super) fn validate(level: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    if meta::annotation(level, PRESERVE_ZERO).is_some() {
        let at = Path::new("metadata").child("annotations");
        errors.forbidden(&at, format!("annotation '{PRESERVE_ZERO}' is forbidden"));
    }
    let (name, spec) = (meta::name(level), &level["spec"]);
    self::spec(name, spec, &mut errors);
    if let Some(detail) = changed(name, spec) {
        errors.push(whole_spec(spec, "PriorityLevelConfigurationSpec", detail));
    }
    errors.extend(status(level));
    errors
}

/// What is wrong with the spec of a level that every cluster has.
fn changed(name: &str, spec: &Value) -> Option<String> {
    let (_, wanted) = MANDATORY.iter().find(|(fixed, _)| fixed == name)?;
    if name != "exempt" {
        return (!same(Some(wanted), Some(spec))).then(|| format!("spec of '{name}' must equal the fixed value"));
    }
    let mut have = spec.clone();
    keep(&mut have, wanted, "exempt");
    (!same(Some(wanted), Some(&have)))
        .then(|| format!("spec of '{name}' except the 'spec.exempt' field must equal the fixed value"))
}

fn spec(name: &str, spec: &Value, errors: &mut ErrorList) {
    let at = Path::new("spec");
    let kind = spec.text("type");
    if (name == "exempt") != (kind == "Exempt") {
        errors.invalid(&at.child("type"), kind, "must be 'Exempt' if and only if `name` is 'exempt'");
    }
    let (limited, exempt) = (spec.sub("limited"), spec.sub("exempt"));
    match kind {
        "Exempt" => {
            if limited.is_some() {
                errors.forbidden(&at.child("limited"), "must be nil if the type is not Limited");
            }
            if let Some(exempt) = exempt {
                shares(exempt, &at.child("exempt"), errors);
                percent(exempt, &at.child("exempt"), errors);
            }
        }
        "Limited" => {
            if exempt.is_some() {
                errors.forbidden(&at.child("exempt"), "must be nil if the type is Limited");
            }
            match limited {
                None => errors.required(&at.child("limited"), "must not be empty when type is Limited"),
                Some(limited) => self::limited(limited, &at.child("limited"), errors),
            }
        }
        _ => errors.unsupported(&at.child("type"), kind, &["Exempt", "Limited"]),
    }
}

fn shares(level: &Value, at: &Path, errors: &mut ErrorList) {
    if let Some(shares) = level.int("nominalConcurrencyShares").filter(|shares| *shares < 0) {
        errors.invalid(&at.child("nominalConcurrencyShares"), shares, "must be a non-negative integer");
    }
}

fn percent(level: &Value, at: &Path, errors: &mut ErrorList) {
    if let Some(percent) = level.int("lendablePercent").filter(|percent| !(0..=100).contains(percent)) {
        errors.invalid(&at.child("lendablePercent"), percent, "must be between 0 and 100, inclusive");
    }
}

fn limited(limited: &Value, at: &Path, errors: &mut ErrorList) {
    shares(limited, at, errors);
    let (response, here) = (limited.sub("limitResponse"), at.child("limitResponse"));
    let (kind, queuing) = (response.text("type"), response.sub("queuing"));
    match (kind, queuing) {
        ("Reject", None) => {}
        ("Reject", Some(_)) => {
            let detail = "must be nil if limited.limitResponse.type is not Limited";
            errors.forbidden(&here.child("queuing"), detail);
        }
        ("Queue", None) => {
            let detail = "must not be empty if limited.limitResponse.type is Limited";
            errors.required(&here.child("queuing"), detail);
        }
        ("Queue", Some(queuing)) => self::queuing(queuing, &here.child("queuing"), errors),
        _ => errors.unsupported(&here.child("type"), kind, &["Queue", "Reject"]),
    }
    percent(limited, at, errors);
    if let Some(percent) = limited.int("borrowingLimitPercent").filter(|percent| *percent < 0) {
        let detail = "if specified, must be a non-negative integer";
        errors.invalid(&at.child("borrowingLimitPercent"), percent, detail);
    }
}

fn queuing(queuing: &Value, at: &Path, errors: &mut ErrorList) {
    let [length, queues, hand] =
        ["queueLengthLimit", "queues", "handSize"].map(|field| queuing.int(field).unwrap_or(0));
    if length <= 0 {
        errors.invalid(&at.child("queueLengthLimit"), length, "must be positive");
    }
    if queues <= 0 {
        errors.invalid(&at.child("queues"), queues, "must be positive");
    } else if queues > MAX_QUEUES {
        errors.invalid(&at.child("queues"), queues, format!("must not be greater than {MAX_QUEUES}"));
    }
    let at = at.child("handSize");
    if hand <= 0 {
        errors.invalid(&at, hand, "must be positive");
    } else if hand > queues {
        errors.invalid(&at, hand, format!("should not be greater than queues ({queues})"));
    } else if entropy_bits(queues, hand) > MAX_HASH_BITS {
        let detail = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {MAX_HASH_BITS}"
        );
        errors.invalid(&at, hand, detail);
    }
}

/// How much of a hash dealing a hand takes (`shufflesharding.RequiredEntropyBits`).
fn entropy_bits(queues: i64, hand: i64) -> i64 {
    ((queues as f64).log2() * hand as f64).ceil() as i64
}
