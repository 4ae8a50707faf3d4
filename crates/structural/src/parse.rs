//! A schema as a definition gives it, read once into a tree.
//!
//! Upstream has three trees for it (JSONSchemaProps, Structural, spec.Schema); their fields are the same, so one serves:
//! what is structural of it and what only constrains values follows from where a node stands, not from its type.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use formats::pattern::Pattern;
use machinery::json::Fields;
use parking_lot::Mutex;
use serde_json::{Map, Value};

/// One node (`apiextensions.JSONSchemaProps`). Empty texts and `None` are absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schema {
    /// `type`.
    pub ty: String,
    /// `format`, as written.
    pub format: String,
    /// Whether the format counts also where it means nothing, as it does for defaults.
    pub raw_format: bool,
    /// `title`.
    pub title: String,
    /// `description`.
    pub description: String,
    /// Whether null is a value.
    pub nullable: bool,
    /// `default`; never null.
    pub default: Option<Value>,
    /// `maximum`.
    pub maximum: Option<f64>,
    /// Whether the maximum itself is too large.
    pub exclusive_maximum: bool,
    /// `minimum`.
    pub minimum: Option<f64>,
    /// Whether the minimum itself is too small.
    pub exclusive_minimum: bool,
    /// In characters.
    pub max_length: Option<i64>,
    /// In characters.
    pub min_length: Option<i64>,
    /// `pattern`.
    pub pattern: Option<Pattern>,
    /// `maxItems`.
    pub max_items: Option<i64>,
    /// `minItems`.
    pub min_items: Option<i64>,
    /// `uniqueItems`.
    pub unique_items: bool,
    /// `multipleOf`.
    pub multiple_of: Option<f64>,
    /// `enum`.
    pub enumeration: Vec<Value>,
    /// `maxProperties`.
    pub max_properties: Option<i64>,
    /// `minProperties`.
    pub min_properties: Option<i64>,
    /// `required`.
    pub required: Vec<String>,
    /// `items`.
    pub items: Option<Items>,
    /// `allOf`.
    pub all_of: Vec<Schema>,
    /// `oneOf`.
    pub one_of: Vec<Schema>,
    /// `anyOf`.
    pub any_of: Vec<Schema>,
    /// `not`.
    pub not: Option<Box<Schema>>,
    /// `properties`.
    pub properties: BTreeMap<String, Schema>,
    /// `additionalProperties`.
    pub additional: Option<Additional>,
    /// What no definition may have.
    pub unsupported: Unsupported,
    /// `x-kubernetes-preserve-unknown-fields`.
    pub preserve: Option<bool>,
    /// `x-kubernetes-embedded-resource`.
    pub embedded: bool,
    /// `x-kubernetes-int-or-string`.
    pub int_or_string: bool,
    /// `x-kubernetes-list-map-keys`.
    pub map_keys: Vec<&'static str>,
    /// `x-kubernetes-list-type`.
    pub list_type: Option<String>,
    /// `x-kubernetes-map-type`.
    pub map_type: Option<String>,
    /// `x-kubernetes-validations`.
    pub rules: Vec<Rule>,
}

/// `items`: one schema, or (which is refused) one for each place.
#[derive(Clone, Debug, PartialEq)]
pub enum Items {
    /// Of all elements.
    Schema(Box<Schema>),
    /// By place.
    Schemas(Vec<Schema>),
}

/// `additionalProperties`.
#[derive(Clone, Debug, PartialEq)]
pub enum Additional {
    /// Any, or none.
    Bool(bool),
    /// Such.
    Schema(Box<Schema>),
}

/// Parts of JSON schema that are not supported; whether they are there.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(clippy::struct_excessive_bools)]
pub struct Unsupported {
    /// `id`.
    pub id: bool,
    /// `$schema`.
    pub schema: bool,
    /// `$ref`.
    pub reference: Option<String>,
    /// `patternProperties`.
    pub pattern_properties: bool,
    /// `dependencies`.
    pub dependencies: bool,
    /// `additionalItems`.
    pub additional_items: bool,
    /// `definitions`.
    pub definitions: BTreeMap<String, Schema>,
}

/// One CEL rule.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    /// The expression.
    pub rule: String,
    /// What is told when it does not hold.
    pub message: String,
    /// An expression for what is told.
    pub message_expression: String,
    /// The cause's reason.
    pub reason: Option<String>,
    /// Where the fault is, below the node.
    pub field_path: String,
    /// Whether `oldSelf` is optional, so that the rule also holds for creations.
    pub optional_old_self: Option<bool>,
    /// As it was given, for messages.
    pub raw: Value,
}

impl Schema {
    /// Reads a node; what has a wrong form counts as absent (the decoder of definitions refuses it before).
    pub fn of(value: &Value) -> Self {
        let Some(map) = value.as_object() else { return Self::default() };
        let truth = |name: &str| map.get(name).and_then(Value::as_bool).unwrap_or_default();
        let number = |name: &str| map.get(name).and_then(Value::as_f64);
        let integer = |name: &str| map.get(name).and_then(Value::as_i64);
        let present = |name: &str| map.get(name).filter(|v| !v.is_null()).cloned();
        Self {
            ty: map.text("type").to_owned(),
            format: map.text("format").to_owned(),
            raw_format: false,
            title: map.text("title").to_owned(),
            description: map.text("description").to_owned(),
            nullable: truth("nullable"),
            default: present("default"),
            maximum: number("maximum"),
            exclusive_maximum: truth("exclusiveMaximum"),
            minimum: number("minimum"),
            exclusive_minimum: truth("exclusiveMinimum"),
            max_length: integer("maxLength"),
            min_length: integer("minLength"),
            pattern: map.get("pattern").and_then(Value::as_str).filter(|p| !p.is_empty()).map(Pattern::new),
            max_items: integer("maxItems"),
            min_items: integer("minItems"),
            unique_items: truth("uniqueItems"),
            multiple_of: number("multipleOf"),
            enumeration: map.get("enum").and_then(Value::as_array).cloned().unwrap_or_default(),
            max_properties: integer("maxProperties"),
            min_properties: integer("minProperties"),
            required: map.texts("required").map(str::to_owned).collect(),
            items: match map.get("items") {
                Some(Value::Array(list)) => Some(Items::Schemas(list.iter().map(Self::of).collect())),
                Some(v @ Value::Object(_)) => Some(Items::Schema(Box::new(Self::of(v)))),
                _ => None,
            },
            all_of: schemas(map.get("allOf")),
            one_of: schemas(map.get("oneOf")),
            any_of: schemas(map.get("anyOf")),
            not: map.get("not").filter(|v| v.is_object()).map(|v| Box::new(Self::of(v))),
            properties: named(map.get("properties")),
            additional: match map.get("additionalProperties") {
                Some(Value::Bool(allowed)) => Some(Additional::Bool(*allowed)),
                Some(v @ Value::Object(_)) => Some(Additional::Schema(Box::new(Self::of(v)))),
                _ => None,
            },
            unsupported: Unsupported {
                id: !map.text("id").to_owned().is_empty(),
                schema: !map.text("$schema").to_owned().is_empty(),
                reference: map.get("$ref").and_then(Value::as_str).map(str::to_owned),
                pattern_properties: filled(map, "patternProperties"),
                dependencies: map.get("dependencies").is_some_and(Value::is_object),
                additional_items: present("additionalItems").is_some(),
                definitions: named(map.get("definitions")),
            },
            preserve: map.get("x-kubernetes-preserve-unknown-fields").and_then(Value::as_bool),
            embedded: truth("x-kubernetes-embedded-resource"),
            int_or_string: truth("x-kubernetes-int-or-string"),
            map_keys: map.texts("x-kubernetes-list-map-keys").map(intern).collect(),
            list_type: map.get("x-kubernetes-list-type").and_then(Value::as_str).map(str::to_owned),
            map_type: map.get("x-kubernetes-map-type").and_then(Value::as_str).map(str::to_owned),
            rules: match map.get("x-kubernetes-validations") {
                Some(Value::Array(rules)) => rules.iter().map(Rule::of).collect(),
                _ => Vec::new(),
            },
        }
    }

    /// The schema of all elements.
    pub fn item(&self) -> Option<&Schema> {
        match &self.items {
            Some(Items::Schema(schema)) => Some(schema),
            _ => None,
        }
    }

    /// The schema of other values than `properties`'.
    pub fn other(&self) -> Option<&Schema> {
        match &self.additional {
            Some(Additional::Schema(schema)) => Some(schema),
            _ => None,
        }
    }

    /// The schema of one field or entry.
    pub fn at(&self, name: &str) -> Option<&Schema> {
        self.properties.get(name).or_else(|| self.other())
    }

    /// Whether unknown fields are kept here.
    pub fn preserves(&self) -> bool {
        self.preserve == Some(true)
    }

    /// Whether elements are told apart by keys.
    pub fn is_map_list(&self) -> bool {
        self.list_type.as_deref() == Some("map")
    }

    /// Whether a node of the tree is such.
    pub fn any(&self, is: &dyn Fn(&Schema) -> bool) -> bool {
        is(self) || self.children().any(|child| child.any(is))
    }

    /// All nodes directly below.
    pub fn children(&self) -> impl Iterator<Item = &Schema> {
        let items: &[Schema] = match &self.items {
            Some(Items::Schema(schema)) => std::slice::from_ref(schema),
            Some(Items::Schemas(list)) => list,
            None => &[],
        };
        items
            .iter()
            .chain(&self.all_of)
            .chain(&self.any_of)
            .chain(&self.one_of)
            .chain(self.not.as_deref())
            .chain(self.properties.values())
            .chain(self.other())
            .chain(self.unsupported.definitions.values())
    }
}

impl Rule {
    fn of(value: &Value) -> Self {
        Self {
            rule: value.text("rule").to_owned(),
            message: value.text("message").to_owned(),
            message_expression: value.text("messageExpression").to_owned(),
            reason: value.get("reason").and_then(Value::as_str).map(str::to_owned),
            field_path: value.text("fieldPath").to_owned(),
            optional_old_self: value.get("optionalOldSelf").and_then(Value::as_bool),
            raw: value.clone(),
        }
    }
}

/// The same text, kept for the life of the process: names of keys are few, and managedFields want slices of them.
fn intern(text: &str) -> &'static str {
    static KEYS: LazyLock<Mutex<BTreeSet<&'static str>>> = LazyLock::new(Mutex::default);
    let mut keys = KEYS.lock();
    match keys.get(text) {
        Some(key) => key,
        None => {
            let key: &'static str = Box::leak(text.to_owned().into_boxed_str());
            keys.insert(key);
            key
        }
    }
}

fn schemas(value: Option<&Value>) -> Vec<Schema> {
    value.and_then(Value::as_array).into_iter().flatten().map(Schema::of).collect()
}

fn named(value: Option<&Value>) -> BTreeMap<String, Schema> {
    value.and_then(Value::as_object).into_iter().flatten().map(|(k, v)| (k.clone(), Schema::of(v))).collect()
}

fn filled(map: &Map<String, Value>, name: &str) -> bool {
    map.object(name).is_some_and(|m| !m.is_empty())
}
