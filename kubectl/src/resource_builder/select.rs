//! Objects named on the command line: `pods a b`, `pod/a svc/b`, `pods,services`, `all`, or those of manifests.

use std::sync::Arc;

use machinery::json::Fields;

use super::{Info, files, mapper::Resource};
use crate::cli::{
    context::{Call, Context},
    failure::{Failure, Outcome},
};

/// What was named.
#[derive(Clone, Debug)]
pub enum Selection {
    /// All objects of a kind (that the selectors leave).
    All(Arc<Resource>),
    /// One object.
    One(Arc<Resource>, String),
}

impl Selection {
    /// The kind.
    pub fn resource(&self) -> &Arc<Resource> {
        match self {
            Self::All(resource) | Self::One(resource, _) => resource,
        }
    }
}

/// Whether the command line picks objects of a kind, and so names none.
pub fn picked(context: &Context) -> bool {
    ["selector", "field-selector", "all"].iter().any(|flag| context.flags.given(flag))
}

/// Reads the words. `default_kind` stands for the kind where words are names alone.
pub async fn selections(context: &Context, args: &[String]) -> Outcome<Vec<Selection>> {
    let mapper = context.mapper().await?;
    let mut out = Vec::new();
    let picked = picked(context);
    if args.iter().any(|arg| arg.contains('/')) {
        if picked {
            return Err(Failure::new("selectors and the all flag cannot be used when passing resource/name arguments"));
        }
        for arg in args {
            let Some((kind, name)) = arg.split_once('/') else {
                return Err(Failure::new(
                    "there is no need to specify a resource type as a separate argument when passing arguments in resource/name form (e.g. 'kubectl get resource/<resource_name>' instead of 'kubectl get resource resource/<resource_name>'",
                ));
            };
            if kind.is_empty() || name.is_empty() || name.contains('/') {
                return Err(Failure::new("arguments in resource/name form must have a single resource and name"));
            }
            for kind in kind.split(',') {
                out.push(Selection::One(mapper.require(kind)?, name.to_owned()));
            }
        }
        return Ok(out);
    }
    let Some((kinds, names)) = args.split_first() else { return Ok(out) };
    if picked && !names.is_empty() {
        return Err(Failure::new("name cannot be provided when a selector is specified"));
    }
    for kind in kinds.split(',').filter(|kind| !kind.is_empty()) {
        let category = mapper.category(kind);
        let resources =
            if category.is_empty() || mapper.find(kind).is_some() { vec![mapper.require(kind)?] } else { category };
        for resource in resources {
            if names.is_empty() {
                out.push(Selection::All(resource));
            } else {
                out.extend(names.iter().map(|name| Selection::One(resource.clone(), name.clone())));
            }
        }
    }
    Ok(out)
}

/// The namespace to look in for a kind: none for cluster-scoped kinds and with --all-namespaces.
pub fn namespace_for(context: &Context, resource: &Resource) -> Outcome<String> {
    if !resource.namespaced || context.flags.is("all-namespaces") {
        return Ok(String::new());
    }
    Ok(context.namespace()?.0)
}

/// A list request for a kind with the selectors of the command line.
pub fn list_call(context: &Context, resource: &Resource) -> Outcome<Call> {
    Ok(Call::get(resource.path(&namespace_for(context, resource)?, None))
        .query_if("labelSelector", context.flags.or("selector", ""))
        .query_if("fieldSelector", context.flags.or("field-selector", "")))
}

/// A failure to list a kind, with what was looked for.
pub fn unlisted(context: &Context, resource: &Resource, failure: Failure) -> Failure {
    let (labels, fields) = (context.flags.or("selector", ""), context.flags.or("field-selector", ""));
    failure.at_list(&resource.group_version_resource(), labels, fields)
}

/// The objects of a kind that the selectors of the command line leave.
pub async fn list(context: &Context, resource: &Arc<Resource>) -> Outcome<Vec<Info>> {
    let listed = context.json(list_call(context, resource)?).await;
    Ok(of_list(resource, listed.map_err(|failure| unlisted(context, resource, failure))?))
}

/// The objects meant, read from the server; those of manifests are named only. Failures of single ones are collected.
pub async fn infos(context: &Context, args: &[String]) -> Outcome<(Vec<Info>, Vec<Failure>)> {
    let (mut out, mut failures) = (Vec::new(), Vec::new());
    if files::given(context) {
        for info in files::infos(context).await? {
            match info {
                Ok(info) => out.push(info),
                Err(failure) => failures.push(failure),
            }
        }
        return Ok((out, failures));
    }
    for selection in selections(context, args).await? {
        match selection {
            Selection::One(resource, name) => {
                if context.flags.is("all-namespaces") {
                    return Err(Failure::new("a resource cannot be retrieved by name across all namespaces"));
                }
                let namespace = namespace_for(context, &resource)?;
                let mut info =
                    Info { resource, namespace, name, object: serde_json::Value::Null, source: String::new() };
                match info.read(context).await {
                    Ok(object) => {
                        info.object = object;
                        out.push(info);
                    }
                    Err(failure) => failures.push(failure),
                }
            }
            Selection::All(resource) => match list(context, &resource).await {
                Ok(list) => out.extend(list),
                Err(failure) => failures.push(failure),
            },
        }
    }
    Ok((out, failures))
}

/// The items of a list, each with the apiVersion and kind that items leave out.
pub fn of_list(resource: &Arc<Resource>, mut list: serde_json::Value) -> Vec<Info> {
    let items = list.get_mut("items").and_then(|items| items.as_array_mut()).map(std::mem::take).unwrap_or_default();
    items
        .into_iter()
        .map(|mut object| {
            if let Some(map) = object.as_object_mut() {
                map.entry("apiVersion").or_insert_with(|| resource.api_version().into());
                map.entry("kind").or_insert_with(|| resource.kind.clone().into());
            }
            let (namespace, name) =
                (object["metadata"].text("namespace").to_owned(), object["metadata"].text("name").to_owned());
            Info { resource: resource.clone(), namespace, name, object, source: String::new() }
        })
        .collect()
}
