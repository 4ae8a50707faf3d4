//! Pools: the slices of a driver that belong together, as one node sees them.
//!
//! Upstream: `structured/internal/incubating/pools_incubating.go`. Slices of an older generation do not count. A pool of
//! which slices are missing is incomplete; one that contradicts itself is invalid: nothing is given of either.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use crate::{
    inventory::{Amounts, Inventory, Place, PoolId, Slice},
    search::Node,
};

/// A pool.
pub(crate) struct Pool {
    pub(crate) id: PoolId,
    pub(crate) state: State,
}

pub(crate) enum State {
    /// Not all of its slices are there.
    Incomplete,
    Invalid,
    Usable(Usable),
}

/// What devices can be taken of.
pub(crate) struct Usable {
    /// Those with devices for the node, by name.
    pub(crate) slices: Vec<Arc<Slice>>,
    /// Those with devices for other nodes, which may use the same counters.
    pub(crate) elsewhere: Vec<Arc<Slice>>,
    /// What there is of the counters, by their sets.
    pub(crate) counters: BTreeMap<String, Amounts>,
}

impl Pool {
    /// The slices that devices can be taken of.
    pub(crate) fn slices(&self) -> &[Arc<Slice>] {
        match &self.state {
            State::Usable(usable) => &usable.slices,
            _ => &[],
        }
    }

    fn has_binding_conditions(&self) -> bool {
        self.slices().iter().flat_map(|slice| &slice.devices).any(|device| device.binding_conditions.is_some())
    }
}

/// Whether a node is one of those.
pub(crate) fn is_at(place: &Place, node: &dyn Node) -> Result<bool, String> {
    match place {
        Place { node: Some(name), .. } => Ok(node.name() == name),
        Place { all: true, .. } => Ok(true),
        Place { selector: Some(selector), .. } => {
            node.matches(selector).map_err(|why| format!("failed to parse node selector {selector:?}: {why}"))
        }
        _ => Ok(false),
    }
}

/// The pools of a node, by driver and name; those whose devices have to be prepared come last.
pub(crate) fn gather(inventory: &Inventory, node: &dyn Node) -> Result<Vec<Pool>, String> {
    let mut found: BTreeMap<&PoolId, Vec<&Arc<Slice>>> = BTreeMap::new();
    for slice in inventory.for_node(node.name()) {
        if !is_relevant(slice, node)? {
            continue;
        }
        let known = found.entry(&slice.pool).or_default();
        match known.first().map(|first| slice.generation.cmp(&first.generation)) {
            Some(std::cmp::Ordering::Less) => {}
            Some(std::cmp::Ordering::Greater) => *known = vec![slice],
            _ => known.push(slice),
        }
    }
    let pools = found.into_iter().filter_map(|(id, slices)| pool(inventory, id, slices));
    let (last, mut pools): (Vec<_>, Vec<_>) = pools.partition(Pool::has_binding_conditions);
    pools.extend(last);
    Ok(pools)
}

fn is_relevant(slice: &Slice, node: &dyn Node) -> Result<bool, String> {
    if slice.has_counters() {
        return Ok(true);
    }
    if slice.place.is_known() {
        let failed = |why| format!("failed to perform node selection for slice {}: {why}", slice.name);
        return is_at(&slice.place, node).map_err(failed);
    }
    for device in slice.devices.iter().filter(|_| slice.place_per_device) {
        let failed = |why| {
            let (device, slice) = (&device.id.device, &slice.name);
            format!("failed to perform node selection for device {device} in slice {slice}: {why}")
        };
        if is_at(&device.place, node).map_err(failed)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A pool of these slices of one generation; none if a newer one is on its way, with no slice for the node.
fn pool(inventory: &Inventory, id: &PoolId, mut slices: Vec<&Arc<Slice>>) -> Option<Pool> {
    let (generation, of) = slices.first().map(|first| (first.generation, first.of))?;
    let is_whole = |found: usize| i64::try_from(found) == Ok(of);
    let made = |state| Some(Pool { id: id.clone(), state });
    let mut others = vec![];
    if !is_whole(slices.len()) {
        if inventory.of_pool(id).any(|slice| slice.generation > generation) {
            return None;
        }
        let all: Vec<_> = inventory.of_pool(id).filter(|slice| slice.generation == generation).collect();
        if !is_whole(all.len()) {
            return made(State::Incomplete);
        }
        let known: HashSet<&str> = slices.iter().map(|slice| slice.name.as_str()).collect();
        others = all.into_iter().filter(|slice| !known.contains(slice.name.as_str())).collect();
    }
    slices.sort_by(|a, b| a.name.cmp(&b.name));
    let (counters, slices): (Vec<_>, Vec<_>) = slices.into_iter().partition(|slice| slice.has_counters());
    let Some(counters) = counter_sets(&counters) else { return made(State::Invalid) };
    let consistent = |slice: &&Arc<Slice>| consumes_what_there_is(slice, &counters);
    if !has_distinct_devices(&slices) || !slices.iter().all(consistent) || !others.iter().all(consistent) {
        return made(State::Invalid);
    }
    let owned = |slices: Vec<&Arc<Slice>>| slices.into_iter().cloned().collect();
    made(State::Usable(Usable { slices: owned(slices), elsewhere: owned(others), counters }))
}

/// None if two sets have one name.
fn counter_sets(slices: &[&Arc<Slice>]) -> Option<BTreeMap<String, Amounts>> {
    let mut sets = BTreeMap::new();
    for (name, amounts) in slices.iter().flat_map(|slice| &slice.counters) {
        if sets.insert(name.clone(), amounts.clone()).is_some() {
            return None;
        }
    }
    Some(sets)
}

fn has_distinct_devices(slices: &[&Arc<Slice>]) -> bool {
    let mut known = HashSet::new();
    slices.iter().flat_map(|slice| &slice.devices).all(|device| known.insert(&device.id.device))
}

fn consumes_what_there_is(slice: &Slice, counters: &BTreeMap<String, Amounts>) -> bool {
    let known = |(set, amounts): &(String, Amounts)| {
        counters.get(set).is_some_and(|there| amounts.keys().all(|counter| there.contains_key(counter)))
    };
    slice.devices.iter().flat_map(|device| &device.consumes).all(known)
}
