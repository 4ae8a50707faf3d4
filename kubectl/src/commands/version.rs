//! `kubectl version`.

use machinery::json::Fields;
use serde_json::json;

use super::Command;
use crate::{
    cli::{
        context::{Call, Context},
        failure::{Failure, Outcome},
        flags::{switch, value},
    },
    printers::to_json_indented,
};

/// The table row.
pub const COMMAND: Command = Command {
    name: "version",
    aliases: &[],
    flags: &[&[switch("client"), value("output").short('o'), switch("short")]],
    sub: &[],
    run: super::action!(run),
};

/// The API level that this client speaks, and Ferry's own version.
const CLIENT: &str = concat!("v1.36.2+ferry.", env!("CARGO_PKG_VERSION"));

async fn run(context: Context) -> Outcome {
    let client = json!({
        "major": "1", "minor": "36", "gitVersion": CLIENT, "platform": format!("linux/{}", arch()), "compiler": "rustc",
    });
    let server = if context.flags.is("client") { None } else { Some(context.json(Call::get("/version")).await) };
    let mut all = json!({"clientVersion": client});
    if let Some(Ok(version)) = &server {
        all["serverVersion"] = version.clone();
    }
    match context.flags.or("output", "") {
        "" => {
            context.print(&format!("Client Version: {CLIENT}\n"))?;
            if let Some(Ok(version)) = &server {
                context.print(&format!("Server Version: {}\n", version.text("gitVersion")))?;
            }
        }
        "json" => context.print(&to_json_indented(&all, b"  "))?,
        "yaml" => context.print(&machinery::yaml::from_json(&all))?,
        _ => return Err(Failure::new("--output must be 'yaml' or 'json'")),
    }
    match server {
        Some(Err(failure)) => Err(failure),
        _ => Ok(()),
    }
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
