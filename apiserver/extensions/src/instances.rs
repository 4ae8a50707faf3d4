//! The rules of custom resources' objects. Follows `apiextensions-apiserver/pkg/registry/customresource/{strategy,
//! status_strategy,validator}.go`.

use std::sync::Arc;

use async_trait::async_trait;
use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::status::StatusError;
use serde_json::Value;

use super::definition::{Definition, Version};
use model::custom::Custom;
use model::custom::scale;
use structural::OtherFaults;
use writes::allocation::Allocation;
use writes::metadata;
use writes::strategy::{Strategy, WriteContext};

/// The rules of one version's objects.
pub struct Instances {
    terminating: bool,
    custom: Arc<Custom>,
}

impl Instances {
    /// By the definition.
    pub fn new(definition: &Definition, version: &Version) -> Self {
        Self { terminating: definition.terminating, custom: version.custom.clone() }
    }

    /// The schema's faults. What was said of the metadata already is shown to it, since some faults keep rules from being
    /// tried, and is not said again.
    fn beyond(&self, said: ErrorList, scale: ErrorList, validate: impl FnOnce(OtherFaults) -> ErrorList) -> ErrorList {
        let known = said.len();
        let other = OtherFaults { before: said, after: scale };
        let mut found = match self.custom.schema.has_rules() {
            true => aside(|| validate(other)),
            false => validate(other),
        };
        found.split_off(known.min(found.len()))
    }

    fn scale_faults(&self, cx: &WriteContext<'_>, obj: &Value) -> ErrorList {
        let Some(paths) = &self.custom.scale else { return ErrorList::default() };
        let mut errors = ErrorList::default();
        let mut number = |path: &str| match scale::number(obj, path) {
            Err(why) => errors.push(Error::invalid(&Path::new(path), 0, why)),
            Ok(found) => match found.unwrap_or_default() {
                n if n < 0 => errors.push(Error::invalid(&Path::new(path), n, "should be a non-negative integer")),
                n if n > i64::from(i32::MAX) => {
                    let why = format!("should be less than or equal to {}", i32::MAX);
                    errors.push(Error::invalid(&Path::new(path), n, why));
                }
                _ => {}
            },
        };
        if cx.subresource != Some("status") {
            number(&paths.spec_replicas);
        }
        number(&paths.status_replicas);
        if let Some(path) = &paths.label_selector
            && let Err(why) = scale::text(obj, path)
        {
            errors.push(Error::invalid(&Path::new(path), "", why));
        }
        errors
    }
}

/// Runs what computes for long. Other requests of this thread go on in another one; where there is only one thread (in
/// tests), they wait.
fn aside<T>(work: impl FnOnce() -> T) -> T {
    let threads = tokio::runtime::Handle::try_current().map(|runtime| runtime.runtime_flavor());
    match threads {
        Ok(tokio::runtime::RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

#[async_trait]
impl Strategy for Instances {
    fn prepare_for_update(&self, cx: &WriteContext<'_>, obj: &mut Value, old: &Value) {
        if cx.subresource != Some("status") {
            return;
        }
        // Of the metadata a write of the status changes who owns what, and nothing else.
        let managed = obj["metadata"].get("managedFields").cloned();
        obj["metadata"] = old["metadata"].clone();
        match managed {
            Some(managed) => obj["metadata"]["managedFields"] = managed,
            None => {
                obj["metadata"].as_object_mut().map(|members| members.remove("managedFields"));
            }
        }
    }

    async fn begin_create(
        &self,
        cx: &WriteContext<'_>,
        obj: &mut Value,
        _: &mut Allocation,
    ) -> Result<(), StatusError> {
        if self.terminating {
            let why = "create not allowed while custom resource definition is terminating";
            return Err(StatusError::forbidden(&cx.resource.group_resource(), meta::name(obj), why));
        }
        Ok(())
    }

    fn validate(&self, cx: &WriteContext<'_>, obj: &Value) -> ErrorList {
        let schema = &self.custom.schema;
        let said = metadata::validate(cx, obj);
        let nothing = &mut Vec::new();
        self.beyond(said, self.scale_faults(cx, obj), |found| schema.validate(obj, None, found, nothing))
    }

    fn validate_update(&self, cx: &WriteContext<'_>, obj: &Value, old: &Value) -> ErrorList {
        let schema = &self.custom.schema;
        let said = metadata::validate_update(cx, obj, old);
        let mut forgiven = Vec::new();
        let found = self.beyond(said, self.scale_faults(cx, obj), |found| match cx.subresource {
            Some("status") => schema.validate_status(obj, old, found, &mut forgiven),
            _ => schema.validate(obj, Some(old), found, &mut forgiven),
        });
        cx.warn(forgiven);
        found
    }

    fn warnings(&self, cx: &WriteContext<'_>, obj: &Value, old: Option<&Value>) -> Vec<String> {
        if cx.subresource == Some("status") {
            return Vec::new();
        }
        let before = |finalizer: &str| old.is_some_and(|old| meta::finalizers(old).any(|f| f == finalizer));
        let mut new: Vec<&str> = meta::finalizers(obj).filter(|f| !before(f)).collect();
        new.sort_unstable();
        new.into_iter().flat_map(finalizer_warnings).collect()
    }
}

/// What is to be said of a finalizer that somebody adds.
fn finalizer_warnings(finalizer: &str) -> Vec<String> {
    let at = format!("metadata.finalizers: {}", machinery::go::quote(finalizer));
    let mut told: Vec<String> =
        machinery::names::qualified_name(finalizer).into_iter().map(|why| format!("{at}: {why}")).collect();
    let standard = matches!(finalizer, meta::FINALIZER_ORPHAN | meta::FINALIZER_FOREGROUND | "kubernetes");
    if !finalizer.contains('/') && !standard {
        let path = if finalizer.contains('.') { " including a path (/)" } else { "" };
        told.push(format!(
            "{at}: prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other finalizer writers"
        ));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finalizers_without_a_domain_are_warned_of() {
        for (finalizer, expect) in [
            ("example.com/x", None),
            ("orphan", None),
            ("x", Some("finalizer name to avoid")),
            ("x.example.com", Some("finalizer name including a path (/) to avoid")),
        ] {
            let told = finalizer_warnings(finalizer);
            assert_eq!(!told.is_empty(), expect.is_some(), "{finalizer}");
            assert!(expect.is_none_or(|part| told[0].contains(part)), "{told:?}");
        }
    }
}
