//! What `label` and `annotate` have in common: `key=value` sets, `key-` removes.

use serde_json::{Map, Value, json};

use crate::{
    cli::{
        context::{Call, Context},
        failure::{Failure, Outcome},
        flags::{Flag, optional, switch, value},
    },
    printers::{self, DryRun, Format, done, dry_run},
    resource_builder::{files, select},
};

/// The flags.
pub const FLAGS: &[Flag] = &[
    switch("overwrite"),
    switch("list"),
    switch("all"),
    switch("all-namespaces").short('A'),
    switch("local"),
    value("selector").short('l'),
    value("field-selector"),
    value("resource-version"),
    value("field-manager"),
    optional("dry-run", "unchanged"),
];

/// Labels or annotations.
pub struct Kind {
    /// `labels`.
    pub field: &'static str,
    /// `label`.
    pub noun: &'static str,
    /// `labeled`.
    pub done: &'static str,
    /// `unlabeled`.
    pub undone: &'static str,
}

fn is_change(word: &str) -> bool {
    word.contains('=') || word.ends_with('-')
}

/// Runs either command.
pub async fn run(context: &Context, kind: &Kind) -> Outcome {
    let flags = &context.flags;
    let split = flags.args.iter().position(|word| is_change(word)).unwrap_or(flags.args.len());
    let (resources, changes) = flags.args.split_at(split);
    if resources.is_empty() && !files::given(context) {
        return Err(Failure::new("one or more resources must be specified as <resource> <name> or <resource>/<name>"));
    }
    if changes.is_empty() && !flags.is("list") {
        return Err(Failure::new(format!("at least one {} update is required", kind.noun)));
    }
    if flags.is("all") && flags.given("selector") {
        return Err(Failure::new("cannot set --all and --selector at the same time"));
    }
    let narrowed = flags.is("all") || flags.given("selector") || flags.given("field-selector");
    if resources.len() == 1 && !resources[0].contains('/') && !narrowed && !flags.is("list") && !files::given(context) {
        return Err(Failure::new("resource(s) were provided, but no name was specified"));
    }
    let (mut set, mut removed) = (Vec::new(), Vec::new());
    for change in changes {
        if let Some((key, value)) = change.split_once('=') {
            let complaints = machinery::names::qualified_name(key);
            if !complaints.is_empty() {
                return Err(Failure::new(format!("invalid {} key: {key:?}: {}", kind.noun, complaints.join(";"))));
            }
            if kind.noun == "label" {
                let complaints = machinery::names::label_value(value);
                if !complaints.is_empty() {
                    return Err(Failure::new(format!("invalid label value: {change:?}: {}", complaints.join(";"))));
                }
            }
            set.push((key.to_owned(), value.to_owned()));
        } else if let Some(key) = change.strip_suffix('-') {
            removed.push(key.to_owned());
        } else {
            return Err(Failure::new(format!("unknown {} spec: {change}", kind.noun)));
        }
    }
    if set.iter().any(|(key, _)| removed.contains(key)) {
        return Err(Failure::new(format!("can not both modify and remove a {} in the same command", kind.noun)));
    }
    let format = Format::of(context)?;
    let dry = dry_run(context)?;
    let (infos, mut failures) = select::infos(context, resources).await?;
    for mut info in infos {
        if info.object["metadata"]["uid"].is_null() && !flags.is("local") {
            match info.read(context).await {
                Ok(object) => info.object = object,
                Err(failure) => {
                    failures.push(failure);
                    continue;
                }
            }
        }
        let before = super::get::labels(&info.object, kind.field);
        if flags.is("list") {
            for (key, value) in &before {
                context.print(&format!("{key}={value}\n"))?;
            }
            continue;
        }
        let taken: Vec<_> = set
            .iter()
            .filter(|(key, _)| key.as_str() != "kubernetes.io/change-cause")
            .filter_map(|(key, value)| before.get(key).filter(|old| *old != value).map(|old| (key, old)))
            .collect();
        if !flags.is("overwrite") && !taken.is_empty() {
            failures.push(Failure::new(if kind.noun == "label" {
                let all: Vec<_> = taken
                    .iter()
                    .map(|(k, v)| format!("'{k}' already has a value ({v}), and --overwrite is false"))
                    .collect();
                all.join(", ")
            } else {
                let all: Vec<_> = taken.iter().map(|(k, v)| format!("'{k}' already has a value ({v})")).collect();
                format!("--overwrite is false but found the following declared annotation(s): {}", all.join("; "))
            }));
            continue;
        }
        let mut patch = Map::new();
        patch.extend(set.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))));
        for key in &removed {
            if kind.noun == "label" && !before.contains_key(key) {
                context.print(&format!("label {key:?} not found.\n"))?;
            }
            patch.insert(key.clone(), Value::Null);
        }
        let mut body = json!({"metadata": {kind.field: patch}});
        if let Some(version) = flags.get("resource-version") {
            body["metadata"]["resourceVersion"] = version.into();
        }
        let object = if dry == DryRun::Client || flags.is("local") {
            machinery::patch::merge::apply(info.object.clone(), body).unwrap_or_else(|_| info.object.clone())
        } else {
            let call = Call::patch(info.path(), "application/merge-patch+json", &body).query(
                "fieldManager",
                flags.or("field-manager", if kind.noun == "label" { "kubectl-label" } else { "kubectl-annotate" }),
            );
            let call = if dry == DryRun::Server { call.query("dryRun", "All") } else { call };
            match context.json(call).await {
                Ok(object) => object,
                Err(failure) => {
                    failures.push(failure);
                    continue;
                }
            }
        };
        let after = super::get::labels(&object, kind.field);
        // A label is only said to be set or removed if something changed; annotations always are, as upstream has it.
        let what = if kind.noun == "label" && before == after {
            format!("not {}", kind.done)
        } else if set.is_empty() && kind.noun == "label" {
            kind.undone.to_owned()
        } else {
            kind.done.to_owned()
        };
        done(context, &format, &info, &object, &what)?;
    }
    Failure::all(failures)
}

/// The flags of both commands.
pub const ALL: &[&[Flag]] = &[FLAGS, printers::FLAGS, files::FLAGS];
