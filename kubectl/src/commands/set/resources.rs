//! `kubectl set resources`.

use serde_json::{Map, Value};

use super::{Command, FLAGS, change, containers};
use crate::{
    cli::{
        context::Context,
        failure::{Failure, Outcome},
        flags::value,
    },
    printers,
    resource_builder::files,
};

/// The table row.
pub const COMMAND: Command = Command {
    name: "resources",
    aliases: &[],
    flags: &[
        FLAGS,
        &[value("limits"), value("requests"), value("containers").short('c')],
        printers::FLAGS,
        files::FLAGS,
    ],
    sub: &[],
    run: super::super::action!(run),
};

async fn run(context: Context) -> Outcome {
    let flags = &context.flags;
    if !flags.given("limits") && !flags.given("requests") {
        return Err(Failure::new(
            "you must specify an update to requests or limits (in the form of --requests/--limits)",
        ));
    }
    let (limits, requests) = (quantities(flags.or("limits", ""))?, quantities(flags.or("requests", ""))?);
    let pattern = flags.or("containers", "*").to_owned();
    change(&context, &flags.args.clone(), "resource requirements updated", |pod| {
        let found = containers(pod, &pattern);
        if found.is_empty() {
            return Err(vec![format!("unable to find container named {pattern}")]);
        }
        for container in found {
            for (key, given) in [("limits", &limits), ("requests", &requests)] {
                for (resource, quantity) in given {
                    container["resources"][key][resource] = quantity.clone();
                }
            }
        }
        Ok(())
    })
    .await
}

/// `cpu=100m,memory=256Mi`.
fn quantities(text: &str) -> Outcome<Map<String, Value>> {
    let mut all = Map::new();
    for pair in text.split(',').filter(|pair| !pair.is_empty()) {
        let (resource, quantity) = pair
            .split_once('=')
            .ok_or_else(|| Failure::new(format!("Invalid argument syntax {pair}, expected <resource>=<value>")))?;
        if quantity.parse::<machinery::quantity::Quantity>().is_err() {
            return Err(Failure::new(
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
            ));
        }
        all.insert(resource.to_owned(), quantity.into());
    }
    Ok(all)
}
