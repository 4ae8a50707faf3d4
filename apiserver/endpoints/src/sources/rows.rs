//! What rows say of themselves to whoever looks for them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use machinery::gvk::GroupVersionKind;
use model::resource::{Resource, Sort, Subresource, Text, Verb};
use sha2::{Digest, Sha256};
use writes::strategy::Kind;
use writes::{Place, Rows};

use super::{Entry, Found, Group, GroupVersion, Input, Part};

/// What is at a path.
pub(super) fn find(rows: &Rows, group: &str, version: &str, resource: &str) -> Found {
    match rows.at_path(group, version, resource) {
        Place::Elsewhere => Found::Elsewhere,
        Place::Nothing => Found::Nothing,
        Place::Row(row) => Found::Kind(row.clone()),
    }
}

/// The groups, and their versions in the order of the rows.
pub(super) fn groups(rows: &Rows, priority: impl Fn(&str) -> i32) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for row in rows.iter() {
        let at = groups.iter().position(|group| group.name == row.group).unwrap_or_else(|| {
            groups.push(Group { name: row.group.clone(), priority: priority(&row.group), versions: Vec::new() });
            groups.len() - 1
        });
        let versions = &mut groups[at].versions;
        if !versions.contains(&row.version) {
            versions.push(row.version.clone());
        }
    }
    groups
}

/// The resources of a group's version, by name.
pub(super) fn resources(rows: &Rows, group: &str, version: &str) -> Option<Vec<Entry>> {
    let mut found: Vec<&Kind> = rows.of_version(group, version).collect();
    found.sort_by(|a, b| a.resource.cmp(&b.resource));
    (!found.is_empty()).then(|| found.into_iter().map(|row| entry(row)).collect())
}

/// The rows of a group's version, or all.
pub(super) fn inputs(rows: &Rows, of: Option<GroupVersion<'_>>) -> Vec<Input> {
    let input = |row: &Kind| -> Input { row.row.clone() };
    match of {
        Some((group, version)) => rows.of_version(group, version).map(input).collect(),
        None => rows.iter().map(input).collect(),
    }
}

fn entry(row: &Resource) -> Entry {
    let custom = row.types.custom().is_some();
    let mut parts: Vec<&Subresource> = row.subresources.iter().collect();
    // Upstream's installer sorts them, and its discovery of custom resources does not.
    if !custom {
        parts.sort_by(|a, b| a.name.cmp(&b.name));
    }
    // Of its own kinds upstream does not say the group and version, of custom ones it does.
    let said = |kind: &GroupVersionKind| match kind.group == row.group && kind.version == row.version && !custom {
        true => GroupVersionKind::new("", "", kind.kind.as_str()),
        false => kind.clone(),
    };
    let part = |part: &Subresource| Part { name: part.name.clone(), kind: said(&part.kind), verbs: verbs(part.verbs) };
    Entry {
        resource: row.resource.clone(),
        singular: row.singular.clone(),
        namespaced: row.namespaced,
        kind: said(&row.kind()),
        verbs: verbs(row.advertised()),
        short_names: row.short_names.clone(),
        categories: row.categories.clone(),
        storage_version_hash: storage_version_hash(row),
        parts: parts.into_iter().map(part).collect(),
    }
}

fn verbs(verbs: &[Verb]) -> Vec<Text> {
    verbs.iter().map(|verb| verb.as_str().into()).collect()
}

/// Changes when a resource is stored in another version (`discovery.StorageVersionHash`).
fn storage_version_hash(row: &Resource) -> String {
    if row.sort == Sort::Virtual {
        return String::new();
    }
    let stored = &row.storage_version;
    let version = row.stored_version.as_deref().unwrap_or(&stored.version);
    let hash = Sha256::digest(format!("{}/{version}/{}", stored.group, stored.kind));
    STANDARD.encode(&hash[..8])
}
