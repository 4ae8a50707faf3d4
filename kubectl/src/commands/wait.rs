//! `kubectl wait --for=condition=X|delete|create|jsonpath=...`.

use std::time::Duration;

use machinery::json::Fields;
use machinery::jsonpath::Template;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    Command,
    delete::{NOTHING_NAMED, wait_gone},
};
use crate::{
    cli::{
        context::{Call, Context},
        failure::{Failure, Outcome},
        flags::{Flag, switch, value},
    },
    printers::{self, Format, columns, done},
    resource_builder::{
        Info, files,
        select::{self, Selection},
    },
};

/// The table row.
pub const COMMAND: Command = Command {
    name: "wait",
    aliases: &[],
    flags: &[FLAGS, printers::FLAGS, files::FLAGS],
    sub: &[],
    run: super::action!(run),
};

const FLAGS: &[Flag] = &[
    value("for"),
    value("timeout"),
    switch("all"),
    switch("all-namespaces").short('A'),
    value("selector").short('l'),
    value("field-selector"),
    switch("local"),
];

enum Condition {
    Deleted,
    Created,
    /// Type and status.
    Status(String, String),
    /// A path, and the value wanted; none: any.
    Path(Template, Option<String>),
}

impl Condition {
    fn parse(text: &str) -> Outcome<Self> {
        let lower = text.to_lowercase();
        if lower == "delete" {
            return Ok(Self::Deleted);
        }
        if lower == "create" {
            return Ok(Self::Created);
        }
        if lower.starts_with("condition=") {
            let rest = &text["condition=".len()..];
            let (kind, status) = rest.split_once('=').unwrap_or((rest, "true"));
            return Ok(Self::Status(kind.to_owned(), status.to_owned()));
        }
        if lower.starts_with("jsonpath=") {
            let rest = &text["jsonpath=".len()..];
            let end = rest.rfind('}').map_or(0, |at| at + 1);
            let (path, wanted) = if end > 0 { rest.split_at(end) } else { rest.split_once('=').unwrap_or((rest, "")) };
            let wanted = wanted.trim_start_matches('\'');
            let wanted = wanted.strip_prefix('=').unwrap_or(wanted).trim_matches(['"', '\'']);
            if path.is_empty() {
                return Err(Failure::new(
                    "jsonpath wait format must be --for=jsonpath='{.status.readyReplicas}'=3 or --for=jsonpath='{.status.readyReplicas}'",
                ));
            }
            return Ok(Self::Path(
                columns::relaxed(path.trim_matches('\''))?,
                Some(wanted.to_owned()).filter(|w| !w.is_empty()),
            ));
        }
        Err(Failure::new(format!("unrecognized condition: {text:?}")))
    }

    fn holds(&self, object: &Value) -> Outcome<bool> {
        Ok(match self {
            Self::Deleted => false,
            Self::Created => true,
            Self::Status(kind, wanted) => {
                let conditions = object["status"]["conditions"].as_array();
                conditions.into_iter().flatten().any(|condition| {
                    let same =
                        |key: &str, text: &str| condition[key].as_str().is_some_and(|v| v.eq_ignore_ascii_case(text));
                    let generation = object["metadata"]["generation"].as_i64().unwrap_or(0);
                    let stale = |of: &Value| of.as_i64().is_some_and(|seen| seen < generation);
                    same("type", kind)
                        && same("status", wanted)
                        && !stale(&condition["observedGeneration"])
                        && !stale(&object["status"]["observedGeneration"])
                })
            }
            Self::Path(path, wanted) => {
                let found = path.find(object);
                match (found.as_slice(), wanted) {
                    ([], _) => false,
                    (_, None) => true,
                    ([Value::Object(_) | Value::Array(_)], Some(_)) => {
                        return Err(Failure::new("jsonpath leads to a nested object or list which is not supported"));
                    }
                    ([one], Some(wanted)) => {
                        let text = one.as_str().map_or_else(|| one.to_string(), str::to_owned);
                        text.trim() == wanted.trim()
                    }
                    _ => return Err(Failure::new("given jsonpath expression matches more than one value")),
                }
            }
        })
    }
}

async fn run(context: Context) -> Outcome {
    let flags = &context.flags;
    if flags.args.is_empty() && !files::given(&context) {
        return Err(Failure::new(NOTHING_NAMED));
    }
    let Some(wanted) = flags.get("for").filter(|text| !text.is_empty()) else {
        return Err(Failure::new("unrecognized condition: []"));
    };
    let condition = Condition::parse(wanted)?;
    let format = Format::of(&context)?;
    let timeout = match flags.get("timeout") {
        Some(text) if text.starts_with('-') => Duration::from_secs(7 * 86400),
        _ => flags.duration("timeout")?.unwrap_or(Duration::from_secs(30)),
    };
    let deadline = Instant::now() + timeout;
    let infos = targets(&context, &condition, deadline).await?;
    if infos.is_empty() {
        if matches!(condition, Condition::Deleted) {
            return Ok(());
        }
        return Err(Failure::new("no matching resources found"));
    }
    let mut failures = Vec::new();
    for info in infos {
        let left = deadline.saturating_duration_since(Instant::now());
        let outcome = if matches!(condition, Condition::Deleted) {
            let uid = info.object["metadata"].text("uid").to_owned();
            match wait_gone(&context, vec![(info.clone(), uid)], left).await {
                Ok(()) => done(&context, &format, &info, &info.object, "condition met"),
                Err(failure) => Err(failure),
            }
        } else {
            match until(&context, &info, &condition, deadline).await {
                Ok(object) => done(&context, &format, &info, &object, "condition met"),
                Err(failure) => Err(failure),
            }
        };
        failures.extend(outcome.err());
    }
    Failure::all(failures)
}

async fn targets(context: &Context, condition: &Condition, deadline: Instant) -> Outcome<Vec<Info>> {
    loop {
        if !files::given(context) && matches!(condition, Condition::Deleted) {
            // What is gone already is no failure.
            let (mut infos, mut failures) = (Vec::new(), Vec::new());
            for selection in select::selections(context, &context.flags.args).await? {
                match selection {
                    Selection::One(resource, name) => {
                        let namespace = select::namespace_for(context, &resource)?;
                        let mut info = Info { resource, namespace, name, object: Value::Null, source: String::new() };
                        match info.read(context).await {
                            Ok(object) => {
                                info.object = object;
                                infos.push(info);
                            }
                            Err(failure) if failure.is_not_found() => {}
                            Err(failure) => failures.push(failure),
                        }
                    }
                    Selection::All(resource) => {
                        infos.extend(select::list(context, &resource).await?);
                    }
                }
            }
            Failure::all(failures)?;
            return Ok(infos);
        }
        let (infos, failures) = select::infos(context, &context.flags.args).await?;
        let missing = failures.iter().all(Failure::is_not_found);
        if matches!(condition, Condition::Created) && missing && (infos.is_empty() || !failures.is_empty()) {
            if Instant::now() >= deadline {
                Failure::all(failures)?;
                return Ok(infos);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
            continue;
        }
        Failure::all(failures)?;
        return Ok(infos);
    }
}

async fn until(context: &Context, info: &Info, condition: &Condition, deadline: Instant) -> Outcome<Value> {
    let late =
        || Failure::new(format!("timed out waiting for the condition on {}/{}", info.resource.plural, info.name));
    loop {
        let object = match info.read(context).await {
            Ok(object) => object,
            Err(failure) => return Err(failure),
        };
        if condition.holds(&object)? {
            return Ok(object);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(late());
        }
        let call = Call::get(info.collection())
            .query("fieldSelector", format!("metadata.name={}", info.name))
            .query("watch", "true")
            .query("resourceVersion", object["metadata"].text("resourceVersion"));
        let watching = async {
            let mut events = context.watch(call).await?;
            while let Some(event) = events.next().await? {
                match event.text("type") {
                    "DELETED" | "ERROR" => break,
                    _ if condition.holds(&event["object"])? => return Ok(Some(event["object"].clone())),
                    _ => {}
                }
            }
            Ok::<_, Failure>(None)
        };
        match tokio::time::timeout(left, watching).await {
            Ok(Ok(Some(object))) => return Ok(object),
            Ok(Ok(None)) => {}
            Ok(Err(failure)) => return Err(failure),
            Err(_) => return Err(late()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions() {
        let pod = json!({
            "metadata": {"generation": 2},
            "status": {"phase": "Running", "n": 3, "conditions": [
                {"type": "Ready", "status": "True"}, {"type": "Old", "status": "True", "observedGeneration": 1}]},
        });
        for (text, holds) in [
            ("condition=Ready", true),
            ("condition=ready=false", false),
            ("condition=Old", false),
            ("jsonpath={.status.phase}=Running", true),
            ("jsonpath='{.status.n}'=3", true),
            ("jsonpath={.status.n}=4", false),
            ("jsonpath={.status.phase}", true),
            ("jsonpath={.status.none}", false),
            ("create", true),
            ("delete", false),
        ] {
            assert_eq!(Condition::parse(text).unwrap().holds(&pod).unwrap(), holds, "{text}");
        }
        assert!(Condition::parse("soon").is_err());
    }
}
