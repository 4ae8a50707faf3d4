//! Attaching volumes to the nodes whose pods want them, and detaching them again.
//!
//! Upstream: `pkg/controller/volume/attachdetach`. A CSI volume is attached by a VolumeAttachment that its driver carries
//! out, one of iSCSI or Fibre Channel by nobody, since its node reaches it; a node's status says which of its volumes are
//! attached, and its kubelet mounts no others. What there is, is read from the attachments and the nodes themselves each
//! time; what is remembered is since when something is not wanted, and what was said.

mod names;
mod observed;
mod sync;

use std::{collections::BTreeMap, sync::Arc};

use client::{Change, Informer};
use controller::{Queue, object_reference, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::{
    api::{
        core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod},
        storage::v1::{CSIDriver, VolumeAttachment, VolumeAttachmentSource, VolumeAttachmentSpec},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
    jiff::Timestamp,
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use self::{
    names::Volume,
    observed::Observed,
    sync::{Action, Place},
};
use crate::{
    context::Context,
    metrics,
    util::{
        claim_users::{self, ClaimUsers},
        key,
    },
};

const WORKERS: usize = 10;

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

/// What is looked at: a volume, or the status of a node by its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Item {
    Volume(Volume),
    Node(String),
}

struct Shell {
    context: Context,
    observed: Observed,
    queue: Queue<Item>,
}

async fn run(context: Context) -> anyhow::Result<()> {
    let i = context.informers.clone();
    let (pods, claims, nodes) = (i.of::<Pod>(), i.of::<PersistentVolumeClaim>(), i.of::<Node>());
    let (volumes, attachments) = (i.of::<PersistentVolume>(), i.of::<VolumeAttachment>());
    let drivers: Informer<CSIDriver> = i.of();
    let users = ClaimUsers::of(&pods);
    let observed =
        Observed::new(users, claims.clone(), volumes.clone(), nodes.clone(), attachments.clone(), drivers.clone());
    let (name, cancel) = (context.name, context.cancel.clone());
    let shell = Arc::new(Shell { context, observed, queue: Queue::new() });
    // Before they are there: each of many would be read once more for it. What comes later wakes all volumes anyway.
    let s = shell.clone();
    pods.on_change(move |change| s.pod_changed(change));
    pods.synced().await;
    claims.synced().await;
    nodes.synced().await;
    volumes.synced().await;
    attachments.synced().await;
    drivers.synced().await;
    let s = shell.clone();
    volumes.on_change(move |change| s.volume_changed(change));
    let s = shell.clone();
    attachments.on_change(move |change| s.attachment_changed(change));
    let s = shell.clone();
    nodes.on_change(move |change| s.node_changed(change));
    let s = shell.clone();
    claims.on_change(move |change| s.wake(s.observed.of_claim(change.object())));
    let s = shell.clone();
    drivers.on_change(move |change| s.driver_changed(change));
    let s = shell.clone();
    shell.context.tasks.restarting("attachdetach_sync", move |run| {
        let shell = s.clone();
        async move {
            run.until_stopped(shell.resync()).await;
        }
    });
    run_workers(name, &shell.queue, WORKERS, cancel, |item| shell.reconcile(item)).await;
    Ok(())
}

impl Shell {
    fn wake(&self, volumes: impl IntoIterator<Item = Volume>) {
        volumes.into_iter().for_each(|volume| self.queue.add(Item::Volume(volume)));
    }

    fn volume_changed(&self, change: &Change<PersistentVolume>) {
        self.observed.volume_changed(change);
        self.wake(Volume::of(change.object()));
    }

    fn attachment_changed(&self, change: &Change<VolumeAttachment>) {
        self.observed.attachment_changed(change);
        let attachment = change.object();
        self.wake(self.observed.of_attachment(attachment));
        self.queue.add(Item::Node(attachment.spec.node_name.clone()));
    }

    fn node_changed(&self, change: &Change<Node>) {
        self.observed.node_changed(change);
        let node = change.object();
        let name = key::name(&node.metadata);
        let same = matches!(change, Change::Updated { old, new } if observed::says(old) == observed::says(new));
        if same {
            return;
        }
        self.wake(self.observed.on_node(node));
        self.queue.add(Item::Node(name.to_owned()));
        // Pods may have been there before their node was, or before it was the controller's.
        let managed = |node: &Node| observed::says(node).managed;
        let was = matches!(change, Change::Updated { old, .. } if managed(old));
        if !was && managed(node) && !matches!(change, Change::Deleted(_)) {
            self.wake(self.observed.all());
        }
    }

    fn pod_changed(&self, change: &Change<Pod>) {
        let of = |pod: &Pod| -> Vec<Volume> {
            claim_users::claims(pod).iter().flat_map(|claim| self.observed.of_claim_named(claim)).collect()
        };
        let inline = self.observed.pod_changed(change);
        self.wake(of(change.object()).into_iter().chain(inline));
    }

    fn driver_changed(&self, change: &Change<CSIDriver>) {
        let name = key::name(&change.object().metadata);
        let of_driver = |volume: &Volume| volume.driver().is_some_and(|(driver, _)| driver == name);
        self.wake(self.observed.all().into_iter().filter(of_driver));
    }

    /// Looks at everything now and then.
    async fn resync(&self) {
        let config = &self.context.config;
        let period = config.attach_detach_reconcile_sync_period;
        // As upstream, a period under a second is none.
        while !config.disable_attach_detach_reconcile_sync && period.as_secs() >= 1 {
            tokio::time::sleep(period).await;
            self.wake(self.observed.all());
        }
    }

    async fn reconcile(&self, item: Item) -> anyhow::Result<()> {
        match item {
            Item::Volume(volume) => self.reconcile_volume(volume).await,
            Item::Node(name) => self.reconcile_node(&name).await,
        }
    }

    async fn reconcile_volume(&self, volume: Volume) -> anyhow::Result<()> {
        let object = self.observed.object(&volume);
        let mut places = self.observed.places(&volume);
        let spec = object.as_ref().and_then(|object| object.spec.as_ref());
        let modes = spec.and_then(|spec| spec.access_modes.clone()).unwrap_or_default();
        let shared = modes.is_empty() || modes.iter().any(|mode| mode == "ReadWriteMany" || mode == "ReadOnlyMany");
        let inline = self.observed.inline_name(&volume);
        let of_object = object.as_ref().map(|object| key::name(&object.metadata));
        let (driver, handle) = volume.driver().unwrap_or_default();
        let described = sync::Volume {
            name: of_object.or(inline.as_deref()).unwrap_or("nil"),
            driver,
            handle,
            exclusive: object.is_some() && !shared,
        };
        let force = !self.context.config.disable_force_detach_on_timeout;
        let actions = sync::sync(&described, &mut places, force, Timestamp::now());
        self.observed.remember(&volume, &places);
        let mut first_error = None;
        for action in actions {
            if let Err(error) = self.carry_out(&volume, described.name, &places, action).await {
                first_error.get_or_insert(error);
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    async fn carry_out(
        &self,
        volume: &Volume,
        name: &str,
        places: &BTreeMap<String, Place>,
        action: Action,
    ) -> anyhow::Result<()> {
        match action {
            Action::Attach(node) => {
                let pods = places.get(&node).map(|place| place.pods.as_slice()).unwrap_or_default();
                self.attach(volume, name, &node, pods).await
            }
            Action::Detach { node, forced } => self.detach(volume, &node, forced).await,
            Action::Report(node) => {
                self.queue.add(Item::Node(node));
                Ok(())
            }
            Action::Tell(node, pod, kind, reason, message) => {
                if let Some(pod) = places.get(&node).and_then(|place| place.pods.get(pod)) {
                    self.context.recorder.event(&object_reference(&**pod), kind, reason, message);
                }
                Ok(())
            }
            Action::Later(wait) => {
                self.queue.add_after(Item::Volume(volume.clone()), wait);
                Ok(())
            }
        }
    }

    fn attachments(&self) -> Api<VolumeAttachment> {
        Api::all(self.context.client.clone())
    }

    async fn attach(&self, volume: &Volume, name: &str, node: &str, pods: &[Arc<Pod>]) -> anyhow::Result<()> {
        let Some((driver, _)) = volume.driver() else {
            self.observed.reaches(volume, node, true);
            self.queue.add(Item::Volume(volume.clone()));
            return Ok(());
        };
        let attachment = VolumeAttachment {
            metadata: ObjectMeta { name: volume.attachment(node), ..Default::default() },
            spec: VolumeAttachmentSpec {
                attacher: driver.to_owned(),
                node_name: node.to_owned(),
                source: VolumeAttachmentSource {
                    persistent_volume_name: Some(name.to_owned()),
                    inline_volume_spec: None,
                },
            },
            status: None,
        };
        match self.attachments().create(&PostParams::default(), &attachment).await {
            Err(error) if !client::is_already_exists(&error) => {
                let why = client::message(&error);
                let why = format!("kubernetes.io/csi: attacher.Attach failed: {why}");
                let message = format!("AttachVolume.Attach failed for volume {name:?} : {why}");
                for pod in pods {
                    let about = object_reference(&**pod);
                    self.context.recorder.event(&about, "Warning", "FailedAttachVolume", message.clone());
                }
                self.observed.not_requested(volume, node);
                Err(error.into())
            }
            _ => Ok(()),
        }
    }

    /// Has the driver, if there is one, detach the volume, unless the node uses it after all; where that is `forced`, the node is not asked.
    async fn detach(&self, volume: &Volume, node: &str, forced: Option<&'static str>) -> anyhow::Result<()> {
        if let Some(reason) = forced {
            metrics::FORCED_DETACHES.with(&[reason]).add(1);
        } else {
            let nodes: Api<Node> = Api::all(self.context.client.clone());
            let live = nodes.get_opt(node).await?;
            if live.is_some_and(|live| observed::says(&live).in_use.contains(&volume.name())) {
                // The node's change has it looked at again.
                tracing::info!(
                    node,
                    volume = volume.name(),
                    "volume is still in use by node, according to Node status"
                );
                return Ok(());
            }
        }
        let Some(attachment) = volume.attachment(node) else {
            self.observed.reaches(volume, node, false);
            self.queue.add(Item::Volume(volume.clone()));
            return Ok(());
        };
        match self.attachments().delete(&attachment, &DeleteParams::default()).await {
            Err(error) if !client::is_not_found(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Has the node's status say which volumes are attached.
    async fn reconcile_node(&self, name: &str) -> anyhow::Result<()> {
        let Some(said) = self.observed.reported(name) else { return Ok(()) };
        if let Some(list) = names::report(&said, &self.observed.attached(name, &said)) {
            let patch = json!({"status": {"volumesAttached": list}});
            let nodes: Api<Node> = Api::all(self.context.client.clone());
            let written = match nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Err(error) if client::is_not_found(&error) => return Ok(()),
                written => written?,
            };
            self.observed.wrote(&written);
            self.wake(self.observed.on_node(&written));
            self.wake(said.iter().filter_map(|volume| Volume::named(&volume.name)));
        }
        Ok(())
    }
}
