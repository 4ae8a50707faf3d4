//! The table while it is made: the definitions' types, in the bindings' order and with their numbers.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::bindings::Bindings;
use super::definitions::{self, Definitions};

/// Packages of the table: alias, prefix of the definitions' names, apiVersion, module of the bindings.
const PACKAGES: &[(&str, &str, &str, &str)] = &[
    ("meta.v1", "io.k8s.apimachinery.pkg.apis.meta.v1", "v1", "apimachinery/pkg/apis/meta/v1"),
    ("admission.v1", "io.k8s.api.admission.v1", "admission.k8s.io/v1", "api/admission/v1"),
    (
        "admissionregistration.v1",
        "io.k8s.api.admissionregistration.v1",
        "admissionregistration.k8s.io/v1",
        "api/admissionregistration/v1",
    ),
    ("apidiscovery.v2", "io.k8s.api.apidiscovery.v2", "apidiscovery.k8s.io/v2", "api/apidiscovery/v2"),
    ("apps.v1", "io.k8s.api.apps.v1", "apps/v1", "api/apps/v1"),
    ("authentication.v1", "io.k8s.api.authentication.v1", "authentication.k8s.io/v1", "api/authentication/v1"),
    ("authorization.v1", "io.k8s.api.authorization.v1", "authorization.k8s.io/v1", "api/authorization/v1"),
    ("autoscaling.v1", "io.k8s.api.autoscaling.v1", "autoscaling/v1", "api/autoscaling/v1"),
    ("autoscaling.v2", "io.k8s.api.autoscaling.v2", "autoscaling/v2", "api/autoscaling/v2"),
    ("batch.v1", "io.k8s.api.batch.v1", "batch/v1", "api/batch/v1"),
    ("certificates.v1", "io.k8s.api.certificates.v1", "certificates.k8s.io/v1", "api/certificates/v1"),
    ("coordination.v1", "io.k8s.api.coordination.v1", "coordination.k8s.io/v1", "api/coordination/v1"),
    ("core.v1", "io.k8s.api.core.v1", "v1", "api/core/v1"),
    ("discovery.v1", "io.k8s.api.discovery.v1", "discovery.k8s.io/v1", "api/discovery/v1"),
    ("events.v1", "io.k8s.api.events.v1", "events.k8s.io/v1", "api/events/v1"),
    ("flowcontrol.v1", "io.k8s.api.flowcontrol.v1", "flowcontrol.apiserver.k8s.io/v1", "api/flowcontrol/v1"),
    ("networking.v1", "io.k8s.api.networking.v1", "networking.k8s.io/v1", "api/networking/v1"),
    ("node.v1", "io.k8s.api.node.v1", "node.k8s.io/v1", "api/node/v1"),
    ("policy.v1", "io.k8s.api.policy.v1", "policy/v1", "api/policy/v1"),
    ("rbac.v1", "io.k8s.api.rbac.v1", "rbac.authorization.k8s.io/v1", "api/rbac/v1"),
    ("resource.v1", "io.k8s.api.resource.v1", "resource.k8s.io/v1", "api/resource/v1"),
    ("scheduling.v1", "io.k8s.api.scheduling.v1", "scheduling.k8s.io/v1", "api/scheduling/v1"),
    ("storage.v1", "io.k8s.api.storage.v1", "storage.k8s.io/v1", "api/storage/v1"),
    (
        "apiextensions.v1",
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1",
        "apiextensions.k8s.io/v1",
        "apiextensions_apiserver/pkg/apis/apiextensions/v1",
    ),
    (
        "apiregistration.v1",
        "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1",
        "apiregistration.k8s.io/v1",
        "kube_aggregator/pkg/apis/apiregistration/v1",
    ),
];

/// One field's line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) shape: String,
    pub(super) number: String,
    /// Of `!*=z`.
    pub(super) flags: String,
    pub(super) marks: Vec<String>,
    pub(super) inlined: String,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " {} {} {}", self.name, self.shape, self.number)?;
        if !self.flags.is_empty() {
            write!(f, " {}", self.flags)?;
        }
        for mark in &self.marks {
            write!(f, " {mark}")?;
        }
        if !self.inlined.is_empty() {
            write!(f, " in:{}", self.inlined)?;
        }
        Ok(())
    }
}

/// One type's lines.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Type {
    /// `kind`, `atomic`, `union:type(a,b)`.
    pub(super) words: Vec<String>,
    pub(super) fields: Vec<Field>,
}

/// Types by package alias and name.
#[derive(Debug, Default)]
pub(super) struct Table(pub(super) BTreeMap<(String, String), Type>);

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# Made by `cargo xtask codegen`. The format is described in parse.rs.")?;
        for (alias, prefix, api_version, _) in PACKAGES {
            writeln!(f, "@{alias} {prefix} {api_version}")?;
            for ((_, name), ty) in self.0.iter().filter(|((package, _), _)| package == alias) {
                writeln!(f, "{}", [vec![name.clone()], ty.words.clone()].concat().join(" "))?;
                for field in &ty.fields {
                    writeln!(f, "{field}")?;
                }
            }
        }
        Ok(())
    }
}

/// A number, a name to compare by, the wrapper message, the inlined struct: what the bindings say of a field.
struct Bound {
    key: String,
    number: String,
    wrapped: bool,
    inlined: String,
}

pub(super) fn build(definitions: &Definitions, bindings: &Bindings) -> anyhow::Result<Table> {
    let mut table = Table::default();
    for (alias, prefix, _, module) in PACKAGES {
        for (full, definition) in definitions {
            let Some(name) = full.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.')) else { continue };
            let special = definitions::SPECIAL.iter().any(|(special, _)| special == full);
            if special
                || definition.get("properties").is_none() && bindings.get(&((*module).into(), name.into())).is_none()
            {
                continue;
            }
            table.0.insert(((*alias).into(), name.into()), build_type(alias, name, module, definition, bindings));
        }
    }
    Ok(table)
}

fn build_type(alias: &str, name: &str, module: &str, definition: &Value, bindings: &Bindings) -> Type {
    let mut words = Vec::new();
    let properties = definition["properties"].as_object().cloned().unwrap_or_default();
    let is_kind = definition.get("x-kubernetes-group-version-kind").is_some() && properties.contains_key("kind");
    let bound = bound(module, name, bindings, &properties.keys().map(|k| key(k)).collect::<Vec<_>>());
    if is_kind {
        words.push("kind".to_owned());
    }
    if let Some(map) = definition["x-kubernetes-map-type"].as_str() {
        words.push(map.to_owned());
    }
    words.extend(definitions::union(definition));
    let required: Vec<&str> =
        definition["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut fields: Vec<(usize, Field)> = Vec::new();
    for (property, schema) in &properties {
        if is_kind && (property == "kind" || property == "apiVersion") {
            continue;
        }
        let position = bound.iter().position(|b| b.key == key(property));
        let found = position.map(|i| &bound[i]);
        let mut shape = local(alias, &definitions::shape(schema));
        if found.is_some_and(|b| b.wrapped) {
            shape = shape.replace("[]s", "E");
        }
        let required = required.contains(&property.as_str());
        fields.push((
            position.unwrap_or(usize::MAX),
            Field {
                name: property.clone(),
                flags: flags(&shape, required, is_kind, property),
                shape,
                number: found.map_or_else(|| "-".into(), |b| b.number.clone()),
                marks: definitions::marks(schema),
                inlined: found.map(|b| b.inlined.clone()).unwrap_or_default(),
            },
        ));
    }
    fields.sort_by(|a, b| (a.0, &a.1.name).cmp(&(b.0, &b.1.name)));
    Type { words, fields: fields.into_iter().map(|(_, f)| f).collect() }
}

/// What holds for most fields; `facts.txt` has the others.
fn flags(shape: &str, required: bool, is_kind: bool, name: &str) -> String {
    let object = !matches!(shape.as_bytes().first(), Some(b'[' | b'{')) && !is_letter(shape);
    let part = is_kind && matches!(name, "metadata" | "spec" | "status");
    let pointer = !required
        && !part
        && (object || matches!(shape, "i" | "l" | "b" | "Q" | "I" | "T" | "M" | "d" | "J" | "SA" | "SB" | "SS"));
    let mut flags = String::new();
    if required {
        flags.push('!');
    }
    if pointer {
        flags.push('*');
    }
    if required {
        flags.push('=');
    }
    flags
}

fn is_letter(shape: &str) -> bool {
    let code = shape.split(':').next().unwrap_or(shape);
    code.len() == 1 || matches!(code, "SA" | "SB" | "SS")
}

/// References with the alias of their package, and without it inside the same package.
fn local(alias: &str, shape: &str) -> String {
    let Some((before, rest)) = shape.split_once('<') else { return shape.to_owned() };
    let full = rest.trim_end_matches('>');
    let package = PACKAGES.iter().find(|(_, prefix, ..)| full.strip_prefix(prefix).is_some_and(|r| r.starts_with('.')));
    match package {
        Some((other, prefix, ..)) => {
            let name = &full[prefix.len() + 1..];
            if *other == alias { format!("{before}{name}") } else { format!("{before}{other}.{name}") }
        }
        None => format!("{before}{full}"),
    }
}

/// The bindings' fields, with those of inlined structs in place of the struct.
fn bound(module: &str, name: &str, bindings: &Bindings, properties: &[String]) -> Vec<Bound> {
    let Some(fields) = bindings.get(&(module.to_owned(), name.to_owned())) else { return Vec::new() };
    let mut out = Vec::new();
    for field in fields {
        let own = key(&field.name);
        match &field.message {
            Some(message) if !properties.contains(&own) => {
                let inner = bound(module, message, bindings, properties);
                out.extend(inner.into_iter().map(|b| Bound {
                    number: format!("{}/{}", field.number, b.number),
                    inlined: if b.inlined.is_empty() { message.clone() } else { format!("{message}.{}", b.inlined) },
                    ..b
                }));
            }
            message => out.push(Bound {
                key: own,
                number: field.number.to_string(),
                wrapped: message.as_deref().is_some_and(|m| matches!(m, "ExtraValue" | "Verbs")),
                inlined: String::new(),
            }),
        }
    }
    out
}

/// Names are compared without case and separators: `cluster_i_ps` is `clusterIPs`.
fn key(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}
