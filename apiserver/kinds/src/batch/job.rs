//! Jobs: a selector made of the job's own UID, and a spec of which little may change.
//!
//! Not checked as upstream does: pod failure and success policies rule by rule, and the status transitions of a job that
//! has ended.

use machinery::field::{Error, ErrorList, Path};
use machinery::selector::LabelSelector;
use machinery::{meta, names};
use model::check::{Faults, Fields, keep};
use model::options::Delete;
use serde_json::{Value, json};
use writes::strategy::{Dependents, Strategy, WriteContext};

use crate::core::pod::validation::check_template;
use crate::core::pod::warnings;

/// Jobs.
pub struct Jobs;

const UID: &str = "batch.kubernetes.io/controller-uid";
const NAME: &str = "batch.kubernetes.io/job-name";

impl Strategy for Jobs {
    /// As ever in version 1, which is the only one.
    fn dependents(&self) -> Dependents {
        Dependents::Orphan
    }

    fn warnings_on_delete(&self, options: &Delete) -> Option<&'static str> {
        options.propagation.is_none().then_some(
            "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or \
             set propagationPolicy=Orphan to suppress this warning",
        )
    }

    fn prepare_for_create(&self, _: &WriteContext<'_>, job: &mut Value) {
        generate_selector(job);
        // Upstream's default at the next read, from the labels that the template has by then.
        if meta::labels(job).is_none_or(|labels| labels.is_empty())
            && let Some(labels) = meta::labels(&job["spec"]["template"]).cloned()
        {
            meta::set(job, "labels", labels);
        }
        job["status"] = json!({});
    }

    fn validate(&self, _: &WriteContext<'_>, job: &Value) -> ErrorList {
        validate(job)
    }

    fn validate_update(&self, cx: &WriteContext<'_>, job: &Value, old: &Value) -> ErrorList {
        if cx.subresource == Some("status") {
            return status(&job["status"], &old["status"]);
        }
        update(job, old)
    }

    fn warnings(&self, cx: &WriteContext<'_>, job: &Value, old: Option<&Value>) -> Vec<String> {
        if cx.subresource.is_some() {
            return Vec::new();
        }
        let mut out = Vec::new();
        let faults = names::dns1123_label(meta::name(job));
        if old.is_none() && !meta::name(job).is_empty() && !faults.is_empty() {
            out.push(format!(
                "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [{}]",
                faults.join(" ")
            ));
        }
        out.extend(warnings::of_template(&job["spec"]["template"], &Path::new("spec").child("template")));
        out
    }
}

// Labels of the template and the selector that finds them, unless the client takes care of both.
fn generate_selector(job: &mut Value) {
    if job["spec"].flag("manualSelector") == Some(true) {
        return;
    }
    let (name, uid) = (meta::name(job).to_owned(), meta::uid(job).to_owned());
    if !job["spec"].is_object() {
        return;
    }
    if !job["spec"]["template"].is_object() {
        job["spec"]["template"] = json!({});
    }
    for (key, value) in [("job-name", &name), (NAME, &name), ("controller-uid", &uid), (UID, &uid)] {
        let template = &mut job["spec"]["template"];
        if meta::label(template, key).is_none() {
            meta::set_label(template, key, value);
        }
    }
    for place in ["selector", "matchLabels"] {
        let at = if place == "selector" { &mut job["spec"] } else { &mut job["spec"]["selector"] };
        if !at[place].is_object() {
            at[place] = json!({});
        }
    }
    if job["spec"]["selector"]["matchLabels"].get(UID).is_none() {
        job["spec"]["selector"]["matchLabels"][UID] = uid.into();
    }
}

fn validate(job: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    generated_selector(job, &mut errors);
    errors.extend(spec(&job["spec"], &Path::new("spec")));
    let completions = job["spec"].int("completions").unwrap_or(0);
    if job["spec"].text("completionMode") == "Indexed" && completions > 0 {
        let name = meta::name(job);
        let host = format!("{name}-{}", completions - 1);
        if !names::dns1123_label(&host).is_empty() {
            let detail = format!("will not able to create pod with invalid DNS label: {host}");
            errors.invalid(&Path::new("metadata").child("name"), name, detail);
        }
    }
    errors
}

fn generated_selector(job: &Value, errors: &mut ErrorList) {
    let spec = &job["spec"];
    if spec.flag("manualSelector") == Some(true) || !spec.has("selector") {
        return;
    }
    let (name, uid) = (meta::name(job), meta::uid(job));
    let at = Path::new("spec").child("template").child("metadata");
    let labels = [("controller-uid", uid), ("job-name", name), (UID, uid), (NAME, name)];
    for (key, want) in labels {
        match meta::label(&spec["template"], key) {
            None => errors.required(&at.child("labels").key(key), &format!("must be '{want}'")),
            Some(found) if found != want => {
                let shown = spec["template"]["metadata"].sub("labels").cloned();
                errors.invalid(&at.child("labels").key(key), shown, format!("must be '{want}'"));
            }
            Some(_) => {}
        }
    }
    let selector = LabelSelector::from_value(spec.sub("selector"));
    if selector.is_ok_and(|s| !s.matches(labels.as_slice())) {
        let shown = spec.sub("selector").cloned();
        errors.invalid(&Path::new("spec").child("selector"), shown, "`selector` not auto-generated");
    }
}

fn spec(spec: &Value, at: &Path) -> ErrorList {
    let mut errors = template_spec(spec, at);
    match spec.sub("selector") {
        None => errors.required(&at.child("selector"), ""),
        selector => errors.extend(meta::validate_label_selector(selector, false, &at.child("selector"))),
    }
    let selector = LabelSelector::from_value(spec.sub("selector"));
    if selector.is_ok_and(|s| !s.matches(&meta::labels(&spec["template"]))) {
        let labels = spec["template"].sub("metadata").sub("labels").cloned();
        let at = at.child("template").child("metadata").child("labels");
        errors.invalid(&at, labels, "`selector` does not match template `labels`");
    }
    errors
}

/// A job's spec but for its selector: also that of a CronJob's template.
pub(super) fn template_spec(spec: &Value, at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        errors.nonnegative(&at.child(field), spec.int(field).unwrap_or(0));
    }
    if spec.has("maxFailedIndexes") && !spec.has("backoffLimitPerIndex") {
        errors.required(&at.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    if let Some(manager) = spec.sub("managedBy").and_then(Value::as_str) {
        errors.extend(names::domain_prefixed_path(&at.child("managedBy"), manager));
        if manager.len() > 63 {
            errors.push(Error::too_long(&at.child("managedBy"), 63));
        }
    }
    completion_mode(spec, at, &mut errors);
    if let Some(policy) = spec.sub("podReplacementPolicy").and_then(Value::as_str) {
        let known: &[&str] =
            if spec.has("podFailurePolicy") { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
        if !known.contains(&policy) {
            errors.unsupported(&at.child("podReplacementPolicy"), policy, known);
        }
    }
    errors.extend(check_template(&spec["template"], &at.child("template")));
    let path = at.child("template").child("spec").child("restartPolicy");
    match spec["template"]["spec"].text("restartPolicy") {
        "Always" | "" => errors.required(&path, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if spec.has("podFailurePolicy") => {
            let detail = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.invalid(&path, "OnFailure", detail);
        }
        "OnFailure" | "Never" => {}
        other => errors.unsupported(&path, other, &["OnFailure", "Never"]),
    }
    errors
}

fn completion_mode(spec: &Value, at: &Path, errors: &mut ErrorList) {
    let mode = spec.sub("completionMode").and_then(Value::as_str);
    match mode {
        Some("Indexed") => {
            if !spec.has("completions") {
                errors.required(&at.child("completions"), "when completion mode is Indexed");
            }
            if let Some(n) = spec.int("parallelism").filter(|n| *n > 100_000) {
                let detail = "must be less than or equal to 100000 when completion mode is Indexed";
                errors.invalid(&at.child("parallelism"), n, detail);
            }
            let failed = spec.int("maxFailedIndexes");
            if let (Some(failed), Some(all)) = (failed, spec.int("completions"))
                && failed > all
            {
                errors.invalid(&at.child("maxFailedIndexes"), failed, "must be less than or equal to completions");
            }
            if let Some(n) = failed.filter(|n| *n > 100_000) {
                errors.invalid(&at.child("maxFailedIndexes"), n, "must be less than or equal to 100000");
            }
        }
        None | Some("NonIndexed") => {
            for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
                if let Some(n) = spec.int(field) {
                    errors.invalid(&at.child(field), n, "requires indexed completion mode");
                }
            }
            if let Some(policy) = spec.sub("successPolicy") {
                errors.invalid(&at.child("successPolicy"), policy.clone(), "requires indexed completion mode");
            }
        }
        Some(other) => errors.unsupported(&at.child("completionMode"), other, &["NonIndexed", "Indexed"]),
    }
}

fn update(job: &Value, old: &Value) -> ErrorList {
    let at = Path::new("spec");
    let (new, before) = (&job["spec"], &old["spec"]);
    let mut errors = spec(new, &at);
    let immutable = |field: &str| meta::validate_immutable(new.sub(field), before.sub(field), &at.child(field));
    if new.text("completionMode") == "Indexed" {
        let changed = new.int("completions") != before.int("completions");
        if changed && new.has("completions") && new.int("completions") != new.int("parallelism") {
            let detail = "can only be modified in tandem with spec.parallelism";
            errors.invalid(&at.child("completions"), new.int("completions"), detail);
        }
    } else {
        errors.extend(immutable("completions"));
    }
    errors.extend(immutable("selector"));
    template_update(new, old, &at.child("template"), &mut errors);
    for field in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"] {
        errors.extend(immutable(field));
    }
    errors
}

// A suspended job without pods may still be told where its pods go and what they need.
fn template_update(new: &Value, old: &Value, at: &Path, errors: &mut ErrorList) {
    let before = &old["spec"];
    let suspended_condition =
        old["status"].list("conditions").iter().any(|c| c.text("type") == "Suspended" && c.text("status") == "True");
    let idle = !old["status"].has("startTime") || suspended_condition;
    let open = before.flag("suspend") == Some(true) && idle && old["status"].int("active").unwrap_or(0) == 0;
    let mut allowed = before["template"].clone();
    if open {
        let template = &new["template"];
        for field in ["nodeSelector", "tolerations", "schedulingGates"] {
            keep(&mut allowed["spec"], &template["spec"], field);
        }
        for field in ["annotations", "labels"] {
            keep(&mut allowed["metadata"], &template["metadata"], field);
        }
        if let Some(node) = template["spec"].sub("affinity").sub("nodeAffinity") {
            allowed["spec"]["affinity"]["nodeAffinity"] = node.clone();
        } else if let Some(affinity) = allowed["spec"].get_mut("affinity").and_then(Value::as_object_mut) {
            affinity.remove("nodeAffinity");
        }
        for list in ["containers", "initContainers"] {
            let (ours, theirs) = (allowed["spec"].list(list).len(), template["spec"].list(list));
            if ours == theirs.len() {
                for (i, container) in theirs.iter().enumerate() {
                    keep(&mut allowed["spec"][list][i], container, "resources");
                }
            }
        }
    }
    if !model::check::same(Some(&new["template"]), Some(&allowed)) {
        errors.extend(meta::validate_immutable(new.sub("template"), Some(&allowed), at));
    }
}

fn status(status: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("status");
    for field in ["active", "succeeded", "failed", "ready", "terminating"] {
        errors.nonnegative(&at.child(field), status.int(field).unwrap_or(0));
    }
    let holds = |s: &Value, kind: &str| {
        s.list("conditions").iter().any(|c| c.text("type") == kind && c.text("status") == "True")
    };
    for kind in ["Failed", "Complete", "FailureTarget", "SuccessCriteriaMet"] {
        if holds(old, kind) && !holds(status, kind) {
            let word = if kind == "SuccessCriteriaMet" { "" } else { "terminal " };
            let detail = format!("cannot disable the {word}{kind}=True condition");
            errors.push(Error { bad_value: None, ..Error::invalid(&at.child("conditions"), Value::Null, detail) });
        }
    }
    for field in ["failed", "succeeded"] {
        let (now, before) = (status.int(field).unwrap_or(0), old.int(field).unwrap_or(0));
        if now < before {
            errors.invalid(&at.child(field), now, format!("cannot decrease the {field} counter"));
        }
    }
    errors
}
