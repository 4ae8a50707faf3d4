//! `kubectl create serviceaccount NAME`.

use serde_json::json;

use super::{FLAGS, exact_name, generated};
use crate::{
    cli::{context::Context, failure::Outcome},
    commands::{Command, action},
    printers,
};

/// The table row.
pub const COMMAND: Command = Command {
    name: "serviceaccount",
    aliases: &["sa"],
    flags: &[FLAGS, printers::FLAGS],
    sub: &[],
    run: action!(create),
};

async fn create(context: Context) -> Outcome {
    let name = exact_name(&context)?;
    generated(&context, json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})).await
}
