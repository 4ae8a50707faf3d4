//! The options of reads and writes (`metav1.ListOptions` and its family) as the query or the body gives them, checked
//! once. Messages follow `apimachinery/pkg/apis/meta/v1/validation` and `.../internalversion/validation`.

use http::HeaderMap;
use machinery::field::{Error, ErrorList, Path};
use machinery::gvk::GroupKind;
use machinery::meta;
use machinery::selector::{FieldSelector, LabelSelector};
use machinery::status::StatusError;
use serde_json::{Value, json};

use crate::filters::request_info::Query;

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
        Ok(Self { ownership: if apply { Ownership::AsGiven } else { Ownership::Noted }, ..options })
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
        Ok(Self { dry_run, field_manager, field_validation, force, ownership: Ownership::Noted })
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
            for text in ["propagationPolicy"] {
                if let Some(value) = query.get(text) {
                    options[text] = value.into();
                }
            }
            if let Some(seconds) = query.get("gracePeriodSeconds").and_then(|s| s.parse::<i64>().ok()) {
                options["gracePeriodSeconds"] = seconds.into();
            }
            if query.has("orphanDependents") {
                options["orphanDependents"] = query.flag("orphanDependents").into();
            }
        }
        let asked: Vec<&str> = query.all("dryRun").filter(|v| !v.is_empty()).collect();
        if !asked.is_empty() {
            options["dryRun"] = json!(asked);
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
            uid: text("/preconditions/uid").map(str::to_string),
            resource_version: text("/preconditions/resourceVersion").map(str::to_string),
        })
    }
}

/// How exact a read's revision must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadAt {
    /// Everything acknowledged before the read.
    MostRecent,
    /// Whatever is there.
    Any,
    /// At least this revision.
    NotOlderThan(i64),
    /// This very revision.
    Exact(i64),
}

/// ListOptions.
#[derive(Debug, Clone)]
pub struct List {
    /// Which labels.
    pub labels: LabelSelector,
    /// Which fields.
    pub fields: FieldSelector,
    /// Which revision, for lists.
    pub at: ReadAt,
    /// The resourceVersion as given; a watch starts after it.
    pub resource_version: Option<i64>,
    /// The most items; 0: all.
    pub limit: usize,
    /// Where the page before ended.
    pub continue_token: Option<String>,
    /// Whether a watch wants bookmarks.
    pub bookmarks: bool,
    /// Whether a watch begins with the state.
    pub initial_events: Option<bool>,
    /// How long a watch lives.
    pub timeout_seconds: Option<u64>,
}

impl List {
    /// From the query.
    pub fn parse(query: &Query, watch: bool) -> Result<Self, StatusError> {
        let labels =
            LabelSelector::parse(query.get("labelSelector").unwrap_or_default()).map_err(StatusError::bad_request)?;
        let fields =
            FieldSelector::parse(query.get("fieldSelector").unwrap_or_default()).map_err(StatusError::bad_request)?;
        let limit = query.get("limit").map_or(Ok(0), str::parse::<usize>).map_err(|_| not_a_number("limit", query))?;
        let timeout_seconds = query
            .get("timeoutSeconds")
            .map(str::parse)
            .transpose()
            .map_err(|_| not_a_number("timeoutSeconds", query))?;
        let continue_token = query.get("continue").map(str::to_string);
        let match_ = query.get("resourceVersionMatch");
        let initial_events = query.has("sendInitialEvents").then(|| query.flag("sendInitialEvents"));
        let resource_version = query.get("resourceVersion").map(parse_revision).transpose()?;
        validate(watch, match_, resource_version, continue_token.is_some(), initial_events)?;
        let at = match (resource_version, match_) {
            (None, _) => ReadAt::MostRecent,
            (Some(revision), Some("Exact")) => ReadAt::Exact(revision),
            (Some(0), _) => ReadAt::Any,
            // Upstream's legacy rule: a limit makes a resourceVersion without a match rule exact.
            (Some(revision), None) if limit > 0 => ReadAt::Exact(revision),
            (Some(revision), _) => ReadAt::NotOlderThan(revision),
        };
        let bookmarks = query.flag("allowWatchBookmarks");
        Ok(Self {
            labels,
            fields,
            at,
            resource_version,
            limit,
            continue_token,
            bookmarks,
            initial_events,
            timeout_seconds,
        })
    }
}

/// A resourceVersion as clients send it.
pub fn parse_revision(text: &str) -> Result<i64, StatusError> {
    text.parse::<u64>().ok().and_then(|n| i64::try_from(n).ok()).ok_or_else(|| {
        let detail = format!("strconv.ParseUint: parsing \"{text}\": invalid syntax");
        let error = Error::invalid(&Path::new("resourceVersion"), text, detail);
        StatusError::bad_request(error.to_string())
    })
}

fn not_a_number(name: &str, query: &Query) -> StatusError {
    let value = query.get(name).unwrap_or_default();
    StatusError::bad_request(format!("strconv.ParseInt: parsing \"{value}\": invalid syntax"))
}

fn validate(
    watch: bool,
    match_: Option<&str>,
    resource_version: Option<i64>,
    continued: bool,
    initial_events: Option<bool>,
) -> Result<(), StatusError> {
    let mut errors = ErrorList::default();
    let match_path = || Path::new("resourceVersionMatch");
    if initial_events.is_some() {
        if !watch {
            errors.push(Error::forbidden(&Path::new("sendInitialEvents"), "sendInitialEvents is forbidden for list"));
        } else if match_.is_none() {
            let detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            errors.push(Error::forbidden(&match_path(), detail));
        } else if match_ != Some("NotOlderThan") {
            errors.push(Error::not_supported(&match_path(), match_.unwrap_or_default(), ["NotOlderThan"]));
        }
    } else if let Some(rule) = match_ {
        if watch {
            errors.push(Error::forbidden(&match_path(), "resourceVersionMatch is forbidden for watch"));
        } else if resource_version.is_none() {
            errors.push(Error::forbidden(
                &match_path(),
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            ));
        } else if continued {
            errors.push(Error::forbidden(&match_path(), "resourceVersionMatch is forbidden when continue is provided"));
        } else if !matches!(rule, "Exact" | "NotOlderThan") {
            errors.push(Error::not_supported(&match_path(), rule, ["Exact", "NotOlderThan", ""]));
        } else if rule == "Exact" && resource_version == Some(0) {
            let detail = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            errors.push(Error::forbidden(&match_path(), detail));
        }
    }
    refuse("ListOptions", errors)
}
