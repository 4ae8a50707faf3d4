//! What goes because its manager no longer applies it, and nobody else owns it (`merge.Updater.prune`).

use super::entry::Entry;
use super::{MergeSchema, Set, Versions, fields, remove};
use serde_json::Value;

/// The merged object without what `last` had, `own` has no more, and none of the others has. `own` and `merged` are of one
/// version; `last` and the others may be of others.
pub(super) fn prune<'a, V: Versions<'a>>(
    merged: Value,
    versions: &V,
    last: &Entry,
    own: &Entry,
    others: &[Entry],
) -> Value {
    let mut gone = last.fields.clone();
    if last.api_version == own.api_version {
        gone.subtract(&own.fields);
    }
    if gone.is_empty() {
        return merged;
    }
    let Some((merged_then, schema)) = versions.at(&merged, &own.api_version, &last.api_version) else {
        return merged;
    };
    let merged_then = merged_then.into_owned();
    let last_fields = last.fields.named(schema);
    let mut pruned = Pruned {
        version: last.api_version.clone(),
        merged: merged_then.clone(),
        object: remove(&merged_then, &last_fields, schema),
    };

    // What is owned comes back, first in the version that was pruned: others may need it to convert at all.
    let mut by_version: Vec<(&str, Set)> = vec![(&last.api_version, Set::default())];
    for entry in others.iter().chain([own]) {
        match by_version.iter_mut().find(|(version, _)| *version == entry.api_version) {
            Some((_, set)) => set.extend(entry.fields.clone()),
            None => by_version.push((&entry.api_version, entry.fields.clone())),
        }
    }
    for (version, owned) in by_version.iter().filter(|(_, owned)| !owned.is_empty()) {
        pruned.add_back(versions, version, owned);
    }

    // So does what was never this manager's, and went only because it was in something of its.
    let Some((object, _)) = versions.at(&pruned.object, &pruned.version, &last.api_version) else { return merged };
    let mut gone = fields(&merged_then, schema).named(schema);
    gone.subtract(&fields(&object, schema).named(schema));
    gone.intersect(&last_fields);
    let left = remove(&merged_then, &gone, schema);
    match versions.at(&left, &last.api_version, &own.api_version) {
        Some((left, _)) => left.into_owned(),
        None => merged,
    }
}

struct Pruned {
    version: String,
    merged: Value,
    object: Value,
}

impl Pruned {
    fn add_back<'a, V: Versions<'a>>(&mut self, versions: &V, version: &str, owned: &Set) {
        let at = |object| versions.at(object, &self.version, version);
        let (Some((merged, schema)), Some((object, _))) = (at(&self.merged), at(&self.object)) else { return };
        let (merged, object) = (merged.into_owned(), object.into_owned());
        let mut gone = named(&merged, schema);
        gone.subtract(&named(&object, schema));
        gone.subtract(&owned.named(schema));
        *self = Pruned { version: version.to_owned(), object: remove(&merged, &gone, schema), merged };
    }
}

fn named<'a, S: MergeSchema<'a>>(object: &Value, schema: S) -> Set {
    fields(object, schema).named(schema)
}
