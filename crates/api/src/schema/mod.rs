//! The shapes of all built-in kinds as one table, read once from a committed text (`table.txt`, made by
//! `cargo xtask codegen`).
//!
//! A table instead of 800 typed structs: decoding, unknown-field detection, pruning, encoding in upstream's field order,
//! patches, apply, protobuf and OpenAPI are each written once, as a walk over it. Everything is `'static` and interned,
//! so that walking costs no reference counting.

use std::collections::HashMap;
use std::sync::LazyLock;

use machinery::gvk::GroupVersionKind;
use serde_json::{Map, Value};

mod names;
mod parse;
#[cfg(test)]
mod tests;

/// A group of types: one Go package of upstream.
#[derive(Debug)]
pub struct Package {
    /// How the table names it: `core.v1`, `meta.v1`.
    pub alias: &'static str,
    /// The prefix of its types' names in OpenAPI documents: `io.k8s.api.core.v1`.
    pub openapi: &'static str,
    /// Group of its kinds; empty for core (and for meta, whose kinds are served under `v1`).
    pub group: &'static str,
    /// Version of its kinds.
    pub version: &'static str,
}

/// The index of a [`Type`] in the table. Types refer to each other by it, since some are recursive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(u16);

impl TypeId {
    /// Its number, below the length of [`all`].
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The type.
    pub fn get(self) -> &'static Type {
        &TABLE.types[usize::from(self.0)]
    }
}

/// One struct of the API.
#[derive(Debug)]
pub struct Type {
    /// Its place in the table.
    pub id: TypeId,
    /// Upstream's Go name, without package: `PodSpec`.
    pub name: &'static str,
    /// Where it belongs.
    pub package: &'static Package,
    /// Whether it carries `kind` and `apiVersion` itself. They precede `fields` in JSON, and are not among them.
    pub is_kind: bool,
    /// Whether server-side apply treats it as one value (`x-kubernetes-map-type: atomic`).
    pub atomic: bool,
    /// Fields of which one is to be set; only published, nothing is decided by it.
    pub union: Option<Union>,
    /// The fields, in the order in which upstream writes them.
    pub fields: &'static [Field],
    /// The positions in `fields` of those that are written also when they are absent.
    always: Vec<u8>,
    by_name: names::Names,
}

/// No type has more fields.
pub const MAX_FIELDS: usize = 64;

/// Alternatives among a type's fields (`x-kubernetes-unions`).
#[derive(Debug)]
pub struct Union {
    /// The field that says which is set; empty where none does.
    pub discriminator: &'static str,
    /// The fields.
    pub fields: Vec<&'static str>,
}

impl Type {
    /// The field of that JSON name.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.field_index(name).map(|i| &self.fields[i])
    }

    /// The position in `fields` of that JSON name.
    pub fn field_index(&self, name: &str) -> Option<usize> {
        self.by_name.find(name, |position| self.fields[position].name)
    }

    /// The fields that an encoder writes also when an object lacks them ([`Field::written_when_absent`]).
    pub fn always(&self) -> impl Iterator<Item = &'static Field> {
        self.always.iter().map(|position| &self.fields[usize::from(*position)])
    }

    /// An object's members by the positions of their fields: an object has few of a type's fields, and to look each of
    /// those up is cheaper than to look for each field.
    pub fn members<'m>(&self, map: &'m Map<String, Value>) -> [Option<&'m Value>; MAX_FIELDS] {
        let mut members = [None; MAX_FIELDS];
        for (name, value) in map {
            if let Some(position) = self.field_index(name) {
                members[position] = Some(value);
            }
        }
        members
    }

    /// The name in OpenAPI documents: `io.k8s.api.core.v1.PodSpec`.
    pub fn openapi_name(&self) -> String {
        format!("{}.{}", self.package.openapi, self.name)
    }

    /// The name in Go's error messages: `v1.PodSpec`.
    pub fn go_name(&self) -> String {
        let version = self.package.alias.rsplit('.').next().unwrap_or("v1");
        format!("{version}.{}", self.name)
    }

    /// The type of a list's items, for the kinds that are lists of objects.
    pub fn list_item(&self) -> Option<&'static Type> {
        let items = self.field("items").filter(|_| self.is_kind && self.name.ends_with("List"))?;
        match items.shape {
            Shape::List(Shape::Object(id)) => Some(id.get()),
            _ => None,
        }
    }
}

/// One field of a [`Type`].
#[derive(Debug)]
pub struct Field {
    /// The JSON name.
    pub name: &'static str,
    /// What its value looks like.
    pub shape: Shape,
    /// The protobuf field number; more than one where protobuf nests what JSON inlines (`Volume.emptyDir` is 2, 2).
    /// Empty where the type has no protobuf form.
    pub numbers: &'static [u16],
    /// Whether a client has to set it.
    pub required: bool,
    /// Whether upstream tells "not set" from the zero value (a Go pointer): then a zero that was set is kept.
    pub pointer: bool,
    /// Whether a zero value is written too (Go: no `omitempty`); `null` for pointers, lists and maps.
    pub always: bool,
    /// Whether a zero value is left out although the shape is one that `omitempty` has no effect on.
    pub omit_zero: bool,
    /// How server-side apply merges a list.
    pub list: ListType,
    /// Whether upstream marks the list as atomic (it is atomic without the mark too).
    pub marked_atomic: bool,
    /// Whether server-side apply treats the value (map or object) as one.
    pub atomic: bool,
    /// Whether server-side apply merges the value field by field although its type is atomic.
    pub granular: bool,
    /// How a strategic merge patch merges it.
    pub patch: Patch,
    /// The Go structs that are inlined between the type and this field, dotted: for error messages.
    pub inlined: &'static str,
}

impl Field {
    /// Whether an encoder writes something for this field when the object lacks it.
    pub fn written_when_absent(&self) -> bool {
        self.always || (!self.pointer && !self.omit_zero && self.shape.is_struct())
    }
}

/// The form of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Text, with the Go type's name where it is a named one (`v1.PullPolicy`), else empty.
    String(&'static str),
    /// 32-bit integer, with the Go type's name or empty.
    Int32(&'static str),
    /// 64-bit integer, with the Go type's name or empty.
    Int64(&'static str),
    /// Truth value.
    Bool,
    /// 64-bit floating point number.
    Double,
    /// Base64 text.
    Bytes,
    /// RFC 3339 time to the second, UTC.
    Time,
    /// RFC 3339 time to the microsecond, UTC.
    MicroTime,
    /// Go's duration text: `1h0m0s`.
    Duration,
    /// `100m`, `1Gi`: text, though clients may send a number.
    Quantity,
    /// A 32-bit integer or text.
    IntOrString,
    /// Any object of any kind.
    Raw,
    /// A managedFields set.
    FieldsV1,
    /// Any JSON.
    Json,
    /// A list of texts that protobuf wraps in a message (`ExtraValue`, `Verbs`).
    Strings,
    /// JSONSchemaProps, or a list of them.
    SchemaOrArray,
    /// JSONSchemaProps, or a truth value.
    SchemaOrBool,
    /// JSONSchemaProps, or a list of texts.
    SchemaOrStrings,
    /// A struct.
    Object(TypeId),
    /// A list.
    List(&'static Shape),
    /// A map from text.
    Map(&'static Shape),
}

impl Shape {
    /// The struct at the end of lists and maps, where there is one.
    pub fn object(&self) -> Option<&'static Type> {
        match self {
            Shape::Object(id) => Some(id.get()),
            Shape::List(item) | Shape::Map(item) => item.object(),
            Shape::SchemaOrArray | Shape::SchemaOrBool | Shape::SchemaOrStrings => Some(json_schema_props()),
            _ => None,
        }
    }

    /// Whether it is a Go struct, on which `omitempty` has no effect.
    pub fn is_struct(&self) -> bool {
        match self {
            Shape::String(_) | Shape::Int32(_) | Shape::Int64(_) | Shape::Bool | Shape::Double | Shape::Bytes => false,
            Shape::List(_) | Shape::Map(_) | Shape::Strings => false,
            Shape::Time | Shape::MicroTime | Shape::Duration | Shape::Quantity | Shape::IntOrString => true,
            Shape::Raw | Shape::FieldsV1 | Shape::Json | Shape::Object(_) => true,
            Shape::SchemaOrArray | Shape::SchemaOrBool | Shape::SchemaOrStrings => true,
        }
    }

    /// The Go type's name, as error messages show it.
    pub fn go_name(&self) -> String {
        match self {
            Shape::String("") | Shape::Time | Shape::MicroTime | Shape::Duration => "string".into(),
            Shape::Int32("") | Shape::IntOrString => "int32".into(),
            Shape::Int64("") => "int64".into(),
            Shape::String(name) | Shape::Int32(name) | Shape::Int64(name) => (*name).into(),
            Shape::Bool => "bool".into(),
            Shape::Double => "float64".into(),
            Shape::Bytes => "[]uint8".into(),
            Shape::Quantity => "resource.Quantity".into(),
            Shape::Raw => "runtime.RawExtension".into(),
            Shape::FieldsV1 => "v1.FieldsV1".into(),
            Shape::Json => "v1.JSON".into(),
            Shape::Strings => "v1.ExtraValue".into(),
            Shape::SchemaOrArray | Shape::SchemaOrBool | Shape::SchemaOrStrings => "v1.JSONSchemaProps".into(),
            Shape::Object(id) => id.get().go_name(),
            Shape::List(item) => format!("[]{}", item.go_name()),
            Shape::Map(item) => format!("map[string]{}", item.go_name()),
        }
    }
}

/// How server-side apply sees a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListType {
    /// One value (also what a list without a mark is).
    Atomic,
    /// A set of scalars.
    Set,
    /// Objects told apart by these fields.
    Map(&'static [&'static str]),
}

/// How a strategic merge patch treats a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Patch {
    /// Lists are merged, not replaced.
    pub merge: bool,
    /// The value is replaced (as it is without a strategy; upstream says so on a few).
    pub replace: bool,
    /// Keys that the patch's `$retainKeys` does not name are cleared.
    pub retain_keys: bool,
    /// The field that tells a list's items apart; empty for lists of scalars.
    pub merge_key: &'static str,
}

struct Table {
    types: Vec<Type>,
    by_name: HashMap<(&'static str, &'static str), TypeId>,
    kinds: HashMap<(&'static str, &'static str, &'static str), TypeId>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| parse::table(include_str!("table.txt")));

/// The type of a kind: `of(apps/v1 Deployment)`, also lists and the kinds of meta/v1 (`Status`, `DeleteOptions`).
///
/// Kinds that every group serves (`WatchEvent`, `DeleteOptions`, ...) are found under any group and version.
pub fn of(gvk: &GroupVersionKind) -> Option<&'static Type> {
    kind(&gvk.group, &gvk.version, &gvk.kind)
}

/// [`of`], by parts.
pub fn kind(group: &str, version: &str, kind: &str) -> Option<&'static Type> {
    let group = if group == "meta.k8s.io" { "" } else { group };
    let found = TABLE.kinds.get(&(group, version, kind)).copied();
    found
        .or_else(|| {
            let id = TABLE.by_name.get(&("meta.v1", kind)).copied()?;
            let everywhere = matches!(
                kind,
                "WatchEvent"
                    | "DeleteOptions"
                    | "CreateOptions"
                    | "UpdateOptions"
                    | "PatchOptions"
                    | "GetOptions"
                    | "ListOptions"
            );
            everywhere.then_some(id)
        })
        .map(TypeId::get)
}

/// [`of`], by `apiVersion` and `kind` as objects carry them.
pub fn of_object(api_version: &str, kind_name: &str) -> Option<&'static Type> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    kind(group, version, kind_name)
}

/// A type by the package's alias and its name: `named("core.v1", "PodSpec")`.
pub fn named(package: &str, name: &str) -> Option<&'static Type> {
    TABLE.by_name.get(&(package, name)).map(|id| id.get())
}

/// All types, in the table's order.
pub fn all() -> &'static [Type] {
    &TABLE.types
}

/// `metav1.ObjectMeta`.
pub fn object_meta() -> &'static Type {
    named("meta.v1", "ObjectMeta").expect("the table has ObjectMeta, a test checks it")
}

fn json_schema_props() -> &'static Type {
    named("apiextensions.v1", "JSONSchemaProps").expect("the table has JSONSchemaProps, a test checks it")
}
