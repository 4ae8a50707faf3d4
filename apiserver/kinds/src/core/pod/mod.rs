//! Pods: the richest kind, hence its rules in several files.

mod label_keys;
pub mod strategy;
pub mod validation;
pub mod warnings;

use api::rules::Step::{Code, Only};
use api::rules::{Row, of};
use machinery::field::Path;
use serde_json::Value;

/// Pods' own rules are code (`validation`), also where a pod is a template.
pub(crate) const ROWS: &[Row] = &[of(
    "core.v1",
    "PodTemplateSpec",
    &[Only, Code(|here, errors| errors.extend(validation::check_template(here.value, &here.path())))],
)];

/// What a client is told that writes a PodTemplate whose template is new.
pub fn template_warnings(template: &Value, old: Option<&Value>) -> Vec<String> {
    let new = old.is_none_or(|old| old["template"] != template["template"]);
    if new { warnings::of_template(&template["template"], &Path::new("template")) } else { Vec::new() }
}
