//! managedFields of a Scale: who owns the replicas of the object behind it, told as owners of the Scale's `spec.replicas`,
//! and told back after a write (`managedfields/scalehandler.go`).

use super::Set;
use super::entry::{self, Entry};
use serde_json::Value;

const SCALE_VERSION: &str = "autoscaling/v1";
const REPLICAS: &[&str] = &["spec", "replicas"];

/// Where the object keeps its replicas, by its `apiVersion`: empty for a version without a scale, None for one that is not
/// known, whose managers are forgotten.
pub type ReplicasPath<'p> = dyn Fn(&str) -> Option<Vec<&'p str>> + 'p;

fn replicas(path: &[&str]) -> Set {
    if path.is_empty() { Set::default() } else { Set::of(path) }
}

fn has(entry: &Entry, path: &[&str]) -> bool {
    let mut common = replicas(path);
    common.intersect(&entry.fields);
    !common.is_empty()
}

/// The Scale's list, made of the object's.
pub fn to_scale(list: Option<&Value>, path: &ReplicasPath<'_>) -> Result<Option<Value>, String> {
    let entries = entry::decode(list)?.into_iter().filter_map(|entry| {
        let owns = path(&entry.api_version).is_some_and(|path| has(&entry, &path));
        owns.then(|| Entry { api_version: SCALE_VERSION.to_owned(), fields: Set::of(REPLICAS), ..entry })
    });
    Ok(entry::encode(entries.collect()))
}

/// The object's list after a write of its Scale: `object` is its list before, `scale` the Scale's after. The write was
/// made in `api_version` of the object.
pub fn to_parent(
    object: Option<&Value>,
    scale: Option<&Value>,
    api_version: &str,
    path: &ReplicasPath<'_>,
) -> Result<Option<Value>, String> {
    let mut owners = entry::decode(scale)?;
    let mut out = Vec::new();
    for mut entry in entry::decode(object)? {
        let Some(path) = path(&entry.api_version) else { continue };
        if has(&entry, &path) {
            match owners.iter().position(|owner| owner.is(&entry)) {
                Some(at) => drop(owners.swap_remove(at)),
                None => entry.fields.subtract(&replicas(&path)),
            }
        }
        if !entry.fields.is_empty() {
            out.push(entry);
        }
    }
    let own = path(api_version).unwrap_or_default();
    for owner in owners.into_iter().filter(|owner| has(owner, REPLICAS)) {
        // Upstream looks for the time among the object's entries, so that a new owner has none.
        let there = out.iter().position(|entry| owner.is(entry)).map(|at| out.swap_remove(at));
        out.push(Entry {
            api_version: api_version.to_owned(),
            time: there.map(|entry| entry.time).unwrap_or_default(),
            fields: replicas(&own),
            ..owner
        });
    }
    Ok(entry::encode(out))
}
