//! No task and no thread outside the supervisor: a bare one panics without a name, a count and an owner.

use std::collections::BTreeSet;

/// What starts a task or a thread. Spelt in two parts so that this file does not.
const STARTS: &[(&str, &str)] = &[
    ("tokio::", "spawn("),
    ("task::", "spawn("),
    ("spawn_", "blocking("),
    ("spawn_", "local("),
    ("spawn_", "scoped("),
    ("thread::", "spawn("),
    ("thread::", "Builder"),
    ("TokioExecutor::", "new("),
];

/// Where they may stand: a file or a folder (by its slash), and why. A line that is not needed any more is a fault.
const ALLOWED: &[(&str, &str)] = &[
    ("crates/component/src/supervisor/", "the supervisor itself"),
    ("crates/machinery/src/yaml/read.rs", "a scoped thread with a deep stack, joined at once by its caller"),
    ("crates/storage/src/embedded/replay.rs", "scoped threads, joined at once by their caller"),
    ("crates/cel/src/lib.rs", "a scoped thread with a deep stack, joined at once by its caller"),
];

/// The bare starts in all files, and the exceptions that nothing needs.
#[derive(Default)]
pub(super) struct Spawns {
    needed: BTreeSet<&'static str>,
}

impl Spawns {
    /// Faults of one file.
    pub(super) fn look(&mut self, file: &str, text: &str) -> Vec<String> {
        if is_test(file) {
            return Vec::new();
        }
        let starts: Vec<usize> = starts(text).collect();
        let allowed =
            ALLOWED.iter().find(|(place, _)| file == *place || place.ends_with('/') && file.starts_with(place));
        match allowed {
            Some((place, _)) if !starts.is_empty() => {
                self.needed.insert(place);
                Vec::new()
            }
            _ => starts.iter().map(|line| format!("{file}:{line}: a task or thread outside the supervisor")).collect(),
        }
    }

    /// Exceptions without a use.
    pub(super) fn unneeded(&self) -> Vec<String> {
        let unneeded = ALLOWED.iter().filter(|(place, _)| !self.needed.contains(place));
        unneeded
            .map(|(place, _)| format!("{place} starts no bare task: take it out of xtask/src/tidy/spawns.rs"))
            .collect()
    }
}

/// Tests, and the tools that no cluster runs.
fn is_test(file: &str) -> bool {
    let folders = ["tests/", "xtask/", "crates/testkit/", "crates/testkit-cri/"];
    folders.iter().any(|folder| file.starts_with(folder))
        || file.contains("/tests/")
        || file.contains("/benches/")
        || file.ends_with("tests.rs")
}

/// The lines that start a task or a thread, outside comments and the file's own tests.
fn starts(text: &str) -> impl Iterator<Item = usize> {
    let own_tests = text.find("#[cfg(test)]\nmod tests {").map_or(usize::MAX, |at| text[..at].lines().count());
    text.lines().enumerate().take(own_tests).filter(|(_, line)| is_start(line)).map(|(index, _)| index + 1)
}

fn is_start(line: &str) -> bool {
    let code = line.split_once("//").map_or(line, |(code, _)| code);
    // A process is started by a call without arguments; a set, a tracker, a runtime's handle are given the task.
    let on_something = code.match_indices(".spawn(").any(|(at, word)| !code[at + word.len()..].starts_with(')'));
    on_something || STARTS.iter().any(|(head, tail)| code.contains(&format!("{head}{tail}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_tasks_and_threads_are_found() {
        let check = |line: &str, want: bool| assert_eq!(is_start(line), want, "{line}");
        for line in [
            format!("    tokio::{}async move {{", "spawn("),
            format!("drop(tokio::task::{}move || work()));", "spawn_blocking("),
            format!("std::thread::{}move || child.wait());", "spawn("),
            format!("let thread = std::thread::{}::new();", "Builder"),
            "running.spawn(async move {".into(),
            "    tasks.spawn(".into(),
            format!("Builder::new(TokioExecutor::{})", "new()"),
        ] {
            check(&line, true);
        }
        check("let child = command.spawn().context(\"starting\")?;", false);
        check("/// As a bare tokio::spawn( does.", false);
        check("supervisor.one_shot(\"connection\", async move {", false);
    }

    #[test]
    fn tests_may_start_what_they_like() {
        let bare = format!("//! Doc.\ntokio::{}work());\n", "spawn(");
        assert_eq!(Spawns::default().look("scheduling/src/a.rs", &bare).len(), 1);
        assert_eq!(Spawns::default().look("scheduling/tests/a.rs", &bare), Vec::<String>::new());
        assert_eq!(Spawns::default().look("scheduling/src/a/tests.rs", &bare), Vec::<String>::new());
        let own = format!("//! Doc.\nfn f() {{}}\n#[cfg(test)]\nmod tests {{\n{bare}}}\n");
        assert_eq!(Spawns::default().look("scheduling/src/a.rs", &own), Vec::<String>::new());
    }

    #[test]
    fn an_exception_that_nothing_needs_is_a_fault() {
        let mut spawns = Spawns::default();
        let all = spawns.unneeded().len();
        spawns.look(&format!("{}mod.rs", ALLOWED[0].0), &format!("tokio::{}work());\n", "spawn("));
        assert_eq!(spawns.unneeded().len(), all - 1);
    }
}
