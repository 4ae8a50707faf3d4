//! `cargo xtask tidy`: the measurable part of the style and of the structure: which crate sees which (`graph`), which
//! dependencies nothing uses (`unused`), what starts tasks (`spawns`), what no file may contain. A file over the limit is
//! listed in `tidy-ratchet.txt` with its length, which may only go down.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::root;

mod graph;
mod spawns;
mod unused;

/// The most lines of a file that is not in the ratchet.
const LINES: usize = 500;
const RATCHET: &str = "xtask/tidy-ratchet.txt";
/// What no file may contain, and why. Spelt in two parts so that this file does not.
const FORBIDDEN: &[(&str, &str, &str)] = &[
    ("todo", "!(", "unfinished code"),
    ("unimplemented", "!(", "unfinished code"),
    ("FIX", "ME", "unfinished code"),
    ("dbg", "!(", "left from debugging"),
];

/// Checks all tracked Rust files; `--bless` writes today's lengths to the ratchet.
pub fn main(argv: &[String]) -> anyhow::Result<()> {
    if let Some(other) = argv.iter().find(|a| *a != "--bless") {
        bail!("unknown flag {other:?}; there is: --bless");
    }
    let root = root();
    let files = tracked(&root)?;
    let mut faults = Vec::new();
    let mut long = BTreeMap::new();
    let mut spawns = spawns::Spawns::default();
    for file in &files {
        let text = std::fs::read_to_string(root.join(file)).with_context(|| format!("reading {file}"))?;
        let lines = text.lines().count();
        if lines > LINES {
            long.insert(file.clone(), lines);
        }
        faults.extend(look(file, &text));
        faults.extend(spawns.look(file, &text));
    }
    faults.extend(spawns.unneeded());
    faults.extend(dead(&root, &files)?);
    let metadata = metadata(&root)?;
    faults.extend(graph::check(&root, &metadata)?);
    faults.extend(unused::check(&root, &metadata, &files)?);
    if argv.iter().any(|a| a == "--bless") {
        let text: String = long.iter().map(|(file, lines)| format!("{lines} {file}\n")).collect();
        std::fs::write(root.join(RATCHET), text)?;
    } else {
        faults.extend(over(&long, &std::fs::read_to_string(root.join(RATCHET)).unwrap_or_default()));
    }
    if faults.is_empty() {
        println!("tidy: {} files, {} in the ratchet", files.len(), long.len());
        return Ok(());
    }
    for fault in &faults {
        eprintln!("tidy: {fault}");
    }
    bail!("{} faults of style", faults.len())
}

fn tracked(root: &Path) -> anyhow::Result<Vec<String>> {
    let output = Command::new("git").args(["ls-files", "*.rs"]).current_dir(root).output().context("running git")?;
    let files = String::from_utf8(output.stdout)?.lines().map(str::to_string).collect::<Vec<_>>();
    Ok(files.into_iter().filter(|file| root.join(file).exists()).collect())
}

/// Our packages and what they depend on, as cargo reads the manifests.
fn metadata(root: &Path) -> anyhow::Result<Value> {
    let output = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root)
        .output()
        .context("running cargo metadata")?;
    serde_json::from_slice(&output.stdout).context("reading cargo metadata")
}

/// Faults within one file.
fn look(file: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let first = text.lines().find(|l| !l.is_empty() && !l.starts_with("#!["));
    // The tests of a module are documented by the module.
    if !first.is_some_and(|l| l.starts_with("//!")) && !file.ends_with("/tests.rs") {
        faults.push(format!("{file}: does not begin with a module doc (//!)"));
    }
    for (number, line) in text.lines().enumerate() {
        for (head, tail, why) in FORBIDDEN {
            if line.contains(&format!("{head}{tail}")) {
                faults.push(format!("{file}:{}: {head}{tail}: {why}", number + 1));
            }
        }
        if line.trim_start().starts_with("#[ignore") && !line.contains("issue ") {
            faults.push(format!("{file}:{}: ignored without a reason and an issue number", number + 1));
        }
    }
    faults
}

/// Files longer than they may be.
fn over(long: &BTreeMap<String, usize>, ratchet: &str) -> Vec<String> {
    let allowed: BTreeMap<&str, usize> = ratchet
        .lines()
        .filter_map(|l| l.split_once(' '))
        .filter_map(|(n, file)| Some((file, n.parse().ok()?)))
        .collect();
    long.iter()
        .filter_map(|(file, lines)| {
            let most = allowed.get(file.as_str()).copied().unwrap_or(LINES);
            (*lines > most).then(|| format!("{file}: {lines} lines, {most} allowed"))
        })
        .collect()
}

/// Source files that no module names.
fn dead(root: &Path, files: &[String]) -> anyhow::Result<Vec<String>> {
    let known: BTreeSet<&str> = files.iter().map(String::as_str).collect();
    let mut faults = Vec::new();
    for file in files.iter().filter(|f| f.contains("/src/") && !f.contains("/bin/")) {
        let path = PathBuf::from(file);
        let (Some(stem), Some(folder)) = (path.file_stem().and_then(|s| s.to_str()), path.parent()) else { continue };
        if matches!(stem, "main" | "lib") {
            continue;
        }
        let (name, home) = match stem {
            "mod" => {
                (folder.file_name().and_then(|s| s.to_str()).unwrap_or_default(), folder.parent().unwrap_or(folder))
            }
            stem => (stem, folder),
        };
        let beside = home.with_extension("rs");
        let above = home.parent().unwrap_or(home).join("main.rs");
        let parents = [home.join("mod.rs"), home.join("lib.rs"), home.join("main.rs"), beside, above];
        // A file of tests may be named, by its path, by the file beside it that it tests.
        let beside =
            files.iter().filter(|f| stem == "tests" && Path::new(f).parent() == Some(folder)).map(String::as_str);
        let named =
            parents.iter().filter_map(|p| p.to_str()).filter(|p| known.contains(p)).chain(beside).any(|parent| {
                std::fs::read_to_string(root.join(parent)).is_ok_and(|text| {
                    text.contains(&format!("mod {name};")) || text.contains(&format!("/{stem}.rs\"]"))
                })
            });
        if !named {
            faults.push(format!("{file}: no module names it"));
        }
    }
    Ok(faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_found() {
        assert_eq!(look("a.rs", "//! Doc.\nfn main() {}\n"), Vec::<String>::new());
        assert_eq!(look("a.rs", "fn main() {}\n").len(), 1);
        let text = format!("//! Doc.\n{}{})\n#[ignore]\n", "todo", "!(");
        assert_eq!(look("a.rs", &text).len(), 2);
    }

    #[test]
    fn the_ratchet_only_goes_down() {
        let long = BTreeMap::from([("a.rs".to_string(), 600), ("b.rs".to_string(), 510)]);
        assert_eq!(over(&long, "600 a.rs\n"), ["b.rs: 510 lines, 500 allowed"]);
        assert_eq!(over(&long, "599 a.rs\n510 b.rs\n"), ["a.rs: 600 lines, 599 allowed"]);
    }
}
