//! What becomes of a claim: it is bound to a volume, waits for one, has one made, or has lost the one it had.
//!
//! Upstream: `syncClaim` in `pkg/controller/volume/persistentvolume/pv_controller.go`.

use std::sync::Arc;

use controller::object_reference;
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::StorageClass,
};
use volumes::{
    Wanted,
    annotations::{
        self, BETA_DEFAULT_CLASS, BETA_STORAGE_PROVISIONER, BOUND_BY_CONTROLLER, DEFAULT_CLASS, MIGRATED_TO,
        SELECTED_NODE, STORAGE_PROVISIONER,
    },
    claim_class, csi_migration,
};

use super::{
    known::{Known, claim_of, is_bind_completed, volume_of},
    plugins,
    steps::{Event, Step, bind, claim_phase, set_unbound},
};
use crate::util::key::{self, Key};

/// What is looked at.
pub(super) struct World<'a> {
    pub(super) known: &'a Known,
    pub(super) classes: &'a [Arc<StorageClass>],
    /// `--enable-dynamic-provisioning`.
    pub(super) dynamic_provisioning: bool,
    /// The names of the pods that use the claim and have no node yet.
    pub(super) waiting_pods: &'a dyn Fn(&Key) -> Vec<String>,
}

impl World<'_> {
    fn class(&self, name: &str) -> Option<&Arc<StorageClass>> {
        self.classes.iter().find(|class| key::name(&class.metadata) == name)
    }

    /// The class of claims that name none: of those that are said to be it the newest.
    fn default_class(&self) -> Option<&Arc<StorageClass>> {
        let says = |class: &StorageClass, name| annotations::get(&class.metadata, name) == Some("true");
        let defaults =
            self.classes.iter().filter(|class| says(class, DEFAULT_CLASS) || says(class, BETA_DEFAULT_CLASS));
        let created = |class: &Arc<StorageClass>| class.metadata.creation_timestamp.as_ref().map(|time| time.0);
        defaults.max_by(|a, b| created(a).cmp(&created(b)).then_with(|| b.metadata.name.cmp(&a.metadata.name)))
    }
}

/// What to do about a claim.
pub(super) fn sync(world: &World<'_>, claim: &Arc<PersistentVolumeClaim>) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut claim = claim.clone();
    if let Some(migrated) = migrated(&claim) {
        steps.push(Step::Claim(Box::new(migrated.clone())));
        claim = Arc::new(migrated);
    }
    let named = volume_of(&claim);
    steps.extend(match (is_bind_completed(&claim), named) {
        (false, None) => unbound(world, &claim),
        (false, Some(name)) => named_but_unbound(world.known.volume(name), &claim),
        (true, named) => bound(named.map(|name| world.known.volume(name)), &claim),
    });
    steps
}

/// The claim with the note about which CSI driver does the work of its provisioner; nothing if that is right.
fn migrated(claim: &PersistentVolumeClaim) -> Option<PersistentVolumeClaim> {
    let annotation = |name| annotations::get(&claim.metadata, name);
    let provisioner = annotation(STORAGE_PROVISIONER).or_else(|| annotation(BETA_STORAGE_PROVISIONER))?;
    let driver = csi_migration::driver_of(provisioner);
    if annotation(MIGRATED_TO).filter(|noted| !noted.is_empty()) == driver {
        return None;
    }
    let mut claim = claim.clone();
    note_driver(&mut claim, driver);
    Some(claim)
}

fn note_driver(claim: &mut PersistentVolumeClaim, driver: Option<&str>) {
    let annotations = claim.metadata.annotations.get_or_insert_default();
    match driver {
        Some(driver) => drop(annotations.insert(MIGRATED_TO.to_owned(), driver.to_owned())),
        None => drop(annotations.remove(MIGRATED_TO)),
    }
}

/// A claim that takes whichever volume satisfies it.
fn unbound(world: &World<'_>, claim: &Arc<PersistentVolumeClaim>) -> Vec<Step> {
    let class = world.class(claim_class(claim));
    let mode = class.map(|class| class.volume_binding_mode.as_deref());
    if let Some(None) = mode {
        return vec![Step::Fail(format!("VolumeBindingMode not set for StorageClass {:?}", claim_class(claim)))];
    }
    let delayed = class.is_some_and(|class| volumes::waits_for_consumer(class));
    let wanted = match Wanted::new(claim.clone()) {
        Ok(wanted) => wanted,
        Err(why) => {
            let key = Key::of(&claim.metadata);
            return vec![Step::Fail(format!("error finding PV for claim \"{key:?}\": {why}"))];
        }
    };
    if let Some(volume) = world.known.best(&wanted, delayed) {
        return bind(&volume, claim);
    }
    if !volumes::claim_has_class(claim)
        && let Some(class) = world.default_class()
    {
        let mut claim = (**claim).clone();
        claim.spec.get_or_insert_default().storage_class_name = class.metadata.name.clone();
        // What follows of it comes with the change.
        return vec![Step::DefaultClass(Box::new(claim))];
    }
    let said = if delayed && !annotations::has(&claim.metadata, SELECTED_NODE) {
        waits_for_consumer(world, claim)
    } else if !claim_class(claim).is_empty() {
        return provision(world, claim);
    } else {
        let message = "no persistent volumes available for this claim and no storage class is set";
        Event::normal(object_reference(&**claim), "FailedBinding", message)
    };
    [Step::Event(said)].into_iter().chain(set_unbound(claim, "Pending")).collect()
}

fn waits_for_consumer(world: &World<'_>, claim: &PersistentVolumeClaim) -> Event {
    let pods = (world.waiting_pods)(&Key::of(&claim.metadata));
    let (reason, message) = match pods.as_slice() {
        [] => ("WaitForFirstConsumer", "waiting for first consumer to be created before binding".to_owned()),
        [pod] => ("WaitForPodScheduled", format!("waiting for pod {pod} to be scheduled")),
        pods => ("WaitForPodScheduled", format!("waiting for pods {} to be scheduled", pods.join(","))),
    };
    Event::normal(object_reference(claim), reason, message)
}

/// Asks the provisioner of its class for a volume.
fn provision(world: &World<'_>, claim: &Arc<PersistentVolumeClaim>) -> Vec<Step> {
    if !world.dynamic_provisioning {
        return vec![];
    }
    let name = claim_class(claim);
    let missing = || format!("storageclass.storage.k8s.io {name:?} not found");
    let found = world.class(name).ok_or_else(missing).and_then(|class| plugins::provisioner(class));
    let provisioner = match found {
        Ok(provisioner) => provisioner,
        Err(why) => {
            return vec![Step::Event(Event::warning(object_reference(&**claim), "ProvisioningFailed", why))];
        }
    };
    let asked = annotations::get(&claim.metadata, STORAGE_PROVISIONER) == Some(provisioner);
    let ask = (!asked).then(|| {
        let mut claim = (**claim).clone();
        annotations::set(&mut claim.metadata, BETA_STORAGE_PROVISIONER, provisioner);
        annotations::set(&mut claim.metadata, STORAGE_PROVISIONER, provisioner);
        note_driver(&mut claim, csi_migration::driver_of(provisioner));
        Step::Claim(Box::new(claim))
    });
    let message = format!(
        "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system \
         administrator. If volume creation is delayed, please verify that the provisioner is running and correctly \
         registered."
    );
    let said = Event::normal(object_reference(&**claim), "ExternalProvisioning", message);
    ask.into_iter().chain([Step::Event(said)]).collect()
}

/// A claim that takes one volume and no other.
fn named_but_unbound(volume: Option<&Arc<PersistentVolume>>, claim: &PersistentVolumeClaim) -> Vec<Step> {
    let pending = || set_unbound(claim, "Pending");
    let Some(volume) = volume else { return pending().into_iter().collect() };
    let name = key::name(&volume.metadata);
    let say = |reason, message| Step::Event(Event::warning(object_reference(claim), reason, message));
    let Some(owner) = claim_of(volume) else {
        return match unsatisfied(volume, claim) {
            None => bind(volume, claim),
            Some(why) => {
                let said = say("VolumeMismatch", format!("Cannot bind to requested volume {name:?}: {why}"));
                [said].into_iter().chain(pending()).collect()
            }
        };
    };
    if volumes::is_bound_to(volume, claim) {
        return bind(volume, claim);
    }
    let said = say("FailedBinding", format!("volume {name:?} already bound to a different claim."));
    if !annotations::has(&claim.metadata, BOUND_BY_CONTROLLER) {
        return [said].into_iter().chain(pending()).collect();
    }
    let key = Key::of(&claim.metadata);
    let why =
        format!("invalid binding of claim \"{key:?}\" to volume {name:?}: volume already claimed by \"{owner:?}\"");
    vec![said, Step::Fail(why)]
}

/// Why the volume that the claim names does not satisfy it.
fn unsatisfied(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<String> {
    if volume.metadata.deletion_timestamp.is_some() {
        return Some(format!("the volume is marked for deletion {:?}", key::name(&volume.metadata)));
    }
    let (wanted, has) = (claim.spec.clone().unwrap_or_default(), volume.spec.clone().unwrap_or_default());
    let attributes = |class: &Option<String>| class.clone().unwrap_or_default();
    let why = if volumes::capacity(volume).value() < volumes::requested(claim).value() {
        "requested PV is too small"
    } else if volumes::volume_class(volume) != claim_class(claim) {
        "storageClassName does not match"
    } else if attributes(&wanted.volume_attributes_class_name) != attributes(&has.volume_attributes_class_name) {
        "volumeAttributesClassName does not match"
    } else if volumes::volume_modes_differ(&wanted, &has) {
        "incompatible volumeMode"
    } else if !volumes::access_modes_suffice(claim, volume) {
        "incompatible accessMode"
    } else {
        return None;
    };
    Some(why.to_owned())
}

/// A claim that was bound once. `named` is what is known of the volume that it names, if it names one.
fn bound(named: Option<Option<&Arc<PersistentVolume>>>, claim: &PersistentVolumeClaim) -> Vec<Step> {
    let (reason, message) = match named {
        None => ("ClaimLost", "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"),
        Some(None) => ("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!"),
        Some(Some(volume)) => {
            let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
            if reference.is_none_or(|reference| reference.uid == claim.metadata.uid) {
                return bind(volume, claim);
            }
            ("ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")
        }
    };
    if claim_phase(claim) == "Lost" {
        return vec![];
    }
    let said = Step::Event(Event::warning(object_reference(claim), reason, message));
    set_unbound(claim, "Lost").into_iter().chain([said]).collect()
}
