//! Unknown fields go (`apiserver/schema/pruning`), and so do nulls where null is no value (`schema/defaulting/prunenulls.go`).

use serde_json::Value;

use super::parse::{Additional, Items, Schema};

/// What every resource has, whether its schema says so or not.
pub(super) const META_FIELDS: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Where the walk is, kept on its own stack: paths are made only of unknown fields.
#[derive(Clone, Copy)]
pub(super) enum Step<'a> {
    Root,
    Key(&'a Step<'a>, &'a str),
    Index(&'a Step<'a>, usize),
}

impl Step<'_> {
    fn print(&self, out: &mut String) {
        match self {
            Step::Root => {}
            Step::Key(parent, key) => {
                parent.print(out);
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(key);
            }
            Step::Index(parent, index) => {
                parent.print(out);
                out.push_str(&format!("[{index}]"));
            }
        }
    }

    /// `spec.list[0].x`.
    pub(super) fn path(&self) -> String {
        let mut out = String::new();
        self.print(&mut out);
        out
    }
}

/// Takes unknown fields out of a resource; says which, sorted.
pub(super) fn prune(object: &mut Value, root: &Schema) -> Vec<String> {
    let mut unknown = Vec::new();
    walk(object, Some(root), true, root.preserves(), Step::Root, &mut unknown);
    unknown.sort();
    unknown
}

/// Without the marks of a resource root: for values of a part of the schema.
pub(super) fn prune_part(value: &mut Value, schema: &Schema) {
    walk(value, Some(schema), schema.embedded, schema.preserves(), Step::Root, &mut Vec::new());
}

fn into(value: &mut Value, schema: Option<&Schema>, at: Step<'_>, unknown: &mut Vec<String>) {
    let (embedded, preserve) = schema.map_or((false, false), |s| (s.embedded, s.preserves()));
    walk(value, schema, embedded, preserve, at, unknown);
}

// `preserve` is of the place where it was said, and of the elements of lists below it, not of fields.
fn walk(
    value: &mut Value,
    schema: Option<&Schema>,
    embedded: bool,
    preserve: bool,
    at: Step<'_>,
    unknown: &mut Vec<String>,
) {
    match value {
        Value::Object(map) => map.retain(|key, inner| {
            if embedded && META_FIELDS.contains(&key.as_str()) {
                return true;
            }
            let step = Step::Key(&at, key);
            match schema {
                Some(s) if s.properties.contains_key(key) => into(inner, s.properties.get(key), step, unknown),
                Some(s) if s.additional.is_some() => into(inner, s.other(), step, unknown),
                _ if preserve => {}
                _ => {
                    if !matches!(at, Step::Root) || !META_FIELDS.contains(&key.as_str()) {
                        unknown.push(step.path());
                    }
                    return false;
                }
            }
            true
        }),
        Value::Array(items) => {
            let item = schema.and_then(Schema::item);
            for (i, inner) in items.iter_mut().enumerate() {
                let step = Step::Index(&at, i);
                if preserve {
                    // Elements without a schema stay whole; others keep what they do not know.
                    if let Some(item) = item {
                        walk(inner, Some(item), item.embedded, true, step, unknown);
                    }
                } else {
                    into(inner, item, step, unknown);
                }
            }
        }
        _ => {}
    }
}

/// Takes out nulls of fields that are neither nullable nor defaulted: they count as not set.
pub(super) fn prune_nulls(value: &mut Value, schema: Option<&Schema>) {
    match value {
        Value::Object(map) => map.retain(|key, inner| {
            let field = schema.and_then(|s| s.at(key));
            if inner.is_null() && field.is_some_and(|f| !f.nullable && f.default.is_none()) {
                return false;
            }
            prune_nulls(inner, field);
            true
        }),
        Value::Array(items) => {
            let item = schema.and_then(Schema::item);
            items.iter_mut().for_each(|inner| prune_nulls(inner, item));
        }
        _ => {}
    }
}

/// Defaults say nothing that their own schema does not know (`defaulting.PruneDefaults`).
pub(super) fn prune_defaults(schema: &mut Schema) {
    if let Some(mut default) = schema.default.take() {
        prune_part(&mut default, schema);
        schema.default = Some(default);
    }
    schema.properties.values_mut().for_each(prune_defaults);
    if let Some(Items::Schema(item)) = &mut schema.items {
        prune_defaults(item);
    }
    if let Some(Additional::Schema(other)) = &mut schema.additional {
        prune_defaults(other);
    }
}
