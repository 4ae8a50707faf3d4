//! The documents of groups' versions that consist of rows.

use std::collections::HashSet;

use model::descriptions::Texts;
use model::resource::Resource;
use serde_json::{Value, json};
use writes::Rows;
use writes::strategy::Kind;

use super::custom::{self, Published};
use super::{base, group_version, paths, schemas, whole};
use crate::sources::GroupVersion;

/// Their names.
pub(crate) fn names(rows: &Rows) -> Vec<String> {
    let mut names: Vec<String> = rows.iter().map(|row| base(&row.group, &row.version).split_off(1)).collect();
    names.dedup();
    names
}

/// A document by its name; `None` where there is none.
pub(crate) fn document(rows: &Rows, name: &str, texts: &Texts) -> Option<Value> {
    let (group, version) = group_version(name)?;
    let rows: Vec<&Resource> = rows.of_version(group, version).map(|kind| &*kind.row).collect();
    if rows.is_empty() {
        return None;
    }
    let (paths, wanted) = paths::paths(&rows, group, version, schemas::Wanted::new(group, version, texts));
    let mut document = whole(paths, wanted);
    if rows.iter().all(|row| row.types.custom().is_some()) {
        document["info"] = json!({"title": "Kubernetes CRD Swagger", "version": "v0.1.0"});
        document["components"].as_object_mut().map(|components| components.remove("securitySchemes"));
    }
    Some(document)
}

/// A document whose schemas of custom kinds have no more than v2 can say.
pub(crate) fn reduced(rows: &Rows, mut document: Value) -> Value {
    let custom: HashSet<String> = rows.iter().map(|row| custom::name(row, &row.kind)).collect();
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        for (_, schema) in schemas.iter_mut().filter(|(name, _)| custom.contains(*name)) {
            *schema = custom::v2(schema.take());
        }
    }
    document
}

/// What of rows is in their documents.
pub(crate) fn facts(rows: &Rows, of: Option<GroupVersion<'_>>, tell: &mut dyn FnMut(&str)) {
    match of {
        Some((group, version)) => rows.of_version(group, version).for_each(|row| facts_of(row, tell)),
        None => rows.iter().for_each(|row| facts_of(row, tell)),
    }
}

fn facts_of(row: &Kind, tell: &mut dyn FnMut(&str)) {
    if let Some(published) = Published::of(row) {
        tell(&format!("{} {:?} {:?}\n", published.list_kind, published.schema, published.fields));
    }
    let parts: Vec<_> = row.subresources.iter().map(|p| (&p.name, &p.kind, p.verbs)).collect();
    tell(&format!("{}/{}/{}/{}/{:?}/{parts:?}\n", row.group, row.version, row.resource, row.kind, row.verbs));
}
