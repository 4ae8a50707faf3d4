//! Creating and deleting a workload's pods, with upstream's events on the workload.

use std::future::Future;

use controller::Recorder;
use futures::future::join_all;
use k8s_openapi::{
    api::core::v1::{ObjectReference, Pod, PodTemplateSpec},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, PostParams, Request},
};
use serde::Deserialize;

use super::{
    expectations::Expectations,
    key::{self, Key},
};

/// Creates and deletes pods of one workload.
pub(crate) struct PodControl<'a> {
    pub(crate) client: &'a Client,
    pub(crate) recorder: &'a Recorder,
    pub(crate) owner: &'a ObjectReference,
}

impl PodControl<'_> {
    fn api(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), self.owner.namespace.as_deref().unwrap_or_default())
    }

    /// Creates `pod` and says so, or why not; a namespace that is going away is not worth an event. Gives the name and the
    /// version of what was created.
    pub(crate) async fn create(&self, pod: &Pod) -> kube::Result<ObjectMeta> {
        let created = self.send(pod).await;
        match &created {
            Ok(created) => {
                let name = created.name.as_deref().unwrap_or_default();
                self.recorder.event(self.owner, "Normal", "SuccessfulCreate", format!("Created pod: {name}"));
            }
            Err(e) if client::is_namespace_terminating(e) => {}
            Err(e) => {
                let why = format!("Error creating: {}", client::message(e));
                self.recorder.event(self.owner, "Warning", "FailedCreate", why);
            }
        }
        created
    }

    /// Of the answer only what is wanted is read: the informer reads the whole pod soon enough.
    async fn send(&self, pod: &Pod) -> kube::Result<ObjectMeta> {
        let body = serde_json::to_vec(pod).map_err(kube::Error::SerdeError)?;
        let path = Pod::url_path(&(), Some(self.owner.namespace.as_deref().unwrap_or_default()));
        let request = Request::new(path).create(&PostParams::default(), body).map_err(kube::Error::BuildRequest)?;
        let Created { metadata: Stored { name, resource_version } } = self.client.request(request).await?;
        Ok(ObjectMeta { name, resource_version, ..Default::default() })
    }

    /// Creates a pod that is expected. None in a namespace that is going away: nothing will ever show up there, and the
    /// expectation expires with it.
    pub(crate) async fn create_expected(&self, pod: &Pod) -> kube::Result<Option<ObjectMeta>> {
        match self.create(pod).await {
            Err(e) if client::is_namespace_terminating(&e) => Ok(None),
            created => created.map(Some),
        }
    }

    /// Deletes a pod whose deletion is expected by the owner `key`; one that is gone already is as good.
    pub(crate) async fn delete_expected(&self, pod: &Pod, expectations: &Expectations, key: &Key) -> kube::Result<()> {
        let deleted = self.delete(key::name(&pod.metadata)).await;
        if deleted.is_err() {
            // The informer will not see it go.
            expectations.deletion_observed(key, key::uid(&pod.metadata));
        }
        deleted.or_else(|e| if client::is_not_found(&e) { Ok(()) } else { Err(e) })
    }

    /// Deletes a pod and says so. It being gone already is told to the caller, not to the user.
    pub(crate) async fn delete(&self, name: &str) -> kube::Result<()> {
        match self.api().delete(name, &DeleteParams::default()).await {
            Ok(_) => {
                self.recorder.event(self.owner, "Normal", "SuccessfulDelete", format!("Deleted pod: {name}"));
                Ok(())
            }
            Err(e) => {
                if !client::is_not_found(&e) {
                    let why = format!("Error deleting: {}", client::message(&e));
                    self.recorder.event(self.owner, "Warning", "FailedDelete", why);
                }
                Err(e)
            }
        }
    }
}

/// What is read of the answer to a creation.
#[derive(Deserialize)]
struct Created {
    metadata: Stored,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    name: Option<String>,
    resource_version: Option<String>,
}

/// A pod of a template: its name is made by the server from the owner's.
pub(crate) fn pod_from_template(template: &PodTemplateSpec, owner: &str, reference: OwnerReference) -> Pod {
    let meta = template.metadata.clone().unwrap_or_default();
    // A prefix that would make no valid name with its dash goes without it.
    let dashed = format!("{owner}-");
    let prefix = if machinery::names::dns1123_subdomain(owner).is_empty() { dashed } else { owner.to_owned() };
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(prefix),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![reference]),
            ..Default::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// Calls `f` with 0 to `count`, in batches of 1, 2, 4, ...: when the server refuses (quota, say), few calls are wasted.
/// Returns how many succeeded and the first error.
pub(crate) async fn slow_start<F, Fut, E>(count: usize, f: F) -> (usize, Option<E>)
where
    F: Fn(usize) -> Fut,
    Fut: Future<Output = Result<(), E>>,
{
    let (mut done, mut batch) = (0, 1);
    while done < count {
        let size = batch.min(count - done);
        let results = join_all((done..done + size).map(&f)).await;
        let failures: Vec<_> = results.into_iter().filter_map(Result::err).collect();
        done += size - failures.len();
        if let Some(first) = failures.into_iter().next() {
            return (done, Some(first));
        }
        batch *= 2;
    }
    (done, None)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn batches_double_and_stop_at_the_first_failure() {
        let calls = Cell::new(0);
        let f = |limit: usize| {
            let calls = &calls;
            move |i| {
                assert_eq!(i, calls.get());
                calls.set(calls.get() + 1);
                let ok = calls.get() <= limit;
                async move { if ok { Ok(()) } else { Err(kube::Error::LinesCodecMaxLineLengthExceeded) } }
            }
        };
        assert!(matches!(slow_start(10, f(100)).await, (10, None)));
        assert_eq!(calls.replace(0), 10);
        assert!(matches!(slow_start(10, f(2)).await, (2, Some(_))));
        assert_eq!(calls.get(), 3, "1 and 2 were tried, 4 were not");
    }
}
