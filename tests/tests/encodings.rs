//! Walks the catalogue in protobuf: what a client gets of a resource is the same object in every encoding, and in
//! protobuf it is byte for byte what encoding the JSON answer makes, which the golden files check against upstream's.

use std::io::Read;

use api::protobuf::{self, MEDIA_TYPE};
use api::schema::{self, Type};
use ferry_tests::definitions::{established, until};
use http::Method;
use kinds::catalogue::rows;
use model::resource::{Resource, Sort, Verb};
use serde_json::{Value, json};
use testkit::{Caller, Cluster, Raw, fixture};

const STREAM: &str = "application/vnd.kubernetes.protobuf;stream=watch";
const METADATA: &str =
    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
const METADATA_LIST: &str =
    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

fn collection(row: &Resource) -> String {
    let api = if row.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", row.group) };
    let within = if row.namespaced { "/namespaces/default" } else { "" };
    format!("{api}/{}{within}/{}", row.version, row.resource)
}

fn name(row: &Resource) -> &'static str {
    match row.kind.as_ref() {
        "CustomResourceDefinition" => "fixtures.example.com",
        "APIService" => "v1.example.com",
        "IPAddress" => "192.0.2.7",
        _ => "encoded",
    }
}

fn ty(value: &Value) -> &'static Type {
    let text = |key: &str| value[key].as_str().unwrap_or_default();
    schema::of_object(text("apiVersion"), text("kind")).unwrap_or_else(|| panic!("no kind: {value}"))
}

fn encoded(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    protobuf::encode(value, ty(value), &mut out);
    out
}

fn decoded(bytes: &[u8]) -> anyhow::Result<Value> {
    let envelope = protobuf::open(bytes)?;
    let ty = schema::of_object(envelope.api_version, envelope.kind)
        .ok_or_else(|| anyhow::anyhow!("no kind {} {}", envelope.api_version, envelope.kind))?;
    let mut map = protobuf::decode(envelope.raw, ty)?;
    map.insert("apiVersion".into(), envelope.api_version.into());
    map.insert("kind".into(), envelope.kind.into());
    Ok(map.into())
}

async fn get(caller: &Caller, path: &str, accept: &str) -> anyhow::Result<Raw> {
    caller.raw(Method::GET, path, &[("accept", accept)], Vec::new()).await
}

/// The type and the object of a watch event.
async fn event(caller: &Caller, path: &str, accept: &str) -> anyhow::Result<(String, Vec<u8>)> {
    let frame = caller.first_frame(path, accept).await?;
    anyhow::ensure!(frame.header("content-type") == STREAM, "content type {}", frame.header("content-type"));
    let (kind, object) = protobuf::event(&frame.bytes)?;
    Ok((kind.to_owned(), object.to_vec()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_stored_resource_is_served_in_protobuf() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let admin = cluster.admin();
    let account = json!({"metadata": {"name": "default"}});
    admin.send(Method::POST, "/api/v1/namespaces/default/serviceaccounts", Some(&account)).await?;
    let mut failures = Vec::new();
    for row in rows().into_iter().filter(|r| r.sort != Sort::Virtual && r.verbs.contains(&Verb::Create)) {
        if let Err(why) = served(&admin, &row).await {
            failures.push(format!("{} {}: {why:#}", row.group_resource(), row.version));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

async fn served(admin: &Caller, row: &Resource) -> anyhow::Result<()> {
    let (collection, name) = (collection(row), name(row));
    let item = format!("{collection}/{name}");
    let selected = format!("{collection}?fieldSelector=metadata.name%3D{name}");
    let object = fixture(&row.kind(), name, row.namespaced.then_some("default")).expect("a row has a schema");

    let both = [("accept", MEDIA_TYPE), ("content-type", MEDIA_TYPE)];
    let created = admin.raw(Method::POST, &collection, &both, encoded(&object)).await?;
    anyhow::ensure!(created.code == 201, "create: {} {}", created.code, String::from_utf8_lossy(&created.bytes));
    anyhow::ensure!(created.header("content-type") == MEDIA_TYPE, "create: {:?}", created.headers);

    let definition = row.kind == "CustomResourceDefinition";
    if definition {
        until(admin, name, established).await?;
    }
    let json = admin.get(&item).await?.body;
    let same = definition || created.bytes == encoded(&json);
    anyhow::ensure!(same, "created: {} not {json}", decoded(&created.bytes)?);
    anyhow::ensure!(get(admin, &item, MEDIA_TYPE).await?.bytes == encoded(&json), "get");

    let list = admin.get(&selected).await?.body;
    anyhow::ensure!(get(admin, &selected, MEDIA_TYPE).await?.bytes == encoded(&list), "list");
    let partial =
        json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": json["metadata"]});
    anyhow::ensure!(get(admin, &item, METADATA).await?.bytes == encoded(&partial), "metadata");
    let partials = json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
        "metadata": list["metadata"], "items": [partial]});
    anyhow::ensure!(get(admin, &selected, METADATA_LIST).await?.bytes == encoded(&partials), "metadata of a list");

    let watch = format!("{selected}&watch=true&resourceVersion=0");
    for (accept, object) in [(STREAM, &json), (METADATA, &partial)] {
        let (kind, bytes) = event(admin, &watch, accept).await?;
        anyhow::ensure!(kind == "ADDED" && bytes == encoded(object), "watch: {kind} {}", decoded(&bytes)?);
    }
    let bookmarked = format!(
        "{collection}?watch=true&sendInitialEvents=true&allowWatchBookmarks=true&fieldSelector=metadata.name%3Dnonesuch&resourceVersionMatch=NotOlderThan"
    );
    let (kind, bytes) = event(admin, &bookmarked, MEDIA_TYPE).await?;
    let bookmark = decoded(&bytes)?;
    let ended = &bookmark["metadata"]["annotations"]["k8s.io/initial-events-end"];
    anyhow::ensure!(kind == "BOOKMARK" && bookmark["kind"] == row.kind.as_ref() && ended == "true", "{bookmark}");

    let replaced = admin.raw(Method::PUT, &item, &both, encoded(&json)).await?;
    anyhow::ensure!(replaced.code == 200 && replaced.bytes == encoded(&json), "replaced by itself: {}", replaced.code);
    let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0});
    let deleted = decoded(&admin.raw(Method::DELETE, &item, &both, encoded(&options)).await?.bytes)?;
    anyhow::ensure!(deleted["status"] == "Success" || deleted["kind"] == row.kind.as_ref(), "delete: {deleted}");
    if definition {
        until(admin, name, |definition| definition.is_none()).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_and_virtual_kinds_are_in_protobuf_too() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let admin = cluster.admin();
    let missing = "/api/v1/namespaces/default/configmaps/nonesuch";
    for accept in [MEDIA_TYPE, "application/vnd.kubernetes.protobuf,application/json"] {
        let answer = get(&admin, missing, accept).await?;
        let status = decoded(&answer.bytes)?;
        assert_eq!((answer.code, answer.header("content-type")), (404, MEDIA_TYPE));
        assert_eq!(
            (&status["kind"], &status["reason"], &status["code"]),
            (&"Status".into(), &"NotFound".into(), &404.into())
        );
    }
    let stranger = get(&cluster.caller("stranger", &[]), missing, MEDIA_TYPE).await?;
    assert_eq!((stranger.code, &decoded(&stranger.bytes)?["reason"]), (403, &"Forbidden".into()));
    // Metadata in protobuf, and else JSON: an error is no metadata.
    let answer = get(&admin, missing, METADATA).await?;
    assert_eq!((answer.code, answer.header("content-type")), (404, "application/json"));

    let review = json!({"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"});
    let both = [("accept", MEDIA_TYPE), ("content-type", MEDIA_TYPE)];
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let answer = admin.raw(Method::POST, path, &both, encoded(&review)).await?;
    assert_eq!((answer.code, &decoded(&answer.bytes)?["status"]["userInfo"]["username"]), (201, &"admin".into()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_served_is_refused_in_upstreams_words() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let admin = cluster.admin();
    let maps = "/api/v1/namespaces/default/configmaps";
    let supported = "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf";
    for (path, accept, message) in [
        (maps, "text/html", supported),
        ("/api/v1/namespaces/default", "text/html", supported),
        (
            maps,
            "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
            "you requested PartialObjectMetadata, but the requested object is a list (*core.ConfigMapList)",
        ),
        (
            "/api/v1/namespaces/default",
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            "you requested PartialObjectMetadataList, but the requested object is not a list (*core.Namespace)",
        ),
        (
            "/api/v1/configmaps?watch=true",
            "application/yaml",
            "only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch",
        ),
    ] {
        let answer = get(&admin, path, accept).await?;
        // JSON is YAML: it may be in either.
        let status = machinery::yaml::to_json(&answer.bytes).map_err(|e| anyhow::anyhow!("{e}"))?;
        assert_eq!(
            (answer.code, &status["message"], &status["reason"]),
            (406, &message.into(), &"NotAcceptable".into())
        );
    }
    let table = "application/json;as=Table;g=meta.k8s.io;v=v1";
    let answer = get(&admin, &format!("{maps}?includeObject=All"), table).await?;
    let status: Value = serde_json::from_slice(&answer.bytes)?;
    assert_eq!(
        (answer.code, status["message"].as_str().unwrap_or_default()),
        (
            400,
            "Unable to convert to Table as requested: includeObject: Invalid value: \"All\": must be 'Metadata', 'Object', 'None', or empty"
        )
    );
    let answer = admin.raw(Method::POST, maps, &[("content-type", "text/plain")], b"x".to_vec()).await?;
    assert_eq!(answer.code, 415);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_answers_are_compressed_when_asked_for() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let admin = cluster.admin();
    let maps = "/api/v1/namespaces/default/configmaps";
    for n in 0..3 {
        let text = "some text that repeats; ".repeat(5_000);
        let map = json!({"metadata": {"name": format!("m{n}")}, "data": {"text": text}});
        admin.send(Method::POST, maps, Some(&map)).await?;
    }
    for accept in ["application/json", MEDIA_TYPE, "application/yaml", METADATA_LIST] {
        let plain = get(&admin, maps, accept).await?;
        let asked = [("accept", accept), ("accept-encoding", "br, gzip")];
        let answer = admin.raw(Method::GET, maps, &asked, Vec::new()).await?;
        let mut text = Vec::new();
        if accept == METADATA_LIST {
            assert_eq!(
                (plain.header("content-encoding"), answer.header("content-encoding")),
                ("", ""),
                "small answers"
            );
            text = answer.bytes;
        } else {
            assert_eq!((plain.header("content-encoding"), answer.header("content-encoding")), ("", "gzip"), "{accept}");
            assert_eq!(answer.header("vary"), "Accept-Encoding");
            assert!(answer.bytes.len() < plain.bytes.len() / 10);
            flate2::read::GzDecoder::new(answer.bytes.as_slice()).read_to_end(&mut text)?;
        }
        assert_eq!(text, plain.bytes, "{accept}");
    }
    Ok(())
}

/// What is made in pieces is what its parts say: of long lists, Tables and lists of metadata, indented or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_lists_are_made_in_pieces_in_every_form() -> anyhow::Result<()> {
    const TABLE: &str = "application/json;as=Table;g=meta.k8s.io;v=v1";
    const PARTIAL: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let cluster = Cluster::start().await?;
    let admin = cluster.admin();
    let maps = "/api/v1/namespaces/default/configmaps";
    for i in 0..60 {
        let long = json!({"metadata": {"name": format!("m-{i:02}"), "annotations": {"note": "[{,\"".repeat(700)}}, "data": {"k": "v"}});
        admin.send(Method::POST, maps, Some(&long)).await?;
    }
    for (accept, member) in [("application/json", "items"), (TABLE, "rows"), (PARTIAL, "items")] {
        let ask = async |query: &str| -> anyhow::Result<(Vec<u8>, Value)> {
            let raw = get(&admin, &format!("{maps}?{query}"), accept).await?;
            let mut list: Value = serde_json::from_slice(&raw.bytes)?;
            // The age, which goes on while they are asked for.
            let rows = list["rows"].as_array_mut().into_iter().flatten();
            rows.filter_map(|row| row["cells"].as_array_mut()).for_each(|cells| drop(cells.pop()));
            Ok((raw.bytes.clone(), list))
        };
        let (whole, parsed) = ask("").await?;
        assert!(whole.len() > 128 * 1024, "{accept}: more than one piece");
        let mut parts = Vec::new();
        let mut query = "limit=7".to_owned();
        loop {
            let (_, page) = ask(&query).await?;
            parts.extend(page[member].as_array().expect("a list").clone());
            match page["metadata"]["continue"].as_str() {
                Some(next) if !next.is_empty() => query = format!("limit=7&continue={next}"),
                _ => break,
            }
        }
        assert_eq!((parsed[member].as_array(), parts.len()), (Some(&parts), 60), "{accept}");

        let (indented, same) = ask("pretty=true").await?;
        assert_eq!(same, parsed, "{accept}");
        let lines: Vec<&str> = std::str::from_utf8(&indented)?.lines().collect();
        assert_eq!((lines[0], lines[1].starts_with("  \"kind\": "), lines.last()), ("{", true, Some(&"}")), "{accept}");
        assert!(lines.iter().all(|line| line.trim_start().matches("\": ").count() <= 1), "{accept}: a member a line");
    }
    Ok(())
}
