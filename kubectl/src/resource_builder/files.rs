//! Manifests: files, folders, standard input, URLs are not read (no manifest is worth running unseen).

use std::path::{Path, PathBuf};

use machinery::json::Fields;
use machinery::meta;
use serde_json::Value;

use super::Info;
use crate::cli::{
    context::Context,
    failure::{Failure, Outcome, os_error},
    flags::{Flag, switch, value},
};

/// The flags for manifests.
pub const FLAGS: &[Flag] =
    &[value("filename").short('f'), switch("recursive").short('R'), value("kustomize").short('k')];

/// Whether manifests were asked for.
pub fn given(context: &Context) -> bool {
    context.flags.given("filename") || context.flags.given("kustomize")
}

/// A document with where it came from.
#[derive(Debug)]
pub struct Document {
    /// The object.
    pub object: Value,
    /// The path, or `STDIN`.
    pub source: String,
}

/// Reads all documents; lists are taken apart.
pub fn documents(context: &Context) -> Outcome<Vec<Document>> {
    if context.flags.given("kustomize") {
        return Err(Failure::new("kustomizations are not supported"));
    }
    let mut out = Vec::new();
    for name in context.flags.list("filename") {
        if name == "-" {
            let text = context.streams.read_to_string()?;
            parse(&text, "STDIN", &mut out)?;
            continue;
        }
        if name.starts_with("http://") || name.starts_with("https://") {
            return Err(Failure::new(format!("reading manifests from URLs is not supported: {name}")));
        }
        let path = Path::new(&name);
        if !path.exists() {
            return Err(Failure::new(format!("the path {name:?} does not exist")));
        }
        let mut paths = Vec::new();
        collect(path, true, context.flags.is("recursive"), &mut paths)?;
        for path in paths {
            let text = std::fs::read_to_string(&path)
                .map_err(|error| Failure::new(format!("{}: {}", path.display(), os_error(&error))))?;
            parse(&text, &path.display().to_string(), &mut out)?;
        }
    }
    if out.is_empty() {
        let verb = context.flags.path.split(' ').next().unwrap_or_default();
        return Err(Failure::new(format!("no objects passed to {verb}")));
    }
    Ok(out)
}

fn collect(path: &Path, named: bool, recursive: bool, out: &mut Vec<PathBuf>) -> Outcome {
    if !path.is_dir() {
        // A file that was named is read whatever it is called.
        if named || path.extension().is_some_and(|e| ["json", "yaml", "yml"].iter().any(|known| e == *known)) {
            out.push(path.to_owned());
        }
        return Ok(());
    }
    if !named && !recursive {
        return Ok(());
    }
    let mut entries: Vec<PathBuf> = std::fs::read_dir(path)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    entries.sort();
    for entry in entries {
        collect(&entry, false, recursive, out)?;
    }
    Ok(())
}

fn parse(text: &str, source: &str, out: &mut Vec<Document>) -> Outcome {
    let starts_as_json = text.trim_start().starts_with('{');
    let mut values = Vec::new();
    if starts_as_json {
        for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
            values.push(value.map_err(|error| Failure::new(format!("error parsing {source}: {error}")))?);
        }
    } else {
        for document in machinery::yaml::documents(text) {
            let value = machinery::yaml::to_json(document.as_bytes())
                .map_err(|error| Failure::new(format!("error parsing {source}: {error}")))?;
            values.push(value);
        }
    }
    for value in values {
        if value.is_null() {
            continue;
        }
        let kind = value.text("kind");
        if let (true, Some(items)) = (kind.ends_with("List"), value["items"].as_array()) {
            out.extend(items.iter().cloned().map(|object| Document { object, source: source.to_owned() }));
        } else {
            out.push(Document { object: value, source: source.to_owned() });
        }
    }
    Ok(())
}

/// The documents as objects of the server's kinds; each may fail by itself.
pub async fn infos(context: &Context) -> Outcome<Vec<Outcome<Info>>> {
    let documents = documents(context)?;
    let mapper = context.mapper().await?;
    let (namespace, enforced) = context.namespace()?;
    Ok(documents
        .into_iter()
        .map(|Document { mut object, source }| {
            let (api_version, kind) = (meta::api_version(&object).to_owned(), meta::kind(&object).to_owned());
            let name = meta::name(&object).to_owned();
            if api_version.is_empty() || kind.is_empty() {
                let missing = match (api_version.is_empty(), kind.is_empty()) {
                    (true, true) => "[apiVersion not set, kind not set]",
                    (true, false) => "apiVersion not set",
                    _ => "kind not set",
                };
                return Err(Failure::new(format!("error validating {source:?}: error validating data: {missing}; if you choose to ignore these errors, turn validation off with --validate=false")));
            }
            let Some(resource) = mapper.of_kind(&api_version, &kind) else {
                return Err(Failure::new(format!(
                    "resource mapping not found for name: {name:?} namespace: {:?} from {source:?}: no matches for kind {kind:?} in version {api_version:?}\nensure CRDs are installed first",
                    meta::namespace(&object),
                )));
            };
            let own = meta::namespace(&object).to_owned();
            if resource.namespaced && enforced && !own.is_empty() && own != namespace {
                return Err(Failure::new(format!(
                    "the namespace from the provided object {own:?} does not match the namespace {namespace:?}. You must pass '--namespace={own}' to perform this operation."
                )));
            }
            let namespace = match (resource.namespaced, own.is_empty()) {
                (false, _) => String::new(),
                (true, true) => namespace.clone(),
                (true, false) => own,
            };
            if resource.namespaced
                && let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
            {
                metadata.insert("namespace".into(), namespace.clone().into());
            }
            Ok(Info { resource, namespace, name, object, source })
        })
        .collect())
}
