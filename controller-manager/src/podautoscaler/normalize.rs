//! From the size that metrics ask for to the size that is allowed now: stabilised over a window, within the limits of the
//! autoscaler, and no faster than its policies. Upstream: `horizontal.go`, from `stabilizeRecommendation` on.

use k8s_openapi::{
    api::autoscaling::v2::{HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscalerBehavior},
    jiff::Timestamp,
};

use super::memory::{Memory, Step, ago, changed};

/// Without policies, the size at most doubles.
const LIMIT_FACTOR: f64 = 2.0;
/// ... but may be this at least.
const LIMIT_LEAST: f64 = 4.0;

/// What is to be allowed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) min: i32,
    pub(super) max: i32,
    pub(super) current: i32,
    pub(super) desired: i32,
}

/// A reason and a sentence, for a condition.
pub(super) type Why = (&'static str, &'static str);

/// What is allowed, and what is said of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Allowed {
    pub(super) desired: i32,
    /// `AbleToScale`.
    pub(super) able: Why,
    /// `ScalingLimited`: whether it is, and why.
    pub(super) limited: (bool, Why),
}

const READY: Why = ("ReadyForNewScale", "recommended size matches current size");
const DOWN_STABILIZED: Why = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);
const UP_STABILIZED: Why = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const WITHIN: Why = ("DesiredWithinRange", "the desired count is within the acceptable range");
const TOO_FEW: Why = ("TooFewReplicas", "the desired replica count is less than the minimum replica count");
const TOO_MANY: Why = ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
const UP_LIMIT: Why = ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const DOWN_LIMIT: Why =
    ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");

/// For an autoscaler without behaviour of its own. The window is of scaling down.
pub(super) fn plain(wish: Wish, window_secs: i32, memory: &mut Memory, now: Timestamp) -> Allowed {
    let stable = stabilized(wish.desired, window_secs, memory, now);
    let able = if stable == wish.desired { READY } else { DOWN_STABILIZED };
    let (desired, why) = within(Wish { desired: stable, ..wish });
    Allowed { desired, able, limited: (desired != stable, why) }
}

/// The largest recommendation of the window.
fn stabilized(desired: i32, window_secs: i32, memory: &mut Memory, now: Timestamp) -> i32 {
    let cutoff = ago(now, window_secs);
    let (mut most, mut old) = (desired, None);
    for (at, (size, when)) in memory.recommendations.iter().enumerate() {
        if *when < cutoff {
            old = Some(at);
        } else {
            most = most.max(*size);
        }
    }
    memory.recommend(desired, old, now);
    most
}

/// Within the autoscaler's limits, and not more than twice as many.
pub(super) fn within(wish: Wish) -> (i32, Why) {
    let limit = (LIMIT_FACTOR * f64::from(wish.current)).max(LIMIT_LEAST) as i32;
    let (most, why) = if wish.max > limit { (limit, UP_LIMIT) } else { (wish.max, TOO_MANY) };
    if wish.desired < wish.min {
        (wish.min, TOO_FEW)
    } else if wish.desired > most {
        (most, why)
    } else {
        (wish.desired, WITHIN)
    }
}

/// Rules of one direction, with what upstream's defaults fill in.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) window_secs: i32,
    pub(super) select: String,
    pub(super) policies: Vec<HPAScalingPolicy>,
}

impl Rules {
    /// Of scaling up.
    pub(super) fn up(behavior: &HorizontalPodAutoscalerBehavior) -> Self {
        Self::of(behavior.scale_up.as_ref(), 0, &[("Pods", 4), ("Percent", 100)])
    }

    /// Of scaling down. The window is the controller's, unless the autoscaler has one.
    pub(super) fn down(behavior: &HorizontalPodAutoscalerBehavior, window_secs: i32) -> Self {
        Self::of(behavior.scale_down.as_ref(), window_secs, &[("Percent", 100)])
    }

    fn of(rules: Option<&HPAScalingRules>, window_secs: i32, policies: &[(&str, i32)]) -> Self {
        let policy = |(kind, value): &(&str, i32)| HPAScalingPolicy {
            type_: (*kind).to_owned(),
            value: *value,
            period_seconds: 15,
        };
        Self {
            window_secs: rules.and_then(|r| r.stabilization_window_seconds).unwrap_or(window_secs),
            select: rules.and_then(|r| r.select_policy.clone()).unwrap_or_else(|| "Max".into()),
            policies: rules.and_then(|r| r.policies.clone()).unwrap_or_else(|| policies.iter().map(policy).collect()),
        }
    }

    /// The longest that a policy looks back.
    pub(super) fn longest_secs(&self) -> i32 {
        self.policies.iter().map(|policy| policy.period_seconds).max().unwrap_or(0)
    }
}

/// For an autoscaler that says how it wants to be scaled.
pub(super) fn with_behavior(wish: Wish, up: &Rules, down: &Rules, memory: &mut Memory, now: Timestamp) -> Allowed {
    let (stable, why) = stabilized_both(wish, up, down, memory, now);
    let able = if stable == wish.desired { READY } else { why };
    let (desired, why) = limited(Wish { desired: stable, ..wish }, up, down, memory, now);
    Allowed { desired, able, limited: (desired != stable, why) }
}

/// Between the least recommendation of the window of scaling up and the largest of that of scaling down.
pub(super) fn stabilized_both(wish: Wish, up: &Rules, down: &Rules, memory: &mut Memory, now: Timestamp) -> (i32, Why) {
    let (up_cutoff, down_cutoff) = (ago(now, up.window_secs), ago(now, down.window_secs));
    let (mut least, mut most, mut old) = (wish.desired, wish.desired, None);
    for (at, (size, when)) in memory.recommendations.iter().enumerate() {
        if *when > up_cutoff {
            least = least.min(*size);
        }
        if *when > down_cutoff {
            most = most.max(*size);
        }
        if *when < up_cutoff && *when < down_cutoff {
            old = Some(at);
        }
    }
    let stable = wish.current.max(least).min(most);
    memory.recommend(wish.desired, old, now);
    (stable, if wish.desired >= wish.current { UP_STABILIZED } else { DOWN_STABILIZED })
}

/// Within the autoscaler's limits, and no faster than its policies.
pub(super) fn limited(wish: Wish, up: &Rules, down: &Rules, memory: &Memory, now: Timestamp) -> (i32, Why) {
    if wish.desired > wish.current {
        let limit = up_limit(wish.current, &memory.ups, &memory.downs, up, now).max(wish.current);
        let (most, why) = if wish.max > limit { (limit, UP_LIMIT) } else { (wish.max, TOO_MANY) };
        if wish.desired > most {
            return (most, why);
        }
    } else if wish.desired < wish.current {
        let limit = down_limit(wish.current, &memory.ups, &memory.downs, down, now).min(wish.current);
        let (least, why) = if wish.min < limit { (limit, DOWN_LIMIT) } else { (wish.min, TOO_FEW) };
        if wish.desired < least {
            return (least, why);
        }
    }
    (wish.desired, WITHIN)
}

/// The size at the beginning of a policy's period.
fn began(current: i32, ups: &[Step], downs: &[Step], policy: &HPAScalingPolicy, now: Timestamp) -> i32 {
    let (added, removed) = (changed(ups, policy.period_seconds, now), changed(downs, policy.period_seconds, now));
    current.saturating_sub(added).saturating_add(removed)
}

/// The most that policies allow.
pub(super) fn up_limit(current: i32, ups: &[Step], downs: &[Step], rules: &Rules, now: Timestamp) -> i32 {
    let proposed = rules.policies.iter().map(|policy| {
        let began = began(current, ups, downs, policy, now);
        match policy.type_.as_str() {
            "Percent" => (f64::from(began) * (1.0 + f64::from(policy.value) / 100.0)).ceil() as i32,
            _ => began.saturating_add(policy.value),
        }
    });
    match rules.select.as_str() {
        "Disabled" => current,
        "Min" => proposed.min().unwrap_or(i32::MAX),
        _ => proposed.max().unwrap_or(i32::MIN),
    }
}

/// The least that policies allow.
pub(super) fn down_limit(current: i32, ups: &[Step], downs: &[Step], rules: &Rules, now: Timestamp) -> i32 {
    let proposed = rules.policies.iter().map(|policy| {
        let began = began(current, ups, downs, policy, now);
        match policy.type_.as_str() {
            "Percent" => (f64::from(began) * (1.0 - f64::from(policy.value) / 100.0)) as i32,
            _ => began.saturating_sub(policy.value),
        }
    });
    match rules.select.as_str() {
        "Disabled" => current,
        "Min" => proposed.max().unwrap_or(i32::MIN),
        _ => proposed.min().unwrap_or(i32::MAX),
    }
}
