//! Reading the table's text.
//!
//! ```text
//! @core.v1 io.k8s.api.core.v1 v1          a package: alias, OpenAPI prefix, apiVersion of its kinds
//! Pod kind                                a type; `kind`: carries kind and apiVersion; `atomic`: one value to apply;
//!                                         `union:type(a,b)`: either a or b is set, as type says
//!  metadata meta.v1.ObjectMeta 1          a field: JSON name, shape, protobuf number (2/1: inlined), flags, marks
//!  ports []ServicePort 1 != list:map(port,protocol) patch:merge(port) map:atomic in:VolumeSource
//! ```
//! Shapes: `s` text, `i` `l` 32 and 64 bits, `b` `d` `y` truth, double, bytes, `T` `M` `D` time, micro time, duration,
//! `Q` quantity, `I` int or string, `R` raw object, `F` FieldsV1, `J` any JSON, `E` ExtraValue, `SA` `SB` `SS` schema or
//! array, bool, strings; `[]X`, `{}X`; else a type, with its package's alias where that is another one.
//! Flags: `!` required, `*` pointer, `=` always written, `z` omitted when zero.
//!
//! The text is generated and tested; a fault in it is a fault of the build, so that reading panics.

use std::collections::HashMap;

use super::names::Names;
use super::{Field, ListType, MAX_FIELDS, Package, Patch, Shape, Table, Type, TypeId, Union};

pub(super) fn table(text: &'static str) -> Table {
    let by_name = ids(text);
    let reader = Reader { by_name: &by_name, shapes: HashMap::new() };
    let types = reader.types(text);
    let kinds = types
        .iter()
        .filter(|t| t.is_kind)
        .map(|t| ((t.package.group, t.package.version, t.name), by_name[&(t.package.alias, t.name)]))
        .collect::<HashMap<_, _>>();
    Table { types, by_name, kinds }
}

/// First pass: numbers for all names, since types refer forwards.
fn ids(text: &'static str) -> HashMap<(&'static str, &'static str), TypeId> {
    let mut ids = HashMap::new();
    let mut alias = "";
    for line in text.lines() {
        if let Some(package) = line.strip_prefix('@') {
            alias = package.split(' ').next().unwrap_or_default();
        } else if !line.starts_with([' ', '#']) && !line.is_empty() {
            let name = line.split(' ').next().unwrap_or_default();
            let id = TypeId(u16::try_from(ids.len()).expect("fewer than 65,536 types"));
            ids.insert((alias, name), id);
        }
    }
    ids
}

struct Reader<'a> {
    by_name: &'a HashMap<(&'static str, &'static str), TypeId>,
    shapes: HashMap<(&'static str, &'static str), &'static Shape>,
}

struct Open {
    id: TypeId,
    name: &'static str,
    package: &'static Package,
    is_kind: bool,
    atomic: bool,
    union: Option<Union>,
    fields: Vec<Field>,
}

impl Open {
    fn close(self) -> Type {
        let fields: &'static [Field] = self.fields.leak();
        assert!(fields.len() <= MAX_FIELDS, "schema table: {} has more than {MAX_FIELDS} fields", self.name);
        let always = (0u8..).zip(fields).filter(|(_, field)| field.written_when_absent()).map(|(i, _)| i).collect();
        Type {
            id: self.id,
            name: self.name,
            package: self.package,
            is_kind: self.is_kind,
            atomic: self.atomic,
            union: self.union,
            fields,
            always,
            by_name: Names::new(fields.iter().map(|field| field.name)),
        }
    }
}

impl Reader<'_> {
    fn types(mut self, text: &'static str) -> Vec<Type> {
        let mut types = Vec::with_capacity(self.by_name.len());
        let mut open: Option<Open> = None;
        let mut package: &'static Package = &Package { alias: "", openapi: "", group: "", version: "" };
        for line in text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
            if let Some(field) = line.strip_prefix(' ') {
                let field = self.field(package.alias, field);
                open.as_mut().expect("a field follows a type").fields.push(field);
                continue;
            }
            types.extend(open.take().map(Open::close));
            if let Some(line) = line.strip_prefix('@') {
                package = Box::leak(Box::new(read_package(line)));
                continue;
            }
            let mut words = line.split(' ');
            let name = words.next().unwrap_or_default();
            let mut next = Open {
                id: self.by_name[&(package.alias, name)],
                name,
                package,
                is_kind: false,
                atomic: false,
                union: None,
                fields: Vec::new(),
            };
            for word in words {
                match (word, word.strip_prefix("union:").and_then(|union| union.split_once('('))) {
                    ("kind", _) => next.is_kind = true,
                    ("atomic", _) => next.atomic = true,
                    (_, Some((discriminator, fields))) => {
                        let fields = fields.trim_end_matches(')').split(',').collect();
                        next.union = Some(Union { discriminator, fields });
                    }
                    (other, None) => panic!("schema table: {line}: {other}"),
                }
            }
            open = Some(next);
        }
        types.extend(open.take().map(Open::close));
        types
    }

    fn field(&mut self, package: &'static str, line: &'static str) -> Field {
        let mut words = line.split(' ');
        let mut next = || words.next().unwrap_or_else(|| panic!("schema table: {line}"));
        let (name, shape, numbers) = (next(), next(), next());
        let mut field = Field {
            name,
            shape: *self.shape(package, shape),
            numbers: read_numbers(numbers),
            required: false,
            pointer: false,
            always: false,
            omit_zero: false,
            list: ListType::Atomic,
            marked_atomic: false,
            atomic: false,
            granular: false,
            patch: Patch::default(),
            inlined: "",
        };
        for word in words {
            let (head, tail) = word.split_once(':').unwrap_or((word, ""));
            let (value, keys) = match tail.split_once('(') {
                Some((value, keys)) => (value, keys.trim_end_matches(')')),
                None => (tail, ""),
            };
            match (head, value) {
                ("list", "map") => field.list = ListType::Map(keys.split(',').collect::<Vec<_>>().leak()),
                ("list", "set") => field.list = ListType::Set,
                ("list", "atomic") => field.marked_atomic = true,
                ("map", "atomic") => field.atomic = true,
                ("map", "granular") => field.granular = true,
                ("patch", strategies) => {
                    field.patch.merge = strategies.split(',').any(|s| s == "merge");
                    field.patch.replace = strategies.split(',').any(|s| s == "replace");
                    field.patch.retain_keys = strategies.split(',').any(|s| s == "retainKeys");
                    field.patch.merge_key = keys;
                }
                ("in", structs) => field.inlined = structs,
                (flags, "") => flags.chars().for_each(|c| match c {
                    '!' => field.required = true,
                    '*' => field.pointer = true,
                    '=' => field.always = true,
                    'z' => field.omit_zero = true,
                    _ => panic!("schema table: {line}"),
                }),
                _ => panic!("schema table: {line}"),
            }
        }
        field
    }

    fn shape(&mut self, package: &'static str, text: &'static str) -> &'static Shape {
        if let Some(known) = self.shapes.get(&(package, text)) {
            return known;
        }
        let (code, go) = text.split_once(':').unwrap_or((text, ""));
        let shape = match code {
            _ if code.starts_with("[]") => Shape::List(self.shape(package, &text[2..])),
            _ if code.starts_with("{}") => Shape::Map(self.shape(package, &text[2..])),
            "s" => Shape::String(go),
            "i" => Shape::Int32(go),
            "l" => Shape::Int64(go),
            "b" => Shape::Bool,
            "d" => Shape::Double,
            "y" => Shape::Bytes,
            "T" => Shape::Time,
            "M" => Shape::MicroTime,
            "D" => Shape::Duration,
            "Q" => Shape::Quantity,
            "I" => Shape::IntOrString,
            "R" => Shape::Raw,
            "F" => Shape::FieldsV1,
            "J" => Shape::Json,
            "E" => Shape::Strings,
            "SA" => Shape::SchemaOrArray,
            "SB" => Shape::SchemaOrBool,
            "SS" => Shape::SchemaOrStrings,
            name => {
                let (package, name) = name.rsplit_once('.').unwrap_or((package, name));
                Shape::Object(
                    *self
                        .by_name
                        .get(&(package, name))
                        .unwrap_or_else(|| panic!("schema table: no type {package}.{name}")),
                )
            }
        };
        let shape: &'static Shape = Box::leak(Box::new(shape));
        self.shapes.insert((package, text), shape);
        shape
    }
}

fn read_package(line: &'static str) -> Package {
    let mut words = line.split(' ');
    let mut next = || words.next().unwrap_or_default();
    let (alias, openapi, api_version) = (next(), next(), next());
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    Package { alias, openapi, group, version }
}

/// Most paths are one number below 64: those share one static table.
fn read_numbers(text: &'static str) -> &'static [u16] {
    static SMALL: [u16; 64] = {
        let mut table = [0; 64];
        let mut i = 0;
        while i < 64 {
            table[i] = i as u16;
            i += 1;
        }
        table
    };
    if text == "-" {
        return &[];
    }
    let numbers: Vec<u16> =
        text.split('/').map(|n| n.parse().unwrap_or_else(|_| panic!("schema table: number {text}"))).collect();
    match numbers[..] {
        [one] if one < 64 => &SMALL[usize::from(one)..=usize::from(one)],
        _ => numbers.leak(),
    }
}
