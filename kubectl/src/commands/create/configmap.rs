//! `kubectl create configmap NAME --from-literal=... --from-file=... --from-env-file=...`.

use base64::Engine;
use serde_json::{Map, Value, json};

use super::{FLAGS, exact_name, generated};
use crate::{
    cli::{
        context::Context,
        failure::{Failure, Outcome, os_error},
        flags::{Flag, switch, value},
    },
    commands::{Command, action},
    printers,
};

/// The table row.
pub const COMMAND: Command = Command {
    name: "configmap",
    aliases: &["cm"],
    flags: &[FLAGS, SOURCES, printers::FLAGS],
    sub: &[],
    run: action!(create),
};

/// The flags for data.
pub const SOURCES: &[Flag] =
    &[value("from-literal"), value("from-file"), value("from-env-file"), switch("append-hash")];

/// Reads all sources as keys with bytes.
pub fn data(context: &Context, kind: &str) -> Outcome<Vec<(String, Vec<u8>)>> {
    let flags = &context.flags;
    if flags.is("append-hash") {
        return Err(Failure::new("--append-hash is not supported"));
    }
    if flags.given("from-env-file") && (flags.given("from-literal") || flags.given("from-file")) {
        return Err(Failure::new("from-env-file cannot be combined with from-file or from-literal"));
    }
    let mut out: Vec<(String, Vec<u8>)> = Vec::new();
    let mut add = |key: &str, bytes: Vec<u8>| -> Outcome {
        if key.is_empty() || !key.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
            return Err(Failure::new(format!(
                "{key:?} is not a valid key name for a ConfigMap: a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
            )));
        }
        if out.iter().any(|(known, _)| known == key) {
            let name = exact_name(context)?;
            return Err(Failure::new(match kind {
                "Secret" => format!("cannot add key {key}, another key by that name already exists"),
                _ => format!(
                    "cannot add key {key:?}, another key by that name already exists in Data for {kind} {name:?}"
                ),
            }));
        }
        out.push((key.to_owned(), bytes));
        Ok(())
    };
    for file in flags.list("from-file") {
        let (key, path) = match file.split_once('=') {
            Some(("", _)) => return Err(Failure::new(format!("key name for file path {} missing", &file[1..]))),
            Some((key, path)) => (Some(key.to_owned()), path.to_owned()),
            None => (None, file),
        };
        let path = std::path::PathBuf::from(path);
        let read = |path: &std::path::Path| {
            let failed = |error| Failure::new(format!("error reading {}: {}", path.display(), os_error(&error)));
            std::fs::read(path).map_err(failed)
        };
        if path.is_dir() {
            if key.is_some() {
                return Err(Failure::new("cannot give a key name for a directory path"));
            }
            let mut entries: Vec<_> = std::fs::read_dir(&path)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
            entries.sort();
            for entry in entries.into_iter().filter(|entry| entry.is_file()) {
                let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
                add(&name, read(&entry)?)?;
            }
        } else {
            let name = key.unwrap_or_else(|| path.file_name().unwrap_or_default().to_string_lossy().into_owned());
            add(&name, read(&path)?)?;
        }
    }
    for literal in flags.all("from-literal") {
        let Some((key, value)) = literal.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(Failure::new(format!("invalid literal source {literal}, expected key=value")));
        };
        add(key, value.trim_matches(['"', '\'']).as_bytes().to_vec())?;
    }
    for path in flags.list("from-env-file") {
        let text =
            std::fs::read_to_string(&path).map_err(|error| Failure::new(format!("{path}: {}", os_error(&error))))?;
        for line in text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match line.split_once('=') {
                Some((key, value)) => add(key, value.as_bytes().to_vec())?,
                // A name alone takes its value from the environment, as `docker run --env-file` does.
                None => {
                    if let Ok(value) = std::env::var(line) {
                        add(line, value.into_bytes())?;
                    }
                }
            }
        }
    }
    Ok(out)
}

async fn create(context: Context) -> Outcome {
    let name = exact_name(&context)?;
    let (mut text, mut binary) = (Map::new(), Map::new());
    for (key, bytes) in data(&context, "ConfigMap")? {
        match String::from_utf8(bytes) {
            Ok(value) => text.insert(key, Value::String(value)),
            Err(error) => binary.insert(key, base64::engine::general_purpose::STANDARD.encode(error.as_bytes()).into()),
        };
    }
    let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    if !text.is_empty() {
        object["data"] = Value::Object(text);
    }
    if !binary.is_empty() {
        object["binaryData"] = Value::Object(binary);
    }
    generated(&context, object).await
}
