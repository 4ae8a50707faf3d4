//! Which of our crates sees which: ARCHITECTURE.md shows it, a line a crate, and `cargo metadata` must say the same. So a new
//! edge between layers is a change of that page, which somebody reads, and never an import in passing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

/// The crates that each of our crates sees, beside its tests.
type Graph = BTreeMap<String, BTreeSet<String>>;

const PAGE: &str = "ARCHITECTURE.md";
/// The lines between these two are the graph.
const BEGIN: &str = "```graph";
const END: &str = "```";
/// Layers of the API server and components: none sees another of its own kind.
const COMPONENTS: &[&str] =
    &["apiserver", "balancer", "controller-manager", "kubectl", "kubelet", "network", "policies", "proxy", "scheduler"];

/// Edges that the page does not show, edges that it shows and are not there, and those that no page makes right.
pub fn check(root: &Path, metadata: &Value) -> anyhow::Result<Vec<String>> {
    let page = std::fs::read_to_string(root.join(PAGE)).with_context(|| format!("reading {PAGE}"))?;
    Ok(compare(&built(metadata), &shown(&page)))
}

fn built(metadata: &Value) -> Graph {
    let short = |name: &str| name.trim_start_matches("ferry-").trim_start_matches("apiserver-").to_owned();
    let packages = metadata["packages"].as_array().into_iter().flatten();
    packages
        .map(|package| {
            let dependencies = package["dependencies"].as_array().into_iter().flatten();
            let ours = dependencies.filter(|d| d["kind"].is_null() && d["path"].is_string());
            let seen = ours.filter_map(|d| d["name"].as_str()).map(short).collect();
            (short(package["name"].as_str().unwrap_or_default()), seen)
        })
        .collect()
}

/// A line is a crate, `<-`, and what it sees; a crate that sees none of ours stands alone.
fn shown(page: &str) -> Graph {
    let block = page.lines().skip_while(|line| *line != BEGIN).skip(1).take_while(|line| *line != END);
    block
        .map(|line| {
            let (name, seen) = line.split_once("<-").unwrap_or((line, ""));
            (name.trim().to_owned(), seen.split_whitespace().map(str::to_owned).collect())
        })
        .collect()
}

fn compare(built: &Graph, shown: &Graph) -> Vec<String> {
    let none = BTreeSet::new();
    let mut faults = Vec::new();
    for name in built.keys().chain(shown.keys()).collect::<BTreeSet<_>>() {
        let (is, said) = (built.get(name).unwrap_or(&none), shown.get(name).unwrap_or(&none));
        faults.extend(is.difference(said).map(|seen| format!("{name} sees {seen}, which {PAGE} does not show")));
        faults
            .extend(said.difference(is).map(|seen| format!("{PAGE} shows that {name} sees {seen}, which it does not")));
        if built.contains_key(name) != shown.contains_key(name) {
            faults.push(format!("{name} is a crate or a line of {PAGE}'s graph, and not both"));
        }
        if COMPONENTS.contains(&name.as_str()) {
            let others = is.iter().filter(|seen| COMPONENTS.contains(&seen.as_str()));
            faults.extend(others.map(|seen| format!("{name} sees {seen}: no component sees another")));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(text: &str) -> Graph {
        shown(&format!("# Page\n{BEGIN}\n{text}\n{END}\nmore <- nothing\n"))
    }

    #[test]
    fn a_new_edge_is_a_fault_until_the_page_shows_it() {
        let page = graph("model\ncache <- model\nkubelet <- client\nclient");
        assert_eq!(compare(&page, &page), Vec::<String>::new());
        let built = graph("model <- cache\ncache <- model\nkubelet <- client\nclient");
        assert_eq!(compare(&built, &page), ["model sees cache, which ARCHITECTURE.md does not show"]);
        let built = graph("model\ncache\nkubelet <- client\nclient");
        assert_eq!(compare(&built, &page), ["ARCHITECTURE.md shows that cache sees model, which it does not"]);
        let built = graph("model\ncache <- model\nkubelet <- client\nclient\nnew");
        assert_eq!(compare(&built, &page), ["new is a crate or a line of ARCHITECTURE.md's graph, and not both"]);
    }

    #[test]
    fn no_component_sees_another_whatever_the_page_shows() {
        let page = graph("kubelet <- proxy\nproxy");
        assert_eq!(compare(&page, &page), ["kubelet sees proxy: no component sees another"]);
    }

    #[test]
    fn dependencies_of_tests_are_no_edges() {
        let metadata = serde_json::json!({"packages": [{"name": "ferry-apiserver-cache", "dependencies": [
            {"name": "ferry-apiserver-model", "kind": null, "path": "/m"},
            {"name": "ferry-apiserver-kinds", "kind": "dev", "path": "/k"},
            {"name": "bytes", "kind": null, "path": null},
        ]}]});
        assert_eq!(built(&metadata), graph("cache <- model"));
    }
}
