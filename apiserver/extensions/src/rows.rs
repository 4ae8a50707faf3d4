//! The rows of a definition: one for each served version, the preferred one first. Everything that differs from a built-in
//! resource by data is said here.

use std::sync::Arc;

use api::stored::Form;
use machinery::gvk::{GroupVersionKind, version_order};
use machinery::managed_fields::Resets;
use machinery::names;
use model::resource::{DEFAULT_COLUMNS, Generation, Resource, SelectableField, Sort, Subresource, Text, Verb};
use model::types::Types;
use writes::strategy::Kind;

use super::definition::{Definition, Version};
use super::instances::Instances;

/// Upstream's order in discovery.
const VERBS: &[Verb] = &[
    Verb::Delete,
    Verb::DeleteCollection,
    Verb::Get,
    Verb::List,
    Verb::Patch,
    Verb::Create,
    Verb::Update,
    Verb::Watch,
];
/// What is left while the definition is being deleted. Updates still work: finalizers have to go.
const VERBS_TERMINATING: &[Verb] = &[Verb::Delete, Verb::DeleteCollection, Verb::Get, Verb::List, Verb::Watch];
const PART: &[Verb] = &[Verb::Get, Verb::Patch, Verb::Update];

/// The storage prefix of a definition's objects.
pub fn prefix(definition: &Definition) -> String {
    format!("{}/{}", definition.group, definition.names.plural)
}

/// The rows of all served versions.
pub fn rows(definition: &Arc<Definition>) -> Vec<Kind> {
    let Some(storage) = definition.storage() else { return Vec::new() };
    let mut versions: Vec<&Version> = definition.versions.iter().filter(|v| v.served).collect();
    versions.sort_by(|a, b| version_order(&b.name).cmp(&version_order(&a.name)).then(a.name.cmp(&b.name)));
    versions.into_iter().map(|version| kind(definition, version, storage)).collect()
}

/// The row whose version is the stored one, served or not: what the cache is kept by.
pub fn stored(definition: &Arc<Definition>) -> Option<Kind> {
    let storage = definition.storage()?;
    Some(kind(definition, storage, storage))
}

fn kind(definition: &Arc<Definition>, version: &Version, storage: &Version) -> Kind {
    Kind::new(row(definition, version, storage), Instances::new(definition, version))
}

fn row(definition: &Arc<Definition>, version: &Version, storage: &Version) -> Resource {
    let names = &definition.names;
    let owned = |text: &str| Text::Owned(text.to_string());
    let kind = |version: &str| GroupVersionKind::new(definition.group.as_str(), version, names.kind.as_str());
    let mut subresources = Vec::new();
    let mut part = |name: &'static str, kind| subresources.push(Subresource { name: name.into(), kind, verbs: PART });
    if version.status {
        part("status", kind(&version.name));
    }
    if version.custom.scale.is_some() {
        part("scale", GroupVersionKind::new("autoscaling", "v1", "Scale"));
    }
    let mut selectable: Vec<SelectableField> = Vec::new();
    for path in definition.versions.iter().flat_map(|v| &v.selectable) {
        let name = owned(path.strip_prefix('.').unwrap_or(path));
        if selectable.iter().all(|field| field.name != name) {
            selectable.push(SelectableField { path: name.clone(), name, absent: "", fallback: "" });
        }
    }
    let offered = |name: &str| version.selectable.iter().any(|path| path.trim_start_matches('.') == name);
    let withheld = selectable.iter().map(|field| field.name.clone()).filter(|name| !offered(name)).collect();
    Resource {
        group: owned(&definition.group),
        version: owned(&version.name),
        resource: owned(&names.plural),
        singular: owned(&names.singular),
        kind: owned(&names.kind),
        list_kind: owned(&names.list_kind),
        namespaced: definition.namespaced,
        types: Types::Custom(version.custom.clone()),
        sort: Sort::Stored { prefix: prefix(definition).into() },
        storage_version: kind(&storage.name),
        stored_form: Form::Json,
        stored_version: None,
        verbs: VERBS,
        advertised: definition.terminating.then_some(VERBS_TERMINATING),
        short_names: names.short.iter().map(|name| owned(name)).collect(),
        categories: names.categories.iter().map(|name| owned(name)).collect(),
        subresources,
        generation: Some(Generation::USUAL),
        selectable,
        withheld,
        ttl_seconds: None,
        name_rule: names::name_is_dns_subdomain,
        create_on_update: false,
        unconditional_update: false,
        returns_deleted: false,
        resets: vec![("status".into(), Resets(&[&["metadata"], &["spec"]]))],
        // The definition's columns are in `types`.
        columns: DEFAULT_COLUMNS,
        table_condition: None,
        deprecation: version.deprecation.clone().map(Text::Owned),
    }
}
