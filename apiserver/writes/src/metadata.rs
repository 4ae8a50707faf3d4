//! The generic part of every write: what the server sets in metadata, what clients may not change there, and the
//! status/spec split. Follows `registry/rest/{create,update,meta}.go`.

use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::meta;
use machinery::status::StatusError;
use serde_json::{Map, Value, json};

use super::strategy::WriteContext;
use model::check;

/// Metadata of an object to be created: namespace, generated name, uid, creation time; nothing a client may not set.
pub fn prepare_for_create(cx: &WriteContext<'_>, obj: &mut Value) -> Result<(), StatusError> {
    let row = cx.resource;
    let meta = metadata_mut(obj);
    check_namespace(meta, cx.namespace)?;
    for server_set in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"] {
        meta.remove(server_set);
    }
    let text =
        |meta: &Map<String, Value>, key: &str| meta.get(key).and_then(Value::as_str).unwrap_or_default().to_string();
    let base = text(meta, "generateName");
    if !base.is_empty() && text(meta, "name").is_empty() {
        meta.insert("name".into(), crate::create::generate_name(&base).into());
    }
    if row.namespaced
        && let Some(namespace) = cx.namespace
    {
        meta.insert("namespace".into(), namespace.into());
    }
    meta.insert("uid".into(), model::random::random_uuid().into());
    meta.insert("creationTimestamp".into(), machinery::time::rfc3339(cx.now).into());
    Ok(())
}

/// Metadata and the status/spec split of an update. `old` is the stored object with its resourceVersion.
pub fn prepare_for_update(cx: &WriteContext<'_>, obj: &mut Value, old: &Value) -> Result<(), StatusError> {
    let row = cx.resource;
    let none = Map::new();
    let old_meta = old["metadata"].as_object().unwrap_or(&none);
    {
        let meta = metadata_mut(obj);
        check_namespace(meta, cx.namespace)?;
        if row.namespaced
            && let Some(namespace) = cx.namespace
        {
            meta.insert("namespace".into(), namespace.into());
        }
        for kept in ["creationTimestamp", "generation", "selfLink", "generateName"] {
            keep(meta, old_meta, kept);
        }
        // What is missing is whatever it is, and a deletion that was asked for stays. Anything else is for validation to refuse.
        let missing = |name: &str| meta.get(name).is_none_or(|value| value.is_null() || *value == "");
        let mut of_old: Vec<&str> = ["uid", "deletionGracePeriodSeconds"].into_iter().filter(|n| missing(n)).collect();
        if old_meta.contains_key("deletionTimestamp") {
            of_old.push("deletionTimestamp");
        }
        for name in of_old {
            keep(meta, old_meta, name);
        }
        // Of most newer kinds a status is written alone (`ResetObjectMetaForStatus`).
        if cx.subresource == Some("status") && row.resets(cx.subresource).0.contains(&["metadata"].as_slice()) {
            for kept in ["labels", "annotations", "finalizers", "ownerReferences"] {
                keep(meta, old_meta, kept);
            }
        }
    }
    let (Some(members), Some(old)) = (obj.as_object_mut(), old.as_object()) else { return Ok(()) };
    match cx.subresource {
        // Strategies that guard more of the metadata (pods' owners) do so themselves.
        Some("status") => keep_all_but(members, old, &["status", "metadata"]),
        _ if row.has_status() && cx.subresource.is_none() => keep(members, old, "status"),
        _ => {}
    }
    Ok(())
}

/// Raises `metadata.generation` when what the row counts has changed: usually anything but metadata and status (a status that
/// is no part of its own is like any field). After the strategy had its say.
pub fn count_generation(cx: &WriteContext<'_>, obj: &mut Value, old: &Value) {
    // A binding is no change of what is wanted: upstream's does not count it either.
    let Some(counts) = cx.resource.generation.filter(|_| cx.subresource != Some("binding")) else { return };
    let apart = |key: &str| key == "metadata" || (key == "status" && cx.resource.has_status());
    let same = |key: &String| apart(key) || equal(obj.get(key), old.get(key));
    let keys = |v: &Value| v.as_object().map(|m| m.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    let kept = |key: &&str| check::same(obj["metadata"].get(key), old["metadata"].get(key));
    let unchanged = (!counts.content || keys(obj).iter().all(same) && keys(old).iter().all(same))
        && (cx.subresource.is_some() || counts.metadata.iter().all(kept));
    let generation = old["metadata"]["generation"].as_i64().unwrap_or_default();
    let next = if unchanged { generation } else { generation + 1 };
    if next > 0 {
        obj["metadata"]["generation"] = json!(next);
    }
}

/// Whether two values are the same to a reader: stored objects say `null` where upstream writes an empty list so, and a
/// decoded body then has nothing.
fn equal(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a.filter(|v| !v.is_null()), b.filter(|v| !v.is_null())) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            a.iter().all(|(key, value)| equal(Some(value), b.get(key)))
                && b.keys().all(|key| a.contains_key(key) || b[key].is_null())
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(Some(a), Some(b)))
        }
        (a, b) => a == b,
    }
}

/// Leaves each owner of a body once, and says what of them the client gave twice (`handlers/rest.go`).
pub fn dedup_owners(obj: &mut Value) -> Option<String> {
    owners_once(obj, "")
}

/// The same of what mutating admission left, and of a patched object, which nobody looked through before.
pub(crate) fn dedup_admitted_owners(obj: &mut Value) -> Option<String> {
    owners_once(obj, " after mutating admission happens")
}

fn owners_once(obj: &mut Value, when: &str) -> Option<String> {
    let owners = obj.get_mut("metadata")?.get_mut("ownerReferences")?.as_array_mut()?;
    let (mut seen, mut twice) = (Vec::new(), Vec::new());
    owners.retain(|owner| {
        let kept = !seen.contains(owner);
        match kept {
            true => seen.push(owner.clone()),
            false => twice.push(owner.text("uid").to_owned()),
        }
        kept
    });
    if twice.is_empty() {
        return None;
    }
    Some(format!(
        ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and may \
         reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
        twice.join(", ")
    ))
}

/// Faults of the metadata of any object.
pub fn validate(cx: &WriteContext<'_>, obj: &Value) -> ErrorList {
    let row = cx.resource;
    let mut errors = meta::validate_object_meta(obj, row.namespaced, row.name_rule, &Path::new("metadata"));
    errors.extend(finalizers(cx, obj));
    errors
}

/// Built-in kinds have no finalizers of short names but Kubernetes' own (`ValidateObjectMeta` of `pkg/apis/core/validation`).
fn finalizers(cx: &WriteContext<'_>, obj: &Value) -> ErrorList {
    const OWN: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];
    // Kinds of kinds are not the core's: definitions are held by a finalizer without a slash.
    let apart = matches!(cx.resource.group.as_ref(), "apiextensions.k8s.io" | "apiregistration.k8s.io");
    if apart || cx.resource.types.custom().is_some() {
        return ErrorList::new();
    }
    let path = Path::new("metadata").child("finalizers");
    let given = obj["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str).enumerate();
    let wrong = given.filter(|(_, name)| !name.contains('/') && !OWN.contains(name));
    let detail = "name is neither a standard finalizer name nor is it fully qualified";
    wrong.map(|(i, name)| machinery::field::Error::invalid(&path.index(i), name, detail)).collect()
}

/// Faults of a metadata update.
pub fn validate_update(cx: &WriteContext<'_>, obj: &Value, old: &Value) -> ErrorList {
    let mut errors =
        meta::validate_object_meta(obj, cx.resource.namespaced, cx.resource.name_rule, &Path::new("metadata"));
    // Upstream looks at all objects so, and then in nearly each kind's own validation once more.
    for _ in 0..2 {
        errors.extend(meta::validate_object_meta_update(obj, old, &Path::new("metadata")));
    }
    errors.extend(finalizers(cx, obj));
    errors
}

/// That an object is not in another namespace than the request.
pub fn check_namespace(meta: &Map<String, Value>, namespace: Option<&str>) -> Result<(), StatusError> {
    let given = meta.get("namespace").and_then(Value::as_str).unwrap_or_default();
    if given.is_empty() || Some(given) == namespace {
        return Ok(());
    }
    Err(StatusError::bad_request(match namespace {
        Some(_) => "the namespace of the provided object does not match the namespace sent on the request",
        None => "namespace may not be set on cluster-scoped objects",
    }))
}

/// Gives an object that member as the stored one has it. Nearly always it has it so already: looking is cheaper than a copy.
fn keep(members: &mut Map<String, Value>, old: &Map<String, Value>, key: &str) {
    match old.get(key) {
        Some(kept) if members.get(key) == Some(kept) => {}
        Some(kept) => drop(members.insert(key.into(), kept.clone())),
        None => drop(members.remove(key)),
    }
}

/// Gives an object every member of the stored one, and no other, but for those that `pass`.
fn keep_all_but(members: &mut Map<String, Value>, old: &Map<String, Value>, pass: &[&str]) {
    members.retain(|key, _| pass.contains(&key.as_str()) || old.contains_key(key));
    for key in old.keys().filter(|key| !pass.contains(&key.as_str())) {
        keep(members, old, key);
    }
}

/// The metadata of an object, made where it is missing.
pub fn metadata_mut(obj: &mut Value) -> &mut Map<String, Value> {
    if !obj["metadata"].is_object() {
        obj["metadata"] = json!({});
    }
    obj["metadata"].as_object_mut().expect("just made an object")
}
