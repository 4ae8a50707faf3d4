//! The decisions: what a claim needs, and whether a volume may go.

use std::collections::BTreeMap;

use controller::object_reference;
use k8s_openapi::api::{
    core::v1::{
        LocalVolumeSource, Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PersistentVolume,
        PersistentVolumeClaim, PersistentVolumeClaimCondition, PersistentVolumeClaimSpec, PersistentVolumeSpec,
        VolumeNodeAffinity,
    },
    storage::v1::StorageClass,
};
use k8s_openapi::apimachinery::pkg::{api::resource::Quantity as Text, apis::meta::v1::ObjectMeta};
use machinery::quantity::Quantity;
use volumes::annotations::{
    BETA_STORAGE_PROVISIONER, EXTERNAL_FINALIZER, PROVISIONED_BY, SELECTED_NODE, STORAGE_PROVISIONER,
};

use super::node::Kept;
use crate::util::key;

/// The provisioner that classes name.
pub(super) const PROVISIONER: &str = "ferry/local";
/// On volumes: whether they can't grow beyond their capacity.
pub(super) const LIMITED: &str = "ferry/capacity-enforced";
/// On claims whose volume can.
pub(super) const UNLIMITED: &str = "CapacityNotEnforced";

/// On volumes: the node that has the data.
const NODE: &str = "ferry/node";
const HOSTNAME: &str = "kubernetes.io/hostname";

/// A volume on a node, as it is asked for.
#[derive(Debug, PartialEq)]
pub(super) struct Place {
    pub(super) node: String,
    pub(super) hostname: String,
    pub(super) volume: String,
    pub(super) bytes: u64,
    pub(super) block: bool,
}

/// What to do about a claim.
#[derive(Debug, PartialEq)]
pub(super) enum ClaimAction<'a> {
    Nothing,
    /// Say why it gets no volume.
    Refuse {
        message: String,
        /// Let the scheduler choose once more.
        again_elsewhere: bool,
    },
    Provision {
        place: Place,
        class: &'a StorageClass,
    },
    Grow {
        place: Place,
        /// As the claim has it.
        bytes: String,
    },
    /// Set these conditions.
    Mark(Vec<PersistentVolumeClaimCondition>),
}

/// What to do about a volume.
#[derive(Debug, PartialEq)]
pub(super) enum VolumeAction<'a> {
    Nothing,
    /// Its claim has gone, and so shall it.
    Delete,
    /// Remove its data on this node, if there are any to be removed; then let the object go.
    LetGo {
        node: Option<&'a str>,
    },
}

fn annotation<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(name).map(String::as_str).filter(|value| !value.is_empty())
}

/// The node that was chosen for the claim.
pub(super) fn selected_node(claim: &PersistentVolumeClaim) -> Option<&str> {
    annotation(&claim.metadata, SELECTED_NODE)
}

/// Whether this controller has made the volume.
pub(super) fn is_ours(volume: &PersistentVolume) -> bool {
    annotation(&volume.metadata, PROVISIONED_BY) == Some(PROVISIONER)
}

/// The amount that a claim asks for, as text and in bytes.
fn requested(spec: &PersistentVolumeClaimSpec) -> Option<(String, u64)> {
    let text = &spec.resources.as_ref()?.requests.as_ref()?.get("storage")?.0;
    Some((text.clone(), bytes(text)?))
}

fn bytes(text: &str) -> Option<u64> {
    u64::try_from(Quantity::parse(text).ok()?.value()).ok()
}

fn block(mode: Option<&str>) -> bool {
    mode == Some("Block")
}

/// Decides about a claim. `node` is the one selected, if it exists; `volume` the one that it is bound to.
pub(super) fn claim<'a>(
    claim: &PersistentVolumeClaim,
    class: Option<&'a StorageClass>,
    node: Option<&Node>,
    volume: Option<&PersistentVolume>,
) -> ClaimAction<'a> {
    let Some(spec) = claim.spec.as_ref().filter(|_| claim.metadata.deletion_timestamp.is_none()) else {
        return ClaimAction::Nothing;
    };
    if spec.volume_name.as_deref().is_some_and(|name| !name.is_empty()) {
        return volume.filter(|v| is_ours(v)).map_or(ClaimAction::Nothing, |volume| bound(claim, spec, volume));
    }
    let wanted = [STORAGE_PROVISIONER, BETA_STORAGE_PROVISIONER]
        .iter()
        .any(|name| annotation(&claim.metadata, name) == Some(PROVISIONER));
    let Some(class) = class.filter(|class| wanted && class.provisioner == PROVISIONER) else {
        return ClaimAction::Nothing;
    };
    let refuse = |message: &str| ClaimAction::Refuse { message: message.to_owned(), again_elsewhere: false };
    if !volumes::waits_for_consumer(class) {
        return refuse("a volume of a node needs volumeBindingMode WaitForFirstConsumer");
    }
    let Some(selected) = selected_node(claim) else { return ClaimAction::Nothing };
    if let Some(name) = class.parameters.as_ref().and_then(|p| p.keys().next()) {
        return refuse(&format!("unknown parameter {name:?}"));
    }
    if spec.selector.is_some() {
        return refuse("claim.Spec.Selector is not supported");
    }
    if spec.data_source.is_some() || spec.data_source_ref.is_some() {
        return refuse("a volume of a node cannot be made from a data source");
    }
    let shared = |mode: &&String| !matches!(mode.as_str(), "ReadWriteOnce" | "ReadWriteOncePod");
    if let Some(mode) = spec.access_modes.iter().flatten().find(shared) {
        return refuse(&format!("access mode {mode} is not supported: a volume of a node is on one node"));
    }
    let Some((_, bytes)) = requested(spec) else { return refuse("no amount of storage is asked for") };
    let Some(node) = node else {
        return ClaimAction::Refuse { message: format!("node {selected:?} does not exist"), again_elsewhere: true };
    };
    let hostname = node.metadata.labels.as_ref().and_then(|labels| labels.get(HOSTNAME));
    let place = Place {
        node: selected.to_owned(),
        hostname: hostname.map_or(selected, String::as_str).to_owned(),
        volume: format!("pvc-{}", key::uid(&claim.metadata)),
        bytes,
        block: block(spec.volume_mode.as_deref()),
    };
    ClaimAction::Provision { place, class }
}

/// A claim that has a volume of ours: it may have to grow, or to say that its capacity is no limit.
fn bound<'a>(
    claim: &PersistentVolumeClaim,
    spec: &PersistentVolumeClaimSpec,
    volume: &PersistentVolume,
) -> ClaimAction<'a> {
    let (Some(status), Some(found)) = (claim.status.as_ref(), volume.spec.as_ref()) else {
        return ClaimAction::Nothing;
    };
    if status.phase.as_deref() != Some("Bound") || found.claim_ref.as_ref().map(|r| &r.uid) != Some(&claim.metadata.uid)
    {
        return ClaimAction::Nothing;
    }
    let (Some((text, wanted)), Some(node)) = (requested(spec), annotation(&volume.metadata, NODE)) else {
        return ClaimAction::Nothing;
    };
    let has = |capacity: &Option<BTreeMap<String, Text>>| {
        capacity.as_ref().and_then(|c| c.get("storage")).and_then(|text| bytes(&text.0)).unwrap_or(0)
    };
    if wanted > has(&found.capacity) || wanted > has(&status.capacity) {
        let place = Place {
            node: node.to_owned(),
            hostname: String::new(),
            volume: key::name(&volume.metadata).to_owned(),
            bytes: wanted,
            block: block(found.volume_mode.as_deref()),
        };
        return ClaimAction::Grow { place, bytes: text };
    }
    let limited = annotation(&volume.metadata, LIMITED) == Some("true");
    let now = status.conditions.as_deref().unwrap_or_default();
    let marked = now.iter().any(|c| c.type_ == UNLIMITED);
    if marked != limited {
        return ClaimAction::Nothing;
    }
    ClaimAction::Mark(with_mark(now, node, limited))
}

/// The conditions with or without the one that says that the capacity is no limit.
fn with_mark(now: &[PersistentVolumeClaimCondition], node: &str, limited: bool) -> Vec<PersistentVolumeClaimCondition> {
    let mut conditions: Vec<_> = now.iter().filter(|c| c.type_ != UNLIMITED).cloned().collect();
    if !limited {
        conditions.push(PersistentVolumeClaimCondition {
            type_: UNLIMITED.into(),
            status: "True".into(),
            reason: Some("NoProjectQuotas".into()),
            message: Some(format!(
                "the file system of node {node} has no project quotas: the volume can grow beyond its capacity"
            )),
            ..Default::default()
        });
    }
    conditions
}

/// A claim's conditions once its volume has grown.
pub(super) fn conditions_after_growth(
    claim: &PersistentVolumeClaim,
    place: &Place,
    limited: bool,
) -> Vec<PersistentVolumeClaimCondition> {
    const OVER: [&str; 4] = ["Resizing", "FileSystemResizePending", "ControllerResizeError", "NodeResizeError"];
    let now = claim.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let now: Vec<_> = now.iter().filter(|c| !OVER.contains(&c.type_.as_str())).cloned().collect();
    with_mark(&now, &place.node, limited)
}

/// The volume of a claim, as the node keeps it.
pub(super) fn volume(
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
    place: &Place,
    kept: &Kept,
) -> PersistentVolume {
    let spec = claim.spec.clone().unwrap_or_default();
    let annotations =
        [(PROVISIONED_BY, PROVISIONER.to_owned()), (NODE, place.node.clone()), (LIMITED, kept.limited.to_string())];
    let on_the_node = NodeSelectorRequirement {
        key: HOSTNAME.into(),
        operator: "In".into(),
        values: Some(vec![place.hostname.clone()]),
    };
    let terms = vec![NodeSelectorTerm { match_expressions: Some(vec![on_the_node]), match_fields: None }];
    let storage = requested(&spec).map(|(text, _)| ("storage".to_owned(), Text(text)));
    PersistentVolume {
        metadata: ObjectMeta {
            name: Some(place.volume.clone()),
            annotations: Some(annotations.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
            finalizers: Some(vec![EXTERNAL_FINALIZER.into()]),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeSpec {
            capacity: Some(storage.into_iter().collect()),
            access_modes: spec.access_modes,
            claim_ref: Some(object_reference(claim)),
            local: Some(LocalVolumeSource { path: kept.path.clone(), fs_type: None }),
            node_affinity: Some(VolumeNodeAffinity { required: Some(NodeSelector { node_selector_terms: terms }) }),
            persistent_volume_reclaim_policy: class.reclaim_policy.clone(),
            storage_class_name: class.metadata.name.clone(),
            volume_mode: spec.volume_mode,
            ..PersistentVolumeSpec::default()
        }),
        status: None,
    }
}

/// Decides about a volume of ours; `exists` says whether there is such a node.
pub(super) fn volume_action(volume: &PersistentVolume, exists: impl Fn(&str) -> bool) -> VolumeAction<'_> {
    let phase = volume.status.as_ref().and_then(|s| s.phase.as_deref());
    let policy = volume.spec.as_ref().and_then(|s| s.persistent_volume_reclaim_policy.as_deref());
    let (released, delete) = (matches!(phase, Some("Released" | "Failed")), policy == Some("Delete"));
    if volume.metadata.deletion_timestamp.is_none() {
        return if released && delete { VolumeAction::Delete } else { VolumeAction::Nothing };
    }
    let held = volume.metadata.finalizers.iter().flatten().any(|f| f == EXTERNAL_FINALIZER);
    if !held || phase == Some("Bound") {
        return VolumeAction::Nothing;
    }
    // Where the node has gone, so have the data.
    let node = annotation(&volume.metadata, NODE).filter(|node| delete && exists(node));
    VolumeAction::LetGo { node }
}
