//! `kubectl config view|current-context|get-contexts|get-clusters|get-users|use-context|set-context`.
//!
//! The file is changed as YAML, so that parts this program does not know stay in it.

use serde_json::{Value, json};

use super::Command;
use crate::{
    cli::{
        config,
        context::Context,
        failure::{Failure, Outcome},
        flags::{Flag, switch, value},
    },
    printers::{table::Writer, to_json},
};

const VIEW: &[Flag] = &[switch("raw"), switch("minify"), switch("flatten"), value("output").short('o')];
const SET: &[Flag] = &[switch("current")];
const LIST: &[Flag] = &[switch("no-headers"), value("output").short('o')];

const fn sub(
    name: &'static str,
    aliases: &'static [&'static str],
    flags: &'static [&'static [Flag]],
    run: super::Run,
) -> Command {
    Command { name, aliases, flags, sub: &[], run }
}

/// The table row.
pub const COMMAND: Command = Command {
    name: "config",
    aliases: &[],
    flags: &[],
    sub: &[
        sub("view", &[], &[VIEW], super::action!(view)),
        sub("current-context", &[], &[], super::action!(current)),
        sub("get-contexts", &[], &[LIST], super::action!(contexts)),
        sub("get-clusters", &[], &[], super::action!(clusters)),
        sub("get-users", &[], &[], super::action!(users)),
        sub("use-context", &["use"], &[], super::action!(use_context)),
        sub("set-context", &[], &[SET], super::action!(set_context)),
    ],
    run: super::action!(which),
};

async fn which(context: Context) -> Outcome {
    Err(context
        .flags
        .usage("must be one of view, current-context, get-contexts, get-clusters, get-users, use-context, set-context"))
}

fn empty() -> Value {
    json!({"apiVersion": "v1", "kind": "Config", "preferences": {}, "clusters": [], "contexts": [], "users": [], "current-context": ""})
}

/// All files merged, as plain values: the first that names something wins.
fn merged(context: &Context) -> Outcome<Value> {
    let mut all = empty();
    for path in config::files(&context.flags) {
        let Ok(text) = std::fs::read(&path) else { continue };
        let one =
            machinery::yaml::to_json(&text).map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
        for key in ["clusters", "contexts", "users"] {
            for entry in one[key].as_array().into_iter().flatten() {
                let known =
                    all[key].as_array().is_some_and(|all| all.iter().any(|other| other["name"] == entry["name"]));
                if let (false, Some(list)) = (known, all[key].as_array_mut()) {
                    list.push(entry.clone());
                }
            }
        }
        if all["current-context"] == "" && one["current-context"].is_string() {
            all["current-context"] = one["current-context"].clone();
        }
    }
    Ok(all)
}

async fn view(context: Context) -> Outcome {
    let flags = &context.flags;
    let mut all = merged(&context)?;
    if flags.is("minify") {
        let current = flags.get("context").map_or_else(|| all["current-context"].clone(), Value::from);
        let keep = |list: &mut Value, name: &Value| {
            if let Some(list) = list.as_array_mut() {
                list.retain(|entry| entry["name"] == *name);
            }
        };
        keep(&mut all["contexts"], &current);
        let chosen = all["contexts"][0]["context"].clone();
        if chosen.is_null() {
            return Err(Failure::new(format!(
                "context was not found for specified context: {}",
                current.as_str().unwrap_or_default()
            )));
        }
        keep(&mut all["clusters"], &chosen["cluster"]);
        keep(&mut all["users"], &chosen["user"]);
        all["current-context"] = current;
    }
    if !flags.is("raw") {
        // Secrets are not shown unless asked for.
        for user in all["users"].as_array_mut().into_iter().flatten() {
            for (key, shown) in [
                ("client-key-data", "DATA+OMITTED"),
                ("client-certificate-data", "DATA+OMITTED"),
                ("token", "REDACTED"),
                ("password", "REDACTED"),
            ] {
                if !user["user"][key].is_null() {
                    user["user"][key] = shown.into();
                }
            }
        }
        for cluster in all["clusters"].as_array_mut().into_iter().flatten() {
            if !cluster["cluster"]["certificate-authority-data"].is_null() {
                cluster["cluster"]["certificate-authority-data"] = "DATA+OMITTED".into();
            }
        }
    }
    for key in ["clusters", "contexts", "users"] {
        if all[key].as_array().is_some_and(Vec::is_empty) {
            all[key] = Value::Null;
        }
    }
    context.print(&match flags.or("output", "yaml") {
        "json" => to_json(&all),
        _ => machinery::yaml::from_json(&all),
    })
}

async fn current(context: Context) -> Outcome {
    let all = merged(&context)?;
    match all["current-context"].as_str().filter(|name| !name.is_empty()) {
        Some(name) => context.print(&format!("{name}\n")),
        None => Err(Failure::new("current-context is not set")),
    }
}

fn names(all: &Value, key: &str) -> Vec<String> {
    let mut names: Vec<String> = all[key]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|entry| entry["name"].as_str().map(str::to_owned))
        .collect();
    names.sort();
    names
}

async fn contexts(context: Context) -> Outcome {
    let all = merged(&context)?;
    let wanted = &context.flags.args;
    let mut shown = names(&all, "contexts");
    if let Some(missing) = wanted.iter().find(|name| !shown.contains(name)) {
        return Err(Failure::new(format!("context {missing} not found")));
    }
    shown.retain(|name| wanted.is_empty() || wanted.contains(name));
    if context.flags.or("output", "") == "name" {
        return context.print(&shown.into_iter().map(|name| format!("{name}\n")).collect::<String>());
    }
    let mut writer = Writer::default();
    if !context.flags.is("no-headers") {
        writer.row(["CURRENT", "NAME", "CLUSTER", "AUTHINFO", "NAMESPACE"].map(str::to_owned).into());
    }
    for name in shown {
        let entry = all["contexts"].as_array().into_iter().flatten().find(|entry| entry["name"] == name.as_str());
        let of = |key: &str| entry.and_then(|entry| entry["context"][key].as_str()).unwrap_or_default().to_owned();
        let mark = if all["current-context"] == name.as_str() { "*" } else { "" };
        writer.row(vec![mark.to_owned(), name.clone(), of("cluster"), of("user"), of("namespace")]);
    }
    context.print(&writer.flush())
}

async fn list(context: Context, key: &str) -> Outcome {
    let names = names(&merged(&context)?, key);
    context.print(&format!("NAME\n{}", names.into_iter().map(|name| format!("{name}\n")).collect::<String>()))
}

async fn clusters(context: Context) -> Outcome {
    list(context, "clusters").await
}

async fn users(context: Context) -> Outcome {
    list(context, "users").await
}

/// Changes the file that holds what is to be changed, or the first one.
fn change(context: &Context, holds: impl Fn(&Value) -> bool, edit: impl FnOnce(&mut Value)) -> Outcome {
    let files = config::files(&context.flags);
    let read = |path: &std::path::PathBuf| {
        std::fs::read(path).ok().and_then(|text| machinery::yaml::to_json(&text).ok()).filter(Value::is_object)
    };
    let path = files.iter().find(|path| read(path).is_some_and(|value| holds(&value))).or(files.first());
    let path = path.ok_or_else(|| Failure::new("no kubeconfig file"))?;
    let mut value = read(path).unwrap_or_else(empty);
    edit(&mut value);
    // Beside it first: a crash must not leave half a file, and nobody else may read it.
    let temporary = path.with_extension("tmp");
    let mut options = std::fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.write(true).create(true).truncate(true).open(&temporary)?;
    std::io::Write::write_all(&mut file, machinery::yaml::from_json(&value).as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    Ok(())
}

async fn use_context(context: Context) -> Outcome {
    let [name] = context.flags.args.as_slice() else {
        return Err(context.flags.usage("Unexpected args"));
    };
    if !names(&merged(&context)?, "contexts").contains(name) {
        return Err(Failure::new(format!("no context exists with the name: {name:?}")));
    }
    change(
        &context,
        |file| file["current-context"].as_str().is_some_and(|current| !current.is_empty()),
        |file| {
            file["current-context"] = name.as_str().into();
        },
    )?;
    context.print(&format!("Switched to context {name:?}.\n"))
}

async fn set_context(context: Context) -> Outcome {
    let all = merged(&context)?;
    let flags = &context.flags;
    let name = match (flags.args.as_slice(), flags.is("current")) {
        ([name], false) => name.clone(),
        ([], true) => all["current-context"]
            .as_str()
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .ok_or_else(|| Failure::new("no current context is set"))?,
        _ => return Err(flags.usage("Unexpected args")),
    };
    let exists = names(&all, "contexts").contains(&name);
    let set: Vec<(&str, String)> = ["cluster", "user", "namespace"]
        .into_iter()
        .filter_map(|key| Some((key, flags.get(key)?.to_owned())))
        .collect();
    let is_it = |entry: &Value| entry["name"] == name.as_str();
    change(
        &context,
        |file| file["contexts"].as_array().into_iter().flatten().any(is_it),
        |file| {
            if !file["contexts"].is_array() {
                file["contexts"] = json!([]);
            }
            let Some(list) = file["contexts"].as_array_mut() else { return };
            if !list.iter().any(is_it) {
                list.push(json!({"name": name, "context": {"cluster": "", "user": ""}}));
            }
            for entry in list.iter_mut().filter(|entry| is_it(entry)) {
                for (key, value) in &set {
                    entry["context"][*key] = value.as_str().into();
                }
            }
        },
    )?;
    context.print(&format!("Context {name:?} {}.\n", if exists { "modified" } else { "created" }))
}
