//! `kubectl set image`.

use super::{Command, FLAGS, change, containers};
use crate::{
    cli::{
        context::Context,
        failure::{Failure, Outcome},
    },
    printers,
    resource_builder::files,
};

/// The table row.
pub const COMMAND: Command = Command {
    name: "image",
    aliases: &[],
    flags: &[FLAGS, printers::FLAGS, files::FLAGS],
    sub: &[],
    run: super::super::action!(run),
};

async fn run(context: Context) -> Outcome {
    let (pairs, resources): (Vec<String>, Vec<String>) =
        context.flags.args.iter().cloned().partition(|word| word.contains('='));
    if pairs.is_empty() {
        return Err(Failure::new("at least one image update is required"));
    }
    let images: Vec<(&str, &str)> = pairs.iter().filter_map(|pair| pair.split_once('=')).collect();
    if images.len() > 1 && images.iter().any(|(name, _)| *name == "*") {
        return Err(Failure::new(
            "all containers are already specified by *, but saw more than one container_name=container_image pairs",
        ));
    }
    change(&context, &resources, "image updated", |pod| {
        let mut missing = Vec::new();
        for (name, image) in &images {
            let found = containers(pod, name);
            if found.is_empty() {
                missing.push(format!("unable to find container named {name:?}"));
            }
            for container in found {
                container["image"] = (*image).into();
            }
        }
        if missing.is_empty() { Ok(()) } else { Err(missing) }
    })
    .await
}
