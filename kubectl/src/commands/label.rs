//! `kubectl label`.

use super::{Command, metadata};
use crate::cli::{context::Context, failure::Outcome};

/// The table row.
pub const COMMAND: Command =
    Command { name: "label", aliases: &[], flags: metadata::ALL, sub: &[], run: super::action!(run) };

async fn run(context: Context) -> Outcome {
    let kind = metadata::Kind { field: "labels", noun: "label", done: "labeled", undone: "unlabeled" };
    metadata::run(&context, &kind).await
}
