//! What drivers offer: their slices, parsed once, and found by the node that they are for.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, OnceLock},
};

use k8s_openapi::api::{
    core::v1::NodeSelector,
    resource::v1::{CapacityRequestPolicy, Device as ApiDevice, DeviceAttribute, DeviceTaint, ResourceSlice},
};
use machinery::quantity::Quantity;

use crate::selector;

/// A pool of a driver. It is shown as `driver/pool`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolId {
    /// The driver's name.
    pub driver: Arc<str>,
    /// The pool's name, unique for the driver.
    pub pool: Arc<str>,
}

impl PoolId {
    /// By names.
    pub fn new(driver: &str, pool: &str) -> Self {
        Self { driver: driver.into(), pool: pool.into() }
    }
}

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.driver, self.pool)
    }
}

/// A device. It is shown as `driver/pool/device`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId {
    /// Where it belongs.
    pub pool: PoolId,
    /// Its name, unique in the pool.
    pub device: Arc<str>,
}

impl DeviceId {
    /// By names.
    pub fn new(driver: &str, pool: &str, device: &str) -> Self {
        Self { pool: PoolId::new(driver, pool), device: device.into() }
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.pool, self.device)
    }
}

/// Amounts by name.
pub(crate) type Amounts = BTreeMap<String, Quantity>;

/// Which nodes can use something.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    pub(crate) node: Option<String>,
    pub(crate) all: bool,
    pub(crate) selector: Option<NodeSelector>,
}

impl Place {
    fn new(node: &Option<String>, all: Option<bool>, selector: &Option<NodeSelector>) -> Self {
        let node = node.clone().filter(|name| !name.is_empty());
        Self { node, all: all.unwrap_or(false), selector: selector.clone() }
    }

    /// Whether it says anything.
    pub(crate) fn is_known(&self) -> bool {
        self.node.is_some() || self.all || self.selector.is_some()
    }
}

/// A slice, in the form that is searched.
#[derive(Debug)]
pub(crate) struct Slice {
    pub(crate) name: String,
    pub(crate) pool: PoolId,
    pub(crate) generation: i64,
    /// Of how many slices the pool is made.
    pub(crate) of: i64,
    pub(crate) place: Place,
    /// Each device says for which nodes it is.
    pub(crate) place_per_device: bool,
    pub(crate) counters: Vec<(String, Amounts)>,
    pub(crate) devices: Vec<Device>,
}

impl Slice {
    /// Of a pool that all its devices share, or of devices: never both.
    pub(crate) fn has_counters(&self) -> bool {
        !self.counters.is_empty()
    }
}

/// A device, in the form that is searched.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) id: DeviceId,
    pub(crate) attributes: BTreeMap<String, DeviceAttribute>,
    pub(crate) capacity: BTreeMap<String, Capacity>,
    /// Amounts of counters, by their sets.
    pub(crate) consumes: Vec<(String, Amounts)>,
    pub(crate) place: Place,
    pub(crate) binds_to_node: bool,
    /// Several claims can have a share of it.
    pub(crate) is_shared: bool,
    pub(crate) taints: Vec<DeviceTaint>,
    pub(crate) binding_conditions: Option<Vec<String>>,
    pub(crate) binding_failure_conditions: Option<Vec<String>>,
    shown: OnceLock<Result<cel::value::Value, String>>,
}

/// An amount that a device has.
#[derive(Debug)]
pub(crate) struct Capacity {
    pub(crate) value: Quantity,
    pub(crate) policy: Option<Policy>,
}

/// What a claim can be given of an amount.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) default: Option<Quantity>,
    pub(crate) range: Option<Range>,
    /// In ascending order.
    pub(crate) values: Vec<Quantity>,
}

/// From where to where, and in which steps.
#[derive(Debug)]
pub(crate) struct Range {
    pub(crate) min: Quantity,
    pub(crate) max: Option<Quantity>,
    pub(crate) step: Option<Quantity>,
}

/// What is no quantity is nothing: the server has checked them.
pub(crate) fn quantity(of: &k8s_openapi::apimachinery::pkg::api::resource::Quantity) -> Quantity {
    Quantity::parse(&of.0).unwrap_or(Quantity::zero())
}

impl Policy {
    fn new(policy: &CapacityRequestPolicy) -> Self {
        let range = policy.valid_range.as_ref().map(|range| Range {
            min: quantity(&range.min),
            max: range.max.as_ref().map(quantity),
            step: range.step.as_ref().map(quantity),
        });
        Self {
            default: policy.default.as_ref().map(quantity),
            range,
            values: policy.valid_values.iter().flatten().map(quantity).collect(),
        }
    }
}

impl Device {
    fn new(pool: &PoolId, device: &ApiDevice) -> Self {
        let capacity = device.capacity.iter().flatten().map(|(name, capacity)| {
            let policy = capacity.request_policy.as_ref().map(Policy::new);
            (name.clone(), Capacity { value: quantity(&capacity.value), policy })
        });
        let consumes = device.consumes_counters.iter().flatten().map(|consumed| {
            let amounts = consumed.counters.iter().map(|(name, counter)| (name.clone(), quantity(&counter.value)));
            (consumed.counter_set.clone(), amounts.collect())
        });
        Self {
            id: DeviceId { pool: pool.clone(), device: device.name.as_str().into() },
            attributes: device.attributes.clone().unwrap_or_default(),
            capacity: capacity.collect(),
            consumes: consumes.collect(),
            place: Place::new(&device.node_name, device.all_nodes, &device.node_selector),
            binds_to_node: device.binds_to_node.unwrap_or(false),
            is_shared: device.allow_multiple_allocations.unwrap_or(false),
            taints: device.taints.clone().unwrap_or_default(),
            binding_conditions: device.binding_conditions.clone(),
            binding_failure_conditions: device.binding_failure_conditions.clone(),
            shown: OnceLock::new(),
        }
    }

    /// As expressions see it.
    pub(crate) fn shown(&self) -> &Result<cel::value::Value, String> {
        self.shown.get_or_init(|| selector::shown(self))
    }

    /// The attribute of that full name; those of the driver's own domain may lack it.
    pub(crate) fn attribute(&self, name: &str) -> Option<&DeviceAttribute> {
        self.attributes.get(name).or_else(|| {
            let (domain, id) = name.split_once('/')?;
            self.attributes.get(id).filter(|_| domain == &*self.id.pool.driver)
        })
    }
}

fn parsed(slice: &ResourceSlice) -> Slice {
    let spec = &slice.spec;
    let pool = PoolId::new(&spec.driver, &spec.pool.name);
    let counters = spec.shared_counters.iter().flatten().map(|set| {
        let amounts = set.counters.iter().map(|(name, counter)| (name.clone(), quantity(&counter.value)));
        (set.name.clone(), amounts.collect())
    });
    Slice {
        name: slice.metadata.name.clone().unwrap_or_default(),
        generation: spec.pool.generation,
        of: spec.pool.resource_slice_count,
        place: Place::new(&spec.node_name, spec.all_nodes, &spec.node_selector),
        place_per_device: spec.per_device_node_selection.unwrap_or(false),
        counters: counters.collect(),
        devices: spec.devices.iter().flatten().map(|device| Device::new(&pool, device)).collect(),
        pool,
    }
}

/// All slices that there are. Cloning it shares them.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    all: BTreeMap<String, Arc<Slice>>,
    on_node: HashMap<String, BTreeMap<String, Arc<Slice>>>,
    /// Those of more than one node, and counters.
    shared: BTreeMap<String, Arc<Slice>>,
    by_pool: HashMap<PoolId, BTreeMap<String, Arc<Slice>>>,
}

impl Inventory {
    /// Takes up a slice that is new or has changed.
    pub fn insert(&mut self, slice: &ResourceSlice) {
        let slice = Arc::new(parsed(slice));
        self.remove(&slice.name);
        let put = |into: &mut BTreeMap<String, Arc<Slice>>| drop(into.insert(slice.name.clone(), slice.clone()));
        put(&mut self.all);
        put(self.by_pool.entry(slice.pool.clone()).or_default());
        match &slice.place.node {
            Some(node) if !slice.has_counters() => put(self.on_node.entry(node.clone()).or_default()),
            _ => put(&mut self.shared),
        }
    }

    /// Forgets a slice.
    pub fn remove(&mut self, name: &str) {
        let Some(slice) = self.all.remove(name) else { return };
        self.shared.remove(name);
        take(&mut self.by_pool, &slice.pool, name);
        if let Some(node) = &slice.place.node {
            take(&mut self.on_node, node, name);
        }
    }

    /// The names of all slices.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.all.keys()
    }

    /// Those that may matter on a node.
    pub(crate) fn for_node(&self, node: &str) -> impl Iterator<Item = &Arc<Slice>> {
        self.on_node.get(node).into_iter().flatten().map(|(_, slice)| slice).chain(self.shared.values())
    }

    /// All of a pool, of whatever generation.
    pub(crate) fn of_pool(&self, pool: &PoolId) -> impl Iterator<Item = &Arc<Slice>> {
        self.by_pool.get(pool).into_iter().flatten().map(|(_, slice)| slice)
    }
}

fn take<K: std::hash::Hash + Eq>(from: &mut HashMap<K, BTreeMap<String, Arc<Slice>>>, key: &K, name: &str) {
    if let Some(slices) = from.get_mut(key) {
        slices.remove(name);
        if slices.is_empty() {
            from.remove(key);
        }
    }
}
