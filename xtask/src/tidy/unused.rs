//! Dependencies that nothing uses: an entry of a crate that no file of that crate names, and an entry of the
//! workspace that no crate takes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value;

/// Dependencies that no source names, and why they are needed: the crate's package, the dependency, the reason.
const UNNAMED: &[(&str, &str, &str)] = &[
    ("ferry-proto", "prost", "the generated code names it"),
    ("ferry-proto", "prost-types", "the generated code names it"),
    ("ferry-proto", "tonic-prost", "the generated code names it"),
    ("ferry-raft", "serde", "the history in tests/src, which its tests include, names it"),
    ("ferry-raft", "skips", "the files of the engines' tests, which its tests include, name it"),
    ("ferry-testkit-cri", "prost", "the generated code names it"),
    ("ferry-testkit-cri", "tonic-prost", "the generated code names it"),
];

/// A sentence for each unused entry.
pub fn check(root: &Path, metadata: &Value, files: &[String]) -> anyhow::Result<Vec<String>> {
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let folders: Vec<PathBuf> = packages.iter().filter_map(|p| folder(p, root)).collect();
    let (mut faults, mut excused, mut taken) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(own) = folder(package, root) else { continue };
        let sources = files.iter().filter(|file| owner(&folders, file).is_some_and(|owner| *owner == own));
        let mut named = BTreeSet::new();
        for file in sources {
            let text = std::fs::read_to_string(root.join(file)).with_context(|| format!("reading {file}"))?;
            named.extend(roots(&text).map(str::to_owned));
        }
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let written = dependency["rename"].as_str().or(dependency["name"].as_str()).unwrap_or_default();
            if named.contains(&written.replace('-', "_")) {
                continue;
            }
            match UNNAMED.iter().position(|(of, what, _)| *of == name && *what == written) {
                Some(at) => _ = excused.insert(at),
                None => faults.push(format!("{name} does not use its dependency {written}")),
            }
        }
        let manifest = std::fs::read_to_string(root.join(&own).join("Cargo.toml"))?;
        taken.extend(entries(&manifest, "dependencies]").map(str::to_owned));
    }
    faults.extend((0..UNNAMED.len()).filter(|at| !excused.contains(at)).map(|at| {
        let (of, what, _) = UNNAMED[at];
        format!("{of} names {what} or does not have it: take the exception out of xtask/src/tidy/unused.rs")
    }));
    let workspace = std::fs::read_to_string(root.join("Cargo.toml"))?;
    let untaken = entries(&workspace, "[workspace.dependencies]").filter(|entry| !taken.contains(*entry));
    faults.extend(untaken.map(|entry| format!("no crate takes the workspace's dependency {entry}")));
    Ok(faults)
}

/// A package's folder, from the workspace's root.
fn folder(package: &Value, root: &Path) -> Option<PathBuf> {
    let manifest = Path::new(package["manifest_path"].as_str()?);
    Some(manifest.parent()?.strip_prefix(root).ok()?.to_path_buf())
}

/// The innermost of the folders that a file lies in.
fn owner<'a>(folders: &'a [PathBuf], file: &str) -> Option<&'a PathBuf> {
    let within = folders.iter().filter(|folder| Path::new(file).starts_with(folder));
    within.max_by_key(|folder| folder.components().count())
}

/// The crates and modules that a source names, outside comments: what stands before a `::` that nothing precedes, and what
/// `use` brings in whole.
fn roots(text: &str) -> impl Iterator<Item = &str> {
    let code = text.lines().map(|line| line.split_once("//").map_or(line, |(code, _)| code));
    code.flat_map(|line| {
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        let before = line.match_indices("::").filter_map(move |(at, _)| {
            let from = line[..at].rfind(|c| !is_name(c)).map_or(0, |end| end + 1);
            (!line[..from].ends_with(':')).then_some(&line[from..at])
        });
        let whole =
            line.trim_start().strip_prefix("use ").map(|rest| rest.split(|c| !is_name(c)).next().unwrap_or(rest));
        before.chain(whole)
    })
}

/// The names that are set in the tables of a manifest whose header ends so.
fn entries<'a>(manifest: &'a str, header: &str) -> impl Iterator<Item = &'a str> {
    let mut within = false;
    manifest.lines().filter_map(move |line| {
        if line.starts_with('[') {
            within = line.ends_with(header);
            return None;
        }
        let name = line.split(['=', '.']).next()?.trim();
        (within && !name.is_empty() && !name.starts_with('#') && line.contains('=')).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_or_a_word_uses_nothing() {
        let seen = |text| roots(text).any(|root| root == "time");
        assert!(seen("let at = time::now();") && seen("use time;") && seen("    use time as clock;"));
        assert!(seen("use {bytes::Bytes, time::Date};"));
        assert!(!seen("let time = 1; // time::now") && !seen("tokio::time::sleep()") && !seen("my_time::now()"));
    }

    #[test]
    fn a_file_belongs_to_the_innermost_crate() {
        let folders = [PathBuf::from("apiserver"), PathBuf::from("apiserver/model"), PathBuf::new()];
        assert_eq!(owner(&folders, "apiserver/model/src/lib.rs"), Some(&folders[1]));
        assert_eq!(owner(&folders, "apiserver/src/lib.rs"), Some(&folders[0]));
    }

    #[test]
    fn entries_of_all_tables_of_dependencies_are_seen() {
        let manifest = "[package]\nname = \"x\"\n[dependencies]\nbytes.workspace = true\n# one\nhttp = \"1\"\n\
                        [target.'cfg(unix)'.dependencies]\nnix.workspace = true\n[dev-dependencies]\ntempfile = \"3\"\n[lints]\nworkspace = true\n";
        assert_eq!(entries(manifest, "dependencies]").collect::<Vec<_>>(), ["bytes", "http", "nix", "tempfile"]);
    }
}
