//! A CustomResourceDefinition as the server serves by it: its accepted names, and what each version says. Read once when a
//! definition changes; requests only look.

use std::sync::Arc;

use machinery::gvk::version_order;
use machinery::json::Fields;
use machinery::meta;
use model::custom::conversion::Conversion;
use model::custom::{Custom, ReplicasPaths, Scale, Schemas, columns};
use serde_json::Value;
use structural::Structural;

use crate::conversion;

/// What tells two states of a definition apart, as far as serving goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// Another object of the same name is another resource.
    pub uid: String,
    /// Counts changes of the spec.
    pub generation: i64,
    names: Value,
    terminating: bool,
}

/// The names under which a custom resource is served: those that were accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    pub(super) plural: String,
    pub(super) singular: String,
    pub(super) kind: String,
    pub(super) list_kind: String,
    pub(super) short: Vec<String>,
    pub(super) categories: Vec<String>,
}

/// See the module.
#[derive(Debug)]
pub struct Definition {
    /// The object's name: `<plural>.<group>`.
    pub name: String,
    /// See [`Stamp`].
    pub stamp: Stamp,
    /// API group.
    pub group: String,
    /// See [`Names`].
    pub names: Names,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Whether unknown fields are kept, whatever the schema says (definitions from v1beta1).
    pub preserve_unknown: bool,
    /// All versions, in the definition's order.
    pub versions: Vec<Version>,
    /// Whether its objects are being deleted with it: none can be made any more.
    pub terminating: bool,
}

/// One version.
#[derive(Debug)]
pub struct Version {
    /// `v1`, `v1alpha1`, ...
    pub name: String,
    /// Whether requests are served in it.
    pub served: bool,
    /// Whether objects are stored in it.
    pub storage: bool,
    /// Whether `status` is a part of its own.
    pub status: bool,
    /// JSON paths of fields that selectors may name.
    pub selectable: Vec<String>,
    /// What clients of a deprecated version are told.
    pub deprecation: Option<String>,
    /// How its objects are read.
    pub custom: Arc<Custom>,
}

/// The status of a condition: `True`, `False`, `Unknown`, or nothing.
pub fn condition<'d>(definition: &'d Value, kind: &str) -> Option<&'d Value> {
    definition.sub("status").list("conditions").iter().find(|c| c["type"] == kind)
}

/// Whether a condition is there and true.
pub fn is_true(definition: &Value, kind: &str) -> bool {
    condition(definition, kind).is_some_and(|c| c["status"] == "True")
}

impl Stamp {
    /// Of a stored definition.
    pub fn of(definition: &Value) -> Self {
        Self {
            uid: meta::uid(definition).to_string(),
            generation: definition["metadata"]["generation"].as_i64().unwrap_or_default(),
            names: definition["status"]["acceptedNames"].clone(),
            terminating: is_true(definition, "Terminating"),
        }
    }
}

impl Definition {
    /// Reads a stored definition. `None` where it may not be served (yet): its names were never accepted.
    pub fn read(definition: &Value) -> Option<Self> {
        if !is_true(definition, "NamesAccepted") && !is_true(definition, "Established") {
            return None;
        }
        let spec = &definition["spec"];
        let accepted = &definition["status"]["acceptedNames"];
        let names = Names {
            plural: accepted.text("plural").to_owned(),
            singular: accepted.text("singular").to_owned(),
            kind: accepted.text("kind").to_owned(),
            list_kind: accepted.text("listKind").to_owned(),
            short: accepted.texts("shortNames").map(str::to_owned).collect(),
            categories: accepted.texts("categories").map(str::to_owned).collect(),
        };
        let preserve_unknown = spec["preserveUnknownFields"] == true;
        let group = spec.text("group").to_owned();
        let versions = spec["versions"].as_array()?;
        let schemas = Arc::new(schemas(versions, &group, preserve_unknown)?);
        let replicas = Arc::new(versions.iter().map(|version| replicas(version, &group)).collect());
        let conversion = Arc::new(conversion::read(spec));
        Some(Self {
            name: meta::name(definition).to_string(),
            stamp: Stamp::of(definition),
            namespaced: spec["scope"] == "Namespaced",
            versions: versions
                .iter()
                .map(|v| Version::read(v, &group, &names.kind, versions, &schemas, &replicas, &conversion))
                .collect::<Option<_>>()?,
            terminating: is_true(definition, "Terminating"),
            preserve_unknown,
            names,
            group,
        })
    }

    /// The version in which objects are stored.
    pub fn storage(&self) -> Option<&Version> {
        self.versions.iter().find(|v| v.storage)
    }

    /// The version of that name.
    pub fn version(&self, name: &str) -> Option<&Version> {
        self.versions.iter().find(|v| v.name == name)
    }
}

impl Version {
    fn read(
        version: &Value,
        group: &str,
        kind: &str,
        all: &[Value],
        schemas: &Arc<Schemas>,
        replicas: &Arc<ReplicasPaths>,
        conversion: &Arc<Conversion>,
    ) -> Option<Self> {
        let parts = &version["subresources"];
        let scale = parts.object("scale").map(|scale| Scale {
            spec_replicas: scale.text("specReplicasPath").to_owned(),
            status_replicas: scale.text("statusReplicasPath").to_owned(),
            label_selector: Some(scale.text("labelSelectorPath").to_owned()).filter(|path| !path.is_empty()),
        });
        let selectable = version["selectableFields"].as_array().into_iter().flatten();
        let name = version.text("name").to_owned();
        Some(Self {
            served: version["served"] == true,
            storage: version["storage"] == true,
            status: parts["status"].is_object(),
            selectable: selectable.map(|field| field.text("jsonPath").to_owned()).collect(),
            deprecation: deprecation(version, group, kind, all),
            custom: Arc::new(Custom {
                api_version: format!("{group}/{name}"),
                schema: schemas.get(&format!("{group}/{name}"))?.clone(),
                schemas: schemas.clone(),
                conversion: conversion.clone(),
                scale,
                replicas: replicas.clone(),
                columns: columns::read(&version["additionalPrinterColumns"]),
            }),
            name,
        })
    }
}

/// A version's `apiVersion`, and the steps to its replicas.
fn replicas(version: &Value, group: &str) -> (String, Vec<String>) {
    let path = version["subresources"]["scale"]["specReplicasPath"].as_str();
    let steps = path.map(|path| path.trim_start_matches('.').split('.').map(str::to_owned).collect());
    (format!("{group}/{}", version.text("name")), steps.unwrap_or_default())
}

/// The schemas of all versions; `None`, and a line in the log, where one is none: a definition that was validated has no
/// such.
fn schemas(versions: &[Value], group: &str, preserve_unknown: bool) -> Option<Schemas> {
    let mut schemas = Schemas::new();
    for version in versions {
        let name = format!("{group}/{}", version.text("name"));
        match Structural::of(&version["schema"]["openAPIV3Schema"], preserve_unknown) {
            Ok(schema) => schemas.insert(name, Arc::new(schema)),
            Err(errors) => {
                tracing::error!(version = %name, ?errors, "the schema of a custom resource cannot be used");
                return None;
            }
        };
    }
    Some(schemas)
}

/// The warning of a deprecated version: the definition's, or one that names the best version that is not.
fn deprecation(version: &Value, group: &str, kind: &str, all: &[Value]) -> Option<String> {
    if version["deprecated"] != true {
        return None;
    }
    if let Some(own) = version["deprecationWarning"].as_str() {
        return Some(own.to_string());
    }
    let name = |version: &Value| version.text("name").to_owned();
    let this = name(version);
    let better = all
        .iter()
        .filter(|v| v["served"] == true && v["deprecated"] != true)
        .map(name)
        .filter(|other| version_order(other) > version_order(&this))
        .max_by_key(|other| version_order(other));
    let hint = better.map(|other| format!("; use {group}/{other} {kind}")).unwrap_or_default();
    Some(format!("{group}/{this} {kind} is deprecated{hint}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_deprecated_version_names_the_best_one_that_is_not() {
        let version = |name: &str, deprecated: bool| json!({ "name": name, "served": true, "deprecated": deprecated });
        let all = [version("v1alpha1", true), version("v1beta1", false), version("v1", false), version("v2", true)];
        for (at, expect) in [
            (0, Some("example.com/v1alpha1 Widget is deprecated; use example.com/v1 Widget")),
            (1, None),
            (3, Some("example.com/v2 Widget is deprecated")),
        ] {
            assert_eq!(deprecation(&all[at], "example.com", "Widget", &all).as_deref(), expect);
        }
        let own = json!({ "name": "v1", "deprecated": true, "deprecationWarning": "gone soon" });
        assert_eq!(deprecation(&own, "example.com", "Widget", &[]).as_deref(), Some("gone soon"));
    }

    #[test]
    fn only_definitions_with_accepted_names_are_served() {
        let mut definition = json!({ "spec": { "group": "example.com", "versions": [] }, "status": {} });
        assert!(Definition::read(&definition).is_none());
        definition["status"]["conditions"] = json!([{ "type": "NamesAccepted", "status": "True" }]);
        assert!(Definition::read(&definition).is_some());
    }
}
