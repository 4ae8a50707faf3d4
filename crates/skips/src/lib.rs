//! Tests that skip because this machine lacks something. A test says what is missing by a name of `tests/skips.txt`, where
//! each stands with the reason for which it may be missing. In CI a skip for anything else fails, and those that were allowed
//! are printed at the end.
//!
//! It knows the two files that the environment names, and no test.

use std::fs::OpenOptions;
use std::io::Write;

/// Names the list of what may be missing: a name, `: `, the reason, a line each.
pub const ALLOWED: &str = "FERRY_SKIPS_ALLOWED";
/// Names the file that skips are noted in.
pub const NOTED: &str = "FERRY_SKIPS_NOTED";

/// Says that a test skips, since `missing` is missing; `detail` says more where there is more to say.
///
/// # Panics
/// Where the environment names a list, and `missing` does not stand in it.
pub fn skip(missing: &str, detail: &str) {
    let thread = std::thread::current();
    let test = thread.name().filter(|name| *name != "main").unwrap_or_default().to_owned();
    let line = format!("skipped {test}: {missing} {detail}").trim_end().to_owned();
    eprintln!("{line}");
    if let Some(list) = std::env::var_os(ALLOWED) {
        let list = std::fs::read_to_string(&list).expect("the list of what may be missing");
        assert!(allows(&list, missing), "{line}: which no line of the list of what may be missing allows");
    }
    if let Some(path) = std::env::var_os(NOTED)
        && let Ok(mut file) = OpenOptions::new().create(true).append(true).open(path)
    {
        // The note is for people; the test has passed or failed without it.
        let _ = writeln!(file, "{line}");
    }
}

fn allows(list: &str, missing: &str) -> bool {
    list.lines().any(|line| line.split_once(": ").is_some_and(|(name, _)| name == missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_list_names_may_be_missing() {
        let list = "etcd: no package\nupstream's data: lies beside the project\n";
        assert!(allows(list, "etcd") && allows(list, "upstream's data"));
        assert!(!allows(list, "nft") && !allows(list, "no package"));
    }
}
