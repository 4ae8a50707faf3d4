//! The options of reads and writes (`metav1.ListOptions` and its family) as the query or the body gives them, checked
//! once. Messages follow `apimachinery/pkg/apis/meta/v1/validation` and `.../internalversion/validation`.

use http::HeaderMap;
use machinery::field::ErrorList;
use machinery::gvk::GroupKind;
use machinery::meta;
use machinery::status::StatusError;
use serde_json::{Value, json};

use crate::request_info::Query;

mod list;

pub use list::{List, ReadAt, parse_revision};

/// What happens to unknown and duplicate fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum FieldValidation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

/// Who owns what a write changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ownership {
    /// The field manager.
    #[default]
    Noted,
    /// Whoever the written object's managedFields say: applies, which have worked it out, and writes that upstream does
    /// not track (bindings).
    AsGiven,
}

/// CreateOptions, UpdateOptions and PatchOptions.
#[derive(Debug, Clone, Default)]
pub struct Write {
    /// Do everything but keep it.
    pub dry_run: bool,
    /// Who is written into managedFields.
    pub field_manager: String,
    /// See [`FieldValidation`].
    pub field_validation: FieldValidation,
    /// Apply patches: take over fields of others.
    pub force: bool,
    /// See [`Ownership`].
    pub ownership: Ownership,
    /// The new object was made of the stored one: a uid in it is no precondition, but one that was changed.
    pub patch: bool,
    /// Whether the client itself named the field manager.
    pub manager_sent: bool,
    /// Whether the client itself asked for this validation.
    pub validation_sent: bool,
}

impl Write {
    /// The server's own writes.
    pub fn own() -> Self {
        Self { field_manager: "kube-apiserver".into(), ..Self::default() }
    }

    /// From the query; `kind` names the options in error messages (`CreateOptions`).
    pub fn parse(query: &Query, headers: &HeaderMap, kind: &str) -> Result<Self, StatusError> {
        Self::checked(query, headers, kind, meta::validate_create_options)
    }

    /// From the query of a patch, which may be an apply: that has to name its manager, and may be forced.
    pub fn parse_patch(query: &Query, headers: &HeaderMap, apply: bool) -> Result<Self, StatusError> {
        let force = query.has("force").then(|| query.flag("force"));
        let options = Self::checked(query, headers, "PatchOptions", |manager, dry_run, validation| {
            meta::validate_patch_options(manager, force, dry_run, validation, apply)
        })?;
        Ok(Self { ownership: if apply { Ownership::AsGiven } else { Ownership::Noted }, patch: true, ..options })
    }

    fn checked(
        query: &Query,
        headers: &HeaderMap,
        kind: &str,
        rules: impl Fn(&str, &[String], &str) -> ErrorList,
    ) -> Result<Self, StatusError> {
        let listed: Vec<String> = query.all("dryRun").filter(|v| !v.is_empty()).map(str::to_string).collect();
        let validation = query.get("fieldValidation").unwrap_or_default();
        let manager = query.get("fieldManager").unwrap_or_default();
        refuse(kind, rules(manager, &listed, validation))?;
        let field_validation = match validation {
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            _ => FieldValidation::Warn,
        };
        let field_manager = if manager.is_empty() { user_agent_manager(headers) } else { manager.to_string() };
        let (dry_run, force) = (!listed.is_empty(), query.flag("force"));
        let (manager_sent, validation_sent) = (!manager.is_empty(), !validation.is_empty());
        Ok(Self {
            dry_run,
            field_manager,
            field_validation,
            force,
            ownership: Ownership::Noted,
            patch: false,
            manager_sent,
            validation_sent,
        })
    }

    /// The options as their client sent them, as an object of that kind. To admission a patch has the options of the create or
    /// update that it becomes (`endpoints/handlers/patch.go`, patchToUpdateOptions).
    pub fn object(&self, kind: &str) -> Value {
        let mut object = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
        if self.dry_run {
            object["dryRun"] = json!(["All"]);
        }
        if self.manager_sent {
            object["fieldManager"] = self.field_manager.as_str().into();
        }
        if self.validation_sent {
            object["fieldValidation"] = format!("{:?}", self.field_validation).into();
        }
        object
    }
}

fn refuse(kind: &str, errors: ErrorList) -> Result<(), StatusError> {
    if errors.is_empty() { Ok(()) } else { Err(StatusError::invalid(&GroupKind::new("meta.k8s.io", kind), "", errors)) }
}

/// The part of the user agent before the first slash, as upstream names managers that do not name themselves.
fn user_agent_manager(headers: &HeaderMap) -> String {
    let agent = headers.get(http::header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or("unknown");
    agent.split('/').next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(128).collect()
}

/// What becomes of dependents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Propagation {
    Orphan,
    Background,
    Foreground,
}

/// DeleteOptions.
#[derive(Debug, Clone, Default)]
pub struct Delete {
    /// Do everything but keep it.
    pub dry_run: bool,
    /// Seconds an object that can end gracefully is given.
    pub grace_period_seconds: Option<i64>,
    /// What becomes of dependents; `None`: the kind's default.
    pub propagation: Option<Propagation>,
    /// The older word for it, where that was used.
    pub orphan_dependents: Option<bool>,
    /// The uid the object must have.
    pub uid: Option<String>,
    /// The resourceVersion the object must have.
    pub resource_version: Option<String>,
}

impl Delete {
    /// From the body (a DeleteOptions, or nothing) and the query, which counts only where there is no body.
    pub fn parse(query: &Query, body: Option<&Value>) -> Result<Self, StatusError> {
        let mut options = body.cloned().unwrap_or_else(|| json!({}));
        if body.is_none() {
            if let Some(value) = query.all("propagationPolicy").next() {
                options["propagationPolicy"] = value.into();
            }
            if let Some(seconds) = query.all("gracePeriodSeconds").next() {
                options["gracePeriodSeconds"] = integer(seconds)?.into();
            }
            if query.has("orphanDependents") {
                options["orphanDependents"] = query.flag("orphanDependents").into();
            }
        }
        let asked: Vec<&str> = query.all("dryRun").filter(|v| !v.is_empty()).collect();
        if !asked.is_empty() {
            options["dryRun"] = json!(asked);
        }
        // Behind a feature gate (AllowUnsafeMalformedObjectDeletion) that is off, as upstream's default.
        if let Some(members) = options.as_object_mut() {
            members.remove("ignoreStoreReadErrorWithClusterBreakingPotential");
        }
        refuse("DeleteOptions", meta::validate_delete_options(&options))?;
        let text = |pointer: &str| options.pointer(pointer).and_then(Value::as_str);
        let propagation = match (text("/propagationPolicy"), options["orphanDependents"].as_bool()) {
            (Some("Orphan"), _) | (None, Some(true)) => Some(Propagation::Orphan),
            (Some("Foreground"), _) => Some(Propagation::Foreground),
            (Some(_), _) | (None, Some(false)) => Some(Propagation::Background),
            (None, None) => None,
        };
        Ok(Self {
            dry_run: options["dryRun"].as_array().is_some_and(|values| !values.is_empty()),
            grace_period_seconds: options["gracePeriodSeconds"].as_i64(),
            propagation,
            orphan_dependents: options["orphanDependents"].as_bool(),
            uid: text("/preconditions/uid").map(str::to_string),
            resource_version: text("/preconditions/resourceVersion").map(str::to_string),
        })
    }

    /// The options as an object.
    pub fn object(&self) -> Value {
        let mut object = json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"});
        if let Some(seconds) = self.grace_period_seconds {
            object["gracePeriodSeconds"] = seconds.into();
        }
        for (field, value) in [("uid", &self.uid), ("resourceVersion", &self.resource_version)] {
            if let Some(value) = value {
                object["preconditions"][field] = value.as_str().into();
            }
        }
        match (self.orphan_dependents, self.propagation) {
            (Some(orphan), _) => object["orphanDependents"] = orphan.into(),
            (None, Some(propagation)) => object["propagationPolicy"] = format!("{propagation:?}").into(),
            (None, None) => {}
        }
        if self.dry_run {
            object["dryRun"] = json!(["All"]);
        }
        object
    }
}

fn integer(text: &str) -> Result<i64, StatusError> {
    machinery::go::parse_int(text).map_err(StatusError::bad_request)
}
