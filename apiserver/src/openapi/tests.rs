use std::path::PathBuf;

use super::*;
use crate::registry::catalogue::rows;

fn all() -> Vec<Arc<Resource>> {
    rows().into_iter().map(Arc::new).collect()
}

fn upstream() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let beside = || root.ancestors().map(|a| a.join("shared/upstream")).find(|p| p.is_dir());
    std::env::var_os("FERRY_UPSTREAM").map(PathBuf::from).or_else(beside).filter(|p| p.is_dir())
}

/// What is not compared: texts, and the values of enumerations, which the published sources of the table lack.
fn stripped(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let texts = |key: &str, value: &Value| {
                (key == "description" && value.is_string())
                    || (key == "enum" && value.is_array())
                    || key == "x-kubernetes-unions"
            };
            map.into_iter().filter(|(k, v)| !texts(k, v)).map(|(k, v)| (k, stripped(v))).collect()
        }
        Value::Array(items) => items.into_iter().map(stripped).collect(),
        other => other,
    }
}

fn differences(ours: &Value, theirs: &Value, at: &str, out: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|k| !a.contains_key(*k))) {
                let at = format!("{at} {key}");
                match (a.get(key), b.get(key)) {
                    (Some(x), Some(y)) => differences(x, y, &at, out),
                    (None, Some(_)) => out.push(format!("-{at}")),
                    _ => out.push(format!("+{at}")),
                }
            }
        }
        _ if ours == theirs => {}
        _ => out.push(format!("{at}: {ours} / {theirs}")),
    }
}

#[test]
fn documents_are_as_upstreams_but_for_streams_texts_and_enumerations() {
    let Some(folder) = upstream() else {
        return eprintln!("skipped: upstream's documents are not here (FERRY_UPSTREAM)");
    };
    let rows = all();
    let mut found = Vec::new();
    let mut compared = 0;
    for entry in std::fs::read_dir(folder.join("openapi-v3")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().replace("_openapi.json", "");
        let parts: Vec<&str> = name.split("__").collect();
        let (group, version) = if parts[0] == "api" { ("", parts[1]) } else { (parts[1], parts[2]) };
        let theirs = stripped(serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap());
        let ours = stripped(value(&rows, group, version).unwrap_or_else(|| panic!("no document for {name}")));
        let mut here = Vec::new();
        differences(&ours, &theirs, &name, &mut here);
        here.retain(|d| !["/proxy", "/exec", "/attach", "/portforward", "/log"].iter().any(|part| d.contains(part)));
        found.extend(here);
        compared += 1;
    }
    assert!(compared > 20, "{compared}");
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found[..found.len().min(60)].join("\n"));
}

#[test]
fn the_index_names_every_group_with_a_hash() {
    let index: Value = serde_json::from_slice(&index(&all())).unwrap();
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    assert_eq!(url, format!("/openapi/v3/apis/apps/v1?hash={}", hash(&all(), "apps", "v1")));
    assert!(index["paths"]["api/v1"].is_object());
    assert_ne!(hash(&all(), "apps", "v1"), hash(&all(), "batch", "v1"));
    assert!(document(&all(), "apps", "v7").is_none());
}

#[test]
fn the_old_document_has_everything() {
    let document: Value = serde_json::from_slice(&v2_document(&all())).unwrap();
    assert_eq!(document["swagger"], "2.0");
    let spec = &document["definitions"]["io.k8s.api.core.v1.ServicePort"]["properties"];
    assert_eq!(spec["targetPort"]["$ref"], "#/definitions/io.k8s.apimachinery.pkg.util.intstr.IntOrString");
    let options = &document["definitions"]["io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"];
    assert!(options["x-kubernetes-group-version-kind"].as_array().unwrap().len() > 15);
    let patch = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
    assert!(
        patch["parameters"].as_array().unwrap().iter().any(|p| p["name"] == "fieldValidation" && p["type"] == "string")
    );
}
