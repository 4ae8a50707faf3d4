//! The protobuf bindings: messages with their fields in the order of upstream's `.proto` files, which is that of its Go
//! structs. The generated Rust is regular enough to be read line by line.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::Context;

/// A field of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    /// Snake case.
    pub(super) name: String,
    /// Its number.
    pub(super) number: u16,
    /// The last part of the message type, where it is one.
    pub(super) message: Option<String>,
}

/// Messages by the module they are in (`api/core/v1`) and their name.
pub(super) type Bindings = HashMap<(String, String), Vec<Field>>;

pub(super) fn read(folder: &Path) -> anyhow::Result<Bindings> {
    let mut bindings = Bindings::new();
    visit(folder, folder, &mut bindings)?;
    Ok(bindings)
}

fn visit(root: &Path, folder: &Path, bindings: &mut Bindings) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            visit(root, &path, bindings)?;
        } else if path.file_name().is_some_and(|n| n == "mod.rs") {
            let module = folder.strip_prefix(root)?.to_string_lossy().into_owned();
            parse(&module, &fs::read_to_string(&path)?, bindings);
        }
    }
    Ok(())
}

pub(super) fn parse(module: &str, text: &str, bindings: &mut Bindings) {
    let mut open: Option<(String, Vec<Field>)> = None;
    let mut tag: Option<(u16, bool)> = None;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("pub struct ").and_then(|l| l.split([' ', '{']).next()) {
            open = Some((name.to_owned(), Vec::new()));
        } else if line == "}" {
            if let Some((name, fields)) = open.take() {
                bindings.insert((module.to_owned(), name), fields);
            }
        } else if let Some(attribute) = line.trim_start().strip_prefix("#[prost(") {
            let number =
                attribute.rsplit("tag = \"").next().and_then(|t| t.split('"').next()).and_then(|n| n.parse().ok());
            tag = number.map(|n| (n, attribute.contains("message")));
        } else if let (Some(rest), Some((number, message)), Some((_, fields))) =
            (line.trim_start().strip_prefix("pub "), tag.take(), open.as_mut())
        {
            let (name, ty) = rest.split_once(':').unwrap_or((rest, ""));
            let last = ty.trim_end_matches([',', '>']).rsplit(['<', ':', ' ']).next().unwrap_or_default();
            fields.push(Field {
                name: name.trim_start_matches("r#").trim_end_matches('_').to_owned(),
                number,
                message: message.then(|| last.to_owned()),
            });
        }
    }
}
