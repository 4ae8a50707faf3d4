//! `kubectl auth can-i` and `kubectl auth whoami`.

use http::Method;
use machinery::json::Fields;
use serde_json::{Value, json};

use super::Command;
use crate::{
    cli::{
        context::{Call, Context},
        failure::{Failure, Outcome},
        flags::{Flag, switch, value},
    },
    printers::table::Writer,
};

const CAN_I: &[Flag] = &[
    switch("all-namespaces").short('A'),
    switch("quiet").short('q'),
    switch("list"),
    switch("no-headers"),
    value("subresource"),
];

/// The table row.
pub const COMMAND: Command = Command {
    name: "auth",
    aliases: &[],
    flags: &[],
    sub: &[
        Command { name: "can-i", aliases: &[], flags: &[CAN_I], sub: &[], run: super::action!(can_i) },
        Command {
            name: "whoami",
            aliases: &[],
            flags: &[&[value("output").short('o')]],
            sub: &[],
            run: super::action!(whoami),
        },
    ],
    run: super::action!(which),
};

const API: &str = "authorization.k8s.io/v1";

async fn which(context: Context) -> Outcome {
    Err(context.flags.usage("must be one of can-i, whoami"))
}

async fn can_i(context: Context) -> Outcome {
    let flags = &context.flags;
    let namespace = if flags.is("all-namespaces") { String::new() } else { context.namespace()?.0 };
    if flags.is("list") {
        return list(&context, &namespace).await;
    }
    let [verb, rest @ ..] = flags.args.as_slice() else {
        return Err(Failure::new(
            "you must specify two arguments: verb resource or verb resource/resourceName.\nSee 'kubectl auth can-i -h' for help and examples.",
        ));
    };
    let (what, name) = match rest {
        [what] => match what.split_once('/').filter(|_| !what.starts_with('/')) {
            Some((what, name)) => (what.to_owned(), name.to_owned()),
            None => (what.clone(), String::new()),
        },
        [what, name] => (what.clone(), name.clone()),
        _ => {
            return Err(Failure::new(
                "you must specify two arguments: verb resource or verb resource/resourceName.\nSee 'kubectl auth can-i -h' for help and examples.",
            ));
        }
    };
    let spec = if what.starts_with('/') {
        json!({"nonResourceAttributes": {"verb": verb, "path": what}})
    } else {
        let found = context.mapper().await?.find(&what);
        if found.is_none() && what != "*" {
            context.note(format_args!("Warning: the server doesn't have a resource type '{what}'\n"));
        }
        let (group, resource) = match &found {
            Some(resource) => {
                if !resource.namespaced && !namespace.is_empty() && context.flags.given("namespace") {
                    context.note(format_args!("Warning: resource '{}' is not namespace scoped", resource.plural));
                }
                (resource.group.clone(), resource.plural.clone())
            }
            None => (if what == "*" { "*".to_owned() } else { String::new() }, what.clone()),
        };
        let namespace =
            if found.as_ref().is_some_and(|resource| !resource.namespaced) { "" } else { namespace.as_str() };
        json!({"resourceAttributes": {
            "namespace": namespace, "verb": verb, "group": group, "resource": resource,
            "subresource": flags.or("subresource", ""), "name": name,
        }})
    };
    let review = json!({"apiVersion": API, "kind": "SelfSubjectAccessReview", "spec": spec});
    let answer =
        context.json(Call::send(Method::POST, format!("/apis/{API}/selfsubjectaccessreviews"), &review)).await?;
    let status = &answer["status"];
    let allowed = status["allowed"] == true;
    if !flags.is("quiet") {
        let mut line = if allowed { "yes" } else { "no" }.to_owned();
        if !allowed {
            if let Some(reason) = status["reason"].as_str().filter(|reason| !reason.is_empty()) {
                line.push_str(&format!(" - {reason}"));
            }
            if let Some(error) = status["evaluationError"].as_str().filter(|error| !error.is_empty()) {
                line.push_str(&format!(" - {error}"));
            }
        }
        context.print(&format!("{line}\n"))?;
    }
    if allowed { Ok(()) } else { Err(Failure::exit(1)) }
}

async fn list(context: &Context, namespace: &str) -> Outcome {
    let review = json!({"apiVersion": API, "kind": "SelfSubjectRulesReview", "spec": {"namespace": namespace}});
    let answer =
        context.json(Call::send(Method::POST, format!("/apis/{API}/selfsubjectrulesreviews"), &review)).await?;
    let words = |value: &Value| {
        let all: Vec<&str> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        format!("[{}]", all.join(" "))
    };
    let mut writer = Writer::default();
    if !context.flags.is("no-headers") {
        writer.row(["Resources", "Non-Resource URLs", "Resource Names", "Verbs"].map(str::to_owned).into());
    }
    for rule in answer["status"]["resourceRules"].as_array().into_iter().flatten() {
        for group in rule["apiGroups"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            for resource in rule["resources"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                let name = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
                writer.row(vec![name, "[]".to_owned(), words(&rule["resourceNames"]), words(&rule["verbs"])]);
            }
        }
    }
    for rule in answer["status"]["nonResourceRules"].as_array().into_iter().flatten() {
        writer.row(vec![String::new(), words(&rule["nonResourceURLs"]), "[]".to_owned(), words(&rule["verbs"])]);
    }
    context.print(&writer.flush())
}

async fn whoami(context: Context) -> Outcome {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let answer =
        context.json(Call::send(Method::POST, "/apis/authentication.k8s.io/v1/selfsubjectreviews", &review)).await?;
    match context.flags.or("output", "") {
        "json" => return context.print(&crate::printers::to_json(&answer)),
        "yaml" => return context.print(&machinery::yaml::from_json(&answer)),
        _ => {}
    }
    let user = &answer["status"]["userInfo"];
    let mut writer = Writer::default();
    writer.row(vec!["ATTRIBUTE".to_owned(), "VALUE".to_owned()]);
    writer.row(vec!["Username".to_owned(), user.text("username").to_owned()]);
    if let Some(uid) = user["uid"].as_str().filter(|uid| !uid.is_empty()) {
        writer.row(vec!["UID".to_owned(), uid.to_owned()]);
    }
    let groups: Vec<&str> = user["groups"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    writer.row(vec!["Groups".to_owned(), format!("[{}]", groups.join(" "))]);
    for (key, values) in user["extra"].as_object().into_iter().flatten() {
        let values: Vec<&str> = values.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        writer.row(vec![format!("Extra: {key}"), format!("[{}]", values.join(" "))]);
    }
    context.print(&writer.flush())
}
