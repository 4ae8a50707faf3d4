//! Which of a StatefulSet's revisions its template is of.

use std::sync::Arc;

use k8s_openapi::api::{
    apps::v1::{ControllerRevision, StatefulSet},
    core::v1::Pod,
};
use kube::Resource;
use machinery::gvk::GroupVersion;

use super::identity;
use crate::util::{history, key};

/// Where the revision of the present template comes from.
#[derive(Debug, PartialEq)]
pub(crate) enum Update {
    /// It is the newest there is.
    Newest(Arc<ControllerRevision>),
    /// The template was that of an earlier one, which becomes the newest by this number.
    Renumber(Arc<ControllerRevision>, i64),
    /// There is none yet. It lacks a name.
    Create(Box<ControllerRevision>),
}

/// Decides. `revisions` are in the order of [`history::by_number`].
pub(crate) fn update(set: &StatefulSet, revisions: &[Arc<ControllerRevision>]) -> Update {
    let template = set.spec.as_ref().map(|s| s.template.clone()).unwrap_or_default();
    let number = revisions.last().map_or(1, |r| r.revision + 1);
    let proposed = history::revision_of(set, &template, number);
    let same = |r: &&Arc<ControllerRevision>| history::data_of(r) == history::data_of(&proposed);
    match (revisions.iter().rfind(same), revisions.last()) {
        (Some(equal), Some(newest)) if history::data_of(equal) == history::data_of(newest) => {
            Update::Newest(newest.clone())
        }
        (Some(equal), _) => Update::Renumber(equal.clone(), number),
        (None, Some(newest)) if means_the_same(set, newest, &proposed) => Update::Newest(newest.clone()),
        (None, _) => Update::Create(Box::new(proposed)),
    }
}

/// Whether the revision, restored and defaulted, would be written as the proposed one. Versions of upstream differ in
/// what they write of one template, and that must not roll a set.
fn means_the_same(set: &StatefulSet, revision: &ControllerRevision, proposed: &ControllerRevision) -> bool {
    let restored = || -> Option<StatefulSet> {
        let restored = history::restored(set, history::data_of(revision)).ok()?;
        let mut value = serde_json::to_value(restored).ok()?;
        let version = GroupVersion::parse(&StatefulSet::api_version(&())).ok()?;
        api::defaults::apply(&version.with_kind(StatefulSet::kind(&())), &mut value);
        serde_json::from_value(value).ok()
    };
    restored().and_then(|r| r.spec).is_some_and(|s| history::data(&s.template) == *history::data_of(proposed))
}

/// The revisions beyond the limit, the lowest numbers first, of those that neither the set nor a pod is of.
pub(crate) fn surplus(
    set: &StatefulSet,
    revisions: &[Arc<ControllerRevision>],
    live: &[&str],
    pods: &[Arc<Pod>],
) -> Vec<Arc<ControllerRevision>> {
    let is_live = |name: &str| live.contains(&name) || pods.iter().any(|p| identity::revision(p) == name);
    let mut idle: Vec<_> = revisions.iter().filter(|r| !is_live(key::name(&r.metadata))).cloned().collect();
    // A negative limit keeps everything.
    let limit = set.spec.as_ref().and_then(|s| s.revision_history_limit).unwrap_or(10);
    idle.truncate(usize::try_from(limit).map_or(0, |limit| idle.len().saturating_sub(limit)));
    idle
}
