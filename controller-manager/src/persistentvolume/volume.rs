//! What becomes of a volume: it is offered, bound, given back, or reclaimed.
//!
//! Upstream: `syncVolume` in `pkg/controller/volume/persistentvolume/pv_controller.go`.

use controller::object_reference;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use volumes::{
    annotations::{self, EXTERNAL_FINALIZER, IN_TREE_FINALIZER, MIGRATED_TO, PROVISIONED_BY},
    csi_migration,
};

use super::{
    known::volume_of,
    plugins::{self, Deleter},
    steps::{Event, Step, set_phase, unbind, volume_phase, with_phase},
};
use crate::util::key::{self, Key};

/// What to do about a volume. `claim` is what has the name that its claimRef says, if there is one.
pub(super) fn sync(volume: &PersistentVolume, claim: Option<&PersistentVolumeClaim>) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut volume = volume.clone();
    if let Some(noted) = noted(&volume) {
        steps.push(Step::Volume(Box::new(noted.clone())));
        volume = noted;
    }
    let uid = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()?.uid.clone()).filter(|uid| !uid.is_empty());
    let Some(uid) = uid else {
        // Nobody's, or reserved for a claim that is not bound to it yet: that is the claim's affair.
        steps.extend(set_phase(&volume, "Available"));
        return steps;
    };
    // A claim of the name that is another one says that the volume's own is gone.
    let claim = claim.filter(|claim| claim.metadata.uid.as_ref() == Some(&uid));
    steps.extend(match claim {
        None => released(&volume),
        Some(claim) => of_claim(&volume, claim),
    });
    steps
}

fn of_claim(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Vec<Step> {
    let name = key::name(&volume.metadata);
    match volume_of(claim) {
        None => incomplete(volume, claim),
        Some(bound) if bound == name => set_phase(volume, "Bound").into_iter().collect(),
        Some(_) if annotations::has(&volume.metadata, PROVISIONED_BY) && policy(volume) == "Delete" => released(volume),
        Some(_) => unbind(volume),
    }
}

/// The claim does not name the volume yet: it will, if it can.
fn incomplete(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Vec<Step> {
    let (of_claim, of_volume) = (claim.spec.clone().unwrap_or_default(), volume.spec.clone().unwrap_or_default());
    if !volumes::volume_modes_differ(&of_claim, &of_volume) {
        return vec![Step::Wake(Key::of(&claim.metadata))];
    }
    let (v, c) = (key::name(&volume.metadata), key::name(&claim.metadata));
    let to_volume = format!(
        "Cannot bind PersistentVolume to requested PersistentVolumeClaim {c:?} due to incompatible volumeMode."
    );
    let to_claim = format!(
        "Cannot bind PersistentVolume {v:?} to requested PersistentVolumeClaim due to incompatible volumeMode."
    );
    vec![
        Step::Event(Event::warning(object_reference(volume), "VolumeMismatch", to_volume)),
        Step::Event(Event::warning(object_reference(claim), "VolumeMismatch", to_claim)),
    ]
}

fn policy(volume: &PersistentVolume) -> &str {
    volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref()).unwrap_or_default()
}

/// Nobody wants the volume any more. One that is Failed stays so: the user shall see it, and it is tried again.
fn released(volume: &PersistentVolume) -> Vec<Step> {
    let mut volume = volume.clone();
    let mut steps = Vec::new();
    if !matches!(volume_phase(&volume), "Released" | "Failed")
        && let Some(released) = with_phase(&volume, "Released", "")
    {
        steps.push(Step::VolumeStatus(Box::new(released.clone())));
        volume = released;
    }
    steps.extend(reclaim(&volume));
    steps
}

fn reclaim(volume: &PersistentVolume) -> Vec<Step> {
    if annotations::get(&volume.metadata, MIGRATED_TO).is_some_and(|driver| !driver.is_empty()) {
        return vec![];
    }
    match policy(volume) {
        "Retain" => vec![],
        "Recycle" if plugins::is_recyclable(volume) => vec![Step::Recycle(Box::new(volume.clone()))],
        "Recycle" => failed(volume, "VolumeFailedRecycle", "No recycler plugin found for the volume!"),
        "Delete" => match plugins::deleter(volume) {
            Ok(Deleter::External) => vec![],
            Ok(Deleter::Directory(path)) => vec![Step::Delete(Box::new(volume.clone()), path.to_owned())],
            Err(why) => failed(volume, "VolumeFailedDelete", &why),
        },
        _ => {
            let why = "Volume has unrecognized PersistentVolumeReclaimPolicy";
            failed(volume, "VolumeUnknownReclaimPolicy", why)
        }
    }
}

/// The volume is Failed, which is said once.
pub(super) fn failed(volume: &PersistentVolume, reason: &'static str, why: &str) -> Vec<Step> {
    let Some(failed) = with_phase(volume, "Failed", why) else { return vec![] };
    let said = Step::Event(Event::warning(object_reference(volume), reason, why));
    vec![Step::VolumeStatus(Box::new(failed)), said]
}

/// The volume with the notes that a volume has that a provisioner made: the CSI driver that has taken over, and the
/// finalizer of who has to delete it. Nothing if they are right.
fn noted(volume: &PersistentVolume) -> Option<PersistentVolume> {
    let maker = annotations::get(&volume.metadata, PROVISIONED_BY)?;
    let driver = csi_migration::driver_of(maker);
    let mut now = volume.clone();
    let annotations = now.metadata.annotations.get_or_insert_default();
    match driver {
        Some(driver) => drop(annotations.insert(MIGRATED_TO.to_owned(), driver.to_owned())),
        None => drop(annotations.remove(MIGRATED_TO)),
    }
    let mut finalizers = now.metadata.finalizers.take().unwrap_or_default();
    if driver.is_some() {
        finalizers.retain(|finalizer| finalizer != IN_TREE_FINALIZER);
    } else if maker.starts_with(plugins::IN_TREE) {
        let held = finalizers.iter().any(|finalizer| finalizer == IN_TREE_FINALIZER);
        match policy(volume) {
            "Delete" if !held => finalizers.push(IN_TREE_FINALIZER.to_owned()),
            "Retain" | "Recycle" => finalizers.retain(|finalizer| finalizer != IN_TREE_FINALIZER),
            _ => {}
        }
        finalizers.retain(|finalizer| finalizer != EXTERNAL_FINALIZER);
    }
    now.metadata.finalizers = Some(finalizers).filter(|finalizers| !finalizers.is_empty());
    (now.metadata != volume.metadata).then_some(now)
}

/// Whether nobody needs the volume any more, as far as is known: `claim` is what has the name in its claimRef.
pub(super) fn is_released(volume: &PersistentVolume, claim: Option<&PersistentVolumeClaim>) -> bool {
    let uid = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()?.uid.as_ref()).filter(|uid| !uid.is_empty());
    let Some(uid) = uid else { return false };
    match claim.filter(|claim| claim.metadata.uid.as_ref() == Some(uid)) {
        None => true,
        Some(claim) => volume_of(claim).is_some_and(|bound| bound != key::name(&volume.metadata)),
    }
}
