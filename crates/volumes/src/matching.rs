//! Whether a volume satisfies a claim, and which of several is the best one.
//!
//! Upstream: `FindMatchingVolume` in `component-helpers/storage/volume`, and the index by access modes in
//! `pkg/controller/volume/persistentvolume`.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeSpec,
};
use machinery::{
    quantity::Quantity,
    selector::{LabelSelector, Labels},
};

use crate::{Reach, capacity, claim_class, is_bound_to, requested, volume_class};

/// What a claim wants of a volume, read once and asked of many.
#[derive(Clone, Debug)]
pub struct Wanted {
    claim: Arc<PersistentVolumeClaim>,
    storage: Quantity,
    selector: Option<LabelSelector>,
}

/// How a volume satisfies a claim. The better one is less.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// It is bound to the claim or reserved for it.
    Reserved,
    /// It is available, and this large.
    Free(Quantity),
}

impl Wanted {
    /// What the claim wants.
    ///
    /// # Errors
    /// Its selector can't be read.
    pub fn new(claim: Arc<PersistentVolumeClaim>) -> Result<Self, String> {
        let selector = claim.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        let selector = selector.map(|selector| {
            let value = serde_json::to_value(selector).unwrap_or_default();
            LabelSelector::from_value(Some(&value)).map_err(|why| {
                let meta = &claim.metadata;
                let [namespace, name] = [&meta.namespace, &meta.name].map(|part| part.as_deref().unwrap_or_default());
                format!("error creating internal label selector for claim: {namespace}/{name}: {why}")
            })
        });
        Ok(Self { storage: requested(&claim), selector: selector.transpose()?, claim })
    }

    /// The claim.
    pub fn claim(&self) -> &Arc<PersistentVolumeClaim> {
        &self.claim
    }

    /// Whether and how the volume satisfies the claim, from whichever node it is asked.
    ///
    /// A volume that is reserved has to be large enough, of the claim's volume mode and attributes class, and not on its
    /// way out; class, labels and access modes are up to who reserved it.
    pub fn fit(&self, volume: &PersistentVolume) -> Option<Fit> {
        let (wanted, has) = (self.claim.spec.as_ref()?, volume.spec.as_ref()?);
        let reserved = is_bound_to(volume, &self.claim);
        if (has.claim_ref.is_some() && !reserved) || volume.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let attributes = [&wanted.volume_attributes_class_name, &has.volume_attributes_class_name];
        let [wanted_class, class] = attributes.map(|class| class.as_deref().unwrap_or_default());
        if volume_modes_differ(wanted, has) || wanted_class != class {
            return None;
        }
        let size = capacity(volume);
        if size < self.storage {
            return None;
        }
        if reserved {
            return Some(Fit::Reserved);
        }
        let available = volume.status.as_ref().is_some_and(|s| s.phase.as_deref() == Some("Available"));
        let labels = volume.metadata.labels.as_ref();
        let selected = || self.selector.as_ref().is_none_or(|selector| selector.matches(&labels));
        let free = available
            && volume_class(volume) == claim_class(&self.claim)
            && access_modes_suffice(&self.claim, volume)
            && selected();
        free.then_some(Fit::Free(size))
    }

    /// The volume that the binding controller takes: of those with the fewest access modes the one that is reserved for
    /// the claim, or the smallest. If `delayed`, only a reserved one: the scheduler chooses among the others.
    ///
    /// As upstream, a reserved volume is found only if it has the claim's access modes.
    pub fn best<'v>(
        &self,
        volumes: impl IntoIterator<Item = &'v Arc<PersistentVolume>>,
        delayed: bool,
    ) -> Option<&'v Arc<PersistentVolume>> {
        let rank = |volume: &'v Arc<PersistentVolume>| {
            let fit = self.fit(volume).filter(|fit| !delayed || *fit == Fit::Reserved)?;
            let modes = access_modes(volume);
            access_modes_suffice(&self.claim, volume).then_some(((modes.len(), modes, fit), volume))
        };
        let ranked = volumes.into_iter().filter_map(rank);
        ranked.min_by(|(a, _), (b, _)| a.cmp(b)).map(|(_, volume)| volume)
    }

    /// The volume that the scheduler takes for a node with these labels: one that is reserved for the claim, which is
    /// none if the node doesn't reach it; or the smallest that the node reaches. `taken` are chosen for other claims.
    pub fn best_on_node<'v>(
        &self,
        volumes: impl IntoIterator<Item = &'v Arc<PersistentVolume>>,
        labels: &(impl Labels + ?Sized),
        taken: impl Fn(&PersistentVolume) -> bool,
    ) -> Option<&'v Arc<PersistentVolume>> {
        let reaches = |volume: &PersistentVolume| Reach::of(volume).includes(labels);
        let mut best: Option<(Quantity, &Arc<PersistentVolume>)> = None;
        for volume in volumes.into_iter().filter(|volume| !taken(volume)) {
            match self.fit(volume) {
                Some(Fit::Reserved) => return Some(volume).filter(|volume| reaches(volume)),
                Some(Fit::Free(size)) if best.as_ref().is_none_or(|(least, _)| size < *least) && reaches(volume) => {
                    best = Some((size, volume));
                }
                _ => {}
            }
        }
        best.map(|(_, volume)| volume)
    }
}

/// The access modes of a volume, each once, in upstream's order.
fn access_modes(volume: &PersistentVolume) -> Vec<&'static str> {
    let has = |mode: &str| {
        volume.spec.iter().flat_map(|spec| spec.access_modes.iter().flatten()).any(|has| has.as_str() == mode)
    };
    ["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"]
        .into_iter()
        .filter(|mode| has(mode))
        .collect()
}

/// Whether the volume has all access modes that the claim wants.
pub fn access_modes_suffice(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let wanted = claim.spec.iter().flat_map(|spec| spec.access_modes.iter().flatten());
    let has = volume.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default();
    wanted.into_iter().all(|mode| has.contains(mode))
}

/// Whether claim and volume differ in their volume mode, which is Filesystem if nothing is said.
pub fn volume_modes_differ(claim: &PersistentVolumeClaimSpec, volume: &PersistentVolumeSpec) -> bool {
    let [claim, volume] = [&claim.volume_mode, &volume.volume_mode].map(|mode| mode.as_deref().unwrap_or("Filesystem"));
    claim != volume
}

#[cfg(test)]
mod tests;
