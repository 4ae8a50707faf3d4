//! Writing one pod's status to the API, and deleting the pod once it may go.
//!
//! A task of its own: a slow API server delays no container. Of statuses that queue up only the newest is written, and of it
//! only what changed. Upstream: pkg/kubelet/status/status_manager.go.

use super::{conditions, patch};
use crate::pod;
use component::supervisor::guarded_future;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// What is to be written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) status: Option<PodStatus>,
    /// All of the pod is over, and its volumes and groups are gone.
    pub(crate) finished: bool,
    /// The API wants it gone.
    pub(crate) deleting: bool,
}

const RETRY: Duration = Duration::from_secs(1);
const RETRY_LIMIT: Duration = Duration::from_secs(30);

/// Ends when the sender is dropped or the pod is gone.
pub(crate) async fn run(client: Client, pod: Arc<Pod>, mut wanted: watch::Receiver<Wanted>) {
    let api = Api::<Pod>::namespaced(client, pod::namespace(&pod));
    let (name, uid) = (pod::name(&pod), pod::uid(&pod));
    let mut written = own(pod.status.clone().unwrap_or_default());
    let mut pause = RETRY;
    loop {
        let next = wanted.borrow_and_update().clone();
        let name_of_task = ("pod status", pod::format(&pod));
        let fault = match guarded_future(name_of_task, write(&api, name, uid, &mut written, next)).await {
            Ok(Ok(true)) => return,
            Ok(Ok(false)) => {
                pause = RETRY;
                if wanted.changed().await.is_err() {
                    return;
                }
                continue;
            }
            // It is gone, or another pod has its name.
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => return,
            Ok(Err(error)) => error.to_string(),
            Err(panicked) => panicked.to_string(),
        };
        tracing::warn!(pod = pod::format(&pod), error = fault, "failed to update status for pod");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_LIMIT);
        // What is held may differ from what was thought: look again.
        if let Ok(Some(now)) = api.get_opt(name).await
            && now.metadata.uid.as_deref() == Some(uid)
        {
            written = own(now.status.unwrap_or_default());
        }
    }
}

/// True once the pod was deleted.
async fn write(
    api: &Api<Pod>,
    name: &str,
    uid: &str,
    written: &mut PodStatus,
    wanted: Wanted,
) -> Result<bool, kube::Error> {
    let Some(status) = wanted.status else { return Ok(false) };
    let status = own(status);
    if let Some(patch) = patch::status_patch(uid, written, &status) {
        api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
        *written = status;
    }
    let terminal = pod::is_terminal(written.phase.as_deref().unwrap_or_default());
    if wanted.finished && wanted.deleting && terminal {
        let preconditions = Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None });
        let params = DeleteParams { grace_period_seconds: Some(0), preconditions, ..Default::default() };
        api.delete(name, &params).await?;
        return Ok(true);
    }
    Ok(false)
}

/// Without the conditions that others write: what is not compared is not reverted.
fn own(mut status: PodStatus) -> PodStatus {
    if let Some(list) = &mut status.conditions {
        list.retain(|c| conditions::OWNED.contains(&c.type_.as_str()) || c.type_ == "DisruptionTarget");
    }
    status.nominated_node_name = None;
    status.resource_claim_statuses = None;
    status.extended_resource_claim_status = None;
    status.node_allocatable_resource_claim_statuses = None;
    status.resize = None;
    status
}
