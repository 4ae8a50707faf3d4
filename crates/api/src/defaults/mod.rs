//! Defaulting of the built-in kinds, in upstream's order of effect (`pkg/apis/*/*/defaults.go`).
//!
//! Upstream's defaulters belong to *types*, not to kinds: a probe gets its defaults in a Pod, a Deployment's template and
//! an ephemeral container alike. So one walk over the schema table calls a type's rule wherever that type occurs, parents
//! before their parts, and steps over everything below which no type has a rule.

use std::sync::LazyLock;

use machinery::gvk::GroupVersionKind;
use serde_json::{Map, Value, json};

use crate::schema::{self, Field, Shape, Type};

mod apps;
mod autoscaling;
mod cluster;
mod containers;
mod core;
mod resources;
#[cfg(test)]
mod tests;

pub(crate) use autoscaling::default_metrics;

/// Fills in one object of a type.
type Rule = fn(&mut Map<String, Value>);

/// A package's alias, a type's name, its rule.
type Row = (&'static str, &'static str, Rule);

/// A package's alias, a type's name, a field, and the value that it has when it is absent.
type Declared = (&'static str, &'static str, &'static str, &'static str);

/// Constants that upstream declares on the field itself (`+default=`).
const DECLARED: &[Declared] = &[
    ("core.v1", "RBDVolumeSource", "pool", "\"rbd\""),
    ("core.v1", "RBDVolumeSource", "user", "\"admin\""),
    ("core.v1", "RBDVolumeSource", "keyring", "\"/etc/ceph/keyring\""),
    ("core.v1", "RBDPersistentVolumeSource", "pool", "\"rbd\""),
    ("core.v1", "RBDPersistentVolumeSource", "user", "\"admin\""),
    ("core.v1", "RBDPersistentVolumeSource", "keyring", "\"/etc/ceph/keyring\""),
    ("core.v1", "ISCSIVolumeSource", "iscsiInterface", "\"default\""),
    ("core.v1", "ISCSIPersistentVolumeSource", "iscsiInterface", "\"default\""),
    ("core.v1", "AzureDiskVolumeSource", "cachingMode", "\"ReadWrite\""),
    ("core.v1", "AzureDiskVolumeSource", "fsType", "\"ext4\""),
    ("core.v1", "AzureDiskVolumeSource", "readOnly", "false"),
    ("core.v1", "AzureDiskVolumeSource", "kind", "\"Shared\""),
    ("core.v1", "ScaleIOVolumeSource", "storageMode", "\"ThinProvisioned\""),
    ("core.v1", "ScaleIOVolumeSource", "fsType", "\"xfs\""),
    ("core.v1", "ScaleIOPersistentVolumeSource", "storageMode", "\"ThinProvisioned\""),
    ("core.v1", "ScaleIOPersistentVolumeSource", "fsType", "\"xfs\""),
    ("core.v1", "ContainerPort", "protocol", "\"TCP\""),
    ("core.v1", "FileKeySelector", "optional", "false"),
    ("core.v1", "GRPCAction", "service", "\"\""),
    ("core.v1", "ReplicationControllerSpec", "replicas", "1"),
    ("core.v1", "ServicePort", "protocol", "\"TCP\""),
    ("resource.v1", "DeviceToleration", "operator", "\"Equal\""),
];

/// What the walk does at a type.
#[derive(Default)]
struct Stop {
    rules: Vec<Rule>,
    constants: Vec<(&'static str, Value)>,
    /// Fields below which there is something to do, by their positions, as bits.
    fields: u64,
    /// Those of them that are always there: structs that are not behind a pointer.
    structs: Vec<&'static Field>,
}

/// By the types' numbers.
static STOPS: LazyLock<Vec<Option<Stop>>> = LazyLock::new(stops);

/// Fills in the defaults of a built-in kind. Other kinds, and what is set already, stay as they are.
pub fn apply(gvk: &GroupVersionKind, object: &mut Value) {
    if let (Some(ty), Value::Object(map)) = (schema::of(gvk), object) {
        walk(ty, map);
    }
}

/// The constant that upstream declares as the default of a field, for documents that show it.
pub fn declared(ty: &Type, field: &str) -> Option<Value> {
    let stop = STOPS[ty.id.index()].as_ref()?;
    stop.constants.iter().find(|(name, _)| *name == field).map(|(_, value)| value.clone())
}

fn walk(ty: &'static Type, map: &mut Map<String, Value>) {
    let Some(stop) = &STOPS[ty.id.index()] else { return };
    for rule in &stop.rules {
        rule(map);
    }
    for (name, value) in &stop.constants {
        if unset(map, name) {
            map.insert((*name).to_owned(), value.clone());
        }
    }
    if stop.fields == 0 {
        return;
    }
    for (name, value) in map.iter_mut() {
        if let Some(position) = ty.field_index(name)
            && stop.fields & 1 << position != 0
        {
            walk_shape(&ty.fields[position].shape, value);
        }
    }
    for field in &stop.structs {
        if let (Shape::Object(id), false) = (field.shape, map.contains_key(field.name)) {
            let mut inner = Map::new();
            walk(id.get(), &mut inner);
            if !inner.is_empty() {
                map.insert(field.name.to_owned(), Value::Object(inner));
            }
        }
    }
}

fn walk_shape(shape: &'static Shape, value: &mut Value) {
    match (shape, value) {
        (Shape::Object(id), Value::Object(map)) => walk(id.get(), map),
        (Shape::List(item), Value::Array(items)) => items.iter_mut().for_each(|v| walk_shape(item, v)),
        (Shape::Map(Shape::Quantity), Value::Object(map)) => map.values_mut().for_each(resources::round_up_to_milli),
        (Shape::Map(item), Value::Object(map)) => map.values_mut().for_each(|v| walk_shape(item, v)),
        _ => {}
    }
}

/// The types at which, or below which, there is something to do: rules and constants, spread towards the roots until
/// nothing changes (types may be recursive).
fn stops() -> Vec<Option<Stop>> {
    let mut stops: Vec<Option<Stop>> = schema::all().iter().map(|_| None).collect();
    let index = |package, name| match schema::named(package, name) {
        Some(ty) => ty.id.index(),
        None => panic!("defaults: no type {package}.{name}"),
    };
    let all = [core::RULES, containers::RULES, apps::RULES, autoscaling::RULES, cluster::RULES, resources::RULES];
    for (package, name, rule) in all.concat() {
        stops[index(package, name)].get_or_insert_default().rules.push(rule);
    }
    for (package, name, field, value) in DECLARED {
        let value = serde_json::from_str(value).expect("the list above holds JSON");
        stops[index(package, name)].get_or_insert_default().constants.push((field, value));
    }
    loop {
        let new: Vec<usize> = schema::all()
            .iter()
            .filter(|ty| stops[ty.id.index()].is_none() && ty.fields.iter().any(|f| is_stop(&f.shape, &stops)))
            .map(|ty| ty.id.index())
            .collect();
        if new.is_empty() {
            break;
        }
        for index in new {
            stops[index] = Some(Stop::default());
        }
    }
    for ty in schema::all() {
        let fields: Vec<_> = ty.fields.iter().enumerate().filter(|(_, f)| is_stop(&f.shape, &stops)).collect();
        if let Some(stop) = &mut stops[ty.id.index()] {
            stop.fields = fields.iter().map(|(position, _)| 1 << position).sum();
            let is_struct = |field: &Field| matches!(field.shape, Shape::Object(_)) && !field.pointer;
            stop.structs = fields.into_iter().map(|(_, field)| field).filter(|field| is_struct(field)).collect();
        }
    }
    stops
}

fn is_stop(shape: &Shape, stops: &[Option<Stop>]) -> bool {
    match shape {
        Shape::Map(Shape::Quantity) => true,
        shape => shape.object().is_some_and(|ty| stops[ty.id.index()].is_some()),
    }
}

/// Absent, or the zero value: what Go can't tell apart where there is no pointer.
fn empty(map: &Map<String, Value>, name: &str) -> bool {
    match map.get(name) {
        None | Some(Value::Null) => true,
        Some(Value::String(s)) => s.is_empty(),
        Some(Value::Array(a)) => a.is_empty(),
        Some(Value::Object(o)) => o.is_empty(),
        Some(Value::Number(n)) => n.as_f64() == Some(0.0),
        Some(Value::Bool(b)) => !b,
    }
}

/// Absent. (A zero that a client sets in a field without a pointer is dropped when it is encoded; constants treat an empty
/// text as absent too.)
fn unset(map: &Map<String, Value>, name: &str) -> bool {
    match map.get(name) {
        None | Some(Value::Null) => true,
        Some(Value::String(s)) => s.is_empty(),
        Some(_) => false,
    }
}

/// Sets a field behind a pointer, where it is absent.
fn or(map: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    if map.get(name).is_none_or(Value::is_null) {
        map.insert(name.to_owned(), value.into());
    }
}

/// Sets a field without a pointer, where it is absent or zero.
fn or_zero(map: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    if empty(map, name) {
        map.insert(name.to_owned(), value.into());
    }
}

/// The object at `name`, made where it is absent.
fn inner<'a>(map: &'a mut Map<String, Value>, name: &str) -> &'a mut Map<String, Value> {
    let value = map.entry(name).or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    value.as_object_mut().expect("it was just made one")
}

/// The object at `name`, where there is one.
fn inner_if<'a>(map: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Map<String, Value>> {
    map.get_mut(name).and_then(Value::as_object_mut)
}

/// The objects of the list at `name`.
fn each<'a>(map: &'a mut Map<String, Value>, name: &str) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    map.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}
