//! The rules of request options: dryRun, fieldManager, fieldValidation, propagationPolicy.

use crate::field::{Error, ErrorList, Path};
use crate::go;
use serde_json::{Value, json};

/// At most 128 bytes, printable.
pub fn validate_field_manager(manager: &str, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if manager.len() > 128 {
        errors.push(Error::too_long(path, 128));
    }
    for (at, c) in manager.char_indices().filter(|(_, c)| !go::printable(*c)) {
        let detail = format!("invalid character U+{:04X} (at position {at})", c as u32);
        errors.push(Error::invalid(path, manager, detail));
    }
    errors
}

/// `All` or nothing.
pub fn validate_dry_run(values: &[String], path: &Path) -> ErrorList {
    if values.iter().all(|v| v == "All") {
        return ErrorList::new();
    }
    vec![Error::not_supported(path, json!(values), ["All"])]
}

/// Empty, Ignore, Warn or Strict.
pub fn validate_field_validation(value: &str, path: &Path) -> ErrorList {
    match value {
        "" | "Ignore" | "Strict" | "Warn" => ErrorList::new(),
        other => vec![Error::not_supported(path, other, ["", "Ignore", "Strict", "Warn"])],
    }
}

/// Options of create.
pub fn validate_create_options(field_manager: &str, dry_run: &[String], field_validation: &str) -> ErrorList {
    let mut errors = validate_field_manager(field_manager, &Path::new("fieldManager"));
    errors.extend(validate_dry_run(dry_run, &Path::new("dryRun")));
    errors.extend(validate_field_validation(field_validation, &Path::new("fieldValidation")));
    errors
}

/// Options of update.
pub fn validate_update_options(field_manager: &str, dry_run: &[String], field_validation: &str) -> ErrorList {
    validate_create_options(field_manager, dry_run, field_validation)
}

/// Options of patch; `force` is None where it was not given.
pub fn validate_patch_options(
    field_manager: &str,
    force: Option<bool>,
    dry_run: &[String],
    field_validation: &str,
    apply: bool,
) -> ErrorList {
    let mut errors = ErrorList::new();
    if apply && field_manager.is_empty() {
        errors.push(Error::required(&Path::new("fieldManager"), "is required for apply patch"));
    }
    if !apply && force.is_some() {
        errors.push(Error::forbidden(&Path::new("force"), "may not be specified for non-apply patch"));
    }
    errors.extend(validate_create_options(field_manager, dry_run, field_validation));
    errors
}

/// Options of delete, a `metav1.DeleteOptions`.
pub fn validate_delete_options(options: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let given = |name: &str| options.get(name).filter(|v| !v.is_null());
    let at = Path::new("propagationPolicy");
    if let Some(policy) = given("propagationPolicy") {
        if given("orphanDependents").is_some() {
            let detail = "orphanDependents and deletionPropagation cannot be both set";
            errors.push(Error::invalid(&at, policy.clone(), detail));
        }
        if !matches!(policy.as_str(), Some("Foreground" | "Background" | "Orphan")) {
            let supported = ["Foreground", "Background", "Orphan", "nil"];
            errors.push(Error::not_supported(&at, policy.clone(), supported));
        }
    }
    let dry_run: Vec<String> = given("dryRun")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|v| v.as_str().unwrap_or_default().to_owned())
        .collect();
    errors.extend(validate_dry_run(&dry_run, &Path::new("dryRun")));
    if options.get("ignoreStoreReadErrorWithClusterBreakingPotential") == Some(&Value::Bool(true)) {
        let at = Path::new("ignoreStoreReadErrorWithClusterBreakingPotential");
        for field in ["dryRun", "propagationPolicy", "orphanDependents", "gracePeriodSeconds", "preconditions"] {
            if given(field).is_some_and(|v| v.as_array().is_none_or(|a| !a.is_empty())) {
                errors.push(Error::invalid(&at, true, format!("cannot be set together with .{field}")));
            }
        }
    }
    errors
}
