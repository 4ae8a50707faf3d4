//! A DaemonSet's history: the revision of its present template, and those that it had before.
//!
//! What decides is the data of a revision; its hash is a label that pods carry. Of several revisions of one template, as a
//! user can make them, the one with the highest number stays and the pods are relabelled. Old ones stay as long as pods
//! are of them, and beside those as many as `revisionHistoryLimit` says.

use std::{collections::HashSet, sync::Arc};

use anyhow::{Context as _, bail};
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, DaemonSet},
    core::v1::Pod,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::util::{
    hash,
    history::{self, History, REVISION_LABEL},
    key,
};

/// A set's revisions: those of its present template, and the others.
#[derive(Debug, Default)]
pub(crate) struct Revisions {
    current: Vec<Arc<ControllerRevision>>,
    pub(crate) old: Vec<Arc<ControllerRevision>>,
}

fn label(revision: &ControllerRevision) -> Option<&String> {
    revision.metadata.labels.as_ref()?.get(REVISION_LABEL)
}

fn sorted(all: Vec<Arc<ControllerRevision>>, data: &Value) -> Revisions {
    let (current, old) = all.into_iter().partition(|r| history::data_of(r) == data);
    Revisions { current, old }
}

/// Above those of all old ones.
fn next_number(old: &[Arc<ControllerRevision>]) -> i64 {
    old.iter().map(|r| r.revision).max().unwrap_or(0).max(0) + 1
}

/// Old revisions beyond the limit, the lowest numbers first, but for those that pods are of.
pub(crate) fn surplus(
    mut old: Vec<Arc<ControllerRevision>>,
    limit: i32,
    pods: &[Arc<Pod>],
) -> Vec<Arc<ControllerRevision>> {
    let beyond = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    let live: HashSet<&String> = pods.iter().filter_map(|p| p.metadata.labels.as_ref()?.get(REVISION_LABEL)).collect();
    old.sort_by_key(|r| r.revision);
    old.into_iter().filter(|r| !label(r).is_some_and(|hash| live.contains(hash))).take(beyond).collect()
}

/// Writes what is missing about the history of a set.
pub(crate) struct Keeper<'a> {
    pub(crate) client: &'a Client,
    pub(crate) set: &'a DaemonSet,
    pub(crate) pods: &'a [Arc<Pod>],
}

impl Keeper<'_> {
    fn history(&self) -> History<'_> {
        History { client: self.client, namespace: key::namespace(&self.set.metadata) }
    }

    /// Makes sure that there is one revision of the present template, with the highest number. Returns its hash, and the
    /// old ones; nothing if pods were relabelled, which are not what was seen any more.
    ///
    /// # Errors
    /// Whatever the server refuses, and that another revision has the new one's name: then the next pass has another.
    pub(crate) async fn keep(
        &self,
        all: Vec<Arc<ControllerRevision>>,
    ) -> anyhow::Result<Option<(String, Vec<Arc<ControllerRevision>>)>> {
        let spec = self.set.spec.as_ref().context("a DaemonSet without specification")?;
        let mut labelled = Vec::with_capacity(all.len());
        for revision in all {
            labelled.push(self.labelled(revision).await?);
        }
        let Revisions { current, old } = sorted(labelled, &history::data(&spec.template));
        let number = next_number(&old);
        let current = match current.is_empty() {
            true => Arc::new(self.create(number).await?),
            false => {
                let (current, relabelled) = self.only(current).await?;
                if relabelled {
                    return Ok(None);
                }
                if current.revision < number {
                    self.history().renumber(&current, number).await?;
                }
                current
            }
        };
        Ok(Some((label(&current).cloned().unwrap_or_default(), old)))
    }

    /// A revision from before there was the label is known by its name.
    async fn labelled(&self, revision: Arc<ControllerRevision>) -> kube::Result<Arc<ControllerRevision>> {
        if label(&revision).is_some() {
            return Ok(revision);
        }
        let mut revision = (*revision).clone();
        let name = key::name(&revision.metadata).to_owned();
        revision.metadata.labels.get_or_insert_default().insert(REVISION_LABEL.into(), name);
        Ok(Arc::new(self.history().replace(&revision).await?))
    }

    /// The one to stay; the pods are made its own before the others go. True if there was one to be made so.
    async fn only(&self, current: Vec<Arc<ControllerRevision>>) -> anyhow::Result<(Arc<ControllerRevision>, bool)> {
        let keep = current.iter().max_by_key(|r| r.revision).cloned().context("no revision to keep")?;
        if current.len() == 1 {
            return Ok((keep, false));
        }
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), key::namespace(&self.set.metadata));
        let (hash, mut relabelled) = (label(&keep), false);
        for pod in self.pods {
            if pod.metadata.labels.as_ref().and_then(|l| l.get(REVISION_LABEL)) != hash {
                let patch = json!({"metadata": {"labels": {REVISION_LABEL: hash}}});
                pods.patch(key::name(&pod.metadata), &PatchParams::default(), &Patch::Merge(patch)).await?;
                relabelled = true;
            }
        }
        for other in current.iter().filter(|r| r.metadata.name != keep.metadata.name) {
            self.history().delete(other).await?;
        }
        Ok((keep, relabelled))
    }

    async fn create(&self, number: i64) -> anyhow::Result<ControllerRevision> {
        let template = self.set.spec.as_ref().map(|s| s.template.clone()).unwrap_or_default();
        let collisions = self.set.status.as_ref().and_then(|s| s.collision_count);
        let hash = hash::pod_template(&template, collisions);
        let mut revision = history::revision_of(self.set, &template, number);
        let name = format!("{}-{hash}", key::name(&self.set.metadata));
        revision.metadata.name = Some(name.clone());
        revision.metadata.labels.get_or_insert_default().insert(REVISION_LABEL.into(), hash);
        let error = match self.history().create(&revision).await {
            Err(error) if client::is_already_exists(&error) => error,
            created => return Ok(created?),
        };
        let existing = self.history().get(&name).await?;
        if history::data_of(&existing) == history::data_of(&revision) {
            return Ok(existing);
        }
        // Counted up on what the server has: our own count may be an old one, which was raised already.
        let api: Api<DaemonSet> = Api::namespaced(self.client.clone(), key::namespace(&self.set.metadata));
        let mut fresh = api.get(key::name(&self.set.metadata)).await?;
        let status = fresh.status.get_or_insert_default();
        if status.collision_count != collisions {
            let (old, new) = (collisions.unwrap_or(0), status.collision_count.unwrap_or(0));
            let set = key::name(&self.set.metadata);
            bail!(
                "found a stale collision count ({old}, expected {new}) of DaemonSet {set:?} while processing; will retry until it is updated"
            );
        }
        *status.collision_count.get_or_insert(0) += 1;
        api.replace_status(key::name(&self.set.metadata), &PostParams::default(), &fresh).await?;
        Err(error.into())
    }

    /// Deletes old revisions that nothing needs.
    pub(crate) async fn clean_up(&self, old: Vec<Arc<ControllerRevision>>) -> kube::Result<()> {
        let limit = self.set.spec.as_ref().and_then(|s| s.revision_history_limit).unwrap_or(10);
        for revision in surplus(old, limit, self.pods) {
            self.history().delete(&revision).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(number: i64, hash: &str) -> Arc<ControllerRevision> {
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": format!("d-{hash}"), "labels": {"controller-revision-hash": hash}},
                "data": {"of": hash}, "revision": number,
            }))
            .unwrap(),
        )
    }

    fn names(of: &[Arc<ControllerRevision>]) -> String {
        of.iter().map(|r| label(r).unwrap().as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_present_revision_is_known_by_its_data() {
        let all = vec![revision(1, "a"), revision(3, "b"), revision(2, "c")];
        let sorted = sorted(all, &json!({"of": "a"}));
        assert_eq!((names(&sorted.current), names(&sorted.old)), ("a".into(), "b c".into()));
        assert_eq!(next_number(&sorted.old), 4, "rolled back to, it becomes the newest");
        assert_eq!(next_number(&[]), 1);
    }

    #[test]
    fn the_oldest_go_beyond_the_limit_unless_pods_are_of_them() {
        let old = || vec![revision(3, "c"), revision(1, "a"), revision(4, "d"), revision(2, "b")];
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"labels": {"controller-revision-hash": "a"}}})).unwrap();
        let pods = [Arc::new(pod)];
        for (limit, of_none, of_one) in [(0, "a b c d", "b c d"), (2, "a b", "b c"), (3, "a", "b"), (4, "", "")] {
            assert_eq!(
                (names(&surplus(old(), limit, &[])), names(&surplus(old(), limit, &pods))),
                (of_none.into(), of_one.into())
            );
        }
    }
}
