//! What ReplicaSet and ReplicationController differ in.

use k8s_openapi::{
    api::{
        apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus},
        core::v1::{
            PodTemplateSpec, ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus,
        },
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::{
    Replicas,
    sync::{Condition, Status},
};
use crate::util::selector::Selector;

fn zero_is_none(n: i32) -> Option<i32> {
    (n != 0).then_some(n)
}

impl Replicas for ReplicaSet {
    const COUNTS_TERMINATING: bool = true;

    fn selector(&self) -> Option<Selector> {
        Selector::new(&self.spec.as_ref()?.selector)
    }

    fn replicas(&self) -> i32 {
        self.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or(0)
    }

    fn template(&self) -> PodTemplateSpec {
        self.spec.as_ref().and_then(|s| s.template.clone()).unwrap_or_default()
    }

    fn status(&self) -> Status {
        let Some(s) = &self.status else { return Status::default() };
        let conditions = s.conditions.iter().flatten().map(|c| Condition {
            kind: c.type_.clone(),
            status: c.status.clone(),
            reason: c.reason.clone(),
            message: c.message.clone(),
            since: c.last_transition_time.as_ref().map(|t| t.0),
        });
        Status {
            replicas: s.replicas,
            fully_labeled: s.fully_labeled_replicas.unwrap_or(0),
            ready: s.ready_replicas.unwrap_or(0),
            available: s.available_replicas.unwrap_or(0),
            terminating: s.terminating_replicas,
            observed_generation: s.observed_generation.unwrap_or(0),
            conditions: conditions.collect(),
        }
    }

    fn set_status(&mut self, s: Status) {
        let conditions = s.conditions.into_iter().map(|c| ReplicaSetCondition {
            type_: c.kind,
            status: c.status,
            reason: c.reason,
            message: c.message,
            last_transition_time: c.since.map(Time),
        });
        let conditions: Vec<_> = conditions.collect();
        self.status = Some(ReplicaSetStatus {
            replicas: s.replicas,
            fully_labeled_replicas: zero_is_none(s.fully_labeled),
            ready_replicas: zero_is_none(s.ready),
            available_replicas: zero_is_none(s.available),
            terminating_replicas: s.terminating,
            observed_generation: Some(s.observed_generation),
            conditions: (!conditions.is_empty()).then_some(conditions),
        });
    }
}

impl Replicas for ReplicationController {
    const COUNTS_TERMINATING: bool = false;

    fn selector(&self) -> Option<Selector> {
        Some(Selector::of_labels(self.spec.as_ref()?.selector.clone().unwrap_or_default()))
    }

    fn replicas(&self) -> i32 {
        self.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or(0)
    }

    fn template(&self) -> PodTemplateSpec {
        self.spec.as_ref().and_then(|s| s.template.clone()).unwrap_or_default()
    }

    fn status(&self) -> Status {
        let Some(s) = &self.status else { return Status::default() };
        let conditions = s.conditions.iter().flatten().map(|c| Condition {
            kind: c.type_.clone(),
            status: c.status.clone(),
            reason: c.reason.clone(),
            message: c.message.clone(),
            since: c.last_transition_time.as_ref().map(|t| t.0),
        });
        Status {
            replicas: s.replicas,
            fully_labeled: s.fully_labeled_replicas.unwrap_or(0),
            ready: s.ready_replicas.unwrap_or(0),
            available: s.available_replicas.unwrap_or(0),
            terminating: None,
            observed_generation: s.observed_generation.unwrap_or(0),
            conditions: conditions.collect(),
        }
    }

    fn set_status(&mut self, s: Status) {
        let conditions = s.conditions.into_iter().map(|c| ReplicationControllerCondition {
            type_: c.kind,
            status: c.status,
            reason: c.reason,
            message: c.message,
            last_transition_time: c.since.map(Time),
        });
        let conditions: Vec<_> = conditions.collect();
        self.status = Some(ReplicationControllerStatus {
            replicas: s.replicas,
            fully_labeled_replicas: zero_is_none(s.fully_labeled),
            ready_replicas: zero_is_none(s.ready),
            available_replicas: zero_is_none(s.available),
            observed_generation: Some(s.observed_generation),
            conditions: (!conditions.is_empty()).then_some(conditions),
        });
    }
}
