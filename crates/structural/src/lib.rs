//! Schemas of custom resources, without IO: what a definition's `openAPIV3Schema` does to objects, and which definitions
//! are taken at all.
//!
//! A request body passes [`Structural::coerce`], [`Structural::prune`], [`Structural::default`], and before it is stored
//! [`Structural::validate`] (upstream: `apiserver/customresource_handler.go`, `registry/customresource/strategy.go`).

use machinery::field::{Error, ErrorList, ErrorType, Path};
use serde_json::Value;

use parse::Schema;

pub use definition::{definition_faults, definition_warnings, validate_definition, validate_definition_status};
pub use merge::Place;

mod correlate;
mod defaulting;
pub mod definition;
mod list_type;
mod merge;
mod object_meta;
mod openapi;
pub mod parse;
mod prune;
mod rules;
#[cfg(test)]
mod tests;

/// The schema of one version of a custom resource.
#[derive(Debug)]
pub struct Structural {
    root: Schema,
    rules: Option<rules::Rules>,
    raw: Value,
    preserve_unknown: bool,
    /// Whether walks need a large stack.
    deep: bool,
    defaults: bool,
}

/// Nesting of a schema's JSON that fits on any thread's stack. Requests can nest to 1,000.
const SHALLOW: usize = 64;

/// Whether a schema has a default anywhere. A field of that name is taken for one, which costs time and nothing else.
fn has_default(schema: &Value) -> bool {
    match schema {
        Value::Object(map) => map.iter().any(|(key, value)| key == "default" || has_default(value)),
        Value::Array(items) => items.iter().any(has_default),
        _ => false,
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

// Walks recurse as deep as the schema is.
fn roomy<T: Send>(deep: bool, work: impl FnOnce() -> T + Send) -> T {
    if deep { cel::on_large_stack(work) } else { work() }
}

impl Structural {
    /// Of a version's `openAPIV3Schema` (null or `{}` where it has none). `preserve_unknown` is the definition's
    /// `preserveUnknownFields`. Errors name what no structural schema may have.
    pub fn of(schema: &Value, preserve_unknown: bool) -> Result<Self, ErrorList> {
        let deep = depth(schema) > SHALLOW;
        roomy(deep, || Self::read(schema, preserve_unknown, deep))
    }

    fn read(schema: &Value, preserve_unknown: bool, deep: bool) -> Result<Self, ErrorList> {
        let mut root = Schema::of(schema);
        if let Some(fault) = unsupported(&root) {
            return Err(vec![Error::invalid(&Path::new("openAPIV3Schema"), "", fault)]);
        }
        prune::prune_defaults(&mut root);
        let rules = rules::Rules::of(&root, true);
        let defaults = has_default(schema);
        Ok(Self { root, rules, raw: schema.clone(), preserve_unknown, deep, defaults })
    }

    /// The schema as it was given.
    pub fn raw(&self) -> &Value {
        &self.raw
    }

    /// The schema, read.
    pub fn root(&self) -> &Schema {
        &self.root
    }

    /// Whether validation evaluates expressions, which may take up to a second of computing: not on a thread that serves
    /// other requests.
    pub fn has_rules(&self) -> bool {
        self.rules.is_some()
    }

    /// Whether there are defaults.
    pub fn has_defaults(&self) -> bool {
        self.defaults
    }

    /// Brings TypeMeta and ObjectMeta of embedded resources into form; gives the paths of unknown fields in them. With
    /// `drop_invalid`, for what was stored, fields of a wrong type go; else they are an error.
    pub fn coerce(&self, object: &mut Value, drop_invalid: bool) -> Result<Vec<String>, Error> {
        roomy(self.deep, || object_meta::coerce(object, &self.root, drop_invalid))
    }

    /// Takes out fields that the schema does not know, and nulls that mean nothing; gives the unknown fields' paths,
    /// sorted. `apiVersion`, `kind` and `metadata` stay.
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        if self.preserve_unknown {
            return Vec::new();
        }
        roomy(self.deep, || {
            let unknown = prune::prune(object, &self.root);
            prune::prune_nulls(object, Some(&self.root));
            unknown
        })
    }

    /// Fills in defaults.
    pub fn default(&self, object: &mut Value) {
        roomy(self.deep, || defaulting::default(object, &self.root));
    }

    /// How values are owned, for managedFields.
    pub fn merge(&self) -> Place<'_> {
        merge::root(&self.root, self.preserve_unknown)
    }

    /// Faults of an object: OpenAPI, embedded metadata, lists, rules. What did not change from `old` may stay faulty.
    /// `earlier` are the faults that were found before (the object's metadata): they come first in the answer, and some
    /// keep rules from being tried.
    /// `forgiven` gets what is said of rules that an unchanged part breaks.
    pub fn validate(
        &self,
        object: &Value,
        old: Option<&Value>,
        other: OtherFaults,
        forgiven: &mut Vec<String>,
    ) -> ErrorList {
        roomy(self.deep, || {
            let mut errors = other.before;
            errors.extend(openapi::validate(object, &self.root, old, &Path::nil()));
            errors.extend(other.after);
            errors.extend(object_meta::validate(object, &self.root, &Path::nil()));
            self.lists(object, old, &mut errors);
            self.rules(object, old, &mut errors, forgiven);
            errors
        })
    }

    /// Faults of an object whose status alone was written.
    pub fn validate_status(
        &self,
        object: &Value,
        old: &Value,
        other: OtherFaults,
        forgiven: &mut Vec<String>,
    ) -> ErrorList {
        roomy(self.deep, || {
            let mut errors = other.before;
            if let (Some(status), Some(schema)) = (object.get("status"), self.root.properties.get("status")) {
                errors.extend(openapi::validate(status, schema, old.get("status"), &Path::new("status")));
            }
            errors.extend(other.after);
            self.lists(object, Some(old), &mut errors);
            self.rules(object, Some(old), &mut errors, forgiven);
            errors
        })
    }

    fn lists(&self, object: &Value, old: Option<&Value>, errors: &mut ErrorList) {
        let found = list_type::validate(object, &self.root);
        if !found.is_empty() && old.is_none_or(|old| list_type::validate(old, &self.root).is_empty()) {
            errors.extend(found);
        }
    }

    fn rules(&self, object: &Value, old: Option<&Value>, errors: &mut ErrorList, forgiven: &mut Vec<String>) {
        let Some(rules) = &self.rules else { return };
        let blocks = |e: &Error| {
            use ErrorType::{NotSupported, Required, TooLong, TooMany, TypeInvalid};
            matches!(e.kind, NotSupported | Required | TooLong | TooMany | TypeInvalid)
        };
        if errors.iter().any(blocks) {
            let detail = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
            errors.push(Error::invalid(&Path::nil(), Value::Null, detail));
            return;
        }
        let found = rules.validate(object, old, true, &self.root, &Path::nil());
        errors.extend(found.errors);
        forgiven.extend(found.forgiven);
    }
}

/// What is wrong with an object beside its schema, since rules are tried only where nothing that they rely on is wrong.
#[derive(Default)]
pub struct OtherFaults {
    /// Told before what does not fit the schema.
    pub before: ErrorList,
    /// Told after it.
    pub after: ErrorList,
}

/// What `NewStructural` refuses, in its words.
pub(crate) fn unsupported(schema: &Schema) -> Option<String> {
    let u = &schema.unsupported;
    let named = [
        ("id", u.id),
        ("schema", u.schema),
        ("$ref", u.reference.as_ref().is_some_and(|r| !r.is_empty())),
        ("patternProperties", u.pattern_properties),
        ("dependencies", u.dependencies),
        ("additionalItems", u.additional_items),
        ("definitions", !u.definitions.is_empty()),
    ];
    if let Some((name, _)) = named.iter().find(|(_, there)| *there) {
        return Some(format!("OpenAPIV3Schema '{name}' is not supported"));
    }
    if matches!(&schema.items, Some(parse::Items::Schemas(list)) if !list.is_empty()) {
        return Some("OpenAPIV3Schema 'items' must be a schema, but is an array".to_owned());
    }
    if schema.preserve == Some(false) {
        return Some("internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined".to_owned());
    }
    schema.children().find_map(unsupported)
}
