//! Upstream's golden files: one object of each kind with every field set, in three encodings. They are rebuilt here from
//! the schema table, written and read by what serves requests, and compared by digest with the list of upstream's, byte
//! for byte. So the table has every field of every kind, with its number, its place and its shape, and nothing else.

use api::stored::{self, ALIKE, Form};
use expect_test::expect_file;
use ferry_tests::upstream::{digest, folder};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use kinds::catalogue::rows;
use machinery::gvk::{GroupVersion, GroupVersionKind};
use model::encoding::Encoding;
use model::options::FieldValidation;
use model::types::Types;
use negotiation::{Accept, object, value_response};
use serde_json::Value;
use testkit::filled;

/// `group.version.kind` and the digests of the files in JSON, YAML and protobuf.
const DIGESTS: &str = include_str!("digests.txt");
/// `group.version.kind` of the files that are left out, under the reason.
const UNSERVED: &str = include_str!("unserved.txt");
const ENCODINGS: [(Encoding, &str); 3] =
    [(Encoding::Json, "json"), (Encoding::Yaml, "yaml"), (Encoding::Protobuf, "pb")];

/// The lines of a list by their first word, without comments.
fn entries(list: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    list.lines().filter(|l| !l.starts_with('#')).map(|l| l.split_once(' ').unwrap_or((l, "")))
}

fn file_name(kind: &GroupVersionKind) -> String {
    let group = if kind.group.is_empty() { "core" } else { &kind.group };
    format!("{group}.{}.{}", kind.version, kind.kind)
}

fn kind_of(file_name: &str) -> GroupVersionKind {
    let (rest, kind) = file_name.rsplit_once('.').expect("group.version.kind");
    let (group, version) = rest.rsplit_once('.').expect("group.version.kind");
    GroupVersionKind::new(if group == "core" { "" } else { group }, version, kind)
}

/// The kinds of older versions, which a store may have, and what they are read as.
fn older() -> impl Iterator<Item = (GroupVersionKind, GroupVersionKind)> {
    ALIKE.iter().map(|(version, kind)| {
        let version = GroupVersion::parse(version).expect("a version");
        let older = GroupVersionKind::new(version.group.as_str(), version.version, *kind);
        (older, GroupVersionKind::new(version.group, "v1", *kind))
    })
}

/// What a client gets of an object: for JSON, one who looks at it.
async fn written(value: &Value, kind: &GroupVersionKind, encoding: Encoding) -> Vec<u8> {
    let accept = Accept { encoding, pretty: true, ..Accept::default() };
    let response = value_response(StatusCode::OK, value, kind, &accept);
    response.into_body().collect().await.expect("bytes in memory").to_bytes().to_vec()
}

/// What becomes of a client's body.
fn read(bytes: &[u8], kind: &GroupVersionKind, encoding: Encoding) -> Value {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, encoding.media_type().parse().expect("a header's text"))]);
    let types = Types::of(kind);
    let read = object(&headers, bytes, kind, &types, FieldValidation::Strict);
    let mut read = read.unwrap_or_else(|e| panic!("{kind} {encoding:?}: {}", e.message)).object;
    if let Some(members) = read.as_object_mut().filter(|_| types.built_in().is_some_and(|ty| !ty.is_kind)) {
        members.retain(|name, _| !["apiVersion", "kind"].contains(&name.as_str()));
    }
    read
}

/// An object in each encoding, and which of them are not what the list says.
async fn compared(value: &Value, kind: &GroupVersionKind, name: &str) -> (Vec<(Encoding, Vec<u8>)>, Vec<String>) {
    let (_, digests) =
        entries(DIGESTS).find(|(known, _)| *known == name).unwrap_or_else(|| panic!("{name}: no digest"));
    let (mut files, mut wrong) = (Vec::new(), Vec::new());
    for ((encoding, extension), theirs) in ENCODINGS.into_iter().zip(digests.split(' ')) {
        let ours = written(value, kind, encoding).await;
        if digest(&ours) != theirs {
            wrong.push(format!("{name}.{extension}"));
        }
        files.push((encoding, ours));
    }
    (files, wrong)
}

#[tokio::test]
async fn every_encoding_is_upstreams_and_is_read_back_as_every_other() {
    let older: Vec<String> = older().map(|(kind, _)| file_name(&kind)).collect();
    let mut differ = Vec::new();
    for (name, _) in entries(DIGESTS).filter(|(name, _)| !older.iter().any(|older| older == name)) {
        let kind = kind_of(name);
        let built = filled(&kind).unwrap_or_else(|| panic!("{name}: no such kind in the table"));
        let (files, wrong) = compared(&built, &kind, name).await;
        differ.extend(wrong);
        for (from, bytes) in &files {
            let value = read(bytes, &kind, *from);
            for (to, expected) in &files {
                assert_eq!(&written(&value, &kind, *to).await, expected, "{name}: {from:?} to {to:?}");
            }
        }
    }
    assert!(differ.is_empty(), "{} files differ from upstream's: {}", differ.len(), differ.join(" "));
}

#[tokio::test]
async fn older_versions_in_a_store_are_read_whole() {
    let mut differ = Vec::new();
    for (older, kind) in older() {
        let mut built = filled(&kind).unwrap();
        let shown = written(&built, &kind, Encoding::Json).await;
        for form in [Form::Json, Form::Protobuf] {
            let bytes = stored::write(&built, &kind, &older, form).unwrap();
            let read = stored::read(&bytes, &kind).unwrap();
            assert_eq!(written(&read, &kind, Encoding::Json).await, shown, "{older} {form:?}");
        }
        built["apiVersion"] = GroupVersion::new(older.group.as_str(), older.version.as_str()).to_string().into();
        differ.extend(compared(&built, &kind, &file_name(&older)).await.1);
    }
    assert!(differ.is_empty(), "{} files differ from upstream's: {}", differ.len(), differ.join(" "));
}

#[test]
fn every_served_kind_is_in_the_list() {
    // The aggregator's kind has no golden files.
    for row in rows().into_iter().filter(|row| row.kind != "APIService") {
        let parts = row.subresources.iter().map(|part| part.kind.clone());
        for kind in parts.chain([row.kind(), row.storage_version.clone()]) {
            let name = file_name(&kind);
            assert!(entries(DIGESTS).any(|(known, _)| known == name), "{name}");
        }
    }
}

/// Where the files are: the list has each of them, or says why not.
#[test]
fn the_lists_are_of_upstreams_files() {
    let Some(folder) = folder() else { return };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder.join("testdata/HEAD")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        names.extend(name.strip_suffix(".json").map(str::to_owned));
    }
    names.sort();
    let unserved = |name: &str| entries(UNSERVED).any(|(known, _)| known == name);
    for (name, _) in entries(UNSERVED) {
        assert!(names.iter().any(|n| n == name), "upstream has no {name}");
        assert!(api::schema::of(&kind_of(name)).is_none(), "{name} is in the table: it can be compared");
    }
    let mut list =
        "# Golden files of Kubernetes v1.36.2: digests of JSON, YAML and protobuf. See main.rs.\n".to_owned();
    for name in names.iter().filter(|name| !unserved(name)) {
        let digests = ENCODINGS.map(|(_, extension)| {
            digest(&std::fs::read(folder.join(format!("testdata/HEAD/{name}.{extension}"))).unwrap())
        });
        list += &format!("{name} {}\n", digests.join(" "));
    }
    expect_file!["digests.txt"].assert_eq(&list);
}
