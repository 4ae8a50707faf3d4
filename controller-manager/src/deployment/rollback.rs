//! Going back to an earlier template, asked for by an annotation that older clients' `rollbackTo` is kept in.
//!
//! Upstream: `pkg/controller/deployment/rollback.go`. Today's clients write the template themselves.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

use super::{
    replica_sets::{self as rs, NOT_COPIED, ROLLBACK_TO},
    sync::Action,
};
use crate::util::{conditions::quote, key};

/// The revision that is asked for, 0 for the last one; what is no number asks for nothing.
pub(super) fn wanted(d: &Deployment) -> Option<i64> {
    d.metadata.annotations.as_ref()?.get(ROLLBACK_TO)?.parse().ok()
}

/// What is done about it, with what is said: whatever comes of it, it is asked for no more.
pub(super) fn to(revision: i64, d: &Deployment, sets: &[Arc<ReplicaSet>]) -> Vec<Action> {
    let warn = |reason, message: String| Action::Say { kind: "Warning", reason, message };
    let not_found = |message: &str| warn("DeploymentRollbackRevisionNotFound", message.to_owned());
    let mut d = d.clone();
    if let Some(annotations) = &mut d.metadata.annotations {
        annotations.remove(ROLLBACK_TO);
    }
    let revision = if revision == 0 { last(sets) } else { revision };
    if revision == 0 {
        return vec![not_found("Unable to find last revision."), Action::Replace(Box::new(d))];
    }
    let Some(set) = sets.iter().find(|set| rs::revision(set) == Some(revision)) else {
        return vec![not_found("Unable to find the revision to rollback to."), Action::Replace(Box::new(d))];
    };
    let name = quote(key::name(&d.metadata));
    if rs::same_template(set, &d) {
        let message = format!("The rollback revision contains the same template as current deployment {name}");
        return vec![warn("DeploymentRollbackTemplateUnchanged", message), Action::Replace(Box::new(d))];
    }
    take_over(&mut d, set);
    let message = format!("Rolled back deployment {name} to revision {revision}");
    vec![Action::Replace(Box::new(d)), Action::Say { kind: "Normal", reason: "DeploymentRollback", message }]
}

/// The second highest revision.
fn last(sets: &[Arc<ReplicaSet>]) -> i64 {
    let mut revisions: Vec<i64> = sets.iter().filter_map(|set| rs::revision(set)).collect();
    revisions.sort_unstable();
    revisions.iter().rev().nth(1).copied().unwrap_or(0)
}

/// The template of the set, and its annotations but for those that each object has of its own.
fn take_over(d: &mut Deployment, set: &ReplicaSet) {
    let mut template = set.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default();
    if let Some(labels) = template.metadata.as_mut().and_then(|meta| meta.labels.as_mut()) {
        labels.remove(rs::HASH_LABEL);
    }
    d.spec.get_or_insert_default().template = template;
    let own = |name: &&String| NOT_COPIED.contains(&name.as_str());
    let mut annotations: BTreeMap<String, String> = d.metadata.annotations.take().unwrap_or_default();
    annotations.retain(|name, _| own(&name));
    let theirs = set.metadata.annotations.iter().flatten().filter(|(name, _)| !own(name));
    annotations.extend(theirs.map(|(name, value)| (name.clone(), value.clone())));
    d.metadata.annotations = Some(annotations);
}
