//! Validation of a definition's schema, node by node.

use machinery::field::{Error, ErrorList, Path};
use machinery::go;
use serde_json::Value;

use super::{Options, defaults, field_path, structural};
use crate::parse::{Additional, Items, Rule, Schema};
use crate::prune::META_FIELDS;
use crate::rules;
use crate::rules::{Costs, Scope};
use crate::unsupported;

pub(super) const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// What the status subresource leaves for the root: its schema is that of `properties.status` alone.
const AT_ROOT: [&str; 22] = [
    "Description",
    "Type",
    "Format",
    "Title",
    "Maximum",
    "ExclusiveMaximum",
    "Minimum",
    "ExclusiveMinimum",
    "MaxLength",
    "MinLength",
    "Pattern",
    "MaxItems",
    "MinItems",
    "UniqueItems",
    "MultipleOf",
    "Required",
    "Items",
    "Properties",
    "ExternalDocs",
    "Example",
    "XPreserveUnknownFields",
    "XValidations",
];

/// What holds for a node because of those above it.
#[derive(Clone)]
struct Here {
    /// Why there may be no default; empty where there may.
    no_defaults: String,
    inside_metadata: bool,
    /// The first node above whose values cannot be told apart in the old object.
    uncorrelated: Option<Path>,
}

/// Faults of nodes, and of their rules: rules are tried only where nodes are right.
#[derive(Default)]
struct Found {
    schema: ErrorList,
    rules: ErrorList,
}

/// Faults of one schema; `path` is of the `validation` or `schema` that it is in.
pub(super) fn validate(
    schema: &Schema,
    raw: &Value,
    status: bool,
    options: &Options,
    structural_required: bool,
    unchanged: bool,
    path: &Path,
) -> ErrorList {
    let mut errors = ErrorList::new();
    if status {
        root_of_status(schema, raw, path, &mut errors);
    }
    if schema.nullable {
        errors.push(Error::forbidden(&path.child("openAPIV3Schema.nullable"), "nullable cannot be true at the root"));
    }
    let at = path.child("openAPIV3Schema");
    let mut unsupported_fault = None;
    let mut costs = None;
    if structural_required {
        unsupported_fault = unsupported(schema);
        if unsupported_fault.is_none() {
            let mut found = structural::validate(schema, &at);
            if found.is_empty() {
                found = defaults::validate(schema, options.pruned_defaults, &at);
            }
            if found.is_empty() {
                costs = Some(Costs::new(unchanged));
            }
            errors.extend(found);
        }
    }
    let here = Here { no_defaults: String::new(), inside_metadata: false, uncorrelated: None };
    let mut found = Found::default();
    let mut walk = Walk { options, costs };
    walk.node(schema, &at, &here, Some(Scope::ROOT), true, &mut found);
    errors.extend(found.schema);
    errors.extend(found.rules);
    if let (true, Some(fault)) = (errors.is_empty(), unsupported_fault) {
        errors.push(Error::invalid(&at, "", fault));
    }
    if let Some(costs) = &walk.costs {
        errors.extend(costs.total_faults(&at));
    }
    errors
}

fn root_of_status(schema: &Schema, raw: &Value, path: &Path, errors: &mut ErrorList) {
    if !schema.ty.is_empty() && schema.ty != "object" {
        let detail =
            "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        errors.push(Error::invalid(&path.child("openAPIV3Schema.type"), schema.ty.as_str(), detail));
    }
    let others = [
        schema.nullable,
        schema.default.is_some(),
        !schema.enumeration.is_empty(),
        schema.max_properties.is_some(),
        schema.min_properties.is_some(),
        !schema.all_of.is_empty(),
        !schema.one_of.is_empty(),
        !schema.any_of.is_empty(),
        schema.not.is_some(),
        schema.additional.is_some(),
        schema.embedded,
        schema.int_or_string,
        !schema.map_keys.is_empty(),
        schema.list_type.is_some(),
        schema.map_type.is_some(),
        schema.unsupported != Default::default(),
    ];
    if others.contains(&true) {
        let detail = format!(
            "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
            AT_ROOT.join(" ")
        );
        errors.push(Error::invalid(&path.child("openAPIV3Schema"), raw.clone(), detail));
    }
}

struct Walk<'a> {
    options: &'a Options,
    /// None where rules are not tried.
    costs: Option<Costs>,
}

impl Walk<'_> {
    fn node(&mut self, s: &Schema, path: &Path, here: &Here, scope: Option<Scope>, root: bool, found: &mut Found) {
        let before = found.schema.len();
        let below = scope.map(|scope| scope.below(s));
        plain(s, path, here, self.options.valid_types, &mut found.schema);
        if s.unique_items {
            let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            found.schema.push(Error::forbidden(&path.child("uniqueItems"), detail));
        }
        self.additional(s, path, here, below, found);
        for (name, field) in &s.properties {
            let mut inner = here.clone();
            if !matches!(s.map_type.as_deref(), None | Some("granular" | "atomic")) {
                inner.uncorrelated.get_or_insert_with(|| path.clone());
            }
            if (root || s.embedded) && META_FIELDS.contains(&name.as_str()) {
                inner.inside_metadata = true;
                if root {
                    inner.no_defaults = format!(" in top-level {name}");
                }
            }
            let at = path.child("properties").key(name);
            self.node(field, &at, &inner, below, false, found);
        }
        if let Some(not) = &s.not {
            self.node(not, &path.child("not"), here, None, false, found);
        }
        for (name, list) in [("allOf", &s.all_of), ("oneOf", &s.one_of), ("anyOf", &s.any_of)] {
            for (i, inner) in list.iter().enumerate() {
                self.node(inner, &path.child(name).index(i), here, None, false, found);
            }
        }
        for (name, inner) in &s.unsupported.definitions {
            self.node(inner, &path.child("definitions").key(name), here, None, false, found);
        }
        self.items(s, path, here, below, found);
        lists(s, path, self.options, &mut found.schema);
        if s.rules.is_empty() {
            return;
        }
        let at = path.child("x-kubernetes-validations");
        for (i, rule) in s.rules.iter().enumerate() {
            rule_form(s, rule, &at.index(i), &mut found.schema);
        }
        if let (true, Some(costs), Some(scope)) = (found.schema.len() == before, &mut self.costs, scope) {
            rules::validate(s, scope, costs, here.uncorrelated.as_ref(), &at, &mut found.rules);
        }
    }

    fn additional(&mut self, s: &Schema, path: &Path, here: &Here, below: Option<Scope>, found: &mut Found) {
        let Some(additional) = &s.additional else { return };
        let at = path.child("additionalProperties");
        if !s.properties.is_empty() && *additional != Additional::Bool(true) {
            let detail = "additionalProperties and properties are mutual exclusive";
            found.schema.push(Error::forbidden(&at, detail));
        }
        let Additional::Schema(other) = additional else { return };
        let mut inner = here.clone();
        if here.inside_metadata {
            inner.no_defaults = " inside additionalProperties applying to object metadata".to_owned();
        }
        self.node(other, &at, &inner, below, false, found);
    }

    fn items(&mut self, s: &Schema, path: &Path, here: &Here, below: Option<Scope>, found: &mut Found) {
        let at = path.child("items");
        let mut inner = here.clone();
        if !s.is_map_list() {
            inner.uncorrelated.get_or_insert_with(|| path.clone());
        }
        match &s.items {
            None => {}
            Some(Items::Schema(item)) => {
                self.node(item, &at, &inner, below, false, found);
            }
            Some(Items::Schemas(list)) => {
                for (i, item) in list.iter().enumerate() {
                    self.node(item, &at.index(i), &inner, None, false, found);
                }
            }
        }
    }
}

fn plain(s: &Schema, path: &Path, here: &Here, valid_types: bool, errors: &mut ErrorList) {
    if valid_types && !s.ty.is_empty() && !TYPES.contains(&s.ty.as_str()) {
        errors.push(Error::not_supported(&path.child("type"), s.ty.as_str(), TYPES));
    }
    if s.default.is_some() && !here.no_defaults.is_empty() {
        errors.push(Error::forbidden(&path.child("default"), format!("must not be set{}", here.no_defaults)));
    }
    let u = &s.unsupported;
    for (there, name) in [
        (u.id, "id"),
        (u.additional_items, "additionalItems"),
        (u.pattern_properties, "patternProperties"),
        (!u.definitions.is_empty(), "definitions"),
        (u.dependencies, "dependencies"),
        (u.reference.is_some(), "$ref"),
    ] {
        if there {
            errors.push(Error::forbidden(&path.child(name), format!("{name} is not supported")));
        }
    }
    if s.ty == "null" {
        let detail = "type cannot be set to null, use nullable as an alternative";
        errors.push(Error::forbidden(&path.child("type"), detail));
    }
    if matches!(&s.items, Some(Items::Schemas(list)) if !list.is_empty()) {
        errors.push(Error::forbidden(&path.child("items"), "items must be a schema object and not an array"));
    }
    if here.inside_metadata && s.embedded {
        let detail = "must not be used inside of resource meta";
        errors.push(Error::forbidden(&path.child("x-kubernetes-embedded-resource"), detail));
    }
}

fn typed(s: &Schema, wanted: &str, because: &str, path: &Path, errors: &mut ErrorList) {
    let (at, detail) = (path.child("type"), format!("must be {wanted} if {because} is specified"));
    errors.push(if s.ty.is_empty() {
        Error::required(&at, detail)
    } else {
        Error::invalid(&at, s.ty.as_str(), detail)
    });
}

fn lists(s: &Schema, path: &Path, options: &Options, errors: &mut ErrorList) {
    const LIST_TYPE: &str = "x-kubernetes-list-type";
    const MAP_TYPE: &str = "x-kubernetes-map-type";
    const MAP_KEYS: &str = "x-kubernetes-list-map-keys";
    if s.preserve == Some(false) {
        let at = path.child("x-kubernetes-preserve-unknown-fields");
        errors.push(Error::invalid(&at, false, "must be true or undefined"));
    }
    if let Some(map_type) = &s.map_type {
        if s.ty != "object" {
            typed(s, "object", MAP_TYPE, path, errors);
        }
        if !matches!(map_type.as_str(), "atomic" | "granular") {
            errors.push(Error::not_supported(&path.child(MAP_TYPE), map_type.as_str(), ["atomic", "granular"]));
        }
    }
    let list_type = s.list_type.as_deref();
    if list_type.is_some() && s.ty != "array" {
        typed(s, "array", LIST_TYPE, path, errors);
    } else if options.atomic_sets && is_non_atomic_set(s) {
        let name = if s.item().is_some_and(|i| i.ty == "array") { LIST_TYPE } else { MAP_TYPE };
        let value = s.item().and_then(|i| i.list_type.clone()).map_or(Value::Null, Value::from);
        let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
        errors.push(Error::invalid(&path.child("items").child(name), value, detail));
    }
    if let Some(other) = list_type.filter(|ty| !["atomic", "set", "map"].contains(ty)) {
        errors.push(Error::not_supported(&path.child(LIST_TYPE), other, ["atomic", "set", "map"]));
    }
    if !s.map_keys.is_empty() {
        let (at, detail) = (path.child(LIST_TYPE), "must be map if x-kubernetes-list-map-keys is non-empty");
        match list_type {
            None => errors.push(Error::required(&at, detail)),
            Some("map") => {}
            Some(other) => errors.push(Error::invalid(&at, other, detail)),
        }
    }
    if s.is_map_list() {
        if s.map_keys.is_empty() {
            errors.push(Error::required(&path.child(MAP_KEYS), "must not be empty if x-kubernetes-list-type is map"));
        }
        keyed(s, path, &path.child(MAP_KEYS), errors);
    }
    if options.map_keys {
        errors.extend(map_keys(s, path));
    }
}

fn keyed(s: &Schema, path: &Path, keys_at: &Path, errors: &mut ErrorList) {
    let at = path.child("items");
    match &s.items {
        None => errors.push(Error::required(&at, "must have a schema if x-kubernetes-list-type is map")),
        Some(Items::Schemas(_)) => {
            errors.push(Error::invalid(
                &at,
                Value::Null,
                "must only have a single schema if x-kubernetes-list-type is map",
            ));
        }
        Some(Items::Schema(item)) if item.ty != "object" => {
            let detail = "must be object if parent array's x-kubernetes-list-type is map";
            errors.push(Error::invalid(&at.child("type"), item.ty.as_str(), detail));
        }
        Some(Items::Schema(item)) => {
            for (i, key) in s.map_keys.iter().enumerate() {
                match item.properties.get(*key) {
                    Some(field) if matches!(field.ty.as_str(), "array" | "object") => {
                        let at = at.child("properties").key(key).child("type");
                        let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                        errors.push(Error::invalid(&at, item.ty.as_str(), detail));
                    }
                    Some(_) => {}
                    None => {
                        let detail = "entries must all be names of item properties";
                        errors.push(Error::invalid(keys_at, s.map_keys.clone(), detail));
                    }
                }
                if s.map_keys[..i].contains(key) {
                    errors.push(Error::invalid(keys_at, s.map_keys.clone(), "must not contain duplicate entries"));
                }
            }
        }
    }
}

/// A set whose elements could be changed in part.
pub(super) fn is_non_atomic_set(s: &Schema) -> bool {
    s.list_type.as_deref() == Some("set")
        && s.item().is_some_and(|item| match item.ty.as_str() {
            "array" => !matches!(item.list_type.as_deref(), None | Some("atomic")),
            "object" => item.map_type.as_deref() != Some("atomic"),
            _ => false,
        })
}

/// Keys of map lists are always there, and elements of sets and map lists are never null.
pub(super) fn map_keys(s: &Schema, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let (Some(item), Some(ty @ ("set" | "map"))) = (s.item(), s.list_type.as_deref()) else { return errors };
    let at = path.child("items");
    if item.nullable {
        let detail = format!("cannot be nullable when x-kubernetes-list-type is {ty}");
        errors.push(Error::forbidden(&at.child("nullable"), detail));
    }
    for key in s.map_keys.iter().filter(|_| ty == "map") {
        let Some(field) = item.properties.get(*key) else { continue };
        let at = at.child("properties").key(key);
        if field.default.is_none() && !item.required.iter().any(|name| name == key) {
            let detail =
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(Error::required(&at.child("default"), detail));
        }
        if field.nullable {
            let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(Error::forbidden(&at.child("nullable"), detail));
        }
    }
    errors
}

/// A fault of a whole rule, which upstream prints with Go's names in Go's order.
pub(crate) fn rule_fault(path: &Path, rule: &Rule, detail: &str) -> Error {
    let text = |text: &str| go::json(&Value::from(text));
    let maybe = |value: Option<Value>| go::json(&value.unwrap_or_default());
    let printed = format!(
        r#"{{"Rule":{},"Message":{},"MessageExpression":{},"Reason":{},"FieldPath":{},"OptionalOldSelf":{}}}"#,
        text(&rule.rule),
        text(&rule.message),
        text(&rule.message_expression),
        maybe(rule.reason.clone().map(Value::from)),
        text(&rule.field_path),
        maybe(rule.optional_old_self.map(Value::from)),
    );
    let error = Error::invalid(path, Value::Null, format!("{printed}: {detail}"));
    Error { bad_value: None, ..error }
}

fn rule_form(s: &Schema, rule: &Rule, path: &Path, errors: &mut ErrorList) {
    const REASONS: [&str; 4] =
        ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
    let lines = |text: &str| text.contains(['\n', '\r']);
    let (expression, message) = (rule.rule.trim(), rule.message.trim());
    if expression.is_empty() {
        errors.push(Error::required(&path.child("rule"), "rule is not specified"));
    } else if !rule.message.is_empty() && message.is_empty() {
        errors.push(Error::invalid(&path.child("message"), rule.message.as_str(), "must be non-empty if specified"));
    } else if lines(message) {
        errors.push(Error::invalid(&path.child("message"), rule.message.as_str(), "must not contain line breaks"));
    } else if lines(expression) && message.is_empty() {
        let detail = "message must be specified if rule contains line breaks";
        errors.push(Error::required(&path.child("message"), detail));
    }
    if !rule.message_expression.is_empty() && rule.message_expression.trim().is_empty() {
        let detail = "messageExpression must be non-empty if specified";
        errors.push(Error::required(&path.child("messageExpression"), detail));
    }
    if let Some(reason) = rule.reason.as_deref().filter(|r| !REASONS.contains(r)) {
        errors.push(Error::not_supported(&path.child("reason"), reason, REASONS));
    }
    let (given, at) = (rule.field_path.as_str(), path.child("fieldPath"));
    if !given.is_empty() && given.trim().is_empty() {
        errors.push(Error::invalid(&at, given, "must be non-empty if specified"));
    }
    if lines(given) {
        errors.push(Error::invalid(&at, given, "must not contain line breaks"));
    }
    if !given.is_empty() && unsupported(s).is_none() && field_path::valid(given, s, true).is_err() {
        errors.push(Error::invalid(&at, given, "must be a valid path"));
    }
}
