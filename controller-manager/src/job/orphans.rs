//! Pods that have the finalizer, and no job any more that would count them and remove it.

use futures::future::join_all;
use k8s_openapi::{
    api::{batch::v1::Job, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::{
    Shell,
    member::{FINALIZER, has_finalizer},
    wanted,
};
use crate::util::{
    jobs,
    key::{self, Key},
    selector::Selector,
};
use controller::controller_of;

/// Pods to look at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Orphans {
    Pod(Key),
    /// All that were, or are, of a job: controlled by it, or left by it and selected.
    Of {
        namespace: String,
        uid: String,
        /// As JSON.
        selector: String,
    },
}

impl Orphans {
    pub(super) fn of(job: &Job) -> Self {
        let selector = job.spec.as_ref().and_then(|s| s.selector.as_ref());
        Self::Of {
            namespace: key::namespace(&job.metadata).to_owned(),
            uid: key::uid(&job.metadata).to_owned(),
            selector: serde_json::to_string(&selector).unwrap_or_default(),
        }
    }
}

impl Shell {
    pub(super) async fn release_orphans(&self, orphans: Orphans) -> anyhow::Result<()> {
        let pods = match orphans {
            Orphans::Pod(key) => self.pods.get(Some(&key.namespace), &key.name).into_iter().collect(),
            Orphans::Of { namespace, uid, selector } => {
                let selector: Option<LabelSelector> = serde_json::from_str(&selector).unwrap_or_default();
                let mut pods = self.pods.controlled_by(&namespace, &uid);
                if let Some(selector) = selector.and_then(|s| Selector::new(&s)) {
                    let left = self.pods.uncontrolled(&namespace).into_iter();
                    pods.extend(left.filter(|p| selector.matches(p.metadata.labels.as_ref())));
                }
                pods
            }
        };
        let orphans = pods.iter().filter(|pod| has_finalizer(pod) && self.is_orphan(pod));
        let results = join_all(orphans.map(|pod| self.remove_finalizer(pod))).await;
        let failed = results.into_iter().filter_map(Result::err).find(|e| !client::is_not_found(e));
        failed.map_or(Ok(()), |e| Err(e.into()))
    }

    /// No job that runs has it.
    fn is_orphan(&self, pod: &Pod) -> bool {
        let Some(owner) = controller_of(&pod.metadata) else { return true };
        if owner.kind != "Job" || owner.api_version != "batch/v1" {
            return false;
        }
        self.resolve(pod, owner).is_none_or(|(_, job)| jobs::is_finished(&job) && !wanted::is_managed_elsewhere(&job))
    }

    pub(super) async fn remove_finalizer(&self, pod: &Pod) -> kube::Result<()> {
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), key::namespace(&pod.metadata));
        let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": [FINALIZER]}});
        api.patch_metadata(key::name(&pod.metadata), &PatchParams::default(), &Patch::Strategic(patch)).await.map(drop)
    }
}
