//! One turn of one autoscaler, without the asking: what its status and events say, and how large its target is to be.
//! Upstream: `horizontal.go`, reconcileAutoscaler.

use k8s_openapi::{
    api::autoscaling::v2::{
        HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition, HorizontalPodAutoscalerStatus, MetricStatus,
    },
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};
use machinery::quantity::Quantity;

use super::{
    memory::Memory,
    normalize::{self, Rules, Wish},
    proposals::{Invalid, Proposal},
    replicas::Tolerances,
};

/// `Warning` or `Normal`, reason, message.
pub(super) type Event = (&'static str, &'static str, String);

/// What has to be known of the metrics, by the target's size alone.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Need {
    /// Nothing: the target was switched off.
    Disabled,
    /// Nothing: the size is out of bounds. The size it gets, and why.
    Bounds(i32, &'static str),
    /// All of them.
    Metrics,
}

/// What is to become of the target.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    pub(super) desired: i32,
    pub(super) reason: String,
    pub(super) rescale: bool,
}

/// The chosen figures.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chosen {
    pub(super) replicas: i32,
    pub(super) metric: String,
}

/// A turn in progress.
pub(super) struct Turn {
    /// As it will be written.
    pub(super) hpa: HorizontalPodAutoscaler,
    pub(super) events: Vec<Event>,
    pub(super) now: Timestamp,
    before: HorizontalPodAutoscalerStatus,
    /// What was done, in the words of the metrics.
    pub(super) action: &'static str,
}

impl Turn {
    pub(super) fn new(hpa: &HorizontalPodAutoscaler, now: Timestamp) -> Self {
        let before = hpa.status.clone().unwrap_or_default();
        Self { hpa: hpa.clone(), events: Vec::new(), now, before, action: "none" }
    }

    fn status(&mut self) -> &mut HorizontalPodAutoscalerStatus {
        self.hpa.status.get_or_insert_default()
    }

    pub(super) fn warn(&mut self, reason: &'static str, message: impl Into<String>) {
        self.events.push(("Warning", reason, message.into()));
    }

    /// Sets a condition; its time of transition changes with its status.
    pub(super) fn condition(&mut self, kind: &str, is: bool, reason: &str, message: impl Into<String>) {
        let (now, status) = (self.now, if is { "True" } else { "False" });
        let conditions = self.status().conditions.get_or_insert_default();
        let at = conditions.iter().position(|c| c.type_ == kind).unwrap_or_else(|| {
            conditions.push(HorizontalPodAutoscalerCondition { type_: kind.to_owned(), ..Default::default() });
            conditions.len() - 1
        });
        let condition = &mut conditions[at];
        if condition.status != status {
            condition.last_transition_time = Some(Time(now));
        }
        condition.status = status.to_owned();
        condition.reason = Some(reason.to_owned());
        condition.message = Some(message.into());
    }

    /// The target's size can't be had.
    pub(super) fn no_scale(&mut self, error: &str) {
        self.warn("FailedGetScale", error);
        let message = format!("the HPA controller was unable to get the target's current scale: {error}");
        self.condition("AbleToScale", false, "FailedGetScale", message);
    }

    /// The target's size is known: what else must be?
    pub(super) fn need(&mut self, current: i32) -> Need {
        let message = "the HPA controller was able to get the target's current scale";
        self.condition("AbleToScale", true, "SucceededGetScale", message);
        let (min, max) = (self.min(), self.hpa.spec.max_replicas);
        if current == 0 {
            let message = "scaling is disabled since the replica count of the target is zero";
            self.condition("ScalingActive", false, "ScalingDisabled", message);
            self.never_to_zero();
            Need::Disabled
        } else if current > max {
            Need::Bounds(max, "Current number of replicas above Spec.MaxReplicas")
        } else if current < min {
            Need::Bounds(min, "Current number of replicas below Spec.MinReplicas")
        } else {
            Need::Metrics
        }
    }

    fn min(&self) -> i32 {
        self.hpa.spec.min_replicas.unwrap_or(1)
    }

    /// Scaling to zero is an alpha feature: whoever switched it off has no condition of it left.
    fn never_to_zero(&mut self) {
        if let Some(conditions) = &mut self.status().conditions {
            conditions.retain(|c| c.type_ != "ScaledToZero");
        }
    }

    /// The target's selector can't be used.
    pub(super) fn bad_selector(&mut self, event: &'static str, reason: &str, error: &str, condition: &str) -> String {
        self.warn(event, error);
        self.condition("ScalingActive", false, reason, condition);
        error.to_owned()
    }

    /// The largest of the proposals, and the statuses of all metrics. Some may be invalid, unless there is to be less.
    ///
    /// # Errors
    /// What was wrong with the metrics, so that nothing can be done. It comes beside the choice where the others will do.
    pub(super) fn choose(
        &mut self,
        proposals: Vec<Result<Proposal, Invalid>>,
        current: i32,
    ) -> (Result<Chosen, String>, Vec<MetricStatus>, Option<String>) {
        let number = proposals.len();
        let mut chosen: Option<Chosen> = None;
        let (mut statuses, mut first, mut invalid) = (Vec::with_capacity(number), None, 0);
        for proposal in proposals {
            match proposal {
                Ok(Proposal { replicas, metric, status }) => {
                    statuses.push(status);
                    if chosen.as_ref().is_none_or(|c| c.replicas == 0 || replicas > c.replicas) {
                        chosen = Some(Chosen { replicas, metric });
                    }
                }
                Err(wrong) => {
                    statuses.push(MetricStatus::default());
                    self.warn(wrong.reason, wrong.message.clone());
                    first.get_or_insert(wrong);
                    invalid += 1;
                }
            }
        }
        let error = first.as_ref().map(|wrong| {
            format!("invalid metrics ({invalid} invalid out of {number}), first error is: {}", wrong.summary)
        });
        match (chosen, first, &error) {
            (chosen, Some(wrong), Some(error)) if chosen.as_ref().is_none_or(|c| c.replicas < current) => {
                let message = format!("the HPA was unable to compute the replica count: {}", wrong.message);
                self.condition("ScalingActive", false, wrong.reason, message);
                (Err(error.clone()), statuses, None)
            }
            (chosen, ..) => {
                let chosen = chosen.unwrap_or(Chosen { replicas: 0, metric: String::new() });
                let found = &chosen.metric;
                let message = format!("the HPA was able to successfully calculate a replica count from {found}");
                self.condition("ScalingActive", true, "ValidMetricFound", message);
                (Ok(chosen), statuses, error)
            }
        }
    }

    /// What the chosen figures come to, stabilised and limited. The window is the controller's own.
    pub(super) fn plan(&mut self, chosen: &Chosen, current: i32, window_secs: i32, memory: &mut Memory) -> Plan {
        let desired = chosen.replicas.max(0);
        let reason = match desired.cmp(&current) {
            std::cmp::Ordering::Greater => format!("{} above target", chosen.metric),
            std::cmp::Ordering::Less => "All metrics below target".to_owned(),
            std::cmp::Ordering::Equal => String::new(),
        };
        let spec = self.hpa.spec.clone();
        let wish = Wish { min: self.min(), max: spec.max_replicas, current, desired };
        let allowed = match &spec.behavior {
            None => normalize::plain(wish, window_secs, memory, self.now),
            Some(behavior) => {
                let (up, down) = (Rules::up(behavior), Rules::down(behavior, window_secs));
                normalize::with_behavior(wish, &up, &down, memory, self.now)
            }
        };
        self.condition("AbleToScale", true, allowed.able.0, allowed.able.1);
        let (limited, (why, message)) = allowed.limited;
        self.condition("ScalingLimited", limited, why, message);
        Plan { desired: allowed.desired, reason, rescale: allowed.desired != current }
    }

    /// The target has its new size.
    pub(super) fn rescaled(&mut self, plan: &Plan, current: i32, window_secs: i32, memory: &mut Memory) {
        let desired = plan.desired;
        let message = format!("the HPA controller was able to update the target scale to {desired}");
        self.condition("AbleToScale", true, "SucceededRescale", message);
        self.action = if desired > current { "scale_up" } else { "scale_down" };
        let message = format!("New size: {desired}; reason: {}", plan.reason);
        self.events.push(("Normal", "SuccessfulRescale", message));
        if let Some(behavior) = &self.hpa.spec.behavior {
            let rules = if desired > current { Rules::up(behavior) } else { Rules::down(behavior, window_secs) };
            memory.scaled(current, desired, rules.longest_secs(), self.now);
        }
        self.never_to_zero();
    }

    /// The target did not take its new size.
    pub(super) fn not_rescaled(&mut self, plan: &Plan, error: &str) {
        let message = format!("New size: {}; reason: {}; error: {error}", plan.desired, plan.reason);
        self.warn("FailedRescale", message);
        let message = format!("the HPA controller was unable to update the target scale: {error}");
        self.condition("AbleToScale", false, "FailedUpdateScale", message);
    }

    /// Writes down the sizes and the metrics. Without a desired size it stays what it was.
    pub(super) fn sizes(&mut self, current: i32, desired: Option<i32>, metrics: Vec<MetricStatus>, rescaled: bool) {
        let now = self.now;
        let status = self.status();
        status.current_replicas = Some(current);
        status.desired_replicas = desired.unwrap_or(status.desired_replicas);
        status.current_metrics = Some(metrics).filter(|metrics| !metrics.is_empty());
        status.observed_generation = None;
        if rescaled {
            status.last_scale_time = Some(Time(now));
        }
    }

    /// Whether the status has to be written.
    pub(super) fn has_changed(&self) -> bool {
        let normal = |status: &HorizontalPodAutoscalerStatus| {
            let mut status = status.clone();
            status.current_replicas = Some(status.current_replicas.unwrap_or(0));
            status.conditions = status.conditions.filter(|list| !list.is_empty());
            status.current_metrics = status.current_metrics.filter(|list| !list.is_empty());
            status
        };
        self.hpa.status.as_ref().is_some_and(|status| normal(status) != normal(&self.before))
    }
}

/// What one metric proposes, in the words of the metrics.
pub(super) fn proposed(proposal: &Result<Proposal, Invalid>, current: i32) -> &'static str {
    match proposal {
        Ok(proposal) if proposal.replicas > current => "scale_up",
        Ok(proposal) if proposal.replicas < current => "scale_down",
        _ => "none",
    }
}

/// Whose fault it is that a metric proposes nothing.
pub(super) fn fault(proposal: &Result<Proposal, Invalid>) -> &'static str {
    match proposal {
        Ok(_) => "none",
        Err(wrong) if wrong.reason == "InvalidMetricSourceType" => "spec",
        Err(_) => "internal",
    }
}

/// The autoscaler's own tolerances, or the controller's.
pub(super) fn tolerances(hpa: &HorizontalPodAutoscaler, own: f64) -> Tolerances {
    let behavior = hpa.spec.behavior.as_ref();
    let of = |rules: Option<&k8s_openapi::api::autoscaling::v2::HPAScalingRules>| {
        let amount = rules?.tolerance.as_ref()?;
        Some(Quantity::parse(&amount.0).ok()?.as_f64())
    };
    Tolerances {
        down: behavior.and_then(|b| of(b.scale_down.as_ref())).unwrap_or(own),
        up: behavior.and_then(|b| of(b.scale_up.as_ref())).unwrap_or(own),
    }
}
