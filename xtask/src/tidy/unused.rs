//! Dependencies that a crate names in its Cargo.toml and nowhere else.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;

/// Dependencies that are there for what they do by being there, and why.
const FOR_A_REASON: &[(&str, &str, &str)] = &[("apiserver/model", "k8s-openapi", "build.rs reads its sources")];

/// Crates whose Cargo.toml names what none of their files does.
pub fn check(root: &Path, files: &[String]) -> anyhow::Result<Vec<String>> {
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    let folders = manifests(root)?;
    for file in files {
        let home =
            folders.iter().filter(|f| f.is_empty() || file.starts_with(&format!("{f}/"))).max_by_key(|f| f.len());
        let Some(home) = home else { continue };
        let text = std::fs::read_to_string(root.join(file)).with_context(|| format!("reading {file}"))?;
        texts.entry(home.clone()).or_default().push_str(&text);
    }
    let mut faults = Vec::new();
    for (folder, text) in &texts {
        let manifest = std::fs::read_to_string(root.join(folder).join("Cargo.toml"))?;
        for name in dependencies(&manifest) {
            let excused = FOR_A_REASON.iter().any(|(f, n, _)| f == folder && *n == name);
            if !excused && !names(text, &name.replace('-', "_")) {
                faults.push(format!("{folder}/Cargo.toml: {name} is used by no file of this crate"));
            }
        }
    }
    Ok(faults)
}

/// The folders of our crates.
fn manifests(root: &Path) -> anyhow::Result<Vec<String>> {
    let output = std::process::Command::new("git").args(["ls-files", "*Cargo.toml"]).current_dir(root).output()?;
    let listed = String::from_utf8(output.stdout)?;
    Ok(listed.lines().filter_map(|l| l.strip_suffix("/Cargo.toml")).map(str::to_owned).collect())
}

/// The names in the sections of dependencies.
fn dependencies(manifest: &str) -> Vec<&str> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
        } else if inside && !line.starts_with('#') {
            found.extend(line.split(['.', ' ', '=']).next().filter(|name| !name.is_empty()));
        }
    }
    found
}

/// Whether a text has a name as a path's beginning, an import or an attribute, outside comments.
fn names(text: &str, name: &str) -> bool {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.into_iter().any(|line| {
        line.match_indices(name).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let after = line[at + name.len()..].chars().next();
            let whole = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
            whole(before) && before != Some('.') && whole(after) && before != Some('"')
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_as_words_of_code() {
        assert!(names("use bytes::Bytes;", "bytes"));
        assert!(names("#[tokio::main]", "tokio"));
        assert!(!names("// use bytes::Bytes;\nlet n = x.bytes();", "bytes"));
        assert!(!names("let my_bytes = 1;", "bytes"));
    }

    #[test]
    fn sections_of_dependencies_are_read() {
        let manifest = "[package]\nname = \"a\"\n[dependencies]\nbytes.workspace = true\n# no\nkube = { x = 1 }\n[lib]\nb = 1\n[dev-dependencies]\ntempfile.workspace = true\n";
        assert_eq!(dependencies(manifest), ["bytes", "kube", "tempfile"]);
    }
}
