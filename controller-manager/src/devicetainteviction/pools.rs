//! The devices that are tainted, by their pools, and the claims that have devices of a pool: so that a change of a slice
//! asks for no look at all claims.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use client::Change;
use k8s_openapi::api::resource::v1::{DeviceRequestAllocationResult, DeviceTaint, ResourceClaim, ResourceSlice};

use crate::util::key::{self, Key};

/// Driver and name.
type PoolId = (String, String);

/// Pools by their driver and name.
#[derive(Default)]
pub(crate) struct Pools(HashMap<PoolId, Pool>);

#[derive(Default)]
struct Pool {
    slices: BTreeMap<String, Arc<ResourceSlice>>,
    claims: BTreeSet<Key>,
}

impl Pool {
    /// Those of the latest generation.
    fn current(&self) -> impl Iterator<Item = &Arc<ResourceSlice>> {
        let latest = self.slices.values().map(|slice| slice.spec.pool.generation).max();
        self.slices.values().filter(move |slice| Some(slice.spec.pool.generation) == latest)
    }

    /// The taints that evict, by device.
    fn tainted(&self) -> BTreeMap<&str, Vec<&DeviceTaint>> {
        let mut tainted: BTreeMap<&str, Vec<&DeviceTaint>> = BTreeMap::new();
        for device in self.current().flat_map(|slice| slice.spec.devices.iter().flatten()) {
            let evicting = device.taints.iter().flatten().filter(|taint| taint.effect == "NoExecute");
            for taint in evicting {
                tainted.entry(&device.name).or_default().push(taint);
            }
        }
        tainted
    }
}

fn pool_of(slice: &ResourceSlice) -> PoolId {
    (slice.spec.driver.clone(), slice.spec.pool.name.clone())
}

/// The devices that a claim has.
pub(crate) fn allocated_devices(claim: &ResourceClaim) -> impl Iterator<Item = &DeviceRequestAllocationResult> {
    let allocation = claim.status.as_ref().and_then(|status| status.allocation.as_ref());
    allocation.into_iter().flat_map(|a| a.devices.iter()).flat_map(|devices| devices.results.iter().flatten())
}

impl Pools {
    /// Takes a slice up, and returns the claims whose devices have other taints now.
    pub(crate) fn slice_changed(&mut self, change: &Change<ResourceSlice>) -> Vec<Key> {
        let mut concerned = vec![];
        match change {
            Change::Added(slice) => self.set(slice, true, &mut concerned),
            Change::Deleted(slice) => self.set(slice, false, &mut concerned),
            Change::Updated { old, new } => {
                // A slice stays in its pool; but for what a server should have refused.
                if pool_of(old) != pool_of(new) {
                    self.set(old, false, &mut concerned);
                }
                self.set(new, true, &mut concerned);
            }
        }
        concerned
    }

    fn set(&mut self, slice: &Arc<ResourceSlice>, there: bool, concerned: &mut Vec<Key>) {
        let id = pool_of(slice);
        let pool = self.0.entry(id.clone()).or_default();
        let taints = |pool: &Pool| -> Vec<(String, Vec<DeviceTaint>)> {
            let owned = |(device, taints): (&str, Vec<&DeviceTaint>)| {
                (device.to_owned(), taints.into_iter().cloned().collect())
            };
            pool.tainted().into_iter().map(owned).collect()
        };
        let before = taints(pool);
        let name = key::name(&slice.metadata);
        match there {
            true => drop(pool.slices.insert(name.to_owned(), slice.clone())),
            false => drop(pool.slices.remove(name)),
        }
        if before != taints(pool) {
            concerned.extend(pool.claims.iter().cloned());
        }
        self.forget_if_empty(&id);
    }

    /// Notes which devices a claim has.
    pub(crate) fn claim_changed(&mut self, change: &Change<ResourceClaim>) {
        let pools = |claim: &ResourceClaim| -> BTreeSet<PoolId> {
            allocated_devices(claim).map(|device| (device.driver.clone(), device.pool.clone())).collect()
        };
        let key = Key::of(&change.object().metadata);
        let (before, after) = match change {
            Change::Added(claim) => (BTreeSet::new(), pools(claim)),
            Change::Deleted(claim) => (pools(claim), BTreeSet::new()),
            Change::Updated { old, new } => (pools(old), pools(new)),
        };
        for id in before.difference(&after) {
            if let Some(pool) = self.0.get_mut(id) {
                pool.claims.remove(&key);
            }
            self.forget_if_empty(id);
        }
        for id in after.difference(&before) {
            self.0.entry(id.clone()).or_default().claims.insert(key.clone());
        }
    }

    fn forget_if_empty(&mut self, id: &PoolId) {
        if self.0.get(id).is_some_and(|pool| pool.slices.is_empty() && pool.claims.is_empty()) {
            self.0.remove(id);
        }
    }

    /// The taints of a device that evict.
    pub(crate) fn taints(&self, device: &DeviceRequestAllocationResult) -> Vec<DeviceTaint> {
        let pool = self.0.get(&(device.driver.clone(), device.pool.clone()));
        let taints = pool.and_then(|pool| pool.tainted().remove(device.device.as_str()));
        taints.into_iter().flatten().cloned().collect()
    }
}
