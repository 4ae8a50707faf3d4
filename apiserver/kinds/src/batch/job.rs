//! Jobs: a selector made of the job's own UID, and a spec of which little may change.

use api::rules::{self, Here};
use api::schema::{self, Type};
use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::selector::LabelSelector;
use machinery::{meta, names};
use model::check::{Faults, keep};
use model::options::Delete;
use serde_json::{Value, json};
use writes::strategy::{Dependents, Strategy, WriteContext};

use super::status;
use crate::core::pod::warnings;
use crate::rules as table;

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

    fn validate(&self, cx: &WriteContext<'_>, job: &Value) -> ErrorList {
        table::object(cx.resource, job, None)
    }

    fn validate_update(&self, cx: &WriteContext<'_>, job: &Value, old: &Value) -> ErrorList {
        if cx.subresource == Some("status") {
            return status::update(job, old);
        }
        [table::object(cx.resource, job, Some(old)), table::change(cx.resource, job, old)].concat()
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
        if old.is_none_or(|old| old["spec"] != job["spec"]) {
            out.extend(warnings_of_spec(job));
        }
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

/// The labels and the selector are what was generated, unless the client takes care of both.
pub(super) fn generated_selector(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let (job, spec) = (here.value, &here.value["spec"]);
    if spec.flag("manualSelector") == Some(true) || !spec.has("selector") {
        return;
    }
    let (name, uid) = (meta::name(job), meta::uid(job));
    if uid.is_empty() {
        errors.required(&Path::new("metadata").child("uid"), "");
    }
    let mut labels = vec![("controller-uid", uid), ("job-name", name)];
    // Jobs of older servers lack these.
    let had = |key| here.old_root().is_none_or(|old| meta::label(&old["spec"]["template"], key).is_some());
    if had(NAME) && had(UID) {
        labels.extend([(UID, uid), (NAME, name)]);
    }
    let at = Path::new("spec").child("template").child("metadata").child("labels");
    for (key, want) in &labels {
        match meta::label(&spec["template"], key) {
            None => errors.required(&at.key(key), &format!("must be '{want}'")),
            Some(found) if found != *want => {
                let shown = spec["template"]["metadata"].sub("labels").cloned();
                errors.invalid(&at.key(key), shown, format!("must be '{want}'"));
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

/// The selector finds the template's pods.
pub(super) fn selector(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let (spec, at) = (&here.value["spec"], here.child("spec"));
    let path = at.child("selector");
    match spec.sub("selector") {
        None => errors.required(&path, ""),
        selector => {
            let nil = Path::nil();
            let faulty =
                |old: &Value| !meta::validate_label_selector(old["spec"].sub("selector"), false, &nil).is_empty();
            errors.extend(meta::validate_label_selector(selector, here.old_root().is_some_and(faulty), &path));
        }
    }
    let selector = LabelSelector::from_value(spec.sub("selector"));
    if selector.is_ok_and(|s| !s.matches(&meta::labels(&spec["template"]))) {
        let labels = spec["template"].sub("metadata").sub("labels").cloned();
        let at = at.child("template").child("metadata").child("labels");
        errors.invalid(&at, labels, "`selector` does not match template `labels`");
    }
}

/// The names of the pods of an indexed job end in an index, and are their host names.
pub(super) fn indexed_name(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let (name, spec) = (meta::name(here.value), &here.value["spec"]);
    let completions = spec.int("completions").unwrap_or(0);
    if spec.text("completionMode") == "Indexed" && completions > 0 {
        let host = format!("{name}-{}", completions - 1);
        if !names::dns1123_label(&host).is_empty() {
            let detail = format!("will not able to create pod with invalid DNS label: {host}");
            errors.invalid(&Path::new("metadata").child("name"), name, detail);
        }
    }
}

/// The selector of a CronJob's jobs is made with each of them.
pub(super) fn no_selector(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let (spec, at) = (&here.value["spec"], here.child("spec"));
    if let Some(selector) = spec.sub("selector") {
        errors.invalid(&at.child("selector"), selector.clone(), "`selector` will be auto-generated");
    }
    if spec.flag("manualSelector") == Some(true) {
        errors.unsupported(&at.child("manualSelector"), true, &["nil", "false"]);
    }
}

pub(super) fn limit_of_indexes(here: &Here<'_, '_>, errors: &mut ErrorList) {
    if here.value.has("maxFailedIndexes") && !here.value.has("backoffLimitPerIndex") {
        errors.required(&here.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
}

const INDEXES_MAX: i64 = 100_000;
/// For jobs of more indexes than that, whose failures are counted one by one.
const INDEXES_MAX_OF_MANY: i64 = 10_000;

pub(super) fn completion_mode(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let spec = here.value;
    match spec.sub("completionMode").and_then(Value::as_str) {
        Some("Indexed") => indexed(spec, &here.path(), errors),
        None | Some("NonIndexed") => {
            for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
                if let Some(n) = spec.int(field) {
                    errors.invalid(&here.child(field), n, "requires indexed completion mode");
                }
            }
        }
        Some(other) => errors.unsupported(&here.child("completionMode"), other, &["NonIndexed", "Indexed"]),
    }
}

fn indexed(spec: &Value, at: &Path, errors: &mut ErrorList) {
    let completions = spec.int("completions");
    if completions.is_none() {
        errors.required(&at.child("completions"), "when completion mode is Indexed");
    }
    if let Some(n) = spec.int("parallelism").filter(|n| *n > INDEXES_MAX) {
        let detail = format!("must be less than or equal to {INDEXES_MAX} when completion mode is Indexed");
        errors.invalid(&at.child("parallelism"), n, detail);
    }
    let failed = spec.int("maxFailedIndexes");
    if let (Some(failed), Some(all)) = (failed, completions)
        && failed > all
    {
        errors.invalid(&at.child("maxFailedIndexes"), failed, "must be less than or equal to completions");
    }
    if let Some(n) = failed.filter(|n| *n > INDEXES_MAX) {
        errors.invalid(&at.child("maxFailedIndexes"), n, format!("must be less than or equal to {INDEXES_MAX}"));
    }
    if completions.is_none_or(|all| all <= INDEXES_MAX) || !spec.has("backoffLimitPerIndex") {
        return;
    }
    if failed.is_none() {
        let detail = format!("must be specified when completions is above {INDEXES_MAX}");
        errors.required(&at.child("maxFailedIndexes"), &detail);
    }
    for field in ["parallelism", "maxFailedIndexes"] {
        if let Some(n) = spec.int(field).filter(|n| *n > INDEXES_MAX_OF_MANY) {
            let detail = format!(
                "must be less than or equal to {INDEXES_MAX_OF_MANY} when completions are above {INDEXES_MAX} and used \
                 with backoff limit per index"
            );
            errors.invalid(&at.child(field), n, detail);
        }
    }
}

/// When a pod is replaced.
pub(super) fn replacement(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let Some(policy) = here.value.sub("podReplacementPolicy").and_then(Value::as_str) else { return };
    let known = ["Failed", "TerminatingOrFailed"];
    let known = if here.value.has("podFailurePolicy") { &known[..1] } else { &known[..] };
    if !known.contains(&policy) {
        errors.unsupported(&here.child("podReplacementPolicy"), policy, known);
    }
}

/// A pod that always starts again never ends.
pub(super) fn restart_policy(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let at = here.child("template").child("spec").child("restartPolicy");
    match here.value.sub("template").sub("spec").text("restartPolicy") {
        "" | "Always" => errors.required(&at, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if here.value.has("podFailurePolicy") => {
            errors.invalid(&at, "OnFailure", "only \"Never\" is supported when podFailurePolicy is specified");
        }
        "OnFailure" | "Never" => {}
        other => errors.unsupported(&at, other, &["OnFailure", "Never"]),
    }
}

/// What of a spec may change. Upstream examines the new spec again with it.
pub(super) fn change(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let Some(old) = here.old else { return };
    let at = here.child("spec");
    let (new, before) = (&here.value["spec"], &old["spec"]);
    errors.extend(table::part(("batch.v1", "JobSpec"), new, Some(before), &at));
    selector(here, errors);
    let spec = of("batch.v1", "JobSpec");
    let immutable = |field: &str| rules::immutable(spec, field, new, before, &at.child(field));
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
    template_change(new, old, &at, errors);
    for field in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"] {
        errors.extend(immutable(field));
    }
}

/// A suspended job without pods may still be told where its pods go and what they need.
fn template_change(new: &Value, old: &Value, at: &Path, errors: &mut ErrorList) {
    let before = &old["spec"];
    let suspended_condition =
        old["status"].list("conditions").iter().any(|c| c.text("type") == "Suspended" && c.text("status") == "True");
    let idle = !old["status"].has("startTime") || suspended_condition;
    let open = before.flag("suspend") == Some(true) && idle && old["status"].int("active").unwrap_or(0) == 0;
    let template = &new["template"];
    if !open {
        errors.extend(rules::immutable(of("batch.v1", "JobSpec"), "template", new, before, &at.child("template")));
        return;
    }
    let mut allowed = before["template"]["spec"].clone();
    for field in ["nodeSelector", "tolerations", "schedulingGates"] {
        keep(&mut allowed, &template["spec"], field);
    }
    if template["spec"].has("affinity") && !allowed.has("affinity") {
        allowed["affinity"] = json!({});
    }
    if let Some(node) = template["spec"].sub("affinity").sub("nodeAffinity") {
        allowed["affinity"]["nodeAffinity"] = node.clone();
    } else if let Some(affinity) = allowed.get_mut("affinity").and_then(Value::as_object_mut) {
        affinity.remove("nodeAffinity");
        if affinity.is_empty() && !template["spec"].has("affinity") {
            allowed.as_object_mut().map(|spec| spec.remove("affinity"));
        }
    }
    for list in ["containers", "initContainers"] {
        let theirs = template["spec"].list(list);
        if allowed.list(list).len() == theirs.len() {
            for (i, container) in theirs.iter().enumerate() {
                if allowed[list][i].text("name") == container.text("name") {
                    keep(&mut allowed[list][i], container, "resources");
                }
            }
        }
    }
    let allowed = json!({"spec": allowed});
    let (ty, at) = (of("core.v1", "PodTemplateSpec"), at.child("template.spec"));
    errors.extend(rules::immutable(ty, "spec", template, &allowed, &at));
}

fn of(package: &str, name: &str) -> &'static Type {
    schema::named(package, name).expect("the table has jobs")
}

/// What a job's pods could not do, though it is accepted.
fn warnings_of_spec(job: &Value) -> Vec<String> {
    let spec = &job["spec"];
    let above = |field, most| spec.int(field).unwrap_or(0) > most;
    let mut out = Vec::new();
    let many = above("completions", INDEXES_MAX) && above("parallelism", INDEXES_MAX_OF_MANY);
    if spec.text("completionMode") == "Indexed" && many {
        out.push(
            "spec: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, \
             Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
                .to_owned(),
        );
    }
    out.extend(warnings::of_template(&spec["template"], &Path::new("spec").child("template")));
    out
}
