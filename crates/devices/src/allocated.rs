//! What is taken: devices that a claim has for itself, and shares of devices.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::resource::v1::{AllocationResult, DeviceRequestAllocationResult};

use crate::inventory::{Amounts, DeviceId, quantity};

/// What claims have. What an administrator looks at is not taken by that.
#[derive(Clone, Debug, Default)]
pub struct Allocated {
    /// How often: an allocation can be seen twice while it is written.
    whole: HashMap<DeviceId, usize>,
    shares: HashMap<DeviceId, usize>,
    consumed: HashMap<DeviceId, Amounts>,
}

impl Allocated {
    /// A claim has this.
    pub fn add(&mut self, allocation: &AllocationResult) {
        for result in results(allocation) {
            let id = DeviceId::new(&result.driver, &result.pool, &result.device);
            if result.share_id.is_none() {
                *self.whole.entry(id).or_default() += 1;
                continue;
            }
            if let Some(amounts) = &result.consumed_capacity {
                let consumed = self.consumed.entry(id.clone()).or_default();
                for (name, amount) in amounts {
                    let sum = consumed.get(name).map_or_else(|| quantity(amount), |sum| sum.add(&quantity(amount)));
                    consumed.insert(name.clone(), sum);
                }
            }
            *self.shares.entry(id).or_default() += 1;
        }
    }

    /// A claim that had this has it no more.
    pub fn remove(&mut self, allocation: &AllocationResult) {
        for result in results(allocation) {
            let id = DeviceId::new(&result.driver, &result.pool, &result.device);
            if result.share_id.is_none() {
                less(&mut self.whole, id);
                continue;
            }
            if let (Some(consumed), Some(amounts)) = (self.consumed.get_mut(&id), &result.consumed_capacity) {
                for (name, amount) in amounts {
                    if let Some(sum) = consumed.get_mut(name) {
                        *sum = sum.sub(&quantity(amount));
                    }
                }
            }
            less(&mut self.shares, id.clone());
            if !self.shares.contains_key(&id) {
                self.consumed.remove(&id);
            }
        }
    }

    /// Whether somebody has the device for himself.
    pub(crate) fn has(&self, id: &DeviceId) -> bool {
        self.whole.contains_key(id)
    }

    /// Whether somebody has the device or a share of it.
    pub(crate) fn has_any(&self, id: &DeviceId) -> bool {
        self.has(id) || self.shares.contains_key(id) || self.consumed.contains_key(id)
    }

    /// What was given of a shared device.
    pub(crate) fn consumed(&self, id: &DeviceId) -> Option<&BTreeMap<String, machinery::quantity::Quantity>> {
        self.consumed.get(id)
    }
}

fn results(allocation: &AllocationResult) -> impl Iterator<Item = &DeviceRequestAllocationResult> {
    let results = allocation.devices.iter().flat_map(|devices| devices.results.iter().flatten());
    results.filter(|result| result.admin_access != Some(true))
}

fn less(counts: &mut HashMap<DeviceId, usize>, id: DeviceId) {
    if let Some(count) = counts.get_mut(&id) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&id);
        }
    }
}
