//! Validation of how a definition's versions are converted.

use machinery::field::{Error, ErrorList, Path};
use machinery::json::Fields;
use machinery::names;
use serde_json::Value;

use super::spec::Spec;
use super::versions::one_of;
use super::{Options, webhook};

const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];

fn review_versions<'a>(spec: &Spec<'a>) -> Vec<&'a str> {
    spec.raw.at("/conversion/webhook").texts("conversionReviewVersions").collect()
}

fn client_config<'a>(spec: &Spec<'a>) -> Option<&'a Value> {
    spec.raw.pointer("/conversion/webhook/clientConfig").filter(|v| !v.is_null())
}

fn ca_bundle(config: &Value) -> &str {
    config.get("caBundle").and_then(Value::as_str).unwrap_or_default()
}

/// Whether one of the review versions is known, or there are none.
pub(super) fn recognized_or_none(spec: &Spec<'_>) -> bool {
    let versions = review_versions(spec);
    versions.is_empty() || versions.iter().any(|v| REVIEW_VERSIONS.contains(v))
}

pub(super) fn has_invalid_ca_bundle(spec: &Spec<'_>) -> bool {
    client_config(spec)
        .map(ca_bundle)
        .is_some_and(|ca| !ca.is_empty() && webhook::ca_bundle(ca, &Path::nil()).is_some())
}

pub(super) fn validate(spec: &Spec<'_>, options: &Options, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let Some(conversion) = spec.raw.get("conversion").filter(|v| !v.is_null()) else { return errors };
    let strategy = conversion.get("strategy").and_then(Value::as_str).unwrap_or_default();
    if strategy != "None" && spec.preserve_unknown {
        let detail = "must be None if spec.preserveUnknownFields is true";
        errors.push(Error::invalid(&path.child("strategy"), strategy, detail));
    }
    one_of(strategy, &["None", "Webhook"], &path.child("strategy"), &mut errors);
    let (at, config, versions) = (path.child("webhookClientConfig"), client_config(spec), review_versions(spec));
    let versions_at = path.child("conversionReviewVersions");
    if strategy != "Webhook" {
        let detail = "should not be set when strategy is not set to Webhook";
        errors.extend(config.map(|_| Error::forbidden(&at, detail)));
        if !versions.is_empty() {
            errors.push(Error::forbidden(&versions_at, detail));
        }
        return errors;
    }
    match config {
        None => errors.push(Error::required(&at, "required when strategy is set to Webhook")),
        Some(config) => client(config, options, &at, &mut errors),
    }
    reviews(&versions, options.recognized_review_version, &versions_at, &mut errors);
    errors
}

fn client(config: &Value, options: &Options, path: &Path, errors: &mut ErrorList) {
    let url = config.get("url").and_then(Value::as_str);
    let service = config.get("service").filter(|v| !v.is_null());
    match (url, service) {
        (Some(url), None) => errors.extend(webhook::url(url, &path.child("url"))),
        (None, Some(service)) => errors.extend(webhook::service(service, &path.child("service"))),
        _ => errors.push(Error::required(path, "exactly one of url or service is required")),
    }
    let ca = ca_bundle(config);
    if !ca.is_empty() && !options.invalid_ca_bundle {
        errors.extend(webhook::ca_bundle(ca, &path.child("caBundle")));
    }
}

fn reviews(versions: &[&str], recognized: bool, path: &Path, errors: &mut ErrorList) {
    if versions.is_empty() {
        return errors.push(Error::required(path, ""));
    }
    for (i, version) in versions.iter().enumerate() {
        let at = path.index(i);
        if versions[..i].contains(version) {
            errors.push(Error::invalid(&at, *version, "duplicate version"));
            continue;
        }
        errors.extend(names::dns1035_label(version).into_iter().map(|fault| Error::invalid(&at, *version, fault)));
    }
    if recognized && !versions.iter().any(|v| REVIEW_VERSIONS.contains(v)) {
        let detail = format!("must include at least one of {}", REVIEW_VERSIONS.join(", "));
        errors.push(Error::invalid(path, versions.to_vec(), detail));
    }
}
