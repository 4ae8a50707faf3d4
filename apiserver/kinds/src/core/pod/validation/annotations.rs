//! Annotations that mean something to a pod.

use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::meta;
use model::check::Faults;
use serde_json::Value;

/// Marks a pod as the mirror of a static one.
pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

pub(super) fn check(pod: &Value, at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if let Some(value) = meta::annotation(pod, MIRROR)
        && pod["spec"].text("nodeName").is_empty()
    {
        errors.invalid(&at.key(MIRROR), value, "must set spec.nodeName if mirror pod annotation is set");
    }
    if let Some(cost) = meta::annotation(pod, DELETION_COST) {
        // A leading plus and leading zeros are refused, so that there is one way to write a number.
        let odd = cost.starts_with('+') || (cost.starts_with('0') && cost != "0") || cost.starts_with("-0");
        if odd || cost.parse::<i32>().is_err() {
            errors.invalid(&at.key(DELETION_COST), cost, "must be a 32bit integer");
        }
    }
    errors
}

/// Annotations that an update may not touch.
pub(super) fn check_update(pod: &Value, old: &Value, at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (key, value) in meta::annotations(old).into_iter().flatten() {
        if meta::annotations(pod).and_then(|a| a.get(key)) == Some(value) {
            continue;
        }
        if key.starts_with(APP_ARMOR) {
            errors.forbidden(&at.key(key), "may not remove or update AppArmor annotations");
        }
        if key == MIRROR {
            errors.forbidden(&at.key(key), "may not remove or update mirror pod annotation");
        }
    }
    for (key, _) in meta::annotations(pod).into_iter().flatten() {
        if meta::annotation(old, key).is_some() {
            continue;
        }
        if key.starts_with(APP_ARMOR) {
            errors.forbidden(&at.key(key), "may not add AppArmor annotations");
        }
        if key == MIRROR {
            errors.forbidden(&at.key(key), "may not add mirror pod annotation");
        }
    }
    errors
}
