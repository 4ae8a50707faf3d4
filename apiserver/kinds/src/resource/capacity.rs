//! How much of a device's capacity a request may take, where several can share the device.

use std::collections::HashSet;

use api::rules::Here;
use machinery::field::{Error, ErrorList, Path};
use machinery::json::Fields;
use machinery::quantity::Quantity;
use serde_json::Value;

use model::check::Faults;

const OPTIONS_MAX: usize = 10;

/// A capacity's policy.
pub(super) fn policy(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let Some(policy) = here.value.sub("requestPolicy") else { return };
    let at = here.child("requestPolicy");
    if here.around("Device").and_then(|device| device.flag("allowMultipleAllocations")) != Some(true) {
        return errors.forbidden(&at, "allowMultipleAllocations must be true");
    }
    let all = here.value.quantity("value").unwrap_or_else(|| Quantity::parse("0").expect("a number"));
    let values = policy.list("validValues");
    let range = policy.sub("validRange");
    let default = policy.quantity("default");
    match (values.is_empty(), range) {
        (false, Some(_)) => errors.forbidden(
            &at,
            "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time",
        ),
        (false, None) => match default {
            None => errors.required(&at.child("default"), "required when validValues is defined"),
            Some(default) => discrete(&default, &all, values, &at.child("validValues"), errors),
        },
        (true, Some(range)) => match default {
            None => errors.required(&at.child("default"), "required when validRange is defined"),
            Some(default) => self::range(&default, &all, range, &at.child("validRange"), errors),
        },
        (true, None) => {}
    }
}

fn discrete(default: &Quantity, all: &Quantity, values: &[Value], at: &Path, errors: &mut ErrorList) {
    let values: Vec<Quantity> = values.iter().filter_map(Quantity::from_value).collect();
    for (i, pair) in values.windows(2).enumerate().filter(|(_, pair)| pair[0] > pair[1]) {
        errors.invalid(&at.index(i + 1), pair[1].to_string(), "values must be sorted in ascending order");
    }
    let mut found = false;
    if values.len() > OPTIONS_MAX {
        errors.push(Error::too_many(at, values.len(), OPTIONS_MAX));
    } else {
        for (i, value) in values.iter().enumerate() {
            if value > all {
                let detail = format!("option is larger than capacity value: {all}");
                errors.invalid(&at.index(i), value.to_string(), detail);
            }
            found |= value == default;
        }
        let mut seen = HashSet::new();
        for (i, value) in values.iter().enumerate().filter(|(_, value)| !seen.insert(value.value())) {
            errors.duplicate(&at.index(i), value.value().to_string());
        }
    }
    if !found {
        errors.invalid(at, default.to_string(), "default value is not valid according to the requestPolicy");
    }
}

fn range(default: &Quantity, all: &Quantity, range: &Value, at: &Path, errors: &mut ErrorList) {
    let Some(min) = range.quantity("min") else {
        return errors.required(&at.child("min"), "required when validRange is defined");
    };
    let max = range.quantity("max");
    if min > *all {
        errors.invalid(&at.child("min"), min.to_string(), format!("min is larger than capacity value: {all}"));
    }
    if *default < min {
        errors.invalid(&at.child("min"), default.to_string(), format!("default is less than min: {min}"));
    }
    if let Some(max) = &max {
        let at = at.child("max");
        if min > *max {
            errors.invalid(&at, min.to_string(), format!("min is larger than max: {max}"));
        }
        if max > all {
            errors.invalid(&at, max.to_string(), format!("max is larger than capacity value: {all}"));
        }
        if default > max {
            errors.invalid(&at, default.to_string(), format!("default is more than max: {max}"));
        }
    }
    let Some(step) = range.quantity("step") else { return };
    let at = at.child("step");
    let first = min.add(&step);
    if first > *all {
        errors.invalid(&at, step.to_string(), format!("one step {first} is larger than capacity value: {all}"));
    }
    for value in [Some(default), max.as_ref()].into_iter().flatten() {
        // (A step of zero divides nothing.)
        if (value.value() - min.value()).checked_rem(step.value()) != Some(0) {
            let detail = format!("value is not a multiple of a given step ({step}) from ({min})");
            errors.invalid(&at, value.to_string(), detail);
        }
    }
}
