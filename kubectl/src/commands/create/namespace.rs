//! `kubectl create namespace NAME`.

use serde_json::json;

use super::{FLAGS, exact_name, generated};
use crate::{
    cli::{context::Context, failure::Outcome},
    commands::{Command, action},
    printers,
};

/// The table row.
pub const COMMAND: Command =
    Command { name: "namespace", aliases: &["ns"], flags: &[FLAGS, printers::FLAGS], sub: &[], run: action!(create) };

async fn create(context: Context) -> Outcome {
    let name = exact_name(&context)?;
    generated(&context, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})).await
}
