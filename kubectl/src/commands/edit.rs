//! `kubectl edit`: an object in an editor, and the difference sent as a patch.

use serde_json::Value;

use super::{Command, patch};
use crate::{
    cli::{
        context::{Call, Context},
        failure::{Failure, Outcome},
        flags::{Flag, value},
    },
    printers::{self, Format, done, to_json},
    resource_builder::{Info, files, select},
};

/// The table row.
pub const COMMAND: Command = Command {
    name: "edit",
    aliases: &[],
    flags: &[FLAGS, printers::FLAGS, files::FLAGS],
    sub: &[],
    run: super::action!(run),
};

const FLAGS: &[Flag] = &[value("selector").short('l'), value("field-manager"), value("subresource")];

const HEAD: &str = "# Please edit the object below. Lines beginning with a '#' will be ignored,\n# and an empty file will abort the edit. If an error occurs while saving this file will be\n# reopened with the relevant failures.\n#\n";

async fn run(context: Context) -> Outcome {
    let (infos, failures) = select::infos(&context, &context.flags.args).await?;
    Failure::all(failures)?;
    if infos.is_empty() {
        return Err(Failure::new("edit cancelled, no objects found"));
    }
    for mut info in infos {
        if info.object["metadata"]["uid"].is_null() {
            info.object = info.read(&context).await?;
        }
        edit(&context, &info).await?;
    }
    Ok(())
}

fn editor() -> String {
    ["KUBE_EDITOR", "EDITOR"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .unwrap_or_else(|| "vi".to_owned())
}

async fn edit(context: &Context, info: &Info) -> Outcome {
    let as_json = context.flags.or("output", "yaml") == "json";
    let mut original = info.object.clone();
    if let Some(metadata) = original["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    let plain = if as_json { to_json(&original) } else { machinery::yaml::from_json(&original) };
    let extension = if as_json { "json" } else { "yaml" };
    let path = std::env::temp_dir().join(format!("kubectl-edit-{}-{}.{extension}", std::process::id(), info.name));
    let mut complaint = String::new();
    let mut text = plain.clone();
    loop {
        let head = if as_json && complaint.is_empty() { String::new() } else { format!("{HEAD}{complaint}") };
        let shown = format!("{head}{text}");
        let mut options = std::fs::OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.write(true).create(true).truncate(true).open(&path)?;
        std::io::Write::write_all(&mut file, shown.as_bytes())?;
        drop(file);
        let status = std::process::Command::new("sh")
            .arg("-c")
            .arg(format!("{} \"$1\"", editor()))
            .arg("sh")
            .arg(&path)
            .status()?;
        if !status.success() {
            return Err(Failure::new(format!("there was a problem with the editor {:?}", editor())));
        }
        let written = std::fs::read_to_string(&path)?;
        let edited: String =
            written.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
        if edited.trim().is_empty() || edited == plain || (!complaint.is_empty() && edited == text) {
            let _ = std::fs::remove_file(&path);
            if !complaint.is_empty() {
                return Err(Failure::new("Edit cancelled, no valid changes were saved."));
            }
            return context.print("Edit cancelled, no changes made.\n");
        }
        let outcome = match machinery::yaml::from_either(edited.as_bytes()) {
            Ok(value) => send(context, info, &original, &value).await,
            Err(error) => Err(Failure::new(error)),
        };
        match outcome {
            Ok(()) => {
                let _ = std::fs::remove_file(&path);
                return Ok(());
            }
            Err(failure) => {
                let said = failure.to_string();
                complaint = said.lines().map(|line| format!("# {line}\n")).collect::<String>() + "#\n";
                text = edited;
                if !std::io::IsTerminal::is_terminal(&std::io::stdin()) {
                    return Err(failure);
                }
            }
        }
    }
}

async fn send(context: &Context, info: &Info, original: &Value, edited: &Value) -> Outcome {
    let format = Format::Human { wide: false };
    if edited == original {
        return context.print("Edit cancelled, no changes made.\n");
    }
    for key in ["apiVersion", "kind"] {
        if edited[key] != original[key] {
            return Err(Failure::new("At least one of apiVersion, kind and name was changed"));
        }
    }
    if edited["metadata"]["name"] != original["metadata"]["name"] {
        return Err(Failure::new("At least one of apiVersion, kind and name was changed"));
    }
    let (kind, patch) = patch::between(original, edited)?;
    let subresource = context.flags.get("subresource").map(|name| format!("/{name}")).unwrap_or_default();
    let call = Call::patch(format!("{}{subresource}", info.path()), kind, &patch)
        .query("fieldManager", context.flags.or("field-manager", "kubectl-edit"));
    let object = context.json(call).await?;
    done(context, &format, info, &object, "edited")
}
