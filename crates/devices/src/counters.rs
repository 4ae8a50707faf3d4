//! Counters that the devices of a pool share: what is left of them.

use std::collections::{BTreeMap, HashMap};

use machinery::quantity::Quantity;

use crate::{
    allocated::Allocated,
    inventory::{Amounts, Device},
    pools::Usable,
};

type Sets = BTreeMap<String, Amounts>;

/// By the place of the pool in the list of pools.
#[derive(Default)]
pub(crate) struct Counters {
    /// Without what claims have.
    available: HashMap<usize, Sets>,
    /// By the devices that are about to be given.
    consumed: HashMap<usize, Sets>,
}

impl Counters {
    /// Consumes what a device does, if there is enough of it.
    pub(crate) fn take(&mut self, pool: usize, usable: &Usable, allocated: &Allocated, device: &Device) -> bool {
        let available = self.available.entry(pool).or_insert_with(|| available(usable, allocated));
        let consumed = self.consumed.entry(pool).or_default();
        combine(consumed, device, Quantity::add);
        let left = |set: &String, counter: &String, there: &Quantity| {
            let none = Quantity::zero();
            there >= consumed.get(set).and_then(|amounts| amounts.get(counter)).unwrap_or(&none)
        };
        let enough =
            available.iter().all(|(set, there)| there.iter().all(|(counter, there)| left(set, counter, there)));
        if !enough {
            self.release(pool, device);
        }
        enough
    }

    /// Gives back what a device consumed.
    pub(crate) fn release(&mut self, pool: usize, device: &Device) {
        combine(self.consumed.entry(pool).or_default(), device, Quantity::sub);
    }
}

fn available(usable: &Usable, allocated: &Allocated) -> Sets {
    let mut available = usable.counters.clone();
    let devices = usable.slices.iter().chain(&usable.elsewhere).flat_map(|slice| &slice.devices);
    for device in devices.filter(|device| !device.consumes.is_empty() && allocated.has_any(&device.id)) {
        // It may come out below nothing, and then there is nothing.
        combine(&mut available, device, Quantity::sub);
    }
    available
}

fn combine(sets: &mut Sets, device: &Device, op: fn(&Quantity, &Quantity) -> Quantity) {
    for (set, amounts) in &device.consumes {
        let counters = sets.entry(set.clone()).or_default();
        for (counter, amount) in amounts {
            let before = counters.get(counter).cloned().unwrap_or(Quantity::zero());
            counters.insert(counter.clone(), op(&before, amount));
        }
    }
}
