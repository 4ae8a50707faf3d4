//! What the server publishes of itself: discovery, the columns of Tables, OpenAPI. Each document is compared by digest with
//! upstream's: discovery byte for byte, OpenAPI without its descriptions, which are compared where upstream's documents are
//! here. What differs on purpose is in `differences.txt`, with its reason; the group that metrics-server adds is left out.

use std::path::Path;

use expect_test::expect_file;
use ferry_tests::upstream::{digest, folder};
use http::Method;
use serde_json::Value;
use testkit::{Caller, Cluster};

/// The name of a document in upstream's folder (for Tables: of the file, and the path of the list), and its digest.
const DIGESTS: &str = include_str!("digests.txt");
/// A path in a document where it differs from upstream's, and why; `*` stands for anything.
const DIFFERENCES: &str = include_str!("differences.txt");
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const TABLE: &str = "application/json;as=Table;g=meta.k8s.io;v=v1";
/// Where the server was that upstream's documents are of.
const HOST: &str = "10.99.0.11:6443";

/// The document of that name, as a client gets it and as it is compared.
async fn ours(admin: &Caller, name: &str) -> anyhow::Result<Vec<u8>> {
    let path =
        |file: &str| format!("/{}", file.trim_end_matches(".json").trim_end_matches("_openapi").replace("__", "/"));
    let (folder, file) = name.split_once('/').unwrap_or_default();
    let (path, accept) = match (folder, file.strip_prefix("aggregated_")) {
        ("discovery", Some(file)) => (path(file), AGGREGATED),
        ("discovery", None) => (path(file), "application/json"),
        ("openapi-v3", _) => (format!("/openapi/v3{}", path(file)), "application/json"),
        _ => (format!("/{file}"), TABLE),
    };
    let answer = admin.raw(Method::GET, &path, &[("accept", accept)], Vec::new()).await?;
    anyhow::ensure!(answer.code == 200, "{path}: {}", answer.code);
    if folder == "table-columns.json" {
        let table: Value = serde_json::from_slice(&answer.bytes)?;
        return columns(&table["columnDefinitions"]);
    }
    if name == "discovery/api.json" {
        let mut document: Value = serde_json::from_slice(&answer.bytes)?;
        let own = document["serverAddressByClientCIDRs"][0]["serverAddress"].take();
        return Ok(String::from_utf8(answer.bytes)?.replace(own.as_str().unwrap_or_default(), HOST).into_bytes());
    }
    if matches!(name, "discovery/apis.json" | "discovery/aggregated_apis.json") {
        return without_metrics(&String::from_utf8(answer.bytes)?);
    }
    Ok(answer.bytes)
}

/// A list of groups without its last one, which upstream's server has when metrics-server is installed.
fn without_metrics(groups: &str) -> anyhow::Result<Vec<u8>> {
    let at = groups.find("\"metrics.k8s.io\"").and_then(|name| groups[..name].rfind(",{"));
    let (Some(from), Some(to)) = (at, groups.rfind(']')) else { anyhow::bail!("no metrics in {groups}") };
    Ok(format!("{}{}", &groups[..from], &groups[to..]).into_bytes())
}

/// Columns as upstream's file has them: without what they are for.
fn columns(columns: &Value) -> anyhow::Result<Vec<u8>> {
    let mut columns = columns.clone();
    columns.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut).for_each(|column| {
        column.remove("description");
    });
    Ok(serde_json::to_vec(&columns)?)
}

/// Upstream's documents: name and bytes.
fn theirs(folder: &Path) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    for kind in ["discovery", "openapi-v3"] {
        for entry in std::fs::read_dir(folder.join(kind))? {
            let path = entry?.path();
            let name = format!("{kind}/{}", path.file_name().unwrap_or_default().to_string_lossy());
            found.push((name, std::fs::read(path)?));
        }
    }
    let tables: Value = serde_json::from_slice(&std::fs::read(folder.join("table-columns.json"))?)?;
    for (path, table) in tables.as_object().into_iter().flatten() {
        found.push((format!("table-columns.json{path}"), columns(table)?));
    }
    found.sort();
    Ok(found)
}

/// What the digest of a document is of.
fn comparable(name: &str, bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    if name.starts_with("discovery/") {
        // Without the space between tokens: none of the texts has any.
        return Ok(bytes.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect());
    }
    let mut value: Value = serde_json::from_slice(bytes)?;
    if name.starts_with("openapi-v3/") {
        undescribed(&mut value);
    }
    Ok(serde_json::to_vec(&value)?)
}

/// Takes out descriptions (texts; what has that name in a schema's properties is an object).
fn undescribed(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, value| key != "description" || !value.is_string());
            map.values_mut().for_each(undescribed);
        }
        Value::Array(items) => items.iter_mut().for_each(undescribed),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_document_has_the_digest_of_upstreams() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let admin = cluster.admin();
    let mut wrong = Vec::new();
    for (name, expected) in DIGESTS.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.split_once(' ')) {
        if digest(&comparable(name, &ours(&admin, name).await?)?) != expected {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "{} documents differ from upstream's: {}", wrong.len(), wrong.join(" "));
    Ok(())
}

/// Where upstream's documents are: the list has each of them, and what differs in them is known, every bit of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_differences_are_those_that_are_known() -> anyhow::Result<()> {
    let Some(folder) = folder() else { return Ok(()) };
    let cluster = Cluster::start().await?;
    let admin = cluster.admin();
    let mut list = "# Documents of a server of Kubernetes v1.36.2, and their digests. See main.rs.\n".to_owned();
    let mut found = Vec::new();
    for (name, theirs) in theirs(&folder)? {
        list += &format!("{name} {}\n", digest(&comparable(&name, &theirs)?));
        let ours: Value = serde_json::from_slice(&ours(&admin, &name).await?)?;
        differences(&ours, &serde_json::from_slice(&theirs)?, &name, &mut found);
    }
    expect_file!["digests.txt"].assert_eq(&list);
    let known: Vec<&str> = DIFFERENCES.lines().filter(|l| !l.starts_with('#')).collect();
    let unknown: Vec<&String> = found.iter().filter(|path| !known.iter().any(|known| matches(known, path))).collect();
    let gone: Vec<&&str> = known.iter().filter(|known| !found.iter().any(|path| matches(known, path))).collect();
    assert!(gone.is_empty(), "differ no more: {gone:#?}");
    assert!(unknown.is_empty(), "{} differences:\n{:#?}", unknown.len(), &unknown[..unknown.len().min(60)]);
    Ok(())
}

/// The paths at which two documents differ.
fn differences(ours: &Value, theirs: &Value, at: &str, out: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|k| !a.contains_key(*k))) {
                let at = format!("{at} {key}");
                match (a.get(key), b.get(key)) {
                    (Some(x), Some(y)) => differences(x, y, &at, out),
                    _ => out.push(at),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().for_each(|(i, (x, y))| differences(x, y, &format!("{at} {i}"), out));
        }
        _ if ours == theirs => {}
        (Value::String(a), Value::String(b)) if without_value_texts(a) == without_value_texts(b) => {}
        _ => out.push(at.to_owned()),
    }
}

/// A description without what is said of the values of an enumeration: Go's comments on constants, which no published
/// package has.
fn without_value_texts(text: &str) -> String {
    let Some((own, values)) = text.split_once("\n\nPossible enum values:\n") else { return text.to_owned() };
    let values = values.split(" - `").filter(|v| v.starts_with('"')).filter_map(|v| v.split('`').next());
    format!("{} {}", own.trim_end(), values.collect::<Vec<_>>().join(" "))
}

/// Whether a path is one that the pattern means.
fn matches(pattern: &str, path: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| path.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}
