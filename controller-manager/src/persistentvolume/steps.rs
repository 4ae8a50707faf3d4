//! What is done about a claim or a volume: writes in an order, each built on the one before, and what is said of them.

use k8s_openapi::{
    api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim, PersistentVolumeStatus},
    apimachinery::pkg::api::resource::Quantity,
};
use volumes::annotations::{self, BIND_COMPLETED, BOUND_BY_CONTROLLER, PRE_RESIZE_CAPACITY};

use crate::util::key::Key;

/// One thing to do. The first that fails ends it.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Write all but its status.
    Volume(Box<PersistentVolume>),
    VolumeStatus(Box<PersistentVolume>),
    Claim(Box<PersistentVolumeClaim>),
    ClaimStatus(Box<PersistentVolumeClaim>),
    /// The same as `Claim`, of one that gets the default class.
    DefaultClass(Box<PersistentVolumeClaim>),
    /// Say something about an object.
    Event(Event),
    /// A claim has to be looked at.
    Wake(Key),
    /// Remove this directory, which is what the volume was, and then the volume.
    Delete(Box<PersistentVolume>, String),
    /// Have the volume emptied by a pod and offered again.
    Recycle(Box<PersistentVolume>),
    /// It can't go on: why.
    Fail(String),
}

/// What is said about an object.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) about: ObjectReference,
    /// Normal or Warning.
    pub(super) kind: &'static str,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Event {
    pub(super) fn normal(about: ObjectReference, reason: &'static str, message: impl Into<String>) -> Self {
        Self { about, kind: "Normal", reason, message: message.into() }
    }

    pub(super) fn warning(about: ObjectReference, reason: &'static str, message: impl Into<String>) -> Self {
        Self { about, kind: "Warning", reason, message: message.into() }
    }
}

pub(super) fn volume_phase(volume: &PersistentVolume) -> &str {
    volume.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

pub(super) fn claim_phase(claim: &PersistentVolumeClaim) -> &str {
    claim.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// The volume in that phase; nothing if it is in it already, whatever its message.
pub(super) fn with_phase(volume: &PersistentVolume, phase: &str, message: &str) -> Option<PersistentVolume> {
    (volume_phase(volume) != phase).then(|| {
        let mut volume = volume.clone();
        let status = volume.status.get_or_insert_with(PersistentVolumeStatus::default);
        status.phase = Some(phase.to_owned());
        status.message = Some(message.to_owned()).filter(|message| !message.is_empty());
        volume
    })
}

/// The step that brings the volume to that phase.
pub(super) fn set_phase(volume: &PersistentVolume, phase: &str) -> Option<Step> {
    with_phase(volume, phase, "").map(|volume| Step::VolumeStatus(Box::new(volume)))
}

/// The claim in that phase, with what the volume gives it; nothing if it is so already.
///
/// Size and attributes class are taken over when a claim becomes bound, not later: from then on they are others' affairs.
///
/// # Errors
/// The volume does not say how large it is.
pub(super) fn with_status(
    claim: &PersistentVolumeClaim,
    phase: &str,
    volume: Option<&PersistentVolume>,
) -> Result<Option<PersistentVolumeClaim>, String> {
    let before = claim.status.clone().unwrap_or_default();
    let mut status = before.clone();
    status.phase = Some(phase.to_owned());
    let Some(volume) = volume else {
        (status.access_modes, status.capacity, status.current_volume_attributes_class_name) = (None, None, None);
        return Ok((status != before).then(|| PersistentVolumeClaim { status: Some(status), ..claim.clone() }));
    };
    let spec = volume.spec.clone().unwrap_or_default();
    status.access_modes = spec.access_modes;
    if claim_phase(claim) != phase {
        let size = spec.capacity.as_ref().and_then(|capacity| capacity.get("storage"));
        let name = volume.metadata.name.as_deref().unwrap_or_default();
        let size = size.ok_or_else(|| format!("PersistentVolume {name:?} is without a storage capacity"))?;
        let parsed = |quantity: &Quantity| machinery::quantity::Quantity::parse(&quantity.0).ok();
        let known = status.capacity.as_ref().and_then(|capacity| capacity.get("storage"));
        if let Some(usable) = annotations::get(&volume.metadata, PRE_RESIZE_CAPACITY) {
            let usable = Quantity(usable.to_owned());
            let usable = if parsed(&usable).is_some() { usable } else { size.clone() };
            status.capacity.get_or_insert_default().insert("storage".to_owned(), usable);
        } else if known.is_none_or(|known| parsed(known) != parsed(size)) {
            status.capacity = spec.capacity;
        }
        if claim_phase(claim) == "Pending" && phase == "Bound" {
            status.current_volume_attributes_class_name = spec.volume_attributes_class_name;
        }
    }
    Ok((status != before).then(|| PersistentVolumeClaim { status: Some(status), ..claim.clone() }))
}

/// The step that brings the claim to that phase without a volume.
pub(super) fn set_unbound(claim: &PersistentVolumeClaim, phase: &str) -> Option<Step> {
    // Only a volume can be without a capacity.
    let claim = with_status(claim, phase, None).ok().flatten()?;
    Some(Step::ClaimStatus(Box::new(claim)))
}

/// The claim as it is when the volume is bound to it; nothing if it is so already.
fn bound_claim(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Option<PersistentVolumeClaim> {
    let names = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()) == volume.metadata.name.as_deref();
    if names && annotations::has(&claim.metadata, BIND_COMPLETED) {
        return None;
    }
    let mut claim = claim.clone();
    if !names {
        claim.spec.get_or_insert_default().volume_name = volume.metadata.name.clone();
        mark(&mut claim, BOUND_BY_CONTROLLER);
    }
    mark(&mut claim, BIND_COMPLETED);
    Some(claim)
}

/// Annotates a claim, unless it is annotated already.
fn mark(claim: &mut PersistentVolumeClaim, annotation: &str) {
    if !annotations::has(&claim.metadata, annotation) {
        annotations::set(&mut claim.metadata, annotation, "yes");
    }
}

/// Binds both, the volume first: what of it is not done yet.
pub(super) fn bind(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut volume = volume.clone();
    if let Some(bound) = volumes::bind_volume(&volume, claim) {
        volume = bound;
        steps.push(Step::Volume(Box::new(volume.clone())));
    }
    if let Some(bound) = with_phase(&volume, "Bound", "") {
        volume = bound;
        steps.push(Step::VolumeStatus(Box::new(volume.clone())));
    }
    let mut claim = claim.clone();
    if let Some(bound) = bound_claim(&claim, &volume) {
        claim = bound;
        steps.push(Step::Claim(Box::new(claim.clone())));
    }
    match with_status(&claim, "Bound", Some(&volume)) {
        Ok(Some(claim)) => steps.push(Step::ClaimStatus(Box::new(claim))),
        Ok(None) => {}
        Err(why) => steps.push(Step::Fail(why)),
    }
    steps
}

/// Takes a binding back: of a volume that the controller bound all of it, of one that a user reserved the UID.
pub(super) fn unbind(volume: &PersistentVolume) -> Vec<Step> {
    let mut volume = volume.clone();
    let spec = volume.spec.get_or_insert_default();
    if annotations::has(&volume.metadata, BOUND_BY_CONTROLLER) {
        spec.claim_ref = None;
        if let Some(annotations) = &mut volume.metadata.annotations {
            annotations.remove(BOUND_BY_CONTROLLER);
        }
    } else if let Some(reference) = &mut spec.claim_ref {
        reference.uid = None;
    }
    let available = set_phase(&volume, "Available");
    [Step::Volume(Box::new(volume))].into_iter().chain(available).collect()
}
