//! Expressions that select devices, and how they see one.
//!
//! Upstream: `cel/compile.go`. A name without a domain is in the driver's; a domain that a device does not know has
//! nothing in it, so that asking for it is no error.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, LazyLock},
};

use cel::{
    Program,
    types::{Object, Type},
    value::{Key, Map, Semver, Value},
};
use k8s_openapi::api::resource::v1::DeviceAttribute;
use parking_lot::Mutex;

use crate::inventory::Device;

/// Most expressions that are kept.
const KEPT: usize = 256;

/// `device`, as a slice describes it: names of attributes and capacities by their domains.
static DEVICE: LazyLock<[(String, Type); 1]> = LazyLock::new(|| {
    const ENTRIES: u64 = 32;
    let by_domain = |value: Type| {
        let names = Type::Map(Arc::new(Type::String(32)), Arc::new(value), ENTRIES);
        Type::Map(Arc::new(Type::String(63)), Arc::new(names), ENTRIES)
    };
    let fields = BTreeMap::from([
        ("driver".to_owned(), Type::String(63)),
        ("allowMultipleAllocations".to_owned(), Type::Bool),
        ("attributes".to_owned(), by_domain(Type::Dyn(64))),
        ("capacity".to_owned(), by_domain(Type::Opaque("kubernetes.Quantity"))),
    ]);
    let device = Object { name: "kubernetes.DRADevice".to_owned(), fields };
    [("device".to_owned(), Type::Object(Arc::new(device)))]
});

/// Understands an expression. The error is what upstream says of it.
pub fn compile(text: &str) -> Result<Program, String> {
    let program = Program::compile_binding(text, &*DEVICE).map_err(|faults| format!("compilation failed: {faults}"))?;
    match program.result {
        Type::Bool | Type::Dyn(_) => Ok(program),
        other => Err(format!("must evaluate to bool or the unknown type, not {other}")),
    }
}

type Compiled = Arc<Result<Program, String>>;

/// Expressions that were understood before. Cheap to share.
#[derive(Default)]
pub struct Selectors(Mutex<HashMap<String, Compiled>>);

impl Selectors {
    pub(crate) fn get(&self, text: &str) -> Compiled {
        if let Some(known) = self.0.lock().get(text) {
            return known.clone();
        }
        let compiled = Arc::new(compile(text));
        let mut known = self.0.lock();
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(text.to_owned(), compiled.clone());
        compiled
    }
}

/// Whether an expression selects a device. The error is upstream's, without whose selector it is.
pub(crate) fn selects(program: &Result<Program, String>, device: &Device) -> Result<bool, String> {
    let program = program.as_ref().map_err(|why| format!("CEL compile error: {why}"))?;
    let failed = |why: &dyn std::fmt::Display| format!("CEL runtime error: {why}");
    let shown = device.shown().as_ref().map_err(|why| failed(why))?;
    match program.run(vec![("device", shown.clone())]).0 {
        Ok(Value::Bool(selected)) => Ok(selected),
        Ok(other) => {
            let name = other.type_name();
            let why = match other {
                Value::String(_) => "unsupported native conversion from string to 'bool'".to_owned(),
                _ => format!("unsupported type conversion from '{name}' to bool"),
            };
            Err(failed(&format_args!("CEL result of type {name} could not be converted to bool: {why}")))
        }
        Err(error) => Err(failed(&error)),
    }
}

/// A device as expressions see it.
pub(crate) fn shown(device: &Device) -> Result<Value, String> {
    let driver = &*device.id.pool.driver;
    let mut attributes: BTreeMap<&str, BTreeMap<Key, Value>> = BTreeMap::new();
    for (name, attribute) in &device.attributes {
        let (domain, id) = name.split_once('/').unwrap_or((driver, name));
        let value = value(attribute).map_err(|why| format!("attribute {name}: {why}"))?;
        attributes.entry(domain).or_default().insert(key(id), value);
    }
    let mut capacity: BTreeMap<&str, BTreeMap<Key, Value>> = BTreeMap::new();
    for (name, amount) in &device.capacity {
        let (domain, id) = name.split_once('/').unwrap_or((driver, name));
        capacity.entry(domain).or_default().insert(key(id), Value::Quantity(Arc::new(amount.value.clone())));
    }
    let fields = [
        ("driver", Value::from(driver)),
        ("allowMultipleAllocations", Value::Bool(device.is_shared)),
        ("attributes", by_domain(attributes)),
        ("capacity", by_domain(capacity)),
    ];
    Ok(Value::Map(Arc::new(fields.into_iter().map(|(name, value)| (key(name), value)).collect())))
}

fn key(name: &str) -> Key {
    Key::String(name.into())
}

fn by_domain(domains: BTreeMap<&str, BTreeMap<Key, Value>>) -> Value {
    let map = |entries: BTreeMap<Key, Value>| Value::Map(Arc::new(entries.into()));
    let entries = domains.into_iter().map(|(domain, entries)| (key(domain), map(entries))).collect();
    Value::Map(Arc::new(Map::with_other(entries, map(BTreeMap::new()))))
}

/// Lists are a feature of upstream's that is off by default.
fn value(attribute: &DeviceAttribute) -> Result<Value, String> {
    Ok(match attribute {
        DeviceAttribute { int: Some(int), .. } => Value::Int(*int),
        DeviceAttribute { bool: Some(bool), .. } => Value::Bool(*bool),
        DeviceAttribute { string: Some(string), .. } => Value::from(string.as_str()),
        DeviceAttribute { version: Some(version), .. } => {
            let parsed = Semver::parse(version, false);
            Value::Semver(Arc::new(parsed.ok_or("parse semantic version: No Major.Minor.Patch elements found")?))
        }
        _ => return Err("unsupported attribute value".to_owned()),
    })
}
