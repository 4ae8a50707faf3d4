//! Looking at one object: does it go, does it lose a reference, may it end its own foreground deletion.

use anyhow::{Context as _, anyhow, bail};
use futures::future::join_all;
use http::{Method, Request, header};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{Value, json};

use super::{
    Shell,
    graph::{FOREGROUND, Identity, Item, Meta, Node, ORPHAN, Uid, Work},
};
use crate::util::discovery::Resource;

/// What an object's owners are.
#[derive(Default)]
struct Owners {
    /// There, and not waiting for their dependents.
    solid: Vec<OwnerReference>,
    /// Gone.
    dangling: Vec<OwnerReference>,
    /// Being deleted in the foreground.
    waiting: Vec<OwnerReference>,
}

impl Shell {
    pub(super) async fn reconcile(&self, work: Work) -> anyhow::Result<()> {
        match work {
            Work::Delete(uid) => {
                let node = self.graph.lock().get(uid).cloned();
                match node {
                    Some(node) => self.attempt_to_delete(uid, node).await,
                    None => Ok(()),
                }
            }
            Work::Orphan(uid) => self.orphan(uid).await,
            Work::Misplaced { dependent, owner } => {
                self.tell_misplaced(dependent, owner);
                Ok(())
            }
        }
    }

    /// An event about an object whose owner is in another namespace, where it cannot own it.
    fn tell_misplaced(&self, dependent: Uid, owner: Uid) {
        let Some(Node { identity, owners, .. }) = self.graph.lock().get(dependent).cloned() else { return };
        let Some(reference) = owners.iter().find(|o| Uid::new(&o.uid) == owner) else { return };
        let OwnerReference { api_version, kind, name, uid, .. } = reference;
        let Identity { namespace, .. } = &identity;
        let message = format!(
            "ownerRef [{api_version}/{kind}, namespace: {namespace}, name: {name}, uid: {uid}] does not exist in namespace \
             \"{namespace}\""
        );
        let object = ObjectReference {
            api_version: Some(identity.api_version.to_string()),
            kind: Some(identity.kind.to_string()),
            namespace: Some(namespace.to_string()).filter(|n| !n.is_empty()),
            name: Some(identity.name.to_string()),
            uid: Some(identity.uid.to_string()),
            ..Default::default()
        };
        self.context.recorder.event(&object, "Warning", "OwnerRefInvalidNamespace", message);
    }

    /// The object turned out not to exist, whatever the watch says (or will say).
    fn gone(&self, uid: Uid) {
        let work = self.graph.lock().delete(uid);
        work.into_iter().for_each(|w| self.queue.add(w));
    }

    async fn attempt_to_delete(&self, uid: Uid, node: Node) -> anyhow::Result<()> {
        if node.being_deleted && !node.deleting_dependents {
            return Ok(());
        }
        let identity = &node.identity;
        let resource = self.resource(&identity.api_version, &identity.kind);
        let resource = resource.ok_or_else(|| anyhow!("no resource for {} {}", identity.api_version, identity.kind));
        let resource = match resource {
            Ok(r) => r,
            // An owner of a kind that nobody serves can't be checked: its dependents stay.
            Err(_) if node.is_virtual => return Ok(()),
            Err(e) => return Err(e),
        };
        let latest = match self.get(&resource, &identity.namespace, &identity.name).await? {
            Some(latest) if *latest.uid == *identity.uid => latest,
            _ => {
                self.gone(uid);
                return Ok(());
            }
        };
        if node.is_virtual {
            // It exists; its own watch will tell the rest.
            return Ok(());
        }
        if node.deleting_dependents {
            return self.end_foreground(uid, &resource, identity).await;
        }
        if latest.owner_references.is_empty() {
            return Ok(());
        }
        let owners = self.classify(identity, &latest.owner_references).await?;
        if !owners.solid.is_empty() {
            if !owners.dangling.is_empty() || !owners.waiting.is_empty() {
                self.keep_owners(&resource, identity, &latest, |o| owners.solid.iter().any(|s| s.uid == o.uid)).await?;
            }
            return Ok(());
        }
        let policy = if !owners.waiting.is_empty() && !node.dependents.is_empty() {
            // Two that wait for each other: this one stops blocking its owner.
            let dependents: Vec<Uid> = node.dependents.iter().copied().collect();
            let circle = {
                let graph = self.graph.lock();
                dependents.iter().filter_map(|d| graph.get(*d)).any(|d| d.deleting_dependents)
            };
            if circle {
                self.unblock_owners(&resource, identity, &latest).await?;
                // That was a write: the version to delete at is another now, and the watch brings it back here.
                bail!("owners unblocked, deletion follows");
            }
            "Foreground"
        } else if latest.has(ORPHAN) {
            "Orphan"
        } else if latest.has(FOREGROUND) {
            "Foreground"
        } else {
            "Background"
        };
        let Identity { kind, namespace, name, .. } = identity;
        tracing::debug!(kind = &**kind, namespace = &**namespace, name = &**name, policy, "deleting");
        let options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy,
            "preconditions": {"uid": identity.uid, "resourceVersion": latest.resource_version},
        });
        match self.send(Method::DELETE, &resource, identity, "application/json", options).await {
            Err(e) if client::is_not_found(&e) => {
                self.gone(uid);
                Ok(())
            }
            other => Ok(other?),
        }
    }

    /// An object that is deleted in the foreground may go when nothing blocks it any more.
    async fn end_foreground(&self, uid: Uid, resource: &Resource, identity: &Identity) -> anyhow::Result<()> {
        let (none, waiting) = {
            let graph = self.graph.lock();
            let blocking = graph.blocking(uid);
            let waiting = blocking.iter().filter(|(_, n)| !n.deleting_dependents).map(|(d, _)| *d);
            (blocking.is_empty(), waiting.collect::<Vec<_>>())
        };
        if none {
            return self.remove_finalizer(resource, identity, FOREGROUND).await;
        }
        waiting.into_iter().for_each(|d| self.queue.add(Work::Delete(d)));
        Ok(())
    }

    async fn orphan(&self, uid: Uid) -> anyhow::Result<()> {
        let (owner, dependents) = {
            let graph = self.graph.lock();
            let Some(owner) = graph.get(uid) else { return Ok(()) };
            let dependents = owner.dependents.iter().filter_map(|d| graph.get(*d)).map(|n| n.identity.clone());
            (owner.identity.clone(), dependents.collect::<Vec<_>>())
        };
        let release = |dependent: Identity| {
            let owner = &owner.uid;
            async move {
                let resource = self.resource(&dependent.api_version, &dependent.kind).context("no such resource")?;
                let latest = self.get(&resource, &dependent.namespace, &dependent.name).await?;
                match latest.filter(|l| *l.uid == *dependent.uid) {
                    Some(latest) => self.keep_owners(&resource, &dependent, &latest, |o| *o.uid != **owner).await,
                    None => Ok(()),
                }
            }
        };
        for result in join_all(dependents.into_iter().map(release)).await {
            result.with_context(|| format!("orphaning the dependents of {} {}", owner.kind, owner.name))?;
        }
        let resource = self.resource(&owner.api_version, &owner.kind).context("no such resource")?;
        self.remove_finalizer(&resource, &owner, ORPHAN).await
    }

    async fn classify(&self, item: &Identity, references: &[OwnerReference]) -> anyhow::Result<Owners> {
        let mut owners = Owners::default();
        for reference in references {
            match self.owner(item, reference).await? {
                None => owners.dangling.push(reference.clone()),
                Some(owner) if owner.deletion_timestamp.is_some() && owner.has(FOREGROUND) => {
                    owners.waiting.push(reference.clone());
                }
                Some(_) => owners.solid.push(reference.clone()),
            }
        }
        Ok(owners)
    }

    /// The owner as the server has it; nothing if it is gone. Absence is remembered.
    async fn owner(&self, item: &Identity, reference: &OwnerReference) -> anyhow::Result<Option<Meta>> {
        if self.graph.lock().is_absent(reference, &item.namespace) {
            return Ok(None);
        }
        let OwnerReference { api_version, kind, name, uid, .. } = reference;
        let Some(resource) = self.resource(api_version, kind) else {
            bail!("unable to get REST mapping for {api_version}/{kind}");
        };
        if resource.namespaced && item.namespace.is_empty() {
            // A cluster-scoped object can't be owned by a namespaced one; nothing is deleted on such a mistake.
            return Ok(Some(Meta::default()));
        }
        let found = self.get(&resource, &item.namespace, name).await?.filter(|o| o.uid == *uid);
        if found.is_none() {
            let namespace = if resource.namespaced { &*item.namespace } else { "" };
            self.graph.lock().note_absent(uid, namespace);
        }
        Ok(found)
    }

    async fn get(&self, resource: &Resource, namespace: &str, name: &str) -> anyhow::Result<Option<Meta>> {
        let accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
        let path = format!("{}/{name}", resource.path(namespace));
        let request = Request::get(path).header(header::ACCEPT, accept).body(vec![])?;
        match self.context.client.request::<Item>(request).await {
            Ok(item) => Ok(Some(item.metadata)),
            Err(e) if client::is_not_found(&e) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    async fn keep_owners(
        &self,
        resource: &Resource,
        item: &Identity,
        latest: &Meta,
        keep: impl Fn(&OwnerReference) -> bool,
    ) -> anyhow::Result<()> {
        let kept: Vec<_> = latest.owner_references.iter().filter(|o| keep(o)).collect();
        if kept.len() == latest.owner_references.len() {
            return Ok(());
        }
        self.patch(resource, item, latest, json!({"ownerReferences": kept})).await
    }

    async fn unblock_owners(&self, resource: &Resource, item: &Identity, latest: &Meta) -> anyhow::Result<()> {
        let mut owners = latest.owner_references.clone();
        owners.iter_mut().for_each(|o| o.block_owner_deletion = Some(false));
        self.patch(resource, item, latest, json!({"ownerReferences": owners})).await
    }

    async fn remove_finalizer(&self, resource: &Resource, item: &Identity, finalizer: &str) -> anyhow::Result<()> {
        let latest = self.get(resource, &item.namespace, &item.name).await?;
        let Some(latest) = latest.filter(|l| *l.uid == *item.uid && l.has(finalizer)) else { return Ok(()) };
        let left: Vec<_> = latest.finalizers.iter().filter(|f| *f != finalizer).collect();
        self.patch(resource, item, &latest, json!({"finalizers": left})).await
    }

    /// A merge patch at the version that was read: what changed meanwhile is a conflict, and looked at again.
    async fn patch(&self, resource: &Resource, item: &Identity, latest: &Meta, mut meta: Value) -> anyhow::Result<()> {
        meta["resourceVersion"] = json!(latest.resource_version);
        meta["uid"] = json!(item.uid);
        let body = json!({"metadata": meta});
        match self.send(Method::PATCH, resource, item, "application/merge-patch+json", body).await {
            Err(e) if client::is_not_found(&e) => Ok(()),
            other => Ok(other?),
        }
    }

    async fn send(
        &self,
        method: Method,
        resource: &Resource,
        item: &Identity,
        content_type: &str,
        body: Value,
    ) -> kube::Result<()> {
        let path = format!("{}/{}", resource.path(&item.namespace), item.name);
        let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, content_type);
        let body = serde_json::to_vec(&body).map_err(kube::Error::SerdeError)?;
        let request = request.body(body).map_err(kube::Error::HttpError)?;
        self.context.client.request_text(request).await.map(|_| ())
    }
}
