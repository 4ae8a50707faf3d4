//! The numbers of a rollout: surge, unavailability, proportions.

use k8s_openapi::api::apps::v1::Deployment;

use crate::util::int_or_percent::scaled;

pub(crate) fn replicas(d: &Deployment) -> i32 {
    d.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
}

fn strategy(d: &Deployment) -> &str {
    d.spec.as_ref().and_then(|s| s.strategy.as_ref()?.type_.as_deref()).unwrap_or("RollingUpdate")
}

pub(crate) fn is_rolling(d: &Deployment) -> bool {
    strategy(d) == "RollingUpdate"
}

pub(crate) fn is_recreate(d: &Deployment) -> bool {
    strategy(d) == "Recreate"
}

/// Surge and unavailability as numbers. Both zero would never move: then one may be unavailable.
fn fenceposts(d: &Deployment) -> (i32, i32) {
    let rolling = d.spec.as_ref().and_then(|s| s.strategy.as_ref()?.rolling_update.as_ref());
    let total = replicas(d);
    let surge = scaled(rolling.and_then(|r| r.max_surge.as_ref()), total, true);
    let unavailable = scaled(rolling.and_then(|r| r.max_unavailable.as_ref()), total, false);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

/// Pods above the wanted number during a rolling update.
pub(crate) fn max_surge(d: &Deployment) -> i32 {
    if is_rolling(d) { fenceposts(d).0 } else { 0 }
}

/// Pods that may be missing during a rolling update.
pub(crate) fn max_unavailable(d: &Deployment) -> i32 {
    let total = replicas(d);
    if is_rolling(d) && total != 0 { fenceposts(d).1.min(total) } else { 0 }
}

/// The share of `size` in a change from `max_before` to `max_now` pods.
pub(crate) fn fraction(size: i32, max_before: i32, max_now: i32) -> i32 {
    let share = f64::from(size) * f64::from(max_now) / f64::from(max_before);
    share.round() as i32 - size
}
