//! `kubectl set env`: `KEY=value` sets, `KEY-` removes, `--list` shows.

use machinery::json::Fields;
use serde_json::{Value, json};

use super::{Command, FLAGS, change, containers, pod_path};
use crate::{
    cli::{
        context::Context,
        failure::{Failure, Outcome},
        flags::{switch, value},
    },
    printers,
    resource_builder::{files, select},
};

/// The table row.
pub const COMMAND: Command = Command {
    name: "env",
    aliases: &[],
    flags: &[
        FLAGS,
        &[switch("list"), switch("overwrite"), value("containers").short('c'), value("env").short('e')],
        printers::FLAGS,
        files::FLAGS,
    ],
    sub: &[],
    run: super::super::action!(run),
};

fn is_change(word: &str) -> bool {
    word.contains('=') || word.ends_with('-') && !word.contains('/')
}

async fn run(context: Context) -> Outcome {
    let flags = &context.flags;
    let at = flags.args.iter().position(|word| is_change(word)).unwrap_or(flags.args.len());
    let (resources, changes) = flags.args.split_at(at);
    let changes: Vec<String> = changes.iter().chain(flags.all("env")).cloned().collect();
    if flags.is("list") {
        return list(&context, resources).await;
    }
    if changes.is_empty() {
        return Err(Failure::new("at least one environment variable must be provided"));
    }
    let pattern = flags.or("containers", "*").to_owned();
    let overwrite = flags.is_or("overwrite", true);
    change(&context, resources, "env updated", |pod| {
        let found = containers(pod, &pattern);
        if found.is_empty() {
            return Err(vec![format!("the object has no containers that match {pattern:?}")]);
        }
        for container in found {
            let mut list = container["env"].as_array().cloned().unwrap_or_default();
            for change in &changes {
                edit(&mut list, change, overwrite).map_err(|why| vec![why])?;
            }
            match list.is_empty() {
                true => drop(container.as_object_mut().and_then(|c| c.remove("env"))),
                false => container["env"] = list.into(),
            }
        }
        Ok(())
    })
    .await
}

fn edit(list: &mut Vec<Value>, change: &str, overwrite: bool) -> Result<(), String> {
    let Some((name, value)) = change.split_once('=') else {
        list.retain(|variable| variable["name"] != change.trim_end_matches('-'));
        return Ok(());
    };
    let new = match value.is_empty() {
        true => json!({"name": name}),
        false => json!({"name": name, "value": value}),
    };
    match list.iter_mut().find(|variable| variable["name"] == name) {
        Some(_) if !overwrite => {
            return Err(format!("'{name}' already has a value, and --overwrite is false"));
        }
        Some(old) => *old = new,
        None => list.push(new),
    }
    Ok(())
}

/// The variables of each container, as a shell would set them.
async fn list(context: &Context, resources: &[String]) -> Outcome {
    let pattern = context.flags.or("containers", "*");
    let (infos, failures) = select::infos(context, resources).await?;
    for mut info in infos {
        let kind = info.object.text("kind").to_owned();
        let Some(pod) = pod_path(&kind).and_then(|path| info.object.pointer_mut(path)) else { continue };
        for container in containers(pod, pattern) {
            let name = container.text("name");
            context.print(&format!("# {kind} {}, container {name}\n", info.name))?;
            for variable in container["env"].as_array().into_iter().flatten() {
                let name = variable.text("name");
                match variable["value"].as_str() {
                    Some(value) => context.print(&format!("{name}={value}\n"))?,
                    None if variable.get("valueFrom").is_none() => context.print(&format!("{name}=\n"))?,
                    None => context.print(&format!("# {name} from {}\n", source(&variable["valueFrom"])))?,
                }
            }
        }
    }
    Failure::all(failures)
}

fn source(from: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let key = |kind: &str, of: &Value| format!("{kind} {}, key {}", text(&of["name"]), text(&of["key"]));
    match () {
        () if from["configMapKeyRef"].is_object() => key("configmap", &from["configMapKeyRef"]),
        () if from["secretKeyRef"].is_object() => key("secret", &from["secretKeyRef"]),
        () if from["fieldRef"].is_object() => format!("field path {}", text(&from["fieldRef"]["fieldPath"])),
        () => "another source".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_set_replaced_and_removed() {
        let mut list = vec![json!({"name": "A", "value": "1"}), json!({"name": "B", "value": "2"})];
        edit(&mut list, "A=x=y", true).unwrap();
        edit(&mut list, "B-", true).unwrap();
        edit(&mut list, "C=", true).unwrap();
        assert_eq!(list, [json!({"name": "A", "value": "x=y"}), json!({"name": "C"})]);
        assert!(edit(&mut list, "A=2", false).is_err());
    }
}
