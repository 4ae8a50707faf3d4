//! Printers: the output of objects, `-o` in all its forms.

pub mod columns;
pub mod table;
pub mod tabs;

use machinery::jsonpath;
use serde_json::{Value, json};

use crate::{
    cli::{
        context::Context,
        failure::{Failure, Outcome},
        flags::{Flag, switch, value},
    },
    resource_builder::Info,
};

/// The flags for output.
pub const FLAGS: &[Flag] = &[
    value("output").short('o'),
    value("template"),
    switch("show-managed-fields"),
    switch("allow-missing-template-keys"),
];

/// A form of output.
#[derive(Debug)]
pub enum Format {
    /// Tables, or a line about what was done.
    Human {
        /// With more columns.
        wide: bool,
    },
    /// JSON, indented by four.
    Json,
    /// YAML.
    Yaml,
    /// `kind/name`.
    Name,
    /// A template of paths.
    JsonPath(jsonpath::Template),
    /// Columns by path.
    Columns(columns::Columns),
}

impl Format {
    /// What the flags ask for.
    pub fn of(context: &Context) -> Outcome<Self> {
        let output = context.flags.or("output", "");
        let (kind, argument) =
            output.split_once('=').map_or((output, None), |(kind, rest)| (kind, Some(rest.to_owned())));
        let argument = argument.or_else(|| context.flags.get("template").map(str::to_owned)).unwrap_or_default();
        let from_file = || {
            std::fs::read_to_string(&argument)
                .map_err(|error| Failure::new(format!("error reading template {argument}: {error}")))
        };
        Ok(match kind {
            "" => Self::Human { wide: false },
            "wide" => Self::Human { wide: true },
            "json" => Self::Json,
            "yaml" => Self::Yaml,
            "name" => Self::Name,
            "jsonpath" | "jsonpath-file" => {
                let text = if kind == "jsonpath" { argument.clone() } else { from_file()? };
                if text.is_empty() {
                    return Err(Failure::new("template format specified but no template given"));
                }
                Self::JsonPath(
                    jsonpath::Template::parse(&text)
                        .map_err(|error| Failure::new(format!("error parsing jsonpath {text}, {error}")))?,
                )
            }
            "custom-columns" | "custom-columns-file" => {
                let no_headers = context.flags.is("no-headers");
                Self::Columns(if kind == "custom-columns" {
                    columns::Columns::parse(&argument, no_headers)?
                } else {
                    columns::Columns::parse_template(&from_file()?, no_headers)?
                })
            }
            other => {
                return Err(Failure::new(format!(
                    "unable to match a printer suitable for the output format {other:?}, allowed formats are: custom-columns,custom-columns-file,json,jsonpath,jsonpath-file,name,wide,yaml"
                )));
            }
        })
    }

    /// Whether it is for people.
    pub fn is_human(&self) -> bool {
        matches!(self, Self::Human { .. })
    }

    /// One object (or a list) in this form; not for people.
    pub fn render(&self, context: &Context, object: &Value) -> Outcome<String> {
        let mut object = object.clone();
        if !context.flags.is("show-managed-fields") {
            drop_managed_fields(&mut object);
        }
        Ok(match self {
            Self::Json | Self::Human { .. } => to_json(&object),
            Self::Yaml => machinery::yaml::from_json(&object),
            Self::Name => names(&object),
            Self::JsonPath(template) => {
                template.render(&object).map_err(|error| Failure::new(format!("error executing jsonpath: {error}")))?
            }
            Self::Columns(columns) => columns.render(&object),
        })
    }
}

fn drop_managed_fields(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    if let Some(items) = object.get_mut("items").and_then(Value::as_array_mut) {
        items.iter_mut().for_each(drop_managed_fields);
    }
}

/// As Go's encoder writes it: indented by four, with `<`, `>` and `&` escaped.
pub fn to_json(value: &Value) -> String {
    to_json_indented(value, b"    ")
}

/// The same with another indentation.
pub fn to_json_indented(value: &Value, indentation: &[u8]) -> String {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(indentation);
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    // A Value always serializes, and to UTF-8.
    let _ = serde::Serialize::serialize(value, &mut serializer);
    let text = String::from_utf8(out).unwrap_or_default();
    let text = text.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e");
    text.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029") + "\n"
}

/// JSON in one line, escaped likewise.
pub fn to_compact_json(value: &Value) -> String {
    let text = value.to_string();
    text.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e")
}

fn names(object: &Value) -> String {
    if let (true, Some(items)) =
        (object["kind"].as_str().is_some_and(|k| k.ends_with("List")), object["items"].as_array())
    {
        return items.iter().map(names).collect();
    }
    format!("{}\n", name_of(object))
}

/// `deployment.apps/web`.
pub fn name_of(object: &Value) -> String {
    let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
    let group = object["apiVersion"].as_str().and_then(|v| v.split_once('/')).map(|(group, _)| group);
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    match group {
        Some(group) => format!("{kind}.{group}/{name}"),
        None => format!("{kind}/{name}"),
    }
}

/// Several objects as the List that kubectl makes of them.
pub fn list_of(items: Vec<Value>) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items})
}

/// Says what was done to an object: `deployment.apps/web created`, or the object in the form asked for.
pub fn done(context: &Context, format: &Format, info: &Info, object: &Value, operation: &str) -> Outcome {
    match format {
        Format::Human { .. } => {
            let suffix = match dry_run(context)? {
                DryRun::No => "",
                DryRun::Client => " (dry run)",
                DryRun::Server => " (server dry run)",
            };
            let name = object["metadata"]["name"].as_str().unwrap_or(&info.name);
            context.print(&format!("{}/{name} {operation}{suffix}\n", info.resource.kind_group()))
        }
        Format::Name => context.print(&format!(
            "{}/{}\n",
            info.resource.kind_group(),
            object["metadata"]["name"].as_str().unwrap_or(&info.name)
        )),
        other => context.print(&other.render(context, object)?),
    }
}

/// Whether to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DryRun {
    /// Write.
    No,
    /// Don't send.
    Client,
    /// Send, and let the server not keep it.
    Server,
}

/// `--dry-run`.
pub fn dry_run(context: &Context) -> Outcome<DryRun> {
    match context.flags.or("dry-run", "none") {
        "none" | "false" => Ok(DryRun::No),
        "client" | "true" => Ok(DryRun::Client),
        "unchanged" => Ok(DryRun::Client),
        "server" => Ok(DryRun::Server),
        other => {
            Err(Failure::new(format!("Invalid dry-run value ({other}). Must be \"none\", \"server\", or \"client\".")))
        }
    }
}
