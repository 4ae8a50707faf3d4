//! `kubectl annotate`.

use super::{Command, metadata};
use crate::cli::{context::Context, failure::Outcome};

/// The table row.
pub const COMMAND: Command =
    Command { name: "annotate", aliases: &[], flags: metadata::ALL, sub: &[], run: super::action!(run) };

async fn run(context: Context) -> Outcome {
    let kind = metadata::Kind { field: "annotations", noun: "annotation", done: "annotated", undone: "annotated" };
    metadata::run(&context, &kind).await
}
