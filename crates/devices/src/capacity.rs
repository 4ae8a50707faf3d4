//! Amounts of a shared device: what a claim that asks for some is given, and whether that is still there.
//!
//! Upstream: `structured/internal/incubating/consumable_capacity.go`.

use machinery::quantity::{Format, Quantity};

use crate::inventory::{Amounts, Capacity, Device, Policy, Range};

/// Whether a device can give what is asked for, beside what was given of it and is about to be. A device that lacks an
/// amount that is asked for cannot.
pub(crate) fn fits(
    asked: Option<&Amounts>,
    device: &Device,
    given: Option<&Amounts>,
    about_to_be: Option<&Amounts>,
) -> bool {
    let known = |name: &String| device.capacity.contains_key(name);
    asked.into_iter().flatten().all(|(name, _)| known(name))
        && device.capacity.iter().all(|(name, capacity)| {
            let consumed = consumed(asked.and_then(|asked| asked.get(name)), capacity);
            let others = [given, about_to_be].into_iter().filter_map(|amounts| amounts?.get(name));
            let sum = others.fold(consumed.clone(), |sum, other| sum.add(other));
            !capacity.policy.as_ref().is_some_and(|policy| violates(&consumed, policy)) && sum <= capacity.value
        })
}

/// What is consumed of each amount of a device.
pub(crate) fn all_consumed(asked: Option<&Amounts>, device: &Device) -> Amounts {
    let consumed = |(name, capacity): (&String, &Capacity)| {
        (name.clone(), consumed(asked.and_then(|asked| asked.get(name)), capacity))
    };
    device.capacity.iter().map(consumed).collect()
}

/// What is asked for, rounded up to what can be given; without a wish the default, or all.
fn consumed(asked: Option<&Quantity>, capacity: &Capacity) -> Quantity {
    let policy = capacity.policy.as_ref();
    let Some(asked) = asked else {
        return policy.and_then(|policy| policy.default.clone()).unwrap_or_else(|| capacity.value.clone());
    };
    match policy {
        Some(Policy { range: Some(range), .. }) => round_up(asked, range),
        Some(Policy { values, .. }) => values.iter().find(|value| asked <= *value).unwrap_or(asked).clone(),
        None => asked.clone(),
    }
}

fn round_up(asked: &Quantity, range: &Range) -> Quantity {
    if *asked < range.min {
        return range.min.clone();
    }
    let Some(step) = step(range) else { return asked.clone() };
    let min = range.min.value();
    let beyond = asked.value().saturating_sub(min);
    let steps = beyond / step + i64::from(beyond % step != 0);
    Quantity::new(min.saturating_add(step.saturating_mul(steps)), Format::BinarySi)
}

fn step(range: &Range) -> Option<i64> {
    range.step.as_ref().map(Quantity::value).filter(|step| *step > 0)
}

fn violates(consumed: &Quantity, policy: &Policy) -> bool {
    if policy.default.as_ref() == Some(consumed) {
        return false;
    }
    match &policy.range {
        Some(range) => {
            let off_step = |step: i64| consumed.value().saturating_sub(range.min.value()) % step != 0;
            range.max.as_ref().is_some_and(|max| consumed > max) || step(range).is_some_and(off_step)
        }
        None => !policy.values.is_empty() && !policy.values.contains(consumed),
    }
}
