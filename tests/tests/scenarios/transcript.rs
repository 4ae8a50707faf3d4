//! The form of a transcript.
//!
//! ```text
//! # A remark.
//! $ kubectl create namespace web
//! > namespace/web created
//! $ kubectl create -f -
//! < {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "web"}}
//! ! Error from server (AlreadyExists): namespaces "web" already exists
//! = 1
//! ```
//!
//! `$` is typed, quoted as in a shell; `<` goes to standard input; `>` came to standard output and `!` to standard error, in
//! that order; `=` tells an exit code other than 0. A line of output that does not end is followed by `%`.

use std::fmt::Write;

/// A line of the file, or a command with its input.
pub enum Entry {
    /// A remark or an empty line, kept as it is.
    Remark(String),
    /// A command.
    Command {
        /// As typed.
        line: String,
        /// Standard input.
        input: String,
    },
}

/// What came of a command.
#[derive(Default)]
pub struct Outcome {
    /// What was written in a row, and whether to standard error.
    pub written: Vec<(bool, String)>,
    /// 0 is success.
    pub code: i32,
}

/// Reads a file; what was written by its commands is left out.
pub fn parse(text: &str) -> anyhow::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for (index, text) in text.lines().enumerate() {
        let mut marks = text.chars();
        match (marks.next(), entries.last_mut()) {
            (None | Some('#'), _) => entries.push(Entry::Remark(text.to_owned())),
            (Some('$'), _) => {
                entries.push(Entry::Command { line: marks.as_str().trim().to_owned(), input: String::new() });
            }
            (Some('<'), Some(Entry::Command { input, .. })) => {
                let line = marks.as_str();
                input.push_str(line.strip_prefix(' ').unwrap_or(line));
                input.push('\n');
            }
            (Some('>' | '!' | '='), Some(Entry::Command { .. })) => {}
            _ => anyhow::bail!("line {}: {text:?} is no line of a transcript", index + 1),
        }
    }
    Ok(entries)
}

/// Writes an entry, a command with what came of it.
pub fn render(entry: &Entry, outcome: &Outcome, out: &mut String) {
    let (line, input) = match entry {
        Entry::Remark(text) => return out.extend([text, "\n"]),
        Entry::Command { line, input } => (line, input),
    };
    let _ = writeln!(out, "$ {line}");
    for line in input.lines() {
        let _ = writeln!(out, "{}", format!("< {line}").trim_end());
    }
    for (error, text) in &outcome.written {
        for line in text.split_inclusive('\n') {
            let mark = if *error { "!" } else { ">" };
            let end = if line.ends_with('\n') { "" } else { "%" };
            let _ = writeln!(out, "{}{end}", format!("{mark} {}", line.trim_end_matches('\n')).trim_end_matches(' '));
        }
    }
    if outcome.code != 0 {
        let _ = writeln!(out, "= {}", outcome.code);
    }
}
