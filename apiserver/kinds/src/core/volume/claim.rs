//! PersistentVolumeClaims: what is asked for, and how little of that may change once it is asked.

use api::rules::{self, Here};
use api::schema;
use machinery::field::{Error, ErrorList, Path};
use machinery::json::Fields;
use machinery::quantity::Quantity;
use machinery::{meta, names};
use serde_json::{Value, json};

use super::{BETA_CLASS, BETA_CLASS_WORDS, annotation_warnings};
use crate::rules as table;
use model::check::{Faults, keep};
use writes::strategy::{Strategy, WriteContext};

/// PersistentVolumeClaims.
pub struct PersistentVolumeClaims;

/// Which volumes. Label values that were invalid may stay so.
pub(super) fn selector(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let nil = Path::nil();
    let lenient = here.old.is_some_and(|old| !meta::validate_label_selector(Some(old), false, &nil).is_empty());
    errors.extend(meta::validate_label_selector(Some(here.value), lenient, &here.path()));
}

/// How much.
pub(super) fn request(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let at = here.child("resources").key("storage");
    match here.value.sub("resources").sub("requests").quantity("storage") {
        None => errors.required(&at, ""),
        Some(amount) if amount.sign() <= 0 => errors.invalid(&at, amount.to_string(), "must be greater than zero"),
        Some(_) => {}
    }
}

/// What the volume is filled with: one wish in two fields, of which the newer can say more.
pub(super) fn data_source(here: &Here<'_, '_>, errors: &mut ErrorList) {
    // What an older server let pass may stay.
    let any_group = ["dataSource", "dataSourceRef"].iter().any(|field| here.old.sub(field).has("apiGroup"));
    let (source, reference) = (here.value.sub("dataSource"), here.value.sub("dataSourceRef"));
    if let Some(source) = source {
        typed(source, any_group, &here.child("dataSource"), errors);
    }
    let namespace = reference.text("namespace");
    if let Some(reference) = reference {
        let at = here.child("dataSourceRef");
        typed(reference, any_group, &at, errors);
        if !namespace.is_empty() {
            errors.each(&at.child("namespace"), namespace, names::dns1123_label(namespace));
        }
    }
    let (Some(source), Some(reference)) = (source, reference) else { return };
    // Upstream shows the path in place of the value, as a Go struct without fields.
    if !namespace.is_empty() {
        errors.invalid(&here.path(), json!({}), "may not be specified when dataSourceRef.namespace is specified");
    } else if ["apiGroup", "kind", "name"].iter().any(|field| source.sub(field) != reference.sub(field)) {
        errors.invalid(&here.path(), json!({}), "must match dataSourceRef");
    }
}

fn typed(reference: &Value, any_group: bool, at: &Path, errors: &mut ErrorList) {
    for field in ["name", "kind"] {
        if reference.text(field).is_empty() {
            errors.required(&at.child(field), "");
        }
    }
    let (group, kind) = (reference.text("apiGroup"), reference.text("kind"));
    if group.is_empty() && kind != "PersistentVolumeClaim" {
        errors.invalid(at, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup");
    }
    if !group.is_empty() && !any_group {
        errors.each(&at.child("apiGroup"), group, names::dns1123_subdomain(group));
    }
}

/// The spec stays, but for what a bound claim may ask for more of, and what its controllers note.
pub(super) fn change(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let Some(old) = here.old else { return };
    let at = Path::new("spec");
    let (new_spec, old_spec) = (&here.value["spec"], &old["spec"]);
    let (mut now, mut before) = (new_spec.clone(), normalized(old_spec));
    if before.text("volumeName").is_empty() {
        keep(&mut before, new_spec, "volumeName");
    }
    class_change(here.value, old, &mut now, errors);
    if here.value["status"].text("phase") == "Bound" {
        if let Some(requests) = now.pointer_mut("/resources/requests") {
            let had = old_spec.sub("resources").sub("requests").sub("storage").cloned();
            requests["storage"] = had.unwrap_or_else(|| "0".into());
        }
        keep(&mut now, old_spec, CLASS);
    }
    let ty = schema::named("core.v1", "PersistentVolumeClaimSpec").expect("the table has claims");
    if !rules::equal(ty, &now, &before) {
        errors.forbidden(
            &at,
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
        );
    }
    let zero = || Quantity::parse("0").expect("a number");
    let asked = |spec: &Value| spec.sub("resources").sub("requests").quantity("storage").unwrap_or_else(zero);
    let has = old["status"].sub("capacity").quantity("storage").unwrap_or_else(zero);
    // What could not be enlarged may be asked for less of, down to what there is.
    if asked(new_spec) < asked(old_spec) && asked(new_spec) <= has {
        let at = at.child("resources").child("requests").child("storage");
        errors.forbidden(&at, "field can not be less than status.capacity");
    }
    if new_spec.sub("volumeMode") != old_spec.sub("volumeMode") {
        errors.invalid(&Path::new("volumeMode"), new_spec.sub("volumeMode").cloned(), "field is immutable");
    }
    let classes = (new_spec.sub(CLASS).and_then(Value::as_str), old_spec.sub(CLASS).and_then(Value::as_str));
    if classes.0 != classes.1 && old["status"].has("currentVolumeAttributesClassName") {
        let to = match classes.0 {
            None => "nil",
            Some("") => "empty string",
            Some(_) => return,
        };
        let detail = format!("update to {to} is forbidden when status.currentVolumeAttributesClassName is not nil");
        errors.forbidden(&at.child(CLASS), detail);
    }
}

const CLASS: &str = "volumeAttributesClassName";

/// A class may move from the old annotation to its field, or be given where there was none.
fn class_change(new: &Value, old: &Value, now: &mut Value, errors: &mut ErrorList) {
    let annotation = |object: &Value| object["metadata"].sub("annotations").sub(BETA_CLASS).cloned();
    let (noted, notes) = (annotation(old), annotation(new));
    let class = |object: &Value| object["spec"].sub("storageClassName").cloned();
    let (had, has) = (class(old), class(new));
    let moved = noted.is_some() && had.is_none() && has == noted && (notes.is_none() || notes == noted);
    if moved {
        now.as_object_mut().map(|spec| spec.remove("storageClassName"));
        return;
    }
    if notes.clone().unwrap_or_else(|| "".into()) != noted.clone().unwrap_or_else(|| "".into()) {
        let at = Path::new("metadata").child("annotations").child(BETA_CLASS);
        let value = notes.unwrap_or_else(|| "".into());
        errors.push(Error::invalid(&at, value, "field is immutable"));
    }
    if has.is_some() && had.is_none() && (noted.is_none() || has == noted) {
        now.as_object_mut().map(|spec| spec.remove("storageClassName"));
    }
}

/// What the claim has.
pub(super) fn status_capacity(here: &Here<'_, '_>, errors: &mut ErrorList) {
    for (name, amount) in here.value.as_object().into_iter().flatten() {
        not_negative(amount, &here.path().key(name), errors);
    }
}

fn not_negative(amount: &Value, at: &Path, errors: &mut ErrorList) {
    if let Some(amount) = Quantity::from_value(amount).filter(|amount| amount.value() < 0) {
        errors.invalid(at, amount.value(), "must be a valid resource quantity");
    }
}

/// Names of resources: of Kubernetes' own, storage alone.
fn resource_key(name: &str, at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    errors.each(at, name, names::qualified_name(name));
    let native = !name.contains('/') || name.contains("kubernetes.io/");
    if errors.is_empty() && native && name != "storage" {
        errors.unsupported(at, name, &["storage"]);
    }
    errors
}

/// How far a resize has come. Upstream shows the resource's name where it refuses its state.
pub(super) fn resize_statuses(here: &Here<'_, '_>, errors: &mut ErrorList) {
    const STATES: [&str; 5] = [
        "ControllerResizeInProgress",
        "ControllerResizeInfeasible",
        "NodeResizeInProgress",
        "NodeResizeInfeasible",
        "NodeResizePending",
    ];
    for (name, state) in here.value.as_object().into_iter().flatten() {
        errors.extend(resource_key(name, &here.path()));
        if !STATES.contains(&state.as_str().unwrap_or_default()) {
            let mut known = STATES;
            known.sort_unstable();
            errors.unsupported(&here.path(), name.as_str(), &known);
        }
    }
}

/// What has been allocated for it.
pub(super) fn allocated(here: &Here<'_, '_>, errors: &mut ErrorList) {
    for (name, amount) in here.value.as_object().into_iter().flatten() {
        let faults = resource_key(name, &here.path());
        if faults.is_empty() {
            let at = here.path().key(name);
            let before = errors.len();
            not_negative(amount, &at, errors);
            if let Some(amount) =
                Quantity::from_value(amount).filter(|amount| errors.len() == before && amount.sign() < 0)
            {
                errors.invalid(&at, amount.to_string(), "must be greater than or equal to 0");
            }
        }
        errors.extend(faults);
    }
}

/// A spec whose two data sources say the same, where only one was given.
fn normalized(spec: &Value) -> Value {
    let mut spec = spec.clone();
    normalize(&mut spec);
    spec
}

fn normalize(spec: &mut Value) {
    let copy = |from: &Value| {
        let fields = ["apiGroup", "kind", "name"].into_iter();
        let given = fields.filter_map(|field| Some((field.to_owned(), from.sub(field)?.clone())));
        Value::Object(given.collect())
    };
    match (spec.sub("dataSource"), spec.sub("dataSourceRef")) {
        (Some(source), None) => spec["dataSourceRef"] = copy(source),
        (None, Some(reference)) if reference.text("namespace").is_empty() => spec["dataSource"] = copy(reference),
        _ => {}
    }
}

/// Data sources as older clients expect them: what only the newer field can hold is ignored in the older.
pub(super) fn data_sources(spec: &mut Value, old: Option<&Value>) {
    let Some(fields) = spec.as_object_mut() else { return };
    let filled = fields.get("dataSourceRef").is_some_and(|reference| !reference.text("namespace").is_empty());
    // Sources in other namespaces are not enabled.
    if filled && !old.has("dataSourceRef") {
        fields.remove("dataSourceRef");
    }
    let had = old.has("dataSource") || old.has("dataSourceRef");
    if !had && fields.get("dataSourceRef").is_none_or(Value::is_null) {
        let source = fields.get("dataSource");
        let known = (source.text("kind"), source.text("apiGroup"));
        if !matches!(known, ("PersistentVolumeClaim", "") | ("VolumeSnapshot", "snapshot.storage.k8s.io")) {
            fields.remove("dataSource");
        }
    }
    normalize(spec);
}

impl Strategy for PersistentVolumeClaims {
    fn prepare_for_create(&self, _: &WriteContext<'_>, claim: &mut Value) {
        claim["status"] = json!({ "phase": "Pending" });
        data_sources(&mut claim["spec"], None);
    }

    fn prepare_for_update(&self, cx: &WriteContext<'_>, claim: &mut Value, old: &Value) {
        if cx.subresource.is_none() {
            data_sources(&mut claim["spec"], Some(&old["spec"]));
        }
    }

    fn validate(&self, cx: &WriteContext<'_>, claim: &Value) -> ErrorList {
        table::object(cx.resource, claim, None)
    }

    fn validate_update(&self, cx: &WriteContext<'_>, claim: &Value, old: &Value) -> ErrorList {
        if cx.subresource == Some("status") {
            return status(claim, old);
        }
        [table::object(cx.resource, claim, Some(old)), table::change(cx.resource, claim, old)].concat()
    }

    fn warnings(&self, cx: &WriteContext<'_>, claim: &Value, _: Option<&Value>) -> Vec<String> {
        if cx.subresource.is_some() {
            return Vec::new();
        }
        let mut out = annotation_warnings(claim, &[(BETA_CLASS, BETA_CLASS_WORDS)]);
        out.extend(claim_warnings(&claim["spec"], &Path::new("spec")));
        out
    }
}

/// A write to the status. The path of the modes is upstream's.
pub(super) fn status(claim: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    if claim["spec"].list("accessModes").is_empty() {
        errors.required(&Path::new("Spec").child("accessModes"), "");
    }
    let ty = ("core.v1", "PersistentVolumeClaimStatus");
    errors.extend(table::part(ty, &claim["status"], Some(&old["status"]), &Path::new("status")));
    errors
}

/// What a client is warned of in a claim's spec at that path.
pub fn claim_warnings(spec: &Value, at: &Path) -> Vec<String> {
    let mut out = Vec::new();
    for list in ["requests", "limits"] {
        if let Some(amount) = spec.sub("resources").sub(list).quantity("storage")
            && amount.milli_value() % 1000 != 0
        {
            let at = at.child("resources").child(list).key("storage");
            out.push(format!("{at}: fractional byte value \"{amount}\" is invalid, must be an integer"));
        }
    }
    out
}
