//! A Deployment's ReplicaSets: which is the new one, what their annotations say, how a new one looks.

use std::{cmp::Ordering, sync::Arc};

use controller::controller_ref;
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec},
        core::v1::PodTemplateSpec,
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};

use super::math;
use crate::util::{hash, key, selector::Labels};

pub(crate) const HASH_LABEL: &str = "pod-template-hash";
pub(crate) const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// Asks for an earlier template.
pub(super) const ROLLBACK_TO: &str = "deprecated.deployment.rollback.to";
/// Annotations that belong to the object that has them.
pub(super) const NOT_COPIED: [&str; 6] =
    ["kubectl.kubernetes.io/last-applied-configuration", REVISION, REVISION_HISTORY, DESIRED, MAX, ROLLBACK_TO];
const HISTORY_LIMIT_CHARS: usize = 2000;
const NAME_LIMIT: usize = 253;

pub(crate) fn replicas(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
}

pub(crate) fn set_replicas(set: &mut ReplicaSet, n: i32) {
    set.spec.get_or_insert_default().replicas = Some(n);
}

pub(crate) fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|s| s.available_replicas).unwrap_or(0)
}

pub(crate) fn actual(set: &ReplicaSet) -> i32 {
    set.status.as_ref().map_or(0, |s| s.replicas)
}

pub(crate) fn wanted_of<'a>(sets: impl IntoIterator<Item = &'a Arc<ReplicaSet>>) -> i32 {
    sets.into_iter().map(|s| replicas(s)).sum()
}

fn annotation<'a>(set: &'a ReplicaSet, name: &str) -> Option<&'a str> {
    set.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// Older first; of the same second, by name.
pub(crate) fn by_age(a: &ReplicaSet, b: &ReplicaSet) -> Ordering {
    let age = |s: &ReplicaSet| s.metadata.creation_timestamp.as_ref().map(|t| t.0);
    age(a).cmp(&age(b)).then_with(|| a.metadata.name.cmp(&b.metadata.name))
}

/// Larger first, of one size the newer.
pub(crate) fn by_size_newer(a: &ReplicaSet, b: &ReplicaSet) -> Ordering {
    replicas(b).cmp(&replicas(a)).then_with(|| by_age(b, a))
}

/// Larger first, of one size the older.
pub(crate) fn by_size_older(a: &ReplicaSet, b: &ReplicaSet) -> Ordering {
    replicas(b).cmp(&replicas(a)).then_with(|| by_age(a, b))
}

/// Lower revision first.
pub(crate) fn by_revision(a: &ReplicaSet, b: &ReplicaSet) -> Ordering {
    match (revision(a), revision(b)) {
        (Some(x), Some(y)) if x != y => x.cmp(&y),
        _ => by_age(a, b),
    }
}

/// The revision; 0 without one, nothing if it is no number.
pub(crate) fn revision(set: &ReplicaSet) -> Option<i64> {
    annotation(set, REVISION).map_or(Some(0), |v| v.parse().ok())
}

/// A template without what the controller itself put there; absent and empty labels are the same.
fn comparable(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut t = template.clone();
    let meta = t.metadata.get_or_insert_default();
    if let Some(labels) = &mut meta.labels {
        labels.remove(HASH_LABEL);
    }
    meta.labels.take_if(|l| l.is_empty());
    meta.annotations.take_if(|a| a.is_empty());
    meta.creation_timestamp = None;
    t
}

/// Whether the set was made for what the Deployment's template says now.
pub(crate) fn same_template(set: &ReplicaSet, d: &Deployment) -> bool {
    let (Some(a), Some(b)) =
        (set.spec.as_ref().and_then(|s| s.template.as_ref()), d.spec.as_ref().map(|s| &s.template))
    else {
        return false;
    };
    comparable(a) == comparable(b)
}

/// The set of the present template: the oldest, if there are several.
pub(crate) fn find_new(sets: &[Arc<ReplicaSet>], d: &Deployment) -> Option<usize> {
    let same = |(_, s): &(usize, &Arc<ReplicaSet>)| same_template(s, d);
    sets.iter().enumerate().filter(same).min_by(|(_, a), (_, b)| by_age(a, b)).map(|(i, _)| i)
}

/// A set for the present template, without replicas.
pub(crate) fn make(d: &Deployment) -> ReplicaSet {
    let spec = d.spec.clone().unwrap_or_default();
    let mut template = spec.template;
    let collisions = d.status.as_ref().and_then(|s| s.collision_count);
    let hash = hash::pod_template(&template, collisions);
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(HASH_LABEL.into(), hash.clone());
    let labels: Labels = labels.clone();
    let mut selector: LabelSelector = spec.selector;
    selector.match_labels.get_or_insert_default().insert(HASH_LABEL.into(), hash.clone());
    let mut prefix = key::name(&d.metadata);
    prefix = &prefix[..prefix.len().min(NAME_LIMIT - 1 - hash.len())];
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{prefix}-{hash}")),
            namespace: d.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![controller_ref(d)]),
            ..Default::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(0),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        }),
        status: None,
    }
}

/// Brings the new set's annotations up to date: the Deployment's own, its revision, and the revisions it had before.
/// True if something changed.
pub(crate) fn annotate_new(set: &mut ReplicaSet, d: &Deployment, revision: i64, exists: bool) -> bool {
    let mut changed = false;
    let annotations = set.metadata.annotations.get_or_insert_default();
    for (k, v) in d.metadata.annotations.iter().flatten() {
        if !NOT_COPIED.contains(&k.as_str()) && annotations.get(k) != Some(v) {
            annotations.insert(k.clone(), v.clone());
            changed = true;
        }
    }
    let old = annotations.get(REVISION).cloned();
    let old_number = match old.as_deref() {
        None | Some("") => 0,
        Some(text) => match text.parse::<i64>() {
            Ok(n) => n,
            // Somebody's own words; they are left alone, and nothing here counts as changed.
            Err(_) => return false,
        },
    };
    if old_number < revision {
        annotations.insert(REVISION.into(), revision.to_string());
        changed = true;
        if let Some(old) = old {
            let history = annotations.get(REVISION_HISTORY).map(String::as_str).unwrap_or_default();
            if let Some(history) = extend_history(history, &old) {
                annotations.insert(REVISION_HISTORY.into(), history);
            }
        }
    }
    (!exists && annotate_replicas(set, d)) || changed
}

/// The history with one more revision; the oldest go when it becomes too long.
fn extend_history(history: &str, revision: &str) -> Option<String> {
    if history.is_empty() {
        return Some(revision.to_owned());
    }
    let mut parts: Vec<_> = history.split(',').chain([revision]).collect();
    while parts.join(",").len() > HISTORY_LIMIT_CHARS && parts.len() > 1 {
        parts.remove(0);
    }
    let joined = parts.join(",");
    (joined.len() <= HISTORY_LIMIT_CHARS).then_some(joined)
}

/// Notes the size of the whole Deployment on a set: how a later scaling is recognised and shared out.
pub(crate) fn annotate_replicas(set: &mut ReplicaSet, d: &Deployment) -> bool {
    let desired = math::replicas(d);
    let annotations = set.metadata.annotations.get_or_insert_default();
    let mut changed = false;
    for (name, value) in [(DESIRED, desired), (MAX, desired + math::max_surge(d))] {
        let value = value.to_string();
        changed |= annotations.insert(name.into(), value.clone()) != Some(value);
    }
    changed
}

fn number(set: &ReplicaSet, name: &str) -> Option<i32> {
    annotation(set, name)?.parse().ok().filter(|n| *n >= 0)
}

/// The Deployment's size when the set was last touched.
pub(crate) fn desired_then(set: &ReplicaSet) -> Option<i32> {
    number(set, DESIRED)
}

/// The most pods of the Deployment when the set was last touched.
pub(crate) fn max_then(set: &ReplicaSet) -> Option<i32> {
    number(set, MAX)
}
