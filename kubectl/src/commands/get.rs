//! `kubectl get`.

use std::{collections::BTreeMap, sync::Arc};

use machinery::json::Fields;
use serde_json::{Value, json};

use super::Command;
use crate::{
    cli::{
        context::{Call, Context},
        failure::{Failure, Outcome},
        flags::{Flag, optional, switch, value},
    },
    printers::{self, Format, columns, list_of, table},
    resource_builder::{
        Info, files,
        mapper::Resource,
        select::{self, Selection},
    },
};

/// The table row.
pub const COMMAND: Command = Command {
    name: "get",
    aliases: &[],
    flags: &[FLAGS, printers::FLAGS, files::FLAGS],
    sub: &[],
    run: super::action!(run),
};

const FLAGS: &[Flag] = &[
    switch("all-namespaces").short('A'),
    value("selector").short('l'),
    value("field-selector"),
    switch("watch").short('w'),
    switch("watch-only"),
    switch("output-watch-events"),
    switch("no-headers"),
    switch("show-labels"),
    switch("show-kind"),
    value("label-columns").short('L'),
    value("sort-by"),
    switch("ignore-not-found"),
    value("raw"),
    value("subresource"),
    value("chunk-size"),
    switch("server-print"),
    optional("dry-run", "unchanged"),
];

const AS_TABLE: &str =
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";

async fn run(context: Context) -> Outcome {
    let flags = &context.flags;
    if let Some(raw) = flags.get("raw") {
        let body = context.bytes(Call::get(raw)).await?;
        return context.print(&String::from_utf8_lossy(&body));
    }
    if flags.args.is_empty() && !files::given(&context) {
        return Err(Failure::plain(
            "You must specify the type of resource to get. Use \"kubectl api-resources\" for a complete list of supported resources.\n\nerror: Required resource not specified.\nUse \"kubectl explain <resource>\" for a detailed description of that resource (e.g. kubectl explain pods).\nSee 'kubectl get -h' for help and examples",
        ));
    }
    let format = Format::of(&context)?;
    let calls = calls(&context).await?;
    if flags.is("watch") || flags.is("watch-only") {
        return watch(&context, &format, calls).await;
    }
    match &format {
        Format::Human { wide } => human(&context, *wide, calls).await,
        other => objects(&context, other, calls).await,
    }
}

/// A request, what it is for, and whether it is for one object.
struct Request {
    resource: Arc<Resource>,
    call: Call,
    single: bool,
}

async fn calls(context: &Context) -> Outcome<Vec<Request>> {
    let subresource = context.flags.or("subresource", "");
    let tail = if subresource.is_empty() { String::new() } else { format!("/{subresource}") };
    let mut out = Vec::new();
    if files::given(context) {
        for info in files::infos(context).await? {
            let info = info?;
            let call = Call::get(format!("{}{tail}", info.path()));
            out.push(Request { resource: info.resource, call, single: true });
        }
        return Ok(out);
    }
    let limit = context.flags.or("chunk-size", "500").to_owned();
    for selection in select::selections(context, &context.flags.args).await? {
        match selection {
            Selection::All(resource) => {
                let call = select::list_call(context, &resource)?.query("limit", limit.clone());
                out.push(Request { resource, call, single: false });
            }
            Selection::One(resource, name) => {
                if context.flags.is("all-namespaces") {
                    return Err(Failure::new("a resource cannot be retrieved by name across all namespaces"));
                }
                let namespace = select::namespace_for(context, &resource)?;
                let call = Call::get(format!("{}{tail}", resource.path(&namespace, Some(&name))));
                out.push(Request { resource, call, single: true });
            }
        }
    }
    Ok(out)
}

impl Request {
    /// The answer to this call: an object, or all pages of a list as one.
    async fn answer(&self, context: &Context, call: Call) -> Outcome<Value> {
        if self.single {
            return context.json(call).await;
        }
        let unlisted = |failure| select::unlisted(context, &self.resource, failure);
        let mut whole = context.json(call.clone()).await.map_err(unlisted)?;
        loop {
            let token = whole["metadata"].text("continue").to_owned();
            if token.is_empty() {
                return Ok(whole);
            }
            let mut next = context.json(call.clone().query("continue", token)).await.map_err(unlisted)?;
            let key = if next["kind"] == "Table" { "rows" } else { "items" };
            let more = next[key].as_array_mut().map(std::mem::take).unwrap_or_default();
            if let Some(all) = whole[key].as_array_mut() {
                all.extend(more);
            }
            whole["metadata"]["continue"] = next["metadata"]["continue"].take();
        }
    }
}

fn ignorable(context: &Context, failure: &Failure) -> bool {
    context.flags.is("ignore-not-found") && failure.is_not_found()
}

fn options(context: &Context, wide: bool) -> table::Options {
    let flags = &context.flags;
    table::Options {
        wide,
        no_headers: flags.is("no-headers"),
        with_namespace: flags.is("all-namespaces"),
        kind_prefix: None,
        show_labels: flags.is("show-labels"),
        label_columns: flags.list("label-columns"),
    }
}

/// A table for an answer that is none: name and age, as upstream prints what the server cannot.
fn as_table(answer: Value) -> Value {
    if answer["kind"] == "Table" {
        return answer;
    }
    let items = match answer["items"].as_array() {
        Some(items) => items.clone(),
        None => vec![answer],
    };
    let rows: Vec<Value> = items
        .into_iter()
        .map(|item| {
            let created = item["metadata"].text("creationTimestamp").to_owned();
            json!({"cells": [item["metadata"]["name"], crate::printers::table::age(&created)], "object": item})
        })
        .collect();
    json!({"kind": "Table", "columnDefinitions": [
        {"name": "Name", "format": "name", "priority": 0}, {"name": "Age", "priority": 0}], "rows": rows})
}

async fn human(context: &Context, wide: bool, requests: Vec<Request>) -> Outcome {
    let sort_by = context.flags.get("sort-by").filter(|path| !path.is_empty()).map(columns::relaxed).transpose()?;
    let mut failures = Vec::new();
    // Tables in order of first appearance; names of one kind share a table.
    let mut tables: Vec<(Arc<Resource>, Value)> = Vec::new();
    let kinds: std::collections::HashSet<String> = requests.iter().map(|r| r.resource.plural_group()).collect();
    for request in requests {
        let mut call = Call { accept: AS_TABLE, ..request.call.clone() };
        if sort_by.is_some() {
            call = call.query("includeObject", "Object");
        }
        let answer = request.answer(context, call).await;
        match answer {
            Ok(answer) => {
                let mut answer = as_table(answer);
                match tables.iter_mut().find(|(resource, _)| *resource == request.resource) {
                    Some((_, known)) => {
                        let more = answer["rows"].as_array_mut().map(std::mem::take).unwrap_or_default();
                        if let Some(rows) = known["rows"].as_array_mut() {
                            rows.extend(more);
                        }
                    }
                    None => tables.push((request.resource, answer)),
                }
            }
            Err(failure) if ignorable(context, &failure) => {}
            Err(failure) => failures.push(failure),
        }
    }
    let mut printed = 0;
    for (resource, mut answer) in tables {
        if let (Some(path), Some(rows)) = (&sort_by, answer["rows"].as_array_mut()) {
            sort(rows, |row| path.find(&row["object"]).into_iter().next());
        }
        if answer["rows"].as_array().is_none_or(Vec::is_empty) {
            continue;
        }
        let mut options = options(context, wide);
        options.with_namespace = options.with_namespace && resource.namespaced;
        if kinds.len() > 1 || context.flags.is("show-kind") {
            options.kind_prefix = Some(resource.kind_group());
        }
        if printed > 0 {
            context.print("\n")?;
        }
        let mut writer = table::Writer::default();
        table::write(&answer, &options, true, &mut writer);
        context.print(&writer.flush())?;
        printed += 1;
    }
    if printed == 0 && failures.is_empty() && !context.flags.is("ignore-not-found") {
        let namespaced = kinds_are_namespaced(context).await;
        if context.flags.is("all-namespaces") || !namespaced {
            context.note(format_args!("No resources found"));
        } else {
            context.note(format_args!("No resources found in {} namespace.", context.namespace()?.0));
        }
    }
    Failure::all(failures)
}

async fn kinds_are_namespaced(context: &Context) -> bool {
    match select::selections(context, &context.flags.args).await {
        Ok(all) => all.iter().any(|selection| selection.resource().namespaced),
        Err(_) => true,
    }
}

fn sort(items: &mut [Value], key: impl Fn(&Value) -> Option<Value>) {
    items.sort_by(|a, b| match (key(a), key(b)) {
        (None, None) => std::cmp::Ordering::Equal,
        (None, _) => std::cmp::Ordering::Less,
        (_, None) => std::cmp::Ordering::Greater,
        (Some(a), Some(b)) => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            _ => natural(&a).cmp(&natural(&b)),
        },
    });
}

fn natural(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

async fn objects(context: &Context, format: &Format, requests: Vec<Request>) -> Outcome {
    let mut failures = Vec::new();
    let mut items = Vec::new();
    let single = requests.len() == 1 && requests[0].single;
    for request in requests {
        match request.answer(context, request.call.clone()).await {
            Ok(object) if request.single => items.push(object),
            Ok(list) => {
                items.extend(select::of_list(&request.resource, list).into_iter().map(|info: Info| info.object))
            }
            Err(failure) if ignorable(context, &failure) => {}
            Err(failure) => failures.push(failure),
        }
    }
    if let Some(path) =
        context.flags.get("sort-by").filter(|path| !path.is_empty()).map(columns::relaxed).transpose()?
    {
        sort(&mut items, |item| path.find(item).into_iter().next());
    }
    if !failures.is_empty() && items.is_empty() {
        return Failure::all(failures);
    }
    if single {
        if let Some(object) = items.first() {
            context.print(&format.render(context, object)?)?;
        }
    } else {
        context.print(&format.render(context, &list_of(items))?)?;
    }
    Failure::all(failures)
}

async fn watch(context: &Context, format: &Format, requests: Vec<Request>) -> Outcome {
    let [request] = requests.as_slice() else {
        return Err(Failure::new("you may only specify a single resource type"));
    };
    let wide = matches!(format, Format::Human { wide: true });
    let mut options = options(context, wide);
    options.with_namespace = options.with_namespace && request.resource.namespaced;
    let as_events = context.flags.is("output-watch-events");
    let mut writer = table::Writer::default();
    let mut show = |context: &Context, kind: &str, answer: Value, headers: bool| -> Outcome {
        if !format.is_human() {
            let objects = match answer["items"].as_array() {
                Some(_) => select::of_list(&request.resource, answer).into_iter().map(|info| info.object).collect(),
                None => vec![answer],
            };
            for object in objects {
                let object = if as_events { json!({"type": kind, "object": object}) } else { object };
                context.print(&format.render(context, &object)?)?;
                if matches!(format, Format::JsonPath(_)) {
                    context.print("")?;
                } else if matches!(format, Format::Yaml) {
                    context.print("---\n")?;
                }
            }
            return Ok(());
        }
        let mut lines = table::Writer::default();
        table::write(&as_table(answer), &options, headers, &mut lines);
        for (index, mut row) in lines.into_rows().into_iter().enumerate() {
            if as_events {
                row.insert(0, if headers && index == 0 { "EVENT".to_owned() } else { kind.to_owned() });
            }
            writer.row(row);
        }
        context.print(&writer.flush())
    };
    let accept = if format.is_human() { AS_TABLE } else { "application/json" };
    let mut list = request.call.clone();
    if request.single {
        // One object is watched as the collection, narrowed by name.
        let (collection, name) = list
            .path
            .rsplit_once('/')
            .map_or((list.path.clone(), String::new()), |(c, n)| (c.to_owned(), n.to_owned()));
        list = Call::get(collection).query("fieldSelector", format!("metadata.name={name}"));
    }
    list.accept = accept;
    let listed = Request { resource: request.resource.clone(), call: list.clone(), single: false };
    let first = listed.answer(context, list.clone()).await?;
    if request.single && first["rows"].as_array().or(first["items"].as_array()).is_none_or(Vec::is_empty) {
        // The complaint is the server's own.
        context.json(request.call.clone()).await?;
    }
    let mut version = first["metadata"].text("resourceVersion").to_owned();
    let mut headers = true;
    let empty = first["rows"].as_array().or(first["items"].as_array()).is_none_or(Vec::is_empty);
    if !context.flags.is("watch-only") && !empty {
        show(context, "ADDED", first, true)?;
        headers = false;
    }
    list.query.retain(|(key, _)| key != "limit");
    loop {
        let call = list.clone().query("watch", "true").query("resourceVersion", version.clone());
        let mut events = context.watch(call).await?;
        while let Some(mut event) = events.next().await? {
            let kind = event.text("type").to_owned();
            let object = event["object"].take();
            if kind == "ERROR" {
                return Err(Failure::from_status(object["code"].as_u64().unwrap_or(500) as u16, &object));
            }
            let of = if object["kind"] == "Table" { &object["rows"][0]["object"] } else { &object };
            if let Some(new) = of["metadata"]["resourceVersion"].as_str() {
                version = new.to_owned();
            }
            if kind == "BOOKMARK" {
                continue;
            }
            show(context, &kind, object, headers)?;
            headers = false;
        }
    }
}

/// The values under a key, for other commands' use of label maps.
pub fn labels(object: &Value, key: &str) -> BTreeMap<String, String> {
    let map = object["metadata"][key].as_object();
    map.into_iter().flatten().map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned())).collect()
}
