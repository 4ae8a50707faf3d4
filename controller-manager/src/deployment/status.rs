//! What a Deployment's status says: counts and conditions, in upstream's words.

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};

use super::{math, replica_sets};
use crate::util::{conditions::quote, key};

pub(crate) fn condition(
    kind: &str,
    status: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) -> DeploymentCondition {
    DeploymentCondition {
        type_: kind.into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message),
        last_update_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

pub(crate) fn get<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().flatten().find(|c| c.type_ == kind)
}

pub(crate) fn reason(condition: Option<&DeploymentCondition>) -> &str {
    condition.and_then(|c| c.reason.as_deref()).unwrap_or_default()
}

/// Sets a condition unless its status and reason are as they were; the transition time moves with the status alone.
pub(crate) fn set(status: &mut DeploymentStatus, mut condition: DeploymentCondition) {
    if let Some(current) = get(status, &condition.type_) {
        if current.status == condition.status && current.reason == condition.reason {
            return;
        }
        if current.status == condition.status {
            condition.last_transition_time = current.last_transition_time.clone();
        }
    }
    remove(status, &condition.type_);
    status.conditions.get_or_insert_default().push(condition);
}

pub(crate) fn remove(status: &mut DeploymentStatus, kind: &str) {
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|c| c.type_ != kind);
    }
    status.conditions.take_if(|c| c.is_empty());
}

pub(crate) fn has_progress_deadline(d: &Deployment) -> bool {
    progress_deadline(d).is_some()
}

fn progress_deadline(d: &Deployment) -> Option<Duration> {
    let seconds = d.spec.as_ref()?.progress_deadline_seconds.filter(|s| *s != i32::MAX)?;
    Some(Duration::from_secs(seconds.max(0) as u64))
}

fn zero_is_none(n: i32) -> Option<i32> {
    (n != 0).then_some(n)
}

/// Counts, and whether enough pods are available.
pub(crate) fn calculate(
    d: &Deployment,
    sets: &[Arc<ReplicaSet>],
    new: Option<&ReplicaSet>,
    now: Timestamp,
) -> DeploymentStatus {
    let ready = |s: &ReplicaSet| s.status.as_ref().and_then(|s| s.ready_replicas).unwrap_or(0);
    let available: i32 = sets.iter().map(|s| replica_sets::available(s)).sum();
    let unavailable = (replica_sets::wanted_of(sets) - available).max(0);
    let old = d.status.clone().unwrap_or_default();
    let mut status = DeploymentStatus {
        observed_generation: d.metadata.generation,
        replicas: zero_is_none(sets.iter().map(|s| replica_sets::actual(s)).sum()),
        updated_replicas: zero_is_none(new.map_or(0, replica_sets::actual)),
        ready_replicas: zero_is_none(sets.iter().map(|s| ready(s)).sum()),
        available_replicas: zero_is_none(available),
        unavailable_replicas: zero_is_none(unavailable),
        terminating_replicas: terminating(sets),
        collision_count: old.collision_count,
        conditions: old.conditions,
    };
    let enough = available >= math::replicas(d) - math::max_unavailable(d);
    set(
        &mut status,
        match enough {
            true => condition(
                "Available",
                "True",
                "MinimumReplicasAvailable",
                "Deployment has minimum availability.".into(),
                now,
            ),
            false => condition(
                "Available",
                "False",
                "MinimumReplicasUnavailable",
                "Deployment does not have minimum availability.".into(),
                now,
            ),
        },
    );
    status
}

/// Nothing as long as a set's controller does not count them.
fn terminating(sets: &[Arc<ReplicaSet>]) -> Option<i32> {
    let mut sum = 0;
    for status in sets.iter().filter_map(|s| s.status.as_ref()) {
        match status.terminating_replicas {
            Some(n) => sum += n,
            None if status.observed_generation.unwrap_or(0) == 0 => {}
            None => return None,
        }
    }
    Some(sum)
}

pub(crate) fn complete(d: &Deployment, s: &DeploymentStatus) -> bool {
    let wanted = math::replicas(d);
    [s.updated_replicas, s.replicas, s.available_replicas].iter().all(|n| n.unwrap_or(0) == wanted)
        && s.observed_generation >= d.metadata.generation
}

fn progressing(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let n = |n: Option<i32>| n.unwrap_or(0);
    let outdated = |s: &DeploymentStatus| n(s.replicas) - n(s.updated_replicas);
    n(new.updated_replicas) > n(old.updated_replicas)
        || outdated(new) < outdated(old)
        || n(new.ready_replicas) > n(old.ready_replicas)
        || n(new.available_replicas) > n(old.available_replicas)
}

fn timed_out(d: &Deployment, status: &DeploymentStatus, now: Timestamp) -> bool {
    let (Some(deadline), Some(c)) = (progress_deadline(d), get(status, "Progressing")) else { return false };
    match reason(Some(c)) {
        "NewReplicaSetAvailable" => false,
        "ProgressDeadlineExceeded" => true,
        _ => c.last_update_time.as_ref().is_some_and(|t| t.0 + deadline < now),
    }
}

/// The status of a rollout: counts, progress against the deadline, and failures of the sets.
pub(crate) fn rollout(
    d: &Deployment,
    sets: &[Arc<ReplicaSet>],
    new: Option<&ReplicaSet>,
    now: Timestamp,
) -> DeploymentStatus {
    let mut status = calculate(d, sets, new, now);
    let old = d.status.clone().unwrap_or_default();
    let current = get(&old, "Progressing");
    let done_before = status.replicas == status.updated_replicas && reason(current) == "NewReplicaSetAvailable";
    if !has_progress_deadline(d) {
        remove(&mut status, "Progressing");
    } else if !done_before {
        let subject = match new {
            Some(set) => format!("ReplicaSet {}", quote(key::name(&set.metadata))),
            None => format!("Deployment {}", quote(key::name(&d.metadata))),
        };
        if complete(d, &status) {
            let message = format!("{subject} has successfully progressed.");
            set(&mut status, condition("Progressing", "True", "NewReplicaSetAvailable", message, now));
        } else if progressing(&old, &status) {
            let mut c =
                condition("Progressing", "True", "ReplicaSetUpdated", format!("{subject} is progressing."), now);
            if let Some(current) = current {
                if current.status == "True" {
                    c.last_transition_time = current.last_transition_time.clone();
                }
                // The update time moves with each step forward, also where nothing else does.
                remove(&mut status, "Progressing");
            }
            set(&mut status, c);
        } else if timed_out(d, &status, now) {
            let message = format!("{subject} has timed out progressing.");
            set(&mut status, condition("Progressing", "False", "ProgressDeadlineExceeded", message, now));
        }
    }
    match failure(sets, new) {
        Some(c) => set(&mut status, c),
        None => remove(&mut status, "ReplicaFailure"),
    }
    status
}

/// Why pods can't be made or deleted: the new set's word first.
fn failure(sets: &[Arc<ReplicaSet>], new: Option<&ReplicaSet>) -> Option<DeploymentCondition> {
    let of = |set: &ReplicaSet| {
        let c = set.status.as_ref()?.conditions.iter().flatten().find(|c| c.type_ == "ReplicaFailure")?;
        Some(DeploymentCondition {
            type_: c.type_.clone(),
            status: c.status.clone(),
            reason: c.reason.clone(),
            message: c.message.clone(),
            last_transition_time: c.last_transition_time.clone(),
            last_update_time: c.last_transition_time.clone(),
        })
    };
    new.and_then(of).or_else(|| sets.iter().find_map(|s| of(s)))
}

/// When to look again whether the deadline has passed.
pub(crate) fn check_again(d: &Deployment, status: &DeploymentStatus, now: Timestamp) -> Option<Duration> {
    let current = get(status, "Progressing")?;
    let deadline = progress_deadline(d)?;
    if complete(d, status) || reason(Some(current)) == "ProgressDeadlineExceeded" {
        return None;
    }
    let due = current.last_update_time.as_ref()?.0 + deadline;
    let left = SignedDuration::from_secs(due.as_second() - now.as_second());
    Some(Duration::try_from(left).unwrap_or_default() + Duration::from_secs(1))
}
